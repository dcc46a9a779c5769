//! Order entry by OUCH and by FIX, and the drop copy: venues that say anything, connections that are cut, processes that
//! are killed and go on from their journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use helios_live::{DropCopy, DropCopyOut, Entry, EntryConfig, EntryOut, FixConfig, Protocol, Recorded, Secret, Traded};
use helios_types::{
    Event, InstrumentId, Link, Nanos, Order, OrderId, Output, Price, Quantity, ReportKind, Side, StrategyId, Terms,
    TimeInForce,
};
use helios_wire::fix::Version;
use helios_wire::soupbintcp::{self, LoginAccepted, Packet};
use helios_wire::{Layout, ouch, ouch42};

use crate::fix::{self, Counterparty};
use crate::script::{SECRET, Script, Writing};
use crate::wire::Wire;

const SESSION: u32 = 3;

/// How requests are told from everything else that a session writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Ouch(Protocol),
    Fix,
}

/// The world of one session, over all its lives.
struct World {
    spoken: Spoken,
    wire: Wire,
    /// What the journal holds, in order.
    journal: Vec<Kept>,
    /// An output of the engine is being sent: only then may a request go out.
    sending: bool,
    /// References that were used on the wire.
    used: BTreeSet<u64>,
    orders: u64,
    fills: BTreeSet<(OrderId, u64)>,
    up: bool,
    settled: bool,
    /// The FIX logon asked for new numbers.
    resets: bool,
    /// References of the FIX requests of this connection, by number: no others may be sent again.
    numbers: BTreeMap<u64, u64>,
}

enum Kept {
    Input(Event),
    Output(Output),
}

impl World {
    fn request(&mut self, reference: Option<u64>) {
        assert!(self.sending, "a request goes out that the engine did not make");
        if let Some(reference) = reference {
            assert!(self.used.insert(reference), "reference {reference} goes out twice");
        }
    }

    fn ouch50(&mut self, body: &[u8]) {
        use ouch::inbound::Message as M;
        match ouch::inbound::decode(body).expect("a session writes messages").message {
            M::EnterOrder(m) => self.request(Some(m.user_ref_num().into())),
            M::ReplaceOrder(m) => self.request(Some(m.user_ref_num().into())),
            M::CancelOrder(_) => self.request(None),
            M::AccountQuery(_) => {}
            other => panic!("not of this session: {other:?}"),
        }
    }

    fn ouch42(&mut self, body: &[u8]) {
        use ouch42::inbound::Message as M;
        let number = |token: &[u8; 14]| {
            let text = std::str::from_utf8(helios_wire::text(token)).expect("ASCII");
            Some(text.parse().expect("a number"))
        };
        match ouch42::inbound::decode(body).expect("a session writes messages") {
            M::EnterOrder(m) => self.request(number(m.order_token())),
            M::ReplaceOrder(m) => self.request(number(m.replacement_order_token())),
            M::CancelOrder(_) => self.request(None),
            other => panic!("not of this session: {other:?}"),
        }
    }

    fn fix(&mut self, bytes: &[u8]) {
        fix::written(bytes, Version::Fix44, |message| match message.msg_type() {
            b"D" | b"F" | b"G" => {
                let number = message.seq_num().expect("every message has a number");
                let reference = message.get_u64(11).expect("a number");
                if message.is_yes(43) {
                    let before = self.numbers.get(&number);
                    assert_eq!(before, Some(&reference), "a request of another connection, or number, is sent again");
                } else {
                    self.request(Some(reference));
                    self.numbers.insert(number, reference);
                }
            }
            b"A" => self.resets |= message.is_yes(141),
            _ => {}
        });
    }
}

impl EntryOut for World {
    fn event(&mut self, event: Event) {
        match &event {
            Event::Link(Link::Down { session: SESSION }) => (self.up, self.settled) = (false, false),
            Event::Link(Link::Up { session: SESSION }) => {
                assert!(!std::mem::replace(&mut self.up, true), "up twice");
            }
            Event::Link(Link::Settled { session: SESSION }) => {
                assert!(self.up && !std::mem::replace(&mut self.settled, true), "settled while up, once");
            }
            Event::Link(Link::Heard { session: SESSION, .. }) => {}
            Event::Report(report) => {
                assert!((1..=self.orders).contains(&report.order.0), "a report of no order of ours");
                if let ReportKind::Filled { execution, quantity, .. } = report.kind
                    && execution != 0
                {
                    assert!(quantity.0 > 0, "a fill of nothing");
                    assert!(self.fills.insert((report.order, execution)), "an execution counts twice");
                }
            }
            other => panic!("no event of order entry: {other:?}"),
        }
        self.journal.push(Kept::Input(event));
    }

    fn connect(&mut self) {
        self.wire.connect();
        self.numbers.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        self.wire.write();
        let Spoken::Ouch(protocol) = self.spoken else { return self.fix(bytes) };
        let mut rest = bytes;
        while let Some((packet, length)) = soupbintcp::decode(rest).expect("a session writes packets") {
            match packet {
                Packet::UnsequencedData(body) if protocol == Protocol::Ouch50 => self.ouch50(body),
                Packet::UnsequencedData(body) => self.ouch42(body),
                _ => {}
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "whole packets");
    }

    fn close(&mut self) {
        self.wire.close();
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        assert!(!text.to_string().contains(SECRET), "a secret in a note");
    }
}

/// The other side of a session, as far as the script does not say it all.
trait Venue {
    fn login(&mut self, script: &mut Script<'_>, now: Nanos) -> Vec<u8>;
    fn says(&mut self, script: &mut Script<'_>, now: Nanos) -> Vec<u8>;
    /// The client's logon asked for new numbers.
    fn reset(&mut self) {}
}

struct OuchVenue(Protocol);

impl Venue for OuchVenue {
    fn login(&mut self, script: &mut Script<'_>, _: Nanos) -> Vec<u8> {
        let (name, next) = (["S1", "S2"][script.below(8) / 7], script.number().unsigned_abs());
        let mut bytes = Vec::new();
        Packet::LoginAccepted(LoginAccepted::new(name, next).expect("short")).append_to(&mut bytes);
        bytes
    }

    /// A message of any layout about one of our references, or any packet.
    fn says(&mut self, script: &mut Script<'_>, _: Nanos) -> Vec<u8> {
        if script.below(8) == 7 {
            return crate::soup::packet(script);
        }
        let layouts = match self.0 {
            Protocol::Ouch50 => ouch::outbound::LAYOUTS,
            Protocol::Ouch42 => ouch42::outbound::LAYOUTS,
        };
        let layout: &Layout = layouts[script.below(layouts.len())];
        let mut bytes = vec![0; layout.length];
        bytes[0] = layout.kind;
        let reference = script.byte();
        for field in layout.fields {
            let place = &mut bytes[field.offset..field.offset + field.size];
            match field.name {
                "user_ref_num" | "next_user_ref_num" => place[3] = reference,
                "orig_user_ref_num" => place[3] = reference.saturating_sub(1),
                "order_token" | "replacement_order_token" => token(place, reference),
                "previous_order_token" => token(place, reference.saturating_sub(1)),
                "quantity" | "shares" | "executed_shares" | "decrement_shares" | "canceled_shares" => {
                    match script.byte() {
                        255 => place.fill(0xFF),
                        few => place[field.size - 1] = few,
                    }
                }
                "match_number" => place[7] = script.byte(),
                "price" | "execution_price" => place[field.size - 2] = script.byte(),
                "order_state" => place[0] = *b"LD".get(script.below(2)).expect("a letter"),
                "reason" | "liquidity_flag" | "event_code" => place[field.size - 1] = script.byte(),
                "timestamp" => place[2] = script.byte(),
                _ => {}
            }
        }
        let mut out = Vec::new();
        Packet::SequencedData(&bytes).append_to(&mut out);
        out
    }
}

fn token(place: &mut [u8], reference: u8) {
    let text = format!("{reference:<14}");
    place.copy_from_slice(text.as_bytes());
}

impl Venue for Counterparty {
    fn login(&mut self, script: &mut Script<'_>, now: Nanos) -> Vec<u8> {
        self.logon(script.below(2) == 1, now)
    }

    fn says(&mut self, script: &mut Script<'_>, now: Nanos) -> Vec<u8> {
        self.message(script, &["8", "9", "0", "1", "2", "3", "4", "5", "j"], now)
    }

    fn reset(&mut self) {
        self.next = 1;
    }
}

/// An output of the engine: a new order, or something about one of those before.
fn output(script: &mut Script<'_>, world: &mut World) -> Output {
    let (kind, instrument) = (script.below(8), InstrumentId(0));
    let price = Price(script.number().saturating_mul(100_000_000));
    let quantity = Quantity(script.number().saturating_mul(100_000_000));
    let order = OrderId(1 + script.below(255) as u64 % world.orders.max(1));
    match kind {
        0 if world.orders > 0 => Output::Cancel { order, instrument },
        1 | 2 if world.orders > 0 => Output::Replace { order, instrument, quantity, price },
        _ => {
            world.orders += 1;
            let (side, time_in_force) =
                if kind < 5 { (Side::Buy, TimeInForce::Day) } else { (Side::Sell, TimeInForce::Ioc) };
            let (id, strategy, terms) = (OrderId(world.orders), StrategyId(0), Terms::PLAIN);
            Output::Submit(Order { id, strategy, instrument, side, quantity, price, time_in_force, terms })
        }
    }
}

/// One session, over several lives.
fn drive(script: &mut Script<'_>, spoken: Spoken, fresh: impl Fn() -> Entry, venue: &mut impl Venue, begin: Nanos) {
    let mut out = World {
        spoken,
        wire: Wire::Idle,
        journal: Vec::new(),
        sending: false,
        used: BTreeSet::new(),
        orders: 0,
        fills: BTreeSet::new(),
        up: false,
        settled: false,
        resets: false,
        numbers: BTreeMap::new(),
    };
    let (mut entry, mut now, mut stopped) = (fresh(), begin, false);
    entry.on_tick(now, &mut out);
    while let Some(step) = script.step() {
        match step & 7 {
            0 => now = now.plus(script.wait()).min(begin.plus(1 << 50)),
            1 => now = entry.next_tick().map_or(now, |at| at.max(now)).min(begin.plus(1 << 50)),
            2 if out.wire.connects() => {
                entry.on_connected(now, &mut out);
                if step & 16 == 0 && out.wire.is_up() {
                    let login = venue.login(script, now);
                    entry.on_bytes(&login, now, &mut out);
                }
            }
            2 if out.wire.fails() => entry.on_closed(now, &mut out),
            3 if !stopped => {
                let output = output(script, &mut out);
                out.journal.push(Kept::Output(output));
                out.sending = true;
                entry.send(&output, now, &mut out);
                out.sending = false;
            }
            4 if script.below(16) == 15 => {
                stopped = true;
                entry.stop(now, &mut out);
            }
            // Killed: what the journal holds is all that is known.
            4 => {
                (entry, stopped, out.wire) = (fresh(), false, Wire::Idle);
                for kept in &out.journal {
                    entry.recover(&match kept {
                        Kept::Input(event) => Recorded::Input(event),
                        Kept::Output(output) => Recorded::Output(output),
                    });
                }
                (out.up, out.settled) = (false, false);
                entry.on_tick(now, &mut out);
            }
            5 if out.wire.is_up() => entry.on_bytes(script.text(), now, &mut out),
            _ if out.wire.is_up() => {
                let says = venue.says(script, now);
                entry.on_bytes(&says, now, &mut out);
            }
            _ => {}
        }
        if step & 8 != 0 {
            entry.on_tick(now, &mut out);
        }
        if std::mem::take(&mut out.resets) {
            venue.reset();
        }
        assert_eq!(entry.is_settled(), out.settled, "what is told is what is");
    }
}

fn config(protocol: Protocol) -> EntryConfig {
    EntryConfig {
        name: "X".to_owned(),
        session: SESSION,
        protocol,
        user: "me".to_owned(),
        password: Secret::new(SECRET),
        symbols: vec![Some("KO".to_owned()), None],
        midnight: Nanos(1_700_000_000_000_000_000),
        first_reference: 1,
        token_prefix: String::new(),
        timeout_ms: None,
        seed: None,
    }
}

/// OUCH 4.2 or 5.0: a request goes out only for an output of the engine, no reference twice in all lives, no execution
/// counts twice, and links are told as they stand.
pub fn entry_ouch(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let protocol = [Protocol::Ouch42, Protocol::Ouch50][script.below(2)];
    let fresh = || Entry::new(config(protocol)).expect("a sound configuration");
    let begin = config(protocol).midnight.plus(1 << 45);
    drive(&mut script, Spoken::Ouch(protocol), fresh, &mut OuchVenue(protocol), begin);
}

fn fix_config() -> FixConfig {
    FixConfig {
        name: "X".to_owned(),
        session: SESSION,
        sender: "ME".to_owned(),
        target: "VENUE".to_owned(),
        user: Some("me".to_owned()),
        password: Some(Secret::new(SECRET)),
        heartbeat_s: 1,
        symbols: vec![Some("KO".to_owned()), None],
        first_reference: 1,
        prefix: String::new(),
        seed: None,
    }
}

/// The same for FIX 4.4; and what is asked for again was sent over the same connection, under its number.
pub fn entry_fix(bytes: &[u8]) {
    let fresh = || Entry::fix(&fix_config()).expect("a sound configuration");
    let mut venue = Counterparty::new(Version::Fix44, "VENUE", "ME");
    drive(&mut Script::new(bytes), Spoken::Fix, fresh, &mut venue, fix::BEGIN);
}

pub(crate) fn ouch_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (protocol, layouts) in [(0, ouch42::outbound::LAYOUTS), (1, ouch::outbound::LAYOUTS)] {
        let orders = [2, 0, 1, 3, 3, 10, 100, 0, 3, 5, 10, 100, 0];
        // Everything that the venue can say of the first order; then killed, and again.
        let about = |at: usize| [6, 0, at as u8, 1, 10, 10, 10, 10, 10, 10];
        for at in 0..layouts.len() {
            let script = [[protocol].as_slice(), &orders, &about(at), &[4, 0, 10, 0, 1], &about(at)].concat();
            seeds.push(script);
        }
        let all: Vec<u8> = (0..layouts.len()).flat_map(about).collect();
        let changes = [3, 0, 0, 0, 0, 3, 1, 20, 50, 0, 2, 9, 9, 2, 0, 1];
        seeds.push([[protocol].as_slice(), &orders, &changes, &all, &[9, 9, 9, 2, 9, 9, 2, 0, 1, 9]].concat());
    }
    seeds
}

pub(crate) fn fix_seeds() -> Vec<Vec<u8>> {
    let report = |kind: &str, more: &str| {
        let body = format!("37=1|17=5|150={kind}|39=1|11=1|55=KO|54=1|151=5|14=5|6=10|{more}");
        Writing::default().then(&[6, 0, 0, 0]).text(body.as_bytes()).bytes()
    };
    let orders = [2, 1, 3, 3, 10, 100, 0, 3, 5, 10, 100, 0];
    let scripts = [
        [report("0", ""), report("F", "32=5|31=10|"), report("F", "32=5|31=10|"), report("4", "")].concat(),
        [report("8", "103=1|58=no|"), report("I", "790=1|"), report("5", "41=1|44=10|38=7|"), report("H", "")].concat(),
        [vec![3, 0, 0, 0, 0, 6, 1, 0, 0, 21], b"11=3|41=1|434=1|39=0|".to_vec(), vec![4, 0, 10, 0]].concat(),
        [report("0", ""), vec![4, 0, 2, 0], report("F", "32=5|31=10|"), vec![6, 4, 0, 0, 9]].concat(),
        [report("0", ""), Writing::default().then(&[6, 4, 0, 0]).text(b"7=1|16=0|").bytes(), vec![9, 9, 9]].concat(),
    ];
    scripts.into_iter().map(|script| [&orders, script.as_slice()].concat()).collect()
}

/// What a drop copy tells.
#[derive(Default)]
struct Told {
    wire: Wire,
    executions: BTreeMap<(String, u64), i64>,
    resets: bool,
}

impl DropCopyOut for Told {
    fn traded(&mut self, traded: &Traded<'_>) {
        assert!(traded.quantity.0 >= 0 && traded.instrument == InstrumentId(0));
        let signed = traded.side.sign() * traded.quantity.0;
        let before = self.executions.insert((traded.order.to_owned(), traded.execution), signed);
        assert_ne!(before, Some(signed), "an execution is told twice");
    }

    fn connect(&mut self) {
        self.wire.connect();
    }

    fn write(&mut self, bytes: &[u8]) {
        self.wire.write();
        fix::written(bytes, Version::Fix44, |message| {
            assert!(matches!(message.msg_type(), b"A" | b"0" | b"1" | b"2" | b"3" | b"4" | b"5" | b"j"));
            self.resets |= message.is_yes(141);
        });
    }

    fn close(&mut self) {
        self.wire.close();
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        assert!(!text.to_string().contains(SECRET), "a secret in a note");
    }
}

/// The drop copy: an execution is told once, or again where it is told otherwise, and positions are their sum.
pub fn drop_copy(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut copy = DropCopy::new(&fix_config()).expect("a sound configuration");
    let mut venue = Counterparty::new(Version::Fix44, "VENUE", "ME");
    let (mut out, mut now) = (Told::default(), fix::BEGIN);
    copy.on_tick(now, &mut out);
    while let Some(step) = script.step() {
        match step & 7 {
            0 => now = now.plus(script.wait()).min(fix::BEGIN.plus(1 << 50)),
            1 => now = copy.next_tick().map_or(now, |at| at.max(now)).min(fix::BEGIN.plus(1 << 50)),
            2 if out.wire.connects() => {
                copy.on_connected(now, &mut out);
                if step & 16 == 0 && out.wire.is_up() {
                    let logon = venue.logon(true, now);
                    copy.on_bytes(&logon, now, &mut out);
                }
            }
            2 if out.wire.fails() => copy.on_closed(now, &mut out),
            3 if script.below(16) == 15 => copy.stop(now, &mut out),
            4 if out.wire.is_up() => copy.on_bytes(script.text(), now, &mut out),
            _ if out.wire.is_up() => {
                let message = venue.message(&mut script, &["8", "8", "8", "0", "1", "2", "4", "5"], now);
                copy.on_bytes(&message, now, &mut out);
            }
            _ => {}
        }
        if step & 8 != 0 {
            copy.on_tick(now, &mut out);
        }
        if std::mem::take(&mut out.resets) {
            venue.next = 1;
        }
        let sum: i128 = out.executions.values().map(|signed| i128::from(*signed)).sum();
        let ends = i128::from(i64::MAX);
        assert_eq!(i128::from(copy.position(InstrumentId(0)).0), sum.clamp(-ends, ends), "positions are the sum");
    }
}

pub(crate) fn drop_copy_seeds() -> Vec<Vec<u8>> {
    let report = |kind: &str, id: u32, side: u8, shares: &str, more: &str| {
        let body =
            format!("37=1|17={id}|150={kind}|39=1|11=1|55=KO|54={side}|32={shares}|31=10|151=5|14=5|6=10|{more}");
        Writing::default().then(&[5, 0, 0, 0]).text(body.as_bytes()).bytes()
    };
    let scripts = [
        [report("F", 5, 1, "5", ""), report("F", 5, 1, "5", ""), report("F", 6, 2, "7", "527=9|")].concat(),
        [report("F", 5, 1, "5", ""), report("H", 7, 1, "0", "19=5|"), report("G", 8, 1, "4", "19=5|")].concat(),
        [report("F", 5, 1, "92233720368", ""), report("F", 5, 2, "92233720368", "")].concat(),
        [report("F", 5, 1, "5", ""), vec![2, 9, 9, 2], report("F", 5, 1, "5", ""), vec![9, 9, 3, 15]].concat(),
    ];
    scripts.into_iter().map(|script| [[2].as_slice(), &script].concat()).collect()
}
