//! The life of an order, as a table: what may follow what.

use helios_types::OrderState::{self, *};

/// What can happen to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Happening {
    /// The venue works it.
    Accept,
    /// Some of it traded, some is left.
    Fill,
    /// The rest of it traded.
    FillLast,
    /// We ask to cancel.
    AskCancel,
    /// It no longer works.
    Cancel,
    /// We ask for another quantity and price.
    AskReplace,
    /// They are in force; or a smaller quantity is, by the venue's own rule.
    Replace,
    /// The venue never worked it.
    Reject,
    /// The venue refused our cancel or replace.
    RefuseChange,
    /// The session was lost while an answer was due.
    Lose,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Cannot happen.
    No,
    To(OrderState),
    /// Back to working: accepted, or partly filled when something was.
    Working,
}

const HAPPENINGS: usize = Happening::Lose as usize + 1;
const STATES: usize = Unknown as usize + 1;

use Next::{No, To, Working};

/// Rows are states in the order of [`OrderState`], columns happenings in the order of [`Happening`].
#[rustfmt::skip]
const TABLE: [[Next; HAPPENINGS]; STATES] = [
//                  Accept       Fill               FillLast    AskCancel          Cancel         AskReplace          Replace  Reject        RefuseChange  Lose
/* New */           [To(Accepted), To(PartlyFilled),   To(Filled), To(CancelPending), To(Cancelled), To(ReplacePending), No,      To(Rejected), No, To(Unknown)],
/* Accepted */      [No,           To(PartlyFilled),   To(Filled), To(CancelPending), To(Cancelled), To(ReplacePending), Working, No,           No, No],
/* PartlyFilled */  [No,           To(PartlyFilled),   To(Filled), To(CancelPending), To(Cancelled), To(ReplacePending), Working, No,           No, No],
/* Filled */        [No,           No,                 No,         No,                No,            No,                 No,      No,           No, No],
/* CancelPending */ [To(CancelPending), To(CancelPending), To(Filled), No,            To(Cancelled), No,       To(CancelPending), To(Rejected), Working, To(Unknown)],
/* Cancelled */     [No,           No,                 No,         No,                No,            No,                 No,      No,           No, No],
/* ReplacePending */[To(ReplacePending), To(ReplacePending), To(Filled), To(CancelPending), To(Cancelled), No,           Working, To(Rejected), Working, To(Unknown)],
/* Rejected */      [No,           No,                 No,         No,                No,            No,                 No,      No,           No, No],
/* Unknown */       [Working,      To(PartlyFilled),   To(Filled), To(CancelPending), To(Cancelled), No,                 Working, To(Rejected), Working, No],
];

/// The state that follows; `None` when this cannot happen in this state.
pub fn next(state: OrderState, happening: Happening, filled_some: bool) -> Option<OrderState> {
    match TABLE[state as usize][happening as usize] {
        No => None,
        To(state) => Some(state),
        Working => Some(if filled_some { PartlyFilled } else { Accepted }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [OrderState; STATES] =
        [New, Accepted, PartlyFilled, Filled, CancelPending, Cancelled, ReplacePending, Rejected, Unknown];
    const HAPPEN: [Happening; HAPPENINGS] = [
        Happening::Accept,
        Happening::Fill,
        Happening::FillLast,
        Happening::AskCancel,
        Happening::Cancel,
        Happening::AskReplace,
        Happening::Replace,
        Happening::Reject,
        Happening::RefuseChange,
        Happening::Lose,
    ];

    #[test]
    fn rows_and_columns_stand_where_the_enums_say() {
        for (at, state) in ALL.iter().enumerate() {
            assert_eq!(*state as usize, at);
        }
        for (at, happening) in HAPPEN.iter().enumerate() {
            assert_eq!(*happening as usize, at);
        }
    }

    #[test]
    fn nothing_follows_the_end_and_everything_else_can_end() {
        for state in ALL {
            let follows: Vec<_> = HAPPEN.iter().filter_map(|h| next(state, *h, true)).collect();
            assert_eq!(follows.is_empty(), state.is_done(), "{state:?}");
            if !state.is_done() {
                assert_eq!(next(state, Happening::FillLast, true), Some(Filled), "a fill is never lost: {state:?}");
                assert_eq!(next(state, Happening::Cancel, true), Some(Cancelled), "{state:?}");
            }
        }
    }
}
