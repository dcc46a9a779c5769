//! Vectors that lie beside the repository in `../shared`; where they are absent each test says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use helios_types::Nanos;
use helios_wire::frame::{self, Frames, Framing, Tail};
use helios_wire::generic::{Direction, Family, Fields, Value, from_fields, to_fields, type_of};
use helios_wire::pcap::{Capture, Item, Transport};
use helios_wire::soupbintcp::{self, Justify, Packet};
use helios_wire::{Field, Kind, Layout, itch, moldudp64, ouch, ouch42};
use serde_json::Value as Json;

/// A folder of `../shared`, or a message that it is not there.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    if !path.is_dir() {
        println!("skipped: ../shared/{folder} is not there");
        return None;
    }
    Some(path)
}

#[allow(clippy::disallowed_methods, reason = "a test reads its vectors")]
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn nasdaq(file: &str) -> Option<Json> {
    shared("conformance/nasdaq").map(|folder| json(&folder.join(file)))
}

fn vectors<'a>(document: &'a Json, key: &str) -> &'a [Json] {
    document[key].as_array().expect("a list of vectors")
}

fn string(value: &Json) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a string: {value}"))
}

fn unsigned(value: &Json) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("expected an unsigned number: {value}"))
}

fn hex(value: &Json) -> Vec<u8> {
    let digits = string(value).as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn direction(value: &Json) -> Direction {
    match string(value) {
        "inbound" => Direction::Inbound,
        "outbound" => Direction::Outbound,
        other => panic!("unknown direction {other}"),
    }
}

fn same(value: &Value, expected: &Json) -> bool {
    match value {
        Value::Int(value) => expected.as_u64() == Some(*value),
        Value::Signed(value) => expected.as_i64() == Some(*value),
        Value::Alpha(value) => expected.as_str() == Some(value),
        Value::Bytes(value) => *value == hex(expected),
    }
}

fn get<'a>(fields: &'a Fields, name: &str) -> &'a Value {
    &fields.iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no field {name} in {fields:?}")).1
}

/// Decodes, compares every expected field, and encodes the fields to the same bytes.
fn check_fields(family: Family, direction: Direction, bytes: &[u8], expected: &Json, id: &str) -> Fields {
    let fields = to_fields(family, direction, bytes).unwrap_or_else(|error| panic!("{id}: {error}"));
    for (name, value) in expected.as_object().expect("fields by name") {
        assert!(same(get(&fields, name), value), "{id}: {name} is {:?}, expected {value}", get(&fields, name));
    }
    let again = from_fields(family, direction, type_of(family, bytes), &fields);
    assert_eq!(again.unwrap_or_else(|error| panic!("{id}: {error}")), bytes, "{id}: encoded from its fields");
    fields
}

/// Decodes one ITCH message and encodes it from its owned struct.
fn itch_again(bytes: &[u8]) -> Vec<u8> {
    itch::decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", bytes.escape_ascii())).reencode()
}

fn check_itch(bytes: &[u8], expected: &Json, id: &str) {
    assert_eq!(bytes[0], string(&expected["type"]).as_bytes()[0], "{id}: type");
    assert_eq!(bytes.len() as u64, unsigned(&expected["length"]), "{id}: length");
    assert_eq!(itch_again(bytes), bytes, "{id}: encoded from its struct");
    check_fields(Family::Itch50, Direction::Outbound, bytes, &expected["fields"], id);
}

/// Decodes a downstream packet and encodes it again from header and messages.
fn mold_again(bytes: &[u8]) -> Vec<u8> {
    let packet = moldudp64::decode(bytes).unwrap_or_else(|error| panic!("{error}"));
    let header = packet.header();
    if packet.is_end_of_session() {
        return moldudp64::encode_end_of_session(header.session, header.sequence_number).to_vec();
    }
    let mut builder = moldudp64::PacketBuilder::new(header.session, header.sequence_number, usize::MAX);
    for message in packet.messages() {
        builder.push(message).expect("no limit");
    }
    builder.bytes().to_vec()
}

fn check_mold_itch(payload: &[u8], expected: &Json, id: &str) {
    assert_eq!(mold_again(payload), payload, "{id}: packet encoded again");
    let packet = moldudp64::decode(payload).expect("decoded above");
    let header = &expected["header"];
    let session = packet.header().session;
    let session = session.iter().rposition(|byte| !b" \0".contains(byte)).map_or(&[][..], |last| &session[..=last]);
    assert_eq!(session, string(&header["session"]).as_bytes(), "{id}");
    assert_eq!(packet.header().sequence_number, unsigned(&header["sequence_number"]), "{id}");
    assert_eq!(u64::from(packet.header().message_count), unsigned(&header["message_count"]), "{id}");
    let messages = vectors(expected, "messages");
    assert_eq!(packet.messages().count(), messages.len(), "{id}");
    for (message, expected) in packet.messages().zip(messages) {
        check_itch(message, expected, id);
    }
    check_fields(Family::MoldUdp64, Direction::Outbound, payload, &Json::Object(Default::default()), id);
}

fn ouch_again(direction: Direction, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match direction {
        Direction::Inbound => {
            let decoded = ouch::inbound::decode(bytes).unwrap_or_else(|error| panic!("{error}"));
            let options = decoded.options.map_or(&[][..], ouch::Options::bytes);
            ouch::inbound::append(&decoded.message.reencode(), options, &mut out);
        }
        Direction::Outbound => {
            let decoded = ouch::outbound::decode(bytes).unwrap_or_else(|error| panic!("{error}"));
            let options = decoded.options.map_or(&[][..], ouch::Options::bytes);
            ouch::outbound::append(&decoded.message.reencode(), options, &mut out);
        }
    }
    out
}

fn soup_again(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((packet, length)) = soupbintcp::decode(rest).unwrap_or_else(|error| panic!("{error}")) {
        packet.append_to(&mut out);
        rest = &rest[length..];
    }
    out
}

fn check_soup_ouch(payload: &[u8], expected: &Json, id: &str) {
    assert_eq!(soup_again(payload), payload, "{id}: packet encoded again");
    let (packet, length) = soupbintcp::decode(payload).expect("decoded above").expect("a whole packet");
    assert_eq!(length - 2, unsigned(&expected["header"]["packet_length"]) as usize, "{id}");
    assert_eq!(packet.kind(), string(&expected["header"]["packet_type"]).as_bytes()[0], "{id}");
    let messages = vectors(expected, "messages");
    let (Packet::SequencedData(body) | Packet::UnsequencedData(body)) = packet else {
        assert!(messages.is_empty(), "{id}");
        return;
    };
    assert_eq!(messages.len(), 1, "{id}");
    let direction = direction(&messages[0]["direction"]);
    assert_eq!(body[0], string(&messages[0]["type"]).as_bytes()[0], "{id}");
    assert_eq!(ouch_again(direction, body), body.to_vec(), "{id}: encoded from its struct");
    let fields = check_fields(Family::Ouch50, direction, body, &messages[0]["fields"], id);
    for option in messages[0]["appendage"].as_array().into_iter().flatten() {
        let [.., named] = option.as_array().expect("name and value pairs").as_slice() else { panic!("{id}: {option}") };
        let names = fields.iter().map(|(name, value)| (name.replace('_', ""), value));
        let values: BTreeMap<_, _> = names.collect();
        assert!(same(values[string(&named[0])], &named[1]), "{id}: {named}");
    }
}

#[test]
fn real_packets_decode_and_encode() {
    let Some(document) = nasdaq("vectors.json") else { return };
    let mut counts = BTreeMap::new();
    for vector in vectors(&document, "vectors") {
        let (id, stack) = (string(&vector["id"]), string(&vector["stack"]));
        let payload = hex(&vector["payload_hex"]);
        match stack {
            "moldudp64/itch50" => check_mold_itch(&payload, &vector["expect"], id),
            "soupbintcp/ouch50" => check_soup_ouch(&payload, &vector["expect"], id),
            other => panic!("{id}: unknown stack {other}"),
        }
        *counts.entry(stack).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("moldudp64/itch50", 190), ("soupbintcp/ouch50", 6)]));
}

#[test]
fn one_message_of_each_itch_type() {
    let Some(document) = nasdaq("itch50_synthetic.json") else { return };
    let vectors = vectors(&document, "vectors");
    for vector in vectors {
        let bytes = hex(&vector["message_hex"]);
        check_itch(&bytes, &vector["expect"], string(&vector["id"]));
        let fields = itch::layout(bytes[0]).expect("a type").fields.len() - 1; // the type byte is not in the vector
        assert_eq!(vector["expect"]["fields"].as_object().map(|named| named.len()), Some(fields));
    }
    let mut types: Vec<u8> = vectors.iter().map(|vector| hex(&vector["message_hex"])[0]).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), itch::LAYOUTS.len());
}

#[test]
fn mold_packets_good_and_malformed() {
    let Some(document) = nasdaq("moldudp64_vectors.json") else { return };
    for vector in vectors(&document, "vectors") {
        let (id, bytes, expected) = (string(&vector["id"]), hex(&vector["packet_hex"]), &vector["expect"]);
        let is_request = string(&expected["kind"]) == "request";
        let direction = if is_request { Direction::Inbound } else { Direction::Outbound };
        let fields = to_fields(Family::MoldUdp64, direction, &bytes).unwrap_or_else(|error| panic!("{id}: {error}"));
        for name in ["session", "sequence_number", "message_count"] {
            assert!(same(get(&fields, name), &expected[name]), "{id}: {name}");
        }
        let messages: Vec<Vec<u8>> = vectors(expected, "messages_hex").iter().map(hex).collect();
        let found = fields.iter().filter(|(name, _)| *name == "message").map(|(_, value)| value);
        assert!(found.eq(&messages.into_iter().map(Value::Bytes).collect::<Vec<_>>()), "{id}: messages");
        assert_eq!(from_fields(Family::MoldUdp64, direction, 0, &fields).as_deref(), Ok(bytes.as_slice()), "{id}");
        if is_request {
            let header = moldudp64::decode_request(&bytes).expect("a request");
            let again = moldudp64::encode_request(header.session, header.sequence_number, header.message_count);
            assert_eq!(again.as_slice(), bytes, "{id}");
        } else {
            let packet = moldudp64::decode(&bytes).expect("a packet");
            let kind = match (packet.is_heartbeat(), packet.is_end_of_session()) {
                (true, _) => "heartbeat",
                (_, true) => "end_of_session",
                _ => "downstream",
            };
            assert_eq!(kind, string(&expected["kind"]), "{id}");
            assert_eq!(mold_again(&bytes), bytes, "{id}");
        }
    }
    let malformed = vectors(&document, "malformed");
    for vector in malformed {
        let error = moldudp64::decode(&hex(&vector["packet_hex"])).expect_err(string(&vector["id"]));
        println!("{}: {error}", string(&vector["error"]));
    }
    assert_eq!((vectors(&document, "vectors").len(), malformed.len()), (4, 4));
}

#[test]
fn soup_packets_with_either_padding() {
    let Some(document) = nasdaq("soupbintcp_vectors.json") else { return };
    let vectors = vectors(&document, "vectors");
    assert_eq!(vectors.len(), 13);
    for vector in vectors {
        let (id, bytes) = (string(&vector["id"]), hex(&vector["packet_hex"]));
        assert_eq!(soup_again(&bytes), bytes, "{id}: encoded from its struct");
        let kind = type_of(Family::SoupBinTcp, &bytes);
        let direction = if b"LRO".contains(&kind) { Direction::Inbound } else { Direction::Outbound };
        let fields = to_fields(Family::SoupBinTcp, direction, &bytes).unwrap_or_else(|error| panic!("{id}: {error}"));
        for (name, expected) in vector["expect"].as_object().expect("fields by name") {
            let name = match name.as_str() {
                "type" => "message_type",
                "message_hex" => "message",
                name => name,
            };
            assert!(same(get(&fields, name), expected), "{id}: {name}");
        }
        let generic = from_fields(Family::SoupBinTcp, direction, kind, &fields).expect("fields");
        assert_eq!(to_fields(Family::SoupBinTcp, direction, &generic), Ok(fields), "{id}");
        assert_eq!(with_justification_of(&bytes, &generic), bytes, "{id}");
    }
}

/// A packet built from fields has its number on the right; moves it to the side where the vector has it.
fn with_justification_of(vector: &[u8], built: &[u8]) -> Vec<u8> {
    let (packet, _) = soupbintcp::decode(built).expect("built").expect("whole");
    let left_at = |at: usize| vector[at] != b' ';
    let packet = match packet {
        Packet::LoginRequest(mut login) if left_at(29) => {
            login.requested_sequence_number =
                soupbintcp::number(login.sequence_number().expect("digits"), Justify::Left);
            Packet::LoginRequest(login)
        }
        Packet::LoginAccepted(mut login) if left_at(13) => {
            login.sequence_number = soupbintcp::number(login.next_sequence_number().expect("digits"), Justify::Left);
            Packet::LoginAccepted(login)
        }
        other => other,
    };
    let mut out = Vec::new();
    packet.append_to(&mut out);
    out
}

#[test]
fn a_length_prefixed_file_with_its_end_marker() {
    let Some(folder) = shared("conformance/nasdaq") else { return };
    let bytes = read(&folder.join("binaryfile_nassau.dat"));
    let mut frames = Frames::new(&bytes, Framing::detect(&bytes));
    let messages: Vec<&[u8]> = frames.by_ref().collect();
    assert_eq!(messages, [b"foo".as_slice(), b"bar", b"baz", b"quux"]);
    assert_eq!(frames.tail(), Tail::EndOfSession { offset: 21 });
    let mut again = Vec::new();
    messages.into_iter().for_each(|message| frame::append(message, &mut again));
    frame::append_end(&mut again);
    assert_eq!(again, bytes);
}

/// The recording holds two whole packets and a third whose last five bytes are missing.
#[test]
fn a_recorded_stream_of_mold_packets() {
    let Some(folder) = shared("conformance/nasdaq") else { return };
    let bytes = read(&folder.join("mold64_stream_sample.dat"));
    let (mut at, mut next) = (0, 1);
    for count in [15, 13] {
        let packet = moldudp64::decode_first(&bytes[at..]).unwrap_or_else(|error| panic!("offset {at}: {error}"));
        assert_eq!((packet.header().sequence_number, packet.messages().count()), (next, count));
        let end = at + packet.length();
        assert_eq!(mold_again(&bytes[at..end]), bytes[at..end]);
        (at, next) = (end, packet.next_sequence_number());
    }
    let reason = moldudp64::Reason::ShortBlock { message: 12, needs: 27, found: 22 };
    assert_eq!(moldudp64::decode_first(&bytes[at..]), Err(moldudp64::Malformed { offset: 872, reason }));
}

/// What a receiver without servers gives out, by number, and what it says.
#[derive(Default)]
struct Received {
    messages: BTreeMap<u64, Vec<u8>>,
    notices: Vec<String>,
}

impl moldudp64::ReceiverOut for Received {
    fn message(&mut self, number: u64, bytes: &[u8]) {
        assert!(self.messages.last_key_value().is_none_or(|(last, _)| *last < number), "in order, once");
        self.messages.insert(number, bytes.to_vec());
    }

    fn request(&mut self, server: usize, _: &[u8; moldudp64::HEADER_LENGTH]) {
        panic!("there is no server {server}");
    }

    fn notice(&mut self, notice: moldudp64::Notice) {
        self.notices.push(notice.to_string());
    }
}

/// Every packet twice, as two lines bring them; nothing is given time.
fn receive<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> (Received, moldudp64::Receiver) {
    let config = moldudp64::ReceiverConfig { lines: 2, wait_ns: 0, ..Default::default() };
    let (mut receiver, mut received) = (moldudp64::Receiver::new(config), Received::default());
    for (now, packet) in (1..).zip(packets) {
        receiver.on_datagram(0, packet, Nanos(now), &mut received);
        receiver.on_datagram(1, packet, Nanos(now), &mut received);
    }
    receiver.on_tick(Nanos(1_000_000_000), &mut received);
    (received, receiver)
}

#[test]
fn the_vectors_of_packets_through_a_receiver() {
    let Some(document) = nasdaq("moldudp64_vectors.json") else { return };
    for vector in vectors(&document, "vectors").iter().filter(|vector| vector["expect"]["kind"] != "request") {
        let (id, expect) = (string(&vector["id"]), &vector["expect"]);
        let (received, receiver) = receive([hex(&vector["packet_hex"]).as_slice()]);
        let messages: Vec<Vec<u8>> = vectors(expect, "messages_hex").iter().map(hex).collect();
        let first = unsigned(&expect["sequence_number"]);
        assert_eq!(received.messages, (first..).zip(messages).collect(), "{id}");
        assert_eq!(receiver.next(), first + received.messages.len() as u64, "{id}");
        let name = string(&expect["session"]);
        assert_eq!(received.notices[0], format!("session \"{name}\" from message {first} on"), "{id}");
        let ended = received.notices.get(1).is_some_and(|notice| notice.starts_with("end of session"));
        assert_eq!(ended, string(&expect["kind"]) == "end_of_session", "{id}");
    }
    for vector in vectors(&document, "malformed") {
        let (received, receiver) = receive([hex(&vector["packet_hex"]).as_slice()]);
        assert!(received.messages.is_empty() && received.notices.is_empty(), "{}", string(&vector["id"]));
        assert_eq!(receiver.stats().malformed, 2);
    }
}

#[test]
fn the_recorded_stream_through_a_receiver() {
    let Some(folder) = shared("conformance/nasdaq") else { return };
    let bytes = read(&folder.join("mold64_stream_sample.dat"));
    let first = moldudp64::decode_first(&bytes).expect("two packets are whole").length();
    let second = first + moldudp64::decode_first(&bytes[first..]).expect("two packets are whole").length();
    let packets = [&bytes[..first], &bytes[first..second], &bytes[second..]];
    let (received, receiver) = receive(packets);
    assert_eq!((received.messages.len(), receiver.next(), receiver.stats().malformed), (28, 29, 2));
    // The second packet alone, then the first: it came too late for who begins where the stream is.
    assert_eq!(
        receive([packets[1], packets[0]]).0.messages.keys().copied().collect::<Vec<_>>(),
        Vec::from_iter(16..29)
    );
}

/// The captures of TotalView-ITCH: what the packets hold by number is what comes out, but for what is older.
#[test]
fn captured_packets_through_a_receiver() {
    let Some(folder) = shared("conformance/nasdaq") else { return };
    let mut files = Vec::new();
    files_below(&folder.join("pcap"), "pcap", &mut files);
    let mut total = 0;
    for path in files.iter().filter(|path| path.to_string_lossy().contains("TotalView.Itch.v5.0")) {
        let bytes = read(path);
        let items = Capture::new(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let payloads = items.map(|item| match item {
            Ok(Item::Packet(packet)) => packet.payload,
            other => panic!("{}: {other:?}", path.display()),
        });
        let payloads: Vec<&[u8]> = payloads.collect();
        let mut expected = BTreeMap::new();
        let mut next = 0;
        for packet in payloads.iter().map(|payload| moldudp64::decode(payload).expect("a packet")) {
            for (number, message) in (packet.header().sequence_number..).zip(packet.messages()) {
                if number >= next {
                    expected.insert(number, message.to_vec());
                    next = number + 1;
                }
            }
        }
        let (received, _) = receive(payloads);
        assert_eq!(received.messages, expected, "{}", path.display());
        total += expected.len();
    }
    println!("{total} messages of captures, those without numbers once");
    assert!(total > 80);
}

fn files_below(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

#[test]
fn captures_give_the_payloads_of_the_vectors() {
    let Some(folder) = shared("conformance/nasdaq") else { return };
    let document = json(&folder.join("vectors.json"));
    let mut expected: BTreeMap<&str, Vec<u8>> =
        vectors(&document, "vectors").iter().map(|v| (string(&v["id"]), hex(&v["payload_hex"]))).collect();
    let mut files = Vec::new();
    files_below(&folder.join("pcap"), "pcap", &mut files);
    let mut messages = 0;
    for path in &files {
        let protocol = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("a folder");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let bytes = read(path);
        let mut number = 0;
        for item in Capture::new(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            let Item::Packet(packet) = item.unwrap_or_else(|error| panic!("{}: {error}", path.display())) else {
                panic!("{}: {item:?} has no payload", path.display())
            };
            assert!(packet.ts_ns > 0, "{}", path.display());
            if let Some(payload) = expected.remove(format!("{protocol}/{name}#{number}").as_str()) {
                assert_eq!(packet.payload, payload, "{}", path.display());
            }
            number += 1;
            messages += check_capture(protocol, packet.transport, packet.payload);
        }
        assert!(number > 0, "{}: no packet", path.display());
    }
    assert!(expected.is_empty(), "vectors without capture: {:?}", expected.keys());
    println!("{} captures, {messages} messages of TotalView-ITCH and OUCH", files.len());
    assert!(messages >= 196);
}

/// Decodes and encodes a payload of the protocols that we speak; returns how many messages it had.
fn check_capture(protocol: &str, transport: Transport, payload: &[u8]) -> usize {
    if protocol.contains("TotalView.Itch.v5.0") {
        assert_eq!(transport, Transport::Udp);
        assert_eq!(mold_again(payload), payload);
        let packet = moldudp64::decode(payload).expect("decoded above");
        packet.messages().for_each(|message| assert_eq!(itch_again(message), message));
        return packet.messages().count();
    }
    if protocol.contains("Ouch.v5.0") {
        assert!(matches!(transport, Transport::Tcp { .. }));
        assert_eq!(soup_again(payload), payload);
        return 1;
    }
    0
}

#[test]
fn captures_of_other_venues_are_read_to_their_end() {
    let Some(folder) = shared("data/pcap_omi") else { return };
    let mut files = Vec::new();
    files_below(&folder, "pcap", &mut files);
    files_below(&folder, "pcapng", &mut files);
    let (mut packets, mut skipped) = (0, BTreeMap::new());
    for path in &files {
        let bytes = read(path);
        for item in Capture::new(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            match item.unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
                Item::Packet(_) => packets += 1,
                Item::Skipped(skip) => *skipped.entry(format!("{:?}", skip.reason)).or_insert(0) += 1,
            }
        }
    }
    println!("{} captures: {packets} packets, skipped {skipped:?}", files.len());
    assert!(packets > files.len() / 2);
}

fn kind_name(field: &Field) -> &'static str {
    match (field.kind, field.size) {
        (Kind::Alpha, _) => "alpha",
        (Kind::Price4, _) => "price4",
        (Kind::Price8, _) => "price8",
        (Kind::SignedPrice4, _) => "i32_price4",
        (Kind::Unsigned, 2) => "u16",
        (Kind::Unsigned, 4) => "u32",
        (Kind::Unsigned, 6) => "u48",
        (Kind::Unsigned, 8) => "u64",
        (kind, size) => panic!("{}: {kind:?} of {size} bytes", field.name),
    }
}

fn field_json(field: &Field) -> Json {
    let numbers = [field.offset, field.size].map(Json::from);
    let [offset, size] = numbers;
    Json::Array(vec![field.name.into(), offset, size, kind_name(field).into()])
}

fn assert_layouts(ours: &[&Layout], published: &Json) {
    let published = published.as_object().expect("layouts by type");
    assert_eq!(ours.len(), published.len());
    for layout in ours {
        let expected = &published[&char::from(layout.kind).to_string()];
        assert_eq!(layout.name, string(&expected["name"]));
        assert_eq!(layout.length as u64, unsigned(&expected["length"]), "{}", layout.name);
        let fields = Json::Array(layout.fields.iter().map(field_json).collect());
        assert_eq!(fields, expected["fields"], "{}", layout.name);
    }
}

#[test]
fn the_layouts_are_the_published_ones() {
    let Some(document) = nasdaq("layouts.json") else { return };
    assert_layouts(itch::LAYOUTS, &document["itch50"]);
    assert_layouts(ouch42::inbound::LAYOUTS, &document["ouch42"]["inbound"]);
    assert_layouts(ouch42::outbound::LAYOUTS, &document["ouch42"]["outbound"]);
    assert_layouts(ouch::inbound::LAYOUTS, &document["ouch50"]["inbound"]);
    assert_layouts(ouch::outbound::LAYOUTS, &document["ouch50"]["outbound"]);
    let header = Json::Array(moldudp64::HEADER_FIELDS.iter().map(field_json).collect());
    assert_eq!(header, document["moldudp64"]["header"]);
    let options = document["ouch50"]["options"].as_object().expect("options by tag");
    for (tag, expected) in options {
        let tag: u8 = tag.parse().expect("a tag");
        let option = ouch::OPTIONS.iter().find(|option| option.tag == tag).unwrap_or_else(|| panic!("no tag {tag}"));
        let kind = kind_name(&Field { name: option.name, offset: 0, size: option.size, kind: option.kind });
        let ours = Json::Array(vec![option.name.into(), option.size.into(), kind.into()]);
        assert_eq!(&ours, expected, "tag {tag}");
    }
}

fn decode_all(frames: &mut Frames<'_>) -> usize {
    let mut count = 0;
    for message in frames {
        itch::decode(message).unwrap_or_else(|error| panic!("message {count}: {error}"));
        count += 1;
    }
    count
}

#[test]
fn itch_files_whole_truncated_and_without_lengths() {
    let Some(folder) = shared("data/itch") else { return };
    let whole = read(&folder.join("12302019_SNIPPET_0930open_1000.NASDAQ_ITCH50"));
    let mut frames = Frames::new(&whole, Framing::detect(&whole));
    assert_eq!((decode_all(&mut frames), frames.tail()), (1_000, Tail::Clean));

    let cut = read(&folder.join("first101_truncated_4096B.NASDAQ_ITCH50"));
    let mut frames = Frames::new(&cut, Framing::detect(&cut));
    assert_eq!(decode_all(&mut frames), 101);
    assert!(matches!(frames.tail(), Tail::Partial { present: 15, offset, .. } if offset == cut.len() as u64 - 15));

    let zeros = read(&folder.join("synthetic/ex20101224.TEST_ITCH_50"));
    assert_eq!(Framing::detect(&zeros), Framing::ByType);
    let mut frames = Frames::new(&zeros, Framing::ByType);
    let count = decode_all(&mut frames);
    assert_eq!(frames.tail(), Tail::Clean);
    println!("{count} messages by type");
    assert!(count > 10_000);
}
