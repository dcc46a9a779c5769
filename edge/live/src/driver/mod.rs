//! x
use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps the calling thread on a core; false when it cannot be.
pub fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    set.set(core);
    sched_setaffinity(None, &set).is_ok()
}
