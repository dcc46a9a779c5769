//! Hours of trading: each from its open up to its close. Without any, trading is always open.

use helios_types::Nanos;

/// Hours in order, and which come next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    hours: Vec<(Nanos, Nanos)>,
    /// The first that is not over; time does not go back.
    next: usize,
}

impl Sessions {
    /// Panics unless each opens before it closes and none begins before the one before is over.
    pub(crate) fn new(hours: Vec<(Nanos, Nanos)>) -> Self {
        assert!(hours.iter().all(|(open, close)| open < close), "a session opens before it closes");
        assert!(hours.windows(2).all(|pair| pair[0].1 <= pair[1].0), "sessions are in order and do not overlap");
        Self { hours, next: 0 }
    }

    pub(crate) fn are_given(&self) -> bool {
        !self.hours.is_empty()
    }

    #[inline]
    pub(crate) fn is_open(&mut self, at: Nanos) -> bool {
        if self.hours.is_empty() {
            return true;
        }
        while self.hours.get(self.next).is_some_and(|(_, close)| *close <= at) {
            self.next += 1;
        }
        self.hours.get(self.next).is_some_and(|(open, _)| *open <= at)
    }

    /// The same of any moment, for those who ask now and then.
    pub(crate) fn is_open_at(&self, at: Nanos) -> bool {
        let next = self.hours.partition_point(|(_, close)| *close <= at);
        self.hours.is_empty() || self.hours.get(next).is_some_and(|(open, _)| *open <= at)
    }

    /// The first close after a moment.
    pub(crate) fn close_after(&self, at: Nanos) -> Option<Nanos> {
        self.close_number(at).and_then(|number| self.hours.get(number)).map(|(_, close)| *close)
    }

    /// The last close in `(after, to]`.
    pub(crate) fn close_within(&self, after: Nanos, to: Nanos) -> Option<Nanos> {
        let number = self.hours.partition_point(|(_, close)| *close <= to).checked_sub(1)?;
        Some(self.hours[number].1).filter(|close| *close > after)
    }

    fn close_number(&self, at: Nanos) -> Option<usize> {
        self.are_given().then(|| self.hours.partition_point(|(_, close)| *close <= at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_from_the_open_up_to_the_close() {
        let mut sessions = Sessions::new(vec![(Nanos(10), Nanos(20)), (Nanos(30), Nanos(40))]);
        assert_eq!([5, 10, 19, 20, 25, 30, 39, 40, 99].map(|at| sessions.is_open(Nanos(at))), {
            [false, true, true, false, false, true, true, false, false]
        });
        assert_eq!([0, 10, 20, 39, 40].map(|at| sessions.close_after(Nanos(at)).map(|close| close.0)), {
            [Some(20), Some(20), Some(40), Some(40), None]
        });
        assert_eq!(sessions.close_within(Nanos(0), Nanos(20)), Some(Nanos(20)));
        assert_eq!(sessions.close_within(Nanos(0), Nanos(19)), None);
        assert_eq!(sessions.close_within(Nanos(20), Nanos(39)), None);
        assert!(Sessions::default().is_open(Nanos(0)) && Sessions::default().close_after(Nanos(0)).is_none());
    }

    #[test]
    #[should_panic(expected = "do not overlap")]
    fn overlapping_sessions_are_refused() {
        Sessions::new(vec![(Nanos(10), Nanos(20)), (Nanos(19), Nanos(40))]);
    }
}
