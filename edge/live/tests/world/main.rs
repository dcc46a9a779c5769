//! The world test: a trader's process and an exchange in one simulated world, in which everything goes wrong as a seed says.
//!
//! Packets are lost, repeated, late and out of order on both lines; connections are refused, cut in the middle of a message,
//! slow; the process is killed at any effect it has (a record in the journal, a packet sent), also within a record and again
//! while it begins, and goes on from its journal, with a snapshot or without; in half of the worlds outputs leave some time
//! after their inputs; the venue cancels or shortens orders of ours that would trade with each other; the process's clock is
//! set forwards and back; strategies wish at random, operators command. Then the weather clears, and both sides must agree:
//! no fill lost, no order sent twice, position and open orders those of the venue, no limit passed, books those of the
//! venue, and a journal that reads from its beginning and says what was said.
//!
//! `WORLD_SEEDS` seeds from `WORLD_FIRST` on are tried (200 from 1). A seed that fails is printed, and fails again.

mod net;
mod strategy;
mod trader;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn whatever_happens_we_and_the_venue_agree() {
    let (first, seeds) = (setting("WORLD_FIRST", 1), setting("WORLD_SEEDS", 200));
    let (mut failed, mut sum) = (Vec::new(), world::Tally::default());
    for seed in first..first + seeds {
        match catch_unwind(AssertUnwindSafe(|| world::run(seed))) {
            Ok(tally) => sum.add(&tally),
            Err(_) => {
                eprintln!(
                    "seed {seed} failed; again: WORLD_FIRST={seed} WORLD_SEEDS=1 cargo test -p helios-live --test world"
                );
                failed.push(seed);
            }
        }
    }
    println!("{seeds} seeds: {sum:?}");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    // A world in which nothing happens proves nothing.
    if seeds >= 50 {
        assert!(
            sum.kills > seeds
                && sum.cuts > seeds
                && sum.fills > 10 * seeds
                && sum.unknown > 0
                && sum.compared > 5 * seeds,
            "{sum:?}"
        );
    }
}
