//! Snapshots at random moments of random runs: what comes back goes on as what was there, and bytes that are no snapshot
//! are refused.

use helios_engine::{RestoreError, State, step};
use helios_types::{Event, Hasher, Input, Nanos};
use proptest::prelude::*;

use crate::random::{inputs_and_links, limited, tall};

/// Runs inputs; what came out of each, and the state's digest after it.
fn run(state: &mut State, events: &[(u64, Event)], ts: &mut Nanos) -> Vec<(String, u128)> {
    let mut said = Vec::new();
    for (wait, event) in events {
        *ts = ts.plus(*wait);
        let mut out = Vec::new();
        step(state, &Input { seq: state.next_seq(), ts: *ts, event: *event }, &mut out);
        // Bits, not values: outputs may hold NaN.
        said.push((format!("{out:?}"), state.digest()));
    }
    said
}

fn check_at(fresh: impl Fn() -> State, events: &[(u64, Event)], cut: usize) {
    let (first, rest) = events.split_at(cut.min(events.len()));
    let (mut state, mut ts) = (fresh(), Nanos(0));
    run(&mut state, first, &mut ts);
    let snapshot = state.snapshot();
    let mut restored = fresh().restore(&snapshot).expect("it was written a moment ago");
    assert_eq!(restored.snapshot(), snapshot, "what came back is written as the same bytes");
    let mut again = ts;
    assert_eq!(run(&mut state, rest, &mut ts), run(&mut restored, rest, &mut again));
    assert_eq!(state.snapshot(), restored.snapshot());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_comes_back_goes_on_as_what_was_there(events in inputs_and_links(), cut in 0usize..150) {
        check_at(limited, &events, cut);
    }

    /// Every kind of node, with windows of every kind, over quotes, trades and bars.
    #[test]
    fn every_node_remembers(events in inputs_and_links(), cut in 0usize..150) {
        check_at(tall, &events, cut);
    }

    /// Damage is found; and bytes that carry a right check value, which only a forger writes, are refused or taken, but
    /// nothing panics.
    #[test]
    fn what_is_no_snapshot_is_refused(
        events in inputs_and_links(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut state = tall();
        run(&mut state, &events, &mut Nanos(0));
        let good = state.snapshot();
        let shorter = &good[..cut.index(good.len())];
        prop_assert!(tall().restore(shorter).is_err());
        let mut bad = good.clone();
        for (at, byte) in changes {
            let at = at.index(bad.len());
            bad[at] ^= byte;
        }
        prop_assert!(bad == good || tall().restore(&bad).is_err());
        let _ = tall().restore(&forged(bad));
        let _ = tall().restore(&forged(shorter.to_vec()));
    }
}

/// The same bytes with the check value that they should have, which stands behind them.
fn forged(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(16));
    let mut hasher = Hasher::new();
    hasher.bytes(&bytes);
    bytes.extend_from_slice(&hasher.finish().to_le_bytes());
    bytes
}

#[test]
fn a_snapshot_of_another_run_is_refused() {
    let snapshot = limited().snapshot();
    let refused = |state: State, bytes: &[u8]| state.restore(bytes).err().expect("a refusal");
    assert_eq!(refused(tall(), &snapshot), RestoreError::Configuration);
    let sessions = vec![0; limited().markets().len()];
    assert_eq!(refused(limited().with_sessions(sessions), &snapshot), RestoreError::Configuration);
    let mut later = snapshot.clone();
    later[8] += 1;
    assert!(matches!(refused(limited(), &later), RestoreError::Version(_)));
    assert!(matches!(refused(limited(), b""), RestoreError::Damaged(_)));
    let mut used = limited();
    run(&mut used, &[(1, Event::Timer(helios_types::Timer { id: 1 }))], &mut Nanos(0));
    assert!(matches!(refused(used, &snapshot), RestoreError::Damaged(_)));
}
