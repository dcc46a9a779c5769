//! Settings of the simulated market, their maximums, and the refusal of nonsense.

use std::fmt;

/// Most symbols: one stock locate each, and a name of five letters.
pub const MAX_SYMBOLS: u32 = 9_000;
/// Longest day: 09:30 to 16:00.
pub const MAX_MINUTES: u32 = 390;
/// Largest group of cointegrated symbols: two letters of the name number its members.
pub const MAX_GROUP_SIZE: u32 = 676;

/// Settings of a simulated day.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How many symbols, 1 to [`MAX_SYMBOLS`].
    pub symbols: u32,
    /// Length of market hours from 09:30, 1 to [`MAX_MINUTES`].
    pub minutes: u32,
    /// The same seed and settings give the same bytes.
    pub seed: u64,
    /// Symbols per cointegrated group, 1 to [`MAX_GROUP_SIZE`]; the last group may be smaller.
    pub group_size: u32,
    /// Mean message rate during market hours, 0.1 to 100.
    pub messages_per_symbol_second: f64,
    /// Half-life of a symbol's own deviation from its group, seconds, 1 to 100,000.
    pub ou_half_life_s: f64,
    /// Stationary standard deviation of that deviation, basis points, 0 to 200.
    pub deviation_bp: f64,
    /// Volatility of the group's random walk per year of 252 days of 6.5 hours: 0 to 3, 0.15 is 15 %.
    pub volatility: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            symbols: 200,
            minutes: 30,
            seed: 7,
            group_size: 10,
            messages_per_symbol_second: 4.0,
            ou_half_life_s: 180.0,
            deviation_bp: 6.0,
            volatility: 0.15,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    /// Which setting.
    pub field: &'static str,
    /// Its value.
    pub found: f64,
    /// Smallest value that is accepted.
    pub least: f64,
    /// Largest value that is accepted.
    pub most: f64,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found, least, most } = self;
        write!(f, "simulation setting {field} is {found}: set it between {least} and {most}")
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Every setting within its stated range, or the first that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("symbols", f64::from(self.symbols), 1.0, f64::from(MAX_SYMBOLS))?;
        within("minutes", f64::from(self.minutes), 1.0, f64::from(MAX_MINUTES))?;
        within("group_size", f64::from(self.group_size), 1.0, f64::from(MAX_GROUP_SIZE))?;
        within("messages_per_symbol_second", self.messages_per_symbol_second, 0.1, 100.0)?;
        within("ou_half_life_s", self.ou_half_life_s, 1.0, 100_000.0)?;
        within("deviation_bp", self.deviation_bp, 0.0, 200.0)?;
        within("volatility", self.volatility, 0.0, 3.0)
    }
}

/// NaN is outside of every range.
pub(crate) fn within(field: &'static str, found: f64, least: f64, most: f64) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) { Ok(()) } else { Err(ConfigError { field, found, least, most }) }
}
