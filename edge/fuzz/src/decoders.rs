//! Bytes to messages and back; files; journals.

use helios_journal::Writer;
use helios_types::{Control, Event, Input, InstrumentId, Market, Nanos, OrderId, Output, Update};
use helios_wire::fuzz;
use helios_wire::moldudp64::PacketBuilder;
use helios_wire::soupbintcp::{LoginAccepted, LoginRequest, Packet};
use helios_wire::{Layout, fix, frame, itch, ouch, ouch42};

use crate::script::Script;

/// One TotalView-ITCH 5.0 message: by layout and as named fields.
pub fn itch50(bytes: &[u8]) {
    fuzz::itch_message(bytes);
    fuzz::fields(bytes);
}

/// One OUCH message, 4.2 or 5.0, to or from the venue.
pub fn ouch_messages(bytes: &[u8]) {
    fuzz::ouch_message(bytes);
    fuzz::fields(bytes);
}

/// One FIX message after another, as they are; and the same as fields behind a right BodyLength and before a right
/// CheckSum, which no mutation finds: by its first byte for one version.
pub fn fix_messages(bytes: &[u8]) {
    fuzz::fix_messages(bytes);
    let mut script = Script::new(bytes);
    let version = fix::Version::ALL[script.below(8)];
    let rest = script.take(usize::MAX);
    let mut builder = fix::Builder::new();
    let (msg_type, body) = rest.split_at(rest.iter().position(|byte| *byte == fix::codec::SOH).unwrap_or(rest.len()));
    builder.begin(version.begin_string().as_bytes(), msg_type);
    builder.raw(body.strip_prefix(&[fix::codec::SOH]).unwrap_or(body));
    fuzz::fix_messages(builder.finish());
}

/// Messages of every layout, empty and full.
fn of_layouts(layouts: &'static [&'static Layout]) -> impl Iterator<Item = Vec<u8>> {
    layouts.iter().flat_map(|layout| {
        [0, b' ', b'1', 0xFF].map(|fill| {
            let mut bytes = vec![fill; layout.length];
            bytes[0] = layout.kind;
            bytes
        })
    })
}

pub(crate) fn itch_seeds() -> Vec<Vec<u8>> {
    of_layouts(itch::LAYOUTS).collect()
}

pub(crate) fn ouch_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = of_layouts(ouch42::inbound::LAYOUTS).chain(of_layouts(ouch42::outbound::LAYOUTS)).collect();
    let mut options = Vec::new();
    ouch::append_option(2, b"P", &mut options);
    ouch::append_option(9, &[0; 4], &mut options);
    for message in of_layouts(ouch::inbound::LAYOUTS) {
        let mut with = Vec::new();
        ouch::inbound::append(&message, &options, &mut with);
        seeds.extend([message, with]);
    }
    for message in of_layouts(ouch::outbound::LAYOUTS) {
        let mut with = Vec::new();
        ouch::outbound::append(&message, &options, &mut with);
        seeds.extend([message, with]);
    }
    seeds
}

pub(crate) fn mold_seeds() -> Vec<Vec<u8>> {
    let mut builder = PacketBuilder::new(*b"DAY1      ", 7, 1_400);
    let mut seeds = vec![builder.bytes().to_vec()];
    for message in [b"".as_slice(), b"S", b"a message"] {
        builder.push(message).expect("there is room");
        seeds.push(builder.bytes().to_vec());
    }
    seeds.push(helios_wire::moldudp64::encode_request(*b"DAY1      ", 1, 9).to_vec());
    seeds.push(helios_wire::moldudp64::encode_end_of_session(*b"DAY1      ", 9).to_vec());
    seeds
}

pub(crate) fn soup_seeds() -> Vec<Vec<u8>> {
    let login = LoginRequest::new("me", "secret", "S1", 5).expect("short texts");
    let accepted = LoginAccepted::new("S1", 5).expect("short texts");
    let packets = [
        Packet::LoginRequest(login),
        Packet::LoginAccepted(accepted),
        Packet::LoginRejected(b'A'),
        Packet::SequencedData(b"one"),
        Packet::UnsequencedData(b""),
        Packet::Debug(b"text"),
        Packet::ServerHeartbeat,
        Packet::ClientHeartbeat,
        Packet::LogoutRequest,
        Packet::EndOfSession,
    ];
    let one = |packet: &Packet<'_>| {
        let mut bytes = Vec::new();
        packet.append_to(&mut bytes);
        bytes
    };
    let mut seeds: Vec<_> = packets.iter().map(one).collect();
    seeds.push(seeds.concat());
    seeds
}

pub(crate) fn fix_seeds() -> Vec<Vec<u8>> {
    let bodies = [
        "A|98=0|108=30|141=Y|553=me|554=secret",
        "D|49=A|56=B|34=2|52=20260102-03:04:05|11=1|21=1|55=X|54=1|60=20260102-03:04:05|38=100|40=2|44=10.5",
        "8|49=A|56=B|34=3|52=20260102-03:04:05.123|37=1|17=2|150=F|39=1|11=1|55=X|54=1|32=5|31=10|151=5|14=5|6=10",
        "W|49=A|56=B|34=4|52=20260102-03:04:05|55=X|268=2|269=0|270=1|271=2|269=1|270=3|271=4",
        "B|49=A|56=B|34=5|52=20260102-03:04:05|148=h|33=1|58=t|354=2|355=ab|95=3|96=a|b",
        "2|49=A|56=B|34=6|52=20260102-03:04:05|43=Y|122=20260102-03:04:05|7=1|16=0",
    ];
    let body = |body: &str| body.replace('|', "\x01").into_bytes();
    let mut seeds = Vec::new();
    for (at, version) in (0..).zip(fix::Version::ALL) {
        for text in bodies {
            let text = [body(text), b"\x01".to_vec()].concat();
            seeds.push([&[at], text.as_slice()].concat());
            let mut builder = fix::Builder::new();
            let split = text.iter().position(|byte| *byte == 1).unwrap_or(0);
            builder.begin(version.begin_string().as_bytes(), &text[..split]);
            builder.raw(&text[split + 1..]);
            seeds.push(builder.finish().to_vec());
        }
    }
    seeds
}

/// Captures of both kinds with one UDP datagram each.
pub(crate) fn pcap_seeds() -> Vec<Vec<u8>> {
    let payload = &mold_seeds()[2];
    let mut packet = vec![0; 12];
    packet.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
    packet.extend_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 9, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4]);
    packet.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let kept = packet.len() as u32;
    let classic = [words(&[0xA1B2_C3D4, 0, 0, 0, 65_535, 1, 1, 2, kept, kept]), packet.clone()].concat();
    packet.resize(packet.len().next_multiple_of(4), 0);
    let length = 32 + packet.len() as u32;
    let next = [
        words(&[0x0A0D_0D0A, 28, 0x1A2B_3C4D, 1, u32::MAX, u32::MAX, 28, 1, 20, 1, 0, 20]),
        words(&[6, length, 0, 0, 1_000_002, kept, kept]),
        packet,
        words(&[length]),
    ];
    vec![classic, next.concat()]
}

/// Files of messages: framed by length, by type, with an end of session; and captures.
pub(crate) fn file_seeds() -> Vec<Vec<u8>> {
    let mut framed = Vec::new();
    let mut seeds = itch_seeds();
    seeds.iter().for_each(|message| frame::append(message, &mut framed));
    let mut ended = framed.clone();
    frame::append_end(&mut ended);
    seeds = vec![seeds.concat(), framed, ended];
    seeds.extend(pcap_seeds());
    seeds
}

/// A whole journal, and what [`helios_journal::fuzz_read`] makes one of: its payloads, each behind its length.
pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let mut writer = Writer::new(b"{}").expect("a short configuration");
    let update = Update::Quote {
        bid: helios_types::Price::whole(10),
        bid_quantity: helios_types::Quantity::whole(1),
        ask: helios_types::Price::whole(11),
        ask_quantity: helios_types::Quantity::whole(2),
    };
    let market = Market { instrument: InstrumentId(0), ts_event: Nanos(1), update };
    for (seq, event) in (0..).zip([Event::Control(Control::Pause), Event::Market(market)]) {
        writer.input(&Input { seq, ts: Nanos(seq), event });
        writer.output(seq, &Output::Cancel { order: OrderId(1), instrument: InstrumentId(0) });
    }
    writer.end(7);
    let journal = writer.pending().to_vec();
    let (mut payloads, mut rest) = (Vec::new(), &journal[helios_journal::HEADER_LEN..]);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let payload = &behind[helios_journal::FRAME_LEN - 4..][..length];
        payloads.push(length as u8);
        payloads.extend_from_slice(payload);
        rest = &behind[helios_journal::FRAME_LEN - 4 + length..];
    }
    vec![journal, payloads]
}
