//! Conditions that are held, delayed or thinned out.

use helios_types::{Hasher, Nanos};

use crate::nodes::{Row, Steps, is_true, remembers};

/// What was passed on last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    last: Option<f64>,
}

impl Steps for Changes {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        let x = row.value(0);
        let same = |last: f64| last == x || (last.is_nan() && x.is_nan());
        if !row.fresh(0) || self.last.is_some_and(same) {
            return None;
        }
        self.last = Some(x);
        self.last
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(u64::from(self.last.is_some()));
        hasher.f64(self.last.unwrap_or(f64::NAN));
    }

    remembers!(last;);
}

/// When the last 1 was.
#[derive(Clone, Debug)]
pub(crate) struct Cooldown {
    span: u64,
    last: Option<Nanos>,
}

impl Cooldown {
    pub(crate) fn new(span: u64) -> Result<Self, String> {
        if span == 0 { Err("a cooldown must be longer than zero".to_owned()) } else { Ok(Self { span, last: None }) }
    }
}

impl Steps for Cooldown {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        row.fresh(0).then(|| {
            let rested = self.last.is_none_or(|last| row.now().since(last) >= self.span);
            let passes = is_true(row.value(0)) && rested;
            if passes {
                self.last = Some(row.now());
            }
            f64::from(passes)
        })
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.last.map_or(u64::MAX, |ts| ts.0));
    }

    remembers!(last; span);
}

/// Since when the condition has been true.
#[derive(Clone, Debug)]
pub(crate) struct Debounce {
    span: u64,
    since: Option<Nanos>,
}

impl Debounce {
    pub(crate) fn new(span: u64) -> Result<Self, String> {
        if span == 0 { Err("a debounce must be longer than zero".to_owned()) } else { Ok(Self { span, since: None }) }
    }
}

impl Steps for Debounce {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        row.fresh(0).then(|| {
            self.since = if is_true(row.value(0)) { self.since.or(Some(row.now())) } else { None };
            f64::from(self.since.is_some_and(|since| row.now().since(since) >= self.span))
        })
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.since.map_or(u64::MAX, |ts| ts.0));
    }

    remembers!(since; span);
}

/// Set or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch {
    state: Option<bool>,
}

impl Steps for Latch {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        if !row.any(2) {
            return None;
        }
        let hears = |k: usize| row.fresh(k) && is_true(row.value(k));
        let before = self.state;
        let set = !hears(1) && (hears(0) || before == Some(true));
        self.state = Some(set);
        (before != self.state).then(|| f64::from(set))
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.state.map_or(2, u64::from));
    }

    remembers!(state;);
}
