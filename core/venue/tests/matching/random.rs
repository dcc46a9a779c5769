//! Random commands through the engine and through the naive matcher: the same events, the same orders, and accounts
//! that add up.

use std::collections::BTreeMap;

use helios_book::Capacity;
use helios_types::{BookRef, Digest, Hasher, InstrumentId, Price, Quantity, Side, Terms, TimeInForce};
use helios_venue::SelfTrade;
use helios_venue::matching::{
    Allocation, Amend, AuctionKind, Bands, Beyond, Command, Event, MatchingEngine, NewOrder, Phase, Place, Rules,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::naive::Naive;

const INSTRUMENTS: u32 = 2;
const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

/// How a run is seasoned: in per cent, how often an order asks for something special.
#[derive(Clone, Copy, Debug)]
struct Mix {
    special: u32,
    firms: u32,
    sessions: u32,
}

/// One random command, still without the numbers of orders.
#[derive(Clone, Copy, Debug)]
struct Dice {
    kind: u32,
    instrument: u32,
    buy: bool,
    price: i64,
    quantity: i64,
    /// Decides terms, time in force and phases.
    luck: [u32; 5],
    pick: usize,
}

fn dice() -> impl Strategy<Value = Dice> {
    let luck = prop::array::uniform5(0..100u32);
    (0..100u32, 0..INSTRUMENTS, any::<bool>(), 1..14i64, 1..10i64, luck, any::<usize>()).prop_map(
        |(kind, instrument, buy, price, quantity, luck, pick)| Dice {
            kind,
            instrument,
            buy,
            price,
            quantity,
            luck,
            pick,
        },
    )
}

fn mix() -> impl Strategy<Value = Mix> {
    let rates = (prop_oneof![Just(0u32), Just(20), Just(60)], prop_oneof![Just(0u32), Just(50)], 0..2u32);
    rates.prop_map(|(special, firms, sessions)| Mix { special, firms, sessions: sessions * 8 })
}

fn rules() -> impl Strategy<Value = Rules> {
    let allocation = prop_oneof![
        2 => Just(Allocation::PriceTime),
        1 => any::<bool>().prop_map(|top_first| Allocation::ProRata { top_first }),
    ];
    let beyond = prop_oneof![Just(Beyond::Reject), Just(Beyond::Cancel), Just(Beyond::Rest)];
    let reference = prop_oneof![(4..9i64).prop_map(Price), Just(Price::UNDEFINED)];
    let bands = (reference, 100_000..900_000u32, prop_oneof![Just(0u32), 100_000..600_000u32], beyond)
        .prop_map(|(reference, static_ppm, dynamic_ppm, beyond)| Bands { reference, static_ppm, dynamic_ppm, beyond });
    let steps = prop_oneof![3 => Just((0, 0)), 1 => Just((2, 0)), 1 => Just((0, 2)), 1 => Just((1, 1))];
    (allocation, steps, prop::option::weighted(0.3, bands)).prop_map(|(allocation, (tick, lot), bands)| Rules {
        allocation,
        tick: Price(tick),
        lot: Quantity(lot),
        bands,
    })
}

/// What a die means, given what works now.
fn command(dice: &Dice, mix: Mix, number: BookRef, naive: &Naive) -> Command {
    let instrument = InstrumentId(dice.instrument);
    let known = (!naive.held.is_empty()).then(|| &naive.held[dice.pick % naive.held.len().max(1)]);
    match (dice.kind, known) {
        (0..10, _) if dice.luck[0] < mix.sessions * 6 => session(dice, instrument, naive),
        (10..22, Some(held)) => Command::Cancel { instrument: held.new.instrument, order: held.new.order },
        (22, _) => Command::Cancel { instrument, order: dice.pick as BookRef % 40 },
        (23..38, Some(held)) => {
            let same = dice.luck[0] < 40;
            let price = if same { held.new.price } else { Price(dice.price) };
            let new_order = match dice.luck[1] {
                0..50 => number,
                50..60 => naive.held[0].new.order,
                _ => held.new.order,
            };
            let display = (dice.luck[2] < 15).then_some(Quantity(i64::from(dice.luck[3] % 5)));
            let quantity = Quantity(if dice.luck[4] < 20 { held.open() + held.filled } else { dice.quantity });
            let (instrument, order) = (held.new.instrument, held.new.order);
            Command::Amend(Amend { instrument, order, new_order, price, quantity, display })
        }
        (38, _) => {
            let kind = [AuctionKind::Open, AuctionKind::Close, AuctionKind::Reopen][dice.pick % 3];
            Command::Indicate { instrument, kind }
        }
        _ => Command::Submit(order(dice, mix, number, naive)),
    }
}

fn order(dice: &Dice, mix: Mix, number: BookRef, naive: &Naive) -> NewOrder {
    let side = if dice.buy { Side::Buy } else { Side::Sell };
    let instrument = InstrumentId(if dice.luck[4] == 99 { INSTRUMENTS } else { dice.instrument });
    // Now and then a number that is in use, a price or a quantity that is none.
    let number = if dice.luck[4] == 98 { naive.held.first().map_or(number, |held| held.new.order) } else { number };
    let quantity = Quantity(if dice.luck[4] == 97 { 0 } else { dice.quantity });
    let plain = NewOrder::limit(instrument, number, side, Price(dice.price), quantity);
    let time_in_force = match dice.luck[3] {
        0..8 => TimeInForce::Ioc,
        8..14 if mix.special > 0 => TimeInForce::Fok,
        14..22 if mix.sessions > 0 => TimeInForce::Open,
        22..30 if mix.sessions > 0 => TimeInForce::Close,
        _ => TimeInForce::Day,
    };
    let price = if dice.luck[2] < 10 { Price::UNDEFINED } else { plain.price };
    let mut terms = Terms::PLAIN;
    if dice.luck[0] < mix.special {
        match dice.luck[1] % 10 {
            0 | 1 => terms.display = Quantity::ZERO,
            2 | 3 => terms.display = Quantity(1 + i64::from(dice.luck[1] / 25)),
            4 | 5 => terms.midpoint = true,
            6 => terms.post_only = true,
            7 | 8 => terms.stop = Price(1 + i64::from(dice.luck[1] / 8)),
            _ => (terms.stop, terms.display) = (Price(1 + i64::from(dice.luck[1] / 8)), Quantity(1)),
        }
    }
    let firm = if dice.luck[4] < mix.firms { 1 + dice.luck[4] % 2 } else { 0 };
    let modes = [
        None,
        Some(SelfTrade::CancelNewest),
        Some(SelfTrade::CancelOldest),
        Some(SelfTrade::CancelBoth),
        Some(SelfTrade::Decrement),
    ];
    let self_trade = if firm == 0 { None } else { modes[dice.pick % 5] };
    NewOrder { price, time_in_force, terms, firm, self_trade, ..plain }
}

/// Phases follow one another mostly as in a day, and sometimes not.
fn session(dice: &Dice, instrument: InstrumentId, naive: &Naive) -> Command {
    let phase = naive.markets[instrument.index()].phase;
    let kinds = [AuctionKind::Open, AuctionKind::Close, AuctionKind::Reopen];
    let phases = [Phase::Closed, Phase::PreOpen, Phase::Auction, Phase::Continuous, Phase::Halted];
    if dice.luck[1] < 20 {
        return match dice.pick % 8 {
            at @ 0..3 => Command::Uncross { instrument, kind: kinds[at] },
            at => Command::Phase { instrument, phase: phases[at - 3] },
        };
    }
    match phase {
        Phase::Closed => Command::Phase { instrument, phase: Phase::PreOpen },
        Phase::PreOpen | Phase::Auction if dice.luck[1] < 30 => Command::Phase { instrument, phase: Phase::Continuous },
        Phase::PreOpen => Command::Uncross { instrument, kind: AuctionKind::Open },
        Phase::Auction => Command::Uncross { instrument, kind: kinds[1 + dice.pick % 2] },
        Phase::Halted => Command::Phase { instrument, phase: Phase::Auction },
        Phase::Continuous => Command::Phase { instrument, phase: phases[1 + dice.pick % 4] },
    }
}

fn digest(engine: &MatchingEngine) -> u128 {
    let mut hasher = Hasher::new();
    engine.digest(&mut hasher);
    hasher.finish()
}

/// Both matchers hold the same orders in the same queues.
fn assert_same_orders(engine: &MatchingEngine, naive: &Naive) {
    for instrument in (0..INSTRUMENTS).map(InstrumentId) {
        for (place, side) in Place::ALL.into_iter().flat_map(|place| SIDES.map(|side| (place, side))) {
            let queue = engine.queue(instrument, side, place);
            let numbers: Vec<_> = queue.iter().map(|working| working.order).collect();
            assert_eq!(numbers, naive.queue(instrument, side, place), "{place:?} {side:?}");
            for working in queue {
                let held = naive.held.iter().find(|held| held.new.order == working.order).expect("the same numbers");
                let shown = if place == Place::Shown { held.shown } else { 0 };
                let ours = (working.price, working.open.0, working.shown.0, working.filled.0, working.terms.stop);
                assert_eq!(ours, (held.new.price, held.open(), shown, held.filled, held.new.terms.stop));
            }
        }
        let market = &naive.markets[instrument.index()];
        assert_eq!(engine.phase(instrument), Some(market.phase));
        assert_eq!(engine.last(instrument), market.last.map_or(Price::UNDEFINED, Price));
    }
}

/// What every order has, from the events alone.
#[derive(Default)]
struct Ledger {
    /// Side, limit, and what is open.
    open: BTreeMap<BookRef, (Side, Price, i64)>,
    bought: i64,
    sold: i64,
    paid: i64,
    received: i64,
}

impl Ledger {
    fn note(&mut self, event: &Event) {
        match *event {
            Event::Accepted { order, side, price, quantity, .. } => {
                assert!(self.open.insert(order, (side, price, quantity.0)).is_none(), "accepted twice: {order}");
            }
            Event::Amended { order, new_order, price, quantity, .. } => {
                let (side, _, _) = self.open.remove(&order).expect("an order that works");
                assert!(self.open.insert(new_order, (side, price, quantity.0)).is_none());
            }
            Event::Cancelled { order, quantity, left, .. } => {
                assert_eq!(self.less(order, quantity, None), left.0, "left of {order}");
            }
            Event::Traded { side, incoming, resting, price, quantity, resting_left, .. } => {
                self.less(incoming, quantity, Some((side, price)));
                assert_eq!(self.less(resting, quantity, Some((side.opposite(), price))), resting_left.0);
            }
            Event::AuctionTraded { buy, sell, price, quantity, .. } => {
                self.less(buy, quantity, Some((Side::Buy, price)));
                self.less(sell, quantity, Some((Side::Sell, price)));
            }
            _ => {}
        }
    }

    /// An order has less now; in a trade, on its side and within its limit. Says what is open.
    fn less(&mut self, order: BookRef, quantity: Quantity, trade: Option<(Side, Price)>) -> i64 {
        assert!(quantity.0 > 0);
        let (side, limit, open) = self.open.get_mut(&order).expect("an order that works");
        *open -= quantity.0;
        let left = *open;
        assert!(left >= 0, "order {order} gave more than it had");
        if let Some((traded, price)) = trade {
            assert_eq!(*side, traded);
            let within = if traded == Side::Buy { price <= *limit } else { !limit.is_defined() || price >= *limit };
            assert!(within, "order {order} traded at {price} with limit {limit}");
            let (shares, cash) = match traded {
                Side::Buy => (&mut self.bought, &mut self.paid),
                Side::Sell => (&mut self.sold, &mut self.received),
            };
            *shares += quantity.0;
            *cash += price.0 * quantity.0;
        }
        if left == 0 {
            self.open.remove(&order);
        }
        left
    }

    fn check(&self, engine: &MatchingEngine) {
        assert_eq!((self.bought, self.paid), (self.sold, self.received), "shares and cash go from one to another");
        for (order, (_, _, open)) in &self.open {
            assert_eq!(engine.order(*order).map(|working| working.open.0), Some(*open), "open of {order}");
        }
        let held: usize = Place::ALL.iter().map(|place| engine.books_at(*place).len()).sum();
        assert_eq!(held, self.open.len(), "every order that works is accounted for");
    }
}

/// In continuous trading nothing that could trade stands still.
fn assert_uncrossed(engine: &MatchingEngine) {
    for instrument in (0..INSTRUMENTS).map(InstrumentId) {
        if engine.phase(instrument) != Some(Phase::Continuous) {
            continue;
        }
        let best = |side| {
            let places = [Place::Shown, Place::Hidden].into_iter();
            places.filter_map(move |place| engine.books_at(place).front(instrument, side)).map(|front| front.price)
        };
        let (bid, ask) = (best(Side::Buy).max(), best(Side::Sell).min());
        assert!(bid.is_none() || ask.is_none() || bid < ask, "{bid:?} {ask:?}");
    }
}

/// Runs both and compares after every command; all that was said is appended to `said`.
fn run(rules: &[Rules], mix: Mix, dice: &[Dice], said: &mut Vec<Event>) {
    let mut engine = MatchingEngine::new(INSTRUMENTS as usize, Capacity { orders: 1000, levels: 1000 });
    for (at, rules) in rules.iter().enumerate() {
        engine.set_rules(InstrumentId(at as u32), *rules).expect("valid rules");
    }
    let (mut naive, mut ledger, mut events) = (Naive::new(rules), Ledger::default(), Vec::new());
    for (n, dice) in dice.iter().enumerate() {
        let command = command(dice, mix, 100 + n as BookRef, &naive);
        let before = digest(&engine);
        events.clear();
        engine.apply(&command, &mut events);
        naive.events.clear();
        naive.apply(&command);
        assert_eq!(events, naive.events, "{command:?}");
        if let [Event::Rejected { .. }] = events.as_slice() {
            assert_eq!(digest(&engine), before, "a refused command changes nothing: {command:?}");
        }
        assert!(events.iter().skip(1).all(|event| !matches!(event, Event::Rejected { .. })));
        events.iter().for_each(|event| ledger.note(event));
        assert_same_orders(&engine, &naive);
        ledger.check(&engine);
        assert_uncrossed(&engine);
        said.append(&mut events);
    }
}

/// A word for what an event is about: its kind, and its reason or place if it has one.
fn kind(event: &Event) -> String {
    match event {
        Event::Rejected { request, reason, .. } => format!("Rejected {request:?} {reason:?}"),
        Event::Cancelled { reason, .. } => format!("Cancelled {reason:?}"),
        Event::Amended { kept, .. } => format!("Amended kept {kept}"),
        Event::Auctioned { kind, indicative, .. } => format!("Auctioned {kind:?} {}", indicative.price.is_defined()),
        other => format!("{other:?}").split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

/// A property that random commands never put to the test proves nothing.
#[test]
fn the_dice_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let runs = ((rules(), rules()), mix(), prop::collection::vec(dice(), 100..120));
    let mut said = Vec::new();
    for _ in 0..300 {
        let ((a, b), mix, dice) = runs.new_tree(&mut runner).expect("dice").current();
        run(&[a, b], mix, &dice, &mut said);
    }
    let mut counts = BTreeMap::new();
    for event in &said {
        *counts.entry(kind(event)).or_insert(0) += 1;
    }
    let wanted = include_str!("reached.txt").lines();
    let missing: Vec<_> = wanted.filter(|wanted| counts.get(*wanted).is_none_or(|count| *count < 5)).collect();
    assert!(missing.is_empty(), "never or hardly reached: {missing:?} of {counts:#?}");
}

proptest! {
    #[test]
    fn does_what_plain_lists_do(
        rules in (rules(), rules()),
        mix in mix(),
        dice in prop::collection::vec(dice(), 1..120),
    ) {
        run(&[rules.0, rules.1], mix, &dice, &mut Vec::new());
    }

    /// Plain rules and few special orders: the short way and the long one alternate.
    #[test]
    fn the_short_way_does_what_the_long_one_does(dice in prop::collection::vec(dice(), 1..200)) {
        run(&[Rules::default(); 2], Mix { special: 5, firms: 5, sessions: 0 }, &dice, &mut Vec::new());
    }
}
