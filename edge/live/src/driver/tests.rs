//! Whole runs over real sockets on the loopback, with stations as small as can be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use helios_engine::Config;
use helios_io::NoCallbacks;
use helios_types::{
    Cash, Control, Instrument, InstrumentId, Intent, IntentKind, Link, Liquidity, Market, Nanos, OrderId, Output,
    Price, Quantity, Report, ReportKind, Side, StrategyId, Terms, TimeInForce, Update,
};

use super::*;
use crate::journal::{Durability, Settings};
use crate::scratch::{self, Scratch};
use crate::sockets::Line;
use crate::{EntryOut, FeedOut};

const CALLER_IDS: u64 = 1 << 31;
const INSTRUMENTS: u32 = 3;

/// Datagrams of an instrument and a bid; the ask is a cent above.
struct Quotes;

impl FeedStation for Quotes {
    fn on_datagram(&mut self, _: u8, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        let Some((&instrument, rest)) = bytes.split_first() else { return };
        let Ok(bid) = rest.try_into().map(i64::from_le_bytes) else { return };
        let quantity = Quantity::whole(100);
        let (bid, ask) = (Price(bid), Price(bid + 10_000_000));
        let update = Update::Quote { bid, ask, bid_quantity: quantity, ask_quantity: quantity };
        out.event(Event::Market(Market { instrument: InstrumentId(instrument.into()), ts_event: now, update }));
    }
    fn on_connected(&mut self, _: Nanos, _: &mut impl FeedOut) {}
    fn on_bytes(&mut self, _: &[u8], _: Nanos, _: &mut impl FeedOut) {}
    fn on_closed(&mut self, _: Nanos, _: &mut impl FeedOut) {}
    fn on_tick(&mut self, _: Nanos, _: &mut impl FeedOut) {}
    fn next_tick(&self) -> Option<Nanos> {
        None
    }
}

/// Orders as (1, number, instrument), cancels as (2, …); 24 bytes each, and the same back for an answer.
struct Wire {
    session: u32,
    next: Option<Nanos>,
    partial: Vec<u8>,
    goodbyes: Arc<AtomicU64>,
}

const LETTER: usize = 24;

fn letter(kind: u64, order: OrderId, instrument: InstrumentId) -> [u8; LETTER] {
    let mut bytes = [0; LETTER];
    for (at, word) in [kind, order.0, instrument.0.into()].into_iter().enumerate() {
        bytes[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

impl EntryStation for Wire {
    fn on_connected(&mut self, _: Nanos, out: &mut impl EntryOut) {
        self.partial.clear();
        out.event(Event::Link(Link::Up { session: self.session }));
        out.event(Event::Link(Link::Settled { session: self.session }));
    }
    fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut) {
        self.partial.extend_from_slice(bytes);
        let whole = self.partial.len() / LETTER * LETTER;
        for letter in self.partial[..whole].chunks(LETTER) {
            let word = |at: usize| u64::from_le_bytes(letter[at * 8..][..8].try_into().unwrap());
            let (order, instrument) = (OrderId(word(1)), InstrumentId(word(2) as u32));
            let mut say = |kind| out.event(Event::Report(Report { order, instrument, ts_event: now, kind }));
            if word(0) == 1 {
                say(ReportKind::Accepted { book_ref: order.0 });
            } else if word(0) == 2 {
                say(ReportKind::Cancelled { reason: helios_types::CancelReason::Requested });
            } else {
                say(ReportKind::Filled {
                    execution: order.0,
                    price: Price::whole(10),
                    quantity: Quantity::whole(1),
                    liquidity: Liquidity::Taker,
                    fee: Cash::ZERO,
                });
            }
        }
        self.partial.drain(..whole);
    }
    fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut) {
        out.event(Event::Link(Link::Down { session: self.session }));
        self.next = Some(Nanos(now.0 + 20_000_000));
    }
    fn on_tick(&mut self, _: Nanos, out: &mut impl EntryOut) {
        self.next = None;
        out.connect();
    }
    fn next_tick(&self) -> Option<Nanos> {
        self.next
    }
    fn send(&mut self, output: &Output, _: Nanos, out: &mut impl EntryOut) {
        match output {
            Output::Submit(order) => out.write(&letter(1, order.id, order.instrument)),
            Output::Cancel { order, instrument } => out.write(&letter(2, *order, *instrument)),
            _ => {}
        }
    }
    fn on_stop(&mut self, _: Nanos, _: &mut impl EntryOut) {
        self.goodbyes.fetch_add(1, Relaxed);
    }
}

/// Answers orders as it is told; returns what it got.
fn venue(listener: TcpListener, fills: bool) -> thread::JoinHandle<Vec<(u64, u64)>> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut got, mut bytes) = (Vec::new(), [0; LETTER]);
        while stream.read_exact(&mut bytes).is_ok() {
            let word = |at: usize| u64::from_le_bytes(bytes[at * 8..][..8].try_into().unwrap());
            got.push((word(0), word(1)));
            let mut answer = bytes.to_vec();
            if word(0) == 1 && fills {
                answer.extend(letter(3, OrderId(word(1)), InstrumentId(word(2) as u32)));
            }
            if stream.write_all(&answer).is_err() {
                break;
            }
        }
        got
    })
}

/// Buys one of what is quoted, at every quote.
#[derive(Default)]
struct Buyer {
    next: u64,
    timer_ns: u64,
    timers: Arc<AtomicU64>,
    fails: bool,
}

impl Callbacks for Buyer {
    fn after(
        &mut self,
        input: &helios_types::Input,
        _: &[Output],
        _: &State,
        venue: Option<&Venues>,
        wishes: &mut Vec<Intent>,
    ) -> Result<(), SourceError> {
        assert!(venue.is_none(), "a live venue cannot be looked at");
        match &input.event {
            Event::Market(_) if self.fails => {
                Err(SourceError { source: "strategy".to_owned(), message: "no more".to_owned() })
            }
            Event::Market(market) => {
                let Update::Quote { ask, .. } = market.update else { return Ok(()) };
                self.next += 1;
                let kind = IntentKind::Order {
                    id: OrderId(CALLER_IDS + self.next),
                    side: Side::Buy,
                    quantity: Quantity::whole(1),
                    price: ask,
                    time_in_force: TimeInForce::Day,
                    terms: Terms::PLAIN,
                };
                wishes.push(Intent { strategy: StrategyId(0), instrument: market.instrument, kind });
                Ok(())
            }
            Event::Timer(_) => {
                self.timers.fetch_add(1, Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn next_timer(&self, after: Nanos) -> Option<Nanos> {
        (self.timer_ns > 0).then(|| Nanos((after.0 / self.timer_ns + 1) * self.timer_ns))
    }
}

fn state() -> State {
    let instrument =
        |at: u32| Instrument { symbol: format!("S{at}"), tick: Price(10_000_000), lot: Quantity::whole(1) };
    State::new(Config {
        instruments: (0..INSTRUMENTS).map(instrument).collect(),
        holds: Vec::new(),
        nodes: Vec::new(),
        series: Vec::new(),
        limits: helios_risk::Limits::default(),
        feeds: helios_risk::Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: helios_execution::Style::Market,
        capacity: Default::default(),
    })
    .expect("a sound configuration")
}

struct Run {
    handle: Handle,
    to: UdpSocket,
    goodbyes: Arc<AtomicU64>,
    scratch: Scratch,
}

impl Run {
    fn start(
        name: &str,
        options: Options,
        settings: Settings,
        callbacks: impl Callbacks + Send + 'static,
        address: std::net::SocketAddr,
    ) -> Self {
        let scratch = scratch::file(name);
        let directory = scratch.path().parent().map(Path::to_owned);
        let (beside, chores) = Beside::new(0, directory.as_deref()).unwrap();
        let journal = Journal::create(&scratch.path(), b"{}", settings, chores).unwrap();
        let goodbyes = Arc::<AtomicU64>::default();
        let station = Wire { session: 0, next: None, partial: Vec::new(), goodbyes: Arc::clone(&goodbyes) };
        let line = Line { address: "127.0.0.1:0".parse().unwrap(), interface: None };
        let setup = Setup {
            state: state(),
            started: Nanos(0),
            journal: Some(journal),
            beside,
            feeds: vec![FeedSetup {
                name: "quotes".to_owned(),
                station: Quotes,
                lines: vec![line],
                servers: Vec::new(),
                snapshot: None,
            }],
            venue: Venue::Live(vec![EntrySetup { name: "wire".to_owned(), station, address }]),
            session_of: Vec::new(),
            copies: Vec::new(),
            symbols: Vec::new(),
            callbacks,
            options,
        };
        let handle = setup.start().unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        to.connect(handle.lines()[0]).unwrap();
        Self { handle, to, goodbyes, scratch }
    }

    fn quote(&self, instrument: u8, bid: i64) {
        let mut bytes = vec![instrument];
        bytes.extend((bid * 10_000_000).to_le_bytes());
        self.to.send(&bytes).unwrap();
    }

    fn until(&self, what: &str, done: impl Fn(&Status) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.handle.shared().status();
            if done(&status) {
                return;
            }
            let notes = || self.handle.shared().take_notes();
            assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}; {status:?}; {:?}", notes());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Down, up, settled.
    fn until_linked(&self) {
        self.until("the session is up", |status| status.inputs >= 3);
    }

    /// A replay says the same to the last bit.
    fn replay(&self, ended: &Ended) -> helios_io::Replayed {
        let replayed = helios_io::replay(&self.scratch.path(), &mut state()).unwrap();
        assert_eq!((replayed.difference.as_ref(), replayed.damage.as_ref()), (None, None));
        assert_eq!(Some(replayed.digest), ended.digest);
        replayed
    }
}

/// 200 quotes lead to 200 orders, each is accepted and filled; the journal replays.
fn trades(name: &str, options: Options, durability: Durability) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let venue = venue(listener, true);
    let settings = Settings { durability, window: 64 << 10, spin: options.spin, core: None };
    let mut run = Run::start(name, options, settings, Buyer::default(), address);
    run.until_linked();
    for number in 0..200 {
        run.quote((number % 3) as u8, 1000 + number);
        // A quote of an instrument that the run has not, and noise.
        run.quote(200, 5);
        run.to.send(b"noise").unwrap();
        if number % 10 == 9 {
            // The market data's socket is small on some machines.
            run.until("so far all is taken", |status| status.refused == number as u64 + 1);
        }
    }
    // Links 3; a quote, a wish and two reports for each.
    run.until("all is filled", |status| status.inputs == 3 + 200 * 4 && status.working == 0);
    let status = run.handle.shared().status();
    assert_eq!((status.refused, status.dropped, status.fenced, status.untold), (200, 0, 0, 0));

    let answer = run.handle.command(Event::Control(Control::Pause), Duration::from_secs(5)).unwrap();
    assert_eq!((answer.seq, answer.outputs), (803, Vec::new()));
    let equity =
        run.handle.look(Duration::from_secs(5), |engine| engine.state().risk().position(InstrumentId(0)).quantity);
    assert_eq!(equity.unwrap(), Quantity::whole(67));
    let tables = run.handle.tables().unwrap();
    assert_eq!((tables.positions.quantity.len(), tables.strategies.fills[0]), (3, 200));

    run.handle.shared().stop("enough", false);
    let ended = run.handle.join();
    assert_eq!((ended.reason.as_str(), ended.failed), ("enough", false));
    assert_eq!(run.goodbyes.load(Relaxed), 1);
    assert_eq!(venue.join().unwrap(), (1..=200).map(|at| (1, CALLER_IDS + at)).collect::<Vec<_>>());
    // Pause, and the session down.
    assert_eq!(run.replay(&ended).inputs, 805);
    assert_eq!(run.handle.tables().unwrap().orders.ts.len(), 200);
    assert!(run.handle.tables().unwrap().equity.ts.len() >= 2);
    let json = std::fs::read_to_string(run.scratch.path().with_file_name("latency.json")).unwrap();
    // A callback's order is its packet's, by a stage of its own; the test's venue is never silent for a packet's wish.
    for stage in ["decoded", "journaled", "stepped", "called", "encoded", "written", "whole"] {
        assert!(json.contains(&format!("\"{stage}\": {{\"count\": 200,")), "{stage}: {json}");
    }
    assert!(json.contains("\"packet\""), "{json}");
}

fn options(layout: Layout, spin: bool) -> Options {
    Options { layout, spin, ..Options::default() }
}

#[test]
fn one_thread_parked() {
    trades("one-park", options(Layout::One, false), Durability::Process);
}

#[test]
fn one_thread_spinning() {
    trades("one-spin", options(Layout::One, true), Durability::Process);
}

#[test]
fn four_threads_parked() {
    trades("four-park", options(Layout::Four, false), Durability::Process);
}

#[test]
fn four_threads_spinning() {
    trades("four-spin", options(Layout::Four, true), Durability::Process);
}

#[test]
fn one_thread_with_the_disk() {
    trades("one-disk", options(Layout::One, false), Durability::Disk);
}

#[test]
fn four_threads_with_the_disk() {
    trades("four-disk", options(Layout::Four, false), Durability::Disk);
}

#[test]
fn a_stop_cancels_what_rests_and_waits_for_the_answers() {
    for layout in [Layout::One, Layout::Four] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let venue = venue(listener, false);
        let mut run = Run::start("cancel", options(layout, false), Settings::default(), Buyer::default(), address);
        run.until_linked();
        run.quote(0, 1000);
        run.quote(1, 1000);
        run.until("both are working", |status| status.inputs == 3 + 2 * 3 && status.working == 2);
        run.handle.shared().stop("enough", false);
        let ended = run.handle.join();
        assert_eq!(venue.join().unwrap().iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [1, 1, 2, 2]);
        run.replay(&ended);
        let orders = run.handle.tables().unwrap().orders;
        assert_eq!(orders.state, [helios_types::OrderState::Cancelled as u8; 2]);
    }
}

#[test]
fn a_lost_lease_stops_everything_at_once() {
    for layout in [Layout::One, Layout::Four] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let venue = venue(listener, false);
        let mut run = Run::start("lease", options(layout, false), Settings::default(), Buyer::default(), address);
        run.until_linked();
        run.handle.shared().set_may_send_until(monotonic() + 3_600_000_000_000);
        run.quote(0, 1000);
        run.until("it is working", |status| status.working == 1 && status.inputs == 6);
        run.handle.shared().set_may_send_until(monotonic());
        run.quote(0, 1001);
        let ended = run.handle.join();
        assert!(ended.reason.contains("the lease is over"), "{ended:?}");
        assert_eq!(venue.join().unwrap(), [(1, CALLER_IDS + 1)], "not even a cancel is sent");
        run.replay(&ended);
    }
}

#[test]
fn a_strategy_that_fails_ends_the_run_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let venue = venue(listener, true);
    let strategy = Buyer { fails: true, ..Buyer::default() };
    let mut run = Run::start("fails", options(Layout::One, false), Settings::default(), strategy, address);
    run.until_linked();
    run.quote(0, 1000);
    let ended = run.handle.join();
    assert_eq!((ended.reason.as_str(), ended.failed), ("strategy: no more", true));
    assert!(venue.join().unwrap().is_empty());
    run.replay(&ended);
}

#[test]
fn timers_ring_and_sessions_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let timers = Arc::<AtomicU64>::default();
    let strategy = Buyer { timer_ns: 5_000_000, timers: Arc::clone(&timers), ..Buyer::default() };
    let mut run = Run::start("timers", options(Layout::One, false), Settings::default(), strategy, address);
    for round in 0..3 {
        let (stream, _): (TcpStream, _) = listener.accept().unwrap();
        let before = timers.load(Relaxed);
        run.until("timers ring", |_| timers.load(Relaxed) > before + 2);
        // The last one stays.
        if round < 2 {
            drop(stream);
        }
    }
    run.handle.shared().stop("enough", false);
    let ended = run.handle.join();
    run.replay(&ended);
    let bytes = std::fs::read(run.scratch.path()).unwrap();
    let links = helios_journal::Records::new(&bytes).filter_map(|record| match record {
        Ok(helios_journal::Record::Input(input)) => match input.event {
            Event::Link(Link::Down { .. }) => Some('d'),
            Event::Link(Link::Up { .. }) => Some('u'),
            Event::Link(Link::Settled { .. }) => Some('s'),
            _ => None,
        },
        _ => None,
    });
    assert!(links.collect::<String>().starts_with("dusdusdus"));
}

#[test]
fn nobody_listens_and_the_run_ends_all_the_same() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut run = Run::start("nobody", options(Layout::Four, false), Settings::default(), NoCallbacks, address);
    run.quote(0, 1000);
    run.until("the quote is taken", |status| status.packets == 1 && status.inputs >= 2);
    run.handle.shared().stop("enough", false);
    let ended = run.handle.join();
    assert!(ended.digest.is_some());
    let refused = run.handle.command(Event::Control(Control::Pause), Duration::from_secs(1)).unwrap_err();
    assert_eq!(refused.to_string(), "run: it is over");
}
