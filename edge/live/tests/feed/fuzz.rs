//! Arbitrary bytes and arbitrary orders of events: nothing panics, and what is said of the books stays in order.

use helios_live::feed::{Join, ReceiverConfig, SnapshotLogin};
use helios_live::{Feed, FeedConfig};
use helios_types::{Event, Feed as About, Nanos, Rng};
use helios_wire::moldudp64::{self, PacketBuilder};
use helios_wire::soupbintcp::{LoginAccepted, Packet};

use crate::world::{Ask, MIDNIGHT, Out, SESSION, stream};

/// Damages some bytes, or cuts.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if rng.below(4) > 0 || bytes.is_empty() {
        return;
    }
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] = rng.next_u64() as u8;
    }
    if rng.below(4) == 0 {
        bytes.truncate(rng.below(bytes.len() as u64) as usize);
    }
}

/// A message: genuine, with random content, or of random bytes.
fn message(messages: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = messages[rng.below(messages.len() as u64) as usize].clone();
    match rng.below(10) {
        0 => bytes = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect(),
        1 => bytes.iter_mut().skip(1).for_each(|byte| *byte = rng.next_u64() as u8),
        _ => {}
    }
    bytes
}

fn datagram(feed: &Feed, messages: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let next = feed.counters().next;
    let number = match rng.below(30) {
        0 => rng.next_u64(),
        1 => next.saturating_add(rng.below(50)),
        2 => next.saturating_sub(rng.below(50)),
        _ => next.max(1),
    };
    let session = if rng.below(40) == 0 { *b"DAY2      " } else { SESSION };
    match rng.below(60) {
        0 => return moldudp64::encode_end_of_session(session, number).to_vec(),
        1..5 => return moldudp64::encode_heartbeat(session, number).to_vec(),
        _ => {}
    }
    let mut builder = PacketBuilder::new(session, number, 1_400);
    for _ in 0..rng.below(8) {
        let _ = builder.push(&message(messages, rng));
    }
    builder.bytes().to_vec()
}

fn snapshot_bytes(feed: &Feed, messages: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    if rng.below(2) == 0 {
        Packet::LoginAccepted(LoginAccepted::new("SNAP", 1).expect("short")).append_to(&mut bytes);
    }
    for _ in 0..rng.below(20) {
        Packet::SequencedData(&message(messages, rng)).append_to(&mut bytes);
    }
    if rng.below(3) == 0 {
        let number = feed.counters().next.saturating_add(rng.below(100)).saturating_sub(rng.below(30));
        Packet::SequencedData(format!("G{number:>20}").as_bytes()).append_to(&mut bytes);
    }
    bytes
}

#[test]
fn nothing_that_arrives_makes_a_feed_panic() {
    let (messages, instruments) = stream(1);
    let (mut completes, mut snapshots) = (0, 0);
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let login = SnapshotLogin { username: "U".to_owned(), password: String::new() };
        let config = FeedConfig {
            join: [Join::Snapshot, Join::Replay, Join::Live][rng.below(3) as usize],
            receiver: ReceiverConfig { lines: 2, servers: rng.below(3) as usize, ..ReceiverConfig::default() },
            snapshot: Some(login),
            buffer_bytes: 1 << (5 + rng.below(10)),
            ..FeedConfig::new(0, instruments.clone(), MIDNIGHT)
        };
        let mut feed = Feed::new(config);
        let (mut now, mut told, mut connecting) = (MIDNIGHT, 0_i64, false);
        for _ in 0..400 {
            let longest = 1 << (10 + rng.below(24));
            now = now.plus(rng.below(longest));
            let mut out = Out::default();
            match rng.below(12) {
                0 => feed.on_tick(now, &mut out),
                1 if connecting || rng.below(20) == 0 => feed.on_connected(now, &mut out),
                2 if rng.below(5) == 0 => feed.on_closed(now, &mut out),
                3..5 => {
                    let mut bytes = snapshot_bytes(&feed, &messages, &mut rng);
                    damage(&mut bytes, &mut rng);
                    feed.on_bytes(&bytes, now, &mut out);
                }
                _ => {
                    let mut bytes = datagram(&feed, &messages, &mut rng);
                    damage(&mut bytes, &mut rng);
                    feed.on_datagram(rng.below(4) as u8, &bytes, now, &mut out);
                }
            }
            for ask in &out.0 {
                match ask {
                    Ask::Connect => connecting = true,
                    Ask::Close => connecting = false,
                    Ask::Event(Event::Feed(About::Incomplete { .. })) => told += 1,
                    Ask::Event(Event::Feed(About::Complete { .. })) => (told, completes) = (told - 1, completes + 1),
                    _ => {}
                }
            }
            let all = instruments.len() as i64;
            assert!(told == 0 || told == all, "seed {seed}: told {told} of {all}");
            assert!(feed.next_tick().is_some());
        }
        feed.on_tick(Nanos(u64::MAX), &mut Out::default());
        snapshots += feed.counters().messages.snapshots;
    }
    println!("{completes} times complete, {snapshots} snapshots");
    assert!(completes > 200 && snapshots > 20);
}
