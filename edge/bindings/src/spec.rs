//! A run's description, as Python hands it over: plain dictionaries, lists and integers.

use helios_engine::{Config, State};
use helios_execution::Style;
use helios_io::{FeedLatency, SourceError};
use helios_risk::{Feeds, Limits};
use helios_signals::{BarKind, Binary, Field, Keeps, Node, NodeId, Past, PatternSpec, Sizing, Stat, Unary, Window};
use helios_types::{Cash, Instrument, InstrumentId, Nanos, Price, Quantity, Rules, Side, StrategyId, TickTable};
use helios_venue::{
    AccountTerms, Arrivals, Capacity, DarkConfig, DarkListing, DarkPool, Decay, Delay, Exchange, Fees, HalfSpread,
    Impact, Measure, QueueModel, Rates, SaleFees, SelfTrade, Tariff, Tier, TimeOfDay, Venue, Venues,
    Window as FeeWindow,
};
use pyo3::FromPyObject;
use std::collections::BTreeMap;

/// One node: operation, inputs, integer and float parameters.
pub(crate) type NodeSpec = (String, Vec<u32>, Vec<i64>, Vec<f64>);

/// Bands of ticks (lowest price, tick), least notional, unit of positions.
type RulesSpec = (Vec<(i64, i64)>, i64, i64);

/// Everything that the engine needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct EngineSpec {
    /// Symbol, tick, lot.
    pub(crate) instruments: Vec<(String, i64, i64)>,
    /// For each instrument the one whose position its fills go to; empty: each its own.
    holds: Vec<u32>,
    nodes: Vec<NodeSpec>,
    /// For each series from outside the market, its group.
    series: Vec<u32>,
    /// Rule and limit.
    limits: Vec<(String, i64)>,
    cash: i64,
    /// "market" or "touch", and ticks through.
    style: (String, u16),
    without_price: Vec<String>,
    limit_prices: bool,
    max_orders: u32,
    trade_from: u64,
    /// For each instrument, or for none.
    rules: Vec<RulesSpec>,
    /// For each instrument its order-entry session, or for none: all the first. Of live runs.
    #[pyo3(default)]
    sessions: Vec<u32>,
}

/// Kind, whole numbers (mostly nanoseconds) and others.
type DelaySpec = (String, Vec<i64>, Vec<f64>);

/// Symbol ("" for all that are not named), volume, [permanent, exponent, maker], decays (amplitude, lifetime in ns).
type ImpactSpec = (String, i64, [f64; 3], Vec<(f64, u64)>);

/// What a fill costs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct FeesSpec {
    maker_per_share: i64,
    taker_per_share: i64,
    maker_ppm: i64,
    taker_ppm: i64,
    minimum_per_order: i64,
}

/// The simulated venues of a run: exchanges, pools, and for each instrument where it is listed (whether in a pool, and
/// which). Empty: all at the first exchange.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct VenuesSpec {
    exchanges: Vec<VenueSpec>,
    pools: Vec<PoolSpec>,
    listed: Vec<(bool, u32)>,
}

/// Everything that a simulated dark pool needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PoolSpec {
    order_latency: DelaySpec,
    report_latency: DelaySpec,
    fees: FeesSpec,
    day_begins_ns: u64,
    minimum: i64,
    prints_ppm: u32,
    /// Mean gap, patience, median quantity, seed; sigma and adverse.
    arrivals: Option<(u64, u64, i64, u64, f64, f64)>,
    self_match: bool,
    max_age_ns: u64,
    /// Instruments and their references.
    listings: Vec<(u32, u32)>,
}

/// Everything that a simulated exchange needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct VenueSpec {
    order_latency: DelaySpec,
    report_latency: DelaySpec,
    feed_latency: DelaySpec,
    impacts: Vec<ImpactSpec>,
    fees: FeesSpec,
    half_spread_fixed: i64,
    half_spread_ppm: u32,
    day_begins_ns: u64,
    /// Opens and closes of the sessions, by turns; none: always open.
    hours: Vec<u64>,
    self_trade: String,
    auction_share_ppm: u32,
    price_band_ppm: Option<u32>,
    /// Name, and a power's exponent in thousandths.
    queue: (String, u32),
    fast: bool,
    account: AccountSpec,
}

/// What depends on volume, side and time held.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct AccountSpec {
    /// Volume, maker and taker per share, maker and taker ppm.
    tiers: Vec<(i64, i64, i64, i64, i64)>,
    volume_is_notional: bool,
    /// Zero: the calendar month.
    window_days: u32,
    /// Of sales: billionths of the notional, per share, cap of that per fill.
    sale: (i64, i64, i64),
    /// Rates a year in ppm, each from its moment on.
    borrow: Vec<(u64, i64)>,
    borrow_of: Vec<(u32, Vec<(u64, i64)>)>,
    debit: Vec<(u64, i64)>,
    credit: Vec<(u64, i64)>,
    not_shortable: Vec<u32>,
    days_per_year: u32,
}

fn error(message: impl Into<String>) -> SourceError {
    SourceError { source: "run".to_owned(), message: message.into() }
}

impl EngineSpec {
    pub(crate) fn symbols(&self) -> Vec<String> {
        self.instruments.iter().map(|(symbol, _, _)| symbol.clone()).collect()
    }

    pub(crate) fn instruments(&self) -> Vec<Instrument> {
        self.instruments
            .iter()
            .map(|(symbol, tick, lot)| Instrument { symbol: symbol.clone(), tick: Price(*tick), lot: Quantity(*lot) })
            .collect()
    }

    pub(crate) fn holds(&self) -> Vec<InstrumentId> {
        self.holds.iter().copied().map(InstrumentId).collect()
    }

    pub(crate) fn cash(&self) -> i64 {
        self.cash
    }

    pub(crate) fn trade_from(&self) -> u64 {
        self.trade_from
    }

    fn rules(&self) -> Result<Vec<Rules>, SourceError> {
        let rules = self.rules.iter().zip(&self.instruments).map(|((bands, least, unit), (symbol, _, _))| {
            let bands: Vec<_> = bands.iter().map(|(from, tick)| (Price(*from), Price(*tick))).collect();
            let ticks = match bands.is_empty() {
                true => None,
                false => Some(TickTable::new(bands).map_err(|e| error(format!("instrument {symbol}: {e}")))?),
            };
            Ok(Rules { ticks, min_notional: Cash(*least), unit: Quantity(*unit) })
        });
        rules.collect()
    }

    fn capacity(&self) -> Capacity {
        Capacity { orders: self.max_orders, levels: self.max_orders }
    }

    /// A fresh engine.
    pub(crate) fn state(&self) -> Result<State, SourceError> {
        let nodes = self.nodes.iter().map(node).collect::<Result<_, _>>()?;
        let config = Config {
            instruments: self.instruments(),
            holds: self.holds(),
            nodes,
            series: self.series.clone(),
            limits: limits(&self.limits)?,
            feeds: Feeds { without_price: self.without_price.clone(), limit_prices: self.limit_prices },
            cash: Cash(self.cash),
            trade_from: Nanos(self.trade_from),
            style: match self.style {
                (ref name, _) if name == "market" => Style::Market,
                (ref name, ticks) if name == "touch" => Style::Touch { ticks },
                (ref name, _) => return Err(error(format!("execution style {name:?} is not 'market' or 'touch'"))),
            },
            capacity: self.capacity(),
        };
        let state = State::new(config).map_err(|e| error(e.to_string()))?;
        let state = if self.rules.is_empty() { state } else { state.with_rules(self.rules()?) };
        let known = self.sessions.iter().all(|session| (*session as usize) < helios_execution::MAX_SESSIONS);
        match self.sessions.len() {
            0 => Ok(state),
            sessions if known && sessions == self.instruments.len() => Ok(state.with_sessions(self.sessions.clone())),
            _ => Err(error("a session is given for every instrument, or for none")),
        }
    }

    pub(crate) fn sessions(&self) -> Vec<u32> {
        self.sessions.clone()
    }
}

impl VenuesSpec {
    /// True for venues without books of their own, which hear of prices through the engine's.
    pub(crate) fn is_fast(&self) -> Result<bool, SourceError> {
        let fast = self.exchanges.iter().any(|venue| venue.fast);
        if fast && !self.exchanges.iter().all(|venue| venue.fast) {
            return Err(error("mode is 'fast' for some venues only: all exchanges of a run keep books, or none does"));
        }
        let now = FeedLatency::Delay(Delay::Constant(0));
        if fast && self.feeds()?.iter().any(|feed| *feed != now) {
            return Err(error("mode 'fast' fills against what the engine sees: it cannot have a feed latency"));
        }
        Ok(fast)
    }

    /// When the engine sees what happens at the exchanges.
    pub(crate) fn feeds(&self) -> Result<Vec<FeedLatency>, SourceError> {
        self.exchanges.iter().map(VenueSpec::feed).collect()
    }

    pub(crate) fn venues(&self, engine: &EngineSpec) -> Result<Venues, SourceError> {
        let exchanges = (0..).zip(&self.exchanges).map(|(number, venue)| venue.venue(number, engine));
        let mut exchanges = exchanges.collect::<Result<Vec<_>, _>>()?;
        if let ([_], []) = (&exchanges[..], &self.pools[..]) {
            return Ok(exchanges.remove(0).into());
        }
        let first = u32::try_from(exchanges.len()).map_err(|_| error("too many venues"))?;
        let pools = (first..).zip(&self.pools).map(|(number, pool)| pool.pool(number, engine));
        let at = |&(dark, number): &(bool, u32)| if dark { Exchange::Dark(number) } else { Exchange::Lit(number) };
        Ok(Venues::new(exchanges, pools.collect::<Result<_, _>>()?, self.listed.iter().map(at).collect()))
    }
}

impl FeesSpec {
    fn fees(&self) -> Fees {
        Fees {
            maker_per_share: Cash(self.maker_per_share),
            taker_per_share: Cash(self.taker_per_share),
            maker_ppm: self.maker_ppm,
            taker_ppm: self.taker_ppm,
            minimum_per_order: Cash(self.minimum_per_order),
        }
    }
}

impl PoolSpec {
    fn pool(&self, number: u32, engine: &EngineSpec) -> Result<DarkPool, SourceError> {
        let instruments = engine.instruments();
        let listing = |&(instrument, reference): &(u32, u32)| {
            let Instrument { symbol, tick, lot } = instruments
                .get(instrument as usize)
                .cloned()
                .ok_or_else(|| error(format!("a pool lists instrument {instrument}, which the run has not")))?;
            let (instrument, reference) = (InstrumentId(instrument), InstrumentId(reference));
            Ok(DarkListing { instrument, symbol, tick, lot, reference })
        };
        let arrivals = self.arrivals.map(|(mean_gap_ns, patience_ns, median, seed, sigma, adverse)| Arrivals {
            mean_gap_ns,
            median: Quantity(median),
            sigma,
            adverse,
            patience_ns,
            seed,
        });
        arrivals.as_ref().map_or(Ok(()), Arrivals::check).map_err(error)?;
        let config = DarkConfig {
            number,
            order_latency: delay(&self.order_latency, "order")?,
            report_latency: delay(&self.report_latency, "report")?,
            fees: self.fees.fees(),
            day_begins_ns: self.day_begins_ns,
            minimum: Quantity(self.minimum),
            prints_ppm: self.prints_ppm,
            arrivals,
            self_match: self.self_match,
            max_age_ns: self.max_age_ns,
            ..DarkConfig::default()
        };
        Ok(DarkPool::new(self.listings.iter().map(listing).collect::<Result<_, SourceError>>()?, config))
    }
}

impl VenueSpec {
    /// When the engine sees what happens at the venue.
    fn feed(&self) -> Result<FeedLatency, SourceError> {
        if self.feed_latency.0 == "data" {
            return Ok(FeedLatency::Stamps);
        }
        delay(&self.feed_latency, "feed").map(FeedLatency::Delay)
    }

    fn venue(&self, number: u32, engine: &EngineSpec) -> Result<Venue, SourceError> {
        let config = helios_venue::Config {
            number,
            order_latency: delay(&self.order_latency, "order")?,
            report_latency: delay(&self.report_latency, "report")?,
            impacts: impacts(&self.impacts, engine)?,
            fees: self.fees.fees(),
            half_spread: if self.half_spread_fixed > 0 {
                HalfSpread::Fixed(Price(self.half_spread_fixed))
            } else {
                HalfSpread::Ppm(self.half_spread_ppm)
            },
            day_begins_ns: self.day_begins_ns,
            queue: queue(&self.queue)?,
            capacity: engine.capacity(),
            self_trade: match self.self_trade.as_str() {
                "cancel_newest" => SelfTrade::CancelNewest,
                "cancel_oldest" => SelfTrade::CancelOldest,
                "cancel_both" => SelfTrade::CancelBoth,
                "decrement" => SelfTrade::Decrement,
                name => return Err(error(format!("self-trade prevention has no mode {name:?}"))),
            },
            auction_share_ppm: self.auction_share_ppm,
            price_band_ppm: self.price_band_ppm,
            ..helios_venue::Config::default()
        };
        let hours: Vec<_> = self.hours.chunks_exact(2).map(|pair| (Nanos(pair[0]), Nanos(pair[1]))).collect();
        let ordered = hours.iter().all(|(open, close)| open < close) && hours.windows(2).all(|w| w[0].1 <= w[1].0);
        if !ordered || !self.hours.len().is_multiple_of(2) {
            return Err(error("sessions of the venue must open before they close, in order, without overlap"));
        }
        let account = &self.account;
        let tariff = account.tariff(config.fees, self.day_begins_ns);
        let venue = Venue::new(&engine.instruments(), config).with_tariff(tariff);
        let venue = if engine.rules.is_empty() { venue } else { venue.with_rules(engine.rules()?) };
        let mut venue = venue.with_account(account.terms(Cash(engine.cash))?);
        venue.set_sessions(hours);
        Ok(venue)
    }
}

impl AccountSpec {
    fn tariff(&self, fees: Fees, day_begins_ns: u64) -> Tariff {
        let tier =
            |&(volume, maker_per_share, taker_per_share, maker_ppm, taker_ppm): &(i64, i64, i64, i64, i64)| Tier {
                volume,
                maker_per_share: Cash(maker_per_share),
                taker_per_share: Cash(taker_per_share),
                maker_ppm,
                taker_ppm,
            };
        let measure = if self.volume_is_notional { Measure::Notional } else { Measure::Shares };
        let window = if self.window_days == 0 { FeeWindow::Month } else { FeeWindow::Days(self.window_days) };
        let (ppb, per_share, cap) = self.sale;
        let sale = SaleFees { ppb, per_share: Cash(per_share), cap: Cash(cap) };
        Tariff::new(fees, self.tiers.iter().map(tier).collect(), measure, window, sale, day_begins_ns)
    }

    fn terms(&self, cash: Cash) -> Result<AccountTerms, SourceError> {
        let rates = |rows: &[(u64, i64)]| {
            Rates::new(rows.iter().map(|(from, ppm)| (Nanos(*from), *ppm)).collect()).map_err(error)
        };
        let own = |(of, rows): &(u32, Vec<(u64, i64)>)| Ok((InstrumentId(*of), rates(rows)?));
        Ok(AccountTerms {
            cash,
            borrow: rates(&self.borrow)?,
            borrow_of: self.borrow_of.iter().map(own).collect::<Result<_, SourceError>>()?,
            debit: rates(&self.debit)?,
            credit: rates(&self.credit)?,
            not_shortable: self.not_shortable.iter().copied().map(InstrumentId).collect(),
            days_per_year: self.days_per_year,
        })
    }
}

fn delay((kind, ints, floats): &DelaySpec, line: &str) -> Result<Delay, SourceError> {
    let wrong = || error(format!("{line} latency {kind:?} has the wrong parameters"));
    let ns = |x: &i64| u64::try_from(*x).map_err(|_| wrong());
    let int = |at: usize| ints.get(at).ok_or_else(wrong).and_then(ns);
    let delay = match kind.as_str() {
        "constant" => Delay::Constant(int(0)?),
        "log_normal" => Delay::LogNormal { minimum_ns: int(0)?, median_ns: int(1)?, p99_ns: int(2)?, seed: int(3)? },
        "gamma" => Delay::Gamma {
            minimum_ns: int(0)?,
            mean_ns: int(1)?,
            seed: int(2)?,
            shape: floats.first().copied().ok_or_else(wrong)?,
        },
        "sample" => {
            let (seed, sample) = ints.split_first().ok_or_else(wrong)?;
            Delay::Sample { seed: ns(seed)?, ns: sample.iter().map(ns).collect::<Result<_, _>>()? }
        }
        "time_of_day" => {
            // Whether linear, number of rows, rows (time, delay), offsets (from, local less UTC).
            let rows = usize::try_from(int(1)?).map_err(|_| wrong())?;
            let table = ints.get(2..).filter(|table| table.len() >= 2 * rows).ok_or_else(wrong)?;
            let (rows, offsets) = table.split_at(2 * rows);
            let pair = |row: &[i64]| Ok((ns(&row[0])?, ns(&row[1])?));
            let offset = |row: &[i64]| Ok((Nanos(ns(&row[0])?), row[1]));
            Delay::TimeOfDay(TimeOfDay {
                rows: rows.chunks_exact(2).map(pair).collect::<Result<_, SourceError>>()?,
                linear: int(0)? != 0,
                offsets: offsets.chunks_exact(2).map(offset).collect::<Result<_, SourceError>>()?,
            })
        }
        _ => return Err(error(format!("no {line} latency is named {kind:?}"))),
    };
    delay.check().map_err(|what| error(format!("{line} latency: {what}")))?;
    Ok(delay)
}

fn impacts(specs: &[ImpactSpec], engine: &EngineSpec) -> Result<BTreeMap<InstrumentId, Impact>, SourceError> {
    let mut impacts = BTreeMap::new();
    for (symbol, volume, [permanent, exponent, maker], decays) in specs {
        let decays =
            decays.iter().map(|(amplitude, lifetime_ns)| Decay { amplitude: *amplitude, lifetime_ns: *lifetime_ns });
        let impact = Impact {
            decays: decays.collect(),
            permanent: *permanent,
            exponent: *exponent,
            volume: Quantity(*volume),
            maker: *maker,
        };
        impact.check().map_err(|what| error(format!("impact: {what}")))?;
        for (id, (listed, ..)) in (0..).map(InstrumentId).zip(&engine.instruments) {
            let named = specs.iter().any(|(name, ..)| name == listed);
            if listed == symbol || symbol.is_empty() && !named {
                impacts.insert(id, impact.clone());
            }
        }
    }
    Ok(impacts)
}

fn queue((name, thousandths): &(String, u32)) -> Result<QueueModel, SourceError> {
    Ok(match name.as_str() {
        "pessimistic" => QueueModel::Pessimistic,
        "optimistic" => QueueModel::Optimistic,
        "proportional" => QueueModel::Proportional,
        "log" => QueueModel::Log,
        "power" => QueueModel::Power(*thousandths),
        _ => return Err(error(format!("no queue model is named {name:?}"))),
    })
}

fn limits(rows: &[(String, i64)]) -> Result<Limits, SourceError> {
    let mut limits = Limits::default();
    for (rule, value) in rows {
        let value = *value;
        match rule.as_str() {
            "order_quantity" => limits.order_quantity = Some(Quantity(value)),
            "order_notional" => limits.order_notional = Some(Cash(value)),
            "price_collar" => limits.price_collar_ppm = Some(value),
            "position" => limits.position = Some(Quantity(value)),
            "gross_exposure" => limits.gross_exposure = Some(Cash(value)),
            "order_rate" => limits.orders_per_second = Some(value),
            "daily_loss" => limits.daily_loss = Some(Cash(value)),
            _ => return Err(error(format!("no limit is named {rule:?}"))),
        }
    }
    Ok(limits)
}

pub(crate) fn node((name, inputs, ints, floats): &NodeSpec) -> Result<Node, SourceError> {
    let mut parts = name.split(':');
    let op = parts.next().unwrap_or_default();
    let (detail, more) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let wrong = || error(format!("node {name:?} has the wrong inputs or parameters"));
    let input = |at: usize| inputs.get(at).copied().map(NodeId).ok_or_else(wrong);
    let int = |at: usize| ints.get(at).copied().ok_or_else(wrong);
    let small = |at: usize| int(at).and_then(|x| u32::try_from(x).map_err(|_| wrong()));
    let span = |at: usize| int(at).and_then(|x| u64::try_from(x).map_err(|_| wrong()));
    let float = |at: usize| floats.get(at).copied().ok_or_else(wrong);
    let unknown = || error(format!("no node is named {name:?}"));
    let window = || {
        Ok(match detail {
            "count" => Window::Count(small(0)?),
            "time" => Window::Time(span(0)?),
            "all" => Window::All,
            "ewm_count" => Window::EwmCount(float(0)?),
            "ewm_time" => Window::EwmTime(span(0)?),
            _ => return Err(unknown()),
        })
    };
    let nodes = || inputs.iter().copied().map(NodeId).collect();
    let rows = || ints.chunks_exact(2).map(|row| Ok((Nanos(u64::try_from(row[0]).map_err(|_| wrong())?), row[1])));
    Ok(match op {
        "source" => {
            let level = ints.get(1).map_or(Ok(0), |level| u8::try_from(*level).map_err(|_| wrong()))?;
            Node::Source { instrument: InstrumentId(small(0)?), field: field(detail, level).ok_or_else(unknown)? }
        }
        "series" => Node::Series { series: small(0)? },
        "constant" => Node::Constant(float(0)?),
        "session" => Node::Session {
            hours: rows()
                .map(|row| row.and_then(|(open, close)| Ok((open, Nanos(u64::try_from(close).map_err(|_| wrong())?)))))
                .collect::<Result<_, _>>()?,
        },
        "local_time" => Node::LocalTime { offsets: rows().collect::<Result<_, _>>()? },
        "unary" => Node::Unary { op: unary(detail).ok_or_else(unknown)?, x: input(0)? },
        "binary" => Node::Binary { op: binary(detail).ok_or_else(unknown)?, x: input(0)?, y: input(1)? },
        "where" => Node::Where { condition: input(0)?, x: input(1)?, y: input(2)? },
        "together" => Node::Together { x: input(0)?, y: input(1)? },
        "when" => Node::When { x: input(0)?, trigger: input(1)? },
        "changes" => Node::Changes { x: input(0)? },
        "lag" => {
            let past = match detail {
                "samples" => Past::Samples(small(0)?),
                "time" => Past::Time(span(0)?),
                _ => return Err(unknown()),
            };
            Node::Lag { x: input(0)?, past }
        }
        "elapsed" => Node::Elapsed { x: input(0)? },
        "window" => {
            let keeps = match more {
                "moments" => Keeps::Moments,
                "skew" => Keeps::Skew,
                "least" => Keeps::Least,
                "greatest" => Keeps::Greatest,
                "order" => Keeps::Order,
                _ => return Err(unknown()),
            };
            let by = inputs.get(1).copied().map(NodeId);
            Node::Window { x: input(0)?, window: window()?, keeps, least: small(1)?, by }
        }
        "pairs" => {
            let by = inputs.get(2).copied().map(NodeId);
            Node::PairWindow { x: input(0)?, y: input(1)?, window: window()?, least: small(1)?, by }
        }
        "kalman" => Node::Kalman { y: input(0)?, x: input(1)?, drift: float(0)?, noise: float(1)?, least: small(0)? },
        "bars" => {
            let kind = match detail {
                "time" => BarKind::Time(span(0)?),
                "ticks" => BarKind::Ticks(small(0)?),
                "volume" => BarKind::Volume(float(0)?),
                "money" => BarKind::Money(float(0)?),
                _ => return Err(unknown()),
            };
            Node::Bars { price: input(0)?, size: input(1)?, kind }
        }
        "cross" => Node::Cross { members: nodes(), quorum: small(0)? },
        "pattern" => Node::Pattern { inputs: nodes(), spec: PatternSpec::decode(ints).map_err(error)? },
        "occurrences" => Node::Occurrences { inputs: nodes(), span: span(0)? },
        "read" => Node::Read { of: input(0)?, stat: stat(detail, ints, floats).ok_or_else(unknown)? },
        "hysteresis" => Node::Hysteresis { x: input(0)?, enter: float(0)?, exit: float(1)? },
        "cooldown" => Node::Cooldown { x: input(0)?, span: span(0)? },
        "debounce" => Node::Debounce { x: input(0)?, span: span(0)? },
        "latch" => Node::Latch { set: input(0)?, reset: input(1)? },
        "target" => {
            let sizing = match detail {
                "quantity" => Sizing::Quantity(Quantity(int(2)?)),
                "notional" => Sizing::Notional(Cash(int(2)?)),
                _ => return Err(unknown()),
            };
            Node::Target { x: input(0)?, strategy: StrategyId(small(0)?), instrument: InstrumentId(small(1)?), sizing }
        }
        "quote" => Node::Quote {
            x: input(0)?,
            strategy: StrategyId(small(0)?),
            instrument: InstrumentId(small(1)?),
            side: match detail {
                "bid" => Side::Buy,
                "ask" => Side::Sell,
                _ => return Err(unknown()),
            },
            quantity: Quantity(int(2)?),
            limit: Quantity(int(3)?),
            every: int(4)?.unsigned_abs(),
        },
        "record" => Node::Record { x: input(0)?, signal: small(0)?, input: input(1)? },
        _ => return Err(unknown()),
    })
}

fn unary(name: &str) -> Option<Unary> {
    Some(match name {
        "neg" => Unary::Neg,
        "log" => Unary::Log,
        "exp" => Unary::Exp,
        "sqrt" => Unary::Sqrt,
        "abs" => Unary::Abs,
        "sign" => Unary::Sign,
        "not" => Unary::Not,
        "is_null" => Unary::IsNull,
        _ => return None,
    })
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "add" => Binary::Add,
        "sub" => Binary::Sub,
        "mul" => Binary::Mul,
        "div" => Binary::Div,
        "min" => Binary::Min,
        "max" => Binary::Max,
        "gt" => Binary::Gt,
        "ge" => Binary::Ge,
        "lt" => Binary::Lt,
        "le" => Binary::Le,
        "eq" => Binary::Eq,
        "ne" => Binary::Ne,
        "and" => Binary::And,
        "or" => Binary::Or,
        "coalesce" => Binary::Coalesce,
        _ => return None,
    })
}

fn stat(name: &str, ints: &[i64], floats: &[f64]) -> Option<Stat> {
    let member = |at: usize| ints.get(at).and_then(|x| u32::try_from(*x).ok());
    Some(match name {
        "mean" => Stat::Mean,
        "sum" => Stat::Sum,
        "var" => Stat::Var,
        "std" => Stat::Std,
        "zscore" => Stat::ZScore,
        "skew" => Stat::Skew,
        "min" => Stat::Min,
        "max" => Stat::Max,
        "quantile" => Stat::Quantile(*floats.first()?),
        "cov" => Stat::Cov,
        "corr" => Stat::Corr,
        "beta" => Stat::Beta,
        "alpha" => Stat::Alpha,
        "residual" => Stat::Residual,
        "open" => Stat::Open,
        "high" => Stat::High,
        "low" => Stat::Low,
        "close" => Stat::Close,
        "volume" => Stat::Volume,
        "vwap" => Stat::Vwap,
        "count" => Stat::Count,
        "session" => Stat::Session,
        "since_open" => Stat::SinceOpen,
        "to_close" => Stat::ToClose,
        "is_open" => Stat::IsOpen,
        "time_of_day" => Stat::TimeOfDay,
        "weekday" => Stat::Weekday,
        "rank" => Stat::Rank(member(0)?),
        "cross_zscore" => Stat::CrossZScore(member(0)?),
        "demean" => Stat::Demean(member(0)?),
        "top" => Stat::Top { member: member(0)?, k: member(1)? },
        _ => return None,
    })
}

fn field(name: &str, level: u8) -> Option<Field> {
    Some(match name {
        "bid" => Field::Bid,
        "ask" => Field::Ask,
        "mid" => Field::Mid,
        "microprice" => Field::Microprice,
        "imbalance" => Field::Imbalance,
        "bid_size" => Field::BidSize,
        "ask_size" => Field::AskSize,
        "bid_at" => Field::BidAt(level),
        "ask_at" => Field::AskAt(level),
        "bid_size_at" => Field::BidSizeAt(level),
        "ask_size_at" => Field::AskSizeAt(level),
        "bid_depth" => Field::BidDepth(level),
        "ask_depth" => Field::AskDepth(level),
        "last" => Field::Last,
        "last_size" => Field::LastSize,
        "flow" => Field::Flow,
        "open" => Field::Open,
        "high" => Field::High,
        "low" => Field::Low,
        "close" => Field::Close,
        "volume" => Field::Volume,
        _ => return None,
    })
}
