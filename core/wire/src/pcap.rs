//! Packet captures: classic pcap and pcapng, down to the payload of UDP and TCP packets.
//!
//! Links: Ethernet (with VLAN tags), Linux cooked v1, raw IP. IPv4 with options, IPv6 with extension headers. What
//! carries no UDP or TCP payload that can be trusted is given out as [`Skipped`] with the reason, so that nothing
//! disappears silently. Checksums are not checked: captures at the sender rarely have valid ones.
//! Absent: reassembly of IP fragments and of TCP streams; files (the caller holds the bytes).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const NANOS: u64 = 1_000_000_000;

/// Why a capture cannot be read on. What was given out before is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcapError {
    /// The first four bytes are those of no known capture format.
    NotACapture,
    /// The file ends inside a header, record or block.
    Truncated {
        /// Where the header, record or block begins.
        offset: usize,
        /// Bytes it needs.
        needs: usize,
        /// Bytes there are.
        found: usize,
    },
    /// A block contradicts itself.
    BadBlock {
        /// Where the block begins.
        offset: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotACapture => f.write_str("not a packet capture: expected pcap or pcapng (decompress it first)"),
            Self::Truncated { offset, needs, found } => write!(
                f,
                "capture truncated: the part at offset {offset} needs {needs} bytes, {found} are there; \
                 everything before it is whole"
            ),
            Self::BadBlock { offset, reason } => write!(f, "bad pcapng block at offset {offset}: {reason}"),
        }
    }
}

impl std::error::Error for PcapError {}

/// What carried a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, whole.
    Udp,
    /// One segment; `sequence` is the number of its first byte, for whoever puts the stream together.
    Tcp {
        /// TCP sequence number.
        sequence: u32,
    },
}

/// One captured UDP or TCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured, nanoseconds since the Unix epoch; 0 where the capture has no times.
    pub ts_ns: u64,
    /// Where its record or block begins in the capture.
    pub offset: usize,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver or multicast group.
    pub destination: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// What it carried; empty for TCP segments without data.
    pub payload: &'a [u8],
}

/// Why a captured packet has no payload for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The link type is not one of those known here.
    LinkType(u16),
    /// Not IP: the EtherType.
    EtherType(u16),
    /// IP, but neither UDP nor TCP: the protocol number.
    Protocol(u8),
    /// Part of a fragmented IP packet.
    Fragment,
    /// The capture kept only the start of the packet, or a length in the packet is wrong.
    Short,
    /// A header contradicts itself.
    BadHeader,
}

/// A captured packet that was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// When it was captured, nanoseconds since the Unix epoch; 0 where the capture has no times.
    pub ts_ns: u64,
    /// Where its record or block begins in the capture.
    pub offset: usize,
    /// Why.
    pub reason: Reason,
}

/// One captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// With a UDP or TCP payload.
    Packet(Packet<'a>),
    /// Without.
    Skipped(Skipped),
}

/// The packets of a capture, in the order of the file. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Capture<'a> {
    bytes: &'a [u8],
    at: usize,
    order: ByteOrder,
    format: Format,
}

#[derive(Clone, Debug)]
enum Format {
    Classic { link: u16, nanos_per_tick: u64 },
    Blocks { interfaces: Vec<Interface> },
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    Big,
    Little,
}

impl ByteOrder {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Big => u64::from_be_bytes(bytes),
            Self::Little => u64::from_le_bytes(bytes),
        }
    }
}

/// Bytes with a place: `None` when they are not all there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

const CLASSIC_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Type, length, and the length again at the end.
const BLOCK_OVERHEAD: usize = 12;

impl<'a> Capture<'a> {
    /// Reads the file header: pcap with microseconds or nanoseconds, or pcapng, in either byte order.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PcapError> {
        let magic = array(bytes, 0).ok_or(PcapError::NotACapture)?;
        let (order, nanos_per_tick) = match magic {
            [0x0A, 0x0D, 0x0D, 0x0A] => {
                let format = Format::Blocks { interfaces: Vec::new() };
                return Ok(Self { bytes, at: 0, order: ByteOrder::Little, format });
            }
            [0xA1, 0xB2, 0xC3, 0xD4] => (ByteOrder::Big, 1_000),
            [0xA1, 0xB2, 0x3C, 0x4D] => (ByteOrder::Big, 1),
            [0xD4, 0xC3, 0xB2, 0xA1] => (ByteOrder::Little, 1_000),
            [0x4D, 0x3C, 0xB2, 0xA1] => (ByteOrder::Little, 1),
            _ => return Err(PcapError::NotACapture),
        };
        let truncated = PcapError::Truncated { offset: 0, needs: CLASSIC_HEADER, found: bytes.len() };
        let link = order.u32(array(bytes, 20).ok_or(truncated)?) as u16; // the upper half describes checksums
        Ok(Self { bytes, at: CLASSIC_HEADER, order, format: Format::Classic { link, nanos_per_tick } })
    }

    /// Where the next record or block begins: after an error, where the good part of the file ends.
    pub fn offset(&self) -> usize {
        self.at
    }

    fn truncated(&self, needs: usize) -> PcapError {
        PcapError::Truncated { offset: self.at, needs, found: self.bytes.len() - self.at }
    }

    fn next_record(&mut self, link: u16, nanos_per_tick: u64) -> Result<Option<Item<'a>>, PcapError> {
        let offset = self.at;
        let rest = &self.bytes[offset..];
        if rest.is_empty() {
            return Ok(None);
        }
        let header: [u8; RECORD_HEADER] = array(rest, 0).ok_or(self.truncated(RECORD_HEADER))?;
        let word = |at| array(&header, at).map_or(0, |word| self.order.u32(word));
        let length = word(8) as usize;
        let data = rest[RECORD_HEADER..].get(..length).ok_or(self.truncated(RECORD_HEADER.saturating_add(length)))?;
        let ts_ns = u64::from(word(0)) * NANOS + u64::from(word(4)) * nanos_per_tick;
        self.at += RECORD_HEADER + length;
        Ok(Some(dissect(link, data, ts_ns, offset)))
    }
}

impl<'a> Iterator for Capture<'a> {
    type Item = Result<Item<'a>, PcapError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.format {
            Format::Classic { link, nanos_per_tick } => self.next_record(link, nanos_per_tick),
            Format::Blocks { .. } => self.next_packet_block(),
            Format::Failed => Ok(None),
        };
        if next.is_err() {
            self.format = Format::Failed;
        }
        next.transpose()
    }
}

/// What a pcapng interface says about its packets.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// Bytes kept of a packet; 0 is no limit.
    snap_length: u32,
    /// As in the file: ticks per second are a power of ten, or of two when the top bit is set.
    resolution: u8,
    /// Seconds to be added.
    offset_s: i64,
}

impl Interface {
    fn nanos(self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7F);
        let ticks = u128::from(ticks);
        let ns = if self.resolution & 0x80 != 0 {
            (ticks * u128::from(NANOS)) >> exponent
        } else if exponent <= 9 {
            ticks * 10_u128.pow(9 - exponent)
        } else {
            10_u128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(self.offset_s) * i128::from(NANOS));
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// A pcapng block without its frame.
struct Block<'a> {
    offset: usize,
    kind: u32,
    body: &'a [u8],
}

impl<'a> Capture<'a> {
    fn next_packet_block(&mut self) -> Result<Option<Item<'a>>, PcapError> {
        while let Some(block) = self.next_block()? {
            let bad = |reason| PcapError::BadBlock { offset: block.offset, reason };
            match block.kind {
                INTERFACE_DESCRIPTION => {
                    let interface = self.interface(block.body).ok_or(bad("interface description too short"))?;
                    if let Format::Blocks { interfaces } = &mut self.format {
                        interfaces.push(interface);
                    }
                }
                ENHANCED_PACKET => return self.enhanced_packet(&block).map(Some).map_err(bad),
                SIMPLE_PACKET => return self.simple_packet(&block).map(Some).map_err(bad),
                _ => {} // statistics, names, comments
            }
        }
        Ok(None)
    }

    /// The next block, with the frame checked. A section header sets the byte order and forgets the interfaces.
    fn next_block(&mut self) -> Result<Option<Block<'a>>, PcapError> {
        let offset = self.at;
        let rest = &self.bytes[offset..];
        if rest.is_empty() {
            return Ok(None);
        }
        let bad = |reason| PcapError::BadBlock { offset, reason };
        let head: [u8; 12] = array(rest, 0).ok_or(self.truncated(BLOCK_OVERHEAD))?;
        let [t0, t1, t2, t3, l0, l1, l2, l3, m0, m1, m2, m3] = head;
        if u32::from_be_bytes([t0, t1, t2, t3]) == SECTION_HEADER {
            self.order = match [m0, m1, m2, m3] {
                [0x1A, 0x2B, 0x3C, 0x4D] => ByteOrder::Big,
                [0x4D, 0x3C, 0x2B, 0x1A] => ByteOrder::Little,
                _ => return Err(bad("the section header's byte-order mark is neither order")),
            };
            self.format = Format::Blocks { interfaces: Vec::new() };
        }
        let length = self.order.u32([l0, l1, l2, l3]) as usize;
        if length < BLOCK_OVERHEAD || !length.is_multiple_of(4) {
            return Err(bad("its length is below 12 or not a multiple of 4"));
        }
        let block = rest.get(..length).ok_or(self.truncated(length))?;
        if array(block, length - 4).map(|again| self.order.u32(again) as usize) != Some(length) {
            return Err(bad("its two lengths differ"));
        }
        self.at += length;
        Ok(Some(Block { offset, kind: self.order.u32([t0, t1, t2, t3]), body: &block[8..length - 4] }))
    }

    fn interface(&self, body: &[u8]) -> Option<Interface> {
        const RESOLUTION: u16 = 9;
        const OFFSET: u16 = 14;
        let link = self.order.u16(array(body, 0)?);
        let snap_length = self.order.u32(array(body, 4)?);
        let mut interface = Interface { link, snap_length, resolution: 6, offset_s: 0 };
        let mut options = &body[8..];
        while let (Some(code), Some(length)) = (array(options, 0), array(options, 2)) {
            let (code, length) = (self.order.u16(code), usize::from(self.order.u16(length)));
            let Some(value) = options.get(4..4 + length) else { break };
            match (code, value) {
                (RESOLUTION, [resolution]) => interface.resolution = *resolution,
                (OFFSET, value) => {
                    interface.offset_s = array(value, 0).map_or(0, |offset| self.order.u64(offset) as i64);
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Some(interface)
    }

    fn interface_number(&self, number: usize) -> Result<Interface, &'static str> {
        let Format::Blocks { interfaces } = &self.format else { return Err("no section header came before") };
        interfaces.get(number).copied().ok_or("it names an interface that was not described")
    }

    fn enhanced_packet(&self, block: &Block<'a>) -> Result<Item<'a>, &'static str> {
        let word = |at| array(block.body, at).map(|word| self.order.u32(word)).ok_or("packet header too short");
        let interface = self.interface_number(word(0)? as usize)?;
        let ticks = u64::from(word(4)?) << 32 | u64::from(word(8)?);
        let length = word(12)? as usize;
        word(16)?; // the length on the wire
        let data = block.body[20..].get(..length).ok_or("the captured length exceeds the block")?;
        Ok(dissect(interface.link, data, interface.nanos(ticks), block.offset))
    }

    fn simple_packet(&self, block: &Block<'a>) -> Result<Item<'a>, &'static str> {
        let interface = self.interface_number(0)?;
        let length = array(block.body, 0).map(|word| self.order.u32(word)).ok_or("packet header too short")?;
        let kept = if interface.snap_length == 0 { length } else { length.min(interface.snap_length) };
        let data = block.body[4..].get(..kept as usize).ok_or("the packet's length exceeds the block")?;
        Ok(dissect(interface.link, data, 0, block.offset))
    }
}

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86DD;
const ETHER_VLAN: [u16; 3] = [0x8100, 0x88A8, 0x9100];
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

fn dissect(link: u16, data: &[u8], ts_ns: u64, offset: usize) -> Item<'_> {
    let found = network_layer(link, data).and_then(transport_layer);
    match found {
        Ok((source, destination, transport, payload)) => {
            Item::Packet(Packet { ts_ns, offset, source, destination, transport, payload })
        }
        Err(reason) => Item::Skipped(Skipped { ts_ns, offset, reason }),
    }
}

/// Takes the link layer off; what is left begins with the IP header.
fn network_layer(link: u16, data: &[u8]) -> Result<&[u8], Reason> {
    const ETHERNET: u16 = 1;
    const LINUX_COOKED: u16 = 113;
    const RAW: [u16; 5] = [12, 14, 101, 228, 229];
    let (mut ether_type_at, ip_from_start) = match link {
        ETHERNET => (12, false),
        LINUX_COOKED => (14, false),
        link if RAW.contains(&link) => (0, true),
        other => return Err(Reason::LinkType(other)),
    };
    if ip_from_start {
        return Ok(data);
    }
    loop {
        let ether_type = u16::from_be_bytes(array(data, ether_type_at).ok_or(Reason::Short)?);
        match ether_type {
            ETHER_IPV4 | ETHER_IPV6 => return Ok(&data[ether_type_at + 2..]),
            tag if ETHER_VLAN.contains(&tag) => ether_type_at += 4,
            other => return Err(Reason::EtherType(other)),
        }
    }
}

type Payload<'a> = (SocketAddr, SocketAddr, Transport, &'a [u8]);

fn transport_layer(packet: &[u8]) -> Result<Payload<'_>, Reason> {
    let (source, destination, protocol, segment) = match packet.first().ok_or(Reason::Short)? >> 4 {
        4 => ipv4(packet)?,
        6 => ipv6(packet)?,
        _ => return Err(Reason::BadHeader),
    };
    let (transport, payload) = match protocol {
        PROTOCOL_UDP => udp(segment)?,
        PROTOCOL_TCP => tcp(segment)?,
        other => return Err(Reason::Protocol(other)),
    };
    let port = |at| array(segment, at).map(u16::from_be_bytes).ok_or(Reason::Short);
    Ok((SocketAddr::new(source, port(0)?), SocketAddr::new(destination, port(2)?), transport, payload))
}

type Segment<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn ipv4(packet: &[u8]) -> Result<Segment<'_>, Reason> {
    let header: [u8; 20] = array(packet, 0).ok_or(Reason::Short)?;
    let header_length = usize::from(header[0] & 0x0F) * 4;
    if header_length < header.len() {
        return Err(Reason::BadHeader);
    }
    // A total length of zero is left by network cards that segment for the sender: then the capture's end counts.
    let total = match u16::from_be_bytes([header[2], header[3]]) {
        0 => packet.len(),
        total => usize::from(total),
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x3FFF != 0 {
        return Err(Reason::Fragment); // more fragments follow, or this is not the first
    }
    if total < header_length {
        return Err(Reason::BadHeader);
    }
    let [.., a, b, c, d, e, f, g, h] = header;
    let segment = packet.get(header_length..total).ok_or(Reason::Short)?;
    Ok((Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), header[9], segment))
}

fn ipv6(packet: &[u8]) -> Result<Segment<'_>, Reason> {
    const HEADER: usize = 40;
    const EXTENSIONS: [u8; 3] = [0, 43, 60]; // hop by hop, routing, destination options
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    let header: [u8; HEADER] = array(packet, 0).ok_or(Reason::Short)?;
    let address = |at| array::<16>(&header, at).map(|bytes| Ipv6Addr::from(bytes).into()).ok_or(Reason::Short);
    let mut rest = match u16::from_be_bytes([header[4], header[5]]) {
        0 => &packet[HEADER..],
        length => packet.get(HEADER..HEADER + usize::from(length)).ok_or(Reason::Short)?,
    };
    let mut protocol = header[6];
    loop {
        let length = match protocol {
            FRAGMENT => return Err(Reason::Fragment),
            AUTHENTICATION => (usize::from(*rest.get(1).ok_or(Reason::Short)?) + 2) * 4,
            other if EXTENSIONS.contains(&other) => (usize::from(*rest.get(1).ok_or(Reason::Short)?) + 1) * 8,
            _ => return Ok((address(8)?, address(24)?, protocol, rest)),
        };
        protocol = rest[0];
        rest = rest.get(length..).ok_or(Reason::Short)?;
    }
}

fn udp(segment: &[u8]) -> Result<(Transport, &[u8]), Reason> {
    const HEADER: usize = 8;
    let length = match u16::from_be_bytes(array(segment, 4).ok_or(Reason::Short)?) {
        0 => segment.len(),
        length => usize::from(length),
    };
    if length < HEADER {
        return Err(Reason::BadHeader);
    }
    segment.get(HEADER..length).map(|payload| (Transport::Udp, payload)).ok_or(Reason::Short)
}

fn tcp(segment: &[u8]) -> Result<(Transport, &[u8]), Reason> {
    const HEADER: usize = 20;
    let header: [u8; HEADER] = array(segment, 0).ok_or(Reason::Short)?;
    let header_length = usize::from(header[12] >> 4) * 4;
    if header_length < HEADER {
        return Err(Reason::BadHeader);
    }
    let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    segment.get(header_length..).map(|payload| (Transport::Tcp { sequence }, payload)).ok_or(Reason::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet that carries a UDP datagram; `options` are four-byte words.
    fn ipv4_udp(payload: &[u8], options: usize, fragment: u16) -> Vec<u8> {
        let header_length = 20 + options * 4;
        let total = (header_length + 8 + payload.len()) as u16;
        let mut packet = vec![0x40 | (header_length / 4) as u8, 0];
        packet.extend_from_slice(&total.to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(&fragment.to_be_bytes());
        packet.extend_from_slice(&[64, PROTOCOL_UDP, 0, 0, 10, 0, 0, 1, 233, 54, 12, 111]);
        packet.resize(header_length, 1);
        packet.extend_from_slice(&udp_segment(payload));
        packet
    }

    fn udp_segment(payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x04, 0xD2, 0x67, 0x6D]; // ports 1234 and 26477
        segment.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        segment.extend_from_slice(&[0, 0]);
        segment.extend_from_slice(payload);
        segment
    }

    fn ethernet(tags: usize, ether_type: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for tag in &ETHER_VLAN[..tags] {
            frame.extend_from_slice(&tag.to_be_bytes());
            frame.extend_from_slice(&[0, 7]);
        }
        frame.extend_from_slice(&ether_type.to_be_bytes());
        frame.extend_from_slice(packet);
        frame
    }

    fn payload_of(link: u16, data: &[u8]) -> Result<&[u8], Reason> {
        match dissect(link, data, 0, 0) {
            Item::Packet(packet) => Ok(packet.payload),
            Item::Skipped(skipped) => Err(skipped.reason),
        }
    }

    fn words(order: ByteOrder, words: &[u32]) -> Vec<u8> {
        let bytes = |word: &u32| match order {
            ByteOrder::Big => word.to_be_bytes(),
            ByteOrder::Little => word.to_le_bytes(),
        };
        words.iter().flat_map(bytes).collect()
    }

    fn classic(order: ByteOrder, magic: u32, records: &[&[u8]]) -> Vec<u8> {
        let mut file = words(order, &[magic, 0, 0, 0, 65_535, 1]);
        for record in records {
            file.extend(words(order, &[10, 250, record.len() as u32, record.len() as u32]));
            file.extend_from_slice(record);
        }
        file
    }

    fn block(order: ByteOrder, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = (padded + BLOCK_OVERHEAD) as u32;
        let mut block = words(order, &[kind, length]);
        block.extend_from_slice(body);
        block.resize(8 + padded, 0);
        block.extend(words(order, &[length]));
        block
    }

    #[test]
    fn both_byte_orders_and_both_resolutions() {
        let frame = ethernet(0, ETHER_IPV4, &ipv4_udp(b"hello", 0, 0));
        for order in [ByteOrder::Big, ByteOrder::Little] {
            for (magic, ts_ns) in [(0xA1B2_C3D4, 10_000_250_000), (0xA1B2_3C4D, 10_000_000_250)] {
                let file = classic(order, magic, &[&frame, &frame]);
                let items: Vec<_> = Capture::new(&file).expect("a header").collect();
                let Ok(Item::Packet(packet)) = items[1] else { panic!("a packet: {items:?}") };
                assert_eq!((packet.ts_ns, packet.payload), (ts_ns, b"hello".as_slice()));
                assert_eq!(packet.source.to_string(), "10.0.0.1:1234");
                assert_eq!(packet.destination.to_string(), "233.54.12.111:26477");
                assert_eq!((items.len(), packet.offset), (2, 24 + 16 + frame.len()));
            }
        }
    }

    #[test]
    fn every_link_and_header_form() {
        let packet = ipv4_udp(b"x", 0, 0);
        assert_eq!(payload_of(1, &ethernet(0, ETHER_IPV4, &packet)), Ok(b"x".as_slice()));
        assert_eq!(payload_of(1, &ethernet(3, ETHER_IPV4, &packet)), Ok(b"x".as_slice()));
        assert_eq!(payload_of(101, &packet), Ok(b"x".as_slice()));
        let cooked = [vec![0; 14], ETHER_IPV4.to_be_bytes().to_vec(), packet.clone()].concat();
        assert_eq!(payload_of(113, &cooked), Ok(b"x".as_slice()));
        assert_eq!(payload_of(101, &ipv4_udp(b"options", 3, 0)), Ok(b"options".as_slice()));
        let padded = [packet.clone(), vec![0; 17]].concat();
        assert_eq!(payload_of(101, &padded), Ok(b"x".as_slice()), "Ethernet padding is no payload");
        let dont_fragment = ipv4_udp(b"x", 0, 0x4000);
        assert_eq!(payload_of(101, &dont_fragment), Ok(b"x".as_slice()));
    }

    #[test]
    fn ipv6_extension_headers_are_passed_over() {
        let segment = udp_segment(b"six");
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&(8 + segment.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 64]);
        packet.extend_from_slice(&[1; 32]);
        packet.extend_from_slice(&[PROTOCOL_UDP, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&segment);
        assert_eq!(payload_of(229, &packet), Ok(b"six".as_slice()));
        packet[6] = 44;
        assert_eq!(payload_of(229, &packet), Err(Reason::Fragment));
    }

    #[test]
    fn tcp_payload_stands_behind_its_options() {
        let mut packet = ipv4_udp(&[0; 20], 0, 0);
        packet[9] = PROTOCOL_TCP;
        packet[24..28].copy_from_slice(&77_u32.to_be_bytes());
        packet[32] = 6 << 4;
        let Item::Packet(found) = dissect(101, &packet, 0, 0) else { panic!("a segment") };
        assert_eq!((found.transport, found.payload.len()), (Transport::Tcp { sequence: 77 }, 4));
        packet[32] = 4 << 4;
        assert_eq!(payload_of(101, &packet), Err(Reason::BadHeader));
    }

    #[test]
    fn what_carries_nothing_for_us_says_why() {
        let packet = ipv4_udp(b"x", 0, 0);
        assert_eq!(payload_of(147, &packet), Err(Reason::LinkType(147)));
        assert_eq!(payload_of(1, &ethernet(0, 0x0806, &packet)), Err(Reason::EtherType(0x0806)));
        assert_eq!(payload_of(1, &[0; 13]), Err(Reason::Short));
        assert_eq!(payload_of(101, &ipv4_udp(b"x", 0, 0x2000)), Err(Reason::Fragment));
        assert_eq!(payload_of(101, &ipv4_udp(b"x", 0, 0x0001)), Err(Reason::Fragment));
        assert_eq!(payload_of(101, &packet[..packet.len() - 1]), Err(Reason::Short));
        assert_eq!(payload_of(101, &[0x30; 40]), Err(Reason::BadHeader));
        assert_eq!(payload_of(101, &[0x44; 40]), Err(Reason::BadHeader), "header length below 20");
        let mut icmp = packet;
        icmp[9] = 1;
        assert_eq!(payload_of(101, &icmp), Err(Reason::Protocol(1)));
    }

    #[test]
    fn a_truncated_file_says_where_and_keeps_what_was_good() {
        let frame = ethernet(0, ETHER_IPV4, &ipv4_udp(b"x", 0, 0));
        let file = classic(ByteOrder::Little, 0xA1B2_C3D4, &[&frame, &frame]);
        let second = 24 + 16 + frame.len();
        let mut capture = Capture::new(&file[..file.len() - 1]).expect("a header");
        assert!(matches!(capture.next(), Some(Ok(Item::Packet(_)))));
        let needs = 16 + frame.len();
        assert_eq!(capture.next(), Some(Err(PcapError::Truncated { offset: second, needs, found: needs - 1 })));
        assert_eq!(capture.next(), None);
        assert_eq!(capture.offset(), second);
        let header = PcapError::Truncated { offset: 0, needs: 24, found: 23 };
        assert_eq!(Capture::new(&file[..23]).expect_err("cut"), header);
        assert_eq!(Capture::new(b"\x1f\x8b\x08\0").expect_err("gzip"), PcapError::NotACapture);
    }

    #[test]
    fn pcapng_in_both_orders_with_its_clocks() {
        let frame = ethernet(0, ETHER_IPV4, &ipv4_udp(b"ng", 0, 0));
        for order in [ByteOrder::Big, ByteOrder::Little] {
            let mut file = block(order, SECTION_HEADER, &words(order, &[0x1A2B_3C4D, 1, u32::MAX, u32::MAX]));
            let u16s = |a: u16, b: u16| match order {
                ByteOrder::Big => [a.to_be_bytes(), b.to_be_bytes()].concat(),
                ByteOrder::Little => [a.to_le_bytes(), b.to_le_bytes()].concat(),
            };
            let interface = |resolution: &[u8]| {
                let mut body = [u16s(1, 0), words(order, &[0])].concat();
                body.extend_from_slice(resolution);
                block(order, INTERFACE_DESCRIPTION, &body)
            };
            file.extend(interface(&[]));
            file.extend(interface(&[u16s(9, 1), vec![9, 0, 0, 0]].concat()));
            file.extend(interface(&[u16s(9, 1), vec![0x80 | 10, 0, 0, 0]].concat()));
            let length = frame.len() as u32;
            for number in 0..3 {
                let header = words(order, &[number, 1, 2048, length, length]);
                file.extend(block(order, ENHANCED_PACKET, &[header, frame.clone()].concat()));
            }
            file.extend(block(order, 5, b"statistics"));
            file.extend(block(order, SIMPLE_PACKET, &[words(order, &[length]), frame.clone()].concat()));
            let ticks = (1_u64 << 32) + 2048;
            let expected = [ticks * 1_000, ticks, (u128::from(ticks) * 1_000_000_000 / 1024) as u64, 0];
            let times: Vec<u64> = Capture::new(&file)
                .expect("a section")
                .map(|item| match item {
                    Ok(Item::Packet(packet)) if packet.payload == b"ng" => packet.ts_ns,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(times, expected);
            let error = Capture::new(&file[..file.len() - 1]).expect("a section").last();
            assert!(matches!(error, Some(Err(PcapError::Truncated { .. }))));
        }
    }

    #[test]
    fn bad_blocks_are_errors() {
        let order = ByteOrder::Little;
        let section = block(order, SECTION_HEADER, &words(order, &[0x1A2B_3C4D, 1, 0, 0]));
        let reason = |block: Vec<u8>| {
            let file = [section.clone(), block].concat();
            match Capture::new(&file).expect("a section").next() {
                Some(Err(PcapError::BadBlock { offset, reason })) if offset == section.len() => reason,
                other => panic!("{other:?}"),
            }
        };
        assert!(reason(block(order, ENHANCED_PACKET, &words(order, &[0; 5]))).contains("interface"));
        assert!(reason(words(order, &[5, 8, 8])).contains("below 12"));
        assert!(reason(words(order, &[5, 12, 16])).contains("differ"));
        assert!(reason(block(order, INTERFACE_DESCRIPTION, b"")).contains("too short"));
        let wrong_mark = block(order, SECTION_HEADER, &words(order, &[1, 1, 0, 0]));
        assert!(reason(wrong_mark).contains("byte-order"));
    }
}
