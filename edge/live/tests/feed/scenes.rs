//! Scripted scenes: what the feed says to each thing that happens.

use helios_live::feed::{Join, ReceiverConfig, SnapshotLogin};
use helios_live::{Feed, FeedConfig};
use helios_types::{Event, Feed as About, InstrumentId, NANOS_PER_DAY, Nanos, Update};
use helios_wire::itch;
use helios_wire::moldudp64::{self, PacketBuilder};
use helios_wire::soupbintcp::{self, LoginAccepted, Packet};

use crate::world::{Ask, MIDNIGHT, Out, SESSION};

const MS: u64 = 1_000_000;
const KO: u16 = 7;
const PEP: u16 = 9;
const XOM: u16 = 11;

fn stock(locate: u16) -> [u8; 8] {
    *match locate {
        KO => b"KO      ",
        PEP => b"PEP     ",
        _ => b"XOM     ",
    }
}

fn directory(stock_locate: u16) -> Vec<u8> {
    let letters = [b'Q', b'N'];
    itch::StockDirectory {
        stock_locate,
        tracking_number: 0,
        timestamp: 1,
        stock: stock(stock_locate),
        market_category: letters[0],
        financial_status_indicator: letters[1],
        round_lot_size: 100,
        round_lots_only: b'N',
        issue_classification: b'C',
        issue_sub_type: *b"Z ",
        authenticity: b'P',
        short_sale_threshold_indicator: b'N',
        ipo_flag: b'N',
        luld_reference_price_tier: b'1',
        etp_flag: b'N',
        etp_leverage_factor: 0,
        inverse_indicator: b'N',
    }
    .encode()
    .to_vec()
}

fn add(stock_locate: u16, order_reference_number: u64, timestamp: u64) -> Vec<u8> {
    itch::AddOrder {
        stock_locate,
        tracking_number: 0,
        timestamp,
        order_reference_number,
        buy_sell_indicator: b'B',
        shares: 100,
        stock: stock(stock_locate),
        price: 500_000,
    }
    .encode()
    .to_vec()
}

fn delete(stock_locate: u16, order_reference_number: u64, timestamp: u64) -> Vec<u8> {
    itch::OrderDelete { stock_locate, tracking_number: 0, timestamp, order_reference_number }.encode().to_vec()
}

fn system(event_code: u8) -> Vec<u8> {
    itch::SystemEvent { stock_locate: 0, tracking_number: 0, timestamp: 5, event_code }.encode().to_vec()
}

/// What a snapshot session sends, its login answer included.
fn snapshot(messages: &[Vec<u8>], end: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::LoginAccepted(LoginAccepted::new("SNAP", 1).expect("short")).append_to(&mut bytes);
    for message in messages.iter().map(Vec::as_slice).chain([end.as_bytes()]) {
        Packet::SequencedData(message).append_to(&mut bytes);
    }
    bytes
}

fn end_at(number: u64) -> String {
    format!("G{number:>20}")
}

fn config() -> FeedConfig {
    let instruments = vec![(InstrumentId(0), "PEP".to_owned()), (InstrumentId(1), "KO".to_owned())];
    let receiver = ReceiverConfig { lines: 2, ..ReceiverConfig::default() };
    FeedConfig { receiver, ..FeedConfig::new(3, instruments, MIDNIGHT) }
}

fn with_snapshot() -> FeedConfig {
    let login = SnapshotLogin { username: "HELIOS".to_owned(), password: "HUSH".to_owned() };
    FeedConfig { join: Join::Snapshot, snapshot: Some(login), ..config() }
}

/// A feed and a clock in milliseconds of the day.
struct Scene {
    feed: Feed,
    out: Out,
    ms: u64,
    session: [u8; 10],
    /// Everything noted so far.
    notes: Vec<String>,
}

impl Scene {
    fn new(config: FeedConfig) -> Self {
        let feed = Feed::new(config);
        let mut scene = Self { feed, out: Out::default(), ms: 0, session: SESSION, notes: Vec::new() };
        scene.at(1_000);
        scene
    }

    fn now(&self) -> Nanos {
        MIDNIGHT.plus(self.ms * MS)
    }

    /// Time goes on; what is due on the way happens at its moment.
    fn at(&mut self, ms: u64) -> &mut Self {
        while let Some(tick) = self.feed.next_tick().filter(|tick| *tick < MIDNIGHT.plus(ms * MS)) {
            self.ms = self.ms.max(tick.since(MIDNIGHT).div_ceil(MS));
            self.feed.on_tick(self.now(), &mut self.out);
        }
        self.ms = ms;
        self.feed.on_tick(self.now(), &mut self.out);
        self
    }

    fn packet(&mut self, number: u64, messages: &[Vec<u8>]) -> &mut Self {
        let mut builder = PacketBuilder::new(self.session, number, 1_400);
        messages.iter().for_each(|message| builder.push(message).expect("room"));
        for line in 0..2 {
            self.feed.on_datagram(line, builder.bytes(), self.now(), &mut self.out);
        }
        self
    }

    fn heartbeat(&mut self, next: u64) -> &mut Self {
        self.packet(next, &[])
    }

    fn end(&mut self, next: u64) -> &mut Self {
        let bytes = moldudp64::encode_end_of_session(self.session, next);
        self.feed.on_datagram(0, &bytes, self.now(), &mut self.out);
        self
    }

    fn connected(&mut self) -> &mut Self {
        self.feed.on_connected(self.now(), &mut self.out);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.feed.on_bytes(bytes, self.now(), &mut self.out);
        self
    }

    fn closed(&mut self) -> &mut Self {
        self.feed.on_closed(self.now(), &mut self.out);
        self
    }

    /// What was asked since the last look, notes apart.
    #[track_caller]
    fn asked(&mut self, expected: &[&str]) -> &mut Self {
        let mut said = Vec::new();
        for ask in self.out.0.drain(..) {
            match ask {
                Ask::Note(text) => self.notes.push(text),
                other => said.push(word(&other)),
            }
        }
        assert_eq!(said, expected);
        self
    }

    /// Notes that contain this.
    fn noted(&mut self, text: &str) -> usize {
        let new = self.out.0.iter().filter_map(|ask| if let Ask::Note(text) = ask { Some(text) } else { None });
        self.notes.iter().chain(new).filter(|note| note.contains(text)).count()
    }
}

/// Short and readable; stamps in nanoseconds of the day.
fn word(ask: &Ask) -> String {
    let name = |instrument: InstrumentId| ["PEP", "KO"][instrument.index()];
    match ask {
        Ask::Event(Event::Market(market)) => {
            let (name, at) = (name(market.instrument), market.ts_event.since(MIDNIGHT));
            match market.update {
                Update::Add { order, .. } => format!("{name} add {order} at {at}"),
                Update::Delete { order } => format!("{name} delete {order} at {at}"),
                Update::Clear => format!("{name} clear"),
                other => format!("{name} {other:?}"),
            }
        }
        Ask::Event(Event::Feed(About::Incomplete { instrument, missed })) => {
            format!("{} incomplete {missed}", name(*instrument))
        }
        Ask::Event(Event::Feed(About::Complete { instrument })) => format!("{} complete", name(*instrument)),
        Ask::Event(Event::Feed(About::Began { exchange })) => format!("began {exchange}"),
        Ask::Event(Event::Feed(About::Ended { exchange })) => format!("ended {exchange}"),
        Ask::Request(server, header) => {
            format!("ask {server} for {}+{}", header.sequence_number, header.message_count)
        }
        Ask::Connect => "connect".to_owned(),
        Ask::Close => "close".to_owned(),
        Ask::Write(bytes) => match soupbintcp::decode(bytes) {
            Ok(Some((Packet::LoginRequest(_), _))) => "login".to_owned(),
            Ok(Some((Packet::LogoutRequest, _))) => "logout".to_owned(),
            Ok(Some((Packet::ClientHeartbeat, _))) => "heartbeat".to_owned(),
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

const DOUBT: [&str; 2] = ["PEP incomplete 0", "KO incomplete 0"];
const CLEAR: [&str; 2] = ["PEP clear", "KO clear"];
const WHOLE: [&str; 2] = ["PEP complete", "KO complete"];

/// Complete from message 1 on, with a directory of three stocks.
fn whole(config: FeedConfig) -> Scene {
    let mut scene = Scene::new(config);
    scene.packet(1, &[system(b'O'), directory(KO), directory(PEP), directory(XOM)]);
    scene.asked(&[&DOUBT[..], &["began 3"], &CLEAR, &WHOLE].concat());
    scene
}

/// In the middle of a day, before the snapshot.
fn joining() -> Scene {
    let mut scene = Scene::new(with_snapshot());
    scene.packet(100, &[add(KO, 1, 50), delete(KO, 2, 51)]);
    scene.asked(&[&DOUBT[..], &["began 3", "connect"]].concat());
    scene
}

#[test]
fn from_message_1_on_books_are_complete() {
    let mut scene = whole(config());
    scene.packet(5, &[add(KO, 1, 50), add(XOM, 2, 51), add(PEP, 3, 52), system(b'Q')]);
    scene.asked(&["KO add 1 at 50", "PEP add 3 at 52"]);
    let counters = scene.feed.counters();
    assert_eq!((counters.messages.events, counters.messages.others, counters.next), (2, 1, 9));
    assert!(counters.complete && counters.lines.len() == 2);
    assert_eq!((scene.noted("start of messages"), scene.noted("start of market hours")), (1, 1));
}

#[test]
fn nothing_of_later_messages_is_applied_before_those_that_are_missing() {
    let mut config = config();
    config.receiver.servers = 1;
    let mut scene = whole(config);
    scene.packet(5, &[add(KO, 1, 50)]).packet(8, &[delete(KO, 1, 53)]).asked(&["KO add 1 at 50"]);
    scene.at(1_003).asked(&["PEP incomplete 2", "KO incomplete 2", "ask 0 for 6+2"]);
    scene.packet(6, &[add(PEP, 2, 51), add(PEP, 3, 52)]);
    scene.asked(&[&["PEP add 2 at 51", "PEP add 3 at 52", "KO delete 1 at 53"][..], &WHOLE].concat());
}

#[test]
fn the_other_line_in_time_is_no_gap() {
    let mut scene = whole(with_snapshot());
    scene.packet(6, &[delete(KO, 1, 53)]).at(1_001).packet(5, &[add(KO, 1, 50)]).at(1_100);
    scene.asked(&["KO add 1 at 50", "KO delete 1 at 53"]);
}

#[test]
fn what_is_lost_without_a_snapshot_is_lost_for_the_session() {
    let mut scene = whole(config());
    scene.packet(6, &[add(KO, 1, 50)]).at(1_003).asked(&["PEP incomplete 1", "KO incomplete 1", "KO add 1 at 50"]);
    scene.packet(7, &[add(KO, 2, 51)]).at(2_000).asked(&["KO add 2 at 51"]);
    assert!(!scene.feed.counters().complete);
    scene.end(8).asked(&[&CLEAR[..], &["ended 3"]].concat());
    scene.session = *b"DAY2      ";
    scene.heartbeat(1).asked(&[&["began 3"][..], &CLEAR, &WHOLE].concat());
}

#[test]
fn who_joins_live_in_the_middle_learns_names_from_orders_and_stays_incomplete() {
    let mut scene = Scene::new(config());
    scene.packet(100, &[delete(KO, 1, 50), add(KO, 2, 51), delete(KO, 2, 52), add(XOM, 3, 53), delete(XOM, 3, 54)]);
    let adds = ["KO add 2 at 51", "KO delete 2 at 52"];
    scene.asked(&[&DOUBT[..], &["began 3"], &CLEAR, &adds].concat());
    let counters = scene.feed.counters();
    assert_eq!((counters.messages.unknown_locates, counters.messages.others, counters.complete), (1, 2, false));
    assert_eq!(scene.noted("no directory message has explained locate number 7"), 1);
}

#[test]
fn a_snapshot_and_what_came_meanwhile() {
    let mut scene = joining();
    scene.connected().asked(&["login"]);
    scene.packet(102, &[add(KO, 5, 60), add(PEP, 6, 61)]).asked(&[]);
    let state = [directory(KO), directory(PEP), add(KO, 4, 30), add(KO, 1, 40), add(XOM, 9, 41)];
    let bytes = snapshot(&state, &end_at(103));
    // Byte by byte: nothing happens before all of it is there.
    let (last, first) = bytes.split_last().expect("bytes");
    for byte in first {
        scene.bytes(&[*byte]);
    }
    scene.asked(&[]);
    scene.bytes(&[*last]);
    let applied = ["KO add 4 at 40", "KO add 1 at 40", "PEP add 6 at 61"];
    scene.asked(&[&["logout", "close"][..], &CLEAR, &applied, &WHOLE].concat());
    scene.packet(104, &[add(KO, 7, 70)]).asked(&["KO add 7 at 70"]);
    let counters = scene.feed.counters().messages;
    assert_eq!((counters.snapshots, counters.snapshots_failed, counters.events), (1, 0, 4));
}

#[test]
fn a_snapshot_that_is_ahead_of_the_lines() {
    let mut scene = joining();
    scene.connected().bytes(&snapshot(&[directory(KO), directory(PEP), add(KO, 5, 60)], &end_at(104)));
    let applied = ["login", "logout", "close"];
    scene.asked(&[&applied[..], &CLEAR, &["KO add 5 at 60"], &WHOLE].concat());
    scene.packet(102, &[add(KO, 5, 60), add(KO, 6, 61)]).packet(104, &[delete(KO, 5, 62)]);
    scene.asked(&["KO delete 5 at 62"]);
}

#[test]
fn a_loss_is_recovered_by_snapshot() {
    let mut scene = whole(with_snapshot());
    scene.packet(5, &[add(KO, 1, 50)]).packet(7, &[add(KO, 3, 52)]).at(1_003);
    scene.asked(&["KO add 1 at 50", "PEP incomplete 1", "KO incomplete 1", "connect"]);
    scene.connected().packet(8, &[delete(KO, 3, 53)]);
    scene.bytes(&snapshot(&[add(KO, 1, 50), add(KO, 2, 51), add(KO, 3, 52)], &end_at(8)));
    let applied = ["KO add 1 at 52", "KO add 2 at 52", "KO add 3 at 52", "KO delete 3 at 53"];
    scene.asked(&[&["login", "logout", "close"][..], &CLEAR, &applied, &WHOLE].concat());
}

#[test]
fn a_locate_number_that_is_explained_while_the_snapshot_comes() {
    let mut scene = whole(with_snapshot());
    scene.packet(6, &[add(XOM, 1, 50)]).at(1_003).asked(&["PEP incomplete 1", "KO incomplete 1", "connect"]);
    let mut renamed = directory(PEP);
    renamed[1..3].copy_from_slice(&XOM.to_be_bytes());
    scene.connected().packet(7, &[add(XOM, 2, 51), renamed, delete(XOM, 3, 52)]);
    scene.bytes(&snapshot(&[], &end_at(6)));
    scene.asked(&[&["login", "logout", "close"][..], &CLEAR, &["PEP delete 3 at 52"], &WHOLE].concat());
}

#[test]
fn a_snapshot_of_before_the_loss_is_asked_for_again() {
    let mut scene = joining();
    scene.connected().bytes(&snapshot(&[add(KO, 1, 40)], &end_at(99))).asked(&["login", "logout", "close"]);
    assert_eq!(scene.noted("it ends before message 99, the stream is kept from 100 on"), 1);
    scene.at(1_249).asked(&[]).at(1_251).asked(&["connect"]);
    scene.connected().bytes(&snapshot(&[directory(KO)], &end_at(100)));
    let applied = ["login", "logout", "close"];
    scene.asked(&[&applied[..], &CLEAR, &["KO add 1 at 50", "KO delete 2 at 51"], &WHOLE].concat());
    assert_eq!(scene.feed.counters().messages.snapshots_old, 1);
}

#[test]
fn a_second_loss_while_the_snapshot_comes() {
    let mut scene = joining();
    scene.connected().packet(104, &[add(KO, 5, 60)]).at(1_010).asked(&["login"]);
    scene.bytes(&snapshot(&[directory(KO)], &end_at(102))).asked(&["logout", "close"]);
    scene.at(2_000).asked(&["connect"]).connected().bytes(&snapshot(&[directory(KO)], &end_at(104)));
    scene.asked(&[&["login", "logout", "close"][..], &CLEAR, &["KO add 5 at 60"], &WHOLE].concat());
}

#[test]
fn a_snapshot_server_that_is_down_is_asked_again_and_again() {
    let mut scene = joining();
    let mut waits = Vec::new();
    for _ in 0..8 {
        scene.closed();
        let failed_at = scene.ms;
        while !scene.out.0.contains(&Ask::Connect) {
            let next = scene.ms + 1;
            scene.heartbeat(102).at(next);
        }
        waits.push(scene.ms - failed_at);
        scene.asked(&["connect"]);
    }
    // The clock goes by milliseconds, and the moment itself counts.
    assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    assert!(!scene.feed.counters().complete);
    assert_eq!(scene.feed.counters().messages.snapshots_failed, 8);
    scene.connected().bytes(&snapshot(&[], &end_at(102)));
    scene.asked(&[&["login", "logout", "close"][..], &CLEAR, &WHOLE].concat());
    // All is well again, and so are the waits.
    let ms = scene.ms;
    scene.packet(103, &[add(KO, 8, 70)]).at(ms + 3).asked(&["PEP incomplete 1", "KO incomplete 1", "connect"]);
    scene.closed().at(ms + 254).asked(&["connect"]);
}

#[test]
fn a_replay_is_complete_when_all_of_it_is_there() {
    let mut config = config();
    (config.join, config.receiver.servers) = (Join::Replay, 1);
    let mut scene = Scene::new(config);
    scene.packet(4, &[add(KO, 2, 60)]).asked(&[&DOUBT[..], &["began 3"], &CLEAR].concat());
    scene.at(1_003).asked(&["ask 0 for 1+3"]);
    scene.packet(1, &[directory(KO), directory(PEP)]).asked(&["ask 0 for 3+1"]);
    scene.packet(3, &[add(PEP, 1, 50)]);
    scene.asked(&[&["PEP add 1 at 50", "KO add 2 at 60"][..], &WHOLE].concat());
}

#[test]
fn snapshots_that_are_none() {
    let whole = |end: &str| snapshot(&[directory(KO)], end);
    let mut short = add(KO, 1, 40);
    short.pop();
    let mut rejected = Vec::new();
    Packet::LoginRejected(b'A').append_to(&mut rejected);
    let mut over = Vec::new();
    Packet::LoginAccepted(LoginAccepted::new("SNAP", 1).expect("short")).append_to(&mut over);
    Packet::EndOfSession.append_to(&mut over);
    let mut middle = Vec::new();
    Packet::LoginAccepted(LoginAccepted::new("SNAP", 5).expect("short")).append_to(&mut middle);
    let cases = [
        (whole("G"), "no G and 20 digits"),
        (whole("G                   x"), "no G and 20 digits"),
        (whole("G99999999999999999999"), "no G and 20 digits"),
        (whole("G                    "), "no G and 20 digits"),
        (whole(&end_at(u64::MAX)), "far beyond the stream"),
        (snapshot(&[directory(KO), short], &end_at(101)), "bytes"),
        (rejected, ""),
        (over, ""),
        (middle, "begins with message 5"),
        (b"\0\x04HTTP".to_vec(), "H"),
        (vec![0; 40], "length zero"),
    ];
    for (bytes, why) in cases {
        let mut scene = joining();
        scene.connected().bytes(&bytes);
        assert_eq!(scene.out.0.iter().filter(|ask| **ask == Ask::Close).count(), 1, "{why}");
        assert!(scene.noted("no snapshot, again in 250 ms") == 1 && scene.noted(why) >= 1, "{why}");
        assert_eq!(scene.feed.counters().messages.snapshots_failed, 1);
        scene.out.0.clear();
        // Nothing that still comes of the old connection matters.
        scene.bytes(&whole(&end_at(101))).at(1_251).asked(&["connect"]);
    }
}

#[test]
fn a_snapshot_server_that_does_not_answer() {
    let mut scene = joining();
    let speak = |scene: &mut Scene, until: u64| {
        while scene.ms < until {
            let next = scene.ms + 500;
            scene.heartbeat(102).at(next);
        }
    };
    speak(&mut scene, 6_000);
    scene.asked(&["close"]);
    assert_eq!(scene.noted("no connection in 5 s"), 1);
    speak(&mut scene, 6_500);
    scene.asked(&["connect"]).connected();
    speak(&mut scene, 21_500);
    scene.asked(&["login", "close"]);
    assert_eq!(scene.noted("the server fell silent"), 1);
}

#[test]
fn a_snapshot_that_never_ends() {
    let mut scene = joining();
    let mut login = Vec::new();
    Packet::LoginAccepted(LoginAccepted::new("SNAP", 1).expect("short")).append_to(&mut login);
    scene.connected().bytes(&login);
    let mut heartbeat = Vec::new();
    Packet::ServerHeartbeat.append_to(&mut heartbeat);
    while scene.noted("it was not whole after 60 s") == 0 {
        let next = scene.ms + 500;
        scene.heartbeat(102).bytes(&heartbeat).at(next);
        assert!(next < 70_000);
    }
}

#[test]
fn more_of_the_stream_than_is_kept() {
    let mut config = with_snapshot();
    config.buffer_bytes = 100;
    let mut scene = Scene::new(config);
    scene.packet(100, &[add(KO, 1, 50), add(KO, 2, 51), add(KO, 3, 52)]);
    scene.connected().asked(&[&DOUBT[..], &["began 3", "connect", "login"]].concat());
    // Two fitted, the third did not: what is kept begins behind it.
    scene.bytes(&snapshot(&[directory(KO)], &end_at(102))).asked(&["logout", "close"]);
    let counters = scene.feed.counters().messages;
    assert_eq!((counters.overflows, counters.snapshots_old, counters.snapshots), (1, 1, 0));
    assert_eq!(scene.noted("outgrew the 100 bytes"), 1);
    scene.at(1_300).connected().bytes(&snapshot(&[directory(KO), add(KO, 3, 52)], &end_at(103)));
    let applied = ["connect", "login", "logout", "close"];
    scene.asked(&[&applied[..], &CLEAR, &["KO add 3 at 52"], &WHOLE].concat());
}

#[test]
fn the_end_of_a_day_and_the_next() {
    let mut scene = whole(config());
    scene.packet(5, &[add(KO, 1, 50)]).end(6);
    scene.asked(&[&["KO add 1 at 50"][..], &DOUBT, &CLEAR, &["ended 3"]].concat());
    scene.at(NANOS_PER_DAY / MS + 3_600_000).asked(&[]);
    scene.session = *b"DAY2      ";
    // Locate numbers are others today, and stamps count from the next midnight.
    scene.packet(1, &[delete(KO, 1, 1), directory(KO), add(KO, 2, 9)]);
    let stamp = format!("KO add 2 at {}", NANOS_PER_DAY + 9);
    scene.asked(&[&["began 3"][..], &CLEAR, &[&stamp], &WHOLE].concat());
    assert_eq!(scene.feed.counters().messages.unknown_locates, 1);
}

#[test]
fn the_end_of_the_day_ends_a_snapshot_too() {
    let mut scene = joining();
    scene.connected().end(102);
    scene.asked(&[&["login", "close"][..], &CLEAR, &["ended 3"]].concat());
    scene.bytes(&snapshot(&[], &end_at(102))).at(60_000).asked(&[]);
}

#[test]
fn a_feed_that_falls_silent_is_not_to_be_trusted() {
    let mut scene = whole(config());
    scene.at(5_000).asked(&DOUBT).heartbeat(5).asked(&WHOLE);
    assert_eq!((scene.noted("the feed is stale"), scene.noted("speaks again")), (1, 3));
}

#[test]
fn bad_messages_are_counted_said_once_a_second_and_passed_over() {
    let mut scene = whole(config());
    let mut long = add(KO, 1, 50);
    long.push(0);
    let bad = [vec![b'z', 0, KO as u8, 0, 0], long.clone(), vec![], vec![b'A'], vec![b'A', 0], delete(KO, 8, 50)];
    scene.packet(5, &bad).asked(&["KO delete 8 at 50"]);
    let counters = scene.feed.counters().messages;
    assert_eq!((counters.unknown_types, counters.malformed), (1, 3));
    assert_eq!(scene.noted("passed over"), 1);
    scene.at(2_500).packet(11, &[long]);
    assert_eq!((scene.noted("passed over"), scene.noted("3 more of the kind")), (2, 1));
}

#[test]
fn a_symbol_that_the_venue_does_not_list_is_said() {
    let mut scene = Scene::new(config());
    scene.packet(1, &[system(b'O'), directory(KO)]).packet(3, &[system(b'Q')]);
    assert_eq!(scene.noted("the venue does not list PEP today"), 1);
    let mut scene = joining();
    scene.connected().bytes(&snapshot(&[directory(XOM)], &end_at(102)));
    assert_eq!(scene.noted("the venue does not list KO and 1 more today"), 1);
}

#[test]
fn a_password_is_nowhere() {
    let config = with_snapshot();
    assert!(!format!("{config:?}").contains("HUSH"));
    let mut scene = joining();
    let mut rejected = Vec::new();
    Packet::LoginRejected(b'A').append_to(&mut rejected);
    scene.connected().bytes(&rejected);
    assert_eq!((scene.noted("HUSH"), scene.noted("HELIOS")), (0, 0));
}

#[test]
fn settings_that_cannot_be() {
    let check = |change: &dyn Fn(&mut FeedConfig)| {
        let mut config = with_snapshot();
        change(&mut config);
        config.check().expect_err("cannot be")
    };
    assert!(check(&|config| config.snapshot = None).contains("join by snapshot"));
    assert!(check(&|config| config.receiver.lines = 9).contains("1 to 8 lines"));
    assert!(check(&|config| config.instruments[0].1 = "LONGSYMBOL".to_owned()).contains("LONGSYMBOL"));
    assert!(check(&|config| config.instruments[0].1 = "KO".to_owned()).contains("twice"));
    let long = |config: &mut FeedConfig| config.snapshot.as_mut().expect("it is").password = "much too long".to_owned();
    assert!(check(&long).contains("up to 10") && !check(&long).contains("much too long"));
}
