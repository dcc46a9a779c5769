//! What scenarios of a client cannot show: the initiator, options, limits, and what is stored.

use std::collections::BTreeMap;

use helios_types::{NANOS_PER_SECOND, Nanos};
use helios_wire::fix::{
    Builder, Closed, Dictionary, Fields, Framed, Handled, Message, Outside, Precision, Reply, Role, SendError, Session,
    SessionEvent, Settings, Stored, Version, frame,
};

use crate::scenario::shown;

const NOW: Nanos = Nanos(1_767_323_045_678_000_000);

/// Everything a session says, as text in its order.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    stored: BTreeMap<u64, Vec<u8>>,
    refuse: Option<String>,
}

impl Log {
    /// What was said since the last look. Messages without what every message has.
    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// As [`Self::take`], messages only.
    fn messages(&mut self) -> Vec<String> {
        self.take().into_iter().filter_map(|line| line.strip_prefix("write ").map(str::to_owned)).collect()
    }
}

/// Type, number, and the body of a message.
fn brief(bytes: &[u8]) -> String {
    let mut fields = Fields::new();
    let message = fields.parse(bytes, Dictionary::of(Version::Fix50Sp2)).expect("our own message");
    let shown: Vec<String> = message
        .iter()
        .filter(|(tag, _)| ![8, 9, 49, 52, 56, 122, 10].contains(tag))
        .map(|(tag, value)| format!("{tag}={}", String::from_utf8_lossy(value)))
        .collect();
    shown.join("|")
}

impl Outside for Log {
    fn write(&mut self, bytes: &[u8]) {
        assert!(matches!(frame(bytes), Framed::Message { .. }));
        self.lines.push(format!("write {}", brief(bytes)));
    }

    fn close(&mut self, why: &Closed) {
        self.lines.push(format!("close {why}"));
    }

    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        self.lines.push(format!("sent {seq} {}", if message.is_some() { "stored" } else { "passed" }));
        message.into_iter().for_each(|message| drop(self.stored.insert(seq, message.to_vec())));
    }

    fn received(&mut self, next_in: u64) {
        self.lines.push(format!("received {next_in}"));
    }

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        self.stored.range(from..=to).for_each(|(seq, message)| each(*seq, message));
    }

    fn reset(&mut self, _: Nanos) {
        self.lines.push("reset".to_owned());
        self.stored.clear();
    }

    fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        self.lines.push(format!("application {}", brief(message.bytes())));
        // Two answers to a question, one to all else.
        for _ in 0..if message.msg_type() == b"H" { 2 } else { 1 } {
            let _ = reply.send(b"8", |builder| builder.number(37, 1));
        }
        Handled::Done
    }

    fn authenticate(&mut self, logon: &Message<'_>) -> Result<(), String> {
        self.lines.push(format!("authenticate {:?}", logon.text(553)));
        self.refuse.clone().map_or(Ok(()), Err)
    }

    fn logged_on(&mut self) {
        self.lines.push("logged on".to_owned());
    }

    fn logged_out(&mut self) {
        self.lines.push("logged out".to_owned());
    }

    fn note(&mut self, event: &SessionEvent) {
        if matches!(event, SessionEvent::QueueFull { .. } | SessionEvent::DroppedBeforeReset { .. }) {
            self.lines.push(event.to_string());
        }
    }
}

fn settings(role: Role) -> Settings {
    Settings { rules: None, ..Settings::new(role, Version::Fix44, "US", "THEM") }
}

fn stored(next_out: u64, next_in: u64) -> Stored {
    Stored { next_out, next_in, created: NOW }
}

/// A message of the other side.
fn theirs(msg_type: &str, seq: u64, fields: &str) -> Vec<u8> {
    let mut builder = Builder::new();
    builder.begin(b"FIX.4.4", msg_type.as_bytes());
    builder.number(34, seq);
    builder.field(49, b"THEM");
    builder.timestamp(52, NOW, Precision::Millis);
    builder.field(56, b"US");
    builder.raw(fields.replace('|', "\x01").as_bytes());
    builder.finish().to_vec()
}

struct Run {
    session: Session,
    log: Log,
    now: Nanos,
}

impl Run {
    fn new(settings: Settings, stored: Stored) -> Self {
        Self { session: Session::new(settings, stored), log: Log::default(), now: NOW }
    }

    /// Connected, and the other side's Logon has this number; what was said until then is forgotten.
    fn logged_on(settings: Settings, stored: Stored, seq: u64) -> Self {
        let mut run = Self::new(settings, stored);
        run.connect();
        run.hear("A", seq, "98=0|108=30|");
        assert!(run.session.is_logged_on());
        run.log.take();
        run
    }

    fn connect(&mut self) {
        self.session.on_connected(self.now, &mut self.log);
    }

    fn hear(&mut self, msg_type: &str, seq: u64, fields: &str) {
        self.session.on_bytes(&theirs(msg_type, seq, fields), self.now, &mut self.log);
    }

    fn pass(&mut self, seconds: f64) {
        let end = self.now.plus((seconds * NANOS_PER_SECOND as f64) as u64);
        while self.now < end {
            self.now = self.now.plus(NANOS_PER_SECOND / 10);
            self.session.on_tick(self.now, &mut self.log);
        }
    }
}

#[test]
fn an_initiator_logs_on_and_keeps_its_numbers() {
    let mut settings = settings(Role::Initiator);
    (settings.username, settings.password) = (Some("name".to_owned()), Some("secret".to_owned()));
    let mut run = Run::new(settings, stored(7, 9));
    run.connect();
    let logon = "write 35=A|34=7|98=0|108=30|553=name|554=secret";
    assert_eq!(run.log.take(), ["sent 7 passed", logon]);
    assert_eq!(run.session.send(b"D", |_| {}, NOW, &mut run.log), Err(SendError::NotLoggedOn));
    run.hear("A", 9, "98=0|108=30|");
    assert_eq!(run.log.take(), ["received 10", "logged on"]);
    assert_eq!(run.session.send(b"D", |builder| builder.field(11, b"a"), NOW, &mut run.log), Ok(8));
    assert_eq!(run.log.take(), ["sent 8 stored", "write 35=D|34=8|11=a"]);
    run.hear("H", 10, "11=a|");
    let replies = ["sent 9 stored", "write 35=8|34=9|37=1", "sent 10 stored", "write 35=8|34=10|37=1", "received 11"];
    assert_eq!(run.log.take()[0], "application 35=H|34=10|11=a");
    run.hear("H", 11, "11=a|");
    let replies = replies.map(|line| line.replace("10", "12").replace("9", "11").replace("received 11", "received 12"));
    assert_eq!(run.log.take()[1..], replies);
    run.session.on_closed(NOW, &mut run.log);
    assert_eq!(run.log.take(), ["logged out"]);
    // After a restart the numbers go on from what was stored.
    let mut again = Run::new(run.session.settings().clone(), stored(13, 12));
    again.connect();
    assert!(again.log.messages()[0].starts_with("35=A|34=13|"));
}

#[test]
fn an_initiator_is_refused() {
    let mut run = Run::new(settings(Role::Initiator), stored(1, 1));
    run.connect();
    run.log.take();
    run.hear("5", 1, "58=go away|");
    assert_eq!(run.log.take(), ["close Logon refused by the other side: \"go away\""]);
    let mut run = Run::new(settings(Role::Initiator), stored(1, 5));
    run.connect();
    run.log.take();
    run.hear("A", 4, "98=0|108=30|");
    let text = "MsgSeqNum too low, expecting 5 but received 4";
    let expected = ["sent 2 passed", &format!("write 35=5|34=2|58={text}"), &format!("close Logon refused: {text}")];
    assert_eq!(run.log.take(), expected);
}

#[test]
fn a_logon_takes_a_bounded_time() {
    let mut run = Run::new(settings(Role::Initiator), stored(1, 1));
    run.connect();
    run.log.take();
    run.pass(9.9);
    assert!(run.log.take().is_empty());
    run.pass(0.2);
    assert_eq!(run.log.take(), ["close no Logon in time"]);
    // What comes behind a close is not read.
    run.hear("A", 1, "98=0|108=30|");
    assert!(run.log.take().is_empty());
}

#[test]
fn an_initiator_asks_for_a_reset() {
    let reset = Settings { reset_on_logon: true, ..settings(Role::Initiator) };
    let mut run = Run::new(reset.clone(), stored(7, 9));
    run.connect();
    assert_eq!(run.log.take(), ["reset", "sent 1 passed", "write 35=A|34=1|98=0|108=30|141=Y"]);
    run.hear("A", 1, "98=0|108=30|141=Y|");
    assert_eq!(run.log.take(), ["received 2", "logged on"]);
    // 4.0 has no such field.
    let mut run = Run::new(Settings { version: Version::Fix40, ..reset }, stored(7, 9));
    run.connect();
    assert_eq!(run.log.messages(), ["35=A|34=1|98=0|108=30"]);
}

#[test]
fn an_acceptor_resets_an_initiator_that_did_not_ask() {
    let mut run = Run::new(settings(Role::Initiator), stored(7, 9));
    run.connect();
    run.log.take();
    run.hear("A", 1, "98=0|108=30|141=Y|");
    assert_eq!(run.log.take(), ["reset", "sent 1 passed", "received 2", "logged on"]);
    assert_eq!((run.session.next_out(), run.session.next_in()), (2, 2));
}

#[test]
fn a_reset_of_a_live_session_drops_what_was_under_way() {
    let mut run = Run::logged_on(settings(Role::Acceptor), stored(1, 1), 1);
    assert!(run.session.reset(NOW, &mut run.log));
    assert_eq!(run.log.take(), ["reset", "sent 1 passed", "write 35=A|34=1|98=0|108=30|141=Y"]);
    run.hear("D", 2, "11=under way|");
    assert_eq!(run.log.take(), ["message 2 of before the reset dropped"]);
    run.hear("A", 1, "98=0|108=30|141=Y|");
    assert_eq!(run.log.take(), ["received 2"]);
    run.hear("1", 2, "112=a|");
    assert_eq!(run.log.messages(), ["35=0|34=2|112=a"]);
    // Without a connection it is done at once; while one comes up, not at all.
    run.session.on_closed(NOW, &mut run.log);
    run.log.take();
    assert!(run.session.reset(NOW, &mut run.log));
    assert_eq!(run.log.take(), ["reset"]);
    run.connect();
    assert!(!run.session.reset(NOW, &mut run.log));
}

#[test]
fn resets_when_it_is_told_to() {
    let mut run = Run::logged_on(Settings { reset_on_logout: true, ..settings(Role::Acceptor) }, stored(4, 4), 4);
    run.hear("5", 5, "");
    let expected = ["received 6", "sent 5 passed", "write 35=5|34=5", "reset", "logged out", "close logged out"];
    assert_eq!(run.log.take(), expected);
    let mut run = Run::logged_on(Settings { reset_on_disconnect: true, ..settings(Role::Acceptor) }, stored(4, 4), 4);
    run.session.on_closed(NOW, &mut run.log);
    assert_eq!(run.log.take(), ["logged out", "reset"]);
    assert_eq!((run.session.next_out(), run.session.next_in()), (1, 1));
}

#[test]
fn whose_logout_it_is_closes() {
    let mut run = Run::logged_on(settings(Role::Initiator), stored(1, 1), 1);
    run.session.logout("enough", NOW, &mut run.log);
    assert_eq!(run.log.take(), ["sent 2 passed", "write 35=5|34=2|58=enough"]);
    assert_eq!(run.session.send(b"D", |_| {}, NOW, &mut run.log), Err(SendError::NotLoggedOn));
    // What was under way is still taken.
    run.hear("D", 2, "11=a|");
    assert_eq!(run.log.take(), ["application 35=D|34=2|11=a", "received 3"]);
    run.hear("5", 3, "");
    assert_eq!(run.log.take(), ["received 4", "logged out", "close logged out"]);
}

#[test]
fn a_logon_can_be_refused() {
    let mut run = Run::new(settings(Role::Acceptor), stored(3, 5));
    run.log.refuse = Some("wrong password".to_owned());
    run.connect();
    run.hear("A", 5, "98=0|108=30|553=me|554=guess|");
    let expected = [
        "authenticate Some(\"me\")",
        "sent 3 passed",
        "write 35=5|34=3|58=wrong password",
        "close Logon refused: wrong password",
    ];
    assert_eq!(run.log.take(), expected);
}

#[test]
fn missing_messages_are_asked_for_in_chunks() {
    let mut run = Run::logged_on(Settings { resend_chunk: Some(5), ..settings(Role::Acceptor) }, stored(1, 1), 1);
    run.hear("0", 14, "");
    assert_eq!(run.log.messages(), ["35=2|34=2|7=2|16=6"]);
    (2..=5).for_each(|seq| run.hear("0", seq, "43=Y|122=20260102-03:04:05|"));
    assert!(run.log.messages().is_empty());
    run.hear("0", 6, "43=Y|122=20260102-03:04:05|");
    assert_eq!(run.log.messages(), ["35=2|34=3|7=7|16=11"]);
    run.hear("4", 7, "43=Y|122=20260102-03:04:05|36=12|123=Y|");
    assert_eq!(run.log.messages(), ["35=2|34=4|7=12|16=0"]);
    run.hear("4", 12, "43=Y|122=20260102-03:04:05|36=14|123=Y|");
    assert_eq!((run.log.messages(), run.session.next_in()), (vec![], 15));
}

#[test]
fn early_messages_are_bounded() {
    let mut run = Run::logged_on(Settings { max_queue: 3, ..settings(Role::Acceptor) }, stored(1, 1), 1);
    (10..20).for_each(|seq| run.hear("1", seq, &format!("112={seq}|")));
    let full: Vec<String> = run.log.take().into_iter().filter(|line| line.contains("full")).collect();
    assert_eq!(full.len(), 7);
    run.hear("4", 2, "43=Y|122=20260102-03:04:05|36=10|123=Y|");
    assert_eq!(run.log.messages(), ["35=0|34=3|112=10", "35=0|34=4|112=11", "35=0|34=5|112=12"]);
    // The next message shows that the dropped ones are missing.
    run.hear("0", 20, "");
    assert_eq!(run.log.messages(), ["35=2|34=6|7=13|16=0"]);
    assert!(run.session.buffered() < 200);
}

#[test]
fn the_last_number_processed_stands_in_every_header() {
    let mut run = Run::new(Settings { send_last_processed: true, ..settings(Role::Acceptor) }, stored(1, 1));
    run.connect();
    run.hear("A", 1, "98=0|108=30|");
    run.hear("1", 2, "112=a|");
    run.hear("D", 3, "11=a|");
    run.hear("2", 4, "7=3|16=3|");
    let expected =
        ["35=A|34=1|369=0|98=0|108=30", "35=0|34=2|369=1|112=a", "35=8|34=3|369=2|37=1", "35=8|34=3|43=Y|369=3|37=1"];
    assert_eq!(run.log.messages(), expected);
}

#[test]
fn both_sides_can_say_what_they_expect() {
    let told = Settings { send_next_expected: true, ..settings(Role::Acceptor) };
    let mut run = Run::logged_on(told.clone(), stored(1, 1), 1);
    (2..=4).for_each(|seq| run.hear("D", seq, "11=a|"));
    run.session.on_closed(NOW, &mut run.log);
    // They missed our 3 and 4; we missed their 5 and 6.
    run.connect();
    run.log.take();
    run.hear("A", 7, "98=0|108=30|789=3|");
    let expected =
        ["35=A|34=5|98=0|108=30|789=5", "35=8|34=3|43=Y|37=1", "35=8|34=4|43=Y|37=1", "35=4|34=5|43=Y|36=6|123=Y"];
    assert_eq!(run.log.messages(), expected);
    run.hear("D", 5, "43=Y|122=20260102-03:04:05|11=a|");
    run.hear("4", 6, "43=Y|122=20260102-03:04:05|36=8|123=Y|");
    assert_eq!(run.session.next_in(), 8);
    // A number of the future is refused.
    let mut run = Run::new(told, stored(3, 1));
    run.connect();
    run.hear("A", 1, "98=0|108=30|789=4|");
    assert_eq!(run.log.messages(), ["35=5|34=3|58=NextExpectedMsgSeqNum too high, expecting 3 but received 4"]);
}

#[test]
fn an_initiator_is_told_too() {
    let mut run = Run::new(Settings { send_next_expected: true, ..settings(Role::Initiator) }, stored(5, 8));
    run.connect();
    assert_eq!(run.log.messages(), ["35=A|34=5|98=0|108=30|789=8"]);
    // They miss our 4 and have our Logon waiting.
    run.hear("A", 8, "98=0|108=30|789=4|");
    assert_eq!(run.log.messages(), ["35=4|34=4|43=Y|36=6|123=Y"]);
}

#[test]
fn a_store_that_lost_messages_is_gap_filled() {
    let mut run = Run::logged_on(settings(Role::Acceptor), stored(1, 1), 1);
    (2..=6).for_each(|seq| run.hear("D", seq, "11=a|"));
    run.log.stored.remove(&4);
    run.log.stored.insert(5, b"damaged".to_vec());
    run.log.take();
    run.hear("2", 7, "7=1|16=0|");
    let expected = [
        "35=4|34=1|43=Y|36=2|123=Y",
        "35=8|34=2|43=Y|37=1",
        "35=8|34=3|43=Y|37=1",
        "35=4|34=4|43=Y|36=6|123=Y",
        "35=8|34=6|43=Y|37=1",
    ];
    assert_eq!(run.log.messages(), expected);
}

#[test]
fn a_long_resend_comes_in_batches() {
    let mut run = Run::logged_on(settings(Role::Acceptor), stored(1, 1), 1);
    (2..=1_001).for_each(|seq| run.hear("D", seq, "11=a|"));
    run.log.take();
    run.hear("2", 1_002, "7=1|16=0|");
    let messages = run.log.messages();
    assert_eq!(messages.len(), 1_001);
    assert_eq!(messages[0], "35=4|34=1|43=Y|36=2|123=Y");
    assert_eq!(messages[1_000], "35=8|34=1001|43=Y|37=1");
}

#[test]
fn infinity_was_a_number_once() {
    for (version, resent) in [(Version::Fix40, true), (Version::Fix42, true), (Version::Fix44, false)] {
        let settings = Settings { version, ..settings(Role::Acceptor) };
        let mut run = Run::new(settings, stored(1_500_000, 1));
        run.connect();
        let theirs = |msg_type: &str, seq: u64, fields: &str| {
            let text = theirs(msg_type, seq, fields);
            let mut fields = Fields::new();
            let message = fields.parse(&text, Dictionary::of(Version::Fix44)).expect("our own message");
            let mut builder = Builder::new();
            builder.begin(version.begin_string().as_bytes(), message.msg_type());
            message
                .iter()
                .skip(3)
                .take(message.iter().len() - 4)
                .for_each(|(tag, value)| builder.field(tag as u32, value));
            builder.finish().to_vec()
        };
        run.session.on_bytes(&theirs("A", 1, "98=0|108=30|"), NOW, &mut run.log);
        run.log.take();
        run.session.on_bytes(&theirs("2", 2, "7=1499999|16=999999|"), NOW, &mut run.log);
        let expected = if resent { vec!["35=4|34=1499999|43=Y|36=1500001|123=Y".to_owned()] } else { vec![] };
        assert_eq!(run.log.messages(), expected, "{version:?}");
    }
}

#[test]
fn what_is_too_long_is_not_sent() {
    let mut run = Run::logged_on(settings(Role::Acceptor), stored(1, 1), 1);
    let long = vec![b'x'; helios_wire::fix::codec::MAX_MESSAGE];
    assert_eq!(run.session.send(b"B", |builder| builder.field(58, &long), NOW, &mut run.log), Err(SendError::TooLong));
    assert!(run.log.take().is_empty());
    assert_eq!(run.session.send(b"B", |builder| builder.field(58, &long[..60_000]), NOW, &mut run.log), Ok(2));
    let message = run.log.stored[&2].clone();
    assert!(matches!(frame(&message), Framed::Message { .. }), "{}", shown(&message[..40]));
}

#[test]
fn a_delimiter_in_a_value_forges_no_field() {
    let mut run = Run::logged_on(settings(Role::Acceptor), stored(1, 1), 1);
    run.session.send(b"B", |builder| builder.field(58, b"a\x0144=1"), NOW, &mut run.log).expect("logged on");
    assert_eq!(run.log.messages(), ["35=B|34=2|58=a 44=1"]);
}

#[test]
fn an_operator_sets_numbers() {
    let mut run = Run::logged_on(settings(Role::Acceptor), stored(1, 1), 1);
    run.session.set_next(Some(50), Some(2_000));
    run.hear("1", 2_000, "112=a|");
    assert_eq!(run.log.messages(), ["35=0|34=50|112=a"]);
    run.session.set_next(Some(0), Some(0));
    assert_eq!((run.session.next_out(), run.session.next_in()), (1, 1));
}
