//! One scenario as it runs: settings, inputs, and what must come out.

use std::collections::BTreeMap;

use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::Style;
use helios_risk::{Feeds, Limits};
use helios_signals::{Binary, Field, Node, NodeId, Sizing, Stat, Unary, Window};
use helios_types::{
    Cash, Charge, Control, Event, Feed, Input, Instrument, InstrumentId, Intent, IntentKind, Link, Liquidity, Market,
    Nanos, Output, Price, Quantity, Report, ReportKind, Terms, TimeInForce, Timer, TradeKind, TradingStatus, Update,
};

use crate::words;
use crate::words::{cancel_reason, count, moment, number, order, price, quantity, reject_reason, side, strategy};

/// Runs a scenario twice: what comes out must be what it says, and the same both times.
pub fn run(file: &str, text: &str) {
    let mut table = Table::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        table.place = format!("{file}:{}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["->", expected @ ..] => table.expected.push(expected.join(" ")),
            ["=", rest @ ..] => table.check_state(rest),
            [time, rest @ ..] if time.contains(':') => table.act(moment(time), rest),
            setting => table.set(setting),
        }
    }
    table.compare();
    let again = table.inputs.iter().fold(table.fresh(), |mut state, input| {
        step(&mut state, input, &mut Vec::new());
        state
    });
    let state = table.state.as_ref().expect("a scenario with inputs");
    assert_eq!(again.digest(), state.digest(), "{file}: the same inputs led to another state");
}

struct Table {
    /// Where the runner is, and where the input was whose outputs are compared.
    place: String,
    input_place: String,
    symbols: Vec<String>,
    tick: Price,
    lot: Quantity,
    cash: Cash,
    style: Style,
    limits: Limits,
    sessions: Vec<u32>,
    nodes: Vec<Node>,
    names: BTreeMap<String, NodeId>,
    state: Option<State>,
    inputs: Vec<Input>,
    got: Vec<Output>,
    expected: Vec<String>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            place: String::new(),
            input_place: String::new(),
            symbols: vec!["KO".to_owned(), "PEP".to_owned()],
            tick: Price(10_000_000),
            lot: Quantity::whole(1),
            cash: Cash::whole(1_000_000),
            style: Style::Touch { ticks: 0 },
            limits: Limits::default(),
            sessions: Vec::new(),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            state: None,
            inputs: Vec::new(),
            got: Vec::new(),
            expected: Vec::new(),
        }
    }
}

impl Table {
    #[track_caller]
    fn wrong(&self, what: &str) -> ! {
        panic!("{}: {what}", self.place)
    }

    fn set(&mut self, words: &[&str]) {
        match *words {
            ["instruments", ref symbols @ ..] => self.symbols = symbols.iter().map(|s| (*s).to_owned()).collect(),
            ["tick", tick] => self.tick = price(tick),
            ["lot", lot] => self.lot = quantity(lot),
            ["cash", cash] => self.cash = Cash::from_f64(number(cash)).expect("cash that fits"),
            ["style", "market"] => self.style = Style::Market,
            ["style", "touch", ticks] => self.style = Style::Touch { ticks: count(ticks) as u16 },
            ["limit", name, limit] => self.limit(name, number(limit)),
            ["sessions", ref sessions @ ..] => {
                self.sessions = sessions.iter().map(|session| count(session) as u32).collect();
            }
            ["signal", name, "=", ref made_of @ ..] => {
                let node = self.node(made_of);
                self.nodes.push(node);
                self.names.insert(name.to_owned(), NodeId(self.nodes.len() as u32 - 1));
            }
            ["record", name, "from", input, "as", signal] => {
                let (x, input) = (self.name(name), self.name(input));
                self.nodes.push(Node::Record { x, signal: count(signal) as u32, input });
            }
            ["target", who, symbol, "=", name, "x", size] => {
                let (x, instrument) = (self.name(name), self.instrument(symbol));
                let sizing = match size.strip_prefix('$') {
                    Some(money) => Sizing::Notional(Cash::from_f64(number(money)).expect("money that fits")),
                    None => Sizing::Quantity(quantity(size)),
                };
                self.nodes.push(Node::Target { x, strategy: strategy(who), instrument, sizing });
            }
            _ => self.wrong("no such setting"),
        }
    }

    fn limit(&mut self, name: &str, limit: f64) {
        let (shares, money) = (Quantity::from_f64(limit), Cash::from_f64(limit));
        match name {
            "order_quantity" => self.limits.order_quantity = shares,
            "order_notional" => self.limits.order_notional = money,
            "price_collar_ppm" => self.limits.price_collar_ppm = Some(limit as i64),
            "position" => self.limits.position = shares,
            "gross_exposure" => self.limits.gross_exposure = money,
            "orders_per_second" => self.limits.orders_per_second = Some(limit as i64),
            "daily_loss" => self.limits.daily_loss = money,
            _ => self.wrong("no such limit"),
        }
    }

    fn name(&self, name: &str) -> NodeId {
        *self.names.get(name).unwrap_or_else(|| self.wrong(&format!("no signal is named {name:?}")))
    }

    fn node(&self, words: &[&str]) -> Node {
        match *words {
            ["constant", x] => Node::Constant(number(x)),
            ["neg", x] => Node::Unary { op: Unary::Neg, x: self.name(x) },
            ["log", x] => Node::Unary { op: Unary::Log, x: self.name(x) },
            [x, "-", y] => Node::Binary { op: Binary::Sub, x: self.name(x), y: self.name(y) },
            [x, "*", y] => Node::Binary { op: Binary::Mul, x: self.name(x), y: self.name(y) },
            ["window", x, n] => Node::window(self.name(x), Window::Count(count(n) as u32)),
            ["zscore", window] => Node::Read { of: self.name(window), stat: Stat::ZScore },
            ["hysteresis", x, "enter", enter, "exit", exit] => {
                Node::Hysteresis { x: self.name(x), enter: number(enter), exit: number(exit) }
            }
            ["mid", symbol] => Node::Source { instrument: self.instrument(symbol), field: Field::Mid },
            ["close", symbol] => Node::Source { instrument: self.instrument(symbol), field: Field::Close },
            _ => self.wrong("no such signal"),
        }
    }

    fn instrument(&self, symbol: &str) -> InstrumentId {
        // `number9` is an instrument that does not exist.
        let at = match symbol.strip_prefix("number") {
            Some(n) => count(n) as usize,
            None => self.symbols.iter().position(|s| s == symbol).unwrap_or_else(|| self.wrong("no such instrument")),
        };
        InstrumentId(at as u32)
    }

    /// `KO@B` is another listing of KO: the first of a name holds the position.
    fn holder(&self, at: usize) -> InstrumentId {
        let security = |symbol: &String| symbol.split('@').next().unwrap_or_default().to_owned();
        let own = security(&self.symbols[at]);
        let first = self.symbols.iter().position(|symbol| security(symbol) == own).expect("itself at least");
        InstrumentId(first as u32)
    }

    fn fresh(&self) -> State {
        let instrument = |symbol: &String| Instrument { symbol: symbol.clone(), tick: self.tick, lot: self.lot };
        let config = Config {
            instruments: self.symbols.iter().map(instrument).collect(),
            holds: (0..self.symbols.len()).map(|at| self.holder(at)).collect(),
            nodes: self.nodes.clone(),
            series: Vec::new(),
            limits: self.limits,
            feeds: Feeds { without_price: Vec::new(), limit_prices: true },
            cash: self.cash,
            trade_from: Nanos(0),
            style: self.style,
            capacity: Capacity { orders: 64, levels: 64 },
        };
        let state = State::new(config).unwrap_or_else(|error| self.wrong(&error.to_string()));
        if self.sessions.is_empty() { state } else { state.with_sessions(self.sessions.clone()) }
    }

    /// One input. `stamped TIME` at its end is the venue's own time.
    fn act(&mut self, ts: Nanos, words: &[&str]) {
        self.compare();
        let (words, ts_event) = match words {
            [words @ .., "stamped", stamp] => (words, moment(stamp)),
            _ => (words, ts),
        };
        let event = match *words {
            ["pause"] => Event::Control(Control::Pause),
            ["resume"] => Event::Control(Control::Resume),
            ["kill"] => Event::Control(Control::Kill),
            ["flatten"] => Event::Control(Control::Flatten),
            ["set", "limit", name, limit] => {
                let rule = words::rule(name);
                Event::Control(Control::SetLimit { rule, limit: words::limit(rule, limit) })
            }
            ["session", n, ref came_to @ ..] => Event::Link(self.link(count(n) as u32, came_to)),
            ["books", symbol, q] => {
                Event::Link(Link::Position { instrument: self.instrument(symbol), quantity: quantity(q) })
            }
            ["feed", symbol, "incomplete", n] => {
                Event::Feed(Feed::Incomplete { instrument: self.instrument(symbol), missed: count(n) })
            }
            ["feed", symbol, "complete"] => Event::Feed(Feed::Complete { instrument: self.instrument(symbol) }),
            ["charge", "borrow", symbol, amount] => {
                let amount = Cash::from_f64(number(amount)).expect("an amount that fits");
                Event::Charge(Charge::Borrow { instrument: self.instrument(symbol), amount })
            }
            ["charge", "interest", amount] => Event::Charge(Charge::Financing {
                amount: Cash::from_f64(number(amount)).expect("an amount that fits"),
            }),
            ["timer", id] => Event::Timer(Timer { id: count(id) }),
            ["venue", symbol, id, ref says @ ..] => {
                let (instrument, kind) = (self.instrument(symbol), self.report(says));
                Event::Report(Report { order: order(id), instrument, ts_event, kind })
            }
            [who, "wishes", symbol, ref wish @ ..] => {
                let (instrument, kind) = (self.instrument(symbol), self.wish(wish));
                Event::Intent(Intent { strategy: strategy(who), instrument, kind })
            }
            [symbol, ref update @ ..] => {
                let (instrument, update) = (self.instrument(symbol), self.update(update));
                Event::Market(Market { instrument, ts_event, update })
            }
            [] => self.wrong("a time without an input"),
        };
        let mut state = self.state.take().unwrap_or_else(|| self.fresh());
        let input = Input { seq: state.next_seq(), ts, event };
        step(&mut state, &input, &mut self.got);
        self.inputs.push(input);
        self.state = Some(state);
        self.input_place.clone_from(&self.place);
    }

    fn link(&self, session: u32, words: &[&str]) -> Link {
        match *words {
            ["down"] => Link::Down { session },
            ["up"] => Link::Up { session },
            ["settled"] => Link::Settled { session },
            ["heard", next] => Link::Heard { session, name: 7, next: count(next) },
            _ => self.wrong("no such thing comes to a session"),
        }
    }

    fn report(&self, words: &[&str]) -> ReportKind {
        let filled = |q: &str, p: &str, execution: &str, liquidity: Liquidity, fee: &str| ReportKind::Filled {
            execution: count(execution),
            price: price(p),
            quantity: quantity(q),
            liquidity,
            fee: Cash::from_f64(number(fee)).expect("a fee that fits"),
        };
        match *words {
            ["accepted"] => ReportKind::Accepted { book_ref: 1 },
            ["filled", q, "@", p, "execution", n] => filled(q, p, n, Liquidity::Taker, "0"),
            ["filled", q, "@", p, "execution", n, "fee", fee] => filled(q, p, n, Liquidity::Taker, fee),
            ["filled", q, "@", p, "execution", n, "maker", "fee", fee] => filled(q, p, n, Liquidity::Maker, fee),
            ["cancelled", reason] => ReportKind::Cancelled { reason: cancel_reason(reason) },
            ["replaced", "to", q, "@", p] => ReportKind::Replaced { quantity: quantity(q), price: price(p) },
            ["rejected", reason] => ReportKind::Rejected { reason: reject_reason(reason) },
            ["change_rejected", reason] => ReportKind::ChangeRejected { reason: reject_reason(reason) },
            _ => self.wrong("no such report"),
        }
    }

    fn wish(&self, words: &[&str]) -> IntentKind {
        let new = |id: &str, s: &str, q: &str, p: &str, time_in_force| IntentKind::Order {
            terms: Terms::PLAIN,
            id: order(id),
            side: side(s),
            quantity: quantity(q),
            price: price(p),
            time_in_force,
        };
        match *words {
            ["to", "hold", position] => IntentKind::Target { position: quantity(position) },
            ["order", id, s, q, "@", p] => new(id, s, q, p, TimeInForce::Day),
            ["order", id, s, q, "@", p, "ioc"] => new(id, s, q, p, TimeInForce::Ioc),
            ["quote", s, q, "@", p, "limit", limit] => {
                IntentKind::Quote { side: side(s), price: price(p), quantity: quantity(q), limit: quantity(limit) }
            }
            ["cancel", id] => IntentKind::Cancel { order: order(id) },
            ["replace", id, "to", q, "@", p] => {
                IntentKind::Replace { order: order(id), quantity: quantity(q), price: price(p) }
            }
            _ => self.wrong("no such wish"),
        }
    }

    fn update(&self, words: &[&str]) -> Update {
        match *words {
            ["quote", bid, bid_size, "/", ask, ask_size] => Update::Quote {
                bid: price(bid),
                bid_quantity: quantity(bid_size),
                ask: price(ask),
                ask_quantity: quantity(ask_size),
            },
            ["trade", q, "@", p] => Update::Trade {
                price: price(p),
                quantity: quantity(q),
                aggressor: None,
                kind: TradeKind::Regular,
                trade: 0,
            },
            ["bar", open, high, low, close, volume] => Update::Bar {
                open: price(open),
                high: price(high),
                low: price(low),
                close: price(close),
                volume: quantity(volume),
                span: 60_000_000_000,
            },
            ["status", "halted"] => Update::Status(TradingStatus::Halted),
            ["status", "quote_only"] => Update::Status(TradingStatus::QuoteOnly),
            ["status", "trading"] => Update::Status(TradingStatus::Trading),
            ["add", order, s, q, "@", p] => {
                Update::Add { order: count(order), side: side(s), price: price(p), quantity: quantity(q) }
            }
            ["execute", order, q] => Update::Execute { order: count(order), quantity: quantity(q), trade: 0 },
            ["execute", order, q, "@", p] => Update::ExecuteAt {
                order: count(order),
                quantity: quantity(q),
                price: price(p),
                printable: true,
                trade: 0,
            },
            ["reduce", order, q] => Update::Reduce { order: count(order), quantity: quantity(q) },
            ["delete", order] => Update::Delete { order: count(order) },
            ["replace", order, new, q, "@", p] => {
                Update::Replace { order: count(order), new_order: count(new), price: price(p), quantity: quantity(q) }
            }
            ["clear"] => Update::Clear,
            ["split", new, "for", old] => {
                Update::Split { numerator: count(new) as u32, denominator: count(old) as u32 }
            }
            ["dividend", cash] => Update::Dividend { cash: price(cash) },
            _ => self.wrong("no such market event"),
        }
    }

    /// The outputs of the last input are exactly those that were written below it.
    #[track_caller]
    fn compare(&mut self) {
        let symbols = &self.symbols;
        let got: Vec<String> = self.got.drain(..).map(|output| words::output(symbols, &output)).collect();
        if got != self.expected {
            let list = |lines: &[String]| lines.iter().map(|line| format!("\n-> {line}")).collect::<String>();
            let (expected, got) = (list(&self.expected), list(&got));
            panic!("{}: expected{expected}\nbut got{got}", self.input_place);
        }
        self.expected.clear();
    }

    fn check_state(&mut self, words: &[&str]) {
        let Some(state) = &self.state else { self.wrong("nothing has happened yet") };
        let risk = state.risk();
        let (found, expected) = match *words {
            ["position", symbol, x] => (risk.position(self.instrument(symbol)).quantity.to_string(), x),
            ["mark", symbol, x] => (risk.mark_of(self.instrument(symbol)).to_string(), x),
            ["account", who, symbol, x] => {
                let own = (strategy(who), self.instrument(symbol));
                let account = risk.accounts().iter().find(|account| (account.strategy, account.instrument) == own);
                (account.map_or("none".to_owned(), |account| account.position.quantity.to_string()), x)
            }
            ["equity", x] => (risk.equity().to_string(), x),
            ["cash", x] => (risk.cash().to_string(), x),
            ["fees", x] => (risk.fees().to_string(), x),
            ["dividends", x] => (risk.dividends().to_string(), x),
            ["borrow", x] => (risk.borrowed().to_string(), x),
            ["financing", x] => (risk.financing().to_string(), x),
            ["realised", symbol, x] => (risk.position(self.instrument(symbol)).realised.to_string(), x),
            ["cost", symbol, x] => (risk.position(self.instrument(symbol)).cost.to_string(), x),
            ["unrealised", x] => (risk.unrealised().to_string(), x),
            ["gross", x] => (risk.gross().to_string(), x),
            ["mode", x] => (words::mode(risk.mode()), x),
            ["working", symbol, s, x] => (risk.working(self.instrument(symbol), side(s)).to_string(), x),
            ["repeated", x] => (state.orders().counts().repeated.to_string(), x),
            ["lost", x] => (state.orders().counts().lost.to_string(), x),
            ["heard", session, x] => (state.links().session(count(session) as u32).next.to_string(), x),
            // Orders without an answer for so many seconds.
            ["unanswered", seconds, x] => {
                let orders = state.unanswered(count(seconds) * 1_000_000_000);
                let listed: Vec<String> = orders.iter().map(words::unanswered).collect();
                (if listed.is_empty() { "none".to_owned() } else { listed.join(",") }, x)
            }
            ["open", x] => (state.orders().open_orders().to_string(), x),
            ["faults", x] => (state.markets().faults().iter().sum::<u64>().to_string(), x),
            _ => self.wrong("no such state"),
        };
        assert_eq!(found, expected, "{}: {}", self.place, words.join(" "));
    }
}
