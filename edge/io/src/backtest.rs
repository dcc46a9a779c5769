//! The loop of a backtest: sources -> venue -> journal -> engine, and the venue's answers back in.
//!
//! The venue meets a market event at its `ts_event`, the engine when it has travelled: at once, or through `feed`. The
//! engine's clock is the moment at which it hears of things; timers and samples go by it. At one moment things happen in
//! this order: timers ring; order messages reach the venue and reports the engine; market events reach the engine; the
//! next market event happens at the venue. So with no latency at all an order sent in answer to an event acts before the
//! next event, also when both carry one stamp.

use helios_data::Touched;
use helios_engine::{State, step};
use helios_execution::OuchGateway;
use helios_types::{
    Event, Input, Instrument, InstrumentId, Intent, Market, Nanos, Output, Report, StrategyId, Timer, TradeKind, Update,
};
use helios_venue::Venues;
use helios_venue::agents::Simulation;

use crate::agents::{Hearing, Next};
use crate::feed::{Feed, FeedLatency, Sent};
use crate::journal_file::JournalFile;
use crate::latency::Latency;
use crate::recorder::{Recorder, Tables};
use crate::source::{BLANK, Merge, Source, SourceError};

/// A strategy outside the core (Python). It sees the state after an input and answers with wishes, which become
/// inputs of their own, so that a replay does not need it.
pub trait Callbacks {
    /// Called after every input, the wishes' own included; pushes what it wants. An error stops the run. A simulated venue
    /// is there to look at, as no live one is.
    fn after(
        &mut self,
        input: &Input,
        outputs: &[Output],
        state: &State,
        venue: Option<&Venues>,
        wishes: &mut Vec<Intent>,
    ) -> Result<(), SourceError>;
    /// Around the life of a thread that calls it, for what makes a call quick.
    fn during<R: Send>(life: impl FnOnce() -> R + Send) -> R
    where
        Self: Sized,
    {
        life()
    }
    /// When the next timer is due, later than `after`, if it wants any.
    fn next_timer(&self, _after: Nanos) -> Option<Nanos> {
        None
    }
    /// Something is called that may remember what it heard. A live run that goes on calls it again with all of the
    /// journal's inputs, or from a snapshot that has what [`save`](Self::save) gave.
    fn remembers(&self) -> bool {
        true
    }
    /// All that it remembers, as bytes; `None` when it cannot say it.
    fn save(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }
    /// Remembers what was saved. False, and nothing has changed: the bytes are not of these strategies.
    fn load(&mut self, _saved: &[u8]) -> Result<bool, SourceError> {
        Ok(false)
    }
    /// It is called to remember: its wishes are compared and go nowhere. Said when it begins and when it is over.
    fn replaying(&mut self, _begins: bool) {}
    /// A strategy as its users know it.
    fn name_of(&self, strategy: StrategyId) -> String {
        format!("strategy {}", strategy.0)
    }
}

/// No strategy outside the core.
pub struct NoCallbacks;

impl Callbacks for NoCallbacks {
    #[inline(always)]
    fn after(
        &mut self,
        _: &Input,
        _: &[Output],
        _: &State,
        _: Option<&Venues>,
        _: &mut Vec<Intent>,
    ) -> Result<(), SourceError> {
        Ok(())
    }

    fn remembers(&self) -> bool {
        false
    }
}

/// What a run is made of.
pub struct Setup {
    /// The engine, fresh.
    pub state: State,
    /// The simulated venues, fresh.
    pub venue: Venues,
    /// Where market events come from.
    pub source: Merge,
    /// When the engine sees them, by exchange.
    pub feeds: Vec<FeedLatency>,
    /// The venues keep no books: they fill against the best prices and trades that the engine sees. Without feed latency.
    pub fast: bool,
    /// Where the journal goes, if anywhere.
    pub journal: Option<JournalFile>,
    /// Nanoseconds between samples of the money.
    pub sample_ns: u64,
    /// Nanoseconds between samples of all reference prices; zero for none.
    pub marks_ns: u64,
    /// Measure the time from message to order bytes.
    pub measure: bool,
    /// Symbols, for the order-entry bytes.
    pub symbols: Vec<String>,
    /// Money at the start.
    pub cash: i64,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Market events so far.
    pub events: u64,
    /// Inputs so far, market events included.
    pub inputs: u64,
    /// Outputs so far.
    pub outputs: u64,
    /// The engine's clock.
    pub now: Nanos,
    /// 0 to 1.
    pub fraction: f64,
    /// The sources are at their end and all answers are in.
    pub done: bool,
}

/// Answers that one moment may take before it must move on: with zero latency a strategy that answers every report
/// with an order would stand still for ever.
const MAX_ROUNDS: u32 = 10_000;

/// Points in time at a fixed distance.
struct Grid {
    every: u64,
    next: Nanos,
}

impl Grid {
    /// Zero means never.
    fn every(every: u64) -> Self {
        Self { every, next: Nanos(0) }
    }

    /// The last point at or before `ts` when at least one was passed since the last call; the first call only starts.
    #[inline]
    fn passed(&mut self, ts: Nanos) -> Option<Nanos> {
        if ts < self.next || self.every == 0 {
            return None;
        }
        let started = self.next > Nanos(0);
        let point = ts.0 / self.every * self.every;
        self.next = Nanos(point.saturating_add(self.every));
        started.then_some(Nanos(point))
    }
}

/// True for what a fast venue hears of through the engine's books.
fn has_book(update: &Update) -> bool {
    matches!(
        update,
        Update::Add { .. }
            | Update::Execute { .. }
            | Update::ExecuteAt { .. }
            | Update::Reduce { .. }
            | Update::Delete { .. }
            | Update::Replace { .. }
            | Update::Depth { .. }
    )
}

/// A backtest under way.
pub struct Backtest {
    state: State,
    venue: Venues,
    source: Merge,
    /// None: the engine sees market events at once.
    feed: Option<Box<Feed>>,
    /// What our orders do to prices is shown to the engine.
    shows_impact: bool,
    fast: bool,
    /// Set when the market is agents in the venue.
    agents: Option<Box<Hearing>>,
    journal: Option<JournalFile>,
    recorder: Recorder,
    gateway: OuchGateway,
    outputs: Vec<Output>,
    reports: Vec<(Nanos, Report)>,
    wishes: Vec<Intent>,
    latency: Option<Box<Latency>>,
    money: Grid,
    marks: Grid,
    symbols: Vec<String>,
    next_timer: Option<Nanos>,
    timers: u64,
    events: u64,
    output_count: u64,
    fatal: Option<String>,
    done: bool,
}

impl Backtest {
    /// Ready to run.
    pub fn new(setup: Setup) -> Self {
        // A venue knows a listing by its security's name.
        let holders = (0..).map(InstrumentId).map(|id| setup.state.risk().holder(id).index());
        let stocks = holders.zip(&setup.symbols).map(|(holder, own)| setup.symbols.get(holder).unwrap_or(own).as_str());
        Self {
            gateway: OuchGateway::new(stocks),
            latency: setup.measure.then(|| Box::new(Latency::new())),
            recorder: Recorder::new(setup.cash),
            state: setup.state,
            feed: Feed::new(setup.feeds),
            shows_impact: setup.venue.has_impact(),
            fast: setup.fast,
            agents: None,
            venue: setup.venue,
            source: setup.source,
            journal: setup.journal,
            outputs: Vec::new(),
            reports: Vec::new(),
            wishes: Vec::new(),
            money: Grid::every(setup.sample_ns.max(1)),
            marks: Grid::every(setup.marks_ns),
            symbols: setup.symbols,
            next_timer: None,
            timers: 0,
            events: 0,
            output_count: 0,
            fatal: None,
            done: false,
        }
    }

    /// Handles up to `count` market events.
    pub fn advance(&mut self, count: u64, callbacks: &mut impl Callbacks) -> Result<Progress, SourceError> {
        // One input serves all events: the source writes into it, the engine reads it there.
        let mut input = Input { seq: 0, ts: Nanos(0), event: Event::Market(BLANK) };
        for _ in 0..count {
            if self.done {
                break;
            }
            let begun = self.latency.as_ref().map(|latency| latency.stamp());
            let Event::Market(market) = &mut input.event else { unreachable!("it was built as one") };
            let more =
                if self.agents.is_none() { self.source.next(market)? } else { self.next_of_agents(market, callbacks)? };
            if more {
                if self.feed.is_none() {
                    self.market(&mut input, begun, callbacks)?;
                } else {
                    let (market, decoded) = (*market, self.passed(begun));
                    self.travel(market, decoded, callbacks)?;
                }
            } else {
                // Where the data was cut the clock still goes to the cut: timers before it ring, as they would have.
                let cut = self.agents.as_ref().and_then(|agents| agents.stopped);
                if let Some(stop) = cut.or(self.source.stopped()) {
                    self.settle(stop, callbacks)?;
                }
                // What is under way still arrives, and timers before it ring.
                if let Some(last) = self.feed.as_ref().and_then(|feed| feed.last()) {
                    self.settle(last, callbacks)?;
                }
                self.settle(Nanos(u64::MAX), callbacks)?;
                self.recorder.sample(self.state.now(), self.state.risk());
                self.done = true;
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.tick()?;
        }
        Ok(self.progress())
    }

    /// The next event where agents make the market: they act, and our requests, in the order of time, until one is heard.
    #[inline(never)]
    fn next_of_agents(&mut self, market: &mut Market, callbacks: &mut impl Callbacks) -> Result<bool, SourceError> {
        loop {
            self.listen();
            let act = self.venue.next_act();
            let agents = self.agents.as_mut().expect("the caller saw them");
            let Some(next) = agents.next(&mut self.source, act)? else { return Ok(false) };
            if let Next::Feed(_) = next {
                agents.take(next, market);
                return Ok(true);
            }
            // What is due before it may be heard before it.
            self.settle(next.at(), callbacks)?;
            if self.listen().is_some() {
                continue;
            }
            if let Next::Other(_) = next {
                self.agents.as_mut().expect("the caller saw them").take(next, market);
                return Ok(true);
            }
            self.venue.act();
        }
    }

    /// Collects what agents' market has written; when the next event of it happened.
    fn listen(&mut self) -> Option<Nanos> {
        let agents = self.agents.as_mut()?;
        if let Some(frames) = self.venue.feed() {
            agents.listen(frames);
        }
        agents.heard()
    }

    /// Nanoseconds since a stamp, where time is measured.
    #[inline(always)]
    fn passed(&self, begun: Option<u64>) -> Option<u64> {
        self.latency.as_ref().zip(begun).map(|(latency, begun)| latency.since(begun))
    }

    /// One market event with feed latency: all that is due before it, the venue, then the line to the engine.
    fn travel(
        &mut self,
        mut market: Market,
        decoded: Option<u64>,
        callbacks: &mut impl Callbacks,
    ) -> Result<(), SourceError> {
        let stamp = market.ts_event;
        let ts = self.feed.as_mut().expect("the caller saw it").moment(stamp);
        self.settle(ts, callbacks)?;
        self.events += 1;
        // A series is no market data: it is known at its stamp.
        if let Update::Value(_) = market.update {
            return self.deliver(ts, Sent { market, decoded }, callbacks);
        }
        market.ts_event = ts;
        self.venue.market(&market);
        market.ts_event = stamp;
        if self.shows_impact {
            self.venue.show(&mut market);
        }
        let (received, exchange) = (self.source.received(), self.venue.exchange_of(market.instrument));
        self.feed.as_mut().expect("the caller saw it").send(exchange, ts, received, Sent { market, decoded })
    }

    /// Delivers the next event of the line if it is due by `to` and before the next timer and answer.
    #[inline(never)]
    fn deliver_next(
        &mut self,
        to: Nanos,
        timer: Option<Nanos>,
        answer: Option<Nanos>,
        callbacks: &mut impl Callbacks,
    ) -> Result<bool, SourceError> {
        let line = self.feed.as_mut().filter(|feed| {
            let before = |other: Option<Nanos>| other.is_none_or(|other| feed.next().is_some_and(|at| at < other));
            before(timer) && before(answer)
        });
        let Some((at, sent)) = line.and_then(|feed| feed.receive(to)) else { return Ok(false) };
        self.deliver(at, sent, callbacks).map(|()| true)
    }

    /// A market event reaches the engine.
    fn deliver(&mut self, at: Nanos, sent: Sent, callbacks: &mut impl Callbacks) -> Result<(), SourceError> {
        let ts = at.max(self.state.now());
        self.sample(ts);
        let stepping = self.latency.as_ref().map(|latency| latency.stamp());
        let before = self.output_count;
        self.input(&mut Input { seq: 0, ts, event: Event::Market(sent.market) }, callbacks)?;
        self.measured(sent.decoded, stepping, before);
        Ok(())
    }

    /// A sample says what stood before the event that passes the grid.
    #[inline(always)]
    fn sample(&mut self, ts: Nanos) {
        if let Some(at) = self.money.passed(ts) {
            self.recorder.sample(at, self.state.risk());
        }
        if let Some(at) = self.marks.passed(ts) {
            self.recorder.sample_marks(at, self.state.markets());
        }
    }

    /// Notes how long an event took, from message to order bytes; `before` is the number of outputs before it.
    #[inline]
    fn measured(&mut self, decoded: Option<u64>, stepping: Option<u64>, before: u64) {
        if let (Some(latency), Some(decoded), Some(stepping)) = (&mut self.latency, decoded, stepping) {
            let nanos = decoded + latency.since(stepping);
            let ordered = self.output_count > before;
            let ordered = ordered && self.outputs.iter().any(|output| matches!(output, Output::Submit(_)));
            latency.record(nanos, ordered);
        }
    }

    /// One market event without feed latency: answers due before it, the venue, then the engine.
    #[inline]
    fn market(
        &mut self,
        input: &mut Input,
        begun: Option<u64>,
        callbacks: &mut impl Callbacks,
    ) -> Result<(), SourceError> {
        let decoded = self.passed(begun);
        let Event::Market(market) = &mut input.event else { unreachable!("the caller read a market event") };
        // A stamp that goes back is reported by the engine; its clock stays.
        let stamp = market.ts_event;
        let ts = stamp.max(self.state.now());
        self.settle(ts, callbacks)?;
        self.sample(ts);
        self.events += 1;
        if !(self.fast && has_book(&market.update)) {
            market.ts_event = ts;
            self.venue.market(market);
            market.ts_event = stamp;
        }
        if self.shows_impact {
            self.venue.show(market);
        }
        self.settle(ts, callbacks)?;
        let stepping = self.latency.as_ref().map(|latency| latency.stamp());
        let before = self.output_count;
        input.ts = ts;
        self.input(input, callbacks)?;
        self.measured(decoded, stepping, before);
        // Only what the engine has just said can have made something due.
        if self.output_count > before { self.settle(ts, callbacks) } else { Ok(()) }
    }

    /// Delivers every timer, answer and market event that is due at or before `to`.
    #[inline]
    fn settle(&mut self, to: Nanos, callbacks: &mut impl Callbacks) -> Result<(), SourceError> {
        let due = |at: Option<Nanos>| at.is_some_and(|at| at <= to);
        let feed = self.feed.as_ref().and_then(|feed| feed.next());
        // For most events nothing is.
        if due(self.next_timer) || due(self.venue.next_due()) || due(feed) {
            self.deliver_due(to, callbacks)
        } else {
            Ok(())
        }
    }

    #[inline(never)]
    fn deliver_due(&mut self, to: Nanos, callbacks: &mut impl Callbacks) -> Result<(), SourceError> {
        let mut rounds = 0;
        let mut last = Nanos(0);
        let end = to;
        loop {
            // What our own requests have done at the agents' market is heard in its turn.
            let to = self.listen().map_or(end, |heard| end.min(heard));
            let timer = self.next_timer.filter(|timer| *timer <= to && to.0 != u64::MAX);
            let answer = self.venue.next_due().filter(|due| *due <= to);
            if self.feed.is_some() && self.deliver_next(to, timer, answer, callbacks)? {
                continue;
            }
            match (timer, answer) {
                (None, None) => return Ok(()),
                (Some(at), answer) if answer.is_none_or(|due| at <= due) => self.ring(at, callbacks)?,
                (_, Some(due)) => {
                    rounds = if due == last { rounds + 1 } else { 0 };
                    last = due;
                    if rounds > MAX_ROUNDS {
                        return Err(SourceError {
                            source: "venue".to_owned(),
                            message: format!(
                                "more than {MAX_ROUNDS} answers at {due}: a strategy answers every report with an \
                                 order and latency is zero; give the venue a latency"
                            ),
                        });
                    }
                    let mut reports = std::mem::take(&mut self.reports);
                    self.venue.advance(due, &mut reports);
                    // A day's charges are for what was held before whatever is reported now.
                    while let Some((at, charge)) = self.venue.charge(due) {
                        let event = Event::Charge(charge);
                        self.input(&mut Input { seq: 0, ts: at.max(self.state.now()), event }, callbacks)?;
                    }
                    for (at, report) in reports.drain(..) {
                        self.input(
                            &mut Input { seq: 0, ts: at.max(self.state.now()), event: Event::Report(report) },
                            callbacks,
                        )?;
                    }
                    self.reports = reports;
                }
                (Some(at), None) => self.ring(at, callbacks)?,
            }
        }
    }

    fn ring(&mut self, at: Nanos, callbacks: &mut impl Callbacks) -> Result<(), SourceError> {
        self.timers += 1;
        self.next_timer = callbacks.next_timer(at);
        let event = Event::Timer(Timer { id: self.timers });
        self.input(&mut Input { seq: 0, ts: at.max(self.state.now()), event }, callbacks)
    }

    /// Journal, step, and the outputs to where they go; then the wishes of a strategy outside the core.
    #[inline]
    fn input(&mut self, input: &mut Input, callbacks: &mut impl Callbacks) -> Result<(), SourceError> {
        let ts = input.ts;
        input.seq = self.state.next_seq();
        self.outputs.clear();
        self.apply(input)?;
        if self.next_timer.is_none() {
            self.next_timer = callbacks.next_timer(ts);
        }
        callbacks.after(input, &self.outputs, &self.state, Some(&self.venue), &mut self.wishes)?;
        if self.wishes.is_empty() { Ok(()) } else { self.grant(ts, callbacks) }
    }

    /// Wishes become inputs, and the strategies hear of those too: a wish can be met by another strategy's, without an
    /// order.
    fn grant(&mut self, ts: Nanos, callbacks: &mut impl Callbacks) -> Result<(), SourceError> {
        for _ in 0..MAX_ROUNDS {
            let mut wishes = std::mem::take(&mut self.wishes);
            for wish in wishes.drain(..) {
                let input = Input { seq: self.state.next_seq(), ts, event: Event::Intent(wish) };
                let first = self.outputs.len();
                self.apply(&input)?;
                callbacks.after(&input, &self.outputs[first..], &self.state, Some(&self.venue), &mut self.wishes)?;
            }
            if self.wishes.is_empty() {
                self.wishes = wishes;
                return Ok(());
            }
        }
        Err(SourceError {
            source: "strategy".to_owned(),
            message: format!(
                "more than {MAX_ROUNDS} rounds of wishes at {ts}: strategies answer each other's fills without end"
            ),
        })
    }

    #[inline]
    fn apply(&mut self, input: &Input) -> Result<(), SourceError> {
        if let Some(journal) = &mut self.journal {
            journal.input(input);
            journal.tick()?;
        }
        let first = self.outputs.len();
        step(&mut self.state, input, &mut self.outputs);
        if self.fast
            && let Event::Market(market) = &input.event
            && has_book(&market.update)
        {
            self.tell_best(input.ts, market.instrument);
        }
        for output in &self.outputs[first..] {
            self.output_count += 1;
            if let Some(journal) = &mut self.journal {
                journal.output(input.seq, output);
            }
            if let Output::Submit(_) | Output::Cancel { .. } | Output::Replace { .. } | Output::State(_) = output {
                if self.latency.is_some()
                    && let Err(error) = self.gateway.encode(output)
                {
                    self.fatal.get_or_insert_with(|| error.to_string());
                }
                self.venue.submit(input.ts, output);
            }
            self.recorder.record(input.ts, output);
        }
        Ok(())
    }

    /// Tells a venue without books what the engine's books have come to, before orders that answer it are sent.
    fn tell_best(&mut self, ts: Nanos, instrument: InstrumentId) {
        let (touched, view) = (self.state.touched(), self.state.markets().view(instrument));
        if touched.has(Touched::TRADE) {
            let (price, quantity, aggressor) = (view.last, view.last_quantity, view.last_aggressor);
            let update = Update::Trade { price, quantity, aggressor, kind: TradeKind::Regular, trade: 0 };
            self.venue.market(&Market { instrument, ts_event: ts, update });
        }
        if touched.has(Touched::TOP) {
            let (bid, ask) = (view.top.bid, view.top.ask);
            let (bid_quantity, ask_quantity) = (bid.quantity, ask.quantity);
            let update = Update::Quote { bid: bid.price, bid_quantity, ask: ask.price, ask_quantity };
            self.venue.market(&Market { instrument, ts_event: ts, update });
        }
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress {
        Progress {
            events: self.events,
            inputs: self.state.next_seq(),
            outputs: self.output_count,
            now: self.state.now(),
            fraction: if self.done {
                1.0
            } else {
                self.venue.live_progress().unwrap_or_else(|| self.source.progress()).min(1.0)
            },
            done: self.done,
        }
    }

    /// What was recorded, with the positions as they are now.
    pub fn take_tables(&mut self) -> Tables {
        self.recorder.take(self.state.risk(), self.symbols.len())
    }

    /// Symbols by instrument number.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// Puts a market of agents into the venue, before the first event; [`Backtest::set_source`] gives series beside it.
    pub fn set_agents(
        &mut self,
        simulation: Simulation,
        midnight: Nanos,
        instruments: &[Instrument],
    ) -> Result<(), SourceError> {
        assert!(self.events == 0, "a run's market is set before it starts");
        let wrong = |message: String| SourceError { source: "run".to_owned(), message };
        if self.fast {
            return Err(wrong("mode 'fast' keeps no books at the venue: agents need them".to_owned()));
        }
        self.venue.go_live(simulation, midnight, instruments).map_err(wrong)?;
        self.agents = Some(Box::new(Hearing::new(midnight, &self.symbols)));
        Ok(())
    }

    /// Sets where market events come from, before the first one is handled.
    pub fn set_source(&mut self, source: Merge) {
        assert!(self.events == 0, "a run's source is set before it starts");
        self.source = source;
    }

    /// The engine's state, to look at.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The simulated venues, to look at.
    pub fn venue(&self) -> &Venues {
        &self.venue
    }

    /// Measured times, if asked for.
    pub fn latency(&self) -> Option<&Latency> {
        self.latency.as_deref()
    }

    /// Faults of the sources that did not stop the run, and an order that could not be encoded, if any.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.source.faults();
        faults.extend(self.feed.as_ref().and_then(|feed| feed.fault()));
        faults.extend(self.fatal.iter().map(|error| format!("order entry: {error}")));
        faults
    }

    /// Closes the journal; returns the digest of the final state.
    pub fn finish(&mut self) -> Result<u128, SourceError> {
        let digest = self.state.digest();
        if let Some(journal) = self.journal.take() {
            journal.end(digest)?;
        }
        Ok(digest)
    }
}
