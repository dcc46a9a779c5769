//! Every target over its seeds and over mutations of them. `PROPTEST_CASES` says how many, as for the property tests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use helios_fuzz::{TARGETS, Target};
use helios_types::Rng;

/// So many inputs of each target in CI.
const CASES: u64 = 256;

/// One seed, or two of them joined, with some of its bytes changed, left out, doubled.
fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let some = |rng: &mut Rng| seeds[rng.below(seeds.len() as u64) as usize].clone();
    let mut bytes = some(rng);
    if rng.below(4) == 0 {
        let other = some(rng);
        let at = rng.below(other.len() as u64 + 1) as usize;
        bytes.extend_from_slice(&other[at..]);
    }
    for _ in 0..rng.below(6) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let length = (rng.below(12) as usize).min(bytes.len() - at);
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let piece: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
                bytes.splice(at..at, piece);
            }
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte = rng.next_u64() as u8),
        }
    }
    bytes
}

/// Panics with the input, so that it can be tried again.
fn try_one(target: &Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        panic!("{}: see above; the input is b\"{}\"", target.name, bytes.escape_ascii());
    }
}

fn try_all(target: &Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    seeds.iter().for_each(|seed| try_one(target, seed));
    let cases = std::env::var("PROPTEST_CASES").map_or(Ok(CASES), |cases| cases.parse());
    let mut rng = Rng::new(0x5EED);
    for _ in 0..cases.expect("PROPTEST_CASES is a number") {
        try_one(target, &mutated(&seeds, &mut rng));
    }
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            try_all(&helios_fuzz::target(stringify!($name)).expect("a target"));
        })*

        #[test]
        fn every_target_is_tried_and_has_a_guided_fuzzer() {
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
            let manifest = include_str!("../../../fuzz/Cargo.toml");
            for target in TARGETS {
                assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} has none", target.name);
            }
        }
    };
}

targets! {
    itch50,
    moldudp64,
    soupbintcp,
    ouch_messages,
    fix_messages,
    pcap,
    journal,
    snapshot,
    itch_file,
    fix_store,
    receiver,
    feed,
    soup_client,
    soup_server,
    fix_session,
    entry_ouch,
    entry_fix,
    drop_copy,
    exchange,
    engine,
    follower,
}
