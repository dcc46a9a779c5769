//! Everything on one thread: a packet runs to its order without a hand-over. The fastest layout where cores are few.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use helios_io::Callbacks;
use helios_types::Nanos;

use super::core::Core;
use super::entries::Outlet;
use super::feeds::Feeds;
use super::shared::{Shared, utc};
use super::station::FeedStation;
use crate::ring::Bed;

/// A thread that spins, and finds nothing, looks at the sessions every so many turns: some two microseconds.
const SESSIONS_EVERY: u32 = 4;
/// Longest sleep: the status is told that often anyway.
pub(super) const LONGEST: Duration = Duration::from_millis(100);
/// How often a thread says how it stands.
pub(super) const SLOW_NS: u64 = 100_000_000;
/// Sleep while a connection is being made.
pub(super) const SHORT: Duration = Duration::from_millis(1);

/// How long a thread may sleep at `now` with something due at `due`.
pub(super) fn limit(due: Nanos, now: Nanos, hurry: bool) -> Duration {
    Duration::from_nanos(due.0.saturating_sub(now.0)).min(if hurry { SHORT } else { LONGEST })
}

/// Feeds, engine and sessions in turn, until the run is over.
pub(super) fn run<F: FeedStation, O: Outlet, C: Callbacks>(
    mut feeds: Feeds<F>,
    mut core: Core<O, C>,
    shared: &Arc<Shared>,
    mut bed: Option<Bed>,
) -> io::Result<()> {
    if let Some(bed) = &bed {
        feeds.watch(bed)?;
    }
    core.start();
    feeds.start(utc(), &mut core, shared);
    let (mut slow, mut turn) = (Nanos(0), 0u32);
    while !core.is_over() {
        let mut busy = feeds.poll(&mut core, shared);
        let now = utc();
        feeds.tick(now, &mut core, shared);
        // A look at a session costs as much as one at a line of market data, on which the next packet may be.
        turn = turn.wrapping_add(1);
        busy |= core.round(now, busy || bed.is_some() || turn.is_multiple_of(SESSIONS_EVERY));
        if now >= slow {
            slow = Nanos(now.0 + SLOW_NS);
            feeds.tell(shared);
        }
        if busy {
            continue;
        }
        core.idle();
        match &mut bed {
            Some(bed) => {
                let hurry = feeds.watch_fresh(bed) | core.outlet.watch_fresh(bed);
                let due = feeds.next_tick().map_or(core.next_due(), |tick| tick.min(core.next_due()));
                bed.sleep(limit(due, now, hurry), || core.must_wake())?;
            }
            None => std::hint::spin_loop(),
        }
    }
    feeds.tell(shared);
    core.end();
    Ok(())
}
