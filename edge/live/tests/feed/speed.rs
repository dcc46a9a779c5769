//! What a message costs, for people: `cargo test --release -p helios-live --test feed speed -- --ignored --nocapture`.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use helios_live::feed::{Join, ReceiverConfig};
use helios_live::{Feed, FeedConfig, FeedOut};
use helios_types::{Event, InstrumentId, Nanos};
use helios_venue::agents::Flow;
use helios_wire::frame::{Frames, Framing};
use helios_wire::moldudp64::{HEADER_LENGTH, Notice, PacketBuilder, Receiver, ReceiverOut};

use crate::world::{MIDNIGHT, SESSION};

const MESSAGES: u64 = 1_000_000;
const SYMBOLS: u32 = 3_000;

/// Takes everything and does nothing.
struct Nowhere(u64);

impl FeedOut for Nowhere {
    fn event(&mut self, event: Event) {
        black_box(&event);
        self.0 += 1;
    }

    fn request(&mut self, _: usize, _: &[u8]) {}

    fn connect(&mut self) {}

    fn write(&mut self, _: &[u8]) {}

    fn close(&mut self) {}

    fn note(&mut self, _: fmt::Arguments<'_>) {}
}

impl ReceiverOut for Nowhere {
    fn message(&mut self, number: u64, bytes: &[u8]) {
        black_box((number, bytes));
        self.0 += 1;
    }

    fn request(&mut self, _: usize, _: &[u8; HEADER_LENGTH]) {}

    fn notice(&mut self, _: Notice) {}
}

/// The flow in packets of so many messages.
fn packets(frames: &[u8], most: usize) -> Vec<Vec<u8>> {
    let (mut packets, mut next) = (Vec::new(), 1);
    let mut builder = PacketBuilder::new(SESSION, next, 9_000);
    for message in Frames::new(frames, Framing::LengthPrefixed) {
        builder.push(message).expect("room");
        if usize::from(builder.message_count()) == most {
            packets.push(builder.bytes().to_vec());
            next += most as u64;
            builder = PacketBuilder::new(SESSION, next, 9_000);
        }
    }
    packets.push(builder.bytes().to_vec());
    packets
}

/// The best of three runs, nanoseconds for each message of the stream.
fn best(mut run: impl FnMut()) -> f64 {
    let timed = (0..3).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed().as_nanos() as f64 / MESSAGES as f64
    });
    timed.fold(f64::MAX, f64::min)
}

#[test]
#[ignore = "a measurement"]
fn nanoseconds_for_a_message() {
    let mut flow = Flow::new(7, SYMBOLS, MESSAGES).expect("settings of a flow");
    let symbols: Vec<String> = flow.symbols().map(str::to_owned).collect();
    let mut frames = Vec::new();
    while flow.next_chunk(&mut frames) {}
    println!("messages a packet, lines, instruments of {SYMBOLS} | receiver alone, feed: ns a message");
    for most in [1, 10, 40] {
        let packets = packets(&frames, most);
        for (lines, ours) in [(1, 300), (2, 300), (1, 3_000), (2, 3_000)] {
            let each = |take: &mut dyn FnMut(u8, &[u8], Nanos)| {
                for (now, packet) in (0..).zip(&packets) {
                    (0..lines).for_each(|line| take(line, packet, MIDNIGHT.plus(now * 1_000)));
                }
            };
            let config = ReceiverConfig { lines, start: Some(1), ..ReceiverConfig::default() };
            let receiver = best(|| {
                let (mut receiver, mut out) = (Receiver::new(config.clone()), Nowhere(0));
                each(&mut |line, packet, now| receiver.on_datagram(line, packet, now, &mut out));
                assert_eq!(out.0, MESSAGES);
            });
            let instruments: Vec<_> = (0..).map(InstrumentId).zip(symbols.iter().take(ours).cloned()).collect();
            let config = FeedConfig {
                join: Join::Replay,
                receiver: config.clone(),
                ..FeedConfig::new(0, instruments, MIDNIGHT)
            };
            let mut events = 0;
            let feed = best(|| {
                let (mut feed, mut out) = (Feed::new(config.clone()), Nowhere(0));
                each(&mut |line, packet, now| feed.on_datagram(line, packet, now, &mut out));
                events = out.0;
            });
            println!("{most:2} {lines} {ours:4} | {receiver:5.1} {feed:5.1}   ({events} events)");
        }
    }
}
