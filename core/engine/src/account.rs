//! Corporate actions and charges: what changes positions and money without a trade.
//!
//! Both come in as inputs and are booked whole, or not at all: then positions are no longer what the broker says, and
//! trading pauses. Windows and other memory of the signals are not adjusted; `docs/models/corporate-actions-engine.md`.

use helios_risk::Moved;
use helios_types::{
    Booking, BookingKind, Breach, Charge, Control, InstrumentId, Market, Output, Overflow, Quality, QualityKind, Rule,
    Split, Update,
};

use crate::state::State;

/// A split or a dividend, which the market data has taken already.
pub(crate) fn act(state: &mut State, market: &Market, out: &mut Vec<Output>) {
    let id = market.instrument;
    match market.update {
        Update::Split { numerator, denominator } => {
            let split = Split::new(numerator, denominator).expect("a ratio with a zero is refused by the market data");
            let moved = state.risk.split(id, split);
            if let Ok(moved) = &moved {
                let lot = state.risk.lot_of(id);
                state.orders.split(id, split, moved, lot);
            }
            book(state, id, BookingKind::Split, (numerator, denominator), moved, out);
        }
        Update::Dividend { cash } => {
            let moved = state.risk.dividend(id, cash);
            book(state, id, BookingKind::Dividend, (0, 0), moved, out);
        }
        _ => unreachable!("only corporate actions are sent here"),
    }
}

/// The broker's charge.
pub(crate) fn charge(state: &mut State, charge: &Charge, out: &mut Vec<Output>) {
    let (instrument, kind, moved) = match *charge {
        Charge::Borrow { instrument, amount } => {
            (instrument, BookingKind::Borrow, state.risk.borrow(instrument, amount))
        }
        Charge::Financing { amount } => (InstrumentId::NONE, BookingKind::Financing, state.risk.finance(amount)),
    };
    book(state, instrument, kind, (0, 0), moved, out);
}

/// Says what each strategy got or paid.
fn book(
    state: &mut State,
    instrument: InstrumentId,
    kind: BookingKind,
    (numerator, denominator): (u32, u32),
    moved: Result<Vec<Moved>, Overflow>,
    out: &mut Vec<Output>,
) {
    let Ok(moved) = moved else {
        out.push(Output::Quality(Quality { instrument, kind: QualityKind::BadValue, detail: 0 }));
        state.risk.control(Control::Pause);
        return out.push(Output::Breach(Breach { rule: Rule::Stopped, limit: 0, value: 1 }));
    };
    out.extend(moved.into_iter().map(|one| {
        let Moved { strategy, cash, realised, after, .. } = one;
        let position = after.quantity;
        Output::Booked(Booking { strategy, instrument, kind, cash, position, realised, numerator, denominator })
    }));
}
