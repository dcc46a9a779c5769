//! Timed loops over real components, for `helios bench`. Input lies in memory: what is timed is our work, not the
//! disk's.

use std::hint::black_box;
use std::time::Instant;

use helios_book::{Books, Capacity};
use helios_data::Markets;
use helios_data::normalise::update as book_update;
use helios_engine::{State, step};
use helios_execution::OuchGateway;
use helios_journal::Writer;
use helios_signals::Graph;
use helios_types::{Event, Input, InstrumentId, Market, Nanos, Output, Price, Quantity, Rng, Update};
use helios_wire::frame::{Frames, Framing};
use helios_wire::itch::{self, Message};

use crate::latency::Latency;
use crate::survey::{CLOSE, FAR, NEAR, look_ahead};

/// What a pass over a day with books measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BookTimes {
    /// Messages.
    pub messages: u64,
    /// Seconds for all of them.
    pub seconds: f64,
    /// Orders resting at the end.
    pub resting: usize,
    /// Refused changes: zero for a good file.
    pub refused: u64,
}

/// Decodes every message and reads the fields that a book needs; returns messages, seconds and a sum that keeps the
/// work from being optimised away.
pub fn bench_decode(bytes: &[u8]) -> (u64, f64, u64) {
    let begun = Instant::now();
    let (mut messages, mut sum) = (0u64, 0u64);
    for frame in Frames::new(bytes, Framing::LengthPrefixed) {
        if let Ok(message) = itch::decode(frame) {
            messages += 1;
            sum = sum.wrapping_add(fields(&message));
        }
    }
    (messages, begun.elapsed().as_secs_f64(), black_box(sum))
}

#[inline(always)]
fn fields(message: &Message<'_>) -> u64 {
    let rest = match message {
        Message::AddOrder(m) => m
            .order_reference_number()
            .wrapping_add(u64::from(m.shares()))
            .wrapping_add(u64::from(m.price()))
            .wrapping_add(u64::from(m.buy_sell_indicator()))
            .wrapping_add(u64::from_le_bytes(*m.stock())),
        Message::OrderDelete(m) => m.order_reference_number(),
        Message::OrderReplace(m) => m
            .original_order_reference_number()
            .wrapping_add(m.new_order_reference_number())
            .wrapping_add(u64::from(m.shares()))
            .wrapping_add(u64::from(m.price())),
        Message::OrderExecuted(m) => m.order_reference_number().wrapping_add(u64::from(m.executed_shares())),
        Message::OrderCancel(m) => m.order_reference_number().wrapping_add(u64::from(m.canceled_shares())),
        _ => 0,
    };
    message.timestamp().wrapping_add(rest)
}

/// Decode, full order-level books of the whole market, and best prices after every message.
pub fn bench_book(bytes: &[u8]) -> BookTimes {
    let mut books = Books::new(1 << 16, Capacity::default());
    let begun = Instant::now();
    let mut frames = Frames::new(bytes, Framing::LengthPrefixed);
    // The coming messages, in a ring; behind the last one stand empty slices.
    let mut coming: [&[u8]; FAR] = std::array::from_fn(|_| frames.next().unwrap_or_default());
    let mut at = 0;
    let (mut messages, mut refused, mut sum) = (0u64, 0u64, 0i64);
    loop {
        let far = frames.next().unwrap_or_default();
        let frame = std::mem::replace(&mut coming[at], far);
        if frame.is_empty() {
            break;
        }
        look_ahead(&books, far, coming[(at + NEAR) % FAR], coming[(at + CLOSE) % FAR]);
        at = (at + 1) % FAR;
        let Ok(message) = itch::decode(frame) else { continue };
        messages += 1;
        let Some(update) = book_update(&message) else { continue };
        let id = InstrumentId(u32::from(message.stock_locate()));
        match books.apply(id, &update) {
            Ok(Some(_)) => {
                let top = books.top(id);
                sum = sum.wrapping_add(top.bid.price.0).wrapping_add(top.ask.price.0);
            }
            Ok(None) => {}
            Err(_) => refused += 1,
        }
    }
    black_box(sum);
    BookTimes { messages, seconds: begun.elapsed().as_secs_f64(), resting: books.len(), refused }
}

/// Message bytes -> decode, normalise, journal, step (300 pairs) -> order bytes, timed message by message. Orders are
/// accepted and filled at once at their limit, outside the timed part.
pub fn bench_step(bytes: &[u8], mut state: State, symbols: &[String]) -> Latency {
    let mut normaliser = helios_data::normalise::ItchNormaliser::new(Nanos(0), symbols);
    let mut journal = Writer::new(b"{}").expect("a short configuration fits");
    let mut gateway = OuchGateway::new(symbols.iter().map(String::as_str));
    let mut latency = Latency::new();
    let mut out: Vec<Output> = Vec::new();
    for frame in Frames::new(bytes, Framing::LengthPrefixed) {
        out.clear();
        let begun = latency.stamp();
        let Ok(message) = itch::decode(frame) else { continue };
        let Some(market) = normaliser.normalise(&message) else { continue };
        let input = Input { seq: state.next_seq(), ts: market.ts_event.max(state.now()), event: Event::Market(market) };
        journal.input(&input);
        step(&mut state, &input, &mut out);
        let mut sent = 0;
        for output in &out {
            journal.output(input.seq, output);
            sent += gateway.encode(output).map_or(0, <[u8]>::len);
        }
        latency.record(latency.since(begun), black_box(sent) > 0);
        journal.clear_pending();
        answer(&mut state, &mut journal, &out);
    }
    latency
}

/// Quotes through books and a graph, nothing else: seconds for all of them. Every quote is of one of the first `active`
/// instruments, each of which walks at random, a cent at a time and 10 us after the one before.
pub fn bench_graph(graph: &mut Graph, instruments: usize, active: u64, quotes: u64) -> f64 {
    let mut markets = Markets::new(instruments, Capacity { orders: 16, levels: 16 });
    let mut rng = Rng::new(7);
    let mut prices = vec![Price::whole(100); instruments];
    let quantity = Quantity::whole(100);
    let events: Vec<Market> = (0..quotes)
        .map(|at| {
            let number = rng.below(active) as usize;
            let step = [-1, 0, 1][rng.below(3) as usize] * CENT;
            prices[number] = Price(prices[number].0 + step);
            let (bid, ask) = (prices[number], Price(prices[number].0 + CENT));
            let update = Update::Quote { bid, ask, bid_quantity: quantity, ask_quantity: quantity };
            Market { instrument: InstrumentId(number as u32), ts_event: Nanos(1 + at * 10_000), update }
        })
        .collect();
    let (mut intents, mut signals) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for market in &events {
        if let Ok(touched) = markets.apply(market) {
            graph.evaluate(market.ts_event, market.instrument, touched, &markets, &mut intents, &mut signals);
        }
        intents.clear();
        signals.clear();
    }
    black_box(graph.evaluations());
    begun.elapsed().as_secs_f64()
}

const CENT: i64 = 10_000_000;

/// The venue of the step bench: every order fills whole at its limit.
fn answer(state: &mut State, journal: &mut Writer, out: &[Output]) {
    use helios_types::{Cash, Liquidity, Report, ReportKind};
    let mut answers = Vec::new();
    for output in out {
        let Output::Submit(order) = output else { continue };
        let fill = ReportKind::Filled {
            execution: order.id.0,
            price: order.price,
            quantity: order.quantity,
            liquidity: Liquidity::Taker,
            fee: Cash::ZERO,
        };
        for kind in [ReportKind::Accepted { book_ref: order.id.0 }, fill] {
            let report = Report { order: order.id, instrument: order.instrument, ts_event: state.now(), kind };
            let input = Input { seq: state.next_seq(), ts: state.now(), event: Event::Report(report) };
            journal.input(&input);
            answers.clear();
            step(state, &input, &mut answers);
        }
    }
    journal.clear_pending();
}
