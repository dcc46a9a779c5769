//! The four pillars on one page.

use helios_data::{Touched, View};
use helios_execution::Touch;
use helios_types::{Event, Feed, Input, InstrumentId, Market, Output, Quality, QualityKind, TradingStatus, Update};

use crate::account;
use crate::operate;
use crate::state::State;

/// One input, one step. Appends what it has to say to `out`; the caller empties it.
///
/// The caller has journaled the input, numbers inputs without gaps, and never lets `ts` go back.
#[inline]
pub fn step(state: &mut State, input: &Input, out: &mut Vec<Output>) {
    assert!(input.seq == state.next_seq, "input {} came where {} was due", input.seq, state.next_seq);
    assert!(input.ts >= state.now, "the engine's clock went back at input {}: the driver must not let it", input.seq);
    state.now = input.ts;
    state.touched = Touched::NOTHING;
    state.risk.clock(input.ts);
    match &input.event {
        Event::Market(market) => on_market(state, market, out),
        Event::Report(report) => state.orders.report(input.ts, report, &mut state.risk, out),
        Event::Intent(intent) => state.orders.wish(input.ts, intent, &mut state.risk, out),
        Event::Timer(_) => {}
        Event::Control(control) => operate::control(state, *control, out),
        Event::Charge(charge) => account::charge(state, charge, out),
        Event::Feed(feed) => on_feed(state, *feed, out),
        Event::Link(link) => operate::link(state, link, out),
    }
    if let Some(breach) = state.risk.supervise() {
        out.push(Output::Breach(breach));
        // What rests could still make a position larger; what reduces one is wished again.
        state.orders.cancel_resting(state.now, out);
    }
    while let Some(instrument) = state.orders.next_due() {
        work(state, instrument, out);
    }
    state.next_seq += 1;
}

fn on_market(state: &mut State, market: &Market, out: &mut Vec<Output>) {
    let id = market.instrument;
    if let Update::Value(value) = market.update {
        return feed(state, id.0, value, out);
    }
    let touched = match state.markets.apply(market) {
        Ok(touched) => touched,
        Err(quality) => return out.push(Output::Quality(quality)),
    };
    // A book of which messages are missing may say anything: signals and marks do not look at it.
    let touched = if state.markets.view(id).complete { touched } else { touched.without_book() };
    state.touched = touched;
    if let Update::Split { .. } | Update::Dividend { .. } = market.update {
        account::act(state, market, out);
        return work(state, id, out);
    }
    if let Some(quality) = state.markets.judge(market) {
        out.push(Output::Quality(quality));
    }
    look(state, id, touched, out);
}

/// What is new of an instrument: its mark, signals, and wishes that waited for it.
#[inline(always)]
fn look(state: &mut State, id: InstrumentId, touched: Touched, out: &mut Vec<Output>) {
    if touched.any(MARKS)
        && let Err(_) = state.risk.mark(id, state.markets.view(id).mark())
    {
        out.push(Output::Quality(Quality { instrument: id, kind: QualityKind::BadValue, detail: 0 }));
    }
    state.graph.hold(state.now < state.trade_from);
    state.graph.evaluate(state.now, id, touched, &state.markets, &mut state.intents, &mut state.changes);
    signal(state, out);
    if touched.any(MARKS.and(Touched::STATUS)) && state.orders.is_hungry(id) {
        work(state, id, out);
    }
}

/// What can move a reference price.
const MARKS: Touched = Touched::TOP.and(Touched::TRADE).and(Touched::BAR);

/// What the feed handler knows of its own data. A book that is whole again is new to everybody.
fn on_feed(state: &mut State, feed: Feed, out: &mut Vec<Output>) {
    let Some(quality) = state.markets.feed(feed) else { return };
    out.push(Output::Quality(quality));
    match quality.kind {
        QualityKind::Gap => state.orders.blind(quality.instrument),
        QualityKind::Whole => {
            state.touched = Touched::TOP.and(Touched::BOOK);
            look(state, quality.instrument, state.touched, out);
            state.orders.sighted(state.now, quality.instrument, &mut state.risk, out);
        }
        _ => {}
    }
}

/// A new value of a series from outside the market.
fn feed(state: &mut State, series: u32, value: f64, out: &mut Vec<Output>) {
    state.graph.hold(state.now < state.trade_from);
    state.graph.feed(state.now, series, value, &state.markets, &mut state.intents, &mut state.changes);
    signal(state, out);
}

/// What the graph had to say, which is nothing for most events.
#[inline(always)]
fn signal(state: &mut State, out: &mut Vec<Output>) {
    if state.changes.is_empty() && state.intents.is_empty() {
        return;
    }
    out.extend(state.changes.drain(..).map(Output::Signal));
    for intent in state.intents.drain(..) {
        state.orders.wish(state.now, &intent, &mut state.risk, out);
    }
}

/// Wishes of an instrument that does not trade wait until it does; where messages are missing, until they are there.
fn work(state: &mut State, instrument: InstrumentId, out: &mut Vec<Output>) {
    let view = state.markets.view(instrument);
    if view.status == TradingStatus::Trading && view.complete {
        state.orders.work(state.now, instrument, touch(view), &mut state.risk, out);
    }
}

fn touch(view: &View) -> Touch {
    Touch { bid: view.top.bid.price, ask: view.top.ask.price, mark: view.mark() }
}
