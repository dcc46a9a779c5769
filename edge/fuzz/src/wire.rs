//! A station's one connection, as its contract has it.

/// Where the connection stands. A station connects when there is none, writes while there is one, and closes what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wire {
    #[default]
    Idle,
    Asked,
    Up,
}

impl Wire {
    pub(crate) fn connect(&mut self) {
        assert_eq!(*self, Self::Idle, "a second connection is asked for");
        *self = Self::Asked;
    }

    pub(crate) fn write(self) {
        assert_eq!(self, Self::Up, "something is written where nothing is connected");
    }

    pub(crate) fn close(&mut self) {
        assert_ne!(*self, Self::Idle, "what is not there is closed");
        *self = Self::Idle;
    }

    /// True when the attempt succeeds: it may only where one was asked for.
    pub(crate) fn connects(&mut self) -> bool {
        let asked = *self == Self::Asked;
        if asked {
            *self = Self::Up;
        }
        asked
    }

    /// True when the connection, or the attempt, fails.
    pub(crate) fn fails(&mut self) -> bool {
        std::mem::take(self) != Self::Idle
    }

    pub(crate) fn is_up(self) -> bool {
        self == Self::Up
    }
}
