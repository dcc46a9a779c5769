//! The sequenced messages of one account and day, kept so that a client that returns can hear them again.

/// Most bytes of messages of one account; when it is reached the account takes no more orders, see [`Stream::is_filling`].
pub(crate) const MAX_BYTES: usize = 1 << 29;
/// Left for what still happens to orders that work.
const RESERVE: usize = 1 << 25;

/// Messages numbered from 1.
#[derive(Default)]
pub(crate) struct Stream {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Stream {
    /// Appends one message, which `write` writes.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.len() < MAX_BYTES {
            write(&mut self.bytes);
            self.ends.push(self.bytes.len() as u32);
        }
    }

    /// Number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.ends.len() as u64 + 1
    }

    /// The message with this number, if it was written.
    pub(crate) fn get(&self, number: u64) -> Option<&[u8]> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        let end = *self.ends.get(at)? as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        Some(&self.bytes[start..end])
    }

    /// So full that new orders are to be refused.
    pub(crate) fn is_filling(&self) -> bool {
        self.bytes.len() > MAX_BYTES - RESERVE
    }
}
