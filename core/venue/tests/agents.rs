//! The simulated market and the statistical flow, read back as a stranger would: from their bytes.

use std::collections::{BTreeMap, BTreeSet};

use helios_book::{Books, Capacity};
use helios_types::{Hasher, InstrumentId, PRICE_SCALE, Price, Quantity, Side, Update};
use helios_venue::agents::{Config, Flow, MAX_GROUP_SIZE, MAX_SYMBOLS, OPEN_NS, Simulation};
use helios_wire::frame::{Frames, Framing, Tail};
use helios_wire::itch::{self, Message};
use proptest::prelude::*;

/// A consumer of the feed: books, counts, and every promise that a single message can break.
struct Reader {
    books: Books,
    counts: BTreeMap<char, u64>,
    events: String,
    last_ts: u64,
    references: BTreeSet<u64>,
    last_match: u64,
    trading: bool,
    /// Per symbol: shares of E, printable C, non-printable C, P and the crosses.
    volume: BTreeMap<u16, [u64; 5]>,
    crosses: BTreeMap<u16, String>,
    imbalances: BTreeMap<u16, String>,
}

impl Reader {
    fn new(symbols: usize) -> Self {
        Self {
            books: Books::new(symbols, Capacity::default()),
            counts: BTreeMap::new(),
            events: String::new(),
            last_ts: 0,
            references: BTreeSet::new(),
            last_match: 0,
            trading: false,
            volume: BTreeMap::new(),
            crosses: BTreeMap::new(),
            imbalances: BTreeMap::new(),
        }
    }

    fn messages(&self) -> u64 {
        self.counts.values().sum()
    }

    fn count(&self, kind: char) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    fn read(&mut self, chunk: &[u8]) {
        let mut frames = Frames::new(chunk, Framing::LengthPrefixed);
        for bytes in frames.by_ref() {
            self.message(bytes);
        }
        assert!(matches!(frames.tail(), Tail::Clean), "a chunk ends with a whole frame: {:?}", frames.tail());
    }

    fn message(&mut self, bytes: &[u8]) {
        let message = itch::decode(bytes).expect("a genuine message");
        let ts = message.timestamp();
        assert!(ts >= self.last_ts, "time goes back from {} to {ts}", self.last_ts);
        self.last_ts = ts;
        *self.counts.entry(char::from(bytes[0])).or_default() += 1;
        self.session(&message);
        let Some(update) = self.update(&message) else { return };
        let instrument = InstrumentId(u32::from(message.stock_locate()) - 1);
        if let Err(error) = self.books.apply(instrument, &update) {
            panic!("message {}, {message:?}: {error}", self.messages());
        }
        let top = self.books.top(instrument);
        assert!(!top.is_crossed(), "crossed at {ts}: {top:?}");
        if self.trading {
            assert!(top.bid.orders > 0 && top.ask.orders > 0, "a side is empty at {ts}: {top:?}");
        }
    }

    /// What is not about orders.
    fn session(&mut self, message: &Message) {
        let locate = message.stock_locate();
        let mut volume = |at: usize, shares: u64| self.volume.entry(locate).or_default()[at] += shares;
        let number = match message {
            Message::OrderExecuted(m) => {
                volume(0, u64::from(m.executed_shares()));
                m.match_number()
            }
            Message::OrderExecutedWithPrice(m) => {
                volume(if m.printable() == b'Y' { 1 } else { 2 }, u64::from(m.executed_shares()));
                m.match_number()
            }
            Message::TradeNonCross(m) => {
                volume(3, u64::from(m.shares()));
                m.match_number()
            }
            Message::CrossTrade(m) => {
                volume(4, m.cross_shares());
                self.crosses.entry(locate).or_default().push(char::from(m.cross_type()));
                m.match_number()
            }
            Message::NetOrderImbalanceIndicator(m) => {
                self.imbalances.entry(locate).or_default().push(char::from(m.cross_type()));
                return;
            }
            Message::SystemEvent(m) => {
                self.events.push(char::from(m.event_code()));
                return;
            }
            _ => return,
        };
        assert_eq!(number, self.last_match + 1, "match numbers count the trades");
        self.last_match = number;
    }

    fn fresh(&mut self, reference: u64) -> u64 {
        assert!(self.references.insert(reference), "order number {reference} is used twice");
        reference
    }

    fn update(&mut self, message: &Message) -> Option<Update> {
        let price = |price4: u32| Price(i64::from(price4) * (PRICE_SCALE / 10_000));
        let quantity = |shares: u32| Quantity::whole(i64::from(shares));
        let side = |letter| if letter == b'B' { Side::Buy } else { Side::Sell };
        Some(match message {
            Message::AddOrder(m) => Update::Add {
                order: self.fresh(m.order_reference_number()),
                side: side(m.buy_sell_indicator()),
                price: price(m.price()),
                quantity: quantity(m.shares()),
            },
            Message::AddOrderMpid(m) => Update::Add {
                order: self.fresh(m.order_reference_number()),
                side: side(m.buy_sell_indicator()),
                price: price(m.price()),
                quantity: quantity(m.shares()),
            },
            Message::OrderExecuted(m) => Update::Execute {
                order: m.order_reference_number(),
                quantity: quantity(m.executed_shares()),
                trade: m.match_number(),
            },
            Message::OrderExecutedWithPrice(m) => Update::ExecuteAt {
                order: m.order_reference_number(),
                quantity: quantity(m.executed_shares()),
                price: price(m.execution_price()),
                printable: m.printable() == b'Y',
                trade: m.match_number(),
            },
            Message::OrderCancel(m) => {
                Update::Reduce { order: m.order_reference_number(), quantity: quantity(m.canceled_shares()) }
            }
            Message::OrderDelete(m) => Update::Delete { order: m.order_reference_number() },
            Message::OrderReplace(m) => Update::Replace {
                order: m.original_order_reference_number(),
                new_order: self.fresh(m.new_order_reference_number()),
                price: price(m.price()),
                quantity: quantity(m.shares()),
            },
            _ => return None,
        })
    }
}

fn small() -> Config {
    Config { symbols: 23, minutes: 2, seed: 11, ..Config::default() }
}

fn whole_day(config: Config) -> Vec<u8> {
    let mut simulation = Simulation::new(config).expect("valid settings");
    let mut bytes = Vec::new();
    while simulation.next_chunk(&mut bytes) {}
    bytes
}

fn digest(bytes: &[u8]) -> u128 {
    let mut hasher = Hasher::new();
    hasher.bytes(bytes);
    hasher.finish()
}

#[test]
fn a_day_is_complete_and_every_message_is_good() {
    let config = small();
    let symbols = config.symbols;
    let mut simulation = Simulation::new(config).expect("valid settings");
    let mut reader = Reader::new(symbols as usize);
    let mut chunk = Vec::new();
    while simulation.next_chunk(&mut chunk) {
        reader.read(&chunk);
        reader.trading = simulation.progress() > 0.0 && simulation.progress() < 1.0 && reader.last_ts > OPEN_NS;
        for symbol in 0..symbols {
            let rebuilt = reader.books.top(InstrumentId(symbol));
            assert_eq!(rebuilt, simulation.top(symbol as usize), "the feed leaves nothing out");
        }
        chunk.clear();
    }
    assert!(!simulation.next_chunk(&mut chunk) && chunk.is_empty(), "a complete day adds nothing");
    assert_eq!(simulation.progress(), 1.0);
    assert_eq!(reader.messages(), simulation.messages());
    assert_eq!(reader.events, "OSQMEC");
    assert!(reader.books.is_empty(), "all orders are deleted at the end");
    for kind in "RHYL".chars() {
        assert_eq!(reader.count(kind), u64::from(symbols), "one {kind} per symbol");
    }
    for kind in "AFECXDUP".chars() {
        assert!(reader.count(kind) > 0, "no {kind}: {:?}", reader.counts);
    }
    for locate in 1..=symbols as u16 {
        assert_eq!(reader.crosses[&locate], "OC", "one opening and one closing cross of locate {locate}");
        assert_eq!(reader.imbalances[&locate], "OOOCCC", "three indications before each cross of locate {locate}");
        let [executed, _, in_crosses, _, crossed] = reader.volume[&locate];
        assert!(executed > 0 && in_crosses <= crossed, "{:?}", reader.volume[&locate]);
    }
    let entered = reader.count('A') + reader.count('F') + reader.count('U');
    assert!(reader.count('D') + reader.count('U') <= entered, "orders leave once");
}

fn any_config() -> impl Strategy<Value = Config> {
    let counts = (1..12u32, 1..=3u32, any::<u64>(), 1..8u32);
    let economy = (0.1..60.0, 1.0..2000.0, prop_oneof![Just(0.0), 0.0..200.0], prop_oneof![Just(0.0), 0.0..=3.0]);
    (counts, economy).prop_map(|((symbols, minutes, seed, group_size), (rate, half_life, deviation, volatility))| {
        Config {
            symbols,
            minutes,
            seed,
            group_size,
            messages_per_symbol_second: rate,
            ou_half_life_s: half_life,
            deviation_bp: deviation,
            volatility,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_valid_settings_give_a_good_day(config in any_config()) {
        let mut reader = Reader::new(config.symbols as usize);
        let bytes = whole_day(config);
        reader.read(&bytes);
        prop_assert_eq!(reader.events.as_str(), "OSQMEC");
        prop_assert!(reader.books.is_empty());
        prop_assert!(reader.crosses.values().all(|crosses| crosses == "OC"));
    }
}

#[test]
fn message_rate_is_the_one_asked_for() {
    for rate in [1.0, 4.0, 20.0] {
        let config = Config { messages_per_symbol_second: rate, symbols: 20, minutes: 5, ..Config::default() };
        let mut simulation = Simulation::new(config).expect("valid settings");
        let (mut chunk, mut during) = (Vec::new(), 0);
        loop {
            let before = simulation.messages();
            if !simulation.next_chunk(&mut chunk) {
                break;
            }
            if simulation.progress() > 0.0 && simulation.progress() < 1.0 {
                during += simulation.messages() - before;
            }
            chunk.clear();
        }
        let found = during as f64 / (20.0 * 300.0);
        assert!((found / rate - 1.0).abs() < 0.15, "{found} messages per symbol and second instead of {rate}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_everywhere() {
    let bytes = whole_day(small());
    assert_eq!(bytes, whole_day(small()));
    assert_ne!(bytes, whole_day(Config { seed: 12, ..small() }));
    // A change of this number is a change of every simulated day: say so in the changelog.
    assert_eq!(format!("{:032x}", digest(&bytes)), "7dfa0769ff9f4b37d993db8968c7014c");
}

#[test]
fn pieces_are_bounded() {
    let mut simulation = Simulation::new(Config { symbols: 1000, minutes: 1, ..Config::default() }).expect("valid");
    let mut chunk = Vec::new();
    while simulation.next_chunk(&mut chunk) {
        assert!(chunk.len() < 1 << 20, "{} bytes in one piece", chunk.len());
        chunk.clear();
    }
}

#[test]
fn names_are_distinct_and_groups_are_as_asked() {
    let config = Config { symbols: 2000, group_size: 40, ..Config::default() };
    let simulation = Simulation::new(config).expect("valid settings");
    let names: BTreeSet<&str> = simulation.symbols().collect();
    assert_eq!(names.len(), 2000);
    assert_eq!(simulation.groups().iter().filter(|member| member.group == 3).count(), 40);
    assert_eq!(simulation.groups()[1999].group, 49);
}

#[test]
fn nonsense_is_refused_with_the_setting_its_value_and_the_range() {
    let good = Config::default;
    let refused = [
        (Config { symbols: 0, ..good() }, "symbols"),
        (Config { symbols: MAX_SYMBOLS + 1, ..good() }, "symbols"),
        (Config { minutes: 0, ..good() }, "minutes"),
        (Config { minutes: 391, ..good() }, "minutes"),
        (Config { group_size: 0, ..good() }, "group_size"),
        (Config { group_size: MAX_GROUP_SIZE + 1, ..good() }, "group_size"),
        (Config { messages_per_symbol_second: 0.0, ..good() }, "messages_per_symbol_second"),
        (Config { messages_per_symbol_second: f64::NAN, ..good() }, "messages_per_symbol_second"),
        (Config { ou_half_life_s: -1.0, ..good() }, "ou_half_life_s"),
        (Config { deviation_bp: f64::INFINITY, ..good() }, "deviation_bp"),
        (Config { volatility: 3.5, ..good() }, "volatility"),
    ];
    for (config, field) in refused {
        let error = Simulation::new(config).expect_err(field);
        assert_eq!(error.field, field);
        let text = error.to_string();
        assert!(text.contains(field) && text.contains("between"), "{text}");
    }
}

/// Mids and values of every symbol, once a second of market hours.
struct Paths {
    mids: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    spreads_cents: Vec<f64>,
}

fn paths(simulation: &mut Simulation) -> Paths {
    let symbols = simulation.groups().len();
    let mut paths =
        Paths { mids: vec![Vec::new(); symbols], values: vec![Vec::new(); symbols], spreads_cents: Vec::new() };
    let mut chunk = Vec::new();
    while simulation.next_chunk(&mut chunk) {
        chunk.clear();
        if simulation.progress() == 0.0 || simulation.progress() == 1.0 {
            continue;
        }
        for symbol in 0..symbols {
            let top = simulation.top(symbol);
            let (bid, ask) = (top.bid.price.to_f64(), top.ask.price.to_f64());
            paths.spreads_cents.push(100.0 * (ask - bid));
            paths.mids[symbol].push(libm::log((bid + ask) / 2.0));
            paths.values[symbol].push(libm::log(simulation.value(symbol).to_f64()));
        }
    }
    paths
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Slope of `x[n + lag]` on `x[n]`.
fn autoregression(x: &[f64], lag: usize) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let covariance: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum();
    let variance: f64 = x[..x.len() - lag].iter().map(|a| (a - mean) * (a - mean)).sum();
    covariance / variance
}

/// Mean square of changes over `lag`.
fn variation(x: &[f64], lag: usize) -> f64 {
    let changes = x.iter().zip(&x[lag..]).map(|(a, b)| (b - a) * (b - a));
    changes.sum::<f64>() / (x.len() - lag) as f64
}

#[test]
fn mids_follow_values_at_the_distance_of_a_spread() {
    let config = Config { symbols: 40, minutes: 15, seed: 5, ..Config::default() };
    let paths = paths(&mut Simulation::new(config).expect("valid settings"));
    let squares = paths.mids.iter().flatten().zip(paths.values.iter().flatten()).map(|(m, v)| (m - v) * (m - v));
    let count = paths.mids.iter().map(Vec::len).sum::<usize>();
    let distance_bp = 1e4 * (squares.sum::<f64>() / count as f64).sqrt();
    // A cent is 10 basis points at $10, so that cheap symbols cannot be nearer than some.
    assert!((0.5..5.0).contains(&distance_bp), "mids are {distance_bp} bp from values");
    let within = paths.spreads_cents.iter().filter(|cents| (0.99..6.01).contains(*cents)).count();
    let share = within as f64 / paths.spreads_cents.len() as f64;
    assert!(share > 0.95, "only {share} of all spreads are 1 to 6 cents");
}

#[test]
fn pairs_of_a_group_revert_and_pairs_across_groups_do_not() {
    for (seed, half_life_s) in [(1, 120.0), (2, 240.0)] {
        let config =
            Config { symbols: 40, group_size: 5, minutes: 90, seed, ou_half_life_s: half_life_s, ..Config::default() };
        let mut simulation = Simulation::new(config).expect("valid settings");
        let paths = paths(&mut simulation);
        let members = simulation.groups().to_vec();
        let (mut half_lives, mut ratios_within, mut ratios_across) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..members.len() {
            for j in i + 1..members.len() {
                let ratio = members[i].beta / members[j].beta;
                let pair = paths.mids[i].iter().zip(&paths.mids[j]);
                let spread: Vec<f64> = pair.map(|(a, b)| a - ratio * b).collect();
                // From one half-life to five a fading deviation's variation doubles (31/32 over 1/2), a random walk's
                // grows five times; differences across groups are a sum of both.
                let lag = half_life_s as usize;
                let growth = variation(&spread, 5 * lag) / variation(&spread, lag);
                if members[i].group == members[j].group {
                    let slope = autoregression(&spread, 20);
                    assert!(slope < 1.0, "pair {i}/{j} does not revert: {slope}");
                    half_lives.push(-20.0 * std::f64::consts::LN_2 / libm::log(slope));
                    ratios_within.push(growth);
                } else {
                    ratios_across.push(growth);
                }
            }
        }
        let found = median(half_lives);
        assert!((0.5..2.0).contains(&(found / half_life_s)), "half-life {found} s instead of {half_life_s} s");
        let (within, across) = (median(ratios_within), median(ratios_across));
        assert!(within < 2.4, "within groups deviations grow {within} times");
        assert!(across > 2.8, "across groups differences grow only {across} times");
    }
}

#[test]
fn trades_bounce_between_bid_and_ask() {
    let symbols = 40;
    let bytes = whole_day(Config { symbols, minutes: 15, seed: 3, ..Config::default() });
    let mut orders = BTreeMap::new();
    let mut prints: Vec<Vec<f64>> = vec![Vec::new(); symbols as usize];
    for frame in Frames::new(&bytes, Framing::LengthPrefixed) {
        match itch::decode(frame).expect("genuine") {
            Message::AddOrder(m) => drop(orders.insert(m.order_reference_number(), m.price())),
            Message::AddOrderMpid(m) => drop(orders.insert(m.order_reference_number(), m.price())),
            Message::OrderReplace(m) => drop(orders.insert(m.new_order_reference_number(), m.price())),
            Message::OrderExecuted(m) => {
                let price = orders[&m.order_reference_number()];
                prints[usize::from(m.stock_locate()) - 1].push(f64::from(price));
            }
            _ => {}
        }
    }
    let slopes = prints.iter().map(|prices| {
        let changes: Vec<f64> = prices.windows(2).map(|pair| pair[1] - pair[0]).collect();
        autoregression(&changes, 1)
    });
    let slope = slopes.sum::<f64>() / f64::from(symbols);
    assert!((-0.5..-0.02).contains(&slope), "first autocorrelation of trade price changes is {slope}");
}

#[test]
fn what_takers_gain_strangers_and_makers_pay_and_it_is_small() {
    let symbols = 40;
    let config = Config { symbols, minutes: 20, seed: 9, ..Config::default() };
    let mut simulation = Simulation::new(config).expect("valid settings");
    let mut orders = BTreeMap::new();
    let (mut chunk, mut margin, mut turnover) = (Vec::new(), 0.0, 0.0);
    while simulation.next_chunk(&mut chunk) {
        for frame in Frames::new(&chunk, Framing::LengthPrefixed) {
            match itch::decode(frame).expect("genuine") {
                Message::AddOrder(m) => {
                    orders.insert(m.order_reference_number(), (m.buy_sell_indicator(), m.price()));
                }
                Message::AddOrderMpid(m) => {
                    orders.insert(m.order_reference_number(), (m.buy_sell_indicator(), m.price()));
                }
                Message::OrderReplace(m) => {
                    let (side, _) = orders[&m.original_order_reference_number()];
                    orders.insert(m.new_order_reference_number(), (side, m.price()));
                }
                Message::OrderExecuted(m) => {
                    let (side, price) = orders[&m.order_reference_number()];
                    let price = f64::from(price) / 10_000.0;
                    let value = simulation.value(usize::from(m.stock_locate()) - 1).to_f64();
                    let sign = if side == b'S' { 1.0 } else { -1.0 };
                    margin += sign * (price - value) * f64::from(m.executed_shares());
                    turnover += price * f64::from(m.executed_shares());
                }
                _ => {}
            }
        }
        chunk.clear();
    }
    let margin_bp = 1e4 * margin / turnover;
    assert!((-2.0..1.0).contains(&margin_bp), "resting orders gain {margin_bp} bp of turnover");
}

fn flow(seed: u64, symbols: u32, messages: u64) -> Vec<u8> {
    let mut flow = Flow::new(seed, symbols, messages).expect("valid settings");
    let mut bytes = Vec::new();
    while flow.next_chunk(&mut bytes) {}
    assert_eq!(flow.progress(), 1.0);
    bytes
}

#[test]
fn the_flow_has_its_mix_and_every_message_is_good() {
    let (symbols, messages) = (500, 600_000);
    let mut source = Flow::new(4, symbols, messages).expect("valid settings");
    let mut reader = Reader::new(symbols as usize);
    let mut chunk = Vec::new();
    while source.next_chunk(&mut chunk) {
        assert!(chunk.len() < 1 << 20, "{} bytes in one piece", chunk.len());
        reader.read(&chunk);
        assert_eq!(reader.books.len(), source.live_orders());
        chunk.clear();
    }
    assert_eq!(reader.messages(), messages);
    assert_eq!(reader.events, "OSQMEC");
    assert!((59_000..61_000).contains(&reader.books.len()), "{} orders rest", reader.books.len());
    // The first 60,000 messages only fill the books; they are adds besides the mix.
    let filling = 60_000.0 + f64::from(symbols) * 3.0;
    let mixed = messages as f64 - filling;
    let wanted = [('D', 40.0), ('U', 8.0), ('E', 3.0), ('X', 2.0), ('P', 1.5), ('I', 2.0), ('F', 1.0), ('C', 0.1)];
    for (kind, percent) in wanted {
        let found = 100.0 * reader.count(kind) as f64 / mixed;
        assert!((found / percent - 1.0).abs() < 0.1, "{found} % of {kind} instead of {percent} %");
    }
    let adds = 100.0 * (reader.count('A') as f64 - 60_000.0) / mixed;
    assert!((40.0..44.0).contains(&adds), "{adds} % of A");
}

#[test]
fn flow_repeats_and_refuses_nonsense() {
    let bytes = flow(1, 20, 5_000);
    assert_eq!(bytes, flow(1, 20, 5_000));
    assert_eq!(format!("{:032x}", digest(&bytes)), "8c8ef57d95858245c476e66fcc5d4872");
    // The smallest flow is its directory and its system events.
    assert_eq!(Frames::new(&flow(1, 20, 66), Framing::LengthPrefixed).count(), 66);
    for (symbols, messages, field) in [(0, 1000, "symbols"), (9001, 100_000, "symbols"), (20, 65, "messages")] {
        let error = Flow::new(1, symbols, messages).err().expect(field);
        assert_eq!(error.field, field);
    }
}
