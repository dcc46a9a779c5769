//! Random days against plain recomputation: everything that risk keeps as a running number is computed here from the
//! list of all orders and trades, and every verdict of the gate from the rules as they are written down.

use helios_risk::{Approved, Limits, Mode, Risk, Share, Wish};
use helios_types::{
    Cash, Control, InstrumentId, NANOS_PER_DAY, NANOS_PER_SECOND, Nanos, Order, OrderId, Price, Quantity, Refusal,
    Rule, Side, StrategyId, Terms, TimeInForce, notional,
};
use proptest::prelude::*;

use crate::{KO, PEP, SECOND, instruments};

/// What can happen; numbers are dice.
#[derive(Clone, Debug)]
enum Act {
    Send { buy: bool, pep: bool, quantity: i64, price: i64, market: bool },
    Replace { which: usize, quantity: i64, price: i64 },
    AnswerReplace { which: usize, yes: bool },
    Fill { which: usize, part: u8, price: i64, fee: i64, split: u8 },
    Cancel { which: usize },
    Mark { pep: bool, price: i64 },
    Transfer { quantity: i64, price: i64, split: u8 },
    Wait { ns: u64 },
    Control(Control),
}

/// Prices and quantities that are not round, so that notionals are.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let price = || 900_000_000i64..1_100_000_000;
    let quantity = || 1i64..3_000_000_000;
    let which = any::<usize>;
    let wait = prop_oneof![
        5 => 1u64..NANOS_PER_SECOND / 2,
        1 => Just(NANOS_PER_SECOND),
        1 => Just(NANOS_PER_DAY / 2)
    ];
    let act = prop_oneof![
        8 => (any::<bool>(), any::<bool>(), quantity(), price(), prop::bool::weighted(0.2))
            .prop_map(|(buy, pep, quantity, price, market)| Act::Send { buy, pep, quantity, price, market }),
        2 => (which(), quantity(), price()).prop_map(|(which, quantity, price)| Act::Replace { which, quantity, price }),
        2 => (which(), any::<bool>()).prop_map(|(which, yes)| Act::AnswerReplace { which, yes }),
        8 => (which(), any::<u8>(), price(), -900i64..900, any::<u8>())
            .prop_map(|(which, part, price, fee, split)| Act::Fill { which, part, price, fee, split }),
        2 => which().prop_map(|which| Act::Cancel { which }),
        4 => (any::<bool>(), price()).prop_map(|(pep, price)| Act::Mark { pep, price }),
        1 => (quantity(), price(), any::<u8>())
            .prop_map(|(quantity, price, split)| Act::Transfer { quantity, price, split }),
        4 => wait.prop_map(|ns| Act::Wait { ns }),
        1 => prop_oneof![3 => Just(Control::Resume), 1 => Just(Control::Pause)].prop_map(Act::Control),
    ];
    prop::collection::vec(act, 1..120)
}

/// One order as the plain book keeps it.
#[derive(Clone, Debug)]
struct Plain {
    wish: Wish,
    filled: i64,
    asked: Option<(i64, Price)>,
}

impl Plain {
    fn room(&self) -> i64 {
        self.wish.quantity.0.max(self.asked.map_or(0, |(quantity, _)| quantity)) - self.filled
    }
}

/// One trade: instrument, signed quantity, price, fee.
type Trade = (InstrumentId, i64, Price, i64);

/// A refusal, as far as it is computed: rule, limit, value.
type Verdict = (Rule, i64, i64);

/// Everything that ever happened; all numbers are computed from it.
struct World {
    risk: Risk,
    limits: Limits,
    now: Nanos,
    orders: Vec<Plain>,
    trades: Vec<Trade>,
    marks: [Option<Price>; 2],
    stamps: Vec<Nanos>,
    day_start: i64,
    paused: bool,
    breached: bool,
}

const START: i64 = 1_000_000_000;

fn money(price: Price, quantity: i64) -> i64 {
    notional(price, Quantity(quantity)).unwrap().0
}

impl World {
    fn new(limits: Limits) -> Self {
        let mut risk = Risk::new(&instruments(Price(1), Quantity(1)), limits, Cash(START));
        risk.clock(SECOND);
        Self {
            risk,
            limits,
            now: SECOND,
            orders: Vec::new(),
            trades: Vec::new(),
            marks: [None; 2],
            stamps: Vec::new(),
            day_start: START,
            paused: false,
            breached: false,
        }
    }

    fn held(&self, instrument: InstrumentId) -> i64 {
        self.trades.iter().filter(|trade| trade.0 == instrument).map(|trade| trade.1).sum()
    }

    fn value(&self, instrument: InstrumentId) -> i64 {
        self.marks[instrument.index()].map_or(0, |mark| money(mark, self.held(instrument)))
    }

    fn cash(&self) -> i64 {
        START - self.trades.iter().map(|(_, signed, price, fee)| money(*price, *signed) + fee).sum::<i64>()
    }

    fn equity(&self) -> i64 {
        self.cash() + self.value(KO) + self.value(PEP)
    }

    fn open(&self, instrument: InstrumentId, side: Side) -> i64 {
        let here = |order: &&Plain| (order.wish.instrument, order.wish.side) == (instrument, side);
        self.orders.iter().filter(here).map(Plain::room).sum()
    }

    /// Largest absolute position when everything of one side fills, with `more` added to it.
    fn reach(&self, instrument: InstrumentId, side: Side, more: i64) -> i64 {
        let on = |s: Side| self.open(instrument, s) + if s == side { more } else { 0 };
        let held = self.held(instrument);
        (held + on(Side::Buy)).abs().max((held - on(Side::Sell)).abs())
    }

    fn gross(&self, instrument: InstrumentId, side: Side, more: i64) -> i64 {
        let worst = |id: InstrumentId| {
            let reach = self.reach(id, side, if id == instrument { more } else { 0 });
            self.marks[id.index()].map_or(0, |mark| money(mark, reach))
        };
        worst(KO) + worst(PEP)
    }

    /// The rules in their order, each from scratch: the first that says no.
    fn verdict(&self, wish: &Wish, room: i64, filled: i64) -> Option<Verdict> {
        let Wish { instrument, side, quantity, .. } = *wish;
        let left = quantity.0 - filled;
        if left <= 0 {
            return Some((Rule::Invalid, 1, quantity.0));
        }
        let closes = -side.sign() * self.held(instrument);
        let reduces = closes > 0 && self.open(instrument, side) - room + left <= closes;
        let loss = self.day_start - self.equity();
        if self.breached && !reduces {
            return Some((Rule::DailyLoss, self.limits.daily_loss.unwrap().0, loss));
        }
        if self.paused && !reduces {
            return Some((Rule::Stopped, 0, 0));
        }
        let more = (left - room).max(0);
        let recent = self.stamps.iter().filter(|ts| self.now.0 - ts.0 < NANOS_PER_SECOND).count() as i64;
        let mark = self.marks[instrument.index()];
        let gross = mark.map(|_| self.gross(instrument, side, more));
        let limits = &self.limits;
        let rows = [
            (Rule::OrderQuantity, limits.order_quantity.map(|x| x.0), Some(quantity.0)),
            (Rule::OrderNotional, limits.order_notional.map(|x| x.0), self.order_notional(wish)),
            (Rule::PriceCollar, limits.price_collar_ppm, self.collar(wish)),
            (Rule::Position, limits.position.map(|x| x.0), Some(self.reach(instrument, side, more))),
            (Rule::GrossExposure, limits.gross_exposure.map(|x| x.0), gross),
            (Rule::OrderRate, limits.orders_per_second, Some(recent + 1)),
            (Rule::DailyLoss, limits.daily_loss.map(|x| x.0), Some(loss)),
        ];
        rows.into_iter().find_map(|(rule, limit, value)| {
            let waived = reduces && matches!(rule, Rule::Position | Rule::GrossExposure | Rule::DailyLoss);
            let (limit, value) = (limit?, value.unwrap_or(i64::MAX));
            (value > limit && !waived).then_some((rule, limit, value))
        })
    }

    /// A purchase costs its limit at most; a sale brings the mark, or its limit when that is higher.
    fn order_notional(&self, wish: &Wish) -> Option<i64> {
        let (limit, mark) = (wish.price.is_defined().then_some(wish.price), self.marks[wish.instrument.index()]);
        let dear = match wish.side {
            Side::Buy => limit.or(mark),
            Side::Sell => mark.map(|mark| mark.max(limit.unwrap_or(mark))),
        };
        dear.map(|price| money(price, wish.quantity.0))
    }

    fn collar(&self, wish: &Wish) -> Option<i64> {
        if !wish.price.is_defined() {
            return Some(0);
        }
        let mark = self.marks[wish.instrument.index()]?.0;
        let scaled = (wish.price.0 - mark).abs() * 1_000_000;
        Some(scaled / mark + i64::from(scaled % mark > 0))
    }

    fn pick(&self, which: usize) -> Option<usize> {
        (!self.orders.is_empty()).then(|| which % self.orders.len())
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Send { buy, pep, quantity, price, market } => {
                let (strategy, quantity, time_in_force) = (StrategyId(0), Quantity(quantity), TimeInForce::Day);
                let (instrument, side) = (if pep { PEP } else { KO }, if buy { Side::Buy } else { Side::Sell });
                let price = if market { Price::UNDEFINED } else { Price(price) };
                self.send(Wish { strategy, instrument, side, quantity, price, time_in_force, terms: Terms::PLAIN });
            }
            Act::Replace { which, quantity, price } => self.replace(which, quantity, Price(price)),
            Act::AnswerReplace { which, yes } => self.answer_replace(which, yes),
            Act::Fill { which, part, price, fee, split } => self.fill(which, part, Price(price), fee, split),
            Act::Cancel { which } => {
                let Some(at) = self.pick(which) else { return };
                let order = self.orders.swap_remove(at);
                let Wish { instrument, side, .. } = order.wish;
                self.risk.change_working(instrument, side, Quantity(-order.room())).unwrap();
            }
            Act::Mark { pep, price } => {
                let id = if pep { PEP } else { KO };
                self.risk.mark(id, Price(price)).unwrap();
                self.marks[id.index()] = Some(Price(price));
            }
            Act::Transfer { quantity, price, split } => {
                let [a, b, c] = self.accounts(KO);
                let mut shares = split_up(&[a, b], Side::Buy, quantity, 0, split);
                shares.push(Share::new(c, Side::Sell, Quantity(quantity)));
                self.risk.transfer(Price(price), Quantity(quantity), &mut shares).unwrap();
            }
            Act::Wait { ns } => {
                let before = self.now;
                self.now = before.plus(ns);
                self.risk.clock(self.now);
                if before.0 / NANOS_PER_DAY != self.now.0 / NANOS_PER_DAY {
                    (self.day_start, self.breached) = (self.equity(), false);
                }
            }
            Act::Control(control) => {
                self.risk.control(control);
                self.paused = control == Control::Pause;
            }
        }
    }

    fn accounts(&mut self, instrument: InstrumentId) -> [u32; 3] {
        [1, 2, 3].map(|strategy| self.risk.account(StrategyId(strategy), instrument).unwrap())
    }

    fn send(&mut self, wish: Wish) {
        let expected = self.verdict(&wish, 0, 0);
        let result = self.risk.check(self.now, wish);
        if self.judged(expected, result) {
            self.orders.push(Plain { wish, filled: 0, asked: None });
        }
    }

    /// The gate said what the rules say; true when the wish passed.
    #[track_caller]
    fn judged(&mut self, expected: Option<Verdict>, result: Result<Approved, Refusal>) -> bool {
        let found = result.as_ref().err().map(|refusal| (refusal.rule, refusal.limit, refusal.value));
        assert_eq!(found, expected);
        if result.is_ok() {
            self.stamps.push(self.now);
        }
        result.is_ok()
    }

    fn replace(&mut self, which: usize, quantity: i64, price: Price) {
        let Some(at) = self.pick(which) else { return };
        let order = self.orders[at].clone();
        if order.asked.is_some() || !order.wish.price.is_defined() {
            return;
        }
        let wish = Wish { quantity: Quantity(quantity), price, ..order.wish };
        let expected = self.verdict(&wish, order.room(), order.filled);
        let result = self.risk.check_replace(self.now, wish, Quantity(order.room()), Quantity(order.filled));
        if self.judged(expected, result) {
            self.orders[at].asked = Some((quantity, price));
            // What it needs more is reserved at once: the plain room of an asked order says so.
        }
    }

    fn answer_replace(&mut self, which: usize, yes: bool) {
        let Some(at) = self.pick(which) else { return };
        let order = &mut self.orders[at];
        let (before, Some((quantity, price))) = (order.room(), order.asked) else { return };
        order.asked = None;
        if yes && quantity > order.filled {
            (order.wish.quantity, order.wish.price) = (Quantity(quantity), price);
        }
        let (Wish { instrument, side, .. }, change) = (order.wish, order.room() - before);
        self.risk.change_working(instrument, side, Quantity(change)).unwrap();
    }

    fn fill(&mut self, which: usize, part: u8, price: Price, fee: i64, split: u8) {
        let Some(at) = self.pick(which) else { return };
        let order = &mut self.orders[at];
        let Wish { strategy, instrument, side, price: limit, time_in_force, .. } = order.wish;
        let (before, left) = (order.room(), order.wish.quantity.0 - order.filled);
        let quantity = (left * i64::from(part) / 255).max(1);
        order.filled += quantity;
        let done = quantity == left;
        let released = Quantity(if done { before } else { before - order.room() });
        if done {
            self.orders.swap_remove(at);
        }
        let quantity = Quantity(quantity);
        let order = Order {
            id: OrderId(1),
            strategy,
            instrument,
            side,
            quantity,
            price: limit,
            time_in_force,
            terms: Terms::PLAIN,
        };
        let mut shares = split_up(&self.accounts(instrument), side, quantity.0, fee, split);
        self.risk.fill(&order, price, quantity, Cash(fee), released, &mut shares).unwrap();
        self.trades.push((instrument, side.sign() * quantity.0, price, fee));
        self.marks[instrument.index()].get_or_insert(price);
    }

    /// Every running number is what the whole past says it is.
    fn check(&self) {
        let risk = &self.risk;
        assert_eq!((risk.cash().0, risk.equity().0), (self.cash(), self.equity()));
        assert_eq!(risk.net().0, self.value(KO) + self.value(PEP));
        assert_eq!(risk.gross().0, self.gross(KO, Side::Buy, 0));
        assert_eq!(risk.fees().0, self.trades.iter().map(|trade| trade.3).sum::<i64>());
        for id in [KO, PEP] {
            assert_eq!(risk.position(id).quantity.0, self.held(id));
            for side in [Side::Buy, Side::Sell] {
                assert_eq!(risk.working(id, side).0, self.open(id, side));
            }
            let sum = |f: fn(&helios_risk::Position) -> i64| {
                let accounts = risk.accounts().iter().filter(|account| account.instrument == id);
                (accounts.map(|account| f(&account.position)).sum::<i64>(), f(risk.position(id)))
            };
            // Money in and out, to the last unit: what was realised less what the open position cost.
            for (accounts, net) in [sum(|p| p.quantity.0), sum(|p| p.fees.0), sum(|p| p.realised.0 - p.cost.0)] {
                assert_eq!(accounts, net, "the accounts of {id:?} and the net position");
            }
        }
        let realised = risk.position(KO).realised.0 + risk.position(PEP).realised.0;
        assert_eq!(realised + risk.unrealised().0 - risk.fees().0, risk.equity().0 - START);
        let mode = if self.paused || self.breached { Mode::ReduceOnly } else { Mode::Normal };
        assert_eq!(risk.mode(), mode);
    }

    fn supervise(&mut self) {
        let loss = self.day_start - self.equity();
        let expected = self.limits.daily_loss.filter(|limit| loss > limit.0 && !self.breached);
        let found = self.risk.supervise();
        assert_eq!(found.map(|breach| (breach.limit, breach.value)), expected.map(|limit| (limit.0, loss)));
        self.breached |= found.is_some();
    }
}

/// Parts that add up, some of them of everything.
fn split_up(accounts: &[u32], side: Side, quantity: i64, fee: i64, split: u8) -> Vec<Share> {
    let (mut left, mut fee_left, mut shares) = (quantity, fee, Vec::new());
    for (k, account) in accounts.iter().enumerate() {
        let last = k + 1 == accounts.len();
        let part = if last { left } else { left * i64::from(split) / 256 };
        if part > 0 {
            let fee_part = if last { fee_left } else { fee_left / 3 };
            (left, fee_left) = (left - part, fee_left - fee_part);
            shares.push(Share { fee: Cash(fee_part), ..Share::new(*account, side, Quantity(part)) });
        }
    }
    shares
}

fn some_limits() -> impl Strategy<Value = Limits> {
    let maybe = |range: std::ops::Range<i64>| prop::option::weighted(0.6, range);
    let all = (
        maybe(500_000_000..3_000_000_000),
        maybe(5_000_000..30_000_000),
        maybe(10_000..100_000),
        maybe(1_000_000_000..5_000_000_000),
        maybe(10_000_000..60_000_000),
        maybe(1..6),
        maybe(0..2_000_000),
    );
    all.prop_map(|(quantity, notional, collar, position, gross, rate, loss)| Limits {
        order_quantity: quantity.map(Quantity),
        order_notional: notional.map(Cash),
        price_collar_ppm: collar,
        position: position.map(Quantity),
        gross_exposure: gross.map(Cash),
        orders_per_second: rate,
        daily_loss: loss.map(Cash),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_random_day_is_judged_and_booked_as_recomputed(limits in some_limits(), acts in acts()) {
        let mut world = World::new(limits);
        for act in &acts {
            world.act(act);
            world.supervise();
            world.check();
        }
    }
}
