//! Market data: packets on lines, answers to requests, the snapshot session, time.

use std::fmt;

use helios_live::feed::{Join, ReceiverConfig, SnapshotLogin};
use helios_live::{Feed, FeedConfig, FeedOut};
use helios_types::{Event, Feed as About, InstrumentId, NANOS_PER_DAY, Nanos};
use helios_wire::moldudp64::{
    self, MAX_EARLY_BYTES, MAX_EARLY_PACKETS, Notice, PacketBuilder, Receiver, ReceiverOut, decode_request,
};
use helios_wire::soupbintcp::{LoginAccepted, Packet};
use helios_wire::{Layout, itch};

use crate::script::{SECRET, Script, Writing};
use crate::wire::Wire;

const MIDNIGHT: Nanos = Nanos(1_700_006_400_000_000_000);
const SESSIONS: [[u8; 10]; 2] = [*b"DAY1      ", *b"DAY2      "];
/// Time does not run on for ever: later than this is no time of a trading day.
const LATEST: Nanos = Nanos(MIDNIGHT.0 + 4 * NANOS_PER_DAY);
const OURS: [&str; 2] = ["KO", "PEP"];

/// How the receiver is to receive: all that a script can choose.
fn receiver_config(script: &mut Script<'_>) -> ReceiverConfig {
    ReceiverConfig {
        lines: 1 + script.below(3) as u8,
        session: (script.below(4) == 0).then_some(SESSIONS[0]),
        start: (script.below(2) == 0).then_some(1),
        wait_ns: [0, 2_000_000][script.below(2)],
        servers: script.below(3),
        timeout_ns: 100_000_000,
        attempts: 1 + script.below(3) as u32,
        window: [4, 1_000, 1_000_000][script.below(3)],
        silence_ns: 3_000_000_000,
    }
}

/// A number near the next that is wanted, or anywhere.
fn number(script: &mut Script<'_>, next: u64) -> u64 {
    match script.byte() {
        255 => script.word(),
        far @ 240.. => next.saturating_add(u64::from(far - 239) * 1_000),
        behind @ 200.. => next.saturating_sub(u64::from(behind - 199)),
        ahead => next.saturating_add(u64::from(ahead)),
    }
    .max(1)
}

/// What the message of this number says, in an honest stream.
fn content(session: usize, number: u64) -> Vec<u8> {
    let length = number % 5;
    [b'0' + session as u8].into_iter().chain(number.to_le_bytes()).chain((0..length).map(|_| b'.')).collect()
}

/// The receiver's word against a model of it.
#[derive(Default)]
struct Ordered {
    /// The number that must come next.
    next: Option<u64>,
    session: [u8; 10],
    servers: usize,
    /// A dishonest packet was among those that came.
    tainted: bool,
    gap: bool,
    ended: bool,
}

impl ReceiverOut for Ordered {
    fn message(&mut self, number: u64, bytes: &[u8]) {
        assert_eq!(Some(number), self.next, "each message once, in order");
        if !self.tainted {
            let session = usize::from(self.session == SESSIONS[1]);
            assert_eq!(bytes, content(session, number), "the message that was sent under this number");
        }
        self.next = number.checked_add(1);
    }

    fn request(&mut self, server: usize, bytes: &[u8; moldudp64::HEADER_LENGTH]) {
        let request = decode_request(bytes).expect("a request that a server takes");
        assert!(server < self.servers && request.session == self.session);
        assert!(Some(request.sequence_number) >= self.next, "what is there is not asked for");
        assert!(self.gap, "a request without a gap that is certain");
    }

    fn notice(&mut self, notice: Notice) {
        let _ = notice.to_string();
        match notice {
            // It may begin behind what it heard first: at a number that it was told, or beside a number of nonsense.
            Notice::Began { session, next, .. } => {
                (self.next, self.session, self.gap, self.ended) = (Some(next), session.0, false, false);
            }
            Notice::Gap { from, to } => {
                assert!(from < to && !self.gap, "a gap is said once");
                self.gap = true;
            }
            Notice::Filled => assert!(std::mem::take(&mut self.gap), "what was no gap is filled"),
            Notice::Lost { from, to } => {
                assert_eq!(Some(from), self.next, "what is lost is what would have come");
                assert!(from < to);
                self.next = Some(to);
            }
            Notice::Ended { next } => {
                // A venue that goes on behind its end is believed; the end is said once.
                assert_eq!(Some(next), self.next);
                assert!(!std::mem::replace(&mut self.ended, true), "a session ends once");
            }
            Notice::Changed { .. } => self.gap = false,
            Notice::Foreign { .. } | Notice::Stale | Notice::Fresh => {}
            Notice::LineDown { .. } | Notice::LineUp { .. } => {}
        }
    }
}

/// The receiver: whatever comes by whatever line, it gives out every message once, in order, and as it was sent; what it
/// keeps is bounded.
pub fn receiver(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let config = receiver_config(&mut script);
    let mut out = Ordered { servers: config.servers, ..Ordered::default() };
    let mut receiver = Receiver::new(config);
    let mut now = MIDNIGHT;
    receiver.on_tick(now, &mut out);
    while let Some(step) = script.step() {
        let line = step >> 6;
        match step & 7 {
            0 => now = now.plus(script.wait()).min(LATEST),
            1 => now = receiver.next_tick().max(now).min(LATEST),
            2 => {
                out.tainted = true;
                receiver.on_datagram(line, script.text(), now, &mut out);
            }
            3 => {
                let (session, next) = (SESSIONS[script.below(8) / 7], number(&mut script, receiver.next()));
                let end = script.below(16) == 15;
                let encode = if end { moldudp64::encode_end_of_session } else { moldudp64::encode_heartbeat };
                receiver.on_datagram(line, &encode(session, next), now, &mut out);
            }
            4 => {
                let next = number(&mut script, receiver.next());
                // A snapshot told what is before: neither lost nor given out.
                if receiver.session().is_some() && next > receiver.next() {
                    out.next = Some(next);
                    receiver.resume_at(next, now, &mut out);
                }
            }
            _ => {
                let (session, first) = (script.below(16) / 15, number(&mut script, receiver.next()));
                let mut builder = PacketBuilder::new(SESSIONS[session], first, 1_400);
                for at in 0..script.below(9) as u64 {
                    if let Some(number) = first.checked_add(at) {
                        let _ = builder.push(&content(session, number));
                    }
                }
                receiver.on_datagram(line, builder.bytes(), now, &mut out);
            }
        }
        if step & 8 != 0 {
            receiver.on_tick(now, &mut out);
        }
        let (packets, bytes) = receiver.waiting();
        assert!(packets <= MAX_EARLY_PACKETS && bytes <= MAX_EARLY_BYTES);
        assert!(receiver.next() <= receiver.known());
        assert!(out.next.is_none_or(|next| next == receiver.next()), "{:?} {}", out.next, receiver.next());
    }
}

pub(crate) fn receiver_seeds() -> Vec<Vec<u8>> {
    let config = Writing::default().then(&[1, 1, 0, 1, 1, 2, 1]);
    let packet = |step: u8, ahead: u8, count: u8| Writing::default().then(&[step, 0, ahead, count]).bytes();
    let scripts = [
        [packet(5, 0, 8), packet(69, 200, 8), packet(13, 0, 3)].concat(),
        // A gap, time to be certain of it, the answer; and one that nobody fills.
        [packet(5, 0, 4), packet(5, 3, 2), vec![9, 9, 9], packet(5, 0, 3), packet(5, 9, 1), vec![9; 12]].concat(),
        [packet(5, 0, 2), vec![3, 0, 0, 0, 3, 0, 5, 0, 9, 9, 4, 9], packet(5, 0, 1), vec![3, 0, 0, 15]].concat(),
        [packet(5, 0, 2), vec![3, 7, 0, 0, 0, 124, 8], vec![5, 15, 1, 3, 9, 9], vec![5, 15, 1, 3]].concat(),
    ];
    scripts.into_iter().map(|script| config.clone().then(&script).bytes()).collect()
}

/// What the feed says, and how its one connection stands.
#[derive(Default)]
struct Heard {
    wire: Wire,
    incomplete: Vec<bool>,
    servers: usize,
    events: u64,
}

impl FeedOut for Heard {
    fn event(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::Feed(About::Incomplete { instrument, .. }) => {
                let doubted = &mut self.incomplete[instrument.index()];
                assert!(!std::mem::replace(doubted, true), "told twice that an instrument is incomplete");
            }
            Event::Feed(About::Complete { instrument }) => {
                let doubted = &mut self.incomplete[instrument.index()];
                assert!(std::mem::replace(doubted, false), "complete without having been incomplete");
            }
            Event::Market(market) => assert!(market.instrument.index() < OURS.len(), "another instrument's event"),
            Event::Feed(_) => {}
            other => panic!("no event of a feed: {other:?}"),
        }
    }

    fn request(&mut self, server: usize, bytes: &[u8]) {
        decode_request(bytes).expect("a request that a server takes");
        assert!(server < self.servers);
    }

    fn connect(&mut self) {
        self.wire.connect();
    }

    fn write(&mut self, bytes: &[u8]) {
        self.wire.write();
        crate::soup::assert_whole(bytes);
    }

    fn close(&mut self) {
        self.wire.close();
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        assert!(!text.to_string().contains(SECRET), "a secret in a note");
    }
}

/// A message of the feed: a layout, a stock or an order, and content.
fn message(script: &mut Script<'_>) -> Vec<u8> {
    let layout: &Layout = itch::LAYOUTS[script.below(itch::LAYOUTS.len())];
    let mut bytes = vec![0; layout.length];
    bytes[0] = layout.kind;
    let locate = script.below(4) as u8;
    bytes[2] = locate;
    for field in layout.fields {
        let place = &mut bytes[field.offset..field.offset + field.size];
        match field.name {
            "stock" => {
                place.fill(b' ');
                let name = ["KO", "PEP", "IBM", "KO"][usize::from(locate)];
                place[..name.len()].copy_from_slice(name.as_bytes());
            }
            "timestamp" => place[3..].copy_from_slice(&[script.byte(), 0, 0]),
            name if name.contains("order_reference_number") => place[7] = script.byte() % 16,
            "shares" | "executed_shares" | "canceled_shares" | "price" | "execution_price" => {
                place[field.size - 1] = script.byte();
            }
            "buy_sell_indicator" => place[0] = *b"BS".get(script.below(2)).expect("a letter"),
            "event_code" | "trading_state" => place[0] = *b"OSQMECHPT".get(script.below(9)).expect("a letter"),
            _ => {}
        }
    }
    bytes
}

/// As [`message`], or whatever the script says.
fn any_message(script: &mut Script<'_>) -> Vec<u8> {
    if script.below(8) == 7 { script.text().to_vec() } else { message(script) }
}

/// The feed handler: books are said to be incomplete or complete for all instruments at once and in turn, nothing is
/// written where nothing is connected, every request is one that a server takes.
pub fn feed(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let receiver = receiver_config(&mut script);
    let mut out = Heard { servers: receiver.servers, incomplete: vec![false; OURS.len()], ..Heard::default() };
    let instruments = (0..).map(InstrumentId).zip(OURS.map(str::to_owned)).collect();
    let login = SnapshotLogin { username: "U".to_owned(), password: SECRET.to_owned() };
    let config = FeedConfig {
        join: [Join::Snapshot, Join::Replay, Join::Live][script.below(3)],
        receiver,
        snapshot: Some(login),
        buffer_bytes: 1 << (6 + script.below(12)),
        ..FeedConfig::new(0, instruments, MIDNIGHT)
    };
    let mut feed = Feed::new(config);
    let mut now = MIDNIGHT;
    feed.on_tick(now, &mut out);
    while let Some(step) = script.step() {
        match step & 7 {
            0 => now = now.plus(script.wait()).min(LATEST),
            1 => now = feed.next_tick().expect("it waits for something").max(now).min(LATEST),
            2 if script.below(2) == 0 => feed.on_datagram(step >> 6, script.text(), now, &mut out),
            2 if out.wire.is_up() => feed.on_bytes(script.text(), now, &mut out),
            3 => {
                let (session, next) = (SESSIONS[script.below(8) / 7], number(&mut script, feed.counters().next));
                let end = script.below(16) == 15;
                let encode = if end { moldudp64::encode_end_of_session } else { moldudp64::encode_heartbeat };
                feed.on_datagram(step >> 6, &encode(session, next), now, &mut out);
            }
            4 => match script.below(4) {
                0 if out.wire.fails() => feed.on_closed(now, &mut out),
                _ if out.wire.connects() => feed.on_connected(now, &mut out),
                _ => {}
            },
            5 if out.wire.is_up() => {
                let bytes = snapshot(&mut script, feed.counters().next);
                feed.on_bytes(&bytes, now, &mut out);
            }
            _ => {
                let (session, first) = (script.below(16) / 15, number(&mut script, feed.counters().next));
                let mut builder = PacketBuilder::new(SESSIONS[session], first, 1_400);
                for _ in 0..script.below(9) {
                    let _ = builder.push(&any_message(&mut script));
                }
                feed.on_datagram(step >> 6, builder.bytes(), now, &mut out);
            }
        }
        if step & 8 != 0 {
            feed.on_tick(now, &mut out);
        }
        let doubted = out.incomplete.iter().filter(|doubted| **doubted).count();
        assert!(doubted == 0 || doubted == OURS.len(), "all instruments of a feed stand alike");
        assert_eq!(feed.counters().complete, doubted == 0, "what is told is what is");
    }
}

/// A piece of the snapshot session.
fn snapshot(script: &mut Script<'_>, next: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + script.below(8) {
        match script.below(8) {
            0 => Packet::LoginAccepted(LoginAccepted::new("SNAP", 1).expect("short")).append_to(&mut bytes),
            1 => {
                let number = number(script, next);
                Packet::SequencedData(format!("G{number:>20}").as_bytes()).append_to(&mut bytes);
            }
            2 => Packet::ServerHeartbeat.append_to(&mut bytes),
            3 => Packet::EndOfSession.append_to(&mut bytes),
            _ => Packet::SequencedData(&any_message(script)).append_to(&mut bytes),
        }
    }
    bytes
}

pub(crate) fn feed_seeds() -> Vec<Vec<u8>> {
    // One line, replay; two lines and a snapshot; live.
    let configs = [[0, 1, 0, 1, 1, 2, 1, 1, 9], [1, 1, 1, 1, 0, 1, 1, 0, 9], [0, 1, 1, 0, 0, 0, 0, 2, 9]];
    let at = |name: &str| itch::LAYOUTS.iter().position(|layout| layout.name == name).unwrap_or(0) as u8;
    let directory = [0, at("stock_directory"), 1, 0];
    let add = [0, at("add_order"), 1, 5, 3, 0, 100, 50];
    let packet = |ahead: u8, count: u8| [[6, 0, ahead, count].as_slice(), &directory, &add].concat();
    let snapshot = [&[13, 4, 0, 4][..], &directory, &[4], &add, &[1, 0]].concat();
    let scripts = [
        [packet(0, 2), packet(0, 2), packet(2, 2), vec![9, 9, 9], packet(0, 2)].concat(),
        [packet(7, 2), vec![12, 1], snapshot.clone(), packet(0, 2), vec![9, 9, 9]].concat(),
        [packet(7, 2), vec![12, 0], vec![9, 12, 1], snapshot, vec![3, 0, 0, 15]].concat(),
    ];
    let with = |config: [u8; 9]| scripts.iter().map(move |script| [&config, script.as_slice()].concat());
    configs.into_iter().flat_map(with).collect()
}
