//! What each symbol is worth: a group's random walk, a loading on it, and a deviation that fades.
//!
//! `ln value = ln start + beta * walk(group) + deviation`. The walk is Gaussian without drift; the deviation is an
//! Ornstein-Uhlenbeck process, stepped exactly. Two symbols of one group are therefore cointegrated with the ratio
//! of their betas; two symbols of different groups have nothing in common. Absent on purpose: a market factor,
//! jumps, volatility that changes, news, and relations that break.

use super::config::Config;
use super::draw::Draw;

/// How often values move.
pub(crate) const STEP_NS: u64 = 250_000_000;
/// Trading seconds of a year of 252 days of 6.5 hours.
const YEAR_S: f64 = 252.0 * 6.5 * 3600.0;
/// Values are held inside these bounds, in cents, so that every price fits the wire and stays above a tick.
const VALUE_CENTS: std::ops::RangeInclusive<f64> = 100.0..=10_000_000.0;

/// A symbol's place in the economy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its group: 0, 1, 2, …
    pub group: u32,
    /// Its loading on the group's random walk.
    pub beta: f64,
}

/// The values of all symbols.
#[derive(Clone)]
pub(crate) struct Fundamentals {
    pub(crate) members: Vec<Member>,
    walks: Vec<f64>,
    log_start: Vec<f64>,
    deviations: Vec<f64>,
    values_cents: Vec<f64>,
    walk_shock: f64,
    deviation_keep: f64,
    deviation_shock: f64,
    draw: Draw,
}

impl Fundamentals {
    pub(crate) fn new(config: &Config) -> Self {
        let mut draw = Draw::new(config.seed, 1);
        let step_s = STEP_NS as f64 / 1e9;
        let keep = libm::exp(-std::f64::consts::LN_2 * step_s / config.ou_half_life_s);
        let sd = config.deviation_bp / 10_000.0;
        let symbols = config.symbols as usize;
        let member = |i: u32, beta| Member { group: i / config.group_size, beta };
        let mut fundamentals = Self {
            members: (0..config.symbols).map(|i| member(i, draw.between(0.6, 1.4))).collect(),
            walks: vec![0.0; config.symbols.div_ceil(config.group_size) as usize],
            // $10 to $300, as many between 10 and 30 as between 100 and 300.
            log_start: (0..symbols).map(|_| draw.between(libm::log(1_000.0), libm::log(30_000.0))).collect(),
            deviations: (0..symbols).map(|_| sd * draw.normal()).collect(),
            values_cents: vec![0.0; symbols],
            walk_shock: config.volatility * (step_s / YEAR_S).sqrt(),
            deviation_keep: keep,
            deviation_shock: sd * (1.0 - keep * keep).sqrt(),
            draw,
        };
        fundamentals.value_all();
        fundamentals
    }

    /// One [`STEP_NS`] passes.
    pub(crate) fn step(&mut self) {
        for walk in &mut self.walks {
            *walk += self.walk_shock * self.draw.normal();
        }
        for deviation in &mut self.deviations {
            *deviation = *deviation * self.deviation_keep + self.deviation_shock * self.draw.normal();
        }
        self.value_all();
    }

    fn value_all(&mut self) {
        for (i, value) in self.values_cents.iter_mut().enumerate() {
            let Member { group, beta } = self.members[i];
            let log_value = self.log_start[i] + beta * self.walks[group as usize] + self.deviations[i];
            *value = libm::exp(log_value).clamp(*VALUE_CENTS.start(), *VALUE_CENTS.end());
        }
    }

    pub(crate) fn value_cents(&self, symbol: usize) -> f64 {
        self.values_cents[symbol]
    }
}
