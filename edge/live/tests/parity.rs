//! Live and backtest on the same inputs: the same outputs.
//!
//! A backtest reads an ITCH file and trades it against the simulated venue. The same day then comes as packets, over two
//! lines of which each loses, repeats and delays, through the live stations (receiver, feed, engine), and the venue's reports
//! of the backtest come where they came there. Everything that the engine says must be the same, bit for bit. What the
//! feed knows of itself is the live run's alone: it begins by distrusting its books. A gap that no line fills in time is
//! where the two part on purpose: live, nothing is traded on a book that may be wrong (`tests/scenarios/incomplete.txt`).

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;

use helios_book::Capacity;
use helios_engine::{Config, State};
use helios_execution::Style;
use helios_io::{Backtest, FeedLatency, ItchSource, JournalFile, Merge, NoCallbacks, Setup};
use helios_journal::{Reader, Record};
use helios_live::feed::{Feed, FeedConfig, Join, ReceiverConfig};
use helios_live::{Engine, FeedOut};
use helios_risk::{Feeds, Limits};
use helios_signals::{Binary, Field, Keeps, Node, NodeId, Sizing, Stat, Window};
use helios_types::{
    Cash, Event, Feed as About, Input, Instrument, InstrumentId, Nanos, Output, Price, Quality, QualityKind, Quantity,
    Rng, StrategyId, Update,
};
use helios_venue::agents::{self, Simulation};
use helios_venue::{Delay, Venue};
use helios_wire::frame::{Frames, Framing};
use helios_wire::moldudp64::{PacketBuilder, decode, decode_request};

const MIDNIGHT: Nanos = Nanos(1_700_006_400_000_000_000);
const SESSION: [u8; 10] = *b"PARITY    ";

fn day(seed: u64) -> (Vec<u8>, Vec<String>) {
    let settings = agents::Config {
        symbols: 4,
        minutes: 5,
        seed,
        group_size: 4,
        messages_per_symbol_second: 20.0,
        ..agents::Config::default()
    };
    let mut simulation = Simulation::new(settings).expect("sound settings");
    let symbols = simulation.symbols().map(str::to_owned).collect();
    let mut frames = Vec::new();
    while simulation.next_chunk(&mut frames) {}
    (frames, symbols)
}

/// A pair by its z-score over 20 s, and a signal that is recorded.
fn state(symbols: &[String]) -> State {
    let mid = |instrument| Node::Source { instrument: InstrumentId(instrument), field: Field::Mid };
    let target = |x, instrument| Node::Target {
        x: NodeId(x),
        strategy: StrategyId(0),
        instrument: InstrumentId(instrument),
        sizing: Sizing::Quantity(Quantity::whole(100)),
    };
    let nodes = vec![
        mid(0),
        mid(1),
        Node::Binary { op: Binary::Sub, x: NodeId(0), y: NodeId(1) },
        Node::Window { x: NodeId(2), window: Window::Time(20_000_000_000), keeps: Keeps::Moments, least: 0, by: None },
        Node::Read { of: NodeId(3), stat: Stat::ZScore },
        Node::Hysteresis { x: NodeId(4), enter: 1.0, exit: 0.2 },
        Node::Record { x: NodeId(5), signal: 0, input: NodeId(4) },
        target(5, 1),
        Node::Constant(-1.0),
        Node::Binary { op: Binary::Mul, x: NodeId(5), y: NodeId(8) },
        target(9, 0),
    ];
    let instruments = symbols
        .iter()
        .map(|symbol| Instrument { symbol: symbol.clone(), tick: Price(10_000_000), lot: Quantity::whole(1) })
        .collect();
    State::new(Config {
        instruments,
        holds: Vec::new(),
        nodes,
        series: Vec::new(),
        limits: Limits { position: Some(Quantity::whole(150)), ..Limits::default() },
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 1 },
        capacity: Capacity { orders: 1 << 12, levels: 1 << 12 },
    })
    .expect("a sound configuration")
}

/// What a backtest's journal holds.
fn backtest(frames: &[u8], symbols: &[String], name: &str) -> Vec<(Input, Vec<Output>)> {
    let folder = std::env::temp_dir().join(format!("helios-parity-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (file, journal) = (folder.join("day.itch"), folder.join("journal"));
    std::fs::File::create(&file).and_then(|mut to| to.write_all(frames)).expect("a file");
    let config = helios_venue::Config {
        order_latency: Delay::Constant(50_000),
        report_latency: Delay::Constant(50_000),
        capacity: Capacity { orders: 1 << 12, levels: 1 << 12 },
        ..helios_venue::Config::default()
    };
    let instruments = symbols
        .iter()
        .map(|symbol| Instrument { symbol: symbol.clone(), tick: Price(10_000_000), lot: Quantity::whole(1) })
        .collect::<Vec<_>>();
    let source = ItchSource::open(&file, MIDNIGHT, symbols).expect("the file");
    let mut run = Backtest::new(Setup {
        state: state(symbols),
        venue: Venue::new(&instruments, config).into(),
        source: Merge::new(vec![Box::new(source)]).expect("one source"),
        feeds: vec![FeedLatency::Delay(Delay::Constant(0))],
        fast: false,
        journal: Some(JournalFile::create(&journal, b"{}").expect("a journal")),
        sample_ns: 1_000_000_000,
        marks_ns: 0,
        measure: false,
        symbols: symbols.to_vec(),
        cash: 0,
    });
    while !run.advance(10_000, &mut NoCallbacks).expect("a good day").done {}
    run.finish().expect("a journal");
    let mut reader = Reader::new();
    reader.push(&std::fs::read(&journal).expect("the journal"));
    let mut steps: Vec<(Input, Vec<Output>)> = Vec::new();
    while let Some(record) = reader.next_record().expect("a good journal") {
        match record {
            Record::Input(input) => steps.push((input, Vec::new())),
            Record::Output { output, .. } => steps.last_mut().expect("an input before").1.push(output),
            Record::Config(_) | Record::End(_) => {}
        }
    }
    std::fs::remove_dir_all(&folder).expect("ours");
    steps
}

/// What the feed wants of the world.
#[derive(Default)]
struct Out {
    events: VecDeque<Event>,
    requests: Vec<Vec<u8>>,
}

impl FeedOut for Out {
    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
    fn request(&mut self, _server: usize, bytes: &[u8]) {
        self.requests.push(bytes.to_vec());
    }
    fn connect(&mut self) {}
    fn write(&mut self, _bytes: &[u8]) {}
    fn close(&mut self) {}
    fn note(&mut self, _text: fmt::Arguments<'_>) {}
}

/// The day's market events as they come out of the live feed handler, off a bad wire.
fn over_the_wire(frames: &[u8], symbols: &[String], seed: u64) -> VecDeque<Event> {
    let messages: Vec<&[u8]> = Frames::new(frames, Framing::LengthPrefixed).collect();
    let instruments = (0..).map(InstrumentId).zip(symbols.iter().cloned()).collect();
    let receiver = ReceiverConfig { lines: 2, servers: 1, ..ReceiverConfig::default() };
    let mut feed = Feed::new(FeedConfig { join: Join::Replay, receiver, ..FeedConfig::new(0, instruments, MIDNIGHT) });
    let (mut rng, mut out, mut now) = (Rng::new(seed), Out::default(), MIDNIGHT);
    let mut late: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut builder = PacketBuilder::new(SESSION, 1, 600);
    let mut at = 0;
    while at < messages.len() {
        while at < messages.len() && builder.push(messages[at]).is_ok() {
            at += 1;
        }
        // One line has it, now or a millisecond late; the other may lose it, or have it too.
        let sure = (rng.below(2)) as u8;
        let overdue = std::mem::take(&mut late);
        if rng.below(4) == 0 {
            late.push((sure, builder.bytes().to_vec()));
        } else {
            feed.on_datagram(sure, builder.bytes(), now, &mut out);
        }
        if rng.below(2) == 0 {
            feed.on_datagram(1 - sure, builder.bytes(), now, &mut out);
        }
        overdue.iter().for_each(|(line, bytes)| feed.on_datagram(*line, bytes, now, &mut out));
        builder.next_packet();
        now = now.plus(1_000_000);
        serve(&mut feed, &messages, &mut out, now);
    }
    late.iter().for_each(|(line, bytes)| feed.on_datagram(*line, bytes, now, &mut out));
    for _ in 0..1_000 {
        now = now.plus(1_000_000);
        serve(&mut feed, &messages, &mut out, now);
    }
    out.events
}

/// The retransmission server.
fn serve(feed: &mut Feed, messages: &[&[u8]], out: &mut Out, now: Nanos) {
    feed.on_tick(now, out);
    for request in std::mem::take(&mut out.requests) {
        let wanted = decode_request(&request).expect("our own requests are sound");
        let first = wanted.sequence_number;
        let mut answer = PacketBuilder::new(SESSION, first, 1_400);
        let from = first as usize - 1;
        let coming = messages.iter().skip(from).take(usize::from(wanted.message_count));
        for message in coming {
            if answer.push(message).is_err() {
                break;
            }
        }
        assert!(decode(answer.bytes()).is_ok());
        feed.on_datagram(2, answer.bytes(), now, out);
    }
}

#[test]
fn the_same_day_says_the_same_live_as_in_a_backtest() {
    for seed in 1..=8 {
        let (frames, symbols) = day(seed);
        let steps = backtest(&frames, &symbols, &seed.to_string());
        let mut events = over_the_wire(&frames, &symbols, seed);
        let mut engine = Engine::new(state(&symbols), None);
        // What the feed knows of itself, and that books begin empty.
        let own = |event: &Event| match event {
            Event::Feed(About::Incomplete { .. } | About::Complete { .. } | About::Began { .. }) => true,
            Event::Market(market) => market.update == Update::Clear,
            _ => false,
        };
        let (mut orders, mut fills) = (0, 0);
        for (input, said) in &steps {
            let event = match input.event {
                Event::Market(_) => {
                    while events.front().is_some_and(own) {
                        engine.event(input.ts, events.pop_front().expect("it is there")).expect("no journal");
                        // That messages are missing, or have come: the live run's own.
                        let gaps = |output: &Output| {
                            matches!(
                                output,
                                Output::Quality(Quality { kind: QualityKind::Gap | QualityKind::Whole, .. })
                            )
                        };
                        assert!(engine.outputs().iter().all(gaps), "{:?}", engine.outputs());
                    }
                    let event = events.pop_front().expect("as many events as in the backtest");
                    assert_eq!(event, input.event, "seed {seed}, input {}", input.seq);
                    event
                }
                event => event,
            };
            engine.event(input.ts, event).expect("no journal");
            assert_eq!(engine.outputs(), said, "seed {seed}, input {}", input.seq);
            orders += said.iter().filter(|output| matches!(output, Output::Submit(_))).count();
            fills += said.iter().filter(|output| matches!(output, Output::Fill(_))).count();
        }
        assert!(!events.iter().any(|event| matches!(event, Event::Market(_))), "nothing is left over");
        assert!(orders > 5 && fills > 5, "a day on which something happens: {orders} orders, {fills} fills");
    }
}
