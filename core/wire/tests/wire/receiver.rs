//! The receiver of MoldUDP64: what it says to scripted packets, and that nothing is lost, doubled or disordered.

use std::collections::BTreeMap;

use helios_types::{Nanos, Rng};
use helios_wire::moldudp64::{
    self, HEADER_LENGTH, MAX_COUNT, MAX_EARLY_BYTES, MAX_EARLY_PACKETS, Notice, PacketBuilder, Receiver,
    ReceiverConfig, ReceiverOut, decode_request,
};

const SESSION: [u8; 10] = *b"SESSION01 ";
const MS: u64 = 1_000_000;

/// Writes down what the receiver asks and says.
#[derive(Default)]
struct Log(Vec<String>);

impl ReceiverOut for Log {
    fn message(&mut self, number: u64, bytes: &[u8]) {
        self.0.push(format!("{number} {}", bytes.escape_ascii()));
    }

    fn request(&mut self, server: usize, bytes: &[u8; HEADER_LENGTH]) {
        let header = decode_request(bytes).expect("a request that a server takes");
        self.0.push(format!("ask {server} for {}+{}", header.sequence_number, header.message_count));
    }

    fn notice(&mut self, notice: Notice) {
        self.0.push(notice.to_string());
    }
}

/// A receiver, its log and a clock in milliseconds.
struct Rig {
    receiver: Receiver,
    log: Log,
    now: Nanos,
}

impl Rig {
    fn new(config: ReceiverConfig) -> Self {
        let mut rig = Self { receiver: Receiver::new(config), log: Log::default(), now: Nanos(0) };
        rig.at(1_000);
        rig
    }

    /// Time goes on to `ms`; what is due on the way happens at its moment.
    fn at(&mut self, ms: u64) -> &mut Self {
        let end = Nanos(ms * MS);
        while self.receiver.next_tick() <= end {
            self.now = self.now.max(self.receiver.next_tick());
            self.receiver.on_tick(self.now, &mut self.log);
        }
        self.now = end;
        self.receiver.on_tick(end, &mut self.log);
        self
    }

    fn on(&mut self, line: u8, bytes: &[u8]) -> &mut Self {
        self.receiver.on_datagram(line, bytes, self.now, &mut self.log);
        self
    }

    /// A packet with these letters as messages, from `number` on.
    fn packet(&mut self, line: u8, number: u64, letters: &str) -> &mut Self {
        self.on(line, &packet(number, letters))
    }

    fn heartbeat(&mut self, line: u8, next: u64) -> &mut Self {
        self.on(line, &moldudp64::encode_heartbeat(SESSION, next))
    }

    fn end(&mut self, line: u8, next: u64) -> &mut Self {
        self.on(line, &moldudp64::encode_end_of_session(SESSION, next))
    }

    /// What was said since the last look.
    #[track_caller]
    fn said(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.log.0), expected);
        self
    }
}

fn packet_of(session: [u8; 10], number: u64, letters: &str) -> Vec<u8> {
    let mut builder = PacketBuilder::new(session, number, 1_400);
    letters.bytes().for_each(|letter| builder.push(&[letter]).expect("room"));
    builder.bytes().to_vec()
}

fn packet(number: u64, letters: &str) -> Vec<u8> {
    packet_of(SESSION, number, letters)
}

const BEGAN: &str = "session \"SESSION01\" from message 1 on";

/// One line, one server, no waiting: the spec's algorithm bare.
fn plain() -> Rig {
    let config = ReceiverConfig { start: Some(1), wait_ns: 0, servers: 1, ..ReceiverConfig::default() };
    Rig::new(config)
}

/// Two lines that wait 2 ms for each other, two servers.
fn pair() -> Rig {
    let config = ReceiverConfig { lines: 2, start: Some(1), servers: 2, attempts: 3, ..ReceiverConfig::default() };
    Rig::new(config)
}

#[test]
fn single_message() {
    plain().packet(0, 1, "a").said(&[BEGAN, "1 a"]);
}

#[test]
fn multiple_messages() {
    plain().packet(0, 1, "abc").packet(0, 4, "d").said(&[BEGAN, "1 a", "2 b", "3 c", "4 d"]);
}

#[test]
fn heartbeat() {
    plain().heartbeat(0, 1).said(&[BEGAN]).packet(0, 1, "a").heartbeat(0, 2).said(&["1 a"]);
}

#[test]
fn end_of_session() {
    let mut rig = plain();
    rig.packet(0, 1, "a").end(0, 2).said(&[BEGAN, "1 a", "end of session after message 1"]);
    rig.end(0, 2).packet(0, 1, "a").said(&[]);
    rig.at(60_000).said(&[]);
}

#[test]
fn keep_alive() {
    let mut rig = pair();
    rig.packet(0, 1, "a").packet(1, 1, "a").said(&[BEGAN, "1 a"]);
    rig.at(3_500).heartbeat(0, 2).said(&[]);
    rig.at(4_500).said(&["line B is silent"]);
    rig.at(6_400).said(&[]);
    rig.at(6_600).said(&["line A is silent", "no line speaks: the feed is stale"]);
    rig.heartbeat(1, 2).said(&["line B speaks again", "the feed speaks again, nothing is missing"]);
    rig.packet(0, 2, "b").said(&["line A speaks again", "2 b"]);
    let downs: Vec<u64> = rig.receiver.lines().map(|line| line.downs).collect();
    assert_eq!((downs, rig.receiver.stats().stale), (vec![1, 1], 1));
}

#[test]
fn stale_until_nothing_is_missing() {
    let mut rig = plain();
    rig.packet(0, 1, "a").at(5_000);
    rig.said(&[BEGAN, "1 a", "line A is silent", "no line speaks: the feed is stale"]);
    let gap = ["line A speaks again", "messages 2 to 2 are missing on every line", "ask 0 for 2+1"];
    rig.packet(0, 3, "c").said(&gap);
    rig.packet(0, 2, "b");
    rig.said(&["2 b", "3 c", "missing messages have come", "the feed speaks again, nothing is missing"]);
}

#[test]
fn a_feed_that_never_speaks_is_stale() {
    plain().at(4_100).said(&["line A is silent", "no line speaks: the feed is stale"]);
}

#[test]
fn maximum_message_length() {
    let mut builder = PacketBuilder::new(SESSION, 1, usize::MAX);
    builder.push(&[b'x'; 65_535]).expect("the longest message");
    assert!(builder.push(&[b'x'; 65_536]).is_err());
    let mut rig = plain();
    rig.on(0, builder.bytes());
    assert_eq!(rig.log.0[1].len(), 65_537);
}

#[test]
fn maximum_number_of_messages() {
    let mut builder = PacketBuilder::new(SESSION, 1, usize::MAX);
    (0..MAX_COUNT).for_each(|_| builder.push(b"").expect("room"));
    assert!(builder.push(b"").is_err());
    let mut rig = plain();
    rig.on(0, builder.bytes());
    assert_eq!(rig.receiver.next(), u64::from(MAX_COUNT) + 1);
}

#[test]
fn backfill() {
    let mut rig = plain();
    rig.heartbeat(0, 4);
    let began = "session \"SESSION01\" from message 1 on; the stream is at 4";
    rig.said(&[began, "messages 1 to 3 are missing on every line", "ask 0 for 1+3"]);
    rig.packet(0, 1, "abc").said(&["1 a", "2 b", "3 c", "missing messages have come"]);
}

#[test]
fn gap_fill() {
    let mut rig = plain();
    rig.packet(0, 1, "a").packet(0, 4, "d").packet(0, 5, "e");
    rig.said(&[BEGAN, "1 a", "messages 2 to 3 are missing on every line", "ask 0 for 2+2"]);
    rig.packet(0, 2, "bc").said(&["2 b", "3 c", "4 d", "5 e", "missing messages have come"]);
    assert_eq!(rig.receiver.waiting(), (0, 0));
}

#[test]
fn gap_fill_with_several_requests() {
    let mut rig = plain();
    rig.packet(0, 1, "a").packet(0, 5, "e").packet(0, 8, "h");
    rig.said(&[BEGAN, "1 a", "messages 2 to 4 are missing on every line", "ask 0 for 2+3"]);
    rig.packet(0, 2, "b").said(&["2 b", "ask 0 for 3+2"]);
    rig.packet(0, 3, "cd").said(&["3 c", "4 d", "5 e", "ask 0 for 6+2"]);
    rig.packet(0, 6, "fg").said(&["6 f", "7 g", "8 h", "missing messages have come"]);
}

#[test]
fn gap_fill_after_end_of_session() {
    let mut rig = plain();
    rig.packet(0, 1, "a").end(0, 3);
    rig.said(&[BEGAN, "1 a", "messages 2 to 2 are missing on every line", "ask 0 for 2+1"]);
    rig.end(0, 3).said(&[]);
    rig.packet(0, 2, "b").said(&["2 b", "missing messages have come", "end of session after message 2"]);
}

#[test]
fn gap_fill_timeout() {
    let mut rig = pair();
    rig.packet(0, 1, "a").packet(0, 3, "c").said(&[BEGAN, "1 a"]);
    rig.at(1_002).said(&["messages 2 to 2 are missing on every line", "ask 0 for 2+1"]);
    rig.at(1_101).said(&[]);
    rig.at(1_102).said(&["ask 1 for 2+1"]);
    rig.at(1_202).said(&["ask 0 for 2+1"]);
    rig.at(1_302).said(&["messages 2 to 2 are lost", "3 c", "missing messages have come"]);
    rig.packet(1, 2, "b").packet(1, 4, "d").said(&["4 d"]);
    let stats = rig.receiver.stats();
    assert_eq!((stats.requests, stats.timeouts, stats.lost, stats.gaps), (3, 3, 1, 1));
}

#[test]
fn partially_obsolete_packet() {
    let mut rig = plain();
    rig.packet(0, 1, "ab").packet(0, 2, "bcd").said(&[BEGAN, "1 a", "2 b", "3 c", "4 d"]);
}

#[test]
fn fully_obsolete_packet() {
    let mut rig = plain();
    rig.packet(0, 1, "abc").packet(0, 1, "ab").packet(0, 3, "c").heartbeat(0, 2).packet(0, 4, "d");
    rig.said(&[BEGAN, "1 a", "2 b", "3 c", "4 d"]);
}

#[test]
fn requested_start_number() {
    let mut rig = Rig::new(ReceiverConfig { start: Some(3), wait_ns: 0, servers: 1, ..ReceiverConfig::default() });
    rig.packet(0, 1, "ab").packet(0, 3, "cd");
    rig.said(&["session \"SESSION01\" from message 3 on; the stream is at 1", "3 c", "4 d"]);
}

#[test]
fn first_received_message() {
    let mut rig = Rig::new(ReceiverConfig::default());
    rig.packet(0, 900, "a").packet(0, 899, "z").packet(0, 901, "b");
    rig.said(&["session \"SESSION01\" from message 900 on", "900 a", "901 b"]);
}

#[test]
fn the_other_line_closes_a_gap_without_a_word() {
    let mut rig = pair();
    rig.packet(0, 1, "a").packet(0, 3, "c").packet(0, 4, "d").packet(1, 1, "a").said(&[BEGAN, "1 a"]);
    rig.at(1_001).packet(1, 2, "b").said(&["2 b", "3 c", "4 d"]);
    rig.packet(1, 3, "cd").at(1_010).said(&[]);
    let stats = *rig.receiver.stats();
    assert_eq!((stats.closed, stats.gaps, stats.requests, stats.early, stats.messages), (1, 0, 0, 2, 4));
    let [a, b] = rig.receiver.lines().copied().collect::<Vec<_>>()[..] else { panic!("two lines") };
    assert_eq!((a.packets, a.messages, a.first, a.duplicates, a.missed), (3, 3, 3, 0, 1));
    assert_eq!((b.packets, b.messages, b.first, b.duplicates, b.missed), (3, 4, 1, 2, 0));
    assert_eq!((b.behind, b.behind_ns, b.behind_ns_max, a.behind), (2, MS, MS, 0));
}

#[test]
fn each_hole_has_its_own_time_to_close() {
    let mut rig = pair();
    rig.packet(0, 1, "a").packet(0, 3, "c").at(1_001).packet(0, 5, "e").said(&[BEGAN, "1 a"]);
    rig.at(1_002).said(&["messages 2 to 2 are missing on every line", "ask 0 for 2+1"]);
    rig.packet(0, 2, "b").said(&["2 b", "3 c"]);
    rig.at(1_003).said(&["ask 0 for 4+1"]);
    rig.packet(1, 4, "d").said(&["4 d", "5 e", "missing messages have come"]);
}

#[test]
fn without_a_server_a_gap_is_lost_when_it_is_certain() {
    let mut rig = Rig::new(ReceiverConfig { lines: 2, ..ReceiverConfig::default() });
    rig.packet(0, 7, "a").packet(1, 9, "c").at(1_001).said(&["session \"SESSION01\" from message 7 on", "7 a"]);
    let lost = ["messages 8 to 8 are missing on every line", "messages 8 to 8 are lost", "9 c"];
    rig.at(1_002).said(&[&lost[..], &["missing messages have come"]].concat());
}

#[test]
fn a_gap_beyond_the_window_is_given_up_when_two_packets_agree() {
    let config = ReceiverConfig { start: Some(1), servers: 1, window: 10, ..ReceiverConfig::default() };
    let mut rig = Rig::new(config.clone());
    rig.packet(0, 1, "a").packet(0, 100, "x").at(1_010).said(&[BEGAN, "1 a"]);
    rig.packet(0, 101, "y").at(1_200);
    rig.said(&[
        "messages 2 to 99 are missing on every line",
        "messages 2 to 99 are lost",
        "100 x",
        "101 y",
        "missing messages have come",
    ]);

    let mut rig = Rig::new(config);
    rig.packet(0, 1, "a").packet(0, u64::MAX - 1, "x").packet(0, 1, "a");
    assert_eq!(rig.receiver.waiting().0, 1, "what is old does not contradict it");
    rig.packet(0, 2, "b").at(2_000).packet(0, 3, "c");
    rig.said(&[BEGAN, "1 a", "2 b", "3 c"]);
    assert_eq!((rig.receiver.stats().early_dropped, rig.receiver.waiting()), (1, (0, 0)));
}

#[test]
fn another_session_while_ours_lives_is_foreign() {
    let other = |number, letters| packet_of(*b"OTHER     ", number, letters);
    let mut rig = plain();
    rig.packet(0, 1, "a").on(0, &other(1, "zzz")).on(0, &other(4, "z")).packet(0, 2, "b");
    let foreign = "packets of session \"OTHER\" are dropped, ours is alive: another group on these lines?";
    rig.said(&[BEGAN, "1 a", foreign, "2 b"]);
    assert_eq!(rig.receiver.stats().foreign, 2);
    // Ours falls silent: the other is the next day, or a server that began anew.
    rig.at(5_000).said(&["line A is silent", "no line speaks: the feed is stale"]);
    rig.on(0, &other(1, "y"));
    let changed = "session \"SESSION01\" gave way to session \"OTHER\"";
    let fresh = "the feed speaks again, nothing is missing";
    rig.said(&[changed, "session \"OTHER\" from message 1 on", "line A speaks again", "1 y", fresh]);
}

#[test]
fn a_server_that_begins_its_session_again_is_noticed() {
    let mut rig = pair();
    rig.packet(0, 1, "abcdefgh")
        .packet(1, 1, "abcdefgh")
        .said(&[BEGAN, "1 a", "2 b", "3 c", "4 d", "5 e", "6 f", "7 g", "8 h"]);
    // It has crashed, and goes on from 1 under the same name: nothing of it is new, and nobody is heard.
    for second in 2..4 {
        rig.at(second * 1_000).heartbeat(0, 1).heartbeat(1, 1).said(&[]);
    }
    rig.at(4_000).said(&["line A is silent", "line B is silent", "no line speaks: the feed is stale"]);
    rig.packet(0, 1, "A").packet(1, 1, "A").said(&[]);
    rig.packet(0, 2, "B");
    let again = "session \"SESSION01\" is begun again, with low numbers";
    let began = "session \"SESSION01\" from message 1 on; the stream is at 2";
    rig.said(&[again, began, "line A speaks again"]);
    rig.at(4_002).said(&["messages 1 to 1 are missing on every line", "ask 0 for 1+1"]).packet(1, 1, "A");
    let filled = ["line B speaks again", "1 A", "2 B", "missing messages have come"];
    rig.said(&[&filled[..], &["the feed speaks again, nothing is missing"]].concat());
}

#[test]
fn late_packets_after_a_silence_do_not_begin_a_session_again() {
    let mut rig = plain();
    rig.packet(0, 1, "abcd").at(5_000).packet(0, 1, "a").packet(0, 2, "b").heartbeat(0, 5).packet(0, 3, "c");
    rig.packet(0, 1, "a").packet(0, 2, "b").packet(0, 5, "e");
    let silent = ["line A is silent", "no line speaks: the feed is stale"];
    let fresh = ["line A speaks again", "the feed speaks again, nothing is missing", "5 e"];
    rig.said(&[&[BEGAN, "1 a", "2 b", "3 c", "4 d"][..], &silent, &fresh].concat());
}

#[test]
fn early_packets_beyond_what_is_kept_are_asked_for_again() {
    let mut rig = plain();
    rig.packet(0, 1, "a");
    let last = 2 + MAX_EARLY_PACKETS as u64 + 1;
    for number in 3..=last {
        rig.packet(0, number, "x");
    }
    assert_eq!((rig.receiver.waiting().0, rig.receiver.stats().early_dropped), (MAX_EARLY_PACKETS, 1));
    rig.log.0.clear();
    rig.packet(0, 2, "b");
    assert_eq!(rig.receiver.waiting(), (0, 0));
    assert_eq!(rig.log.0.last(), Some(&format!("ask 0 for {last}+1")));
    rig.log.0.clear();
    rig.packet(0, last, "z").said(&[&format!("{last} z"), "missing messages have come"]);
}

#[test]
fn a_new_session_after_the_end_begins_at_once() {
    let other = |number, letters| packet_of(*b"DAY2      ", number, letters);
    let mut rig = plain();
    rig.packet(0, 1, "a").end(0, 2).on(0, &other(2, "b"));
    let ended = [BEGAN, "1 a", "end of session after message 1"];
    let began = [
        "session \"SESSION01\" gave way to session \"DAY2\"",
        "session \"DAY2\" from message 1 on; the stream is at 2",
        "messages 1 to 1 are missing on every line",
        "ask 0 for 1+1",
    ];
    rig.said(&[&ended[..], &began].concat());
    rig.end(0, 2).packet(0, 2, "late").said(&[]);
    rig.on(0, &other(1, "a")).said(&["1 a", "2 b", "missing messages have come"]);
    rig.on(0, &moldudp64::encode_end_of_session(*b"DAY2      ", 3)).said(&["end of session after message 2"]);
    rig.packet(0, 3, "later still").said(&[]);
}

#[test]
fn an_end_before_what_was_heard_is_none() {
    plain().packet(0, 1, "ab").end(0, 2).packet(0, 3, "c").said(&[BEGAN, "1 a", "2 b", "3 c"]);
}

#[test]
fn early_packets_are_bounded_by_their_bytes_too() {
    let mut rig = plain();
    rig.packet(0, 1, "a");
    let mut builder = PacketBuilder::new(SESSION, 3, usize::MAX);
    builder.push(&[b'x'; 60_000]).expect("room");
    while rig.receiver.stats().early_dropped == 0 {
        rig.on(0, builder.bytes());
        builder.next_packet();
        builder.push(&[b'x'; 60_000]).expect("room");
    }
    let (packets, bytes) = rig.receiver.waiting();
    assert!(bytes <= MAX_EARLY_BYTES && bytes + builder.bytes().len() > MAX_EARLY_BYTES, "{packets} packets, {bytes}");
}

#[test]
fn a_configured_session_is_the_only_one() {
    let config = ReceiverConfig { session: Some(SESSION), ..ReceiverConfig::default() };
    let mut rig = Rig::new(config);
    rig.on(0, &packet_of(*b"OTHER     ", 1, "z")).packet(0, 1, "a").end(0, 2).on(0, &packet_of([0; 10], 1, "z"));
    let foreign =
        |name| format!("packets of session \"{name}\" are dropped, ours is alive: another group on these lines?");
    rig.said(&[&foreign("OTHER"), BEGAN, "1 a", "end of session after message 1"]);
    assert_eq!(rig.receiver.stats().foreign, 2);
}

#[test]
fn a_malformed_packet_is_dropped_whole() {
    let mut rig = plain();
    let whole = packet(1, "abc");
    rig.on(0, &whole[..whole.len() - 1]).on(0, &[&whole[..], b"x"].concat()).on(0, b"short").on(0, b"");
    rig.said(&[]).on(0, &whole).said(&[BEGAN, "1 a", "2 b", "3 c"]);
    assert_eq!(rig.receiver.stats().malformed, 4);
}

#[test]
fn a_snapshot_makes_older_messages_unwanted() {
    let mut rig = pair();
    rig.packet(0, 1, "a").packet(0, 5, "ef").at(1_002);
    rig.said(&[BEGAN, "1 a", "messages 2 to 4 are missing on every line", "ask 0 for 2+3"]);
    rig.receiver.resume_at(6, rig.now, &mut rig.log);
    rig.said(&["6 f", "missing messages have come"]).packet(1, 2, "bcd").packet(1, 7, "g").said(&["7 g"]);
}

#[test]
fn an_answer_by_a_socket_of_its_own_counts_for_no_line() {
    let mut rig = plain();
    rig.packet(0, 1, "a").packet(0, 3, "c").packet(7, 2, "b").packet(7, 2, "b");
    let gap = "messages 2 to 2 are missing on every line";
    rig.said(&[BEGAN, "1 a", gap, "ask 0 for 2+1", "2 b", "3 c", "missing messages have come"]);
    assert_eq!(rig.receiver.lines().next().map(|line| (line.packets, line.missed)), Some((2, 1)));
}

/// Counts and checks order only.
struct InOrder {
    next: u64,
    lost: u64,
    ended: bool,
    requests: Vec<(usize, moldudp64::Header)>,
}

impl ReceiverOut for InOrder {
    fn message(&mut self, number: u64, bytes: &[u8]) {
        assert_eq!(number, self.next, "in order, once");
        assert_eq!(bytes, message(number), "the bytes of this number");
        self.next += 1;
    }

    fn request(&mut self, server: usize, bytes: &[u8; HEADER_LENGTH]) {
        self.requests.push((server, decode_request(bytes).expect("a request that a server takes")));
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Began { next, .. } => self.next = next,
            Notice::Lost { from, to } => {
                assert!(from == self.next && to > from, "what is lost is what comes next");
                (self.next, self.lost) = (to, self.lost.saturating_add(to - from));
            }
            Notice::Ended { next } => {
                assert_eq!(next, self.next, "the end is final only when all was given out or lost");
                self.ended = true;
            }
            _ => {}
        }
    }
}

fn message(number: u64) -> Vec<u8> {
    vec![number as u8; (number % 1_009 * 7 % 23) as usize]
}

/// Packets from `from` to `to`, with up to `most` messages each.
fn packets(from: u64, to: u64, most: u64, rng: &mut Rng) -> Vec<(u64, Vec<u8>)> {
    let (mut packets, mut next) = (Vec::new(), from);
    while next < to {
        let mut builder = PacketBuilder::new(SESSION, next, 400);
        let end = to.min(next + 1 + rng.below(most));
        let start = next;
        while next < end && builder.push(&message(next)).is_ok() {
            next += 1;
        }
        packets.push((start, builder.bytes().to_vec()));
    }
    packets
}

/// A stream over two bad lines and servers that answer when they like; everything by the seed. What is given up.
fn lossy(seed: u64, answers: bool) -> u64 {
    const MESSAGES: u64 = 400;
    let mut rng = Rng::new(seed);
    let config = ReceiverConfig {
        lines: 2,
        start: Some(1),
        servers: 2,
        attempts: if answers { 1_000 } else { 2 },
        timeout_ns: 5 * MS,
        ..ReceiverConfig::default()
    };
    let mut receiver = Receiver::new(config);
    let mut out = InOrder { next: 0, lost: 0, ended: false, requests: Vec::new() };
    // What arrives when; the second number keeps arrivals at one moment apart.
    let mut wire: BTreeMap<(u64, u64), (u8, Vec<u8>)> = BTreeMap::new();
    let (mut sent_at, mut serial) = (0, 0);
    let [loss, twice, delay] = [rng.below(40), rng.below(20), 1 + rng.below(4_000_000)];
    let mut stream = packets(1, MESSAGES + 1, 12, &mut rng);
    stream.extend((0..3).map(|_| (0, moldudp64::encode_end_of_session(SESSION, MESSAGES + 1).to_vec())));
    for (number, bytes) in stream {
        sent_at += if number == 0 { 1_000 * MS } else { 1 + rng.below(1_000_000) };
        for line in 0..2 {
            let copies = if number != 0 && rng.below(100) < loss { 0 } else { 1 + u64::from(rng.below(100) < twice) };
            for _ in 0..copies {
                serial += 1;
                wire.insert((sent_at + rng.below(delay), serial), (line, bytes.clone()));
            }
        }
    }
    let mut now = 0;
    while !out.ended {
        let tick = receiver.next_tick().0;
        match wire.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at < tick) {
            Some(key) => {
                now = now.max(key.0);
                let (line, bytes) = wire.remove(&key).expect("there it is");
                receiver.on_datagram(line, &bytes, Nanos(now), &mut out);
            }
            None => {
                now = now.max(tick);
                assert!(now < 100_000 * MS, "seed {seed}: no end in sight");
                receiver.on_tick(Nanos(now), &mut out);
            }
        }
        for (_, request) in std::mem::take(&mut out.requests) {
            assert!(u64::from(request.message_count) <= MESSAGES);
            if answers && rng.below(100) >= loss {
                let (from, count) = (request.sequence_number, u64::from(request.message_count));
                let (_, bytes) = packets(from, from + count, count, &mut rng).swap_remove(0);
                serial += 1;
                wire.insert((now + rng.below(8 * MS), serial), (rng.below(3) as u8, bytes));
            }
        }
    }
    assert_eq!((receiver.next(), out.next), (MESSAGES + 1, MESSAGES + 1), "seed {seed}");
    assert_eq!(receiver.stats().messages + out.lost, MESSAGES, "seed {seed}: each given out once, or lost");
    assert_eq!((receiver.stats().lost, receiver.waiting()), (out.lost, (0, 0)), "seed {seed}");
    out.lost
}

#[test]
fn bad_lines_and_servers_lose_and_disorder_nothing() {
    for seed in 0..400 {
        assert_eq!(lossy(seed, true), 0, "seed {seed}: somebody had every message");
    }
}

#[test]
fn without_answers_what_is_lost_is_said_exactly() {
    let lost: u64 = (0..200).map(|seed| lossy(seed, false)).sum();
    assert!(lost > 1_000, "the lines are bad enough: {lost}");
}

/// Anything at all: packets of any number and count, damaged ones, ticks at any time, ends, sessions.
#[test]
fn nothing_that_arrives_makes_it_panic_or_disorders_it() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let config = ReceiverConfig {
            lines: 2,
            start: [None, Some(1)][rng.below(2) as usize],
            servers: rng.below(3) as usize,
            wait_ns: rng.below(3) * MS,
            window: 1 << rng.below(20),
            ..ReceiverConfig::default()
        };
        let mut receiver = Receiver::new(config);
        let mut out = InOrder { next: 0, lost: 0, ended: false, requests: Vec::new() };
        let mut now = Nanos([0, 1 << 60][rng.below(2) as usize]);
        for _ in 0..300 {
            let longest = 1 << (1 + rng.below(33));
            now = now.plus(rng.below(longest));
            let number = match rng.below(20) {
                0 => rng.next_u64(),
                1 => u64::MAX - rng.below(3),
                _ => receiver.next().saturating_add(rng.below(20)).saturating_sub(rng.below(10)),
            };
            let session = if rng.below(30) == 0 { *b"OTHER     " } else { SESSION };
            let mut bytes = match rng.below(12) {
                0 => moldudp64::encode_heartbeat(session, number).to_vec(),
                1 => moldudp64::encode_end_of_session(session, number).to_vec(),
                _ => {
                    let mut builder = PacketBuilder::new(session, number, 1_400);
                    for at in 0..rng.below(6) {
                        let _ = builder.push(&message(number.wrapping_add(at)));
                    }
                    builder.bytes().to_vec()
                }
            };
            if rng.below(10) == 0 {
                bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            }
            receiver.on_datagram(rng.below(4) as u8, &bytes, now, &mut out);
            if receiver.next_tick() <= now || rng.below(4) == 0 {
                receiver.on_tick(now, &mut out);
            }
            assert!(receiver.known() >= receiver.next());
        }
        receiver.on_tick(Nanos(u64::MAX), &mut out);
    }
}
