//! Words of a scenario <-> values of the engine.

use helios_execution::CALLER_IDS;
use helios_types::{
    Booking, BookingKind, CancelReason, Liquidity, NANOS_PER_DAY, NANOS_PER_SECOND, Nanos, Order, OrderId, OrderState,
    Output, Price, QualityKind, Quantity, Refusal, RejectReason, Rule, Side, StrategyId, TimeInForce,
};

pub fn number(word: &str) -> f64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

pub fn count(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no count"))
}

/// `-` is no price.
pub fn price(word: &str) -> Price {
    match word {
        "-" | "market" => Price::UNDEFINED,
        _ => Price::from_f64(number(word)).expect("a price that fits"),
    }
}

pub fn quantity(word: &str) -> Quantity {
    Quantity::from_f64(number(word)).expect("a quantity that fits")
}

/// `2/09:30:00.5` is on the second day.
pub fn moment(word: &str) -> Nanos {
    let (day, time) = word.split_once('/').unwrap_or(("1", word));
    let parts: Vec<&str> = time.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else { panic!("{word:?} is no time") };
    let whole = count(hours) * 3_600 + count(minutes) * 60;
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let nanos = count(&format!("{fraction:0<9}"));
    Nanos((count(day) - 1) * NANOS_PER_DAY + (whole + count(seconds)) * NANOS_PER_SECOND + nanos)
}

/// Strategies are called a, b, c, …
pub fn strategy(word: &str) -> StrategyId {
    let [letter @ b'a'..=b'z'] = word.as_bytes() else { panic!("{word:?} is no strategy: a to z") };
    StrategyId(u32::from(letter - b'a'))
}

/// `7` is an order of the desk, `mine7` one that a strategy numbered itself.
pub fn order(word: &str) -> OrderId {
    match word.strip_prefix("mine") {
        Some(n) => OrderId(CALLER_IDS + count(n)),
        None => OrderId(count(word)),
    }
}

pub fn side(word: &str) -> Side {
    match word {
        "buy" | "B" => Side::Buy,
        "sell" | "S" => Side::Sell,
        _ => panic!("{word:?} is no side"),
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn named<T: std::fmt::Debug>(value: T) -> String {
    snake(&format!("{value:?}"))
}

pub fn rule(word: &str) -> Rule {
    use Rule::{
        DailyLoss, GrossExposure, Invalid, OrderNotional, OrderQuantity, OrderRate, Position, PriceCollar, Stopped,
    };
    let all =
        [OrderQuantity, OrderNotional, PriceCollar, Position, GrossExposure, OrderRate, DailyLoss, Stopped, Invalid];
    all.into_iter().find(|rule| named(rule) == word).unwrap_or_else(|| panic!("{word:?} is no rule"))
}

/// The number of a limit as a person says it, in the rule's unit.
pub fn limit(rule: Rule, word: &str) -> i64 {
    match rule {
        Rule::OrderQuantity | Rule::Position => quantity(word).0,
        Rule::OrderNotional | Rule::GrossExposure | Rule::DailyLoss => {
            helios_types::Cash::from_f64(number(word)).expect("money that fits").0
        }
        _ => number(word) as i64,
    }
}

/// An order about which the venue owes an answer.
pub fn unanswered(order: &helios_execution::Unanswered) -> String {
    format!("{}:{}", order_name(order.order), named(order.state))
}

pub fn reject_reason(word: &str) -> RejectReason {
    use RejectReason::{
        BadPrice, BadQuantity, DuplicateOrder, Full, NeverArrived, NoMarket, NotTrading, UnknownInstrument,
        UnknownOrder,
    };
    let all = [
        UnknownInstrument,
        NotTrading,
        BadQuantity,
        BadPrice,
        UnknownOrder,
        DuplicateOrder,
        NoMarket,
        Full,
        NeverArrived,
    ];
    all.into_iter().find(|reason| named(reason) == word).unwrap_or_else(|| panic!("{word:?} is no reason to reject"))
}

pub fn cancel_reason(word: &str) -> CancelReason {
    let all = [CancelReason::Requested, CancelReason::Unfilled, CancelReason::Expired];
    all.into_iter().find(|reason| named(reason) == word).unwrap_or_else(|| panic!("{word:?} is no reason to cancel"))
}

fn order_name(id: OrderId) -> String {
    match id.0.checked_sub(CALLER_IDS) {
        Some(n) => format!("mine{n}"),
        None => id.0.to_string(),
    }
}

fn strategy_name(id: StrategyId) -> char {
    if id == StrategyId::HOUSE {
        // An operator, in a scenario.
        return '*';
    }
    char::from(b'a' + u8::try_from(id.0).expect("a strategy of a scenario"))
}

fn at(price: Price) -> String {
    if price.is_defined() { format!("@ {price}") } else { "@ market".to_owned() }
}

fn side_name(side: Side) -> &'static str {
    if side == Side::Buy { "buy" } else { "sell" }
}

/// A limit or value in the unit in which a person would say it.
fn in_unit(rule: Rule, value: i64) -> String {
    match rule {
        _ if value == i64::MAX => "unknown".to_owned(),
        Rule::OrderQuantity | Rule::Position => Quantity(value).to_string(),
        Rule::OrderNotional | Rule::GrossExposure | Rule::DailyLoss => helios_types::Cash(value).to_string(),
        Rule::PriceCollar => format!("{value}ppm"),
        // What is invalid may be a price or a quantity: as it is, in units of its scale.
        Rule::OrderRate | Rule::Stopped | Rule::Invalid | Rule::Unlinked => value.to_string(),
    }
}

fn refusal(symbols: &[String], r: &Refusal) -> String {
    let Refusal { rule, side, quantity, .. } = *r;
    let wished = format!("{} {} {quantity} {}", symbol(symbols, r.instrument.index()), side_name(side), at(r.price));
    let (limit, value) = (in_unit(rule, r.limit), in_unit(rule, r.value));
    format!("refused {} {wished}: {} limit {limit} value {value}", strategy_name(r.strategy), named(rule))
}

fn symbol(symbols: &[String], at: usize) -> &str {
    symbols.get(at).map_or("?", String::as_str)
}

fn submit(symbols: &[String], o: &Order) -> String {
    let Order { id, strategy, side, quantity, .. } = *o;
    let life = if o.time_in_force == TimeInForce::Ioc { " ioc" } else { "" };
    let (id, strategy, symbol) = (order_name(id), strategy_name(strategy), symbol(symbols, o.instrument.index()));
    format!("submit {id} {strategy} {symbol} {} {quantity} {}{life}", side_name(side), at(o.price))
}

/// An output as a scenario writes it.
pub fn output(symbols: &[String], output: &Output) -> String {
    match output {
        Output::Submit(order) => submit(symbols, order),
        Output::Cancel { order, .. } => format!("cancel {}", order_name(*order)),
        Output::Replace { order, quantity, price, .. } => {
            format!("replace {} to {quantity} {}", order_name(*order), at(*price))
        }
        Output::Refused(r) => refusal(symbols, r),
        Output::State(s) => {
            let reason = s.reject.map_or(String::new(), |reason| format!(" {}", named(reason)));
            let name = |state: OrderState| named(state);
            format!("state {} {} -> {}{reason}", order_name(s.order), name(s.from), name(s.to))
        }
        Output::Fill(f) => {
            let fee = if f.fee.is_zero() { String::new() } else { format!(" fee {}", f.fee) };
            let realised = if f.realised.is_zero() { String::new() } else { format!(" realised {}", f.realised) };
            let who = if f.execution == 0 { "transfer".to_owned() } else { format!("fill {}", order_name(f.order)) };
            let maker = if f.execution != 0 && f.liquidity == Liquidity::Maker { " maker" } else { "" };
            let (strategy, symbol) = (strategy_name(f.strategy), symbol(symbols, f.instrument.index()));
            let traded = format!("{} {} @ {}", side_name(f.side), f.quantity, f.price);
            format!("{who} {strategy} {symbol} {traded}{maker}{fee}{realised} holds {}", f.position)
        }
        Output::Signal(s) => format!("signal {} {} from {:.4}", s.signal, s.value, s.input),
        Output::Quality(q) => {
            let symbol = symbol(symbols, q.instrument.index());
            match q.kind {
                // The detail of these is the venue's stamp.
                QualityKind::TimeBackwards | QualityKind::Crossed => format!("quality {symbol} {}", named(q.kind)),
                kind => format!("quality {symbol} {} {}", named(kind), order_name(OrderId(q.detail))),
            }
        }
        Output::Booked(b) => booking(symbols, b),
        Output::Difference(d) => {
            format!("difference {} ours {} theirs {}", symbol(symbols, d.instrument.index()), d.ours, d.theirs)
        }
        Output::Breach(b) => {
            format!("breach {} limit {} value {}", named(b.rule), in_unit(b.rule, b.limit), in_unit(b.rule, b.value))
        }
    }
}

fn booking(symbols: &[String], b: &Booking) -> String {
    let what = match b.kind {
        BookingKind::Split => format!("split {} for {}", b.numerator, b.denominator),
        kind => named(kind),
    };
    let who = if b.strategy == StrategyId::HOUSE { "house".to_owned() } else { strategy_name(b.strategy).to_string() };
    let realised = if b.realised.is_zero() { String::new() } else { format!(" realised {}", b.realised) };
    if b.kind == BookingKind::Financing {
        return format!("{what} {who} cash {}", b.cash);
    }
    format!("{what} {who} {} cash {}{realised} holds {}", symbol(symbols, b.instrument.index()), b.cash, b.position)
}

/// `normal`, `reduce_only` or `killed`.
pub fn mode(mode: helios_risk::Mode) -> String {
    named(mode)
}
