//! The broker's side of our account: what we hold, what it is worth, and what holding it costs over night.
//!
//! What it does:
//! - It follows our positions from the fills that the venue made, and from splits; our money from those, from dividends
//!   and from its own charges. A mark is the middle of a two-sided quote or book, else the last trade or close.
//! - When a trading day has ended it charges, for each calendar night until the next one that has an event (three over
//!   a weekend): the borrow rate on the value of each short position, and interest on the money: the debit rate when it
//!   is negative, the credit rate, which we receive, when it is positive. A rate is a year's; a night costs a 360th (or
//!   what the terms say) of it. Sums are rounded to 1e-6 currency units, against us.
//! - It refuses short sales of what nobody lends.
//!
//! What it assumes: trades settle at once; every other share can be borrowed at the rate and is never recalled; money
//! from short sales earns the credit rate like other money; no margin is asked for. After the last event of a run
//! nothing is charged. See `docs/models/borrow.md`.

use helios_types::{
    Cash, Charge, InstrumentId, NANOS_PER_DAY, Nanos, Price, Quantity, Side, Split, TradeKind, Update, notional,
};
use std::collections::VecDeque;

/// A rate that changes by date: millionths a year, each from its moment on. Zero before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(Vec<(Nanos, i64)>);

impl Rates {
    /// Rows by time. `Err` when they do not ascend, or a rate is beyond ten thousand percent.
    pub fn new(rows: Vec<(Nanos, i64)>) -> Result<Self, &'static str> {
        if !rows.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("rates ascend in time, one at a time");
        }
        if rows.iter().any(|(_, ppm)| ppm.unsigned_abs() > 100_000_000) {
            return Err("a rate is at most 100 a year (10,000 %)");
        }
        Ok(Self(rows))
    }

    /// The rate in force at a moment.
    fn at(&self, moment: Nanos) -> i64 {
        let above = self.0.partition_point(|(from, _)| *from <= moment);
        above.checked_sub(1).map_or(0, |row| self.0[row].1)
    }

    /// Sum of the rates of so many nights, the first of which begins at the end of a day: a date's rate is its night's.
    fn nights(&self, ended: Nanos, nights: u64) -> i128 {
        (0..nights).map(|night| i128::from(self.at(Nanos(ended.plus(night * NANOS_PER_DAY).0 - 1)))).sum()
    }

    fn is_zero(&self) -> bool {
        self.0.iter().all(|(_, ppm)| *ppm == 0)
    }
}

/// What holding positions costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTerms {
    /// Money at the start.
    pub cash: Cash,
    /// For short positions, unless the instrument has its own rate.
    pub borrow: Rates,
    /// Rates of single instruments.
    pub borrow_of: Vec<(InstrumentId, Rates)>,
    /// Paid on negative money.
    pub debit: Rates,
    /// Received on positive money; negative: paid.
    pub credit: Rates,
    /// Nobody lends these: selling more than is held is rejected.
    pub not_shortable: Vec<InstrumentId>,
    /// Days of a year as rates count them.
    pub days_per_year: u32,
}

impl Default for AccountTerms {
    fn default() -> Self {
        Self {
            cash: Cash::ZERO,
            borrow: Rates::default(),
            borrow_of: Vec::new(),
            debit: Rates::default(),
            credit: Rates::default(),
            not_shortable: Vec::new(),
            days_per_year: 360,
        }
    }
}

/// One instrument of ours.
#[derive(Clone, Copy, Debug)]
struct Holding {
    quantity: Quantity,
    mark: Price,
    /// The mark is the middle of a market that stands: a trade does not move it.
    quoted: bool,
}

/// Our account at the broker.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    terms: AccountTerms,
    holdings: Vec<Holding>,
    money: i128,
    charges: VecDeque<(Nanos, Charge)>,
    /// Something is charged, or looked up: marks are followed.
    watches: bool,
}

/// Millionths.
const PPM: i128 = 1_000_000;

impl Account {
    pub(crate) fn new(instruments: usize, terms: AccountTerms, watches: bool) -> Self {
        assert!(terms.days_per_year > 0, "a year has days: set days_per_year");
        let free = |rates: &Rates| rates.is_zero();
        let charges = !free(&terms.borrow)
            || !free(&terms.debit)
            || !free(&terms.credit)
            || terms.borrow_of.iter().any(|(_, rates)| !free(rates));
        let flat = Holding { quantity: Quantity::ZERO, mark: Price::UNDEFINED, quoted: false };
        Self {
            holdings: vec![flat; instruments],
            money: i128::from(terms.cash.0),
            charges: VecDeque::new(),
            watches: watches || charges,
            terms,
        }
    }

    /// True when marks are needed: [`Account::observe`] wants every event.
    #[inline]
    pub(crate) fn watches(&self) -> bool {
        self.watches
    }

    pub(crate) fn position(&self, instrument: InstrumentId) -> Quantity {
        self.holdings[instrument.index()].quantity
    }

    /// What a position is valued at; [`Price::UNDEFINED`] before the first price.
    pub(crate) fn mark(&self, instrument: InstrumentId) -> Price {
        self.holdings[instrument.index()].mark
    }

    /// A fill of ours.
    pub(crate) fn fill(&mut self, instrument: InstrumentId, side: Side, price: Price, quantity: Quantity, fee: Cash) {
        let holding = &mut self.holdings[instrument.index()];
        let signed = Quantity(side.sign() * quantity.0);
        holding.quantity = holding.quantity.add(signed).unwrap_or(holding.quantity);
        if !holding.mark.is_defined() {
            holding.mark = price;
        }
        self.money -= notional(price, signed).map_or(0, |cash| i128::from(cash.0)) + i128::from(fee.0);
    }

    /// An event of history moves the mark; `top` is the best bid and ask of an order book, if there is one.
    pub(crate) fn observe(&mut self, instrument: InstrumentId, update: &Update, top: Option<(Price, Price)>) {
        let holding = &mut self.holdings[instrument.index()];
        let (bid, ask, last) = match *update {
            Update::Quote { bid, ask, .. } => (bid, ask, Price::UNDEFINED),
            Update::Trade { price, kind: TradeKind::Regular, .. } if top.is_none() => {
                (Price::UNDEFINED, Price::UNDEFINED, price)
            }
            Update::Bar { close, .. } => (Price::UNDEFINED, Price::UNDEFINED, close),
            _ => match top {
                Some((bid, ask)) => (bid, ask, Price::UNDEFINED),
                None => return,
            },
        };
        if bid.is_defined() && ask.is_defined() && bid <= ask {
            (holding.mark, holding.quoted) = (Price(bid.0 + (ask.0 - bid.0) / 2), true);
        } else if matches!(update, Update::Quote { .. }) {
            holding.quoted = false;
        } else if last.is_defined() && !holding.quoted {
            holding.mark = last;
        }
    }

    /// New shares for old ones; positions keep whole `unit`s, the rest is paid out at the mark.
    pub(crate) fn split(&mut self, instrument: InstrumentId, split: Split, unit: Quantity) {
        let holding = &mut self.holdings[instrument.index()];
        let before = holding.quantity;
        // Beyond the scale nothing is done, as the engine does nothing: it reports it.
        let Ok(after) = split.shares(before, unit) else { return };
        if holding.mark.is_defined() {
            self.money += split.in_lieu(before, after, holding.mark).map_or(0, |cash| i128::from(cash.0));
        }
        *holding = Holding { quantity: after, mark: split.price(holding.mark), quoted: false };
    }

    /// Money for each share held, from us for each share short.
    pub(crate) fn dividend(&mut self, instrument: InstrumentId, cash: Price) {
        let holding = &mut self.holdings[instrument.index()];
        self.money += notional(cash, holding.quantity).map_or(0, |cash| i128::from(cash.0));
        if holding.mark.is_defined() && holding.mark > cash {
            holding.mark = Price(holding.mark.0 - cash.0);
        }
    }

    /// A day has ended, and so many nights follow before the next day with an event: what they cost.
    pub(crate) fn end_day(&mut self, ended: Nanos, nights: u64) {
        if !self.watches {
            return;
        }
        let year = PPM * i128::from(self.terms.days_per_year);
        let cash = self.money;
        for (at, holding) in self.holdings.iter().enumerate() {
            if holding.quantity.0 >= 0 || !holding.mark.is_defined() {
                continue;
            }
            let instrument = InstrumentId(at as u32);
            let own = self.terms.borrow_of.iter().find(|(of, _)| *of == instrument);
            let rates = own.map_or(&self.terms.borrow, |(_, rates)| rates);
            let value = notional(holding.mark, holding.quantity.neg()).unwrap_or(Cash(i64::MAX));
            let amount = ceil(i128::from(value.0) * rates.nights(ended, nights), year);
            if amount != Cash::ZERO {
                self.money -= i128::from(amount.0);
                self.charges.push_back((ended, Charge::Borrow { instrument, amount }));
            }
        }
        // Interest is on the money that the day ended with; what was charged for it counts from the next day on.
        let rates = if cash < 0 { &self.terms.debit } else { &self.terms.credit };
        let amount = ceil(-cash * rates.nights(ended, nights), year);
        if amount != Cash::ZERO {
            self.money -= i128::from(amount.0);
            self.charges.push_back((ended, Charge::Financing { amount }));
        }
    }

    /// When the next charge was made.
    #[inline]
    pub(crate) fn next_charge(&self) -> Option<Nanos> {
        self.charges.front().map(|(at, _)| *at)
    }

    pub(crate) fn take_charge(&mut self, to: Nanos) -> Option<(Nanos, Charge)> {
        self.charges.pop_front_if(|(at, _)| *at <= to)
    }

    /// True when selling so much, beside what is being sold already, would need shares that nobody lends.
    pub(crate) fn lacks_locate(&self, instrument: InstrumentId, quantity: Quantity, selling: i64) -> bool {
        let held = self.position(instrument).0;
        self.is_restricted(instrument) && quantity.0.saturating_add(selling) > held.max(0)
    }

    pub(crate) fn is_restricted(&self, instrument: InstrumentId) -> bool {
        self.terms.not_shortable.contains(&instrument)
    }

    /// Our money, as the broker counts it.
    pub(crate) fn money(&self) -> i128 {
        self.money
    }
}

/// Towards plus infinity: what we pay grows, what we receive shrinks. Saturates at the scale's end.
fn ceil(x: i128, by: i128) -> Cash {
    let amount = x.div_euclid(by) + i128::from(x.rem_euclid(by) > 0);
    Cash(i64::try_from(amount).unwrap_or(if x > 0 { i64::MAX } else { i64::MIN }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: InstrumentId = InstrumentId(0);
    /// 1970-01-02, a Friday.
    const FRIDAY_ENDS: Nanos = Nanos(2 * NANOS_PER_DAY);

    fn rate(ppm: i64) -> Rates {
        Rates::new(vec![(Nanos(0), ppm)]).unwrap()
    }

    fn charges(account: &mut Account) -> Vec<Charge> {
        std::iter::from_fn(|| account.take_charge(Nanos(u64::MAX))).map(|(_, charge)| charge).collect()
    }

    #[test]
    fn borrow_over_a_weekend_is_three_nights_of_the_closing_value() {
        let mut account = Account::new(1, AccountTerms { borrow: rate(30_000), ..AccountTerms::default() }, false);
        account.fill(X, Side::Sell, Price::whole(50), Quantity::whole(200), Cash::ZERO);
        account.observe(
            X,
            &Update::Bar {
                open: Price::whole(50),
                high: Price::whole(60),
                low: Price::whole(50),
                close: Price::whole(60),
                volume: Quantity::ZERO,
                span: 1,
            },
            None,
        );
        account.end_day(FRIDAY_ENDS, 3);
        // 200 * 60.00 = 12,000 short; 3 % of it is 360.00 a year of 360 days: 1.00 a night.
        assert_eq!(charges(&mut account), [Charge::Borrow { instrument: X, amount: Cash::whole(3) }]);
        assert_eq!(account.money(), i128::from(Cash::whole(200 * 50 - 3).0));
    }

    #[test]
    fn interest_is_charged_on_debt_and_paid_on_money_rounded_against_us() {
        let terms = AccountTerms {
            cash: Cash::whole(1_000),
            debit: rate(72_000),
            credit: rate(36_000),
            ..AccountTerms::default()
        };
        let mut account = Account::new(1, terms, false);
        account.end_day(FRIDAY_ENDS, 1);
        // 1,000 at 3.6 %: 36.00 a year, 0.10 a night, received.
        assert_eq!(charges(&mut account), [Charge::Financing { amount: Cash(-100_000) }]);
        account.fill(X, Side::Buy, Price::whole(100), Quantity::whole(60), Cash(100_000));
        account.end_day(FRIDAY_ENDS.plus(NANOS_PER_DAY), 2);
        // 1,000.10 - 6,000.00 - 0.10 = -5,000.00 at 7.2 %: 1.00 a night.
        assert_eq!(charges(&mut account), [Charge::Financing { amount: Cash::whole(2) }]);
        account.fill(X, Side::Sell, Price(1), Quantity(1), Cash(-5_002_000_001));
        account.end_day(FRIDAY_ENDS.plus(2 * NANOS_PER_DAY), 1);
        // One unit of money earns less than one unit: nothing.
        assert_eq!((account.money(), charges(&mut account)), (1, vec![]));
    }

    #[test]
    fn rates_change_by_the_night() {
        let rates = Rates::new(vec![(Nanos(NANOS_PER_DAY), 10), (Nanos(3 * NANOS_PER_DAY), 30)]).unwrap();
        // The nights of the days 0, 1, 2, 3.
        assert_eq!((0..4).map(|day| rates.nights(Nanos((day + 1) * NANOS_PER_DAY), 1)).sum::<i128>(), 10 + 10 + 30);
        assert_eq!(rates.nights(Nanos(NANOS_PER_DAY), 4), 10 + 10 + 30);
        assert!(Rates::new(vec![(Nanos(5), 1), (Nanos(5), 2)]).is_err());
        assert!(Rates::new(vec![(Nanos(5), 1_000_000_000)]).is_err());
    }

    #[test]
    fn a_split_and_a_dividend_reach_the_broker() {
        let mut account = Account::new(1, AccountTerms::default(), true);
        account.fill(X, Side::Sell, Price::whole(30), Quantity::whole(101), Cash::ZERO);
        account.split(X, Split::new(3, 2).unwrap(), Quantity::whole(1));
        // 151.5 short become 151; half a share at 20.00 is paid. Then 0.50 a share.
        account.dividend(X, Price(500_000_000));
        assert_eq!(account.position(X), Quantity::whole(-151));
        assert_eq!(account.money(), i128::from(Cash::whole(3_030 - 10).0 - 75_500_000));
        assert_eq!(account.mark(X), Price(19_500_000_000));
    }
}
