//! Properties that hold for arbitrary bytes, messages and values.

use helios_types::{Nanos, Price, Quantity};
use helios_wire::fix::{
    Builder, Closed, Dictionary, Echo, Fields, Framed, Handled, Message, Outside, Precision, Reply, Role, Rules,
    Session, Settings, Stored, Version, frame, validate,
};
use helios_wire::fuzz_decode;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const NOW: Nanos = Nanos(1_767_323_045_678_000_000);

/// Fields that sessions look at, with values that mean something, nothing, or are wrong.
fn field() -> impl Strategy<Value = (u32, String)> {
    let tags =
        [7, 11, 16, 21, 34, 36, 38, 40, 43, 45, 49, 52, 54, 55, 56, 58, 60, 96, 95, 97, 98, 108, 112, 115, 122, 123];
    let more = [128, 141, 268, 269, 270, 336, 369, 372, 373, 386, 453, 448, 802, 523, 553, 789, 1128, 1137, 0, 5001];
    let values = ["", "Y", "N", "0", "1", "2", "3", "9", "D", "US", "THEM", "-1", "999999999999999999", "x y"];
    let time = "20260102-03:04:05".to_owned();
    let value = prop_oneof![8 => select(values.to_vec()).prop_map(str::to_owned), 1 => Just(time), 1 => vec(32u8..127, 0..12).prop_map(|text| String::from_utf8(text).expect("ASCII"))];
    (select([tags.as_slice(), &more].concat()), value)
}

/// A message that is well-formed as bytes, its header mostly as it should be.
fn message(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let types = select(["0", "1", "2", "3", "4", "5", "A", "D", "d", "8", "V", "j", "AE", "?"].as_slice());
    (types, 1u64..12, any::<[u8; 2]>(), vec(field(), 0..8)).prop_map(move |(msg_type, seq, [odd, dup], fields)| {
        let mut builder = Builder::new();
        builder.begin(version.begin_string().as_bytes(), msg_type.as_bytes());
        builder.number(34, seq);
        if dup < 60 {
            builder.char(43, b'Y');
        }
        builder.field(49, if odd == 0 { b"WHO" } else { b"THEM" });
        builder.timestamp(52, NOW, Precision::Seconds);
        builder.field(56, b"US");
        if dup < 50 {
            builder.timestamp(122, NOW, Precision::Seconds);
        }
        if msg_type == "D" {
            order(&mut builder, version);
        }
        // Half of the messages are as they should be.
        let more = if odd % 2 == 0 { fields.as_slice() } else { &[] };
        more.iter().for_each(|(tag, value)| builder.field(*tag, value.as_bytes()));
        builder.finish().to_vec()
    })
}

/// An order that every version takes.
fn order(builder: &mut Builder, version: Version) {
    for (tag, value) in [(11, "id"), (21, "1"), (38, "1"), (40, "1"), (54, "1"), (55, "X")] {
        builder.field(tag, value.as_bytes());
    }
    if version >= Version::Fix42 {
        builder.timestamp(60, NOW, Precision::Millis);
    }
}

fn logon(version: Version) -> Vec<u8> {
    let mut builder = Builder::new();
    builder.begin(version.begin_string().as_bytes(), b"A");
    builder.number(34, 1);
    builder.field(49, b"THEM");
    builder.timestamp(52, NOW, Precision::Seconds);
    builder.field(56, b"US");
    builder.char(98, b'0');
    builder.number(108, 30);
    version.appl_ver_id().into_iter().for_each(|id| builder.field(1137, id.as_bytes()));
    builder.finish().to_vec()
}

/// Found by fuzzing: a field that begins with its `=`, and has another.
#[test]
fn a_field_without_a_tag_is_refused() {
    for odd in [b"=F1=2\x01".as_slice(), b"=1=\x01", b"===\x01", b"=\x01"] {
        let mut builder = Builder::new();
        builder.begin(b"FIX.4.4", b"0");
        builder.raw(odd);
        builder.raw(b"58=behind it\x01");
        assert!(Fields::new().parse(builder.finish(), Dictionary::of(Version::Fix44)).is_err());
    }
}

fn stream() -> impl Strategy<Value = (Version, Vec<u8>)> {
    select(Version::ALL.as_slice()).prop_flat_map(|version| {
        let damage = vec((any::<Index>(), any::<u8>()), 0..2);
        (any::<u8>(), vec(message(version), 0..12), damage).prop_map(move |(first, messages, damage)| {
            let mut bytes = if first < 240 { logon(version) } else { Vec::new() };
            bytes.extend(messages.concat());
            if !bytes.is_empty() {
                let length = bytes.len();
                damage.iter().for_each(|(at, byte)| bytes[at.index(length)] = *byte);
            }
            (version, bytes)
        })
    })
}

/// Judges everything that a session writes as the other side would.
struct Judge {
    version: Version,
    fields: Fields,
    echo: Echo,
    next_out: u64,
    next_in: u64,
    closed: bool,
    stored: Vec<(u64, Vec<u8>)>,
}

impl Outside for Judge {
    fn write(&mut self, bytes: &[u8]) {
        assert!(!self.closed, "nothing is written behind a close");
        let dictionary = Dictionary::of(self.version);
        assert!(matches!(frame(bytes), Framed::Message { used, .. } if used == bytes.len()));
        let message = self.fields.parse(bytes, dictionary).expect("our own message");
        let seq = message.seq_num().expect("our own number");
        assert!(if message.is_yes(43) { seq < self.next_out } else { seq + 1 == self.next_out });
        // Echoes are as wrong as they came where 1137 is in a j, which only QuickFIX has, no dictionary.
        if message.msg_type() != b"j" {
            let judged = validate(dictionary, &message, &Rules::default());
            assert_eq!(judged, Ok(()), "{}", String::from_utf8_lossy(bytes));
        }
    }

    fn close(&mut self, _: &Closed) {
        self.closed = true;
    }

    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        assert_eq!(seq, self.next_out);
        self.next_out += 1;
        message.into_iter().for_each(|message| self.stored.push((seq, message.to_vec())));
    }

    fn received(&mut self, next_in: u64) {
        assert!(next_in > self.next_in);
        self.next_in = next_in;
    }

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        let asked = self.stored.iter().filter(|(seq, _)| (from..=to).contains(seq));
        asked.for_each(|(seq, message)| each(*seq, message));
    }

    fn reset(&mut self, _: Nanos) {
        (self.next_out, self.next_in) = (1, 1);
        self.stored.clear();
    }

    fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        self.echo.application(message, reply)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..400)) {
        fuzz_decode(&bytes);
    }

    #[test]
    fn damaged_streams_do_not_panic((_, bytes) in stream()) {
        fuzz_decode(&bytes);
    }

    #[test]
    fn what_a_session_writes_is_valid_and_cuts_do_not_matter(
        (version, bytes) in stream(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let run = |cuts: &[usize]| {
            let mut judge = Judge {
                version, fields: Fields::new(), echo: Echo::default(), next_out: 1, next_in: 1, closed: false,
                stored: Vec::new(),
            };
            let settings = Settings::new(Role::Acceptor, version, "US", "THEM");
            let mut session = Session::new(settings, Stored::fresh(NOW));
            session.on_connected(NOW, &mut judge);
            let mut from = 0;
            for to in cuts.iter().copied().chain([bytes.len()]) {
                session.on_bytes(&bytes[from..to], NOW, &mut judge);
                from = to;
            }
            assert!(judge.closed || (session.next_out(), session.next_in()) == (judge.next_out, judge.next_in));
            (judge.next_out, judge.next_in, judge.closed, judge.stored)
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(run(&cuts), run(&[]));
    }

    #[test]
    fn decimals_are_exact(price in any::<i64>(), quantity in any::<i64>()) {
        let mut builder = Builder::new();
        builder.begin(b"FIX.4.4", b"D");
        builder.price(44, Price(price));
        builder.quantity(38, Quantity(quantity));
        let bytes = builder.finish().to_vec();
        let mut fields = Fields::new();
        let message = fields.parse(&bytes, Dictionary::of(Version::Fix44)).expect("a message");
        for (tag, value, decimals) in [(44, price, 9), (38, quantity, 8)] {
            let text = String::from_utf8(message.get(tag).expect("the field").to_vec()).expect("ASCII");
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            prop_assert!(!fraction.ends_with('0') && text.contains('.') != fraction.is_empty(), "{}", text);
            let again: i128 = format!("{whole}{fraction:0<decimals$}").parse().expect("digits");
            prop_assert_eq!(again, i128::from(value));
        }
    }
}
