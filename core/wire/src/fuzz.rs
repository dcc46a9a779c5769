//! Doors for fuzzers: each decoder on arbitrary bytes, and all of them at once.

use helios_types::Nanos;

use crate::fix::session::MAX_QUEUE_BYTES;
use crate::fix::{self, Dictionary, Echo, Fields, Framed, Role, Session, Settings, Stored, Version};
use crate::frame::{Frames, Framing};
use crate::generic::{self, Direction, Family};
use crate::{itch, moldudp64, ouch, ouch42, pcap, soupbintcp};

/// Drives every decoder on `bytes`. Panics only when a decoder has a mistake: none may panic by itself, what a decoder
/// accepts must encode to the same bytes, and a reader must not run on for ever.
pub fn fuzz_decode(bytes: &[u8]) {
    frames(bytes);
    captures(bytes);
    soup(bytes);
    mold(bytes);
    itch_message(bytes);
    ouch_message(bytes);
    fields(bytes);
    fix_messages(bytes);
    let (version, rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (usize::from(*first), rest));
    fix_session(Version::ALL[version % Version::ALL.len()], rest);
}

/// A packet's messages are as many as it says, and packed again they are the packet.
pub fn mold(bytes: &[u8]) {
    let whole = moldudp64::decode(bytes);
    let Ok(first) = moldudp64::decode_first(bytes) else { return assert!(whole.is_err()) };
    assert_eq!(whole.is_ok(), first.length() == bytes.len());
    assert_eq!(first.messages().count(), usize::from(first.message_count()));
    if first.is_end_of_session() {
        return;
    }
    let header = first.header();
    let mut builder = moldudp64::PacketBuilder::new(header.session, header.sequence_number, first.length());
    first.messages().for_each(|message| builder.push(message).expect("it was a packet of this length"));
    assert_eq!(builder.bytes(), &bytes[..first.length()]);
    if let Ok(request) = moldudp64::decode_request(bytes) {
        assert_eq!(request.encode(), bytes);
    }
}

/// One message of market data.
pub fn itch_message(bytes: &[u8]) {
    if let Ok(message) = itch::decode(bytes) {
        assert_eq!(message.reencode(), bytes);
        let _ = (message.timestamp(), message.stock_locate());
    }
    let _ = itch::order_reference_ahead(bytes);
}

/// One message of order entry, of either version and direction.
pub fn ouch_message(bytes: &[u8]) {
    if let Ok(message) = ouch42::inbound::decode(bytes) {
        assert_eq!(message.reencode(), bytes);
    }
    if let Ok(message) = ouch42::outbound::decode(bytes) {
        assert_eq!(message.reencode(), bytes);
    }
    let mut again = Vec::new();
    if let Ok(decoded) = ouch::inbound::decode(bytes) {
        ouch::inbound::append(&decoded.message.reencode(), options(decoded.options), &mut again);
        assert!(bytes.starts_with(&again));
    }
    again.clear();
    if let Ok(decoded) = ouch::outbound::decode(bytes) {
        ouch::outbound::append(&decoded.message.reencode(), options(decoded.options), &mut again);
        assert!(bytes.starts_with(&again));
    }
}

/// What a FIX session does to nobody: its store is empty, and its bytes are counted and dropped.
#[derive(Default)]
struct Nowhere {
    echo: Echo,
    closed: bool,
}

impl fix::Outside for Nowhere {
    fn write(&mut self, bytes: &[u8]) {
        let Framed::Message { used, .. } = fix::frame(bytes) else { panic!("a session writes whole messages") };
        assert_eq!(used, bytes.len());
    }

    fn close(&mut self, why: &fix::Closed) {
        let _ = why.to_string();
        self.closed = true;
    }

    fn sent(&mut self, _: u64, _: Option<&[u8]>) {}

    fn received(&mut self, _: u64) {}

    fn resend(&mut self, from: u64, to: u64, _: &mut dyn FnMut(u64, &[u8])) {
        assert!(from <= to && to - from < fix::session::RESEND_BATCH);
    }

    fn reset(&mut self, _: Nanos) {}

    fn application(&mut self, message: &fix::Message<'_>, reply: &mut fix::Reply<'_>) -> fix::Handled {
        self.echo.application(message, reply)
    }

    fn note(&mut self, event: &fix::SessionEvent) {
        let _ = event.to_string();
    }
}

/// Every message of a stream is cut, judged by every dictionary, and written again; and so is the first as a Logon.
pub fn fix_messages(bytes: &[u8]) {
    let _ = fix::peek_logon(bytes);
    let mut rest = bytes;
    let mut fields = Fields::new();
    loop {
        let used = match fix::frame(rest) {
            Framed::Incomplete => return,
            Framed::Garbled { used, .. } => used,
            Framed::Message { bytes, used } => {
                for version in Version::ALL {
                    let dictionary = Dictionary::of(version);
                    let Ok(message) = fields.parse(bytes, dictionary) else { continue };
                    let _ = fix::validate(dictionary, &message, &fix::Rules::default());
                    let _ = dictionary.sorted_body(&message);
                    written_again(&message);
                }
                used
            }
        };
        assert!(used > 0 && used <= rest.len());
        rest = &rest[used..];
    }
}

/// A message whose BodyLength has no leading zeros is written as it was read.
fn written_again(message: &fix::Message<'_>) {
    let plain = message.get(9).is_some_and(|length| !length.starts_with(b"0"));
    let tags = message.iter().all(|(tag, _)| tag >= 0);
    if !plain || !tags || message.begin_string().len() > 8 {
        return;
    }
    let mut builder = fix::Builder::new();
    builder.begin(message.begin_string(), message.msg_type());
    let body = message.iter().skip(3);
    let count = body.len() - 1;
    body.take(count).for_each(|(tag, value)| builder.raw_field(tag as u32, value));
    let bytes = builder.finish();
    // A tag may have had leading zeros.
    assert!(bytes == message.bytes() || bytes.len() < message.bytes().len());
}

/// An acceptor that is logged on reads the bytes in pieces, while its clock ticks; it holds a bounded number of them.
fn fix_session(version: Version, bytes: &[u8]) {
    let mut now = Nanos(1_767_323_045_000_000_000);
    let settings = Settings { check_latency_s: None, ..Settings::new(Role::Acceptor, version, "US", "THEM") };
    let mut session = Session::new(settings, Stored::fresh(now));
    let mut outside = Nowhere::default();
    session.on_connected(now, &mut outside);
    session.on_bytes(&logon(version, now), now, &mut outside);
    assert!(session.is_logged_on());
    for piece in bytes.chunks(1 + bytes.len() / 7) {
        session.on_bytes(piece, now, &mut outside);
        assert!(session.buffered() <= MAX_QUEUE_BYTES + 3 * fix::codec::MAX_MESSAGE + piece.len());
        now = now.plus(1_300_000_000);
        session.on_tick(now, &mut outside);
    }
    session.on_closed(now, &mut outside);
    assert!(!session.is_connected() && session.buffered() == 0);
}

fn logon(version: Version, now: Nanos) -> Vec<u8> {
    let mut builder = fix::Builder::new();
    builder.begin(version.begin_string().as_bytes(), b"A");
    builder.number(34, 1);
    builder.field(49, b"THEM");
    builder.timestamp(52, now, fix::Precision::Seconds);
    builder.field(56, b"US");
    builder.char(98, b'0');
    builder.number(108, 1);
    version.appl_ver_id().into_iter().for_each(|id| builder.field(1137, id.as_bytes()));
    builder.finish().to_vec()
}

fn options(options: Option<ouch::Options<'_>>) -> &[u8] {
    options.map_or(&[], ouch::Options::bytes)
}

/// A file's or a stream's messages, by every framing.
pub fn frames(bytes: &[u8]) {
    for framing in [Framing::LengthPrefixed, Framing::ByType, Framing::detect(bytes)] {
        let mut frames = Frames::new(bytes, framing);
        let messages: usize = frames.by_ref().map(|message| message.len() + crate::frame::PREFIX).sum();
        assert_eq!(messages, frames.consumed());
        assert_eq!(frames.rest().len(), bytes.len() - messages);
        let _ = frames.tail().to_string();
    }
}

/// A packet capture.
pub fn captures(bytes: &[u8]) {
    let Ok(capture) = pcap::Capture::new(bytes) else { return };
    // No record or block is shorter than 12 bytes.
    assert!(capture.count() <= bytes.len() / 12 + 1);
}

/// A stream of SoupBinTCP packets.
pub fn soup(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((packet, length))) = soupbintcp::decode(rest) {
        let mut again = Vec::new();
        packet.append_to(&mut again);
        assert_eq!(again, rest[..length]);
        rest = &rest[length..];
    }
}

/// A message as named fields, and back.
pub fn fields(bytes: &[u8]) {
    for family in Family::ALL {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let Ok(fields) = generic::to_fields(family, direction, bytes) else { continue };
            let kind = generic::type_of(family, bytes);
            let again = generic::from_fields(family, direction, kind, &fields).expect("fields just decoded");
            // A login's numbers may stand on the other side of their field.
            assert!(again == bytes || family == Family::SoupBinTcp, "{family:?} {direction:?} {fields:?}");
        }
    }
}
