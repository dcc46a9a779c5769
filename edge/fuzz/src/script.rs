//! Bytes as a script: what is asked for is read off the front, and where the script is over everything is zero.

/// A script that is being read.
pub(crate) struct Script<'a>(&'a [u8]);

/// The password of every session, which no note may have.
pub(crate) const SECRET: &str = "hunter2";

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        // What the other side says may stand in a note: so it must not say the secret itself.
        let tells = bytes.windows(SECRET.len()).any(|piece| piece == SECRET.as_bytes());
        Self(if tells { &[] } else { bytes })
    }

    /// The next step's letter; `None` when the script is over.
    pub(crate) fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub(crate) fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        let bytes = self.take(8);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// At most so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Bytes behind their length, which is one byte.
    pub(crate) fn text(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// Nanoseconds: a power of two of up to nine minutes, less or more.
    pub(crate) fn wait(&mut self) -> u64 {
        let byte = u64::from(self.byte());
        (4 + byte % 4) << (byte / 4 % 40) >> 2
    }

    /// A number, small for most bytes, now and then at an end of the scale.
    pub(crate) fn number(&mut self) -> i64 {
        match self.byte() {
            byte @ 0..=199 => i64::from(byte),
            200 => i64::MIN,
            201 => i64::MAX,
            202 => self.word() as i64,
            byte => i64::from(byte) - 256,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// A script that is being written: the other side of [`Script`], for seeds.
#[derive(Clone, Default)]
pub(crate) struct Writing(Vec<u8>);

impl Writing {
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn then(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(255)];
        self.then(&[bytes.len() as u8]).then(bytes)
    }
}
