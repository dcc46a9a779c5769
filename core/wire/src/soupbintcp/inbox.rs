//! From pieces of a byte stream to whole packets. At most one unfinished packet is kept.

use super::{Closed, Packet, decode};

/// The unfinished packet at the end of what came.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    kept: Vec<u8>,
}

impl Inbox {
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Hands each whole packet to `each`, which says what the longest length field of the next one may be, or why no more
    /// are to come. A longer one is refused as soon as its length is there.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        mut longest: usize,
        mut each: impl FnMut(Packet<'_>) -> Result<usize, Closed>,
    ) -> Result<(), Closed> {
        while !self.kept.is_empty() {
            let wanted = wanted(&self.kept, longest)?.saturating_sub(self.kept.len());
            let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.kept.extend_from_slice(piece);
            bytes = rest;
            if let Some((packet, _)) = decode(&self.kept).map_err(Closed::NotSoup)? {
                longest = each(packet)?;
                self.kept.clear();
            } else if bytes.is_empty() {
                wanted_length(&self.kept, longest)?;
                return Ok(());
            }
        }
        loop {
            wanted_length(bytes, longest)?;
            let Some((packet, length)) = decode(bytes).map_err(Closed::NotSoup)? else { break };
            longest = each(packet)?;
            bytes = &bytes[length..];
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }
}

/// How many bytes the packet at the start has, as far as it can be said: first the two of its length.
fn wanted(bytes: &[u8], longest: usize) -> Result<usize, Closed> {
    Ok(2 + wanted_length(bytes, longest)?.unwrap_or(0))
}

/// The length field, once it is there.
fn wanted_length(bytes: &[u8], longest: usize) -> Result<Option<usize>, Closed> {
    let Some(prefix) = bytes.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length > longest { Err(Closed::TooLong(length)) } else { Ok(Some(length)) }
}
