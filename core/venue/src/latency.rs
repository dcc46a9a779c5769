//! How long a message is under way, and the line on which it travels.
//!
//! A [`Delay`] says how long: a constant, a distribution, a sample that was measured and is drawn from with
//! replacement, or a series that was measured, by the time of day. A [`Line`] adds it to each message and keeps the
//! order, as a TCP session does: an item that could be there earlier than the one before it waits for it. So what a
//! message takes is its own delay or more; the draws are distributed as stated, the arrivals are later than that where
//! messages follow one another faster than the delay varies.
//!
//! The same seed gives the same draws on every machine (`libm`); lines that share a seed draw from different streams.
//! Absent: loss, throttles, delays that depend on the load or on one another. See `docs/models/latency.md`.
//!
//! Sources: Marsaglia and Tsang (2000), "A simple method for generating gamma variables".

use crate::agents::draw::Draw;
use helios_types::{NANOS_PER_DAY, Nanos};
use std::collections::VecDeque;

/// The longest delay: a day. A draw beyond it is a day.
pub const MAX_DELAY_NS: u64 = NANOS_PER_DAY;
/// Standard normal quantile at 0.99.
const Z_99: f64 = 2.326_347_874_040_841;

/// How long a message is under way.
#[derive(Clone, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Constant(u64),
    /// A log-normal behind a minimum; median and 99th percentile are those of the whole delay.
    LogNormal {
        /// No message is faster.
        minimum_ns: u64,
        /// Half of the draws are below; above the minimum.
        median_ns: u64,
        /// All but one draw in a hundred are below; above the median.
        p99_ns: u64,
        /// Of the draws.
        seed: u64,
    },
    /// A gamma behind a minimum; the mean is that of the whole delay. Shape 1 is the exponential.
    Gamma {
        /// No message is faster.
        minimum_ns: u64,
        /// Above the minimum.
        mean_ns: u64,
        /// Positive; the smaller, the longer the tail.
        shape: f64,
        /// Of the draws.
        seed: u64,
    },
    /// Drawn with replacement from what was measured.
    Sample {
        /// The measured delays, at least one.
        ns: Vec<u64>,
        /// Of the draws.
        seed: u64,
    },
    /// Known for each moment of the day.
    TimeOfDay(TimeOfDay),
}

/// A delay by the time of day at which a message is sent. Before the first row the first holds, after the last the last.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeOfDay {
    /// Time of day and delay, by time; at least one.
    pub rows: Vec<(u64, u64)>,
    /// Between two rows on the straight line between them, rounded down; else each row holds until the next.
    pub linear: bool,
    /// Local time less UTC in nanoseconds, each from a moment on, by moment; none: the rows are in UTC.
    pub offsets: Vec<(Nanos, i64)>,
}

impl Delay {
    /// Nothing takes time.
    pub const ZERO: Self = Self::Constant(0);

    /// True when every message takes no time.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        let fail = |what: String| Err(what);
        let most = |ns: u64| ns <= MAX_DELAY_NS;
        match self {
            Self::Constant(ns) if !most(*ns) => fail(format!("a delay of {ns} ns is longer than a day")),
            Self::Constant(_) => Ok(()),
            Self::LogNormal { minimum_ns, median_ns, p99_ns, .. } => {
                if minimum_ns < median_ns && median_ns < p99_ns && most(*p99_ns) {
                    Ok(())
                } else {
                    fail(format!(
                        "a log-normal delay needs minimum < median < p99 of at most a day, not {minimum_ns}, {median_ns}, \
                         {p99_ns} ns"
                    ))
                }
            }
            Self::Gamma { minimum_ns, mean_ns, shape, .. } => {
                // Below a hundredth nearly every draw is the minimum, and the mean comes from one draw in millions.
                if !(0.01..=1e6).contains(shape) {
                    fail(format!("the shape of a gamma delay is 0.01 to 1e6, not {shape}"))
                } else if minimum_ns < mean_ns && most(*mean_ns) {
                    Ok(())
                } else {
                    fail(format!("a gamma delay needs minimum < mean of at most a day, not {minimum_ns}, {mean_ns} ns"))
                }
            }
            Self::Sample { ns, .. } => match ns.iter().find(|ns| !most(**ns)) {
                _ if ns.is_empty() => fail("a sample of delays needs at least one".to_owned()),
                Some(long) => fail(format!("a delay of {long} ns is longer than a day")),
                None => Ok(()),
            },
            Self::TimeOfDay(day) => day.check(),
        }
    }
}

impl TimeOfDay {
    fn check(&self) -> Result<(), String> {
        let Some((last, _)) = self.rows.last() else {
            return Err("delays by time of day need at least one row".to_owned());
        };
        if *last >= NANOS_PER_DAY {
            return Err(format!("a time of day of {last} ns is not within a day"));
        }
        if let Some(pair) = self.rows.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("times of day must rise: {} ns comes after {} ns", pair[1].0, pair[0].0));
        }
        match self.rows.iter().find(|row| row.1 > MAX_DELAY_NS) {
            Some((_, long)) => Err(format!("a delay of {long} ns is longer than a day")),
            None => Ok(()),
        }
    }

    fn at(&self, sent: Nanos) -> u64 {
        let at = self.offsets.partition_point(|(from, _)| *from <= sent);
        let offset = self.offsets.get(at.max(1) - 1).map_or(0, |(_, offset)| *offset);
        let time = (i128::from(sent.0) + i128::from(offset)).rem_euclid(i128::from(NANOS_PER_DAY)) as u64;
        let next = self.rows.partition_point(|(from, _)| *from <= time);
        let (from, delay) = self.rows[next.max(1) - 1];
        match self.rows.get(next) {
            Some((to, target)) if self.linear && next > 0 => {
                let (part, whole) = (i128::from(time - from), i128::from(to - from));
                let rise = i128::from(*target) - i128::from(delay);
                (i128::from(delay) + (rise * part).div_euclid(whole)) as u64
            }
            _ => delay,
        }
    }
}

/// A delay with the state of its draws.
#[derive(Clone)]
struct Sampler {
    delay: Delay,
    draw: Draw,
    /// Of a log-normal.
    sigma: f64,
}

impl Sampler {
    /// `stream` separates lines that share a seed.
    fn new(delay: Delay, stream: u64) -> Self {
        if let Err(error) = delay.check() {
            panic!("check a delay before it is used: {error}");
        }
        let seed = match delay {
            Delay::LogNormal { seed, .. } | Delay::Gamma { seed, .. } | Delay::Sample { seed, .. } => seed,
            Delay::Constant(_) | Delay::TimeOfDay(_) => 0,
        };
        let sigma = match delay {
            Delay::LogNormal { minimum_ns, median_ns, p99_ns, .. } => {
                libm::log((p99_ns - minimum_ns) as f64 / (median_ns - minimum_ns) as f64) / Z_99
            }
            _ => 0.0,
        };
        Self { delay, draw: Draw::new(seed, stream), sigma }
    }

    fn next(&mut self, sent: Nanos) -> u64 {
        match &self.delay {
            Delay::Constant(ns) => *ns,
            Delay::LogNormal { minimum_ns, median_ns, .. } => {
                let median = (median_ns - minimum_ns) as f64;
                beyond(*minimum_ns, median * libm::exp(self.sigma * self.draw.normal()))
            }
            Delay::Gamma { minimum_ns, mean_ns, shape, .. } => {
                let scale = (mean_ns - minimum_ns) as f64 / shape;
                let (minimum, shape) = (*minimum_ns, *shape);
                beyond(minimum, scale * gamma(&mut self.draw, shape))
            }
            Delay::Sample { ns, .. } => {
                let at = self.draw.below(u32::try_from(ns.len()).expect("a sample is counted in 32 bits"));
                ns[at as usize]
            }
            Delay::TimeOfDay(day) => day.at(sent),
        }
    }
}

/// The minimum and so much more, to the nearest nanosecond.
fn beyond(minimum_ns: u64, more: f64) -> u64 {
    minimum_ns.saturating_add(libm::round(more) as u64).min(MAX_DELAY_NS)
}

/// Gamma with this shape and scale 1.
fn gamma(draw: &mut Draw, shape: f64) -> f64 {
    // Below 1 by the shape above it: if X has shape + 1, X U^(1/shape) has the shape.
    if shape < 1.0 {
        let larger = gamma(draw, shape + 1.0);
        return larger * libm::pow(1.0 - draw.uniform(), 1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = draw.normal();
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let v = v * v * v;
        let u = 1.0 - draw.uniform();
        if libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
}

/// Items under way, each with the moment at which it arrives. First in, first out.
#[derive(Clone)]
pub struct Line<T> {
    sampler: Sampler,
    last: Nanos,
    items: VecDeque<(Nanos, T)>,
}

impl<T> Line<T> {
    /// An empty line; `stream` separates the draws of lines that share a seed. Panics at a delay that cannot be: ask
    /// [`Delay::check`] first.
    pub fn new(delay: Delay, stream: u64) -> Self {
        Self { sampler: Sampler::new(delay, stream), last: Nanos(0), items: VecDeque::new() }
    }

    /// Sends at `sent`; arrives one delay later, and not before `not_before` nor before an earlier item.
    pub fn send(&mut self, sent: Nanos, not_before: Nanos, item: T) {
        self.last = sent.plus(self.sampler.next(sent)).max(not_before).max(self.last);
        self.items.push_back((self.last, item));
    }

    /// When the next item arrives.
    pub fn next(&self) -> Option<Nanos> {
        self.items.front().map(|(at, _)| *at)
    }

    /// The next item, and when it arrives.
    pub fn first(&self) -> Option<(Nanos, &T)> {
        self.items.front().map(|(at, item)| (*at, item))
    }

    /// When the last item arrives.
    pub fn last(&self) -> Option<Nanos> {
        self.items.back().map(|(at, _)| *at)
    }

    /// The next item, if it has arrived by `to`.
    pub fn receive(&mut self, to: Nanos) -> Option<(Nanos, T)> {
        self.items.pop_front_if(|(at, _)| *at <= to)
    }

    /// All that is under way arrives by `to`: nothing crosses that moment.
    pub(crate) fn hurry(&mut self, to: Nanos) {
        self.last = self.last.min(to);
        for (at, _) in &mut self.items {
            *at = (*at).min(to);
        }
    }

    /// Takes out what is under way and fits.
    pub(crate) fn take_if(&mut self, fits: impl Fn(&T) -> bool) -> Vec<T> {
        let (taken, left) = self.items.drain(..).partition(|(_, item)| fits(item));
        self.items = left;
        let taken: VecDeque<(Nanos, T)> = taken;
        taken.into_iter().map(|(_, item)| item).collect()
    }

    /// Items under way.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const HOUR: u64 = 3_600_000_000_000;

    fn draws(delay: &Delay, stream: u64, count: usize) -> Vec<u64> {
        let mut sampler = Sampler::new(delay.clone(), stream);
        (0..count).map(|_| sampler.next(Nanos(0))).collect()
    }

    /// Share of the draws at or below a value, less what it should be, in standard errors.
    fn off(draws: &[u64], below: f64, probability: f64) -> f64 {
        let n = draws.len() as f64;
        let share = draws.iter().filter(|x| **x as f64 <= below).count() as f64 / n;
        (share - probability) / (probability * (1.0 - probability) / n).sqrt()
    }

    #[test]
    fn items_arrive_after_the_delay_and_in_order() {
        let mut line = Line::new(Delay::Constant(10), 0);
        line.send(Nanos(5), Nanos(40), 'a');
        line.send(Nanos(6), Nanos(6), 'b');
        line.send(Nanos(50), Nanos(50), 'c');
        assert_eq!((line.next(), line.last()), (Some(Nanos(40)), Some(Nanos(60))));
        assert_eq!(line.receive(Nanos(39)), None);
        assert_eq!(line.receive(Nanos(40)), Some((Nanos(40), 'a')));
        // 'b' could have arrived at 16, but not before what was sent before it.
        assert_eq!(line.receive(Nanos(40)), Some((Nanos(40), 'b')));
        assert_eq!(line.receive(Nanos(59)), None);
        assert_eq!(line.receive(Nanos(60)), Some((Nanos(60), 'c')));
        assert_eq!((line.next(), line.len(), line.is_empty()), (None, 0, true));
    }

    #[test]
    fn a_log_normal_has_the_quantiles_it_was_given_and_those_that_follow() {
        let (minimum_ns, median_ns, p99_ns) = (20 * US, 40 * US, 300 * US);
        let draws = draws(&Delay::LogNormal { minimum_ns, median_ns, p99_ns, seed: 7 }, 1, 200_000);
        assert!(draws.iter().all(|x| *x >= minimum_ns));
        let sigma = libm::log(280.0 / 20.0) / Z_99;
        // Standard normal quantiles (tables).
        for (probability, z) in [(0.1, -1.281_552), (0.5, 0.0), (0.9, 1.281_552), (0.99, Z_99), (0.999, 3.090_232)] {
            let quantile = (20.0 + 20.0 * libm::exp(sigma * z)) * US as f64;
            assert!(off(&draws, quantile, probability).abs() < 4.0, "quantile {probability} at {quantile}");
        }
        // The test has teeth: a twentieth off at the median is seen.
        assert!(off(&draws, 41.0 * US as f64, 0.5).abs() > 10.0);
    }

    #[test]
    fn a_gamma_of_whole_shape_is_erlangs_and_of_shape_one_the_exponential() {
        let (minimum_ns, mean_ns) = (10 * US, 110 * US);
        for shape in [1u32, 3] {
            let delay = Delay::Gamma { minimum_ns, mean_ns, shape: f64::from(shape), seed: 3 };
            let draws = draws(&delay, 1, 200_000);
            let scale = 100.0 / f64::from(shape);
            for at in [20.0, 80.0, 150.0, 400.0] {
                // 1 - exp(-x) (1 + x + … + x^(k-1)/(k-1)!)
                let x: f64 = at / scale;
                let (mut term, mut sum) = (1.0, 1.0);
                for k in 1..shape {
                    term *= x / f64::from(k);
                    sum += term;
                }
                let probability = 1.0 - libm::exp(-x) * sum;
                assert!(off(&draws, (10.0 + at) * US as f64, probability).abs() < 4.0, "shape {shape} at {at}");
            }
        }
    }

    #[test]
    fn a_gamma_of_small_shape_has_its_mean_and_variance() {
        let delay = Delay::Gamma { minimum_ns: 0, mean_ns: 100 * US, shape: 0.5, seed: 9 };
        let draws = draws(&delay, 1, 400_000);
        let mean = draws.iter().map(|x| *x as f64 / US as f64).sum::<f64>() / draws.len() as f64;
        let variance =
            draws.iter().map(|x| libm::pow(*x as f64 / US as f64 - mean, 2.0)).sum::<f64>() / draws.len() as f64;
        // Mean 100 and variance 100^2 / 0.5; standard errors 0.22 and 122.
        assert!((mean - 100.0).abs() < 0.9, "mean {mean}");
        assert!((variance - 20_000.0).abs() < 500.0, "variance {variance}");
    }

    #[test]
    fn a_sample_is_drawn_evenly_and_with_replacement() {
        let ns = vec![5, 5, 70, 900];
        let draws = draws(&Delay::Sample { ns: ns.clone(), seed: 1 }, 1, 100_000);
        assert!(draws.iter().all(|x| ns.contains(x)));
        for (at, probability) in [(5.0, 0.5), (70.0, 0.75)] {
            assert!(off(&draws, at, probability).abs() < 4.0);
        }
    }

    #[test]
    fn seeds_and_streams_separate_draws_and_repeat_them() {
        let of = |seed, stream| {
            draws(&Delay::LogNormal { minimum_ns: 0, median_ns: 40_000, p99_ns: 300_000, seed }, stream, 50)
        };
        assert_eq!(of(1, 1), of(1, 1));
        assert_ne!(of(1, 1), of(1, 2));
        assert_ne!(of(1, 1), of(2, 1));
    }

    #[test]
    fn by_time_of_day_is_exact() {
        let rows = vec![(9 * HOUR, 100), (10 * HOUR, 300), (16 * HOUR, 200)];
        let at = |linear, hour: f64| {
            let day = TimeOfDay { rows: rows.clone(), linear, offsets: Vec::new() };
            // The fifth day since the epoch.
            day.at(Nanos(4 * NANOS_PER_DAY + (hour * HOUR as f64) as u64))
        };
        let step = [(0.0, 100), (9.0, 100), (9.5, 100), (10.0, 300), (15.99, 300), (16.0, 200), (23.0, 200)];
        for (hour, delay) in step {
            assert_eq!(at(false, hour), delay, "step at {hour}");
        }
        for (hour, delay) in [(0.0, 100), (9.0, 100), (9.5, 200), (10.0, 300), (13.0, 250), (16.0, 200), (23.0, 200)] {
            assert_eq!(at(true, hour), delay, "linear at {hour}");
        }
        // A fall is rounded down too: 300 - 100/6 h * 1 h = 283.33.
        assert_eq!(at(true, 11.0), 283);
    }

    #[test]
    fn times_of_day_are_local_where_offsets_are_given() {
        let offsets = vec![(Nanos(0), -5 * HOUR as i64), (Nanos(NANOS_PER_DAY), -4 * HOUR as i64)];
        let day = TimeOfDay { rows: vec![(0, 1), (9 * HOUR, 2)], linear: false, offsets };
        // 9 o'clock is 14 o'clock UTC on the first day and 13 o'clock UTC from the second on.
        let moments = [(14 * HOUR - 1, 1), (14 * HOUR, 2), (NANOS_PER_DAY + 13 * HOUR - 1, 1)];
        for (moment, delay) in moments.into_iter().chain([(NANOS_PER_DAY + 13 * HOUR, 2)]) {
            assert_eq!(day.at(Nanos(moment)), delay, "{moment}");
        }
        // Three o'clock UTC on the first day is ten in the evening of the day before.
        assert_eq!(day.at(Nanos(3 * HOUR)), 2);
    }

    #[test]
    fn what_cannot_be_a_delay_is_refused() {
        let day = |rows| Delay::TimeOfDay(TimeOfDay { rows, linear: true, offsets: Vec::new() });
        let normal = |minimum_ns, median_ns, p99_ns| Delay::LogNormal { minimum_ns, median_ns, p99_ns, seed: 0 };
        let gamma = |minimum_ns, mean_ns, shape| Delay::Gamma { minimum_ns, mean_ns, shape, seed: 0 };
        for (delay, says) in [
            (Delay::Constant(MAX_DELAY_NS + 1), "longer than a day"),
            (normal(40, 40, 300), "minimum < median < p99"),
            (normal(0, 300, 300), "minimum < median < p99"),
            (gamma(5, 5, 1.0), "minimum < mean"),
            (gamma(0, 5, 0.0), "shape"),
            (gamma(0, 5, f64::NAN), "shape"),
            (Delay::Sample { ns: vec![], seed: 0 }, "at least one"),
            (Delay::Sample { ns: vec![1, u64::MAX], seed: 0 }, "longer than a day"),
            (day(vec![]), "at least one row"),
            (day(vec![(2, 1), (2, 1)]), "must rise"),
            (day(vec![(NANOS_PER_DAY, 1)]), "not within a day"),
            (day(vec![(0, u64::MAX)]), "longer than a day"),
        ] {
            let error = delay.check().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
