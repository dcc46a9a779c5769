//! A venue's market data: numbered ITCH messages, packed into MoldUDP64 packets, kept for retransmission.
//!
//! Messages are written where they stay: [`Tape::buffer`] is the end of the store, in the form that packets carry (length,
//! then message), so that a packet is a header and a slice. Each packet is handed out once; who hands it out sends it on
//! both lines. Between packets a heartbeat follows after a second of silence; after [`Tape::end`] the end of the session is
//! said each second instead, while requests are still served.
//! Assumes that what is written are length-prefixed messages of at most [`MAX_MESSAGE`] bytes.
//! Limits: the store keeps the latest messages up to its maximum of bytes, older ones are not retransmitted (silence, as
//! the protocol has it); requests beyond the maximum of a second are not answered. Both are counted.
//! Absent: sockets, lines, faults.

use std::collections::VecDeque;
use std::ops::Range;

use helios_types::{NANOS_PER_SECOND, Nanos};
use helios_wire::moldudp64::{self, BLOCK_PREFIX, HEADER_LENGTH, Header, MAX_COUNT};

/// Bytes of a piece of the store; a packet never spans two.
const PIECE: usize = 1 << 20;
/// Longest message of ours.
pub const MAX_MESSAGE: usize = 64;
/// Silence after which a heartbeat is sent.
const HEARTBEAT_NS: u64 = NANOS_PER_SECOND;

/// Settings of a tape.
#[derive(Clone, Debug, PartialEq)]
pub struct TapeConfig {
    /// Name of the session, at most ten characters.
    pub session: String,
    /// Largest packet in bytes; [`TapeConfig::LEAST_PACKET`] or more.
    pub max_packet: usize,
    /// Most bytes kept for retransmission.
    pub max_store: usize,
    /// Most retransmission requests answered in one second.
    pub max_requests_per_second: u32,
}

impl TapeConfig {
    /// The smallest largest packet: one message fits.
    pub const LEAST_PACKET: usize = HEADER_LENGTH + BLOCK_PREFIX + MAX_MESSAGE;
}

impl Default for TapeConfig {
    fn default() -> Self {
        Self { session: "HELIOS".to_owned(), max_packet: 1_400, max_store: 1 << 30, max_requests_per_second: 1_000 }
    }
}

/// What a tape has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapeCounters {
    /// Packets with messages.
    pub packets: u64,
    /// Heartbeats and ends of session.
    pub idle: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were malformed, for another session, or for what is not there.
    pub unanswerable: u64,
    /// Requests beyond the maximum of their second.
    pub refused: u64,
}

struct Piece {
    /// Number of the first message.
    first: u64,
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<u32>,
}

impl Piece {
    fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    fn end_of(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }

    /// The longest slice of whole messages from the `from`th on, with at most `count` messages and `room` bytes.
    fn slice(&self, from: usize, count: usize, room: usize) -> (Range<usize>, usize) {
        let start = self.end_of(from);
        let ends = &self.ends[from..self.ends.len().min(from + count)];
        let fits = ends.partition_point(|end| *end as usize - start <= room);
        (start..self.end_of(from + fits), fits)
    }
}

/// The market data of one venue.
pub struct Tape {
    config: TapeConfig,
    session: [u8; 10],
    pieces: VecDeque<Piece>,
    stored: usize,
    /// Number of the next message to be sent.
    sent: u64,
    last_sent: Nanos,
    ended: bool,
    packet: Vec<u8>,
    /// Requests answered in the second that began at the first number.
    second: (Nanos, u32),
    counters: TapeCounters,
}

impl Tape {
    /// An empty tape, or what is wrong with its settings.
    pub fn new(config: TapeConfig) -> Result<Self, String> {
        let session = helios_wire::alpha::<10>(&config.session).map_err(|error| format!("session: {error}"))?;
        if !(TapeConfig::LEAST_PACKET..=65_507).contains(&config.max_packet) {
            let least = TapeConfig::LEAST_PACKET;
            return Err(format!("max_packet is {}: set it between {least} and 65507 bytes", config.max_packet));
        }
        let mut tape = Self {
            config,
            session,
            pieces: VecDeque::new(),
            stored: 0,
            sent: 1,
            last_sent: Nanos(0),
            ended: false,
            packet: Vec::new(),
            second: (Nanos(0), 0),
            counters: TapeCounters::default(),
        };
        tape.begin_piece(1);
        Ok(tape)
    }

    fn begin_piece(&mut self, first: u64) {
        let bytes = Vec::with_capacity(PIECE + PIECE / 8);
        self.pieces.push_back(Piece { first, bytes, ends: Vec::with_capacity(PIECE / 24) });
    }

    fn last(&mut self) -> &mut Piece {
        self.pieces.back_mut().expect("a tape always has a piece")
    }

    /// Where the next messages are to be appended, each with its length in front; then [`Tape::written`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.last().bytes
    }

    /// Numbers the messages that were appended.
    pub fn written(&mut self) {
        let piece = self.last();
        let mut at = piece.end_of(piece.ends.len());
        while let Some(prefix) = piece.bytes.get(at..at + BLOCK_PREFIX) {
            at += BLOCK_PREFIX + usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
            piece.ends.push(at as u32);
        }
        assert!(at == piece.bytes.len(), "whole messages are written to the tape");
        if at >= PIECE {
            let (next, full) = (piece.next(), piece.bytes.len());
            self.stored += full;
            self.begin_piece(next);
            self.forget();
        }
    }

    /// Drops the oldest pieces that were sent while there is more than the maximum.
    fn forget(&mut self) {
        while self.stored > self.config.max_store
            && self.pieces.len() > 1
            && self.pieces.front().is_some_and(|piece| piece.next() <= self.sent)
        {
            self.stored -= self.pieces.pop_front().map_or(0, |piece| piece.bytes.len());
        }
    }

    /// Number of the message that will be written next.
    pub fn next(&self) -> u64 {
        self.pieces.back().expect("a tape always has a piece").next()
    }

    /// The session's ten bytes.
    pub fn session(&self) -> [u8; 10] {
        self.session
    }

    /// What was done so far.
    pub fn counters(&self) -> TapeCounters {
        self.counters
    }

    /// Whether the session was ended.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn piece_of(&self, number: u64) -> Option<&Piece> {
        let at = self.pieces.partition_point(|piece| piece.next() <= number);
        self.pieces.get(at).filter(|piece| piece.first <= number)
    }

    /// A packet of messages from `from` on, with at most `most` of them, in `self.packet`; how many there are.
    fn pack(&mut self, from: u64, most: u16) -> u16 {
        let room = self.config.max_packet - HEADER_LENGTH;
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        let mut count = 0;
        if let Some(piece) = self.piece_of(from) {
            let (range, fits) = piece.slice((from - piece.first) as usize, usize::from(most), room);
            count = fits as u16;
            let header = Header { session: self.session, sequence_number: from, message_count: count };
            packet.extend_from_slice(&header.encode());
            packet.extend_from_slice(&piece.bytes[range]);
        }
        self.packet = packet;
        count
    }

    /// Hands out what was written and not sent yet, packet by packet.
    pub fn flush(&mut self, now: Nanos, mut send: impl FnMut(&[u8])) {
        while self.sent < self.next() {
            let count = self.pack(self.sent, MAX_COUNT);
            assert!(count > 0, "what was not sent yet is in the store");
            send(&self.packet);
            self.sent += u64::from(count);
            self.last_sent = now;
            self.counters.packets += 1;
        }
    }

    /// No more messages: from now on the end of the session is said.
    pub fn end(&mut self, now: Nanos, send: impl FnMut(&[u8])) {
        self.flush(now, send);
        if !self.ended {
            self.ended = true;
            self.last_sent = Nanos(0);
        }
    }

    /// When a heartbeat is due.
    pub fn next_tick(&self) -> Nanos {
        self.last_sent.plus(HEARTBEAT_NS)
    }

    /// Says the heartbeat that is due, if one is.
    pub fn tick(&mut self, now: Nanos, mut send: impl FnMut(&[u8])) {
        if now < self.next_tick() {
            return;
        }
        let next = self.next();
        let packet = match self.ended {
            true => moldudp64::encode_end_of_session(self.session, next),
            false => moldudp64::encode_heartbeat(self.session, next),
        };
        self.last_sent = now;
        self.counters.idle += 1;
        send(&packet);
    }

    /// The answer to a retransmission request; `None` is the silence of the protocol.
    pub fn request(&mut self, bytes: &[u8], now: Nanos) -> Option<&[u8]> {
        if now.since(self.second.0) >= NANOS_PER_SECOND {
            self.second = (now, 0);
        }
        if self.second.1 >= self.config.max_requests_per_second {
            self.counters.refused += 1;
            return None;
        }
        self.second.1 += 1;
        let request = moldudp64::decode_request(bytes).ok().filter(|request| request.session == self.session);
        let count = request.map_or(0, |request| self.pack(request.sequence_number, request.message_count));
        if count == 0 {
            self.counters.unanswerable += 1;
            return None;
        }
        self.counters.answered += 1;
        Some(&self.packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use helios_wire::frame;

    fn tape(max_packet: usize, max_store: usize) -> Tape {
        let config = TapeConfig { max_packet, max_store, ..TapeConfig::default() };
        Tape::new(config).expect("settings that can be")
    }

    fn write(tape: &mut Tape, messages: u64) {
        for _ in 0..messages {
            let message = [tape.next() as u8; 30];
            frame::append(&message, tape.buffer());
            tape.written();
        }
    }

    #[test]
    fn packets_are_as_long_as_they_may_be_and_follow_one_another() {
        let mut tape = tape(200, 1 << 20);
        write(&mut tape, 20);
        let mut packets = Vec::new();
        tape.flush(Nanos(1), |packet| packets.push(packet.to_vec()));
        let counts = packets.iter().map(|packet| moldudp64::decode(packet).expect("a packet").message_count());
        // (200 - 20) / 32 bytes.
        assert_eq!(counts.collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert!(packets.iter().all(|packet| packet.len() <= 200));
        tape.flush(Nanos(2), |_| panic!("each packet is handed out once"));
    }

    #[test]
    fn heartbeats_come_after_a_second_and_the_end_is_said_for_ever() {
        let mut tape = tape(1_400, 1 << 20);
        write(&mut tape, 1);
        tape.flush(Nanos(5), |_| {});
        tape.tick(Nanos(6), |_| panic!("not yet"));
        let mut heard = Vec::new();
        tape.tick(Nanos(5).plus(HEARTBEAT_NS), |packet| heard.push(packet.to_vec()));
        tape.end(Nanos(7).plus(HEARTBEAT_NS), |_| {});
        for second in 2..5 {
            tape.tick(Nanos(second * HEARTBEAT_NS + 10), |packet| heard.push(packet.to_vec()));
        }
        let said = heard.iter().map(|packet| {
            let packet = moldudp64::decode(packet).expect("a packet");
            (packet.is_end_of_session(), packet.header().sequence_number)
        });
        assert_eq!(said.collect::<Vec<_>>(), [(false, 2), (true, 2), (true, 2), (true, 2)]);
        let request = moldudp64::encode_request(*b"HELIOS    ", 1, 1);
        assert!(tape.request(&request, Nanos(1 << 40)).is_some(), "the last chance");
    }

    #[test]
    fn the_oldest_messages_are_forgotten_when_there_are_too_many() {
        let mut tape = tape(1_400, 2 * PIECE);
        // Nothing is forgotten that was not sent.
        write(&mut tape, 5 * PIECE as u64 / 32);
        assert!(tape.request(&moldudp64::encode_request(*b"HELIOS    ", 1, 1), Nanos(1)).is_some());
        tape.flush(Nanos(1), |_| {});
        write(&mut tape, PIECE as u64 / 32 + 1);
        assert!(tape.request(&moldudp64::encode_request(*b"HELIOS    ", 1, 1), Nanos(1)).is_none());
        let last = tape.next() - 1;
        let answer = tape.request(&moldudp64::encode_request(*b"HELIOS    ", last, 9), Nanos(1)).expect("it is there");
        let packet = moldudp64::decode(answer).expect("a packet");
        assert_eq!(packet.messages().next(), Some([last as u8; 30].as_slice()));
        assert_eq!(tape.counters().unanswerable, 1);
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (session, max_packet, says) in
            [("ELEVEN CHARS", 1_400, "session"), ("A", 20, "max_packet"), ("A", 70_000, "max_packet")]
        {
            let config = TapeConfig { session: session.to_owned(), max_packet, ..TapeConfig::default() };
            assert!(Tape::new(config).err().expect("refused").contains(says));
        }
    }
}
