//! What comes from outside the market: an operator's commands, and what order-entry sessions and the venue's books say.
//!
//! What passes the gate after each:
//!
//! | | pause | resume | flatten | kill |
//! |---|---|---|---|---|
//! | normal | reducing orders | - | reducing orders, positions are closed | nothing, for ever |
//! | paused | - | everything | positions are closed | nothing, for ever |
//! | flattened | closing goes on | everything, wishes count again | - | nothing, for ever |
//! | daily loss breached | reducing orders | reducing orders until the next day, or until a new limit is set | positions are closed | nothing, for ever |
//! | a position differs | reducing orders | reducing orders; the differences are said again | positions are closed | nothing, for ever |
//! | differed, agrees again | reducing orders | everything | positions are closed | nothing, for ever |
//! | killed | nothing | nothing | nothing; what rests is cancelled | - |

use helios_types::{
    Control, InstrumentId, Link, Output, Price, Quality, QualityKind, Quantity, Refusal, Rule, Side, StrategyId,
};

use crate::state::State;

/// An operator's command.
pub(crate) fn control(state: &mut State, control: Control, out: &mut Vec<Output>) {
    match control {
        Control::Pause => state.risk.control(control),
        Control::Resume => resume(state, out),
        Control::Kill => {
            state.risk.control(control);
            state.orders.cancel_resting(state.now, out);
        }
        Control::Flatten => {
            state.risk.control(control);
            state.orders.flatten(state.now, &state.risk, out);
        }
        Control::SetLimit { rule, limit } => {
            if state.risk.set_limit(rule, limit, &state.feeds).is_err() {
                out.push(Output::Refused(no_limit(rule, state.risk.limits().get(rule).unwrap_or(0), limit)));
            }
        }
    }
}

/// While a position differs there is nothing to resume: what differs is said again.
fn resume(state: &mut State, out: &mut Vec<Output>) {
    let before = out.len();
    out.extend(state.risk.differences().map(Output::Difference));
    if out.len() == before {
        state.risk.control(Control::Resume);
        state.orders.resume(state.now, &mut state.risk, out);
    }
}

/// A limit that was not set: of nobody's order.
fn no_limit(rule: Rule, limit: i64, value: i64) -> Refusal {
    let (strategy, instrument, price) = (StrategyId::HOUSE, InstrumentId::NONE, Price::UNDEFINED);
    Refusal { strategy, instrument, rule, limit, value, side: Side::Buy, quantity: Quantity::ZERO, price }
}

/// What a session came to, or what the venue says that we hold.
pub(crate) fn link(state: &mut State, link: &Link, out: &mut Vec<Output>) {
    let Link::Position { instrument, quantity } = *link else {
        return state.orders.link(state.now, link, &mut state.risk, out);
    };
    if instrument.index() >= state.markets.len() {
        let (kind, detail) = (QualityKind::WrongInstrument, u64::from(instrument.0));
        return out.push(Output::Quality(Quality { instrument, kind, detail }));
    }
    if let Some(difference) = state.risk.compare(instrument, quantity) {
        out.push(Output::Difference(difference));
        // As after a breach: what rests could still make a position larger.
        state.orders.cancel_resting(state.now, out);
    }
}
