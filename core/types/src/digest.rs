//! A fingerprint of state: equal on every machine when the state is equal.

use xxhash_rust::xxh3::Xxh3;

/// Collects values into a 128-bit XXH3 fingerprint. It detects difference, not forgery.
pub struct Hasher(Xxh3);

impl Hasher {
    /// Empty.
    pub fn new() -> Self {
        Self(Xxh3::new())
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds an unsigned number.
    pub fn u64(&mut self, x: u64) {
        self.0.update(&x.to_le_bytes());
    }

    /// Adds a signed number.
    pub fn i64(&mut self, x: i64) {
        self.u64(x as u64);
    }

    /// Adds a float by its bits; all NaNs count as one.
    pub fn f64(&mut self, x: f64) {
        self.u64(if x.is_nan() { u64::MAX } else { x.to_bits() });
    }

    /// The fingerprint.
    pub fn finish(&self) -> u128 {
        self.0.digest128()
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// State that can be fingerprinted.
pub trait Digest {
    /// Adds everything that a future step could depend on, in a fixed order.
    fn digest(&self, hasher: &mut Hasher);
}
