//! Our executions held against the venue's, as a drop copy tells them.
//!
//! Each execution of the venue's day is expected on both sides, by its number and side. One that only one side has for
//! longer than the grace time is a difference; what the differences of an instrument amount to is said whenever it has
//! changed, and once more when both sides agree and are quiet, so that a difference of an earlier process is withdrawn.
//! Lines for the log say of each execution which side lacks it.
//!
//! An execution that is on its way is no difference, however long its connection is down. So the grace time of one that the
//! venue lacks runs only while the drop copy is logged on and has told what it had told before, that of one that we lack
//! while order entry is settled; and the other side must have been heard since, in the second half of the grace time,
//! whatever it said: order on a connection does the rest. A connection that stood still brings at first a part of what it
//! held back: so a quarter of the grace time more is waited. It takes a grace time of more than twice the delay of the
//! network.
//!
//! After a restart the fills of the journal are told first. The drop copy tells the venue's day from its beginning; what
//! either side has of earlier days is not compared, and positions brought into the day are those of the journal. What the
//! venue executed today before the journal began counts as one difference, if it does not come to zero.
//!
//! Bounded: [`MAX_PENDING`] executions that one side lacks, of which the oldest becomes a lasting difference;
//! [`MAX_MATCHED`] that both have, of which the oldest is forgotten (told again, it is a difference). Absent: prices and
//! fees; positions at the beginning of the day.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use helios_types::{Fill, InstrumentId, Nanos, Quantity};

use crate::entry::Traded;

/// Executions that one side lacks.
pub const MAX_PENDING: usize = 1 << 20;
/// Executions that both sides have and that are remembered.
pub const MAX_MATCHED: usize = 1 << 20;
/// Lines for the log of one look: further executions are counted.
const MAX_LINES: usize = 100;
/// Executions that one side lacks are looked at so often in a grace time.
const LOOKS: u64 = 8;

/// How it is compared.
#[derive(Clone, Debug)]
pub struct ReconcileConfig {
    /// Of the drop copy, in lines for the log.
    pub name: String,
    /// Symbols of the run's instruments; `None` for those that the drop copy does not tell of.
    pub symbols: Vec<Option<String>>,
    /// For each instrument the one whose position its executions go to; empty: each its own.
    pub holds: Vec<InstrumentId>,
    /// How long one side may lack what the other has.
    pub grace_ns: u64,
    /// The beginning of the venue's day: executions with an earlier stamp are not compared.
    pub day: Nanos,
    /// When the journal began.
    pub began: Nanos,
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
    /// Executions of instruments that the drop copy does not tell of, or of earlier days.
    pub foreign: u64,
}

/// Instrument, the venue's number, our side.
type Key = (u32, u64, i64);

/// An execution that the two sides do not have alike; signed.
#[derive(Clone, Debug, Default)]
struct Pending {
    holder: usize,
    ours: i64,
    theirs: i64,
    since: Nanos,
    /// Since then it looks like a difference.
    doubted: Option<Nanos>,
    said: bool,
    /// It was executed before the journal began.
    before: bool,
    /// Whose it is, in the words of who said it first.
    order: String,
}

/// What is known of one instrument that holds a position.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// By how much the executions that were given up differ.
    given_up: i64,
    /// The difference that was said.
    told: i64,
    /// Something came since that was said, and when.
    news: Option<Nanos>,
}

/// One side's word: what it has not said until it was heard last, it does not know.
#[derive(Clone, Copy, Debug, Default)]
struct Voice {
    /// It has told all that it has, since then; `None` while it is away.
    whole: Option<Nanos>,
    heard: Nanos,
}

impl Voice {
    /// It could have said what is known since `since`, and has not.
    fn denies(&self, since: Nanos, now: Nanos, grace: u64) -> bool {
        self.whole.is_some_and(|whole| {
            let from = since.max(whole);
            now.since(from) >= grace && self.heard >= from.plus(grace / 2)
        })
    }
}

/// The comparison of one drop copy. Times are of a clock that is never set.
#[derive(Debug)]
pub struct Reconcile {
    config: ReconcileConfig,
    pending: BTreeMap<Key, Pending>,
    /// Keys in the order in which they came to be pending; those that are not any more leave late.
    waiting: VecDeque<Key>,
    /// Signed quantities, and the keys in the order in which they were matched.
    matched: BTreeMap<Key, i64>,
    oldest: VecDeque<Key>,
    standings: Vec<Standing>,
    venue: Voice,
    entry: Voice,
    room: usize,
    /// When it is looked at again.
    next: Nanos,
    counters: ReconcileCounters,
}

impl Reconcile {
    /// Nothing was told yet.
    pub fn new(config: ReconcileConfig) -> Self {
        Self {
            standings: vec![Standing::default(); config.symbols.len()],
            config,
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            matched: BTreeMap::new(),
            oldest: VecDeque::new(),
            venue: Voice::default(),
            entry: Voice::default(),
            room: MAX_PENDING,
            next: Nanos(0),
            counters: ReconcileCounters::default(),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> ReconcileCounters {
        self.counters
    }

    /// Executions that we lack, and that the venue lacks, beyond the grace time.
    pub fn lacking(&self) -> (u64, u64) {
        let said = self.pending.values().filter(|pending| pending.said);
        said.fold(
            (0, 0),
            |(we, they), one| {
                if one.ours.abs() < one.theirs.abs() { (we + 1, they) } else { (we, they + 1) }
            },
        )
    }

    /// The drop copy is logged on, or is not.
    pub fn on_copy(&mut self, is_up: bool, now: Nanos) {
        self.venue.whole = is_up.then_some(now);
    }

    /// The drop copy tells what it has told before: it is not at its end yet.
    pub fn on_repeated(&mut self, now: Nanos) {
        self.counters.repeated += 1;
        self.venue.whole = self.venue.whole.map(|_| now);
    }

    /// Anything came from the drop copy.
    pub fn on_copy_heard(&mut self, now: Nanos) {
        self.venue.heard = self.venue.heard.max(now);
    }

    /// Order entry is settled, or is not.
    pub fn on_entry(&mut self, is_settled: bool, now: Nanos) {
        self.entry.whole = is_settled.then_some(now);
    }

    /// Anything came from order entry.
    pub fn on_entry_heard(&mut self, at: Nanos) {
        self.entry.heard = self.entry.heard.max(at);
    }

    /// The engine booked a fill, now or in the journal; several parts of one execution add up.
    pub fn on_fill(&mut self, fill: &Fill, now: Nanos) {
        // A transfer between strategies is no execution.
        if fill.execution != 0 {
            let (quantity, key) = (fill.side.sign() * fill.quantity.0, (fill.execution, fill.side.sign()));
            let order = || fill.order.0.to_string();
            self.change(fill.instrument, key, fill.ts_event, now, order, |pending| pending.ours += quantity);
        }
    }

    /// The drop copy told an execution.
    pub fn on_told(&mut self, told: &Traded<'_>, now: Nanos) {
        let (quantity, key) = (told.side.sign() * told.quantity.0, (told.execution, told.side.sign()));
        if self.matched.get(&(told.instrument.0, key.0, key.1)) == Some(&quantity) {
            return self.on_repeated(now);
        }
        let order = || told.order.to_owned();
        self.change(told.instrument, key, told.ts_event, now, order, |pending| pending.theirs = quantity);
    }

    /// One side says something of an execution.
    fn change(
        &mut self,
        instrument: InstrumentId,
        (execution, sign): (u64, i64),
        stamp: Nanos,
        now: Nanos,
        order: impl FnOnce() -> String,
        say: impl FnOnce(&mut Pending),
    ) {
        let told_of = self.config.symbols.get(instrument.index()).is_some_and(Option::is_some);
        let holder = self.config.holds.get(instrument.index()).copied().unwrap_or(instrument).index();
        if !told_of || holder >= self.standings.len() || stamp < self.config.day {
            self.counters.foreign += 1;
            return;
        }
        let key = (instrument.0, execution, sign);
        let known = self.matched.remove(&key).unwrap_or(0);
        let (before, waiting) = (stamp < self.config.began, &mut self.waiting);
        let pending = self.pending.entry(key).or_insert_with(|| {
            waiting.push_back(key);
            Pending {
                holder,
                ours: known,
                theirs: known,
                since: now,
                doubted: None,
                said: false,
                before,
                order: order(),
            }
        });
        // What was said and is no more is said at once.
        if pending.said {
            self.next = Nanos(0);
        }
        say(pending);
        let (alike, since) = ((pending.ours == pending.theirs).then_some(pending.ours), pending.since);
        self.standings[holder].news = Some(now);
        if let Some(quantity) = alike {
            self.pending.remove(&key);
            self.matched(key, quantity);
            // We had it before the drop copy came: it is telling what was.
            if let Some(whole) = self.venue.whole
                && since < whole
            {
                self.venue.whole = Some(now);
            }
        } else if self.pending.len() > self.room {
            self.give_up();
        }
        if self.waiting.len() > 2 * self.room {
            let pending = &self.pending;
            self.waiting.retain(|key| pending.contains_key(key));
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
        while let Some(key) = self.waiting.pop_front() {
            if let Some(pending) = self.pending.remove(&key) {
                self.standings[pending.holder].given_up += pending.theirs - pending.ours;
                self.counters.given_up += 1;
                self.next = Nanos(0);
                return;
            }
        }
    }

    /// Time passes: what the differences of an instrument come to is said when it is not what it was, and when all is quiet.
    pub fn on_tick(
        &mut self,
        now: Nanos,
        differs: &mut impl FnMut(InstrumentId, Quantity),
        note: &mut impl FnMut(fmt::Arguments<'_>),
    ) {
        if now < self.next {
            return;
        }
        let (grace, venue, entry) = (self.config.grace_ns, self.venue, self.entry);
        self.next = now.plus(grace / LOOKS);
        let mut sums: Vec<i64> = self.standings.iter().map(|standing| standing.given_up).collect();
        let mut waits = vec![false; sums.len()];
        let mut before: BTreeMap<usize, (u64, i64)> = BTreeMap::new();
        let mut lines = 0;
        for ((instrument, execution, _), pending) in &mut self.pending {
            let lasts = (pending.ours == 0 || venue.denies(pending.since, now, grace))
                && (pending.theirs == 0 || entry.denies(pending.since, now, grace));
            pending.doubted = if lasts { pending.doubted.or(Some(now)) } else { None };
            let lasts = pending.doubted.is_some_and(|doubted| now.since(doubted) >= grace / 4);
            if !pending.said && !lasts {
                waits[pending.holder] = true;
                continue;
            }
            sums[pending.holder] += pending.theirs - pending.ours;
            if std::mem::replace(&mut pending.said, true) {
                continue;
            }
            self.counters.differences += 1;
            if pending.before && pending.ours == 0 {
                let sum = before.entry(*instrument as usize).or_default();
                *sum = (sum.0 + 1, sum.1 + pending.theirs);
                continue;
            }
            lines += 1;
            if lines <= MAX_LINES {
                let (name, order) = (&self.config.name, &pending.order);
                let symbol = self.config.symbols[*instrument as usize].as_deref().unwrap_or_default();
                let lack = Lack(Quantity(pending.ours), Quantity(pending.theirs));
                note(format_args!("{name}: execution {execution} of order {order} in {symbol}: {lack}"));
            }
        }
        if lines > MAX_LINES {
            note(format_args!("{}: {} executions more differ", self.config.name, lines - MAX_LINES));
        }
        for (instrument, (count, sum)) in before {
            let symbol = self.config.symbols[instrument].as_deref().unwrap_or_default();
            let (name, sum) = (&self.config.name, Quantity(sum));
            note(format_args!("{name}: {count} executions in {symbol} from before this journal began come to {sum}"));
        }
        for (at, standing) in self.standings.iter_mut().enumerate() {
            let denied = |since| venue.denies(since, now, grace) && entry.denies(since, now, grace);
            let quiet = !waits[at] && standing.news.is_some_and(denied);
            if standing.told != sums[at] || quiet {
                standing.told = sums[at];
                standing.news = standing.news.filter(|_| !quiet);
                differs(InstrumentId(at as u32), Quantity(sums[at]));
            }
        }
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
    use helios_types::{Cash, Liquidity, OrderId, Price, Rng, Side, StrategyId};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 1_000 * SECOND;

    fn at(second: u64) -> Nanos {
        Nanos(DAY + second * SECOND)
    }

    fn fill(order: u64, execution: u64, shares: i64) -> Fill {
        Fill {
            order: OrderId(order),
            strategy: StrategyId(0),
            instrument: InstrumentId(0),
            execution,
            ts_event: at(1),
            side: Side::of(Quantity(shares)),
            price: Price::whole(1),
            quantity: Quantity::whole(shares.abs()),
            fee: Cash::ZERO,
            liquidity: Liquidity::Taker,
            position: Quantity::ZERO,
            realised: Cash::ZERO,
        }
    }

    fn told(execution: u64, side: Side, shares: i64) -> Traded<'static> {
        let (order, instrument, quantity) = ("5", InstrumentId(0), Quantity::whole(shares));
        Traded { order, execution, instrument, side, quantity, price: Price::whole(1), ts_event: at(1) }
    }

    /// A comparison, and all that it said.
    struct Desk {
        reconcile: Reconcile,
        said: Vec<String>,
    }

    impl Desk {
        /// Both sides are up since the beginning.
        fn new() -> Self {
            let symbols = ["KO", "KO@B"].map(|symbol| Some(symbol.to_owned())).to_vec();
            let holds = vec![InstrumentId(0), InstrumentId(0)];
            let (name, day, began) = ("copy".to_owned(), Nanos(DAY), Nanos(DAY));
            let config = ReconcileConfig { name, symbols, holds, grace_ns: 2 * SECOND, day, began };
            let mut reconcile = Reconcile::new(config);
            reconcile.on_copy(true, at(0));
            reconcile.on_entry(true, at(0));
            Self { reconcile, said: Vec::new() }
        }

        fn fill(&mut self, second: u64, execution: u64, shares: i64) {
            self.reconcile.on_fill(&fill(5, execution, shares), at(second));
        }

        fn told(&mut self, second: u64, execution: u64, shares: i64) {
            self.reconcile.on_told(&told(execution, Side::of(Quantity(shares)), shares.abs()), at(second));
        }

        /// The lines of a tick at which nobody was heard, and of one a quarter of the grace time later.
        fn silent(&mut self, second: u64) -> Vec<String> {
            let mut said = self.look(at(second));
            said.extend(self.look(at(second).plus(SECOND / 2)));
            said
        }

        fn look(&mut self, now: Nanos) -> Vec<String> {
            let said = std::cell::RefCell::new(Vec::new());
            self.reconcile.on_tick(
                now,
                &mut |instrument, differs| said.borrow_mut().push(format!("{} {differs}", instrument.0)),
                &mut |text| said.borrow_mut().push(text.to_string()),
            );
            let said = said.into_inner();
            self.said.extend(said.iter().cloned());
            said
        }

        /// The lines of a tick at which both sides were heard.
        fn tick(&mut self, second: u64) -> Vec<String> {
            self.reconcile.on_copy_heard(at(second));
            self.reconcile.on_entry_heard(at(second));
            self.silent(second)
        }
    }

    #[test]
    fn what_both_sides_have_is_confirmed_when_they_are_quiet() {
        let mut desk = Desk::new();
        desk.fill(1, 7, 60);
        // Shared out to two strategies: parts of one execution.
        desk.fill(1, 8, 25);
        desk.fill(1, 8, 15);
        assert!(desk.tick(2).is_empty());
        desk.told(2, 7, 60);
        desk.told(2, 8, 40);
        assert!(desk.tick(3).is_empty());
        assert_eq!(desk.tick(4), ["0 0"]);
        // Told again after a reconnect: known.
        desk.told(9, 7, 60);
        desk.told(9, 8, 40);
        assert_eq!((desk.tick(20), desk.reconcile.counters().repeated), (vec![], 2));
        // We trade with ourselves: one number, two executions.
        desk.fill(21, 9, 10);
        desk.fill(21, 9, -10);
        desk.told(21, 9, -10);
        desk.told(21, 9, 10);
        assert_eq!((desk.tick(23), desk.reconcile.counters().matched), (vec!["0 0".to_owned()], 4));
    }

    #[test]
    fn each_side_may_lack_one_for_the_grace_time_and_no_longer() {
        let mut desk = Desk::new();
        desk.told(1, 70, -30);
        desk.fill(2, 71, -10);
        let we_lack = "copy: execution 70 of order 5 in KO: the venue says -30, we do not have it";
        assert_eq!(desk.tick(3), [we_lack, "0 -30"]);
        // Said once. The other one has lasted by then too.
        let they_lack = "copy: execution 71 of order 5 in KO: we have -10, the venue does not say it";
        assert_eq!(desk.tick(4), [they_lack, "0 -20"]);
        assert_eq!((desk.tick(5), desk.reconcile.lacking()), (vec![], (1, 1)));
        // What comes late after all is no difference any more, at once.
        desk.fill(6, 70, -30);
        assert_eq!(desk.tick(6), ["0 10"]);
        desk.told(7, 71, -10);
        assert_eq!(desk.tick(7), ["0 0"]);
        assert_eq!(desk.tick(9), ["0 0"]);
        assert_eq!((desk.reconcile.counters().differences, desk.reconcile.counters().matched), (2, 2));
    }

    #[test]
    fn a_connection_that_stood_still_may_bring_the_rest_a_little_later() {
        let mut desk = Desk::new();
        desk.told(1, 70, -30);
        desk.reconcile.on_entry_heard(at(4));
        assert!(desk.look(at(4)).is_empty());
        desk.reconcile.on_fill(&fill(5, 70, -30), at(4).plus(SECOND / 4));
        assert_eq!((desk.silent(5), desk.tick(7)), (vec![], vec!["0 0".to_owned()]));
        // What does not come is said: it was heard again, or not.
        desk.told(10, 71, -30);
        desk.reconcile.on_entry_heard(at(13));
        assert!(desk.look(at(13)).is_empty());
        assert_eq!(desk.look(at(13).plus(SECOND / 2))[1], "0 -30");
    }

    #[test]
    fn who_is_away_or_silent_lacks_nothing() {
        let mut desk = Desk::new();
        desk.reconcile.on_copy(false, at(1));
        desk.fill(1, 7, 60);
        assert!(desk.tick(30).is_empty());
        // It is back, and tells from the beginning: grace begins anew with each old one.
        desk.reconcile.on_copy(true, at(31));
        assert!(desk.tick(32).is_empty());
        desk.fill(32, 8, 10);
        desk.told(32, 7, 60);
        assert!(desk.silent(33).is_empty());
        // It is there and says nothing at all: half open.
        desk.reconcile.on_entry_heard(at(60));
        assert!(desk.silent(60).is_empty());
        assert_eq!(desk.tick(61)[1], "0 -10");
        // The same for order entry.
        desk.told(61, 8, 10);
        assert_eq!(desk.tick(61), ["0 0"]);
        desk.reconcile.on_entry(false, at(62));
        desk.told(62, 9, 5);
        assert!(desk.tick(90).is_empty());
        desk.reconcile.on_entry(true, at(91));
        assert!(desk.tick(92).is_empty());
        // A difference that was said stands while one is away.
        assert_eq!(desk.tick(93)[1], "0 5");
        desk.reconcile.on_entry(false, at(94));
        assert!(desk.tick(99).is_empty());
    }

    #[test]
    fn earlier_days_are_not_compared_and_what_was_before_the_journal_is_summed_up() {
        let mut desk = Desk::new();
        desk.reconcile.config.began = at(50);
        let yesterday = Nanos(DAY - 1);
        desk.reconcile.on_fill(&Fill { ts_event: yesterday, ..fill(5, 1, 70) }, at(60));
        desk.reconcile.on_told(&Traded { ts_event: yesterday, ..told(2, Side::Buy, 3) }, at(60));
        assert_eq!((desk.tick(70), desk.reconcile.counters().foreign), (vec![], 2));
        (3..9).for_each(|execution| desk.told(70, execution, 10));
        desk.told(70, 9, -40);
        let line = "copy: 7 executions in KO from before this journal began come to 20";
        assert_eq!(desk.tick(72), [line, "0 20"]);
        desk.told(73, 10, -20);
        assert_eq!(desk.tick(75)[1], "0 0");
    }

    #[test]
    fn a_broken_or_corrected_execution_is_a_difference() {
        let mut desk = Desk::new();
        desk.fill(1, 7, 60);
        desk.told(1, 7, 60);
        assert_eq!(desk.tick(3), ["0 0"]);
        desk.told(4, 7, 50);
        assert_eq!(desk.tick(6), ["copy: execution 7 of order 5 in KO: we have 60, the venue says 50", "0 -10"]);
        desk.reconcile.on_told(&told(7, Side::Buy, 0), at(7));
        assert_eq!(desk.tick(9), ["0 -60"]);
        // Of a listing at another venue: the security's.
        let other = Traded { instrument: InstrumentId(1), ..told(9, Side::Buy, 5) };
        desk.reconcile.on_told(&other, at(9));
        desk.reconcile.on_told(&Traded { instrument: InstrumentId(7), ..other }, at(9));
        assert_eq!(desk.tick(11)[1], "0 -55");
        assert_eq!(desk.reconcile.counters().foreign, 1);
    }

    #[test]
    fn what_is_given_up_is_a_difference_for_good() {
        let mut desk = Desk::new();
        desk.reconcile.room = 100;
        (0..=100).for_each(|execution| desk.told(1, 1 + execution, 1));
        assert_eq!((desk.reconcile.pending.len(), desk.reconcile.counters().given_up), (100, 1));
        (0..=100).rev().for_each(|execution| desk.fill(1, 1 + execution, 1));
        // The one that was given up is ours alone now, and their part of it is remembered: together they make none.
        assert_eq!(desk.tick(4).last().unwrap(), "0 0");
        for execution in 200..2_000 {
            desk.told(5, execution, 1);
            desk.fill(5, execution, 1);
        }
        assert!(desk.reconcile.waiting.len() <= 200 && desk.reconcile.pending.len() == 1);
    }

    /// Whatever the order in which both sides say all executions, and however often the venue repeats itself: in the end
    /// they agree.
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
                    desk.fill(second, execution, shares)
                } else {
                    desk.told(second, execution, shares)
                }
                desk.tick(second);
            }
            desk.tick(second + 2);
            assert_eq!(desk.said.last().unwrap(), "0 0", "seed {seed}");
            assert!(desk.reconcile.pending.is_empty());
        }
    }
}
