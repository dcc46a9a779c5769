//! Our executions held against the venue's, as a drop copy tells them.
//!
//! Each execution is expected on both sides; one that only one side has for longer than the grace time is a difference.
//! What the engine is told is a position: ours, and what those differences amount to
//! ([`Link::Position`](helios_types::Link::Position)), whenever the differences of an instrument have changed, and once
//! more when both sides have been quiet for the grace time. An execution that is merely on its way on one of them is no
//! difference. A line for the log says of each which side lacks it.
//!
//! The drop copy must tell the day from its beginning, and so must our side: after a restart the fills of the journal are
//! told first ([`Reconcile::on_fill`]). An execution that is told again is known; one that is told with another quantity
//! is corrected, with zero it is broken.
//!
//! Bounded: [`MAX_PENDING`] executions that one side lacks, of which the oldest becomes a lasting difference;
//! [`MAX_MATCHED`] that both have, of which the oldest is forgotten (told again, it is a difference). Absent: prices and
//! fees; positions that were brought into the day.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use helios_types::{Event, Fill, InstrumentId, Link, Nanos, OrderId, Quantity, Side};

/// Executions that one side lacks.
pub const MAX_PENDING: usize = 1 << 16;
/// Executions that both sides have and that are remembered.
pub const MAX_MATCHED: usize = 1 << 20;

/// How it is compared.
#[derive(Clone, Debug)]
pub struct ReconcileConfig {
    /// Of the drop copy, in lines for the log.
    pub name: String,
    /// Symbols of the run's instruments.
    pub symbols: Vec<String>,
    /// For each instrument the one whose position its executions go to; empty: each its own.
    pub holds: Vec<InstrumentId>,
    /// How long one side may lack what the other has.
    pub grace_ns: u64,
}

/// An execution, as the drop copy tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Our order.
    pub order: OrderId,
    /// The venue's number of the execution, as order entry reports it.
    pub execution: u64,
    /// Of what.
    pub instrument: InstrumentId,
    /// Our side.
    pub side: Side,
    /// How much; zero for one that was broken.
    pub quantity: Quantity,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileCounters {
    /// Executions that both sides have.
    pub matched: u64,
    /// Executions that the drop copy told again.
    pub repeated: u64,
    /// Executions that one side has lacked for longer than the grace time.
    pub differences: u64,
    /// Executions that one side lacked and for which the table was full.
    pub given_up: u64,
    /// Executions of instruments that the run has not.
    pub foreign: u64,
}

/// Orders have their executions' numbers.
type Key = (u64, u64);

/// An execution that the two sides do not have alike; signed.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    holder: usize,
    ours: i64,
    theirs: i64,
    since: Nanos,
    said: bool,
}

/// What is known of one instrument that holds a position.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// By how much the executions that were given up differ.
    given_up: i64,
    /// The difference that the engine was told.
    told: i64,
    /// Something came since the engine was last told, and when.
    news: Option<Nanos>,
}

/// The comparison of one drop copy.
#[derive(Debug)]
pub struct Reconcile {
    config: ReconcileConfig,
    pending: BTreeMap<Key, Pending>,
    /// Signed quantities, and the keys in the order in which they were matched.
    matched: BTreeMap<Key, i64>,
    oldest: VecDeque<Key>,
    standings: Vec<Standing>,
    /// When something may be to be told; too early does no harm.
    next: Option<Nanos>,
    counters: ReconcileCounters,
}

impl Reconcile {
    /// Nothing was told yet.
    pub fn new(config: ReconcileConfig) -> Self {
        let standings = vec![Standing::default(); config.symbols.len()];
        let (pending, matched, oldest) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let (next, counters) = (None, ReconcileCounters::default());
        Self { config, pending, matched, oldest, standings, next, counters }
    }

    /// What happened so far.
    pub fn counters(&self) -> ReconcileCounters {
        self.counters
    }

    /// The engine booked a fill, now or in the journal; several parts of one execution add up.
    pub fn on_fill(&mut self, fill: &Fill, now: Nanos) {
        // A transfer between strategies is no execution.
        if fill.execution != 0 {
            let quantity = fill.side.sign() * fill.quantity.0;
            self.change(fill.order, fill.execution, fill.instrument, now, |pending| pending.ours += quantity);
        }
    }

    /// The drop copy told an execution.
    pub fn on_told(&mut self, told: &Told, now: Nanos) {
        let quantity = told.side.sign() * told.quantity.0;
        if self.matched.get(&(told.order.0, told.execution)) == Some(&quantity) {
            self.counters.repeated += 1;
            return;
        }
        self.change(told.order, told.execution, told.instrument, now, |pending| pending.theirs = quantity);
    }

    /// One side says something of an execution.
    fn change(
        &mut self,
        order: OrderId,
        execution: u64,
        instrument: InstrumentId,
        now: Nanos,
        say: impl FnOnce(&mut Pending),
    ) {
        let holder = self.config.holds.get(instrument.index()).copied().unwrap_or(instrument).index();
        if holder >= self.standings.len() {
            self.counters.foreign += 1;
            return;
        }
        let key = (order.0, execution);
        let known = self.matched.remove(&key).unwrap_or(0);
        let fresh = Pending { holder, ours: known, theirs: known, since: now, said: false };
        let pending = self.pending.entry(key).or_insert(fresh);
        // What was told and is no more is told at once.
        let due = if pending.said { Nanos(0) } else { now.plus(self.config.grace_ns) };
        say(pending);
        let alike = (pending.ours == pending.theirs).then_some(pending.ours);
        self.standings[holder].news = Some(now);
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
        if let Some(quantity) = alike {
            self.pending.remove(&key);
            self.matched(key, quantity);
        } else if self.pending.len() > MAX_PENDING {
            self.give_up();
        }
    }

    fn matched(&mut self, key: Key, quantity: i64) {
        self.counters.matched += 1;
        self.matched.insert(key, quantity);
        self.oldest.push_back(key);
        // A key that was matched again is there twice; it leaves with its first place, and is told again at the worst.
        if self.oldest.len() > MAX_MATCHED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.matched.remove(&oldest);
        }
    }

    fn give_up(&mut self) {
        let oldest = self.pending.iter().min_by_key(|(_, pending)| pending.since).map(|(key, _)| *key);
        if let Some(pending) = oldest.and_then(|key| self.pending.remove(&key)) {
            self.standings[pending.holder].given_up += pending.theirs - pending.ours;
            self.counters.given_up += 1;
            self.next = Some(Nanos(0));
        }
    }

    /// Time passes: differences that have lasted, and instruments that are quiet, are told. `position` is the engine's of
    /// an instrument, all that was told by [`Reconcile::on_fill`] included.
    pub fn on_tick(
        &mut self,
        now: Nanos,
        position: impl Fn(InstrumentId) -> Quantity,
        event: &mut impl FnMut(Event),
        note: &mut impl FnMut(fmt::Arguments<'_>),
    ) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let grace = self.config.grace_ns;
        let lasts = |since: Nanos| now.since(since) >= grace;
        let mut differs: Vec<i64> = self.standings.iter().map(|standing| standing.given_up).collect();
        for ((order, execution), pending) in self.pending.iter_mut().filter(|(_, pending)| lasts(pending.since)) {
            differs[pending.holder] += pending.theirs - pending.ours;
            if !std::mem::replace(&mut pending.said, true) {
                self.counters.differences += 1;
                let symbol = &self.config.symbols[pending.holder];
                let (ours, theirs) = (Quantity(pending.ours), Quantity(pending.theirs));
                let name = &self.config.name;
                note(format_args!(
                    "{name}: execution {execution} of order {order} in {symbol}: {}",
                    Lack(ours, theirs)
                ));
            }
        }
        for (at, (standing, differs)) in self.standings.iter_mut().zip(differs).enumerate() {
            let quiet = standing.news.is_some_and(lasts);
            if standing.told == differs && !quiet {
                continue;
            }
            standing.told = differs;
            standing.news = standing.news.filter(|_| !quiet);
            let instrument = InstrumentId(at as u32);
            let quantity = Quantity(position(instrument).0.saturating_add(differs));
            event(Event::Link(Link::Position { instrument, quantity }));
        }
        let waiting = self.pending.values().filter(|pending| !pending.said).map(|pending| pending.since);
        let news = self.standings.iter().filter_map(|standing| standing.news);
        self.next = waiting.chain(news).min().map(|since| since.plus(grace));
    }

    /// When something may be to be told.
    pub fn next_tick(&self) -> Option<Nanos> {
        self.next
    }
}

/// What the two sides have of an execution.
struct Lack(Quantity, Quantity);

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(ours, theirs) if ours.is_zero() => write!(f, "the venue says {theirs}, we do not have it"),
            Self(ours, theirs) if theirs.is_zero() => write!(f, "we have {ours}, the venue does not say it"),
            Self(ours, theirs) => write!(f, "we have {ours}, the venue says {theirs}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use helios_types::{Cash, Liquidity, Price, Rng, StrategyId};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn fill(order: u64, execution: u64, shares: i64) -> Fill {
        let side = Side::of(Quantity(shares));
        Fill {
            order: OrderId(order),
            strategy: StrategyId(0),
            instrument: InstrumentId(0),
            execution,
            ts_event: Nanos(0),
            side,
            price: Price::whole(1),
            quantity: Quantity::whole(shares.abs()),
            fee: Cash::ZERO,
            liquidity: Liquidity::Taker,
            position: Quantity::ZERO,
            realised: Cash::ZERO,
        }
    }

    fn told(order: u64, execution: u64, shares: i64) -> Told {
        let (instrument, quantity) = (InstrumentId(0), Quantity::whole(shares.abs()));
        Told { order: OrderId(order), execution, instrument, side: Side::of(Quantity(shares)), quantity }
    }

    /// A comparison, our position, and what it said.
    struct Desk {
        reconcile: Reconcile,
        held: i64,
        said: Vec<String>,
    }

    impl Desk {
        fn new() -> Self {
            let symbols = vec!["KO".to_owned(), "KO@B".to_owned()];
            let holds = vec![InstrumentId(0), InstrumentId(0)];
            let config = ReconcileConfig { name: "copy".to_owned(), symbols, holds, grace_ns: 2 * SECOND };
            Self { reconcile: Reconcile::new(config), held: 0, said: Vec::new() }
        }

        fn fill(&mut self, second: u64, order: u64, execution: u64, shares: i64) {
            self.held += shares;
            self.reconcile.on_fill(&fill(order, execution, shares), Nanos(second * SECOND));
        }

        fn told(&mut self, second: u64, order: u64, execution: u64, shares: i64) {
            self.reconcile.on_told(&told(order, execution, shares), Nanos(second * SECOND));
        }

        /// The lines of a tick.
        fn tick(&mut self, second: u64) -> Vec<String> {
            let (held, said) = (Quantity::whole(self.held), std::cell::RefCell::new(Vec::new()));
            self.reconcile.on_tick(
                Nanos(second * SECOND),
                |instrument| if instrument.0 == 0 { held } else { Quantity::ZERO },
                &mut |event| {
                    let Event::Link(Link::Position { instrument, quantity }) = event else { panic!("{event:?}") };
                    said.borrow_mut().push(format!("{} {quantity}", instrument.0));
                },
                &mut |text| said.borrow_mut().push(text.to_string()),
            );
            let said = said.into_inner();
            self.said.extend(said.iter().cloned());
            said
        }
    }

    #[test]
    fn what_both_sides_have_is_confirmed_when_they_are_quiet() {
        let mut desk = Desk::new();
        desk.fill(1, 1, 7, 60);
        // Shared out to two strategies: parts of one execution.
        desk.fill(1, 1, 8, 25);
        desk.fill(1, 1, 8, 15);
        assert!(desk.tick(2).is_empty());
        desk.told(2, 1, 7, 60);
        desk.told(2, 1, 8, 40);
        assert!(desk.tick(3).is_empty());
        assert_eq!(desk.tick(4), ["0 100"]);
        assert_eq!(desk.reconcile.next_tick(), None);
        // Told again after a reconnect: known.
        desk.told(9, 1, 7, 60);
        desk.told(9, 1, 8, 40);
        assert_eq!((desk.tick(20), desk.reconcile.counters().repeated), (vec![], 2));
    }

    #[test]
    fn each_side_may_lack_one_for_the_grace_time_and_no_longer() {
        let mut desk = Desk::new();
        desk.told(1, 5, 70, -30);
        desk.fill(2, 5, 71, -10);
        assert_eq!(
            desk.tick(3),
            ["copy: execution 70 of order 5 in KO: the venue says -30, we do not have it", "0 -40"]
        );
        // Said once. The other one has lasted by then too.
        assert_eq!(
            desk.tick(4),
            ["copy: execution 71 of order 5 in KO: we have -10, the venue does not say it", "0 -30"]
        );
        assert!(desk.tick(5).is_empty());
        // What comes late after all is no difference any more, at once.
        desk.fill(6, 5, 70, -30);
        assert_eq!(desk.tick(6), ["0 -30"]);
        desk.told(7, 5, 71, -10);
        assert_eq!(desk.tick(7), ["0 -40"]);
        assert_eq!(desk.tick(9), ["0 -40"]);
        assert_eq!((desk.reconcile.counters().differences, desk.reconcile.counters().matched), (2, 2));
    }

    #[test]
    fn a_broken_or_corrected_execution_is_a_difference() {
        let mut desk = Desk::new();
        desk.fill(1, 1, 7, 60);
        desk.told(1, 1, 7, 60);
        assert_eq!(desk.tick(3), ["0 60"]);
        desk.told(4, 1, 7, 50);
        assert_eq!(desk.tick(6), ["copy: execution 7 of order 1 in KO: we have 60, the venue says 50", "0 50"]);
        desk.told(7, 1, 7, 0);
        assert_eq!(desk.tick(9), ["0 0"]);
        // Of a listing at another venue: the security's.
        let other = Told { instrument: InstrumentId(1), ..told(2, 9, 5) };
        desk.reconcile.on_told(&other, Nanos(9 * SECOND));
        desk.reconcile.on_told(&Told { instrument: InstrumentId(7), ..other }, Nanos(9 * SECOND));
        assert_eq!(desk.tick(11)[1], "0 5");
        assert_eq!(desk.reconcile.counters().foreign, 1);
    }

    #[test]
    fn what_is_given_up_is_a_difference_for_good() {
        let mut desk = Desk::new();
        for execution in 0..=MAX_PENDING as u64 {
            desk.told(1, 1, 1 + execution, 1);
        }
        assert_eq!((desk.reconcile.pending.len(), desk.reconcile.counters().given_up), (MAX_PENDING, 1));
        for execution in 0..=MAX_PENDING as u64 {
            desk.fill(1, 1, 1 + execution, 1);
        }
        // The one that was given up is ours alone now, and their part of it is remembered: together they make none.
        assert_eq!(desk.tick(4).last().unwrap(), &format!("0 {}", MAX_PENDING + 1));
    }

    /// Whatever the order in which both sides say all executions, and however often the venue repeats itself: in the end
    /// they agree, and the last position told is ours.
    #[test]
    fn in_the_end_they_agree() {
        for seed in 0..200 {
            let (mut rng, mut desk) = (Rng::new(seed), Desk::new());
            let mut all: Vec<(bool, u64, i64)> = Vec::new();
            for execution in 1..=rng.below(30) + 1 {
                let shares = rng.below(100) as i64 - 50;
                let shares = if shares == 0 { 1 } else { shares };
                all.push((true, execution, shares));
                (0..=rng.below(3)).for_each(|_| all.push((false, execution, shares)));
            }
            for at in (1..all.len()).rev() {
                all.swap(at, rng.below(at as u64 + 1) as usize);
            }
            let mut second = 1;
            for (ours, execution, shares) in all {
                second += rng.below(2);
                if ours {
                    desk.fill(second, 1, execution, shares)
                } else {
                    desk.told(second, 1, execution, shares)
                }
                desk.tick(second);
            }
            desk.tick(second + 2);
            assert_eq!(desk.said.last().unwrap(), &format!("0 {}", desk.held), "seed {seed}");
            assert!(desk.reconcile.pending.is_empty());
            assert_eq!(desk.reconcile.next_tick(), None);
        }
    }
}
