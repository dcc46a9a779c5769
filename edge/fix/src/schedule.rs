//! When a session is open: always, or in windows of UTC time that were computed from a calendar beforehand.

use helios_types::Nanos;

/// Most windows of a schedule: ten years of days.
pub const MAX_WINDOWS: usize = 4_000;

/// When a session is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Numbers are reset only by agreement.
    Always,
    /// From the first moment to before the second; ascending, apart. Numbers begin at 1 in each.
    Windows(Vec<(Nanos, Nanos)>),
}

impl Schedule {
    /// Refuses windows that are empty, out of order, or too many.
    pub fn checked(self) -> Result<Self, String> {
        let Self::Windows(windows) = &self else { return Ok(self) };
        if windows.is_empty() || windows.len() > MAX_WINDOWS {
            return Err(format!("a schedule has 1 to {MAX_WINDOWS} windows, not {}", windows.len()));
        }
        let follow = windows.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        if !follow || windows.iter().any(|(open, close)| open >= close) {
            return Err("a schedule's windows are in order of time and do not overlap".to_owned());
        }
        Ok(self)
    }

    /// The window that is open now: `None` outside of all.
    pub fn open(&self, now: Nanos) -> Option<(Nanos, Nanos)> {
        match self {
            Self::Always => Some((Nanos(0), Nanos(u64::MAX))),
            Self::Windows(windows) => {
                let after = windows.partition_point(|(open, _)| *open <= now);
                windows[..after].last().copied().filter(|(_, close)| now < *close)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_from_their_first_moment_to_before_their_last() {
        let schedule =
            Schedule::Windows(vec![(Nanos(10), Nanos(20)), (Nanos(20), Nanos(25))]).checked().expect("holds");
        let open: Vec<_> =
            [9, 10, 19, 20, 24, 25].into_iter().map(|t| schedule.open(Nanos(t)).map(|w| w.0.0)).collect();
        assert_eq!(open, [None, Some(10), Some(10), Some(20), Some(20), None]);
        assert!(Schedule::Always.open(Nanos(5)).is_some());
        for wrong in [vec![], vec![(5, 5)], vec![(5, 9), (8, 10)], vec![(5, 9), (1, 2)]] {
            let windows = wrong.into_iter().map(|(a, b)| (Nanos(a), Nanos(b))).collect();
            assert!(Schedule::Windows(windows).checked().is_err());
        }
    }
}
