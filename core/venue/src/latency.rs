//! A line with a constant delay: orders on their way to the venue, reports on their way back.
//!
//! What goes in first comes out first, as in a TCP session: an item that could be there earlier than the one before
//! it waits for it. Absent: jitter, loss, throttles, delays that depend on load.

use helios_types::Nanos;
use std::collections::VecDeque;

/// Items under way, each with the moment at which it arrives.
#[derive(Debug)]
pub(crate) struct Line<T> {
    delay_ns: u64,
    last: Nanos,
    items: VecDeque<(Nanos, T)>,
}

impl<T> Line<T> {
    pub(crate) fn new(delay_ns: u64) -> Self {
        Self { delay_ns, last: Nanos(0), items: VecDeque::new() }
    }

    /// Sends at `sent`; arrives one delay later, and not before `not_before` nor before an earlier item.
    pub(crate) fn send(&mut self, sent: Nanos, not_before: Nanos, item: T) {
        self.last = sent.plus(self.delay_ns).max(not_before).max(self.last);
        self.items.push_back((self.last, item));
    }

    /// When the next item arrives.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.items.front().map(|(at, _)| *at)
    }

    /// The next item, if it has arrived by `to`.
    pub(crate) fn receive(&mut self, to: Nanos) -> Option<(Nanos, T)> {
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

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_arrive_after_the_delay_and_in_order() {
        let mut line = Line::new(10);
        line.send(Nanos(5), Nanos(40), 'a');
        line.send(Nanos(6), Nanos(6), 'b');
        line.send(Nanos(50), Nanos(50), 'c');
        assert_eq!(line.next(), Some(Nanos(40)));
        assert_eq!(line.receive(Nanos(39)), None);
        assert_eq!(line.receive(Nanos(40)), Some((Nanos(40), 'a')));
        // 'b' could have arrived at 16, but not before what was sent before it.
        assert_eq!(line.receive(Nanos(40)), Some((Nanos(40), 'b')));
        assert_eq!(line.receive(Nanos(59)), None);
        assert_eq!(line.receive(Nanos(60)), Some((Nanos(60), 'c')));
        assert_eq!((line.next(), line.len()), (None, 0));
    }
}
