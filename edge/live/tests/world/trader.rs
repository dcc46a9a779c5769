//! The trader's process: stations and engine on one thread, as the driver runs them, and the disk that outlives it.

use std::collections::VecDeque;
use std::fmt;

use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::Style;
use helios_journal::{Closing, Reader, Record, Writer};
use helios_live::feed::{Feed, FeedConfig, Join, ReceiverConfig, SnapshotLogin};
use helios_live::{
    AUDIT_TICK_NS, Audit, AuditOut, Engine, Entry, EntryConfig, EntryOut, FeedOut, FixConfig, Moment, Protocol,
    ReconcileConfig, Recorded, Secret,
};
use helios_risk::{Feeds, Limits};
use helios_types::{Cash, Event, Instrument, InstrumentId, Link, Nanos, Output, Price, Quantity, Rng};

use crate::net::Net;
use crate::world::MIDNIGHT;

pub const USER: &str = "HELIOS";
pub const PASSWORD: &str = "sesame";
/// Shares: no position, and no worst case of one, may go beyond.
pub const LIMIT: i64 = 2_000;
pub const ORDER_LIMIT: i64 = 500;

/// The process dies when so many more effects (a record, a packet) have left it; what comes after has no effect.
#[derive(Debug, Default)]
pub struct Fuse(Option<u64>);

impl Fuse {
    pub fn light(&mut self, effects: u64) {
        self.0 = Some(effects);
    }

    pub fn is_blown(&self) -> bool {
        self.0 == Some(0)
    }

    /// One more effect: false when the process is dead before it.
    fn burn(&mut self) -> bool {
        if let Some(left) = &mut self.0 {
            if *left == 0 {
                return false;
            }
            *left -= 1;
        }
        true
    }
}

/// What is in the journal's file.
#[derive(Default)]
pub struct Disk {
    pub bytes: Vec<u8>,
    /// The state after so many inputs.
    pub snapshot: Option<(u64, Vec<u8>)>,
}

/// How a process is run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub protocol: helios_exchange::Protocol,
    pub copied: bool,
    /// Outputs wait for the disk, another machine or another thread: seed of how long.
    pub held: Option<u64>,
}

/// Longest wait of an output.
const MAX_HELD_NS: u64 = 5_000_000;

/// The run: instruments, limits, strategies' graph.
pub fn fresh_state(symbols: &[String]) -> State {
    let instruments = symbols
        .iter()
        .map(|symbol| Instrument { symbol: symbol.clone(), tick: Price(10_000_000), lot: Quantity::whole(1) })
        .collect();
    let limits = Limits {
        order_quantity: Some(Quantity::whole(ORDER_LIMIT)),
        position: Some(Quantity::whole(LIMIT)),
        price_collar_ppm: Some(200_000),
        orders_per_second: Some(200),
        ..Limits::default()
    };
    let config = Config {
        instruments,
        holds: Vec::new(),
        nodes: crate::strategy::nodes(),
        series: Vec::new(),
        limits,
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(10_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 1 },
        capacity: Capacity { orders: 1 << 12, levels: 1 << 10 },
    };
    State::new(config).expect("a sound configuration")
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Snapshot,
    Entry,
    Copy,
}

/// A process under way.
pub struct Trader {
    feed: Feed,
    pub entry: Entry,
    pub audit: Option<Audit>,
    /// By the clock that is never set.
    audit_due: Nanos,
    pub engine: Engine,
    writer: Writer,
    /// Outputs that the journal does not have yet: they go there with the next input.
    unwritten: Option<u64>,
    pub pipes: [Option<u64>; 3],
    waiting: VecDeque<Event>,
    found: Vec<(InstrumentId, Quantity)>,
    /// Draws how long outputs wait; those that do, by the clock that is never set.
    delays: Option<Rng>,
    held: VecDeque<(Nanos, Output)>,
}

/// What is around the process.
pub struct Around<'a> {
    pub net: &'a mut Net,
    pub disk: &'a mut Disk,
    pub fuse: &'a mut Fuse,
    pub next_pipe: &'a mut u64,
    /// Purposes of connections that were asked for, by number.
    pub asked: &'a mut Vec<(u64, Purpose)>,
    pub notes: &'a mut Vec<String>,
    /// The process's own clock.
    pub now: Nanos,
}

/// One station's view of the world.
struct Out<'a, 'b> {
    around: &'a mut Around<'b>,
    pipe: &'a mut Option<u64>,
    waiting: &'a mut VecDeque<Event>,
    found: &'a mut Vec<(InstrumentId, Quantity)>,
    purpose: Purpose,
}

impl Out<'_, '_> {
    fn open(&mut self) {
        if self.around.fuse.burn() {
            *self.around.next_pipe += 1;
            let pipe = *self.around.next_pipe;
            *self.pipe = Some(pipe);
            self.around.asked.push((pipe, self.purpose));
            self.around.net.connect(pipe);
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        if let Some(pipe) = *self.pipe
            && self.around.fuse.burn()
        {
            self.around.net.send_to_venue(pipe, bytes);
        }
    }

    fn shut(&mut self) {
        if let Some(pipe) = self.pipe.take()
            && self.around.fuse.burn()
        {
            self.around.net.trader_closes(pipe);
        }
    }

    fn noted(&mut self, text: fmt::Arguments<'_>) {
        self.around.notes.push(format!("{} {text}", self.around.net.now.0));
    }
}

/// What every station wishes of its connection.
macro_rules! connection {
    () => {
        fn connect(&mut self) {
            self.open();
        }
        fn write(&mut self, bytes: &[u8]) {
            self.say(bytes);
        }
        fn close(&mut self) {
            self.shut();
        }
        fn note(&mut self, text: fmt::Arguments<'_>) {
            self.noted(text);
        }
    };
}

impl FeedOut for Out<'_, '_> {
    fn event(&mut self, event: Event) {
        self.waiting.push_back(event);
    }
    fn request(&mut self, _server: usize, bytes: &[u8]) {
        if self.around.fuse.burn() {
            self.around.net.request(bytes);
        }
    }
    connection!();
}

impl EntryOut for Out<'_, '_> {
    fn event(&mut self, event: Event) {
        self.waiting.push_back(event);
    }
    connection!();
}

impl AuditOut for Out<'_, '_> {
    fn differs(&mut self, instrument: InstrumentId, by: Quantity) {
        self.found.push((instrument, by));
    }
    fn lacks(&mut self, text: fmt::Arguments<'_>) {
        self.noted(text);
    }
    connection!();
}

/// What a process's start found.
pub struct Recovered {
    state: State,
    writer: Writer,
}

impl Recovered {
    pub fn digest(&self) -> u128 {
        self.state.digest()
    }
}

/// Reads the journal as a new process does: to its last whole record, which it then goes on from. Panics when what was said
/// then is not what is said now.
pub fn recover(disk: &mut Disk, symbols: &[String], mut recorded: impl FnMut(Recorded<'_>)) -> Recovered {
    let mut state = fresh_state(symbols);
    if disk.bytes.is_empty() {
        let mut writer = Writer::new(b"{}").expect("it is short");
        disk.bytes.extend_from_slice(writer.pending());
        writer.clear_pending();
        return Recovered { state, writer };
    }
    let mut reader = Reader::new();
    reader.push(&disk.bytes);
    let (mut said, mut at, mut last) = (Vec::new(), 0, 0);
    // What the snapshot has is not stepped again; stations are told it all the same.
    let mut skipped = 0;
    if let Some((inputs, bytes)) = &disk.snapshot {
        state = state.restore(bytes).expect("a sound snapshot of this run");
        skipped = *inputs;
    }
    // A torn record ends the journal; what is wrong before it would show as a difference.
    while let Ok(Some(record)) = reader.next_record() {
        match record {
            Record::Input(input) if input.seq < skipped => recorded(Recorded::Input(&input.event)),
            Record::Output { seq, output } if seq < skipped => recorded(Recorded::Output(&output)),
            Record::Input(input) => {
                assert_eq!(at, said.len(), "input {last} said {said:?}, of which the journal has {at}");
                said.clear();
                step(&mut state, &input, &mut said);
                recorded(Recorded::Input(&input.event));
                for output in &said {
                    recorded(Recorded::Output(output));
                }
                (at, last) = (0, input.seq);
            }
            Record::Output { seq, output } => {
                assert_eq!((seq, said.get(at)), (last, Some(&output)), "what was said then is said now");
                at += 1;
            }
            Record::Config(_) | Record::End(_) => {}
        }
    }
    let position = reader.position().expect("an open journal");
    disk.bytes.truncate(position.offset() as usize);
    let mut writer = Writer::resume(position);
    for output in &said[at..] {
        writer.output(last, output);
    }
    disk.bytes.extend_from_slice(writer.pending());
    writer.clear_pending();
    Recovered { state, writer }
}

/// The whole journal, read at the end of the world: nothing is wrong with it.
pub fn read_whole(disk: &Disk) -> Vec<Output> {
    let mut reader = Reader::new();
    reader.push(&disk.bytes);
    let mut outputs = Vec::new();
    loop {
        match reader.next_record() {
            Ok(Some(Record::Output { output, .. })) => outputs.push(output),
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(damage) => panic!("the journal is damaged: {damage}"),
        }
    }
    assert!(matches!(reader.finish(), Ok(Closing::NotClosed)), "a journal under way");
    outputs
}

impl Trader {
    pub fn start(
        disk: &mut Disk,
        symbols: &[String],
        Manner { protocol, copied, held }: Manner,
        rng: &mut Rng,
    ) -> Self {
        let fix = FixConfig {
            name: "XNAS".to_owned(),
            session: 0,
            sender: USER.to_owned(),
            target: "XNAS".to_owned(),
            user: None,
            password: Some(Secret::new(PASSWORD)),
            heartbeat_s: 1,
            symbols: symbols.iter().cloned().map(Some).collect(),
            first_reference: 1,
            prefix: "H".to_owned(),
            seed: Some(rng.next_u64()),
        };
        let mut audit = copied.then(|| {
            let (name, symbols) = ("copy".to_owned(), fix.symbols.clone());
            let (grace_ns, day, began) = (2_000_000_000, MIDNIGHT, MIDNIGHT);
            let compared = ReconcileConfig { name: name.clone(), symbols, holds: Vec::new(), grace_ns, day, began };
            Audit::new(&FixConfig { name, ..fix.clone() }, compared, 0).expect("a sound drop copy")
        });
        let ouch = EntryConfig {
            name: "XNAS".to_owned(),
            session: 0,
            protocol: if protocol == helios_exchange::Protocol::Ouch42 { Protocol::Ouch42 } else { Protocol::Ouch50 },
            user: USER.to_owned(),
            password: Secret::new(PASSWORD),
            symbols: symbols.iter().cloned().map(Some).collect(),
            midnight: MIDNIGHT,
            first_reference: 1,
            token_prefix: "H".to_owned(),
            timeout_ms: None,
            seed: Some(rng.next_u64()),
        };
        let is_fix = protocol == helios_exchange::Protocol::Fix;
        let mut entry = if is_fix { Entry::fix(&fix) } else { Entry::new(ouch) }.expect("a sound session");
        let Recovered { state, writer } = recover(disk, symbols, |recorded| {
            entry.recover(&recorded);
            audit.iter_mut().for_each(|audit| audit.recover(&recorded));
        });
        let instruments = (0..).map(InstrumentId).zip(symbols.iter().cloned()).collect();
        let receiver = ReceiverConfig { lines: 2, servers: 1, window: 500, attempts: 4, ..ReceiverConfig::default() };
        let feed = Feed::new(FeedConfig {
            join: if rng.below(4) == 0 { Join::Replay } else { Join::Snapshot },
            receiver,
            snapshot: Some(SnapshotLogin { username: USER.to_owned(), password: PASSWORD.to_owned() }),
            ..FeedConfig::new(0, instruments, MIDNIGHT)
        });
        let engine = Engine::new(state, None);
        let (waiting, found) = (VecDeque::new(), Vec::new());
        let (audit_due, unwritten, pipes) = (Nanos(0), None, [None; 3]);
        let (delays, held) = (held.map(Rng::new), VecDeque::new());
        Self { feed, entry, audit, audit_due, engine, writer, unwritten, pipes, waiting, found, delays, held }
    }

    /// When the drop copy wants its tick, or an output may leave, by the clock that is never set.
    pub fn steady_due(&self) -> Option<Nanos> {
        let audit = self.audit.as_ref().map(|_| self.audit_due);
        audit.into_iter().chain(self.held.front().map(|(due, _)| *due)).min()
    }

    pub fn next_tick(&self) -> Option<Nanos> {
        [self.feed.next_tick(), self.entry.next_tick()].into_iter().flatten().min()
    }

    pub fn state(&self) -> &State {
        self.engine.state()
    }

    fn with_feed(&mut self, around: &mut Around<'_>, act: impl FnOnce(&mut Feed, Nanos, &mut Out<'_, '_>)) {
        let now = around.now;
        let (pipe, waiting, found) = (&mut self.pipes[0], &mut self.waiting, &mut self.found);
        act(&mut self.feed, now, &mut Out { around, pipe, waiting, found, purpose: Purpose::Snapshot });
        self.drain(around);
    }

    fn with_entry(&mut self, around: &mut Around<'_>, act: impl FnOnce(&mut Entry, Nanos, &mut Out<'_, '_>)) {
        let now = around.now;
        let (pipe, waiting, found) = (&mut self.pipes[1], &mut self.waiting, &mut self.found);
        act(&mut self.entry, now, &mut Out { around, pipe, waiting, found, purpose: Purpose::Entry });
        self.drain(around);
    }

    fn with_audit(&mut self, around: &mut Around<'_>, act: impl FnOnce(&mut Audit, Moment, &mut Out<'_, '_>)) {
        let now = Moment { utc: around.now, steady: around.net.now };
        let (pipe, waiting, found) = (&mut self.pipes[2], &mut self.waiting, &mut self.found);
        if let Some(audit) = &mut self.audit {
            act(audit, now, &mut Out { around, pipe, waiting, found, purpose: Purpose::Copy });
        }
        for (instrument, by) in std::mem::take(&mut self.found) {
            let ours = self.state().risk().position(instrument).quantity;
            self.input(Event::Link(Link::Position { instrument, quantity: Quantity(ours.0 + by.0) }), around);
        }
    }

    pub fn datagram(&mut self, line: u8, bytes: &[u8], around: &mut Around<'_>) {
        self.with_feed(around, |feed, now, out| feed.on_datagram(line, bytes, now, out));
    }

    pub fn connected(&mut self, purpose: Purpose, around: &mut Around<'_>) {
        match purpose {
            Purpose::Snapshot => self.with_feed(around, |feed, now, out| feed.on_connected(now, out)),
            Purpose::Entry => self.with_entry(around, |entry, now, out| entry.on_connected(now, out)),
            Purpose::Copy => self.with_audit(around, |audit, now, out| audit.on_connected(now, out)),
        }
    }

    pub fn bytes(&mut self, purpose: Purpose, bytes: &[u8], around: &mut Around<'_>) {
        match purpose {
            Purpose::Snapshot => self.with_feed(around, |feed, now, out| feed.on_bytes(bytes, now, out)),
            Purpose::Entry => {
                self.with_entry(around, |entry, now, out| entry.on_bytes(bytes, now, out));
                self.audit.iter_mut().for_each(|audit| audit.on_entry_heard(around.net.now));
            }
            Purpose::Copy => self.with_audit(around, |audit, now, out| audit.on_bytes(bytes, now, out)),
        }
    }

    pub fn closed(&mut self, purpose: Purpose, around: &mut Around<'_>) {
        self.pipes[purpose as usize] = None;
        match purpose {
            Purpose::Snapshot => self.with_feed(around, |feed, now, out| feed.on_closed(now, out)),
            Purpose::Entry => self.with_entry(around, |entry, now, out| entry.on_closed(now, out)),
            Purpose::Copy => self.with_audit(around, |audit, now, out| audit.on_closed(now, out)),
        }
    }

    pub fn tick(&mut self, around: &mut Around<'_>) {
        self.release(around);
        self.with_feed(around, |feed, now, out| feed.on_tick(now, out));
        self.with_entry(around, |entry, now, out| entry.on_tick(now, out));
        if self.audit_due <= around.net.now {
            self.audit_due = around.net.now.plus(AUDIT_TICK_NS);
            self.with_audit(around, |audit, now, out| audit.on_tick(now, out));
        }
    }

    /// A wish of a Python strategy, an operator's command, what drop copy says.
    pub fn input(&mut self, event: Event, around: &mut Around<'_>) {
        self.waiting.push_back(event);
        self.drain(around);
    }

    /// Journal, step, orders out, one event after the other.
    fn drain(&mut self, around: &mut Around<'_>) {
        while let Some(event) = self.waiting.pop_front() {
            if around.fuse.is_blown() {
                return;
            }
            self.write_outputs(around);
            if !self.engine.event(around.now, event).expect("no journal of its own, so no failure") {
                continue;
            }
            // The step has no effect outside: it is as if the record had been there before it.
            let input = *self.engine.input();
            self.writer.input(&input);
            self.save(around);
            self.unwritten = Some(input.seq);
            let (now, steady) = (around.now, around.net.now);
            // One after the other, however long each waits.
            let wait = self.delays.as_mut().map_or(0, |rng| rng.below(MAX_HELD_NS));
            let due = self.held.back().map_or(steady, |(due, _)| *due).max(steady.plus(wait));
            self.held.extend(self.engine.outputs().iter().map(|output| (due, *output)));
            self.release(around);
            self.tell_audit(&input.event, Moment { utc: now, steady });
        }
    }

    /// Outputs that need not wait any more go out.
    fn release(&mut self, around: &mut Around<'_>) {
        let (now, steady) = (around.now, around.net.now);
        let (pipe, waiting, found) = (&mut self.pipes[1], &mut self.waiting, &mut self.found);
        let mut out = Out { around, pipe, waiting, found, purpose: Purpose::Entry };
        while let Some((_, output)) = self.held.pop_front_if(|(due, _)| *due <= steady) {
            self.entry.send(&output, now, &mut out);
        }
    }

    /// The state as it is goes to the disk, whole; what was said is in the journal before.
    pub fn snapshot(&mut self, around: &mut Around<'_>) {
        self.write_outputs(around);
        if around.fuse.burn() && !around.fuse.is_blown() {
            around.disk.snapshot = Some((self.state().next_seq(), self.state().snapshot()));
        }
    }

    /// As the driver does, after the orders were written.
    fn tell_audit(&mut self, event: &Event, now: Moment) {
        let Some(audit) = &mut self.audit else { return };
        match event {
            Event::Link(Link::Settled { .. }) => audit.on_entry(true, now),
            Event::Link(Link::Down { .. }) => audit.on_entry(false, now),
            _ => {}
        }
        for output in self.engine.outputs() {
            if let Output::Fill(fill) = output {
                audit.on_fill(fill, now);
            }
        }
    }

    fn write_outputs(&mut self, around: &mut Around<'_>) {
        if let Some(seq) = self.unwritten.take() {
            for output in self.engine.outputs() {
                self.writer.output(seq, output);
            }
            self.save(around);
        }
    }

    /// The process may die within a record.
    fn save(&mut self, around: &mut Around<'_>) {
        if around.fuse.burn() {
            around.disk.bytes.extend_from_slice(self.writer.pending());
            if around.fuse.is_blown() {
                let torn = self.writer.pending().len() / 3;
                let length = around.disk.bytes.len() - torn;
                around.disk.bytes.truncate(length);
            }
        }
        self.writer.clear_pending();
    }

    /// So that the journal can be compared with what was said.
    pub fn settle(&mut self, around: &mut Around<'_>) {
        self.write_outputs(around);
    }
}
