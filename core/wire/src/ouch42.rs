//! NASDAQ OUCH 4.2 (revision of 2018): orders to the venue, answers from it.
//!
//! [`inbound`] is to the venue, [`outbound`] from it; the letters of the two overlap. Every message has one fixed length.
//! An order is named by a token of 14 characters, which its sender chooses and never uses again in a day; a token that was
//! used is ignored, which makes it safe to send again. Prices are raw, with 4 bytes and four decimals, see
//! [`crate::price4`]; `timestamp` is nanoseconds since midnight in New York.
//! Absent: order state, judgement of values, and the shorter messages of 4.0 and 4.1.

/// The price of a market order, in a cross.
pub const MARKET_PRICE: u32 = 0x7FFF_FFFF;
/// The highest limit price, 199,999.9900.
pub const MAX_PRICE: u32 = 1_999_999_900;
/// The largest quantity of an order on entry.
pub const MAX_QUANTITY: u32 = 999_999;

/// Values of `time_in_force`, in seconds; others are so many seconds.
pub mod time_in_force {
    /// What does not trade at once is cancelled.
    pub const IMMEDIATE: u32 = 0;
    /// Until the end of market hours.
    pub const MARKET_HOURS: u32 = 99_998;
    /// Until the end of system hours.
    pub const SYSTEM_HOURS: u32 = 99_999;
}

/// To the venue.
pub mod inbound {
    use crate::WireError;
    use crate::layout::layouts;

    layouts! {
        common {}
        /// A new order.
        b'O' EnterOrder "enter_order" 49 {
            order_token: [u8; 14] @ 1,
            buy_sell_indicator: char @ 15,
            shares: u32 @ 16,
            stock: [u8; 8] @ 20,
            price: price4 @ 28,
            time_in_force: u32 @ 32,
            firm: [u8; 4] @ 36,
            display: char @ 40,
            capacity: char @ 41,
            intermarket_sweep_eligibility: char @ 42,
            minimum_quantity: u32 @ 43,
            cross_type: char @ 47,
            customer_type: char @ 48,
        }
        /// Another order in place of one of ours; `shares` is the total of the chain, what was executed included.
        b'U' ReplaceOrder "replace_order" 47 {
            existing_order_token: [u8; 14] @ 1,
            replacement_order_token: [u8; 14] @ 15,
            shares: u32 @ 29,
            price: price4 @ 33,
            time_in_force: u32 @ 37,
            display: char @ 41,
            intermarket_sweep_eligibility: char @ 42,
            minimum_quantity: u32 @ 43,
        }
        /// Reduce an order to `shares` in total; 0 cancels it.
        b'X' CancelOrder "cancel_order" 19 {
            order_token: [u8; 14] @ 1,
            shares: u32 @ 15,
        }
        /// Change the side among sell kinds, or the quantity.
        b'M' ModifyOrder "modify_order" 20 {
            order_token: [u8; 14] @ 1,
            buy_sell_indicator: char @ 15,
            shares: u32 @ 16,
        }
        /// Let a resting order trade with what rests against it now.
        b'N' TradeNow "trade_now" 15 {
            order_token: [u8; 14] @ 1,
        }
    }

    /// The message that `bytes` is, whole and exact.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Message<'_>, WireError> {
        decode_exact(bytes)
    }
}

/// From the venue.
pub mod outbound {
    use crate::WireError;
    use crate::layout::layouts;

    layouts! {
        common {}
        /// Start or end of the day.
        b'S' SystemEvent "system_event" 10 {
            timestamp: u64 @ 1,
            event_code: char @ 9,
        }
        /// The order is live or was dead at once, see `order_state`.
        b'A' Accepted "accepted" 66 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            buy_sell_indicator: char @ 23,
            shares: u32 @ 24,
            stock: [u8; 8] @ 28,
            price: price4 @ 36,
            time_in_force: u32 @ 40,
            firm: [u8; 4] @ 44,
            display: char @ 48,
            order_reference_number: u64 @ 49,
            capacity: char @ 57,
            intermarket_sweep_eligibility: char @ 58,
            minimum_quantity: u32 @ 59,
            cross_type: char @ 63,
            order_state: char @ 64,
            bbo_weight_indicator: char @ 65,
        }
        /// The replacement is in force; `shares` is what is open of it.
        b'U' Replaced "replaced" 80 {
            timestamp: u64 @ 1,
            replacement_order_token: [u8; 14] @ 9,
            buy_sell_indicator: char @ 23,
            shares: u32 @ 24,
            stock: [u8; 8] @ 28,
            price: price4 @ 36,
            time_in_force: u32 @ 40,
            firm: [u8; 4] @ 44,
            display: char @ 48,
            order_reference_number: u64 @ 49,
            capacity: char @ 57,
            intermarket_sweep_eligibility: char @ 58,
            minimum_quantity: u32 @ 59,
            cross_type: char @ 63,
            order_state: char @ 64,
            previous_order_token: [u8; 14] @ 65,
            bbo_weight_indicator: char @ 79,
        }
        /// `decrement_shares` were taken off.
        b'C' Canceled "canceled" 28 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            decrement_shares: u32 @ 23,
            cancel_order_reason: char @ 27,
        }
        /// Shares were taken off to prevent a trade with ourselves.
        b'D' AiqCancelled "aiq_cancelled" 37 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            decrement_shares: u32 @ 23,
            cancel_order_reason: char @ 27,
            quantity_prevented_from_trading: u32 @ 28,
            execution_price: price4 @ 32,
            liquidity_flag: char @ 36,
        }
        /// `executed_shares` traded.
        b'E' Executed "executed" 40 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            executed_shares: u32 @ 23,
            execution_price: price4 @ 27,
            liquidity_flag: char @ 31,
            match_number: u64 @ 32,
        }
        /// `executed_shares` traded, at a price that was made from a reference price.
        b'G' ExecutedWithReferencePrice "executed_with_reference_price" 45 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            executed_shares: u32 @ 23,
            execution_price: price4 @ 27,
            liquidity_flag: char @ 31,
            match_number: u64 @ 32,
            reference_price: price4 @ 40,
            reference_price_type: char @ 44,
        }
        /// The price of an earlier execution is another.
        b'F' TradeCorrection "trade_correction" 41 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            executed_shares: u32 @ 23,
            execution_price: price4 @ 27,
            liquidity_flag: char @ 31,
            match_number: u64 @ 32,
            reason: char @ 40,
        }
        /// An earlier execution is void.
        b'B' BrokenTrade "broken_trade" 32 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            match_number: u64 @ 23,
            broken_trade_reason: char @ 31,
        }
        /// The order or replacement was refused.
        b'J' RejectedOrder "rejected_order" 24 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            rejected_order_reason: char @ 23,
        }
        /// A cancel waits, because the order is held in a cross.
        b'P' CancelPending "cancel_pending" 23 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
        }
        /// A cancel was refused, because the order is held in a cross.
        b'I' CancelReject "cancel_reject" 23 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
        }
        /// The order has a new place and number in the book.
        b'T' OrderPriorityUpdate "order_priority_update" 36 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            price: price4 @ 23,
            display: char @ 27,
            order_reference_number: u64 @ 28,
        }
        /// The modification is in force.
        b'M' OrderModified "order_modified" 28 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
            buy_sell_indicator: char @ 23,
            shares: u32 @ 24,
        }
        /// The order was let trade.
        b'N' SequencedTradeNow "sequenced_trade_now" 23 {
            timestamp: u64 @ 1,
            order_token: [u8; 14] @ 9,
        }
    }

    /// The message that `bytes` is, whole and exact.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Message<'_>, WireError> {
        decode_exact(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WireError;

    #[test]
    fn a_message_has_one_length() {
        let cancel = inbound::CancelOrder { order_token: *b"H1            ", shares: 0 }.encode();
        let inbound::Message::CancelOrder(view) = inbound::decode(&cancel).expect("a cancel") else {
            panic!("a cancel")
        };
        assert_eq!((view.order_token(), view.shares()), (b"H1            ", 0));
        let wrong = |kind, expected, found| Err(WireError::WrongLength { kind, expected, found });
        assert_eq!(inbound::decode(&cancel[..18]), wrong(b'X', 19, 18));
        assert_eq!(outbound::decode(&cancel), Err(WireError::UnknownType(b'X')));
        assert_eq!(outbound::decode(b""), Err(WireError::Empty));
    }

    #[test]
    fn a_letter_is_another_message_the_other_way() {
        assert_eq!(inbound::layout(b'U').map(|layout| layout.name), Some("replace_order"));
        assert_eq!(outbound::layout(b'U').map(|layout| layout.name), Some("replaced"));
    }
}
