//! A FIX session, as initiator and as acceptor, against a counterparty that says anything.

use std::collections::BTreeMap;

use helios_types::Nanos;
use helios_wire::fix::codec::{MAX_MESSAGE, MAX_NUMBER};
use helios_wire::fix::session::{MAX_QUEUE_BYTES, RESEND_BATCH};
use helios_wire::fix::{
    Builder, Closed, Dictionary, Echo, Fields, Framed, Handled, Message, Outside, Precision, Reply, Role, Session,
    SessionEvent, Settings, Stored, Version, frame,
};

use crate::script::{Script, Writing};

pub(crate) const BEGIN: Nanos = Nanos(1_767_323_045_000_000_000);

/// The other side: it writes well-formed messages of any content, numbered as they should be or not.
pub(crate) struct Counterparty {
    pub(crate) version: Version,
    pub(crate) sender: &'static str,
    pub(crate) target: &'static str,
    /// The number that its next message should have.
    pub(crate) next: u64,
    password: Option<&'static str>,
    builder: Builder,
}

impl Counterparty {
    pub(crate) fn new(version: Version, sender: &'static str, target: &'static str) -> Self {
        Self { version, sender, target, next: 1, password: None, builder: Builder::new() }
    }

    /// Its Logon has this password.
    pub(crate) fn with_password(self, password: &'static str) -> Self {
        Self { password: Some(password), ..self }
    }

    /// A message of one of these types: its number, whether it may be a repetition, and its fields, of which `|` ends each.
    pub(crate) fn message(&mut self, script: &mut Script<'_>, types: &[&str], now: Nanos) -> Vec<u8> {
        let msg_type = types[script.below(types.len())];
        let number = match script.byte() {
            255 => script.word() % MAX_NUMBER,
            behind @ 200.. => self.next.saturating_sub(u64::from(behind - 199)),
            ahead => self.next + u64::from(ahead),
        };
        let odd = script.byte();
        let builder = &mut self.builder;
        builder.begin(self.version.begin_string().as_bytes(), msg_type.as_bytes());
        builder.number(34, number);
        if odd & 1 != 0 {
            builder.char(43, b'Y');
        }
        builder.field(49, if odd & 0xC0 == 0xC0 { b"WHO" } else { self.sender.as_bytes() });
        builder.timestamp(52, if odd & 0x30 == 0x30 { now.plus(1 << 40) } else { now }, Precision::Seconds);
        builder.field(56, self.target.as_bytes());
        if odd & 2 != 0 {
            builder.timestamp(122, now, Precision::Seconds);
        }
        let ends = |byte: &u8| if *byte == b'|' { 1 } else { *byte };
        let body: Vec<u8> = script.text().iter().map(ends).collect();
        builder.raw(&body);
        self.next = (number + 1).min(MAX_NUMBER);
        builder.finish().to_vec()
    }

    /// The Logon that this version asks for.
    pub(crate) fn logon(&mut self, reset: bool, now: Nanos) -> Vec<u8> {
        if reset {
            self.next = 1;
        }
        let builder = &mut self.builder;
        builder.begin(self.version.begin_string().as_bytes(), b"A");
        builder.number(34, self.next);
        builder.field(49, self.sender.as_bytes());
        builder.timestamp(52, now, Precision::Seconds);
        builder.field(56, self.target.as_bytes());
        builder.char(98, b'0');
        builder.number(108, 30);
        if reset && self.version >= Version::Fix41 {
            builder.char(141, b'Y');
        }
        self.password.into_iter().for_each(|password| builder.field(554, password.as_bytes()));
        self.version.appl_ver_id().into_iter().for_each(|id| builder.field(1137, id.as_bytes()));
        self.next += 1;
        builder.finish().to_vec()
    }
}

/// The whole messages of what a session wrote.
pub(crate) fn written(bytes: &[u8], version: Version, mut each: impl FnMut(&Message<'_>)) {
    let (mut rest, mut fields) = (bytes, Fields::new());
    while !rest.is_empty() {
        let Framed::Message { bytes, used } = frame(rest) else { panic!("a session writes whole messages") };
        each(&fields.parse(bytes, Dictionary::of(version)).expect("a session writes messages that can be read"));
        rest = &rest[used..];
    }
}

/// A store, and what the session promises of the numbers.
struct World {
    version: Version,
    echo: Echo,
    next_out: u64,
    next_in: u64,
    /// Application messages of the numbers since the last reset; `None` for session messages.
    sent: BTreeMap<u64, Option<Vec<u8>>>,
    /// The number that was announced and not written yet.
    announced: Option<u64>,
    /// The highest application message that was handed on.
    handled: u64,
    wants_reset_of_peer: bool,
    closing: bool,
    logged_on: bool,
}

impl Outside for World {
    fn write(&mut self, bytes: &[u8]) {
        assert!(!self.closing, "something is written behind the end of the connection");
        let (announced, sent, next) = (self.announced.take(), &self.sent, self.next_out);
        let mut resets = false;
        written(bytes, self.version, |message| {
            let number = message.seq_num().expect("every message has a number");
            let again = message.is_yes(43);
            // A Logon that was on its way when both sides reset counts as number 1 and is not written again.
            let announced = announced.filter(|announced| *announced != 1 || number == 1 && !again);
            assert_eq!(!again, announced.is_some(), "a new message has a new number, a repetition has none");
            if let Some(announced) = announced {
                assert_eq!(number, announced);
            } else {
                let fills = message.msg_type() == b"4" && message.is_yes(123);
                assert!(number < next, "a repetition of what was never sent");
                assert!(fills || matches!(sent.get(&number), Some(Some(_))), "sent again under another's number");
                let to = message.get_u64(36).unwrap_or(number + 1);
                assert!(!fills || (number < to && to <= next), "a fill of {number} to {to} where {next} comes next");
                assert!(!fills || sent.range(number..to).all(|(_, kept)| kept.is_none()), "an order was filled over");
            }
            resets |= message.msg_type() == b"A" && message.is_yes(141);
        });
        self.wants_reset_of_peer |= resets;
    }

    fn close(&mut self, why: &Closed) {
        let _ = why.to_string();
        self.closing = true;
    }

    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        assert_eq!(seq, self.next_out, "numbers are used once, in order");
        assert!(self.announced.replace(seq).is_none_or(|before| before == 1), "announced and never written");
        self.sent.insert(seq, message.map(<[u8]>::to_vec));
        self.next_out += 1;
    }

    fn received(&mut self, next_in: u64) {
        self.next_in = next_in;
    }

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        assert!(from <= to && to - from < RESEND_BATCH && to < self.next_out);
        for (seq, message) in self.sent.range(from..=to) {
            message.iter().for_each(|message| each(*seq, message));
        }
    }

    fn reset(&mut self, _: Nanos) {
        (self.next_out, self.next_in, self.handled) = (1, 1, 0);
        self.sent.clear();
    }

    fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        let number = message.seq_num().expect("a message that is handed on has a number");
        assert!(number > self.handled, "message {number} is handed on after {}", self.handled);
        self.handled = number;
        self.echo.application(message, reply)
    }

    fn logged_on(&mut self) {
        assert!(!std::mem::replace(&mut self.logged_on, true), "logged on twice");
    }

    fn logged_out(&mut self) {
        assert!(std::mem::replace(&mut self.logged_on, false), "logged out without being on");
        self.echo.logged_out();
    }

    fn note(&mut self, event: &SessionEvent) {
        let _ = event.to_string();
    }
}

const TYPES: [&str; 14] = ["0", "1", "2", "3", "4", "5", "A", "D", "8", "V", "j", "AE", "B", "?"];

/// A session of either role and any version, connected, cut and restarted: no number is used twice, what is sent again is
/// what had been sent under its number, no order is filled over, no message is handed on twice, and what is kept is
/// bounded.
pub fn fix_session(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let version = Version::ALL[script.below(8)];
    let options = script.byte();
    let role = if options & 1 == 0 { Role::Acceptor } else { Role::Initiator };
    let mut settings = Settings::new(role, version, "US", "THEM");
    settings.reset_on_logon = options & 2 != 0;
    settings.reset_on_disconnect = options & 4 != 0;
    settings.reset_on_logout = options & 8 != 0;
    settings.send_next_expected = options & 16 != 0 && version >= Version::Fix44;
    settings.resend_chunk = (options & 32 != 0).then_some(2);
    settings.send_last_processed = options & 64 != 0;
    settings.max_queue = if options & 128 != 0 { 3 } else { settings.max_queue };
    let mut session = Session::new(settings.clone(), Stored::fresh(BEGIN));
    let mut out = World {
        version,
        echo: Echo::default(),
        next_out: 1,
        next_in: 1,
        sent: BTreeMap::new(),
        announced: None,
        handled: 0,
        wants_reset_of_peer: false,
        closing: false,
        logged_on: false,
    };
    let mut them = Counterparty::new(version, "THEM", "US");
    let (mut now, mut connected) = (BEGIN, false);
    while let Some(step) = script.step() {
        match step & 7 {
            0 => now = now.plus(script.wait()).min(BEGIN.plus(1 << 50)),
            1 if !connected => {
                connected = true;
                session.on_connected(now, &mut out);
            }
            1 => {
                let logon = them.logon(script.below(2) == 1, now);
                session.on_bytes(&logon, now, &mut out);
            }
            2 if script.below(4) == 3 => out.closing |= connected,
            2 if connected => session.on_bytes(script.text(), now, &mut out),
            3 if session.is_logged_on() => {
                let text = script.text();
                let id = |builder: &mut Builder| builder.field(11, text);
                let header: &[(u32, &[u8])] = if step & 0x80 == 0 { &[] } else { &[(97, b"Y")] };
                session.send_with(b"D", header, id, now, &mut out).expect("it is logged on");
            }
            3 => assert!(session.send(b"D", |_| {}, now, &mut out).is_err(), "an order leaves without a logon"),
            4 => match script.below(8) {
                0 if connected => session.logout("leaving", now, &mut out),
                1 => _ = session.reset(now, &mut out),
                2 => {
                    // The process is gone and comes back with what was stored.
                    if connected && out.logged_on {
                        out.logged_on = false;
                    }
                    (connected, out.closing, out.announced) = (false, false, None);
                    let (next_out, next_in) = (out.next_out, out.next_in);
                    session = Session::new(settings.clone(), Stored { next_out, next_in, created: BEGIN });
                }
                _ => {}
            },
            _ if connected => {
                let message = them.message(&mut script, &TYPES, now);
                let cut = script.below(message.len() + 1).min(message.len());
                session.on_bytes(&message[..cut], now, &mut out);
                if !out.closing {
                    session.on_bytes(&message[cut..], now, &mut out);
                }
            }
            _ => {}
        }
        // Of a connection that the network has cut the session is told first.
        if step & 8 != 0 && !out.closing {
            session.on_tick(now, &mut out);
        }
        if std::mem::take(&mut out.closing) && connected {
            session.on_closed(now, &mut out);
            connected = false;
        }
        if std::mem::take(&mut out.wants_reset_of_peer) {
            them.next = 1;
        }
        assert!(out.announced.take().is_none_or(|before| before == 1), "announced and never written");
        assert_eq!(session.next_out(), out.next_out, "what is stored is what comes next");
        // A session that is leaving is told so when its connection ends.
        assert!(out.logged_on || !session.is_logged_on(), "logged on without a word");
        assert!(session.is_connected() || !out.logged_on, "logged on without a connection");
        assert!(session.buffered() <= MAX_QUEUE_BYTES + 3 * MAX_MESSAGE + 255);
    }
}

pub(crate) fn session_seeds() -> Vec<Vec<u8>> {
    let order = "11=1|21=1|38=1|40=1|54=1|55=X|60=20260102-03:04:05|";
    let message = |msg_type: u8, number: u8, odd: u8, body: &str| {
        Writing::default().then(&[5, msg_type, number, odd]).text(body.as_bytes()).then(&[0]).bytes()
    };
    let scripts = [
        // Orders, a gap and its end, a question for what was sent.
        [message(7, 0, 0, order), message(7, 2, 0, order), message(7, 201, 0, order), message(4, 0, 1, "123=Y|36=9|")]
            .concat(),
        [[3, 1, b'a', 3, 1, b'b'].as_slice(), &message(2, 0, 0, "7=1|16=0|"), &message(1, 0, 0, "112=x|")].concat(),
        [message(5, 0, 0, "58=bye|"), vec![1, 1, 0], message(3, 0, 0, "45=1|58=no|")].concat(),
        [vec![3, 1, b'a', 4, 2, 1, 1, 0, 3, 1, b'b'], message(2, 0, 0, "7=1|16=0|"), vec![4, 1], vec![1, 1]].concat(),
        [vec![0, 160, 9, 8, 0, 160, 8, 160, 4, 0, 8, 160], message(0, 0, 0, "")].concat(),
    ];
    let mut seeds = Vec::new();
    for version in 0..8 {
        for options in [0, 1, 34, 17, 128] {
            let script = &scripts[(usize::from(version) + usize::from(options)) % scripts.len()];
            seeds.push([&[version, options, 1, 1, options / 2 % 2], script.as_slice()].concat());
        }
    }
    seeds
}
