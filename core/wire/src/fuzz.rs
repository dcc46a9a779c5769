//! One door for fuzzers: every decoder on the same arbitrary bytes.

use crate::frame::{Frames, Framing};
use crate::generic::{self, Direction, Family};
use crate::{itch, moldudp64, ouch, ouch42, pcap, soupbintcp};

/// Drives every decoder on `bytes`. Panics only when a decoder has a mistake: none may panic by itself, what a decoder
/// accepts must encode to the same bytes, and a reader must not run on for ever.
pub fn fuzz_decode(bytes: &[u8]) {
    frames(bytes);
    captures(bytes);
    soup(bytes);
    if let Ok(packet) = moldudp64::decode(bytes) {
        assert_eq!(packet.messages().count(), usize::from(packet.message_count()));
    }
    if let Ok(message) = itch::decode(bytes) {
        assert_eq!(message.reencode(), bytes);
        let _ = (message.timestamp(), message.stock_locate());
    }
    let _ = itch::order_reference_ahead(bytes);
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
    fields(bytes);
}

fn options(options: Option<ouch::Options<'_>>) -> &[u8] {
    options.map_or(&[], ouch::Options::bytes)
}

fn frames(bytes: &[u8]) {
    for framing in [Framing::LengthPrefixed, Framing::ByType, Framing::detect(bytes)] {
        let mut frames = Frames::new(bytes, framing);
        let messages: usize = frames.by_ref().map(|message| message.len() + crate::frame::PREFIX).sum();
        assert_eq!(messages, frames.consumed());
        assert_eq!(frames.rest().len(), bytes.len() - messages);
        let _ = frames.tail().to_string();
    }
}

fn captures(bytes: &[u8]) {
    let Ok(capture) = pcap::Capture::new(bytes) else { return };
    // No record or block is shorter than 12 bytes.
    assert!(capture.count() <= bytes.len() / 12 + 1);
}

fn soup(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((packet, length))) = soupbintcp::decode(rest) {
        let mut again = Vec::new();
        packet.append_to(&mut again);
        assert_eq!(again, rest[..length]);
        rest = &rest[length..];
    }
}

fn fields(bytes: &[u8]) {
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
