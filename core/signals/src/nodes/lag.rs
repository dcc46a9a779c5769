//! The past of an expression: so many samples ago, so long ago, and how long since the sample before.

use helios_types::{Hasher, Nanos};

use crate::node::Past;
use crate::nodes::moments::MAX_SAMPLES;
use crate::nodes::samples::Ring;
use crate::nodes::{Machine, Row, Steps, remembers};

pub(crate) fn new(past: Past) -> Result<Machine, String> {
    match past {
        Past::Samples(n) if n == 0 || n as usize > MAX_SAMPLES => {
            Err(format!("a lag needs 1 to {MAX_SAMPLES} samples, got {n}"))
        }
        Past::Samples(n) => {
            let samples = Ring::with_capacity(n as usize + 1);
            Ok(Machine::LagSamples(LagSamples { n: n as usize, samples }))
        }
        Past::Time(0) => Err("a lag by time must be longer than zero".to_owned()),
        Past::Time(span) => {
            let samples = Ring::with_capacity(16);
            Ok(Machine::LagTime(LagTime { span, samples, stood: f64::NAN, truncated: 0 }))
        }
    }
}

/// The last `n` samples and the present one.
#[derive(Clone, Debug)]
pub(crate) struct LagSamples {
    n: usize,
    samples: Ring<f64>,
}

impl Steps for LagSamples {
    #[inline]
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        if !row.fresh(0) {
            return None;
        }
        let x = row.value(0);
        if x.is_nan() {
            return Some(f64::NAN);
        }
        self.samples.push_back(x);
        // With n + 1 samples in it, the oldest is n before the newest.
        if self.samples.len() > self.n { self.samples.pop_front() } else { Some(f64::NAN) }
    }

    fn digest(&self, hasher: &mut Hasher) {
        self.samples.iter().for_each(|x| hasher.f64(x));
    }

    remembers!(samples; n);
}

/// The samples of the last `span`, and what stood before them.
#[derive(Clone, Debug)]
pub(crate) struct LagTime {
    span: u64,
    samples: Ring<(u64, f64)>,
    stood: f64,
    truncated: u64,
}

impl Steps for LagTime {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        if !row.fresh(0) {
            return None;
        }
        let (now, x) = (row.now().0, row.value(0));
        if !x.is_nan() {
            if self.samples.len() == MAX_SAMPLES {
                // Too many to know what stood so long ago: the oldest of those that are known is nearest to it.
                self.stood = self.samples.pop_front().map_or(f64::NAN, |(_, x)| x);
                self.truncated += 1;
            }
            self.samples.push_back((now, x));
        }
        while let Some((_, x)) = self.samples.front().filter(|(ts, _)| now - ts >= self.span) {
            self.stood = x;
            self.samples.pop_front();
        }
        Some(self.stood)
    }

    fn truncated(&self) -> u64 {
        self.truncated
    }

    fn digest(&self, hasher: &mut Hasher) {
        for (ts, x) in self.samples.iter() {
            hasher.u64(ts);
            hasher.f64(x);
        }
        hasher.f64(self.stood);
    }

    remembers!(samples, stood, truncated; span);
}

/// When the input fired last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elapsed {
    last: Option<Nanos>,
}

impl Steps for Elapsed {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        row.fresh(0).then(|| {
            let before = self.last.replace(row.now());
            before.map_or(f64::NAN, |before| row.now().since(before) as f64 / 1e9)
        })
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.last.map_or(u64::MAX, |ts| ts.0));
    }

    remembers!(last;);
}
