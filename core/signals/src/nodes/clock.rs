//! The time as an input: by a calendar of sessions, and on a wall clock. Both are tables that come with the graph; nothing
//! here knows a calendar or a time zone.

use helios_types::{Damaged, Hasher, Load, Nanos, Persist, Save};

use crate::node::{Hours, Offsets, Stat};
use crate::nodes::{Row, Steps, remembers};

const NS: f64 = 1e9;

/// Where in a calendar we are.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    hours: Hours,
    /// The first session that has not ended.
    at: usize,
    now: Nanos,
}

impl Session {
    pub(crate) fn new(hours: Hours) -> Result<Self, String> {
        if hours.is_empty() {
            return Err("a calendar needs at least one session".to_owned());
        }
        let sound = hours.iter().all(|(open, close)| open < close) && hours.windows(2).all(|w| w[0].1 <= w[1].0);
        if !sound {
            return Err("sessions must end after they begin, come in order, and not overlap".to_owned());
        }
        Ok(Self { hours, at: 0, now: Nanos(0) })
    }

    /// The session that is open: from its open, which belongs to it, to its close, which belongs to it too: the last bar
    /// of a session ends then.
    fn open(&self) -> Option<(Nanos, Nanos)> {
        self.hours.get(self.at).copied().filter(|(open, _)| *open <= self.now)
    }
}

impl Steps for Session {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        self.now = row.now();
        while self.hours.get(self.at).is_some_and(|(_, close)| *close < self.now) {
            self.at += 1;
        }
        Some(f64::from(self.open().is_some()))
    }

    fn read(&self, stat: Stat) -> f64 {
        match (stat, self.open()) {
            (Stat::IsOpen, open) => f64::from(open.is_some()),
            (_, None) => f64::NAN,
            (Stat::SinceOpen, Some((open, _))) => self.now.since(open) as f64 / NS,
            (Stat::ToClose, Some((_, close))) => close.since(self.now) as f64 / NS,
            _ => self.at as f64,
        }
    }

    fn tells(&self, stat: Stat) -> bool {
        matches!(stat, Stat::Session | Stat::SinceOpen | Stat::ToClose | Stat::IsOpen)
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.at as u64);
        hasher.u64(self.now.0);
    }

    remembers!(at, now; hours);
}

/// Local time.
#[derive(Clone, Debug)]
pub(crate) struct LocalTime {
    offsets: Offsets,
    at: usize,
    /// Nanoseconds since 1970 on the local clock.
    local: i64,
}

const DAY: i64 = 86_400 * 1_000_000_000;

impl LocalTime {
    pub(crate) fn new(offsets: Offsets) -> Result<Self, String> {
        let sound = offsets.first().is_some_and(|first| first.0 == Nanos(0))
            && offsets.windows(2).all(|w| w[0].0 < w[1].0)
            && offsets.iter().all(|(_, seconds)| (-86_400..=86_400).contains(seconds));
        if !sound {
            return Err("a time zone needs offsets of at most a day, in order, the first from 1970 on".to_owned());
        }
        Ok(Self { offsets, at: 0, local: 0 })
    }
}

impl Steps for LocalTime {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        let now = row.now();
        while self.offsets.get(self.at + 1).is_some_and(|(from, _)| *from <= now) {
            self.at += 1;
        }
        self.local = now.0 as i64 + self.offsets[self.at].1 * 1_000_000_000;
        Some(self.read(Stat::TimeOfDay))
    }

    fn read(&self, stat: Stat) -> f64 {
        match stat {
            // 1970-01-01 was a Thursday.
            Stat::Weekday => (self.local.div_euclid(DAY) + 3).rem_euclid(7) as f64,
            _ => self.local.rem_euclid(DAY) as f64 / NS,
        }
    }

    fn tells(&self, stat: Stat) -> bool {
        matches!(stat, Stat::TimeOfDay | Stat::Weekday)
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.at as u64);
        hasher.i64(self.local);
    }

    fn save(&self, save: &mut Save) {
        (self.at, self.local).save(save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        (self.at, self.local) = Persist::load(load)?;
        if self.at < self.offsets.len() { Ok(()) } else { Err(Damaged("a time zone is behind its last offset")) }
    }
}
