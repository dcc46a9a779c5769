//! Properties that hold for arbitrary bytes and values.

use helios_wire::frame::{self, Frames, Framing, Tail};
use helios_wire::generic::{Direction, Family, from_fields, to_fields};
use helios_wire::pcap::{Capture, Item};
use helios_wire::soupbintcp::{self, Packet};
use helios_wire::{Layout, fuzz_decode, itch, moldudp64, ouch, ouch42};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A message of the layout with arbitrary content: every pattern of bits is a value of every field.
fn message_of(layout: &'static Layout) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), layout.length).prop_map(|mut bytes| {
        bytes[0] = layout.kind;
        bytes
    })
}

fn any_of(layouts: &'static [&'static Layout]) -> impl Strategy<Value = Vec<u8>> {
    select(layouts).prop_flat_map(message_of)
}

/// Options with arbitrary tags.
fn appendage() -> impl Strategy<Value = Vec<u8>> {
    vec((any::<u8>(), vec(any::<u8>(), 0..10)), 0..6).prop_map(|options| {
        let mut bytes = Vec::new();
        options.iter().for_each(|(tag, value)| ouch::append_option(*tag, value, &mut bytes));
        bytes
    })
}

/// Bytes as a file might hold them: a well-formed piece of some protocol, then damaged.
fn damaged(whole: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (whole, vec((any::<Index>(), any::<u8>()), 0..4), any::<Option<Index>>()).prop_map(|(mut bytes, changes, cut)| {
        if bytes.is_empty() {
            return bytes;
        }
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        bytes
    })
}

fn soup_stream() -> impl Strategy<Value = Vec<u8>> {
    vec((select(b"+AJSUHZLRO".as_slice()), vec(any::<u8>(), 0..60)), 0..5).prop_map(|packets| {
        let mut bytes = Vec::new();
        for (kind, mut payload) in packets {
            let fixed = match kind {
                b'A' => Some(30),
                b'L' => Some(if payload.len() % 2 == 0 { 46 } else { 51 }),
                b'J' => Some(1),
                b'+' | b'S' | b'U' => None,
                _ => Some(0),
            };
            payload.resize(fixed.unwrap_or(payload.len()), b'7');
            bytes.extend_from_slice(&soupbintcp::header(kind, payload.len()));
            bytes.extend_from_slice(&payload);
        }
        bytes
    })
}

fn mold_packet() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 10]>(), any::<u32>(), vec(vec(any::<u8>(), 0..50), 0..6)).prop_map(|(session, number, messages)| {
        let mut builder = moldudp64::PacketBuilder::new(session, number.into(), 1_400);
        messages.iter().for_each(|message| builder.push(message).expect("six short messages fit"));
        builder.bytes().to_vec()
    })
}

/// An Ethernet frame with a UDP datagram.
fn udp_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
    frame.extend_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, 9, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4]);
    frame.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    frame
}

fn le(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn pcap_file(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut file = le(&[0xA1B2_C3D4, 0, 0, 0, 65_535, 1]);
    for payload in payloads {
        let frame = udp_frame(payload);
        file.extend(le(&[1, 2, frame.len() as u32, frame.len() as u32]));
        file.extend(frame);
    }
    file
}

fn pcapng_file(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut file = le(&[0x0A0D_0D0A, 28, 0x1A2B_3C4D, 1, u32::MAX, u32::MAX, 28]);
    file.extend(le(&[1, 20, 1, 0, 20]));
    for payload in payloads {
        let mut frame = udp_frame(payload);
        let kept = frame.len() as u32;
        frame.resize(frame.len().next_multiple_of(4), 0);
        let length = 32 + frame.len() as u32;
        file.extend(le(&[6, length, 0, 0, 1_000_002, kept, kept]));
        file.extend(frame);
        file.extend(le(&[length]));
    }
    file
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..80), 0..5)
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..300)) {
        fuzz_decode(&bytes);
    }

    #[test]
    fn nor_do_damaged_ones(
        itch in damaged(any_of(itch::LAYOUTS)),
        inbound42 in damaged(any_of(ouch42::inbound::LAYOUTS)),
        outbound42 in damaged(any_of(ouch42::outbound::LAYOUTS)),
        inbound in damaged(any_of(ouch::inbound::LAYOUTS)),
        outbound in damaged(any_of(ouch::outbound::LAYOUTS)),
        soup in damaged(soup_stream()),
        mold in damaged(mold_packet()),
        pcap in damaged(payloads().prop_map(|payloads| pcap_file(&payloads))),
        pcapng in damaged(payloads().prop_map(|payloads| pcapng_file(&payloads))),
    ) {
        for bytes in [itch, inbound42, outbound42, inbound, outbound, soup, mold, pcap, pcapng] {
            fuzz_decode(&bytes);
        }
    }

    #[test]
    fn every_itch_message_encodes_to_what_it_was_decoded_from(bytes in any_of(itch::LAYOUTS)) {
        let message = itch::decode(&bytes).expect("the right length");
        prop_assert_eq!(message.reencode(), &bytes[..]);
        prop_assert_eq!(message.bytes(), &bytes[..]);
        let fields = to_fields(Family::Itch50, Direction::Outbound, &bytes).expect("a message");
        prop_assert_eq!(from_fields(Family::Itch50, Direction::Outbound, bytes[0], &fields).expect("fields"), bytes);
    }

    #[test]
    fn a_message_of_any_other_length_is_refused(bytes in any_of(itch::LAYOUTS), length in 0_usize..60) {
        let mut other = bytes.clone();
        other.resize(length, 0);
        prop_assert_eq!(itch::decode(&other).is_ok(), length == bytes.len());
    }

    #[test]
    fn every_ouch_42_message_encodes_to_what_it_was_decoded_from(
        inbound in any_of(ouch42::inbound::LAYOUTS),
        outbound in any_of(ouch42::outbound::LAYOUTS),
    ) {
        prop_assert_eq!(ouch42::inbound::decode(&inbound).expect("the right length").reencode(), &inbound[..]);
        prop_assert_eq!(ouch42::outbound::decode(&outbound).expect("the right length").reencode(), &outbound[..]);
        for (direction, bytes) in [(Direction::Inbound, inbound), (Direction::Outbound, outbound)] {
            let fields = to_fields(Family::Ouch42, direction, &bytes).expect("a message");
            prop_assert_eq!(from_fields(Family::Ouch42, direction, bytes[0], &fields).expect("fields"), bytes);
        }
    }

    #[test]
    fn every_ouch_message_encodes_to_what_it_was_decoded_from(
        inbound in any_of(ouch::inbound::LAYOUTS),
        outbound in any_of(ouch::outbound::LAYOUTS),
        options in appendage(),
    ) {
        let mut bytes = Vec::new();
        ouch::inbound::append(&inbound, &options, &mut bytes);
        let decoded = ouch::inbound::decode(&bytes).expect("well formed");
        let mut again = Vec::new();
        ouch::inbound::append(&decoded.message.reencode(), decoded.options.map_or(&[], ouch::Options::bytes), &mut again);
        prop_assert_eq!(&again, &bytes);
        let fields = to_fields(Family::Ouch50, Direction::Inbound, &bytes).expect("a message");
        prop_assert_eq!(from_fields(Family::Ouch50, Direction::Inbound, bytes[0], &fields).expect("fields"), bytes);

        let mut bytes = Vec::new();
        ouch::outbound::append(&outbound, &options, &mut bytes);
        let decoded = ouch::outbound::decode(&bytes).expect("well formed");
        let mut again = Vec::new();
        ouch::outbound::append(&decoded.message.reencode(), decoded.options.map_or(&[], ouch::Options::bytes), &mut again);
        prop_assert_eq!(&again, &bytes);
        let fields = to_fields(Family::Ouch50, Direction::Outbound, &bytes).expect("a message");
        prop_assert_eq!(from_fields(Family::Ouch50, Direction::Outbound, bytes[0], &fields).expect("fields"), bytes);
    }

    /// However a stream is cut into chunks, the same messages come out, and only an unfinished one is kept.
    #[test]
    fn chunks_give_the_same_messages_as_the_whole(
        messages in vec(vec(any::<u8>(), 1..40), 0..20),
        ended in any::<bool>(),
        chunk in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        messages.iter().for_each(|message| frame::append(message, &mut stream));
        let end = stream.len() as u64;
        if ended {
            frame::append_end(&mut stream);
        }
        let (mut kept, mut base, mut found) = (Vec::new(), 0, Vec::new());
        for chunk in stream.chunks(chunk) {
            kept.extend_from_slice(chunk);
            let mut frames = Frames::at(&kept, Framing::LengthPrefixed, base);
            found.extend(frames.by_ref().map(<[u8]>::to_vec));
            let consumed = frames.consumed();
            base += consumed as u64;
            kept.drain(..consumed);
            prop_assert!(kept.len() < 42);
        }
        prop_assert_eq!(found, messages);
        let tail = Frames::at(&kept, Framing::LengthPrefixed, base).tail();
        prop_assert_eq!(tail, if ended { Tail::EndOfSession { offset: end } } else { Tail::Clean });
    }

    #[test]
    fn soup_packets_survive_any_split(stream in soup_stream()) {
        let (mut rest, mut again) = (stream.as_slice(), Vec::new());
        while let Some((packet, length)) = soupbintcp::decode(rest).expect("well formed") {
            prop_assert_eq!(soupbintcp::decode(&rest[..length - 1]), Ok(None));
            packet.append_to(&mut again);
            rest = &rest[length..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(again, stream);
    }

    #[test]
    fn an_order_wrapped_by_hand_is_the_packet(bytes in message_of(ouch::inbound::EnterOrder::LAYOUT)) {
        let mut buffer = [0; 64];
        let header = soupbintcp::header(soupbintcp::kind::UNSEQUENCED_DATA, bytes.len());
        buffer[..header.len()].copy_from_slice(&header);
        buffer[header.len()..header.len() + bytes.len()].copy_from_slice(&bytes);
        let decoded = soupbintcp::decode(&buffer).expect("well formed");
        prop_assert_eq!(decoded, Some((Packet::UnsequencedData(&bytes), header.len() + bytes.len())));
    }

    #[test]
    fn mold_packets_round_trip_and_bear_no_cut(bytes in mold_packet(), cut in any::<Index>()) {
        let packet = moldudp64::decode(&bytes).expect("well formed");
        let mut builder = moldudp64::PacketBuilder::new(packet.header().session, packet.header().sequence_number, 1_400);
        packet.messages().for_each(|message| builder.push(message).expect("they fitted before"));
        prop_assert_eq!(builder.bytes(), &bytes[..]);
        prop_assert!(moldudp64::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn captures_give_every_payload(payloads in payloads()) {
        for file in [pcap_file(&payloads), pcapng_file(&payloads)] {
            let found: Vec<Vec<u8>> = Capture::new(&file).expect("a capture").map(|item| match item {
                Ok(Item::Packet(packet)) => packet.payload.to_vec(),
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(&found, &payloads);
        }
    }
}
