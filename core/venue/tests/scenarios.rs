//! Text scenarios of the simulated exchange: history and our orders in, reports out.
//!
//! A file in `tests/scenarios` is a table that a trader can read:
//!
//! ```text
//! # settings, before the first time: instruments A B | tick 0.01 | lot 1 | latency 10us 20us (order, report)
//! #   a latency may be by time of day: step:09:30=10us;10:00=40us, or linear:…
//! #   impact volume 100 exponent 1 permanent 5bp maker 0.5 decay 20bp 10s decay … (of every instrument)
//! #   fees maker -0.002 taker 0.003 maker_ppm 0 taker_ppm 10 minimum 1 | half_spread 0.01 or 100ppm
//! #   max_open 2 | max_pending 2 | day_begins 1h | queue pessimistic (optimistic, proportional, log, power 2)
//! #   instruments A A@B A@D are of one security at three venues: `venue B latency …` is a setting of one of them, and
//! #   dark D [reference B] [latency 1us 1us] [prints 50%] [minimum 100] [max_age 10s] [self_match] [maker 0.001] a pool
//! #   cash 1000 | rates borrow 30000ppm debit 72000ppm credit 0ppm | not_shortable B | sale 27800ppb 0.000166 8.3
//! #   tier 1000 0.002 (taker per share) | window 30 (days; month) | ticks 0 0.0001 1 0.01 | min_notional 50 | unit 1
//! #   session 09:30:00 16:00:00 (each day) | band 50000ppm | auction_share 100000ppm
//! #   self_trade newest, oldest, both or decrement
//! 09:30:00.000 add 1 B 100 @ 10.00            history; `2/09:30:00` is the second day, `B: add …` another instrument
//! 09:30:00.000 level B 300 @ 10.00            a level's new total, of a feed without single orders; 0: it is gone
//! 09:30:00.001 us buy 50 @ 10.00 id=1 [ioc]   ours; `@ market` has no limit; also us cancel 1, us replace 1 30 @ 10.00;
//! #   behind the number: ioc fok open close, post, hidden, show=20 (an iceberg), mid (a peg), stop=10.05
//! -> accepted 1                               the reports delivered up to and at this line, all of them, in order
//! -> filled 1 50 @ 10.00 maker fee 0.15 stamped 09:30:00.001 at 09:30:00.002      from `fee` on: only if written
//! = ahead 1 100                               displayed quantity before our order; also = counts unknown bad full
//! = charged borrow X 3.00                     the broker's next charge; also = charged interest 2; = money 1000; = held X 5
//! = shown quote 100 @ 10.01 / 100 @ 10.02     what the engine sees of the last event of history
//! ```

mod ledger;

use helios_types::{
    Cash, Charge, Instrument, InstrumentId, Market, NANOS_PER_DAY, NANOS_PER_SECOND, Nanos, Order, OrderId, Output,
    Price, Quantity, Report, ReportKind, Rules, Side, StrategyId, Terms, TickTable, TimeInForce, TradeKind,
    TradingStatus, Update,
};
use helios_venue::{
    AccountTerms, Config, DarkConfig, DarkListing, DarkPool, Decay, Delay, Exchange, Fees, HalfSpread, Impact, Measure,
    QueueModel, Rates, SaleFees, SelfTrade, Tariff, Tier, TimeOfDay, Venue, Venues, Window,
};

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(concat!(stringify!($name), ".txt"), include_str!(concat!("scenarios/", stringify!($name), ".txt")));
        })*

        const LISTED: &[&str] = &[$(concat!(stringify!($name), ".txt")),*];
    };
}

scenarios! {
    queue_position cancel_ahead_and_behind taken_stays_taken taken_then_replaced missed_flow_goes_on
    partial_fills immediate_or_cancel market_order replace_priority crossing_add hidden_print execute_at
    own_orders_do_not_meet halt rejects latency order_message_first fees unknown_references clear_and_end_of_day
    tables_full bars bars_limit bars_under_way bars_cancel_under_way bars_days quotes quotes_taken quotes_resting
    trades_only better_data depth_trades depth_cancels depth_proportional depth_taken depth_crossing depth_terms
    unnamed_trades
    latency_by_time_of_day impact_decays impact_keeps_what_is_taken impact_on_bars
    venues_each_their_own venues_reports_in_time_order dark_prints dark_no_reference dark_limits_and_minimum
    dark_own_orders dark_rejects dark_days dark_sessions dark_impact dark_levels
    split split_of_bars borrow_and_interest not_shortable fee_tiers sale_fees
    tick_table least_notional
    impact_on_orders impact_on_levels impact_of_resting post_only fill_or_kill hidden iceberg midpoint stops
    stops_on_quotes stops_on_bars auctions auctions_on_bars self_trade_newest self_trade_oldest self_trade_both
    self_trade_decrement sessions bands terms_refused terms_on_quotes terms_on_bars iceberg_queue
    better_data_for_terms terms_on_depth
}

#[test]
fn every_scenario_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    for entry in std::fs::read_dir(folder).expect("the folder of scenarios") {
        let name = entry.expect("a readable folder").file_name().into_string().expect("a plain file name");
        assert!(LISTED.contains(&name.as_str()), "{name} is not run: add it to the list in tests/scenarios.rs");
    }
}

fn run(file: &str, text: &str) {
    let mut table = Table::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        table.place = format!("{file}:{}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["->", expected @ ..] => table.expected.push((table.place.clone(), expected.join(" "))),
            ["=", state @ ..] => table.check_state(state),
            [time, action @ ..] if time.contains(':') => table.act(moment(time), action),
            setting => table.set(setting),
        }
    }
    table.finish();
}

/// One scenario as it runs.
struct Table {
    place: String,
    names: Vec<String>,
    tick: Price,
    lot: Quantity,
    config: Config,
    session: Option<(Nanos, Nanos)>,
    impact: Option<Impact>,
    /// Further venues by name, and pools with the venue that is their reference.
    exchanges: Vec<(String, Config)>,
    pools: Vec<(String, String, DarkConfig)>,
    account: AccountTerms,
    shorts_refused: Vec<String>,
    rules: Rules,
    tiers: Vec<Tier>,
    window: Window,
    sale: SaleFees,
    venue: Option<Venues>,
    ledger: ledger::Ledger,
    seen: Option<Update>,
    got: Vec<(Nanos, Report)>,
    expected: Vec<(String, String)>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            place: String::new(),
            names: vec!["X".to_owned()],
            tick: Price(10_000_000),
            lot: Quantity::whole(1),
            config: Config { half_spread: HalfSpread::Fixed(Price::ZERO), ..Config::default() },
            session: None,
            impact: None,
            exchanges: Vec::new(),
            pools: Vec::new(),
            account: AccountTerms::default(),
            shorts_refused: Vec::new(),
            rules: Rules::default(),
            tiers: Vec::new(),
            window: Window::default(),
            sale: SaleFees::default(),
            venue: None,
            ledger: ledger::Ledger::default(),
            seen: None,
            got: Vec::new(),
            expected: Vec::new(),
        }
    }
}

impl Table {
    fn set(&mut self, words: &[&str]) {
        assert!(self.venue.is_none(), "{}: settings stand before the first time", self.place);
        if let ["venue", name, words @ ..] = words {
            let known = self.exchanges.iter().position(|(known, _)| known == name);
            let at = known.unwrap_or_else(|| {
                let half_spread = HalfSpread::Fixed(Price::ZERO);
                self.exchanges.push(((*name).to_owned(), Config { half_spread, ..Config::default() }));
                self.exchanges.len() - 1
            });
            // A setting of another venue is set as one of the first is.
            std::mem::swap(&mut self.config, &mut self.exchanges[at].1);
            self.set(words);
            return std::mem::swap(&mut self.config, &mut self.exchanges[at].1);
        }
        let config = &mut self.config;
        match words {
            ["dark", name, words @ ..] => self.pools.push(pool(name, words)),
            ["instruments", names @ ..] => self.names = names.iter().map(|&name| name.to_owned()).collect(),
            ["tick", x] => self.tick = price(x),
            ["lot", x] => self.lot = quantity(x),
            ["latency", order, report] => {
                (config.order_latency, config.report_latency) = (delay(order), delay(report));
            }
            ["fees", pairs @ ..] => {
                for pair in pairs.chunks(2) {
                    let fees = &mut config.fees;
                    match *pair {
                        ["maker", x] => fees.maker_per_share = cash(x),
                        ["taker", x] => fees.taker_per_share = cash(x),
                        ["maker_ppm", x] => fees.maker_ppm = x.parse().expect("parts per million"),
                        ["taker_ppm", x] => fees.taker_ppm = x.parse().expect("parts per million"),
                        ["minimum", x] => fees.minimum_per_order = cash(x),
                        _ => panic!("{}: unknown fee {pair:?}", self.place),
                    }
                }
            }
            ["cash", x] => self.account.cash = cash(x),
            ["rates", pairs @ ..] => {
                for pair in pairs.chunks(2) {
                    let [kind, rate] = *pair else { panic!("{}: a kind and a rate", self.place) };
                    let ppm = rate.strip_suffix("ppm").and_then(|ppm| ppm.parse().ok()).expect("parts per million");
                    let rates = Rates::new(vec![(Nanos(0), ppm)]).expect("a rate");
                    match kind {
                        "borrow" => self.account.borrow = rates,
                        "debit" => self.account.debit = rates,
                        "credit" => self.account.credit = rates,
                        _ => panic!("{}: unknown rate {kind}", self.place),
                    }
                }
            }
            ["not_shortable", names @ ..] => {
                self.shorts_refused = names.iter().map(|&name| name.to_owned()).collect();
            }
            ["tier", volume, taker] => {
                let (volume, taker_per_share) = (quantity(volume).0, cash(taker));
                self.ledger.varies = true;
                self.tiers.push(Tier { volume, taker_per_share, ..Tier::default() });
            }
            ["window", "month"] => self.window = Window::Month,
            ["window", days] => self.window = Window::Days(number(days) as u32),
            ["sale", ppb, per_share, cap] => {
                let ppb = ppb.strip_suffix("ppb").and_then(|ppb| ppb.parse().ok()).expect("parts per billion");
                self.ledger.varies = true;
                self.sale = SaleFees { ppb, per_share: cash(per_share), cap: cash(cap) };
            }
            ["ticks", bands @ ..] => {
                let bands = bands.chunks(2).map(|pair| (price(pair[0]), price(pair[1]))).collect();
                self.rules.ticks = Some(TickTable::new(bands).expect("a tick table"));
            }
            ["min_notional", x] => self.rules.min_notional = cash(x),
            ["unit", x] => self.rules.unit = quantity(x),
            ["impact", words @ ..] => {
                self.impact = Some(impact(words));
                self.ledger.moved = true;
            }
            ["half_spread", x] => {
                config.half_spread = match x.strip_suffix("ppm") {
                    Some(ppm) => HalfSpread::Ppm(ppm.parse().expect("parts per million")),
                    None => HalfSpread::Fixed(price(x)),
                }
            }
            ["queue", model @ ..] => {
                config.queue = match *model {
                    ["pessimistic"] => QueueModel::Pessimistic,
                    ["optimistic"] => QueueModel::Optimistic,
                    ["proportional"] => QueueModel::Proportional,
                    ["log"] => QueueModel::Log,
                    ["power", n] => QueueModel::Power((n.parse::<f64>().expect("an exponent") * 1e3) as u32),
                    _ => panic!("{}: unknown queue {model:?}", self.place),
                }
            }
            ["max_open", n] => config.max_open_orders = n.parse().expect("a count"),
            ["max_pending", n] => config.max_pending_messages = n.parse().expect("a count"),
            ["session", opens, closes] => self.session = Some((moment(opens), moment(closes))),
            ["band", x] => config.price_band_ppm = Some(ppm(x)),
            ["auction_share", x] => config.auction_share_ppm = ppm(x),
            ["self_trade", mode] => {
                config.self_trade = match *mode {
                    "newest" => SelfTrade::CancelNewest,
                    "oldest" => SelfTrade::CancelOldest,
                    "both" => SelfTrade::CancelBoth,
                    "decrement" => SelfTrade::Decrement,
                    _ => panic!("{}: unknown mode {mode}", self.place),
                }
            }
            ["day_begins", x] => config.day_begins_ns = duration(x),
            _ => panic!("{}: unknown setting {words:?}", self.place),
        }
    }

    fn venue(&mut self) -> &mut Venues {
        if self.venue.is_none() {
            self.venue = Some(self.fresh());
        }
        self.venue.as_mut().expect("it was just made")
    }

    fn fresh(&mut self) -> Venues {
        let list = |name: &String| Instrument { symbol: name.clone(), tick: self.tick, lot: self.lot };
        let instruments: Vec<Instrument> = self.names.iter().map(list).collect();
        let ids = (0..self.names.len() as u32).map(InstrumentId);
        let impacts = ids.clone().filter_map(|id| Some((id, self.impact.clone()?))).collect();
        let id = |name: &String| self.names.iter().position(|known| known == name).expect("a listed instrument");
        let not_shortable = self.shorts_refused.iter().map(|name| InstrumentId(id(name) as u32)).collect();
        let (fees, tiers) = (self.config.fees, self.tiers.clone());
        let mut first = Venue::new(&instruments, Config { impacts, ..self.config.clone() })
            .with_tariff(Tariff::new(fees, tiers, Measure::Shares, self.window, self.sale, 0))
            .with_rules(vec![self.rules.clone(); self.names.len()])
            .with_account(AccountTerms { not_shortable, ..self.account.clone() });
        if let Some((opens, closes)) = self.session {
            let day = |day: u64| (opens.plus(day * NANOS_PER_DAY), closes.plus(day * NANOS_PER_DAY));
            first.set_sessions((0..5).map(day).collect());
        }
        if self.exchanges.is_empty() && self.pools.is_empty() {
            return first.into();
        }
        let others = (1..).zip(&self.exchanges);
        let others = others.map(|(number, (_, config))| Venue::new(&instruments, Config { number, ..config.clone() }));
        let lit = std::iter::once(first).chain(others).collect();
        let of = ids.map(|id| self.exchange(id)).collect();
        let pools: Vec<DarkPool> = (0..self.pools.len()).map(|at| self.pool(at)).collect();
        Venues::new(lit, pools, of)
    }

    fn pool(&mut self, at: usize) -> DarkPool {
        let (name, reference, config) = self.pools[at].clone();
        let listed = |symbol: &String| symbol.strip_suffix(&format!("@{name}")).map(str::to_owned);
        let mut listings = Vec::new();
        for (id, symbol) in (0..).map(InstrumentId).zip(&self.names) {
            let Some(security) = listed(symbol) else { continue };
            self.ledger.hidden(id);
            let of = if reference.is_empty() { security } else { format!("{security}@{reference}") };
            let reference = self.names.iter().position(|name| *name == of).expect("the reference is an instrument");
            let (symbol, reference) = (symbol.clone(), InstrumentId(reference as u32));
            listings.push(DarkListing { instrument: id, symbol, tick: self.tick, lot: self.lot, reference });
        }
        DarkPool::new(listings, config)
    }

    fn exchange(&self, id: InstrumentId) -> Exchange {
        let name = self.names[id.index()].split_once('@').map_or("", |(_, venue)| venue);
        let pool = self.pools.iter().position(|(pool, ..)| pool == name);
        let exchange = self.exchanges.iter().position(|(exchange, _)| exchange == name).map(|at| at + 1);
        match pool {
            Some(at) => Exchange::Dark(at as u32),
            None => Exchange::Lit(
                exchange.unwrap_or_else(|| if name.is_empty() { 0 } else { panic!("venue {name}") }) as u32
            ),
        }
    }

    /// The tariff of an instrument's venue.
    fn fees(&self, id: InstrumentId) -> Fees {
        match self.names.get(id.index()).map(|_| self.exchange(id)) {
            Some(Exchange::Dark(at)) => self.pools[at as usize].2.fees,
            Some(Exchange::Lit(at)) if at > 0 => self.exchanges[at as usize - 1].1.fees,
            _ => self.config.fees,
        }
    }

    fn act(&mut self, at: Nanos, words: &[&str]) {
        self.compare();
        let mut got = std::mem::take(&mut self.got);
        self.venue().advance(at, &mut got);
        let (instrument, words) = match words {
            [name, rest @ ..] if name.ends_with(':') => (name.trim_end_matches(':'), rest),
            words => (self.names[0].as_str(), words),
        };
        let known = self.names.iter().position(|name| name == instrument);
        let instrument = InstrumentId(known.map_or(99, |index| index as u32));
        match words {
            ["pass"] => {}
            ["us", ours @ ..] => {
                let output = self.output(instrument, ours);
                self.ledger.message(&output);
                self.venue().submit(at, &output);
            }
            history => {
                let mut market = Market { instrument, ts_event: at, update: self.update(history) };
                self.ledger.market(&market);
                self.venue().market(&market);
                self.venue().show(&mut market);
                self.seen = Some(market.update);
            }
        }
        self.venue().advance(at, &mut got);
        self.got = got;
    }

    fn output(&self, instrument: InstrumentId, words: &[&str]) -> Output {
        match *words {
            [side @ ("buy" | "sell"), shares, "@", limit, id, ref rest @ ..] => Output::Submit(Order {
                id: OrderId(id.strip_prefix("id=").expect("id=N").parse().expect("an order number")),
                strategy: StrategyId(0),
                instrument,
                side: if side == "buy" { Side::Buy } else { Side::Sell },
                quantity: quantity(shares),
                price: price(limit),
                time_in_force: rest.iter().find_map(|word| life(word)).unwrap_or(TimeInForce::Day),
                terms: self.terms(rest),
            }),
            ["cancel", id] => Output::Cancel { order: OrderId(number(id)), instrument },
            ["replace", id, total, "@", limit] => Output::Replace {
                order: OrderId(number(id)),
                instrument,
                quantity: quantity(total),
                price: price(limit),
            },
            _ => panic!("{}: unknown order {words:?}", self.place),
        }
    }

    fn terms(&self, words: &[&str]) -> Terms {
        let mut terms = Terms::PLAIN;
        for word in words {
            match (*word, word.split_once('=')) {
                ("post", _) => terms.post_only = true,
                ("hidden", _) => terms.display = Quantity::ZERO,
                ("mid", _) => terms.midpoint = true,
                (_, Some(("show", shares))) => terms.display = quantity(shares),
                (_, Some(("stop", at))) => terms.stop = price(at),
                _ => assert!(life(word).is_some(), "{}: unknown term {word}", self.place),
            }
        }
        terms
    }

    fn update(&self, words: &[&str]) -> Update {
        match *words {
            ["add", id, who, shares, "@", at] => {
                Update::Add { order: number(id), side: side(who), price: price(at), quantity: quantity(shares) }
            }
            ["execute", id, shares] => Update::Execute { order: number(id), quantity: quantity(shares), trade: 0 },
            ["execute_at", id, shares, "@", at, ref rest @ ..] => Update::ExecuteAt {
                order: number(id),
                quantity: quantity(shares),
                price: price(at),
                printable: !rest.contains(&"unprinted"),
                trade: 0,
            },
            ["reduce", id, shares] => Update::Reduce { order: number(id), quantity: quantity(shares) },
            ["delete", id] => Update::Delete { order: number(id) },
            ["replace", id, new, shares, "@", at] => Update::Replace {
                order: number(id),
                new_order: number(new),
                price: price(at),
                quantity: quantity(shares),
            },
            [kind @ ("trade" | "hidden" | "cross" | "displayed"), shares, "@", at, ref rest @ ..] => Update::Trade {
                price: price(at),
                quantity: quantity(shares),
                aggressor: rest.first().map(|who| side(who)),
                kind: match kind {
                    "trade" => TradeKind::Regular,
                    "hidden" => TradeKind::Hidden,
                    "displayed" => TradeKind::Displayed,
                    _ => TradeKind::Cross,
                },
                trade: 0,
            },
            ["quote", bid_shares, "@", bid, "/", ask_shares, "@", ask] => Update::Quote {
                bid: price(bid),
                bid_quantity: quantity(bid_shares),
                ask: price(ask),
                ask_quantity: quantity(ask_shares),
            },
            ["bar", open, high, low, close, "for", span] => Update::Bar {
                open: price(open),
                high: price(high),
                low: price(low),
                close: price(close),
                volume: Quantity::whole(1),
                span: duration(span),
            },
            ["status", status] => Update::Status(match status {
                "halted" => TradingStatus::Halted,
                "paused" => TradingStatus::Paused,
                "quote_only" => TradingStatus::QuoteOnly,
                "trading" => TradingStatus::Trading,
                _ => panic!("{}: unknown status {status}", self.place),
            }),
            ["level", who, shares, "@", at] => {
                Update::Depth { side: side(who), price: price(at), quantity: quantity(shares) }
            }
            ["clear"] => Update::Clear,
            ["split", new, "for", old] => {
                Update::Split { numerator: number(new) as u32, denominator: number(old) as u32 }
            }
            ["dividend", x] => Update::Dividend { cash: price(x) },
            _ => panic!("{}: unknown event {words:?}", self.place),
        }
    }

    /// Every report since the last comparison must be written in the table, and nothing else.
    fn compare(&mut self) {
        let got = std::mem::take(&mut self.got);
        let expected = std::mem::take(&mut self.expected);
        for (_, report) in &got {
            let fees = self.fees(report.instrument);
            self.ledger.report(report, &fees, &self.place);
        }
        for (index, (place, line)) in expected.iter().enumerate() {
            let Some((arrival, report)) = got.get(index) else { panic!("{place}: expected `{line}`, got nothing") };
            let (words, wanted) = (render(*arrival, report), canonical(line));
            let core = words.iter().position(|word| word == "fee" || word == "stamped").expect("rendered with a stamp");
            assert_eq!(wanted.get(..core), Some(&words[..core]), "{place}: got `{}`", words.join(" "));
            for pair in wanted[core..].chunks(2) {
                let at = words.iter().position(|word| *word == pair[0]);
                let found = at.map(|at| &words[at + 1]);
                assert_eq!(found, pair.get(1), "{place}: {} differs, got `{}`", pair[0], words.join(" "));
            }
        }
        if let Some((arrival, report)) = got.get(expected.len()) {
            panic!("before {}: a report that is not in the table: {}", self.place, render(*arrival, report).join(" "));
        }
    }

    fn check_state(&mut self, words: &[&str]) {
        let place = self.place.clone();
        match *words {
            ["ahead", id, shares] => {
                let order = OrderId(number(id));
                let count = self.names.len() as u32;
                let standing = (0..count).find_map(|index| self.venue().standing(order, InstrumentId(index)));
                let ahead = standing.unwrap_or_else(|| panic!("{place}: order {id} does not rest")).ahead;
                assert_eq!(ahead, quantity(shares), "{place}: quantity ahead of order {id}");
            }
            ["counts", "unknown", unknown, "bad", bad, "full", full] => {
                let counts = self.venue().exchanges()[0].counts();
                let got = (counts.unknown_order, counts.bad, counts.full);
                assert_eq!(got, (number(unknown), number(bad), number(full)), "{place}: unknown, bad, full");
            }
            ["shown", ref event @ ..] => {
                assert_eq!(self.seen, Some(self.update(event)), "{place}: what the engine sees")
            }
            ["charged", ref what @ ..] => {
                let names = self.names.clone();
                let (at, charge) = self.venue().charge(Nanos(u64::MAX)).unwrap_or_else(|| panic!("{place}: no charge"));
                let words = match charge {
                    Charge::Borrow { instrument, amount } => {
                        format!("borrow {} {amount} at {}", names[instrument.index()], clock(at))
                    }
                    Charge::Financing { amount } => format!("interest {amount} at {}", clock(at)),
                };
                assert_eq!(words, canonical(&what.join(" ")).join(" "), "{place}");
            }
            ["money", x] => {
                let money = self.venue().exchanges()[0].account(InstrumentId(0)).0;
                assert_eq!(money, i128::from(cash(x).0), "{place}: money at the broker");
            }
            ["held", name, x] => {
                let at = self.names.iter().position(|known| known == name).expect("a listed instrument");
                let held = self.venue().exchanges()[0].account(InstrumentId(at as u32)).1;
                assert_eq!(held, quantity(x), "{place}: held at the broker");
            }
            ["open", n] => assert_eq!(self.venue().open_orders() as u64, number(n), "{place}: open orders"),
            _ => panic!("{place}: unknown state {words:?}"),
        }
    }

    fn finish(&mut self) {
        let left = self.venue().charge(Nanos(u64::MAX));
        assert_eq!(left, None, "{}: a charge that is not in the table", self.place);
        let mut got = std::mem::take(&mut self.got);
        while let Some(due) = self.venue().next_due() {
            self.venue().advance(due, &mut got);
        }
        self.got = got;
        self.compare();
    }
}

/// A pool, the venue of its reference, and its settings.
fn pool(name: &str, words: &[&str]) -> (String, String, DarkConfig) {
    let (mut config, mut reference) = (DarkConfig::default(), String::new());
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut next = || *words.next().expect("a setting of a pool has a value");
        match word {
            "reference" => reference = next().to_owned(),
            "latency" => (config.order_latency, config.report_latency) = (delay(next()), delay(next())),
            "prints" => config.prints_ppm = number(next().trim_end_matches('%')) as u32 * 10_000,
            "minimum" => config.minimum = quantity(next()),
            "max_age" => config.max_age_ns = duration(next()),
            "self_match" => config.self_match = true,
            "max_open" => config.max_open_orders = number(next()) as usize,
            "max_pending" => config.max_pending_messages = number(next()) as usize,
            "day_begins" => config.day_begins_ns = duration(next()),
            "maker" => config.fees.maker_per_share = cash(next()),
            _ => panic!("unknown setting of a pool {word}"),
        }
    }
    (name.to_owned(), reference, config)
}

/// `10us`, or `step:09:30=10us;10:00=40us`, or the same with `linear:`.
fn delay(word: &str) -> Delay {
    let Some((kind, rows)) = word.split_once(':').filter(|(kind, _)| matches!(*kind, "step" | "linear")) else {
        return Delay::Constant(duration(word));
    };
    let row = |row: &str| {
        let (time, length) = row.split_once('=').expect("time=length");
        (moment(&format!("{time}:00")).0, duration(length))
    };
    let rows = rows.split(';').map(row).collect();
    Delay::TimeOfDay(TimeOfDay { rows, linear: kind == "linear", offsets: Vec::new() })
}

fn impact(words: &[&str]) -> Impact {
    let part = |word: &str| word.strip_suffix("bp").and_then(|x| x.parse::<f64>().ok()).expect("basis points") * 1e-4;
    let plain = |word: &str| word.parse().expect("a number");
    let mut impact =
        Impact { decays: Vec::new(), permanent: 0.0, exponent: 1.0, volume: Quantity::whole(100), maker: 0.0 };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut next = || *words.next().expect("a setting of impact has a value");
        match word {
            "volume" => impact.volume = quantity(next()),
            "exponent" => impact.exponent = plain(next()),
            "permanent" => impact.permanent = part(next()),
            "maker" => impact.maker = plain(next()),
            "decay" => impact.decays.push(Decay { amplitude: part(next()), lifetime_ns: duration(next()) }),
            _ => panic!("unknown setting of impact {word}"),
        }
    }
    impact
}

/// The words of a report, with all that can be known of it.
fn render(arrival: Nanos, report: &Report) -> Vec<String> {
    let id = report.order.0;
    let what = match report.kind {
        ReportKind::Accepted { .. } => format!("accepted {id}"),
        ReportKind::Filled { price, quantity, liquidity, fee, .. } => {
            format!("filled {id} {quantity} @ {price} {liquidity:?} fee {fee}").to_lowercase()
        }
        ReportKind::Cancelled { reason } => format!("cancelled {id} {reason:?}").to_lowercase(),
        ReportKind::Replaced { quantity, price } => format!("replaced {id} {quantity} @ {price}"),
        ReportKind::Rejected { reason } => format!("rejected {id} {reason:?}").to_lowercase(),
        ReportKind::ChangeRejected { reason } => format!("change_rejected {id} {reason:?}").to_lowercase(),
    };
    let line = format!("{what} stamped {} at {}", clock(report.ts_event), clock(arrival));
    line.split_whitespace().map(str::to_owned).collect()
}

/// Words with numbers and times written as `render` writes them.
fn canonical(line: &str) -> Vec<String> {
    let word = |word: &str| match word {
        _ if word.contains(':') => clock(moment(word)),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            Price(decimal(word, 1_000_000_000)).to_string()
        }
        _ => word.to_owned(),
    };
    line.split_whitespace().map(word).collect()
}

fn clock(at: Nanos) -> String {
    let (day, second, fraction) =
        (at.0 / NANOS_PER_DAY + 1, at.0 % NANOS_PER_DAY / NANOS_PER_SECOND, at.0 % NANOS_PER_SECOND);
    format!("{day}/{:02}:{:02}:{:02}.{fraction:09}", second / 3600, second / 60 % 60, second % 60)
}

/// `[day/]HH:MM:SS[.fraction]`; the first day is 1.
fn moment(word: &str) -> Nanos {
    let (day, time) = word.split_once('/').unwrap_or(("1", word));
    let parts: Vec<&str> = time.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { panic!("{word} is not HH:MM:SS") };
    let whole = (number(day) - 1) * 86_400 + number(hours) * 3_600 + number(minutes) * 60;
    Nanos(whole * NANOS_PER_SECOND + decimal(seconds, 1_000_000_000) as u64)
}

fn duration(word: &str) -> u64 {
    let units = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)];
    let hours = [("h", 3_600_000_000_000)];
    let unit = units.iter().chain(&hours).find_map(|(unit, ns)| Some(number_of(word.strip_suffix(unit)?)? * ns));
    unit.unwrap_or_else(|| panic!("{word} is not a duration such as 10us or 1m"))
}

fn life(word: &str) -> Option<TimeInForce> {
    Some(match word {
        "day" => TimeInForce::Day,
        "ioc" => TimeInForce::Ioc,
        "fok" => TimeInForce::Fok,
        "open" => TimeInForce::Open,
        "close" => TimeInForce::Close,
        _ => return None,
    })
}

fn ppm(word: &str) -> u32 {
    word.strip_suffix("ppm").and_then(|ppm| ppm.parse().ok()).unwrap_or_else(|| panic!("{word} is not like 100ppm"))
}

fn number_of(word: &str) -> Option<u64> {
    word.parse().ok()
}

fn number(word: &str) -> u64 {
    number_of(word).unwrap_or_else(|| panic!("{word} is not a whole number"))
}

/// Exact decimal text at a scale.
fn decimal(word: &str, scale: i64) -> i64 {
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let places = scale.ilog10() as usize;
    assert!(fraction.len() <= places, "{word} has more than {places} decimals");
    let fraction = format!("{fraction:0<places$}");
    sign * (number(whole) as i64 * scale + number(&fraction) as i64)
}

fn price(word: &str) -> Price {
    if word == "market" || word == "-" { Price::UNDEFINED } else { Price(decimal(word, 1_000_000_000)) }
}

fn quantity(word: &str) -> Quantity {
    Quantity(decimal(word, 100_000_000))
}

fn cash(word: &str) -> Cash {
    Cash(decimal(word, 1_000_000))
}

fn side(word: &str) -> Side {
    match word {
        "B" => Side::Buy,
        "S" => Side::Sell,
        _ => panic!("{word} is neither B nor S"),
    }
}
