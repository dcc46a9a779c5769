//! NASDAQ TotalView-ITCH 5.0: the market-data messages of the US equity exchanges of Nasdaq, all 23 types.
//!
//! Integers are unsigned. `timestamp` is nanoseconds since midnight of the trading day in New York; the stream
//! carries no date. `stock_locate` is a small number, constant within the day: use it as an index. Prices
//! are raw, see [`crate::price4`]. No message carries a sequence number: the carrier does.
//!
//! Absent: meaning. Enumerated letters are not judged here, a new letter is data; nor is any message compared with
//! an earlier one.

use crate::WireError;
use crate::layout::layouts;

layouts! {
    common {
        stock_locate: u16 @ 1,
        tracking_number: u16 @ 3,
        timestamp: u48 @ 5,
    }
    /// Start and end of messages, system hours and market hours.
    b'S' SystemEvent "system_event" 12 {
        event_code: char @ 11,
    }
    /// A symbol and the locate code that stands for it today.
    b'R' StockDirectory "stock_directory" 39 {
        stock: [u8; 8] @ 11,
        market_category: char @ 19,
        financial_status_indicator: char @ 20,
        round_lot_size: u32 @ 21,
        round_lots_only: char @ 25,
        issue_classification: char @ 26,
        issue_sub_type: [u8; 2] @ 27,
        authenticity: char @ 29,
        short_sale_threshold_indicator: char @ 30,
        ipo_flag: char @ 31,
        luld_reference_price_tier: char @ 32,
        etp_flag: char @ 33,
        etp_leverage_factor: u32 @ 34,
        inverse_indicator: char @ 38,
    }
    /// Trading state of one stock.
    b'H' StockTradingAction "stock_trading_action" 25 {
        stock: [u8; 8] @ 11,
        trading_state: char @ 19,
        reserved: char @ 20,
        reason_code: [u8; 4] @ 21,
    }
    /// State of the short sale price test of one stock.
    b'Y' RegShoRestriction "reg_sho_restriction" 20 {
        stock: [u8; 8] @ 11,
        reg_sho_action: char @ 19,
    }
    /// A market participant's role in one stock.
    b'L' MarketParticipantPosition "market_participant_position" 26 {
        mpid: [u8; 4] @ 11,
        stock: [u8; 8] @ 15,
        primary_market_maker: char @ 23,
        market_maker_mode: char @ 24,
        market_participant_state: char @ 25,
    }
    /// The three levels of the market-wide circuit breaker.
    b'V' MwcbDeclineLevel "mwcb_decline_level" 35 {
        level_1: price8 @ 11,
        level_2: price8 @ 19,
        level_3: price8 @ 27,
    }
    /// A level of the market-wide circuit breaker was breached.
    b'W' MwcbStatus "mwcb_status" 12 {
        breached_level: char @ 11,
    }
    /// When and at what price a new issue is expected to trade.
    b'K' IpoQuotingPeriodUpdate "ipo_quoting_period_update" 28 {
        stock: [u8; 8] @ 11,
        ipo_quotation_release_time: u32 @ 19,
        ipo_quotation_release_qualifier: char @ 23,
        ipo_price: price4 @ 24,
    }
    /// Price collars of the auction after a volatility pause.
    b'J' LuldAuctionCollar "luld_auction_collar" 35 {
        stock: [u8; 8] @ 11,
        auction_collar_reference_price: price4 @ 19,
        upper_auction_collar_price: price4 @ 23,
        lower_auction_collar_price: price4 @ 27,
        auction_collar_extension: u32 @ 31,
    }
    /// One market center halts or resumes one stock.
    b'h' OperationalHalt "operational_halt" 21 {
        stock: [u8; 8] @ 11,
        market_code: char @ 19,
        operational_halt_action: char @ 20,
    }
    /// A displayed order enters the book.
    b'A' AddOrder "add_order" 36 {
        order_reference_number: u64 @ 11,
        buy_sell_indicator: char @ 19,
        shares: u32 @ 20,
        stock: [u8; 8] @ 24,
        price: price4 @ 32,
    }
    /// A displayed order with its market participant enters the book.
    b'F' AddOrderMpid "add_order_mpid" 40 {
        order_reference_number: u64 @ 11,
        buy_sell_indicator: char @ 19,
        shares: u32 @ 20,
        stock: [u8; 8] @ 24,
        price: price4 @ 32,
        attribution: [u8; 4] @ 36,
    }
    /// A displayed order trades at its own price.
    b'E' OrderExecuted "order_executed" 31 {
        order_reference_number: u64 @ 11,
        executed_shares: u32 @ 19,
        match_number: u64 @ 23,
    }
    /// A displayed order trades at another price.
    b'C' OrderExecutedWithPrice "order_executed_with_price" 36 {
        order_reference_number: u64 @ 11,
        executed_shares: u32 @ 19,
        match_number: u64 @ 23,
        printable: char @ 31,
        execution_price: price4 @ 32,
    }
    /// Part of a displayed order is taken off.
    b'X' OrderCancel "order_cancel" 23 {
        order_reference_number: u64 @ 11,
        canceled_shares: u32 @ 19,
    }
    /// A displayed order is taken off whole.
    b'D' OrderDelete "order_delete" 19 {
        order_reference_number: u64 @ 11,
    }
    /// A displayed order gives way to another.
    b'U' OrderReplace "order_replace" 35 {
        original_order_reference_number: u64 @ 11,
        new_order_reference_number: u64 @ 19,
        shares: u32 @ 27,
        price: price4 @ 31,
    }
    /// A trade against a hidden order.
    b'P' TradeNonCross "trade_non_cross" 44 {
        order_reference_number: u64 @ 11,
        buy_sell_indicator: char @ 19,
        shares: u32 @ 20,
        stock: [u8; 8] @ 24,
        price: price4 @ 32,
        match_number: u64 @ 36,
    }
    /// The bulk print of an opening, closing or halt cross.
    b'Q' CrossTrade "cross_trade" 40 {
        cross_shares: u64 @ 11,
        stock: [u8; 8] @ 19,
        cross_price: price4 @ 27,
        match_number: u64 @ 31,
        cross_type: char @ 39,
    }
    /// An earlier trade is declared void.
    b'B' BrokenTrade "broken_trade" 19 {
        match_number: u64 @ 11,
    }
    /// Paired and unpaired interest before a cross.
    b'I' NetOrderImbalanceIndicator "net_order_imbalance_indicator" 50 {
        paired_shares: u64 @ 11,
        imbalance_shares: u64 @ 19,
        imbalance_direction: char @ 27,
        stock: [u8; 8] @ 28,
        far_price: price4 @ 36,
        near_price: price4 @ 40,
        current_reference_price: price4 @ 44,
        cross_type: char @ 48,
        price_variation_indicator: char @ 49,
    }
    /// Interest of retail price improvement in one stock.
    b'N' RetailPriceImprovementIndicator "retail_price_improvement_indicator" 20 {
        stock: [u8; 8] @ 11,
        interest_flag: char @ 19,
    }
    /// Prices of a direct listing with a capital raise.
    b'O' DirectListingCapitalRaise "direct_listing_capital_raise" 48 {
        stock: [u8; 8] @ 11,
        open_eligibility_status: char @ 19,
        minimum_allowable_price: price4 @ 20,
        maximum_allowable_price: price4 @ 24,
        near_execution_price: price4 @ 28,
        near_execution_time: u64 @ 32,
        lower_price_range_collar: price4 @ 40,
        upper_price_range_collar: price4 @ 44,
    }
}

/// Bytes of the longest message.
pub const MAX_LENGTH: usize = {
    let mut longest = 0;
    let mut i = 0;
    while i < LAYOUTS.len() {
        if LAYOUTS[i].length > longest {
            longest = LAYOUTS[i].length;
        }
        i += 1;
    }
    longest
};

/// The message that `bytes` is: a whole one, without the carrier's length.
#[inline(always)]
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, WireError> {
    // Nine of ten messages are A, D or U. Asked for by length first, a mispredicted branch is found out without waiting
    // for the type byte and a jump table: 1.3 of 8 ns a message.
    if let Some(message) = bytes.try_into().ok().and_then(view::AddOrder::new) {
        return Ok(Message::AddOrder(message));
    }
    if let Some(message) = bytes.try_into().ok().and_then(view::OrderDelete::new) {
        return Ok(Message::OrderDelete(message));
    }
    if let Some(message) = bytes.try_into().ok().and_then(view::OrderReplace::new) {
        return Ok(Message::OrderReplace(message));
    }
    decode_exact(bytes)
}

impl Message<'_> {
    /// Number of the stock, 0 when the message is not about one.
    #[inline]
    pub fn stock_locate(&self) -> u16 {
        let bytes = self.bytes();
        u16::from_be_bytes([bytes[1], bytes[2]])
    }

    /// Nanoseconds since midnight.
    #[inline]
    pub fn timestamp(&self) -> u64 {
        let bytes = self.bytes();
        u64::from_be_bytes([0, 0, bytes[5], bytes[6], bytes[7], bytes[8], bytes[9], bytes[10]])
    }
}

/// The order number that the message will be about, to be looked up ahead of time: no decision by type, so
/// nothing to mispredict. It is right for A, F, E, C, X, D and U (the order that dies); for other messages it is
/// some number, and for bytes too short to hold one it is zero.
#[inline(always)]
pub fn order_reference_ahead(bytes: &[u8]) -> u64 {
    match bytes.get(11..19) {
        Some(&[a, b, c, d, e, f, g, h]) => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_to_fail() {
        assert_eq!(decode(&[]), Err(WireError::Empty));
        assert_eq!(decode(b"zzz"), Err(WireError::UnknownType(b'z')));
        assert_eq!(decode(b"DDD"), Err(WireError::WrongLength { kind: b'D', expected: 19, found: 3 }));
        assert_eq!(decode(&[b'D'; 20]), Err(WireError::WrongLength { kind: b'D', expected: 19, found: 20 }));
    }

    #[test]
    fn an_order_is_written_as_the_specification_lays_it_out() {
        let order = AddOrder {
            stock_locate: 0x0102,
            tracking_number: 0x0304,
            timestamp: 0x0506_0708_090A,
            order_reference_number: 0x0B0C_0D0E_0F10_1112,
            buy_sell_indicator: b'S',
            shares: 0x1314_1516,
            stock: *b"HELIOS  ",
            price: 0x1718_191A,
        };
        let bytes = order.encode();
        let expected = b"A\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12S\x13\x14\x15\x16HELIOS  \x17\x18\x19\x1a";
        assert_eq!(&bytes, expected);
        let message = decode(&bytes).expect("just encoded");
        assert_eq!(message.stock_locate(), order.stock_locate);
        assert_eq!(message.timestamp(), order.timestamp);
        assert_eq!(order_reference_ahead(&bytes), order.order_reference_number);
        let Message::AddOrder(view) = message else { panic!("an add order, not {message:?}") };
        assert_eq!(view.owned(), order);
        assert_eq!(view.stock(), b"HELIOS  ");
    }

    #[test]
    fn there_are_23_types_and_the_longest_has_50_bytes() {
        assert_eq!(LAYOUTS.len(), 23);
        assert_eq!(LENGTHS.iter().filter(|length| **length > 0).count(), 23);
        assert_eq!(MAX_LENGTH, 50);
    }

    #[test]
    fn the_number_looked_up_ahead_is_that_of_every_order_message() {
        for kind in *b"AFECXDU" {
            let name = if kind == b'U' { "original_order_reference_number" } else { "order_reference_number" };
            let field = layout(kind).and_then(|l| l.fields.iter().find(|f| f.name == name)).expect("an order message");
            assert_eq!((field.offset, field.size), (11, 8));
        }
        assert_eq!(order_reference_ahead(b"D"), 0);
    }
}
