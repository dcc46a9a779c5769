//! Text scenarios of the matching engine: commands in, events out. How to write one stands in
//! `tests/scenarios/matching/README.md`.

use helios_book::Capacity;
use helios_types::{BookRef, InstrumentId, Price, Quantity, Side, Terms, TimeInForce};
use helios_venue::SelfTrade;
use helios_venue::matching::{
    Allocation, Amend, AuctionKind, Bands, Beyond, Command, Event, Indicative, MatchingEngine, NewOrder, Phase, Place,
    Request, Rules,
};

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let text = include_str!(concat!("../../../../tests/scenarios/matching/", stringify!($name), ".txt"));
            run(concat!(stringify!($name), ".txt"), text);
        })*

        const LISTED: &[&str] = &[$(concat!(stringify!($name), ".txt")),*];
    };
}

scenarios! {
    price_time market_orders immediate_or_cancel fill_or_kill fill_or_kill_and_pegs post_only hidden iceberg
    midpoint_peg peg_follows_the_midpoint stop_orders stop_order_of_waking stop_limit pro_rata pro_rata_top_first
    pro_rata_lots pro_rata_top_iceberg post_only_and_pegs self_trade_newest self_trade_oldest self_trade_both self_trade_decrement self_trade_pro_rata
    amend amend_iceberg amend_moves_and_trades bands_reject bands_cancel bands_rest bands_dynamic ticks_and_lots
    phases halt day_ends full refusals terms_that_contradict
    auction_volume auction_imbalance auction_pressure_up auction_pressure_down auction_reference auction_no_reference
    auction_market_orders auction_priority auction_iceberg_and_hidden auction_reopen auction_close_call
    auction_close_from_continuous auction_nothing_crosses auction_wakes_stops on_open_and_on_close
}

#[test]
fn every_scenario_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios/matching");
    for entry in std::fs::read_dir(folder).expect("the folder of scenarios") {
        let name = entry.expect("a readable folder").file_name().into_string().expect("a plain file name");
        let known = name == "README.md" || LISTED.contains(&name.as_str());
        assert!(known, "{name} is not run: add it to the list in core/venue/tests/matching/scenarios.rs");
    }
}

const X: InstrumentId = InstrumentId(0);
/// What `elsewhere` means.
const UNLISTED: InstrumentId = InstrumentId(9);

fn run(file: &str, text: &str) {
    let mut table = Table::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        table.place = format!("{file}:{}", number + 1);
        match words.as_slice() {
            [] => {}
            ["->", expected @ ..] => table.expected.push((table.place.clone(), canonical(expected))),
            ["=", state @ ..] => table.check_state(state),
            words if table.set(words) => {}
            words => table.act(words),
        }
    }
    table.compare();
}

struct Table {
    place: String,
    rules: Rules,
    capacity: Capacity,
    engine: Option<MatchingEngine>,
    /// Names of orders; an order's number is its name's position, from 1.
    names: Vec<String>,
    got: Vec<Event>,
    expected: Vec<(String, String)>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            place: String::new(),
            rules: Rules::default(),
            capacity: Capacity { orders: 1000, levels: 1000 },
            engine: None,
            names: Vec::new(),
            got: Vec::new(),
            expected: Vec::new(),
        }
    }
}

impl Table {
    fn engine(&mut self) -> &mut MatchingEngine {
        let (capacity, rules) = (self.capacity, self.rules);
        self.engine.get_or_insert_with(|| {
            let mut engine = MatchingEngine::new(1, capacity);
            engine.set_rules(X, rules).expect("valid rules");
            engine
        })
    }

    /// Settings: rules may change later too, capacity may not. False when the line is something else.
    fn set(&mut self, words: &[&str]) -> bool {
        match *words {
            ["tick", x] => self.rules.tick = price(x),
            ["lot", x] => self.rules.lot = quantity(x),
            ["pro-rata"] => self.rules.allocation = Allocation::ProRata { top_first: false },
            ["pro-rata", "top"] => self.rules.allocation = Allocation::ProRata { top_first: true },
            ["bands", reference, fixed, moving, beyond] => {
                let beyond = match beyond {
                    "reject" => Beyond::Reject,
                    "cancel" => Beyond::Cancel,
                    "rest" => Beyond::Rest,
                    _ => panic!("{}: {beyond} is neither reject nor cancel nor rest", self.place),
                };
                let (static_ppm, dynamic_ppm) = (percent(fixed), percent(moving));
                self.rules.bands = Some(Bands { reference: price(reference), static_ppm, dynamic_ppm, beyond });
            }
            ["last", x] => self.engine().set_last(X, price(x)).expect("a price"),
            ["capacity", orders, levels] => {
                assert!(self.engine.is_none(), "{}: capacity stands before the first command", self.place);
                self.capacity = Capacity { orders: number(orders) as u32, levels: number(levels) as u32 };
            }
            _ => return false,
        }
        let rules = self.rules;
        if let Some(engine) = &mut self.engine {
            engine.set_rules(X, rules).expect("valid rules");
        }
        true
    }

    fn act(&mut self, words: &[&str]) {
        self.compare();
        let (instrument, words) = match words {
            ["elsewhere", words @ ..] => (UNLISTED, words),
            words => (X, words),
        };
        let command = self.command(instrument, words);
        let mut got = Vec::new();
        self.engine().apply(&command, &mut got);
        self.got = got;
    }

    fn command(&mut self, instrument: InstrumentId, words: &[&str]) -> Command {
        match *words {
            ["cancel", name] => Command::Cancel { instrument, order: self.number_of(name) },
            ["amend", name, total, "@", limit, ref rest @ ..] => {
                let order = self.number_of(name);
                let mut amend = Amend {
                    instrument,
                    order,
                    new_order: order,
                    price: price(limit),
                    quantity: quantity(total),
                    display: None,
                };
                for pair in rest.chunks(2) {
                    match *pair {
                        ["display", x] => amend.display = Some(quantity(x)),
                        ["as", name] => amend.new_order = self.number_of(name),
                        _ => panic!("{}: unknown change {pair:?}", self.place),
                    }
                }
                Command::Amend(amend)
            }
            ["phase", name] => Command::Phase { instrument, phase: phase(name) },
            ["uncross", kind] => Command::Uncross { instrument, kind: auction(kind) },
            ["indicate", kind] => Command::Indicate { instrument, kind: auction(kind) },
            [name, way @ ("buy" | "sell"), size, "@", limit, ref rest @ ..] => {
                let order = self.number_of(name);
                let plain = NewOrder::limit(instrument, order, side(way), price(limit), quantity(size));
                Command::Submit(self.with_terms(plain, rest))
            }
            _ => panic!("{}: unknown command {words:?}", self.place),
        }
    }

    fn with_terms(&self, mut new: NewOrder, words: &[&str]) -> NewOrder {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut next = || words.next().unwrap_or_else(|| panic!("{}: {word} lacks its value", self.place));
            match *word {
                "ioc" => new.time_in_force = TimeInForce::Ioc,
                "fok" => new.time_in_force = TimeInForce::Fok,
                "open" => new.time_in_force = TimeInForce::Open,
                "close" => new.time_in_force = TimeInForce::Close,
                "post-only" => new.terms.post_only = true,
                "hidden" => new.terms.display = Quantity::ZERO,
                "display" => new.terms.display = quantity(next()),
                "peg" => new.terms.midpoint = true,
                "stop" => new.terms.stop = price(next()),
                "firm" => new.firm = number(next()) as u32,
                "newest" => new.self_trade = Some(SelfTrade::CancelNewest),
                "oldest" => new.self_trade = Some(SelfTrade::CancelOldest),
                "both" => new.self_trade = Some(SelfTrade::CancelBoth),
                "decrement" => new.self_trade = Some(SelfTrade::Decrement),
                _ => panic!("{}: unknown term {word}", self.place),
            }
        }
        new
    }

    fn number_of(&mut self, name: &str) -> BookRef {
        let at = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        at as BookRef + 1
    }

    fn name(&self, order: BookRef) -> &str {
        &self.names[order as usize - 1]
    }

    /// Every event since the last comparison must be written in the table, and nothing else.
    fn compare(&mut self) {
        let (got, expected) = (std::mem::take(&mut self.got), std::mem::take(&mut self.expected));
        for (index, (place, line)) in expected.iter().enumerate() {
            let Some(event) = got.get(index) else { panic!("{place}: expected `{line}`, got nothing") };
            assert_eq!(&self.render(event), line, "{place}");
        }
        if let Some(event) = got.get(expected.len()) {
            panic!("before {}: an event that is not in the table: {}", self.place, self.render(event));
        }
    }

    fn check_state(&mut self, words: &[&str]) {
        let place = self.place.clone();
        let wanted = words.join(" ");
        let engine = self.engine();
        let found = match *words {
            ["bids" | "asks", ..] => {
                let way = if words[0] == "bids" { Side::Buy } else { Side::Sell };
                let levels: Vec<String> =
                    engine.books().depth(X, way).map(|level| format!("{} x {}", level.quantity, level.price)).collect();
                format!("{} {}", words[0], levels.join(" ")).trim().to_owned()
            }
            ["plain"] | ["not", "plain"] => if engine.is_plain(X) { "plain" } else { "not plain" }.to_owned(),
            ["phase", _] => format!("phase {}", lower(engine.phase(X).expect("listed"))),
            ["last", _] => format!("last {}", engine.last(X)),
            ["queue", way, at, ..] => {
                let numbers: Vec<BookRef> =
                    engine.queue(X, side(way), at_place(at)).iter().map(|working| working.order).collect();
                let names: Vec<&str> = numbers.iter().map(|number| self.name(*number)).collect();
                format!("queue {way} {at} {}", names.join(" ")).trim().to_owned()
            }
            ["order", name, ..] => {
                let number = self.number_of(name);
                let working = self.engine().order(number).unwrap_or_else(|| panic!("{place}: {name} does not work"));
                format!("order {name} open {} shown {} filled {}", working.open, working.shown, working.filled)
            }
            _ => panic!("{place}: unknown state {words:?}"),
        };
        assert_eq!(
            canonical(&found.split(' ').collect::<Vec<_>>()),
            canonical(&wanted.split(' ').collect::<Vec<_>>()),
            "{place}"
        );
    }

    /// An event as the table writes it.
    fn render(&self, event: &Event) -> String {
        let name = |order: BookRef| self.name(order);
        match *event {
            Event::Accepted { order, .. } => format!("accepted {}", name(order)),
            Event::Rejected { order: 0, request, reason, .. } => {
                format!("rejected {} {}", lower(request), lower(reason))
            }
            Event::Rejected { order, request: Request::Submit, reason, .. } => {
                format!("rejected {} {}", name(order), lower(reason))
            }
            Event::Rejected { order, request, reason, .. } => {
                format!("rejected {} {} {}", lower(request), name(order), lower(reason))
            }
            Event::Traded { incoming, resting, price, quantity, resting_left, .. } => {
                let left = if resting_left.is_zero() { String::new() } else { format!(" left {resting_left}") };
                format!("traded {} with {} {quantity} @ {price}{left}", name(incoming), name(resting))
            }
            Event::Cancelled { order, quantity, left, reason, .. } => {
                let left = if left.is_zero() { String::new() } else { format!(" left {left}") };
                format!("cancelled {} {quantity} {}{left}", name(order), lower(reason))
            }
            Event::Amended { order, new_order, price, quantity, kept, .. } => {
                let how = if kept { "kept".to_owned() } else { format!("moved as {}", name(new_order)) };
                format!("amended {} open {quantity} @ {} {how}", name(order), limit(price))
            }
            Event::Refreshed { order, quantity, .. } => format!("refreshed {} {quantity}", name(order)),
            Event::Triggered { order, .. } => format!("triggered {}", name(order)),
            Event::Indicative { ref indicative, .. } => format!("indicative {}", quoted(indicative)),
            Event::Auctioned { kind, ref indicative, .. } => {
                format!("auctioned {} {}", lower(kind), quoted(indicative))
            }
            Event::AuctionTraded { buy, sell, price, quantity, .. } => {
                format!("crossed {} with {} {quantity} @ {price}", name(buy), name(sell))
            }
            Event::Phase { phase, .. } => format!("phase {}", lower(phase)),
        }
    }
}

fn quoted(indicative: &Indicative) -> String {
    let Indicative { price, paired, imbalance, side } = *indicative;
    let side = side.map_or(String::new(), |side| format!(" {}", lower(side)));
    format!("{paired} @ {} imbalance {imbalance}{side}", limit(price))
}

fn limit(price: Price) -> String {
    if price.is_defined() { price.to_string() } else { "market".to_owned() }
}

/// `NotTrading` as `not-trading`.
fn lower(word: impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for letter in format!("{word:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// Words with numbers written as the engine writes them.
fn canonical(words: &[&str]) -> String {
    let word = |word: &&str| match word.starts_with(|c: char| c.is_ascii_digit()) {
        true => Price(decimal(word, 1_000_000_000)).to_string(),
        false => (*word).to_owned(),
    };
    words.iter().filter(|word| !word.is_empty()).map(word).collect::<Vec<_>>().join(" ")
}

fn at_place(word: &str) -> Place {
    let found = Place::ALL.into_iter().find(|place| lower(place) == word);
    found.unwrap_or_else(|| panic!("{word} is no place"))
}

fn phase(word: &str) -> Phase {
    let all = [Phase::Closed, Phase::PreOpen, Phase::Auction, Phase::Continuous, Phase::Halted];
    all.into_iter().find(|phase| lower(phase) == word).unwrap_or_else(|| panic!("{word} is no phase"))
}

fn auction(word: &str) -> AuctionKind {
    let all = [AuctionKind::Open, AuctionKind::Close, AuctionKind::Reopen];
    all.into_iter().find(|kind| lower(kind) == word).unwrap_or_else(|| panic!("{word} is no auction"))
}

fn side(word: &str) -> Side {
    match word {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => panic!("{word} is neither buy nor sell"),
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is not a whole number"))
}

/// Exact decimal text at a scale.
fn decimal(word: &str, scale: i64) -> i64 {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let places = scale.ilog10() as usize;
    assert!(fraction.len() <= places, "{word} has more than {places} decimals");
    number(whole) as i64 * scale + number(&format!("{fraction:0<places$}")) as i64
}

fn price(word: &str) -> Price {
    if matches!(word, "market" | "-") { Price::UNDEFINED } else { Price(decimal(word, 1_000_000_000)) }
}

fn quantity(word: &str) -> Quantity {
    if word == "all" { Terms::ALL } else { Quantity(decimal(word, 100_000_000)) }
}

/// Parts per million; `-` for none.
fn percent(word: &str) -> u32 {
    let digits = word.strip_suffix('%').unwrap_or("0");
    decimal(digits, 10_000) as u32
}
