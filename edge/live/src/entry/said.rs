//! What a venue says, in one vocabulary, and how the two versions of OUCH say it.

use helios_execution::Ouch42;
use helios_types::{CancelReason, Liquidity, Price, Quantity, RejectReason};
use helios_wire::ouch::outbound as v50;
use helios_wire::ouch42::outbound as v42;
use helios_wire::price4;

/// One message about one of our references, or about none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// `dead`: it ended at once.
    Accepted {
        reference: u32,
        quantity: Quantity,
        book_ref: u64,
        dead: bool,
    },
    /// So much is left to trade by the new terms.
    Replaced {
        reference: u32,
        open: Quantity,
        price: Price,
        dead: bool,
    },
    /// So much was taken off. `by_itself` is the venue's letter when the reason has no name here.
    Cancelled {
        reference: u32,
        quantity: Quantity,
        reason: CancelReason,
        by_itself: Option<u8>,
    },
    Executed {
        reference: u32,
        quantity: Quantity,
        price: Price,
        liquidity: Liquidity,
        execution: u64,
    },
    /// Of the order or of a replace.
    Rejected {
        reference: u32,
        reason: RejectReason,
        code: u16,
    },
    /// The cancel will be carried out later.
    CancelPending {
        reference: u32,
    },
    /// It will not.
    CancelRejected {
        reference: u32,
        reason: RejectReason,
    },
    /// So much is left to trade, by the venue's doing.
    Modified {
        reference: u32,
        open: Quantity,
    },
    /// The execution is void.
    Broken {
        reference: u32,
        execution: u64,
        reason: u8,
    },
    /// The execution has another price.
    Corrected {
        reference: u32,
        execution: u64,
        price: Price,
    },
    /// Answer to an account query.
    NextReference(u32),
    /// Start or end of the day.
    System(u8),
    /// Nothing to report: a new place in the book, answers to what we never ask.
    Nothing,
    /// About an order that was not named by us.
    Foreign,
    /// A price or quantity that does not fit ours.
    BadValue,
}

impl Said {
    /// The reference that it is about.
    pub(super) fn reference(&self) -> Option<u32> {
        match *self {
            Self::Accepted { reference, .. }
            | Self::Replaced { reference, .. }
            | Self::Cancelled { reference, .. }
            | Self::Executed { reference, .. }
            | Self::Rejected { reference, .. }
            | Self::CancelPending { reference }
            | Self::CancelRejected { reference, .. }
            | Self::Modified { reference, .. }
            | Self::Broken { reference, .. }
            | Self::Corrected { reference, .. } => Some(reference),
            Self::NextReference(_) | Self::System(_) | Self::Nothing | Self::Foreign | Self::BadValue => None,
        }
    }
}

fn whole(shares: u32) -> Quantity {
    Quantity::whole(i64::from(shares))
}

fn cancelled(reference: u32, shares: u32, letter: u8) -> Said {
    let (reason, by_itself) = cancel_reason(letter);
    Said::Cancelled { reference, quantity: whole(shares), reason, by_itself: by_itself.then_some(letter) }
}

/// Nanoseconds since midnight, and what was said; `None` when the bytes are no message.
pub(super) fn read50(bytes: &[u8]) -> Option<(u64, Said)> {
    use v50::Message as M;
    let said = match v50::decode(bytes).ok()?.message {
        M::OrderAccepted(m) => {
            let (reference, quantity, dead) = (m.user_ref_num(), whole(m.quantity()), m.order_state() == b'D');
            (m.timestamp(), Said::Accepted { reference, quantity, book_ref: m.order_reference_number(), dead })
        }
        M::OrderReplaced(m) => {
            let (reference, open, dead) = (m.user_ref_num(), whole(m.quantity()), m.order_state() == b'D');
            (m.timestamp(), priced(m.price(), |price| Said::Replaced { reference, open, price, dead }))
        }
        M::OrderCanceled(m) => (m.timestamp(), cancelled(m.user_ref_num(), m.quantity(), m.reason())),
        M::AiqCanceled(m) => (m.timestamp(), cancelled(m.user_ref_num(), m.decrement_shares(), b'Q')),
        M::OrderExecuted(m) => {
            let (reference, quantity, execution) = (m.user_ref_num(), whole(m.quantity()), m.match_number());
            let liquidity = liquidity(m.liquidity_flag());
            let executed = |price| Said::Executed { reference, quantity, price, liquidity, execution };
            (m.timestamp(), priced(m.price(), executed))
        }
        M::BrokenTrade(m) => {
            let (reference, execution) = (m.user_ref_num(), m.match_number());
            (m.timestamp(), Said::Broken { reference, execution, reason: m.reason() })
        }
        M::Rejected(m) => {
            let (reference, code) = (m.user_ref_num(), m.reason());
            (m.timestamp(), Said::Rejected { reference, reason: reject_reason50(code), code })
        }
        M::CancelPending(m) => (m.timestamp(), Said::CancelPending { reference: m.user_ref_num() }),
        M::CancelReject(m) => {
            let reason = RejectReason::Other;
            (m.timestamp(), Said::CancelRejected { reference: m.user_ref_num(), reason })
        }
        M::OrderModified(m) => {
            (m.timestamp(), Said::Modified { reference: m.user_ref_num(), open: whole(m.quantity()) })
        }
        M::OrderPriorityUpdate(m) => (m.timestamp(), Said::Nothing),
        M::OrderRestated(m) => (m.timestamp(), Said::Nothing),
        M::AccountQueryResponse(m) => (m.timestamp(), Said::NextReference(m.next_user_ref_num())),
        M::SystemEvent(m) => (m.timestamp(), Said::System(m.event_code())),
        M::MassCancelResponse(m) => (m.timestamp(), Said::Nothing),
        M::DisableOrderEntryResponse(m) => (m.timestamp(), Said::Nothing),
        M::EnableOrderEntryResponse(m) => (m.timestamp(), Said::Nothing),
    };
    Some(said)
}

/// The same of version 4.2, whose tokens the encoder can read.
pub(super) fn read42(bytes: &[u8], tokens: &Ouch42) -> Option<(u64, Said)> {
    use v42::Message as M;
    let named = |token, said: &dyn Fn(u32) -> Said| tokens.reference(token).map_or(Said::Foreign, said);
    let said = match v42::decode(bytes).ok()? {
        M::Accepted(m) => {
            let (quantity, book_ref, dead) = (whole(m.shares()), m.order_reference_number(), m.order_state() == b'D');
            let accepted = |reference| Said::Accepted { reference, quantity, book_ref, dead };
            (m.timestamp(), named(m.order_token(), &accepted))
        }
        M::Replaced(m) => {
            let (open, dead) = (whole(m.shares()), m.order_state() == b'D');
            let replaced = |reference| priced(m.price(), |price| Said::Replaced { reference, open, price, dead });
            (m.timestamp(), named(m.replacement_order_token(), &replaced))
        }
        M::Canceled(m) => {
            let (shares, letter) = (m.decrement_shares(), m.cancel_order_reason());
            (m.timestamp(), named(m.order_token(), &|reference| cancelled(reference, shares, letter)))
        }
        M::AiqCancelled(m) => {
            let shares = m.decrement_shares();
            (m.timestamp(), named(m.order_token(), &|reference| cancelled(reference, shares, b'Q')))
        }
        M::Executed(m) => {
            let (quantity, execution) = (whole(m.executed_shares()), m.match_number());
            let liquidity = liquidity(m.liquidity_flag());
            let executed = |reference| {
                priced(m.execution_price(), |price| Said::Executed { reference, quantity, price, liquidity, execution })
            };
            (m.timestamp(), named(m.order_token(), &executed))
        }
        M::ExecutedWithReferencePrice(m) => {
            let (quantity, execution) = (whole(m.executed_shares()), m.match_number());
            let liquidity = liquidity(m.liquidity_flag());
            let executed = |reference| {
                priced(m.execution_price(), |price| Said::Executed { reference, quantity, price, liquidity, execution })
            };
            (m.timestamp(), named(m.order_token(), &executed))
        }
        M::TradeCorrection(m) => {
            let execution = m.match_number();
            let corrected =
                |reference| priced(m.execution_price(), |price| Said::Corrected { reference, execution, price });
            (m.timestamp(), named(m.order_token(), &corrected))
        }
        M::BrokenTrade(m) => {
            let (execution, reason) = (m.match_number(), m.broken_trade_reason());
            (m.timestamp(), named(m.order_token(), &|reference| Said::Broken { reference, execution, reason }))
        }
        M::RejectedOrder(m) => {
            let code = m.rejected_order_reason();
            let (reason, code) = (reject_reason42(code), u16::from(code));
            (m.timestamp(), named(m.order_token(), &|reference| Said::Rejected { reference, reason, code }))
        }
        M::CancelPending(m) => (m.timestamp(), named(m.order_token(), &|reference| Said::CancelPending { reference })),
        M::CancelReject(m) => (
            m.timestamp(),
            named(m.order_token(), &|reference| Said::CancelRejected { reference, reason: RejectReason::Other }),
        ),
        M::OrderModified(m) => {
            let open = whole(m.shares());
            (m.timestamp(), named(m.order_token(), &|reference| Said::Modified { reference, open }))
        }
        M::OrderPriorityUpdate(m) => (m.timestamp(), named(m.order_token(), &|_| Said::Nothing)),
        M::SequencedTradeNow(m) => (m.timestamp(), Said::Nothing),
        M::SystemEvent(m) => (m.timestamp(), Said::System(m.event_code())),
    };
    Some(said)
}

fn priced(raw: impl Into<u64>, said: impl FnOnce(Price) -> Said) -> Said {
    price4(raw).map_or(Said::BadValue, said)
}

/// Auctions count as taking, as in our own venues; so does what nobody knows.
fn liquidity(flag: u8) -> Liquidity {
    match flag {
        // Added: displayed, not displayed, at the midpoint, by a price-improving or a retail order.
        b'A' | b'J' | b'W' | b'k' | b'7' | b'8' | b'e' | b'f' | b'j' | b'4' | b'5' | b'g' | b'N' | b'p' | b'q'
        | b'u' => Liquidity::Maker,
        _ => Liquidity::Taker,
    }
}

/// The reason that a letter stands for, and whether the venue acted by itself, for a cause that has no name here.
fn cancel_reason(letter: u8) -> (CancelReason, bool) {
    match letter {
        b'U' => (CancelReason::Requested, false),
        b'I' => (CancelReason::Unfilled, false),
        b'T' | b'E' => (CancelReason::Expired, false),
        b'Q' => (CancelReason::SelfTrade, false),
        // A cross that did not fill it; post-only that would have traded; collars and open protection.
        b'C' | b'F' | b'G' | b'K' | b'X' | b'e' => (CancelReason::Unfilled, false),
        // Supervisory, regulatory, system, halted, and letters to come.
        _ => (CancelReason::Expired, true),
    }
}

fn reject_reason50(code: u16) -> RejectReason {
    use RejectReason::*;
    match code {
        2 | 7 => NotTrading,
        1 | 14 | 18 => NoMarket,
        23 => UnknownInstrument,
        13 | 19 => BadQuantity,
        29 => BadPrice,
        6 | 25 | 33 | 38 => PriceBand,
        27 => WouldTake,
        35 | 39 => NotShortable,
        3 | 4 | 5 | 8 | 9 | 17 | 20 | 21 | 22 | 26 | 28 | 36 => Unsupported,
        _ => Other,
    }
}

fn reject_reason42(letter: u8) -> RejectReason {
    use RejectReason::*;
    match letter {
        b'H' | b'C' | b'M' => NotTrading,
        b'o' | b'q' => NoMarket,
        b'S' => UnknownInstrument,
        b'N' | b'e' => BadQuantity,
        b'X' => BadPrice,
        b'Z' | b'u' => PriceBand,
        b'W' => WouldTake,
        b'i' | b'b' => NotShortable,
        b'D' | b'R' | b'd' | b'f' | b'g' | b'h' | b'j' | b'k' => Unsupported,
        _ => Other,
    }
}
