//! FIX: a venue that is an acceptor and keeps what it said, and what an entry makes of it.

use std::collections::{BTreeMap, VecDeque};

use helios_live::{DropCopy, DropCopyOut, Entry, FixConfig, Secret, Traded};
use helios_types::{InstrumentId, Nanos, OrderId, Output, Price, Quantity, Side, TimeInForce};
use helios_wire::fix::{
    Closed, Dictionary, Fields, Handled, Message, Outside, Reply, Role, Session, Settings, Stored, Version,
};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::lossy::Port;
use crate::world::{Log, MIDNIGHT, Says, at, order};

pub fn fix_config() -> FixConfig {
    FixConfig {
        name: "X".to_owned(),
        session: 3,
        sender: "ME".to_owned(),
        target: "VENUE".to_owned(),
        user: None,
        password: Some(Secret::new("hunter2")),
        heartbeat_s: 1,
        symbols: vec![Some("KO".to_owned()), None],
        first_reference: 1,
        prefix: String::new(),
        seed: None,
    }
}

/// An acceptor that keeps the reports it sent, and those that wait for a logon.
pub struct FixVenue {
    session: Session,
    connection: Option<u64>,
    sent: BTreeMap<u64, Vec<u8>>,
    waiting: VecDeque<(u32, Says)>,
    reports: u64,
}

struct Hearing<'a> {
    connection: u64,
    sent: &'a mut BTreeMap<u64, Vec<u8>>,
    port: &'a mut Port,
}

impl Outside for Hearing<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.port.wrote.entry(self.connection).or_default().extend_from_slice(bytes);
    }
    fn close(&mut self, _: &Closed) {
        self.port.closed.insert(self.connection);
    }
    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        if let Some(message) = message {
            self.sent.insert(seq, message.to_vec());
        }
    }
    fn received(&mut self, _: u64) {}
    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        self.sent.range(from..=to).for_each(|(seq, message)| each(*seq, message));
    }
    fn reset(&mut self, _: Nanos) {
        self.sent.clear();
    }
    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        self.port.messages.push(message.bytes().to_vec());
        Handled::Done
    }
}

impl FixVenue {
    pub fn new() -> Self {
        let mut settings = Settings::new(Role::Acceptor, Version::Fix44, "VENUE", "ME");
        settings.check_latency_s = None;
        let session = Session::new(settings, Stored::fresh(MIDNIGHT));
        Self { session, connection: None, sent: BTreeMap::new(), waiting: VecDeque::new(), reports: 0 }
    }

    fn call(&mut self, port: &mut Port, act: impl FnOnce(&mut Session, &mut Hearing<'_>)) {
        let Some(connection) = self.connection else { return };
        act(&mut self.session, &mut Hearing { connection, sent: &mut self.sent, port });
    }

    /// A second connection is dropped, the first is unaffected.
    pub fn on_connected(&mut self, connection: u64, now: Nanos, port: &mut Port) {
        if self.connection.is_some() {
            port.closed.insert(connection);
            return;
        }
        self.connection = Some(connection);
        self.call(port, |session, outside| session.on_connected(now, outside));
    }

    pub fn on_closed(&mut self, connection: u64, now: Nanos, port: &mut Port) {
        if self.connection == Some(connection) {
            self.call(port, |session, outside| session.on_closed(now, outside));
            self.connection = None;
        }
    }

    pub fn on_bytes(&mut self, connection: u64, bytes: &[u8], now: Nanos, port: &mut Port) {
        if self.connection == Some(connection) {
            self.call(port, |session, outside| session.on_bytes(bytes, now, outside));
            self.flush(now, port);
        }
    }

    pub fn on_tick(&mut self, now: Nanos, port: &mut Port) {
        self.call(port, |session, outside| session.on_tick(now, outside));
    }

    pub fn publish(&mut self, now: Nanos, reference: u32, says: Says, port: &mut Port) {
        self.waiting.push_back((reference, says));
        self.flush(now, port);
    }

    fn flush(&mut self, now: Nanos, port: &mut Port) {
        while self.session.is_logged_on()
            && let Some((reference, says)) = self.waiting.pop_front()
        {
            self.reports += 1;
            let body = body(self.reports, reference, says);
            let kind: &[u8] = if matches!(says, Says::CancelRejected | Says::ReplaceRejected) { b"9" } else { b"8" };
            self.call(port, |session, outside| {
                session.send(kind, |builder| builder.raw(body.as_bytes()), now, outside).expect("logged on");
            });
        }
    }
}

/// The body of a report.
fn body(number: u64, reference: u32, says: Says) -> String {
    let refused = |to: char| format!("37=1|11={reference}|41=1|39=0|434={to}|102=1|");
    let report = |kind: char, status: char, more: String| {
        format!("37=7|11={reference}|17=E{number}|150={kind}|39={status}|55=KO|54=1|14=0|6=0|{more}")
    };
    let decimal = |raw: u32| format!("{}.{:04}", raw / 10_000, raw % 10_000);
    let text = match says {
        Says::Accepted { shares, .. } => report('0', '0', format!("38={shares}|151={shares}|")),
        Says::Replaced { open, raw, .. } => report('5', '0', format!("151={open}|44={}|", decimal(raw))),
        Says::Cancelled { reason, .. } => {
            let asked = if reason == b'U' { "41=1|" } else { "" };
            report('4', '4', format!("{asked}151=0|"))
        }
        Says::Executed { shares, raw, execution, .. } => {
            report('F', '1', format!("32={shares}|31={}|151=1|527={execution}|", decimal(raw)))
        }
        Says::Rejected { code } => report('8', '8', format!("103={}|151=0|", code.min(99))),
        Says::CancelRejected => refused('1'),
        Says::ReplaceRejected => refused('2'),
        Says::Status { status } => report('I', status, format!("790={reference}|151=0|")),
        Says::Broken { execution } => report('H', '0', format!("19={execution}|151=0|")),
        other => panic!("not of FIX: {other:?}"),
    };
    text.replace('|', "\x01")
}

/// What an entry wrote, as words.
fn wrote(bytes: &[u8]) -> Vec<String> {
    let (mut lines, mut fields, mut rest) = (Vec::new(), Fields::new(), bytes);
    while let helios_wire::fix::Framed::Message { bytes, used } = helios_wire::fix::frame(rest) {
        let message = fields.parse(bytes, Dictionary::of(Version::Fix44)).expect("ours");
        let kind = message.text(35).expect("a type");
        let shown = [11, 41, 54, 38, 40, 44, 59, 99, 18, 111, 36].iter();
        let shown: Vec<String> = shown.filter_map(|tag| Some(format!("{tag}={}", message.text(*tag)?))).collect();
        lines.push(format!("{kind} {}", shown.join(" ")).trim_end().to_owned());
        rest = &rest[used..];
    }
    lines
}

/// Collects writes as words, the rest as [`Log`] does.
struct FixLog {
    log: Log,
    bytes: Vec<u8>,
}

impl helios_live::EntryOut for FixLog {
    fn event(&mut self, event: helios_types::Event) {
        self.log.event(event);
    }
    fn connect(&mut self) {
        self.log.connect();
    }
    fn write(&mut self, bytes: &[u8]) {
        assert!(!bytes.windows(7).any(|window| window == b"hunter2") || bytes.windows(5).any(|w| w == b"\x0135=A"));
        self.bytes.extend_from_slice(bytes);
        self.log.lines.extend(wrote(bytes));
    }
    fn close(&mut self) {
        self.log.close();
    }
    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.log.note(text);
    }
}

struct Line {
    entry: Entry,
    out: FixLog,
    venue: FixVenue,
    port: Port,
    now: Nanos,
    number: u64,
}

impl Line {
    fn new() -> Self {
        let mut line = Self {
            entry: Entry::fix(&fix_config()).expect("sound"),
            out: FixLog { log: Log::new(helios_live::Protocol::Ouch50), bytes: Vec::new() },
            venue: FixVenue::new(),
            port: Port::default(),
            now: at(0.0),
            number: 0,
        };
        line.connect();
        line
    }

    fn connect(&mut self) {
        self.now = self.now.max(self.entry.next_tick().expect("it wants to connect"));
        self.entry.on_tick(self.now, &mut self.out);
        self.number += 1;
        self.venue.on_connected(self.number, self.now, &mut self.port);
        self.entry.on_connected(self.now, &mut self.out);
    }

    /// Both ways until nothing is under way; what the venue is asked is answered by `answer`.
    fn exchange(&mut self, mut answer: impl FnMut(&mut FixVenue, &Message<'_>, Nanos, &mut Port)) -> Vec<String> {
        loop {
            let ours = std::mem::take(&mut self.out.bytes);
            let theirs = self.port.wrote.remove(&self.number).unwrap_or_default();
            if ours.is_empty() && theirs.is_empty() {
                return self.out.log.taken().into_iter().filter(|line| !line.starts_with("heard")).collect();
            }
            self.venue.on_bytes(self.number, &ours, self.now, &mut self.port);
            for message in std::mem::take(&mut self.port.messages) {
                let mut fields = Fields::new();
                let message = fields.parse(&message, Dictionary::of(Version::Fix44)).expect("it was read before");
                answer(&mut self.venue, &message, self.now, &mut self.port);
            }
            // In pieces: the cut does not matter.
            theirs.chunks(5).for_each(|piece| self.entry.on_bytes(piece, self.now, &mut self.out));
        }
    }

    /// The same where the venue knows no order that it is asked about.
    fn settle(&mut self) -> Vec<String> {
        self.exchange(|venue, message, now, port| {
            if message.msg_type() == b"H" {
                let reference = message.get_u64(11).expect("a number") as u32;
                venue.publish(now, reference, Says::Status { status: '8' }, port);
            }
        })
    }

    fn says(&mut self, reference: u32, says: Says) -> Vec<String> {
        self.venue.publish(self.now, reference, says, &mut self.port);
        self.settle()
    }

    fn send(&mut self, output: &Output) -> Vec<String> {
        self.entry.send(output, self.now, &mut self.out);
        self.out.log.taken()
    }

    fn lose(&mut self) -> Vec<String> {
        self.out.bytes.clear();
        self.port.wrote.clear();
        self.venue.on_closed(self.number, self.now, &mut self.port);
        self.entry.on_closed(self.now, &mut self.out);
        self.out.log.taken().into_iter().filter(|line| !line.starts_with("heard")).collect()
    }
}

/// An entry whose venue has told all.
pub fn logged_on(entry: Entry) -> Entry {
    let mut line = Line::new();
    line.entry = entry;
    (line.venue, line.port, line.number) = (FixVenue::new(), Port::default(), 0);
    line.out.bytes.clear();
    line.connect();
    line.settle();
    assert!(line.entry.is_settled());
    line.entry
}

const KO: InstrumentId = InstrumentId(0);

fn submit(id: u64) -> Output {
    Output::Submit(order(id, Side::Sell, 500, Price::whole(10), TimeInForce::Day))
}

#[test]
fn a_day_without_trouble() {
    let mut line = Line::new();
    assert_eq!(line.settle(), ["down", "connect", "A", "up", "H 11=0 54=1", "settled"]);
    assert_eq!(line.send(&submit(1)), ["D 11=1 54=2 38=500 40=2 44=10 59=0"]);
    line.settle();
    assert_eq!(line.says(1, Says::Accepted { shares: 500, book: 7, dead: false }), ["report 1 accepted book 7"]);
    let executed = Says::Executed { shares: 100, raw: 99_900, execution: 41, flag: b'A' };
    assert_eq!(line.says(1, executed), ["report 1 filled 100 @ 9.99 execution 41"]);
    assert_eq!(line.says(1, executed), Vec::<String>::new(), "an execution is told once");
    let replace =
        Output::Replace { order: OrderId(1), instrument: KO, quantity: Quantity::whole(600), price: Price::whole(11) };
    assert_eq!(line.send(&replace), ["G 11=2 41=1 54=2 38=600 40=2 44=11 59=0"]);
    line.settle();
    let replaced = Says::Replaced { open: 500, raw: 110_000, dead: false };
    assert_eq!(line.says(2, replaced), ["report 1 replaced to 600 @ 11"]);
    assert_eq!(line.send(&Output::Cancel { order: OrderId(1), instrument: KO }), ["F 11=3 41=2 54=2 38=600"]);
    line.settle();
    assert_eq!(line.says(3, Says::CancelRejected), ["report 1 change_rejected UnknownOrder"]);
    assert_eq!(line.says(2, Says::Cancelled { shares: 0, reason: b'I' }), ["report 1 cancelled unfilled"]);
    assert_eq!(line.send(&submit(2)), ["D 11=4 54=2 38=500 40=2 44=10 59=0"]);
    line.settle();
    assert_eq!(line.says(4, Says::Rejected { code: 13 }), ["report 2 rejected BadQuantity"]);
    let broken = line.says(2, Says::Broken { execution: 41 });
    assert!(broken[0].contains("execution 41 of order 1 is void"), "{broken:?}");
}

#[test]
fn what_was_lost_is_asked_for_and_nothing_is_sent_again() {
    let mut line = Line::new();
    line.settle();
    line.send(&submit(1));
    line.settle();
    // The venue answers, and the answer is lost; the second order is lost.
    line.venue.publish(line.now, 1, Says::Accepted { shares: 500, book: 7, dead: false }, &mut line.port);
    line.send(&submit(2));
    assert_eq!(line.lose(), ["down"]);
    line.connect();
    let told = line.exchange(|venue, message, now, port| {
        if message.msg_type() == b"H" {
            assert_eq!(message.get(11), Some(b"2".as_slice()), "the fate of the first was told by the resend");
            venue.publish(now, 2, Says::Status { status: '8' }, port);
        }
        assert_ne!(message.msg_type(), b"D", "an order was sent again");
    });
    let position =
        |what: &str| told.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {told:?}"));
    assert!(position("report 1 accepted") < position("report 2 rejected NeverArrived"));
    assert!(position("report 2 rejected NeverArrived") < position("settled"));
    assert!(told.iter().any(|line| line.starts_with("4 36=")), "lost numbers are filled: {told:?}");
}

#[test]
fn terms_are_said_as_fix_says_them() {
    use helios_types::Terms;
    let mut line = Line::new();
    line.settle();
    let with = |life, price, terms| {
        let plain = order(1, Side::Buy, 5, price, life);
        helios_types::Order { terms, ..plain }
    };
    let ten = Price::whole(10);
    let rows = [
        (with(TimeInForce::Ioc, Price::UNDEFINED, Terms::PLAIN), "40=1 59=3"),
        (with(TimeInForce::Fok, ten, Terms::PLAIN), "40=2 44=10 59=4"),
        (with(TimeInForce::Close, ten, Terms::PLAIN), "40=2 44=10 59=7"),
        (with(TimeInForce::Day, ten, Terms { post_only: true, ..Terms::PLAIN }), "40=2 44=10 59=0 18=6"),
        (with(TimeInForce::Day, ten, Terms { midpoint: true, ..Terms::PLAIN }), "40=P 44=10 59=0 18=M"),
        (with(TimeInForce::Day, ten, Terms { display: Quantity::ZERO, ..Terms::PLAIN }), "40=2 44=10 59=0 111=0"),
        (with(TimeInForce::Day, Price::UNDEFINED, Terms { stop: ten, ..Terms::PLAIN }), "40=3 59=0 99=10"),
    ];
    for (n, (mut order, expected)) in rows.into_iter().enumerate() {
        order.id = OrderId(n as u64 + 1);
        order.quantity = Quantity(50_000_000);
        let reference = n + 1;
        assert_eq!(line.send(&Output::Submit(order)), [format!("D 11={reference} 54=1 38=0.5 {expected}")]);
    }
}

/// What a drop copy asks for.
#[derive(Default)]
struct Heard {
    traded: Vec<String>,
    bytes: Vec<u8>,
    asked: Vec<String>,
}

impl DropCopyOut for Heard {
    fn traded(&mut self, t: &Traded<'_>) {
        self.traded.push(format!("{} {} {:?} {} @ {}", t.order, t.execution, t.side, t.quantity, t.price));
    }
    fn connect(&mut self) {
        self.asked.push("connect".to_owned());
    }
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    fn close(&mut self) {
        self.asked.push("close".to_owned());
    }
    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.asked.push(text.to_string());
    }
}

/// Found by fuzzing: the difference of two such reports does not fit a quantity.
#[test]
fn an_execution_that_is_told_again_for_the_other_side_is_counted_whole() {
    let mut copy = DropCopy::new(&fix_config()).expect("sound");
    let mut heard = Heard::default();
    copy.on_tick(at(0.0), &mut heard);
    copy.on_connected(at(0.0), &mut heard);
    let mut says = |number: u64, msg_type: &[u8], fields: &[(u32, &str)]| {
        let mut builder = helios_wire::fix::Builder::new();
        builder.begin(b"FIX.4.4", msg_type);
        builder.number(34, number);
        builder.field(49, b"VENUE");
        builder.timestamp(52, at(0.0), helios_wire::fix::Precision::Seconds);
        builder.field(56, b"ME");
        fields.iter().for_each(|(tag, value)| builder.field(*tag, value.as_bytes()));
        copy.on_bytes(builder.finish(), at(0.0), &mut heard);
        copy.position(InstrumentId(0))
    };
    says(1, b"A", &[(98, "0"), (108, "1"), (141, "Y")]);
    for (number, side, shares, expected) in
        [(2, "1", "92233720368", 92_233_720_368), (3, "2", "92233720368", -92_233_720_368), (4, "1", "5", 5)]
    {
        let report = [(37, "1"), (17, "5"), (150, "F"), (39, "1"), (11, "1"), (55, "KO"), (54, side), (32, shares)];
        let rest = [(31, "10"), (151, "5"), (14, "5"), (6, "10")];
        let position = says(number, b"8", &[report.as_slice(), &rest].concat());
        assert_eq!(position, Quantity::whole(expected));
    }
}

/// Counts how often the connection is closed.
struct Closes(u32);

impl helios_live::EntryOut for Closes {
    fn event(&mut self, _: helios_types::Event) {}
    fn connect(&mut self) {}
    fn write(&mut self, _: &[u8]) {}
    fn close(&mut self) {
        self.0 += 1;
    }
    fn note(&mut self, _: std::fmt::Arguments<'_>) {}
}

/// Found by fuzzing: a session that is stopped before its logon was answered closed its connection twice.
#[test]
fn a_connection_is_closed_once() {
    let (mut copy, mut heard) = (DropCopy::new(&fix_config()).expect("sound"), Heard::default());
    copy.on_tick(at(0.0), &mut heard);
    copy.on_connected(at(0.0), &mut heard);
    copy.stop(at(0.1), &mut heard);
    assert_eq!(heard.asked.iter().filter(|asked| *asked == "close").count(), 1, "{:?}", heard.asked);

    let (mut entry, mut closed) = (Entry::fix(&fix_config()).expect("sound"), Closes(0));
    entry.on_tick(at(0.0), &mut closed);
    entry.on_connected(at(0.0), &mut closed);
    entry.stop(at(0.1), &mut closed);
    assert_eq!(closed.0, 1);
}

#[test]
fn a_drop_copy_counts_an_execution_once() {
    let mut copy = DropCopy::new(&fix_config()).expect("sound");
    let (mut venue, mut port, mut heard) = (FixVenue::new(), Port::default(), Heard::default());
    let talk = |copy: &mut DropCopy, venue: &mut FixVenue, port: &mut Port, heard: &mut Heard, number: u64| {
        loop {
            let (ours, theirs) = (std::mem::take(&mut heard.bytes), port.wrote.remove(&number).unwrap_or_default());
            if ours.is_empty() && theirs.is_empty() {
                return std::mem::take(&mut heard.traded);
            }
            venue.on_bytes(number, &ours, at(1.0), port);
            theirs.chunks(7).for_each(|piece| copy.on_bytes(piece, at(1.0), heard));
        }
    };
    let says = [
        Says::Accepted { shares: 500, book: 7, dead: false },
        Says::Executed { shares: 100, raw: 99_900, execution: 41, flag: b'A' },
        Says::Executed { shares: 50, raw: 100_000, execution: 42, flag: b'A' },
        Says::Executed { shares: 50, raw: 100_000, execution: 42, flag: b'A' },
        Says::Broken { execution: 41 },
    ];
    for connection in 1..3 {
        copy.on_tick(at(1.0), &mut heard);
        venue.on_connected(connection, at(1.0), &mut port);
        copy.on_connected(at(1.0), &mut heard);
        // The day is told from its beginning at each logon.
        says[..2 + connection as usize].iter().for_each(|said| venue.publish(at(1.0), 9, *said, &mut port));
        let traded = talk(&mut copy, &mut venue, &mut port, &mut heard, connection);
        if connection == 1 {
            assert_eq!(traded, ["9 41 Buy 100 @ 9.99", "9 42 Buy 50 @ 10"]);
        } else {
            assert!(traded.is_empty(), "told again: {traded:?}");
        }
        assert_eq!(copy.position(KO), Quantity::whole(150));
        copy.on_closed(at(1.0), &mut heard);
        venue.on_closed(connection, at(1.0), &mut port);
    }
    copy.on_tick(at(9.0), &mut heard);
    venue.on_connected(3, at(9.0), &mut port);
    copy.on_connected(at(9.0), &mut heard);
    venue.publish(at(9.0), 9, says[4], &mut port);
    assert_eq!(talk(&mut copy, &mut venue, &mut port, &mut heard, 3), ["9 41 Buy 0 @ 0"]);
    assert_eq!((copy.position(KO), copy.counts()), (Quantity::whole(50), (2, 0)));
}

/// Fields of reports with values that are often sound.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let tags = [6, 11, 14, 17, 19, 31, 32, 37, 38, 39, 41, 44, 45, 54, 55, 60, 102, 103, 150, 151, 434, 527, 790, 851];
    let value = prop_oneof![
        "[0-9]{1,3}",
        "-?[0-9]{0,25}[.]?[0-9]{0,25}",
        select(vec!["F", "0", "4", "5", "8", "D", "G", "H", "I", "KO"]).prop_map(str::to_owned),
        "[ -~]{0,9}",
    ];
    vec((select(tags.to_vec()), value), 0..24).prop_map(|mut fields| {
        fields.sort_by_key(|(tag, _)| *tag);
        fields.dedup_by_key(|(tag, _)| *tag);
        fields.iter().map(|(tag, value)| format!("{tag}={value}\x01")).collect::<String>().into_bytes()
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(
        garbage in vec(any::<u8>(), 0..200),
        reports in vec((select(b"89j3".as_slice()), fields()), 0..20),
        rules in any::<bool>(),
    ) {
        let mut line = Line::new();
        line.settle();
        for id in 1..4 {
            line.send(&submit(id));
        }
        line.settle();
        let mut session = std::mem::replace(&mut line.venue, FixVenue::new()).session;
        let (mut port, mut sent) = (Port::default(), BTreeMap::new());
        for (kind, body) in &reports {
            let mut outside = Hearing { connection: 1, sent: &mut sent, port: &mut port };
            let _ = session.send(&[*kind], |builder| {
                if rules {
                    builder.raw(b"37=1\x0117=2\x01150=F\x0139=1\x0154=1\x01151=5\x0114=1\x016=1\x0155=KO\x01");
                }
                builder.raw(body);
            }, line.now, &mut outside);
        }
        let mut copy = DropCopy::new(&fix_config()).expect("sound");
        let mut heard = Heard::default();
        copy.on_connected(line.now, &mut heard);
        let stream = port.wrote.remove(&1).unwrap_or_default();
        for bytes in [stream, garbage] {
            line.entry.on_bytes(&bytes, line.now, &mut line.out);
            copy.on_bytes(&bytes, line.now, &mut heard);
        }
        line.entry.on_tick(line.now.plus(100_000_000_000), &mut line.out);
        prop_assert!(!line.entry.is_settled());
    }
}
