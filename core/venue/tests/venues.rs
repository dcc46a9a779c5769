//! Several venues and dark pools: what must hold whatever happens, and what the random counterparties are like.

use helios_types::{
    Instrument, InstrumentId, Liquidity, Market, Nanos, Order, OrderId, Output, Price, Quantity, Report, ReportKind,
    Side, StrategyId, Terms, TimeInForce, TradeKind, TradingStatus, Update,
};
use helios_venue::{Arrivals, Config, DarkConfig, DarkListing, DarkPool, Delay, Exchange, Fees, Venue, Venues};
use proptest::prelude::*;

const LIT: InstrumentId = InstrumentId(0);
const DARK: InstrumentId = InstrumentId(1);
const TICK: i64 = 10_000_000;
const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 34_200 * SECOND;

fn instruments() -> Vec<Instrument> {
    ["X", "X@D"]
        .map(|symbol| Instrument { symbol: symbol.to_owned(), tick: Price(TICK), lot: Quantity::whole(1) })
        .into()
}

fn with_pool(config: DarkConfig) -> Venues {
    let listing = DarkListing {
        instrument: DARK,
        symbol: "X@D".to_owned(),
        tick: Price(TICK),
        lot: Quantity::whole(1),
        reference: LIT,
    };
    let exchange = Venue::new(&instruments(), Config::default());
    let pool = DarkPool::new(vec![listing], DarkConfig { number: 1, ..config });
    Venues::new(vec![exchange], vec![pool], vec![Exchange::Lit(0), Exchange::Dark(0)])
}

fn arrivals() -> Arrivals {
    Arrivals { mean_gap_ns: SECOND, median: Quantity::whole(1), sigma: 0.0, adverse: 0.0, patience_ns: 0, seed: 5 }
}

fn order(id: u64, instrument: InstrumentId, side: Side, shares: i64, price: Price) -> Output {
    order_for(id, instrument, side, shares, price, TimeInForce::Day)
}

fn order_for(id: u64, instrument: InstrumentId, side: Side, shares: i64, price: Price, life: TimeInForce) -> Output {
    Output::Submit(Order {
        id: OrderId(id),
        strategy: StrategyId(0),
        instrument,
        side,
        quantity: Quantity::whole(shares),
        price,
        time_in_force: life,
        terms: Terms::PLAIN,
    })
}

fn quote(at: u64, bid: i64, bids: i64, ask: i64, asks: i64) -> Market {
    let (bid, ask) = (Price(bid * TICK), Price(ask * TICK));
    let (bid_quantity, ask_quantity) = (Quantity::whole(bids), Quantity::whole(asks));
    Market { instrument: LIT, ts_event: Nanos(at), update: Update::Quote { bid, bid_quantity, ask, ask_quantity } }
}

/// Arrival, order, quantity and price of the fills.
fn fills(reports: &[(Nanos, Report)]) -> Vec<(u64, u64, i64, i64)> {
    let fill = |(at, report): &(Nanos, Report)| match report.kind {
        ReportKind::Filled { quantity, price, .. } => Some((at.0, report.order.0, quantity.0, price.0)),
        _ => None,
    };
    reports.iter().filter_map(fill).collect()
}

/// A quote a second for so long; one order that rests on each given side.
fn hours(config: &DarkConfig, sides: &[Side], seconds: u64, [bids, asks]: [i64; 2]) -> Vec<(Nanos, Report)> {
    let mut venues = with_pool(config.clone());
    let mut reports = Vec::new();
    venues.market(&quote(BEGIN, 1000, bids, 1001, asks));
    for side in sides {
        venues.submit(Nanos(BEGIN), &order(1 + *side as u64, DARK, *side, 1_000_000_000, Price::UNDEFINED));
    }
    for second in 0..seconds {
        let at = BEGIN + second * SECOND;
        venues.advance(Nanos(at), &mut reports);
        venues.market(&quote(at, 1000, bids, 1001, asks));
    }
    reports
}

#[test]
fn arrivals_are_poisson_and_buy_as_often_as_they_sell() {
    let config = DarkConfig { arrivals: Some(arrivals()), ..DarkConfig::default() };
    let seconds = 20_000;
    let got = fills(&hours(&config, &[Side::Buy, Side::Sell], seconds, [300, 100]));
    // 20,000 expected; four standard deviations of a Poisson count.
    let n = got.len() as f64;
    assert!((n - seconds as f64).abs() < 4.0 * (seconds as f64).sqrt(), "{n} arrivals");
    let bought = got.iter().filter(|fill| fill.1 == 1).count() as f64;
    assert!((bought / n - 0.5).abs() < 2.0 / n.sqrt(), "{bought} of {n} sold to us");
    // Gaps are exponential: the share of those longer than two means is e^-2.
    let long = got.windows(2).filter(|pair| pair[1].0 - pair[0].0 > 2 * SECOND).count() as f64 / n;
    let expected = libm::exp(-2.0);
    assert!((long - expected).abs() < 4.0 * (expected * (1.0 - expected) / n).sqrt(), "{long} of the gaps are long");
    assert!(got.iter().all(|fill| fill.3 == 1000 * TICK + TICK / 2 && fill.2 == 100_000_000));
}

#[test]
fn adverse_arrivals_take_the_side_that_the_book_leans_to() {
    let seconds = 20_000;
    for (adverse, [bids, asks]) in [(1.0, [300, 100]), (0.5, [300, 100]), (1.0, [100, 300]), (0.5, [100, 100])] {
        let arrivals = Arrivals { adverse, ..arrivals() };
        let config = DarkConfig { arrivals: Some(arrivals), ..DarkConfig::default() };
        let got = fills(&hours(&config, &[Side::Buy, Side::Sell], seconds, [bids, asks]));
        let n = got.len() as f64;
        // Counterparties that buy meet our sell, order 2.
        let buyers = got.iter().filter(|fill| fill.1 == 2).count() as f64 / n;
        let expected = 0.5 * (1.0 + adverse * (bids - asks) as f64 / (bids + asks) as f64);
        assert!((buyers - expected).abs() < 2.0 / n.sqrt(), "{buyers} buy instead of {expected}");
    }
}

#[test]
fn sizes_are_log_normal_in_whole_lots() {
    let arrivals = Arrivals { median: Quantity::whole(200), sigma: 1.0, ..arrivals() };
    let config = DarkConfig { arrivals: Some(arrivals), ..DarkConfig::default() };
    let got = fills(&hours(&config, &[Side::Buy, Side::Sell], 20_000, [1, 1]));
    let n = got.len() as f64;
    // Standard normal quantiles (tables): 200 e^z is reached by so many.
    for (z, above) in [(-1.0, 0.841_345), (0.0, 0.5), (1.0, 0.158_655), (2.0, 0.022_75)] {
        let least = (200.0 * libm::exp(z)).ceil() as i64 * 100_000_000;
        let share = got.iter().filter(|fill| fill.2 >= least).count() as f64 / n;
        assert!((share - above).abs() < 4.0 * (above * (1.0 - above) / n).sqrt(), "{share} reach {z}, not {above}");
    }
    assert!(got.iter().all(|fill| fill.2 % 100_000_000 == 0 && fill.2 > 0));
}

#[test]
fn who_comes_does_not_depend_on_our_orders_and_the_same_seed_brings_the_same() {
    let config = DarkConfig { arrivals: Some(Arrivals { sigma: 1.0, ..arrivals() }), ..DarkConfig::default() };
    let both = fills(&hours(&config, &[Side::Buy, Side::Sell], 500, [3, 1]));
    assert!(both.len() > 300);
    assert_eq!(both, fills(&hours(&config, &[Side::Buy, Side::Sell], 500, [3, 1])));
    for side in [Side::Buy, Side::Sell] {
        let own: Vec<_> = both.iter().copied().filter(|fill| fill.1 == 1 + side as u64).collect();
        assert_eq!(own, fills(&hours(&config, &[side], 500, [3, 1])));
    }
    let other = Arrivals { seed: 6, sigma: 1.0, ..arrivals() };
    let other = DarkConfig { arrivals: Some(other), ..DarkConfig::default() };
    assert_ne!(both, fills(&hours(&other, &[Side::Buy, Side::Sell], 500, [3, 1])));
}

#[test]
fn nobody_comes_once_the_reference_is_silent() {
    let config = DarkConfig { arrivals: Some(arrivals()), max_age_ns: 10 * SECOND, ..DarkConfig::default() };
    let mut venues = with_pool(config);
    let mut reports = Vec::new();
    venues.market(&quote(BEGIN, 1000, 1, 1001, 1));
    venues.submit(Nanos(BEGIN), &order(1, DARK, Side::Buy, 1_000_000, Price::UNDEFINED));
    venues.submit(Nanos(BEGIN), &order(2, DARK, Side::Sell, 1_000_000, Price::UNDEFINED));
    // It ends by itself: nothing is due any more.
    while let Some(due) = venues.next_due() {
        venues.advance(due, &mut reports);
    }
    let got = fills(&reports);
    assert!(!got.is_empty() && got.iter().all(|fill| fill.0 <= BEGIN + 10 * SECOND), "{got:?}");
    // Three hours later it goes on, with nothing from between.
    let later = BEGIN + 3 * 3_600 * SECOND;
    venues.market(&quote(later, 1000, 1, 1001, 1));
    reports.clear();
    while let Some(due) = venues.next_due() {
        venues.advance(due, &mut reports);
    }
    let got = fills(&reports);
    assert!(!got.is_empty() && got.iter().all(|fill| fill.0 > later && fill.0 <= later + 10 * SECOND), "{got:?}");
}

#[test]
fn immediate_orders_meet_those_who_wait() {
    let patient = Arrivals { median: Quantity::whole(100), patience_ns: 3_600 * SECOND, ..arrivals() };
    let config = DarkConfig { arrivals: Some(patient), ..DarkConfig::default() };
    let mut venues = with_pool(config);
    let mut reports = Vec::new();
    for second in 0..200 {
        venues.market(&quote(BEGIN + second * SECOND, 1000, 1, 1001, 1));
    }
    let now = Nanos(BEGIN + 200 * SECOND);
    let ask = |id, shares, life| order_for(id, DARK, Side::Buy, shares, Price::UNDEFINED, life);
    // Some hundred sellers wait, with 100 each: all of a large order cannot be had, most of it can.
    for output in
        [ask(1, 1_000_000, TimeInForce::Fok), ask(2, 150, TimeInForce::Fok), ask(3, 1_000_000, TimeInForce::Ioc)]
    {
        venues.submit(now, &output);
        venues.advance(now, &mut reports);
    }
    let got =
        |id: u64| fills(&reports).iter().filter(|fill| fill.1 == id).map(|fill| fill.2).sum::<i64>() / 100_000_000;
    assert_eq!((got(1), got(2)), (0, 150));
    assert!((got(3) + 150) % 100 == 0 && (6_000..14_000).contains(&got(3)), "{}", got(3));
    let taker =
        |(_, report): &(Nanos, Report)| !matches!(report.kind, ReportKind::Filled { liquidity: Liquidity::Maker, .. });
    assert!(reports.iter().all(taker), "an order that comes to those who wait takes");
    // Nobody is left to sell; those who want to buy still wait, and only as long as their limit is no concern: at the
    // midpoint, not at any price.
    venues.submit(now, &order_for(4, DARK, Side::Buy, 100, Price::UNDEFINED, TimeInForce::Ioc));
    venues.submit(now, &order_for(5, DARK, Side::Sell, 100, Price(1001 * TICK), TimeInForce::Ioc));
    venues.submit(now, &order_for(6, DARK, Side::Sell, 100, Price(1000 * TICK), TimeInForce::Ioc));
    reports.clear();
    venues.advance(now, &mut reports);
    assert_eq!(fills(&reports).iter().map(|fill| fill.1).collect::<Vec<_>>(), [6]);
}

/// Raw material of one step.
type Dice = (u8, u8, u8, u8, u8);

fn history(at: u64, (what, a, b, c, _): Dice) -> Update {
    let price = |die: u8| Price((995 + i64::from(die % 10)) * TICK);
    let some = |die: u8| Quantity::whole(i64::from(die % 50));
    let half = Price((1990 + i64::from(a % 20)) * TICK / 2);
    match what % 8 {
        0..4 => {
            let (bid, ask) = (price(a), price(b));
            let bid = if c == 0 { Price::UNDEFINED } else { bid };
            Update::Quote { bid, bid_quantity: some(c), ask, ask_quantity: some(b) }
        }
        4..7 => {
            let aggressor = [None, Some(Side::Buy), Some(Side::Sell)][usize::from(b % 3)];
            let kind = if c % 2 == 0 { TradeKind::Hidden } else { TradeKind::Regular };
            Update::Trade { price: half, quantity: some(c), aggressor, kind, trade: at }
        }
        _ if a % 2 == 0 => Update::Status(TradingStatus::Halted),
        _ => Update::Status(TradingStatus::Trading),
    }
}

/// What the reference shows, kept as simply as possible: twice the midpoint, if there is one.
#[derive(Default)]
struct Reference {
    quote: Option<(i64, i64)>,
    halted: bool,
}

impl Reference {
    fn twice_the_midpoint(&self) -> Option<i64> {
        self.quote.filter(|(bid, ask)| !self.halted && bid < ask && *ask != i64::MAX).map(|(bid, ask)| bid + ask)
    }

    fn note(&mut self, update: &Update) {
        match *update {
            Update::Quote { bid, ask, .. } if bid.is_defined() => self.quote = Some((bid.0, ask.0)),
            Update::Quote { .. } => self.quote = None,
            Update::Status(status) => self.halted = status != TradingStatus::Trading,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Of every print at most its share fills us, at exactly the midpoint before it, within the limits and not more than
    /// the order; elsewhere nothing fills.
    #[test]
    fn prints_fill_their_share_at_the_midpoint(
        steps in prop::collection::vec(any::<Dice>(), 1..120),
        prints_ppm in 0u32..=1_000_000,
    ) {
        let mut venues = with_pool(DarkConfig { prints_ppm, ..DarkConfig::default() });
        let (mut reference, mut reports, mut left) = (Reference::default(), Vec::new(), std::collections::BTreeMap::new());
        for (step, dice) in (1u64..).zip(steps) {
            let at = BEGIN + step * SECOND;
            let side = if dice.1 % 2 == 0 { Side::Buy } else { Side::Sell };
            if dice.4 % 2 == 0 {
                let limit = Price((995 + i64::from(dice.4 % 10)) * TICK);
                let limit = if dice.4 % 4 == 0 { limit } else { Price::UNDEFINED };
                let shares = 1 + i64::from(dice.3 % 60);
                venues.submit(Nanos(at), &order(step, DARK, side, shares, limit));
                left.insert(step, (side, limit, shares * 100_000_000));
            }
            venues.advance(Nanos(at), &mut reports);
            prop_assert!(fills(&reports).is_empty(), "nothing comes by itself");
            let update = history(at, dice);
            venues.market(&Market { instrument: LIT, ts_event: Nanos(at), update });
            venues.advance(Nanos(at), &mut reports);
            let mut share = 0;
            if let (Update::Trade { price, quantity, .. }, Some(twice)) = (update, reference.twice_the_midpoint())
                && 2 * price.0 == twice
            {
                share = (i128::from(quantity.0) * i128::from(prints_ppm) / 1_000_000) as i64;
            }
            for (_, id, quantity, price) in fills(&reports) {
                share -= quantity;
                prop_assert!(share >= 0, "more than the print's share");
                prop_assert_eq!(Some(2 * price), reference.twice_the_midpoint());
                let (side, limit, left) = left.get_mut(&id).expect("an order of ours");
                *left -= quantity;
                prop_assert!(*left >= 0, "more than the order");
                prop_assert!(!limit.is_defined() || side.sign() * (price - limit.0) <= 0, "beyond the limit");
                if let Update::Trade { aggressor: Some(aggressor), .. } = update {
                    prop_assert_eq!(*side, aggressor.opposite());
                }
            }
            reports.clear();
            reference.note(&update);
        }
    }

    /// Two exchanges at once are each as it would be alone, and their answers come in the order of their arrival.
    #[test]
    fn exchanges_know_nothing_of_one_another(steps in prop::collection::vec(any::<Dice>(), 1..150)) {
        let list = instruments();
        let delay = |median_ns| Delay::LogNormal { minimum_ns: 0, median_ns, p99_ns: 40 * median_ns, seed: 3 };
        let config = |number: u32| Config {
            number,
            order_latency: delay(100_000_000 << number),
            report_latency: delay(50_000_000 << (2 * number)),
            fees: Fees { taker_ppm: i64::from(number), ..Fees::default() },
            ..Config::default()
        };
        let mut alone = [0, 1].map(|number| Venue::new(&list, config(number)));
        let both = [0, 1].map(|number| Venue::new(&list, config(number)));
        let mut both = Venues::new(both.into(), Vec::new(), vec![Exchange::Lit(0), Exchange::Lit(1)]);
        let (mut apart, mut together) = ([Vec::new(), Vec::new()], Vec::new());
        for (step, dice) in (1u64..).zip(steps) {
            let at = Nanos(BEGIN + step * SECOND / 8);
            let number = usize::from(dice.4 % 2);
            let instrument = InstrumentId(number as u32);
            both.advance(at, &mut together);
            for (venue, reports) in alone.iter_mut().zip(&mut apart) {
                venue.advance(at, reports);
            }
            if dice.0 % 3 == 0 {
                let side = if dice.1 % 2 == 0 { Side::Buy } else { Side::Sell };
                let limit = Price((995 + i64::from(dice.2 % 10)) * TICK);
                let output = order(step, instrument, side, 1 + i64::from(dice.3 % 60), limit);
                both.submit(at, &output);
                alone[number].submit(at, &output);
            } else {
                let market = Market { instrument, ts_event: at, update: history(at.0, dice) };
                both.market(&market);
                alone[number].market(&market);
            }
        }
        while let Some(due) = both.next_due() {
            both.advance(due, &mut together);
        }
        for (venue, reports) in alone.iter_mut().zip(&mut apart) {
            while let Some(due) = venue.next_due() {
                venue.advance(due, reports);
            }
        }
        prop_assert!(together.windows(2).all(|pair| pair[0].0 <= pair[1].0), "answers in the order of arrival");
        for (number, reports) in apart.iter().enumerate() {
            let own = |(_, report): &&(Nanos, Report)| report.instrument.index() == number;
            let own: Vec<_> = together.iter().filter(own).copied().collect();
            prop_assert_eq!(&own, reports);
        }
    }
}
