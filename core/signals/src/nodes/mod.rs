//! What nodes compute. Each machine keeps its own memory and sees one row at a time: the time, its inputs' values, and
//! which of them fired. The two drivers, event by event ([`crate::Graph`]) and column by column ([`crate::columns`]), call
//! the same functions here, so they cannot disagree.

pub(crate) mod arithmetic;
mod bars;
mod clock;
mod cross;
mod kalman;
mod lag;
pub(crate) mod moments;
mod order;
mod pairwise;
mod patterns;
mod samples;
mod switch;

use helios_types::{Damaged, Hasher, Load, Nanos, Save};

use crate::node::{Node, Stat};
use crate::pattern::{Occurrences, Pattern};
use bars::Bars;
use clock::{LocalTime, Session};
use cross::Cross;
use kalman::Kalman;
use lag::{Elapsed, LagSamples, LagTime};
use moments::Moments;
use order::{Extreme, Order};
use pairwise::{PairEwm, PairMoments, Skew};
use samples::{Keyed, Rolling};
use switch::{Changes, Cooldown, Debounce, Latch};

/// One event, or one row of a table, as a machine sees it: `k` counts its inputs.
pub(crate) trait Row {
    fn now(&self) -> Nanos;
    fn value(&self, k: usize) -> f64;
    fn fresh(&self, k: usize) -> bool;
    fn inputs(&self) -> usize;

    /// True when any of the first `n` inputs fired.
    fn any(&self, n: usize) -> bool {
        (0..n).any(|k| self.fresh(k))
    }
}

/// Everything that remembers, but for the commonest window, which the graph keeps at hand.
#[derive(Clone, Debug)]
pub(crate) enum Machine {
    Bars(Bars),
    Changes(Changes),
    Cooldown(Cooldown),
    Cross(Cross),
    Debounce(Debounce),
    Elapsed(Elapsed),
    Greatest(Rolling<Extreme<false>>),
    Kalman(Kalman),
    KeyedGreatest(Keyed<Rolling<Extreme<false>>>),
    KeyedLeast(Keyed<Rolling<Extreme<true>>>),
    KeyedMoments(Keyed<Moments>),
    KeyedOrder(Keyed<Rolling<Order>>),
    KeyedPairs(Keyed<Rolling<PairMoments>>),
    KeyedSkew(Keyed<Rolling<Skew>>),
    LagSamples(LagSamples),
    LagTime(LagTime),
    Latch(Latch),
    Least(Rolling<Extreme<true>>),
    LocalTime(LocalTime),
    Order(Rolling<Order>),
    PairEwm(PairEwm),
    Occurrences(Occurrences),
    Pairs(Rolling<PairMoments>),
    Pattern(Box<Pattern>),
    Session(Session),
    Skew(Rolling<Skew>),
}

/// Does the same with whatever machine it is.
macro_rules! each {
    ($machine:expr, $inner:ident => $do:expr) => {
        match $machine {
            Machine::Bars($inner) => $do,
            Machine::Changes($inner) => $do,
            Machine::Cooldown($inner) => $do,
            Machine::Cross($inner) => $do,
            Machine::Debounce($inner) => $do,
            Machine::Elapsed($inner) => $do,
            Machine::Greatest($inner) => $do,
            Machine::Least($inner) => $do,
            Machine::Kalman($inner) => $do,
            Machine::KeyedGreatest($inner) => $do,
            Machine::KeyedLeast($inner) => $do,
            Machine::KeyedMoments($inner) => $do,
            Machine::KeyedOrder($inner) => $do,
            Machine::KeyedPairs($inner) => $do,
            Machine::KeyedSkew($inner) => $do,
            Machine::LagSamples($inner) => $do,
            Machine::LagTime($inner) => $do,
            Machine::Latch($inner) => $do,
            Machine::LocalTime($inner) => $do,
            Machine::Order($inner) => $do,
            Machine::PairEwm($inner) => $do,
            Machine::Occurrences($inner) => $do,
            Machine::Pairs($inner) => $do,
            Machine::Pattern($inner) => $do,
            Machine::Session($inner) => $do,
            Machine::Skew($inner) => $do,
        }
    };
}

pub(crate) use each;

/// What every machine can do.
pub(crate) trait Steps {
    /// Sees a row; the new value when it fires. NaN is null.
    fn step(&mut self, row: &impl Row) -> Option<f64>;
    /// Sees many rows at which all inputs fired and writes one statistic after each: the same as [`Steps::step`] and
    /// [`Steps::read`] of each, without asking again and again what fired. False, and nothing done, where there is no
    /// such way.
    fn run(&mut self, _ts: &[Nanos], _inputs: &[&[f64]], _stat: Stat, _values: &mut [f64]) -> bool {
        false
    }
    /// A statistic; [`Machine::tells`] said that there is one of this name.
    fn read(&self, stat: Stat) -> f64 {
        unreachable!("{stat:?} was checked when the graph was built")
    }
    /// Is there a statistic of this name?
    fn tells(&self, _stat: Stat) -> bool {
        false
    }
    /// Samples dropped early because a table was full.
    fn truncated(&self) -> u64 {
        0
    }
    fn digest(&self, hasher: &mut Hasher);
    /// Appends all that it remembers, and nothing that it was made of, to a snapshot.
    fn save(&self, save: &mut Save);
    /// Remembers what a snapshot says; of a machine that was made of the same.
    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged>;
}

/// The fields that a machine remembers, which a snapshot holds; and behind them those that it was made of. A field that
/// is neither does not compile.
macro_rules! remembers {
    ($($field:ident),+; $($made_of:ident),*) => {
        fn save(&self, save: &mut helios_types::Save) {
            let Self { $($field,)+ $($made_of: _,)* } = self;
            $(helios_types::Persist::save($field, save);)+
        }

        fn restore(&mut self, load: &mut helios_types::Load<'_>) -> Result<(), helios_types::Damaged> {
            $(self.$field = helios_types::Persist::load(load)?;)+
            Ok(())
        }
    };
}

pub(crate) use remembers;

impl Machine {
    /// The machine of a node; `None` for nodes that have none.
    pub(crate) fn of(node: &Node) -> Result<Option<Self>, String> {
        Ok(Some(match node {
            Node::Window { window, keeps, least, by, .. } => {
                return samples::window(*window, *keeps, *least, by.is_some());
            }
            Node::PairWindow { window, least, by, .. } => pairwise::window(*window, *least, by.is_some())?,
            Node::Kalman { drift, noise, least, .. } => Self::Kalman(Kalman::new(*drift, *noise, *least)?),
            Node::Lag { past, .. } => lag::new(*past)?,
            Node::Elapsed { .. } => Self::Elapsed(Elapsed::default()),
            Node::Changes { .. } => Self::Changes(Changes::default()),
            Node::Cooldown { span, .. } => Self::Cooldown(Cooldown::new(*span)?),
            Node::Debounce { span, .. } => Self::Debounce(Debounce::new(*span)?),
            Node::Latch { .. } => Self::Latch(Latch::default()),
            Node::Bars { kind, .. } => Self::Bars(Bars::new(*kind)?),
            Node::Cross { members, quorum } => Self::Cross(Cross::new(members.len(), *quorum)?),
            Node::Session { hours } => Self::Session(Session::new(hours.clone())?),
            Node::LocalTime { offsets } => Self::LocalTime(LocalTime::new(offsets.clone())?),
            Node::Pattern { spec, inputs } if inputs.len() == spec.inputs() => {
                Self::Pattern(Box::new(Pattern::new(spec.clone())?))
            }
            Node::Pattern { spec, inputs } => {
                return Err(format!("the pattern has {} inputs, but says that it has {}", inputs.len(), spec.inputs()));
            }
            Node::Occurrences { span, .. } => Self::Occurrences(Occurrences::new(*span)?),
            _ => return Ok(None),
        }))
    }

    #[inline]
    pub(crate) fn step(&mut self, row: &impl Row) -> Option<f64> {
        each!(self, inner => Steps::step(inner, row))
    }

    pub(crate) fn read(&self, stat: Stat) -> f64 {
        each!(self, inner => inner.read(stat))
    }

    pub(crate) fn tells(&self, stat: Stat) -> bool {
        each!(self, inner => inner.tells(stat))
    }

    pub(crate) fn truncated(&self) -> u64 {
        each!(self, inner => inner.truncated())
    }

    pub(crate) fn digest(&self, hasher: &mut Hasher) {
        each!(self, inner => Steps::digest(inner, hasher));
    }

    pub(crate) fn save(&self, save: &mut Save) {
        each!(self, inner => inner.save(save));
    }

    pub(crate) fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        each!(self, inner => inner.restore(load))
    }
}

/// What has no finite value is null.
#[inline(always)]
pub(crate) fn null_unless_finite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::NAN }
}

/// A condition's truth: anything but zero; a null is not true.
#[inline(always)]
pub(crate) fn is_true(x: f64) -> bool {
    x != 0.0 && !x.is_nan()
}
