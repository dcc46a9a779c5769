//! What our own trades do to prices: a transient part that decays (a propagator) and a permanent part.
//!
//! After trades of ours at `t_i`, of sign `e_i` and quantity `v_i`, prices stand off history's by the fraction
//!
//! ```text
//! x(t) = sum over t_i < t of  e_i [ permanent * v_i/V + (v_i/V)^exponent * G(t - t_i) ]
//! G(s) = sum of at most MAX_DECAYS terms  amplitude_k * exp(-s / lifetime_k)
//! ```
//!
//! so the state is one number a term and exact between trades. The fills that one order gets at one moment are one
//! trade. A trade that takes liquidity pays what it meets, moved by `x` as it was before; and where its own impact,
//! averaged over its quantity, is more than the distance of what it meets from the mid, it pays that instead. A
//! displayed share is thus had at its displayed price, as long as the spread is wider than our impact; and a round trip
//! of one size cannot gain, whatever the spread.
//!
//! Where it is applied: for quotes, trades alone and bars every price of history is moved by `x`, in whole ticks to the
//! nearest, for the venue and for the engine. Strangers' single orders cannot be moved without contradicting one
//! another: with order-level data only our executions are moved, and one that would be beyond our limit does not
//! happen.
//!
//! Amplitudes are not negative, so that `G` is positive, falls and is convex: with `exponent` 1 no sequence of trades
//! can then gain from its own impact (Alfonsi, Schied, Slynko 2012; Gatheral 2010). With an exponent below 1 and decays
//! that are exponential, sequences of trades exist that gain a little (Gatheral 2010): see `docs/models/impact.md`.
//!
//! Assumes: nothing of history would have been different, prices of one instrument do not move those of another.
//! Absent: cross impact, the spread's own answer, an impact of cancels and of orders that rest.
//!
//! Sources: Bouchaud, Gefen, Potters, Wyart (2004), "Fluctuations and response in financial markets"; Obizhaeva and Wang
//! (2013), "Optimal trading strategy and supply/demand dynamics"; Gatheral (2010), "No-dynamic-arbitrage and market
//! impact"; Huberman and Stanzl (2004) for the linear permanent part.

use helios_types::{BookRef, InstrumentId, Nanos, Price, Quantity, Side};
use std::collections::BTreeMap;

/// Most terms of a kernel.
pub const MAX_DECAYS: usize = 8;
/// A transient term smaller than this fraction of the price is over: a hundred-millionth of a basis point.
const OVER: f64 = 1e-12;

/// One term of the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// Fraction of the price that a trade of one `volume` adds; not negative.
    pub amplitude: f64,
    /// After this long it is down to 1/e; positive.
    pub lifetime_ns: u64,
}

/// How our trades move the price of an instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Impact {
    /// The transient part, at most [`MAX_DECAYS`] terms.
    pub decays: Vec<Decay>,
    /// Fraction of the price by which a trade of one `volume` moves it for good; linear in the quantity.
    pub permanent: f64,
    /// Of the transient part's growth with the quantity: above 0, at most 1.
    pub exponent: f64,
    /// The quantity to which amplitudes and the permanent part refer; positive.
    pub volume: Quantity,
    /// The share of an execution of a resting order of ours that counts: 0 to 1.
    pub maker: f64,
}

impl Impact {
    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        let fraction = |x: f64| (0.0..=1.0).contains(&x);
        if self.decays.len() > MAX_DECAYS {
            return Err(format!("{} decays: at most {MAX_DECAYS}", self.decays.len()));
        }
        for Decay { amplitude, lifetime_ns } in &self.decays {
            if !fraction(*amplitude) {
                return Err(format!(
                    "an amplitude of {amplitude} of the price: it is 0 to 1, or the kernel would not be positive, falling \
                     and convex, and prices could be manipulated"
                ));
            }
            if *lifetime_ns == 0 {
                return Err("a decay's lifetime must be positive".to_owned());
            }
        }
        if !fraction(self.permanent) {
            return Err(format!("a permanent part of {} of the price: it is 0 to 1", self.permanent));
        }
        if !(self.exponent > 0.0 && self.exponent <= 1.0) {
            return Err(format!("an exponent of {}: it is above 0 and at most 1", self.exponent));
        }
        if self.volume.0 <= 0 {
            return Err("the volume must be positive".to_owned());
        }
        if !fraction(self.maker) {
            return Err(format!("a maker share of {}: it is 0 to 1", self.maker));
        }
        Ok(())
    }

    /// The kernel just after a trade.
    fn first(&self) -> f64 {
        self.decays.iter().map(|decay| decay.amplitude).sum()
    }

    fn volumes(&self, quantity: f64) -> f64 {
        quantity / self.volume.0 as f64
    }

    /// `(v/V)^exponent`
    fn size(&self, quantity: f64) -> f64 {
        match self.volumes(quantity) {
            volumes if volumes > 0.0 => libm::pow(volumes, self.exponent),
            _ => 0.0,
        }
    }

    /// The integral of a trade's own impact just after it, over its quantity from nothing on.
    fn walked(&self, quantity: f64) -> f64 {
        let linear = self.permanent * self.volumes(quantity) / 2.0;
        (linear + self.first() * self.size(quantity) / (1.0 + self.exponent)) * quantity
    }
}

/// The trade under way: what one order gets at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Trade {
    number: BookRef,
    at: Nanos,
    /// Weighted by the maker share.
    quantity: f64,
    /// The displacement before it.
    before: f64,
}

/// Where the price of one instrument stands, as a fraction of history's.
#[derive(Clone, Debug)]
struct Displacement {
    impact: Impact,
    tick: Price,
    lot: Quantity,
    transient: [f64; MAX_DECAYS],
    permanent: f64,
    at: Nanos,
    trade: Trade,
}

impl Displacement {
    /// The sum now. Time that goes back stands still.
    fn now(&mut self, at: Nanos) -> f64 {
        let passed = at.since(self.at) as f64;
        self.at = self.at.max(at);
        let mut sum = self.permanent;
        for (x, decay) in self.transient.iter_mut().zip(&self.impact.decays) {
            if *x != 0.0 {
                *x *= libm::exp(-passed / decay.lifetime_ns as f64);
                *x = if x.abs() < OVER { 0.0 } else { *x };
                sum += *x;
            }
        }
        sum
    }

    /// Books an execution; those of one order at one moment are one trade.
    fn traded(&mut self, at: Nanos, number: BookRef, side: Side, weighted: f64) {
        let before = self.now(at);
        if (self.trade.number, self.trade.at) != (number, at) {
            self.trade = Trade { number, at, quantity: 0.0, before };
        }
        let (old, new) = (self.trade.quantity, self.trade.quantity + weighted);
        self.trade.quantity = new;
        let sign = side.sign() as f64;
        let more = sign * (self.impact.size(new) - self.impact.size(old));
        for (x, decay) in self.transient.iter_mut().zip(&self.impact.decays) {
            *x += decay.amplitude * more;
        }
        self.permanent += sign * self.impact.permanent * self.impact.volumes(weighted);
    }

    /// The displacement that an order meets, and how much of its trade is done.
    fn met(&mut self, at: Nanos, number: BookRef) -> (f64, f64) {
        if (self.trade.number, self.trade.at) == (number, at) {
            return (self.trade.before, self.trade.quantity);
        }
        (self.now(at), 0.0)
    }

    /// What an order pays for `quantity` that is shown at `shown` when the mid is `mid`, both by history.
    fn price(&mut self, at: Nanos, number: BookRef, side: Side, offer: &Offer) -> Price {
        let (before, done) = self.met(at, number);
        let (from, to) = (done, done + offer.quantity.0 as f64);
        let own = (self.impact.walked(to) - self.impact.walked(from)) / (to - from);
        let mid = offer.mid.0 as f64;
        let distance = (offer.shown.0 - offer.mid.0) as f64;
        let against = match side {
            Side::Buy => (own * mid - distance).max(0.0),
            Side::Sell => -(own * mid + distance).max(0.0),
        };
        moved(offer.shown, self.to_ticks(before * mid) + self.to_ticks(against), self.tick)
    }

    /// Price units in whole ticks, to the nearest, halves away from zero.
    fn to_ticks(&self, units: f64) -> i64 {
        let ticks = libm::round(units / self.tick.0 as f64);
        // `as` saturates; so does the product.
        (ticks as i64).saturating_mul(self.tick.0)
    }
}

/// Something that an order may take, by history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) shown: Price,
    /// The middle of the market; what is shown where only one side is.
    pub(crate) mid: Price,
    pub(crate) quantity: Quantity,
}

/// A price moved by so much, at least one tick; an undefined one stays.
pub(crate) fn moved(price: Price, by: i64, tick: Price) -> Price {
    // A cross may print without a price, as zero.
    if price.is_defined() && price.0 > 0 && by != 0 {
        // Never the number that stands for no price.
        Price(price.0.saturating_add(by).clamp(tick.0, i64::MAX - tick.0))
    } else {
        price
    }
}

/// The middle of two prices; the other where one is undefined.
pub(crate) fn middle(bid: Price, ask: Price) -> Price {
    match (bid.is_defined(), ask.is_defined()) {
        (true, true) => Price(bid.0 + (ask.0 - bid.0) / 2),
        (true, false) => bid,
        _ => ask,
    }
}

/// The displacements of all instruments that have an impact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Impacts(BTreeMap<InstrumentId, Displacement>);

impl Impacts {
    /// `of` names an impact for each instrument that has one, with tick and lot. Panics at one that cannot be: ask
    /// [`Impact::check`] first.
    pub(crate) fn new(of: impl IntoIterator<Item = (InstrumentId, Impact, Price, Quantity)>) -> Self {
        let displacement = |(instrument, impact, tick, lot): (InstrumentId, Impact, Price, Quantity)| {
            if let Err(error) = impact.check() {
                panic!("check an impact before it is used: {error}");
            }
            let (transient, trade) = ([0.0; MAX_DECAYS], Trade::default());
            (instrument, Displacement { impact, tick, lot, transient, permanent: 0.0, at: Nanos(0), trade })
        };
        Self(of.into_iter().map(displacement).collect())
    }

    /// No instrument has one.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By how much history's prices are moved now, in price units; `reference` is the price that a fraction is of.
    pub(crate) fn shift(&mut self, at: Nanos, instrument: InstrumentId, reference: Price) -> i64 {
        match self.0.get_mut(&instrument) {
            Some(place) if reference.is_defined() => {
                let units = place.now(at) * reference.0 as f64;
                place.to_ticks(units)
            }
            _ => 0,
        }
    }

    /// The displacement now, as a fraction of the price.
    pub(crate) fn fraction(&mut self, at: Nanos, instrument: InstrumentId) -> f64 {
        self.0.get_mut(&instrument).map_or(0.0, |place| place.now(at))
    }

    /// Books an execution of ours: `taker` whole, else by the maker share.
    pub(crate) fn traded(
        &mut self,
        at: Nanos,
        number: BookRef,
        instrument: InstrumentId,
        side: Side,
        quantity: Quantity,
        taker: bool,
    ) {
        if let Some(place) = self.0.get_mut(&instrument) {
            let share = if taker { 1.0 } else { place.impact.maker };
            if share > 0.0 {
                place.traded(at, number, side, share * quantity.0 as f64);
            }
        }
    }

    /// What an order pays for an offer, and how much of it stays within its limit; `None`: nothing.
    pub(crate) fn offer(
        &mut self,
        at: Nanos,
        number: BookRef,
        instrument: InstrumentId,
        side: Side,
        within: impl Fn(Price) -> bool,
        offer: Offer,
    ) -> Option<(Price, Quantity)> {
        let Some(place) = self.0.get_mut(&instrument) else {
            return within(offer.shown).then_some((offer.shown, offer.quantity));
        };
        let price = place.price(at, number, side, &offer);
        if within(price) {
            return Some((price, offer.quantity));
        }
        // The price only gets worse with the quantity: the most whole lots that stay within the limit.
        let lot = place.lot.0;
        let (mut fits, mut beyond) = (0, (offer.quantity.0 + lot - 1) / lot);
        let mut best = None;
        while fits + 1 < beyond {
            let lots = fits + (beyond - fits) / 2;
            let quantity = Quantity(lots * lot);
            let price = place.price(at, number, side, &Offer { quantity, ..offer });
            if within(price) {
                (fits, best) = (lots, Some((price, quantity)));
            } else {
                beyond = lots;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: InstrumentId = InstrumentId(0);
    const SECOND: u64 = 1_000_000_000;
    /// Fine enough that rounding to it does not matter.
    const FINE: Price = Price(1);
    const HUNDRED: Price = Price(100_000_000_000);

    fn shares(n: i64) -> Quantity {
        Quantity::whole(n)
    }

    fn impact(decays: &[(f64, u64)], permanent: f64, exponent: f64) -> Impact {
        let decays =
            decays.iter().map(|(amplitude, seconds)| Decay { amplitude: *amplitude, lifetime_ns: seconds * SECOND });
        Impact { decays: decays.collect(), permanent, exponent, volume: shares(100), maker: 0.5 }
    }

    fn impacts(impact: Impact, tick: Price) -> Impacts {
        Impacts::new([(X, impact, tick, shares(1))])
    }

    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() <= 1e-12 + 1e-10 * wanted.abs(), "got {got}, wanted {wanted}");
    }

    #[test]
    fn after_one_trade_the_price_follows_the_kernel() {
        let mut x = impacts(impact(&[(0.0008, 2), (0.0004, 30), (0.0002, 600)], 0.0001, 0.6), FINE);
        x.traded(Nanos(5 * SECOND), 1, X, Side::Sell, shares(250), true);
        // Looked at again and again or only once: the same.
        for t in [0.0f64, 0.1, 1.0, 2.0, 7.5, 60.0, 3_600.0] {
            let size = libm::pow(2.5, 0.6);
            let kernel = 0.0008 * libm::exp(-t / 2.0) + 0.0004 * libm::exp(-t / 30.0) + 0.0002 * libm::exp(-t / 600.0);
            let wanted = -(size * kernel + 0.0001 * 2.5);
            close(x.fraction(Nanos(5 * SECOND + (t * 1e9) as u64), X), wanted);
        }
        close(x.fraction(Nanos(1_000_000 * SECOND), X), -0.00025);
    }

    #[test]
    fn trades_superpose() {
        let mut x = impacts(impact(&[(0.001, 3), (0.0003, 40)], 0.0002, 0.5), FINE);
        let trades = [(1.0, Side::Buy, 40), (1.5, Side::Buy, 300), (4.0, Side::Sell, 90), (4.25, Side::Buy, 7)];
        for (number, (t, side, quantity)) in (1..).zip(trades) {
            x.traded(Nanos((t * 1e9) as u64), number, X, side, shares(quantity), true);
        }
        let wanted: f64 = trades
            .iter()
            .map(|(t, side, quantity)| {
                let (passed, volumes) = (9.0 - t, *quantity as f64 / 100.0);
                let kernel = 0.001 * libm::exp(-passed / 3.0) + 0.0003 * libm::exp(-passed / 40.0);
                side.sign() as f64 * (volumes.sqrt() * kernel + 0.0002 * volumes)
            })
            .sum();
        close(x.fraction(Nanos(9 * SECOND), X), wanted);
    }

    #[test]
    fn fills_of_one_order_at_one_moment_are_one_trade() {
        let of = |parts: &[i64], number: fn(usize) -> u64| {
            let mut x = impacts(impact(&[(0.001, 3)], 0.0001, 0.5), FINE);
            for (at, part) in parts.iter().enumerate() {
                x.traded(Nanos(SECOND), number(at), X, Side::Buy, shares(*part), true);
            }
            x.fraction(Nanos(SECOND), X)
        };
        close(of(&[400], |_| 1), 0.0024);
        close(of(&[100, 250, 50], |_| 1), 0.0024);
        // Two orders are two trades: 0.001 (1 + sqrt 3) + 0.0004.
        close(of(&[100, 300], |at| at as u64), 0.001 * (1.0 + 3f64.sqrt()) + 0.0004);
    }

    #[test]
    fn what_rested_counts_by_its_share() {
        let mut x = impacts(impact(&[(0.001, 3)], 0.0, 0.5), FINE);
        x.traded(Nanos(0), 1, X, Side::Buy, shares(200), false);
        close(x.fraction(Nanos(0), X), 0.001);
        let mut none = impacts(Impact { maker: 0.0, ..impact(&[(0.001, 3)], 0.1, 0.5) }, FINE);
        none.traded(Nanos(0), 1, X, Side::Buy, shares(200), false);
        close(none.fraction(Nanos(0), X), 0.0);
    }

    /// Takes it whole; the price it pays.
    fn take(x: &mut Impacts, at: u64, number: u64, side: Side, quantity: i64, shown: Price) -> f64 {
        let offer = Offer { shown, mid: HUNDRED, quantity: shares(quantity) };
        let (price, got) = x.offer(Nanos(at), number, X, side, |_| true, offer).unwrap();
        assert_eq!(got, shares(quantity));
        x.traded(Nanos(at), number, X, side, got, true);
        price.0 as f64 / 1e9
    }

    #[test]
    fn a_round_trip_costs_what_it_must() {
        for (exponent, permanent) in [(1.0, 0.0), (1.0, 0.0003), (0.5, 0.0), (0.3, 0.0001)] {
            let mut x = impacts(impact(&[(0.001, 10)], permanent, exponent), FINE);
            let bought = take(&mut x, 0, 1, Side::Buy, 400, HUNDRED);
            let sold = take(&mut x, 5 * SECOND, 2, Side::Sell, 400, HUNDRED);
            // Without a spread: twice the own average, less what is left of the first trade's impact at the second.
            let (size, volumes) = (libm::pow(4.0, exponent), 4.0);
            let own = 0.001 * size / (1.0 + exponent) + permanent * volumes / 2.0;
            let left = 0.001 * size * libm::exp(-0.5) + permanent * volumes;
            let wanted = 100.0 * (2.0 * own - left);
            assert!((bought - sold - wanted).abs() < 1e-8, "{exponent}: {} and {wanted}", bought - sold);
            assert!(wanted > 0.0, "a round trip never gains");
        }
    }

    #[test]
    fn the_spread_pays_for_the_impact_first() {
        // Own average at 400 shares: 0.001 * 2 / 1.5 of 100, or 13.3 cents.
        let of = |half: i64| {
            let mut x = impacts(impact(&[(0.001, 10)], 0.0, 0.5), FINE);
            take(&mut x, 0, 1, Side::Buy, 400, Price(HUNDRED.0 + half * 10_000_000))
        };
        assert!((of(20) - 100.20).abs() < 1e-9, "within the spread a share costs what is shown");
        assert!((of(5) - (100.0 + 0.4 / 3.0)).abs() < 1e-8, "beyond it the impact");
    }

    #[test]
    fn linear_impact_with_a_falling_convex_kernel_cannot_be_exploited() {
        // Random round trips in a market without a spread: the sum paid is never below the sum received.
        let mut rng = helios_types::Rng::new(4);
        for case in 0..300 {
            let mut x = impacts(impact(&[(0.0006, 1), (0.0003, 20)], 0.0002, 1.0), FINE);
            let (mut position, mut cash, mut at) = (0i64, 0.0, 0u64);
            for number in 1..=9 {
                at += rng.below(5 * SECOND) + 1;
                let quantity = if number == 9 { -position } else { rng.below(2_001) as i64 - 1_000 };
                if quantity == 0 {
                    continue;
                }
                let side = Side::of(shares(quantity));
                cash -= quantity as f64 * take(&mut x, at, number, side, quantity.abs(), HUNDRED);
                position += quantity;
            }
            assert!(position == 0 && cash <= 1e-4, "case {case} made {cash}");
        }
    }

    #[test]
    fn splitting_an_order_in_time_is_cheaper_and_in_one_moment_it_is_the_same() {
        let paid = |gaps: u64, parts: i64, number: fn(i64) -> u64| {
            let mut x = impacts(impact(&[(0.001, 5)], 0.0, 1.0), FINE);
            let each = 400 / parts;
            (0..parts)
                .map(|n| each as f64 * take(&mut x, n as u64 * gaps, number(n), Side::Buy, each, HUNDRED))
                .sum::<f64>()
        };
        let whole = paid(0, 1, |_| 1);
        assert!((paid(0, 4, |_| 1) - whole).abs() < 1e-5);
        // As four orders of one moment too, since the impact is linear.
        assert!((paid(0, 4, |n| n as u64 + 1) - whole).abs() < 1e-5);
        assert!(paid(60 * SECOND, 4, |n| n as u64 + 1) < whole - 40.0);
    }

    #[test]
    fn a_limit_bounds_the_quantity() {
        let mut x = impacts(impact(&[(0.001, 10)], 0.0, 1.0), Price(10_000_000));
        let offer = Offer { shown: HUNDRED, mid: HUNDRED, quantity: shares(1_000) };
        // Own average of q shares: 0.1 * q / 200; 10 cents allow 200 shares, and rounding to the cent 210, less one.
        let limit = |price: Price| price <= Price(100_100_000_000);
        let (price, quantity) = x.offer(Nanos(0), 1, X, Side::Buy, limit, offer).unwrap();
        assert_eq!((price, quantity), (Price(100_100_000_000), shares(209)));
        assert_eq!(x.offer(Nanos(0), 1, X, Side::Buy, |price| price < HUNDRED, offer), None);
    }

    #[test]
    fn shifts_are_whole_ticks() {
        let cent = Price(10_000_000);
        let mut x = impacts(impact(&[(0.000_26, 10)], 0.0, 1.0), cent);
        x.traded(Nanos(0), 1, X, Side::Sell, shares(100), true);
        assert_eq!(x.shift(Nanos(0), X, HUNDRED), -3 * cent.0);
        // 2.6 exp(-t/10) is below 2.5 after 0.39 s and below half a cent after 16.5 s.
        assert_eq!(x.shift(Nanos(400_000_000), X, HUNDRED), -2 * cent.0);
        assert_eq!(x.shift(Nanos(16_500_000_000), X, HUNDRED), 0);
        assert_eq!(x.shift(Nanos(0), X, Price::UNDEFINED), 0);
        assert_eq!(x.shift(Nanos(0), InstrumentId(1), HUNDRED), 0);
    }

    #[test]
    fn prices_stay_positive_and_defined() {
        let cent = Price(10_000_000);
        assert_eq!(moved(cent, -5 * cent.0, cent), cent);
        assert_eq!(moved(Price::UNDEFINED, -5 * cent.0, cent), Price::UNDEFINED);
        assert!(moved(Price(i64::MAX - 1), cent.0, cent).is_defined());
    }

    #[test]
    fn an_impact_that_could_be_exploited_or_cannot_be_is_refused() {
        let good = impact(&[(0.001, 3)], 0.0, 0.5);
        assert_eq!(good.check(), Ok(()));
        for (bad, says) in [
            (impact(&[(0.001, 3), (-0.0001, 9)], 0.0, 0.5), "manipulated"),
            (impact(&[(f64::NAN, 3)], 0.0, 0.5), "amplitude"),
            (impact(&[(0.001, 0)], 0.0, 0.5), "lifetime"),
            (impact(&[(0.001, 1); MAX_DECAYS + 1], 0.0, 0.5), "at most 8"),
            (impact(&[], -0.1, 0.5), "permanent"),
            (impact(&[], 0.0, 0.0), "exponent"),
            (impact(&[], 0.0, 1.1), "exponent"),
            (Impact { volume: Quantity(0), ..good.clone() }, "volume"),
            (Impact { maker: 1.5, ..good.clone() }, "maker"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
