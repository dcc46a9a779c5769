//! NASDAQ OUCH 5.0 (April 2023, with the later mass cancel and entry control): orders to the venue, answers from it.
//!
//! [`inbound`] is to the venue, [`outbound`] from it; the letters of the two overlap. Each message is a fixed part and
//! for some an appendage of options (tag and value). Types that had no appendage in 2023 may carry one since 2024, so both
//! lengths are accepted. Options with unknown tags are kept and can be skipped. Prices are raw and have 8 bytes with
//! four decimals, see [`crate::price4`]; `timestamp` is nanoseconds since midnight in New York.
//! Absent: order state, and judgement of values.

use std::fmt;

use crate::{Kind, WireError};

/// The price of a market order, in a cross or elsewhere.
pub const MARKET_PRICE: u64 = 0x7FFF_FFFF;
/// The highest limit price, 199,999.9900.
pub const MAX_PRICE: u64 = 1_999_999_900;
/// The largest quantity of an order on entry.
pub const MAX_QUANTITY: u32 = 999_999;

/// Why bytes are not an OUCH message. Nothing was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuchError {
    /// The fixed part is wrong; for a message that may be longer, `expected` is its shortest length.
    Message(WireError),
    /// The announced length of the options is not the number of bytes that follow.
    AppendageLength {
        /// The type byte.
        kind: u8,
        /// Bytes announced.
        announced: usize,
        /// Bytes there are.
        found: usize,
    },
    /// An option without a tag, or one that ends outside the appendage.
    BrokenOption {
        /// Where it begins, counted from the start of the appendage.
        offset: usize,
        /// Bytes it needs, its length byte included.
        needs: usize,
        /// Bytes there are.
        found: usize,
    },
}

impl fmt::Display for OuchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Message(error) => write!(f, "OUCH {error}"),
            Self::AppendageLength { kind, announced, found } => write!(
                f,
                "OUCH message type {} announces {announced} bytes of options, {found} follow",
                crate::error::shown(kind)
            ),
            Self::BrokenOption { offset, needs, found } => {
                write!(f, "OUCH option at offset {offset} of the appendage needs {needs} bytes, {found} are there")
            }
        }
    }
}

impl std::error::Error for OuchError {}

/// A message and what follows its fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded<'a, M> {
    /// The fixed part.
    pub message: M,
    /// The options; `None` when the message has no appendage, not even an empty one.
    pub options: Option<Options<'a>>,
}

/// An appendage whose options all end inside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Judges an appendage.
    pub fn new(bytes: &'a [u8]) -> Result<Self, OuchError> {
        let mut rest = bytes;
        while let Some((_, behind)) = split_option(rest) {
            rest = behind;
        }
        match rest.first() {
            None => Ok(Self(bytes)),
            Some(length) => Err(OuchError::BrokenOption {
                offset: bytes.len() - rest.len(),
                needs: 1 + usize::from(*length).max(1),
                found: rest.len(),
            }),
        }
    }

    /// The appendage as it came.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The value of the first option with this tag.
    pub fn get(self, tag: u8) -> Option<&'a [u8]> {
        self.into_iter().find(|option| option.tag == tag).map(|option| option.value)
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = TagValue<'a>;
    type IntoIter = OptionsIter<'a>;

    fn into_iter(self) -> OptionsIter<'a> {
        OptionsIter(self.0)
    }
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagValue<'a> {
    /// See [`tag`]; others may come.
    pub tag: u8,
    /// As it came.
    pub value: &'a [u8],
}

/// The options of an appendage, in order.
#[derive(Clone, Debug)]
pub struct OptionsIter<'a>(&'a [u8]);

impl<'a> Iterator for OptionsIter<'a> {
    type Item = TagValue<'a>;

    fn next(&mut self) -> Option<TagValue<'a>> {
        let (option, rest) = split_option(self.0)?;
        self.0 = rest;
        Some(option)
    }
}

fn split_option(bytes: &[u8]) -> Option<(TagValue<'_>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (option, rest) = rest.split_at_checked(usize::from(*length))?;
    let (tag, value) = option.split_first()?;
    Some((TagValue { tag: *tag, value }, rest))
}

/// Appends one option. Panics for a value above 254 bytes, which has no length.
pub fn append_option(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    let length = u8::try_from(value.len() + 1).expect("an OUCH option's value has at most 254 bytes");
    out.extend_from_slice(&[length, tag]);
    out.extend_from_slice(value);
}

/// An option that the specification names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionLayout {
    /// Its tag.
    pub tag: u8,
    /// As the specification calls it.
    pub name: &'static str,
    /// Bytes of the value.
    pub size: usize,
    /// How to read the value.
    pub kind: Kind,
}

macro_rules! options {
    ($($CONST:ident $tag:literal $name:literal $size:literal $kind:ident,)*) => {
        /// Option tags.
        pub mod tag {
            #![allow(missing_docs)]
            $(pub const $CONST: u8 = $tag;)*
        }

        /// Every option with a known value. Tags 26, 29 and 30 are known by number only.
        pub const OPTIONS: &[OptionLayout] =
            &[$(OptionLayout { tag: $tag, name: $name, size: $size, kind: Kind::$kind }),*];
    };
}

options! {
    SECONDARY_ORD_REF_NUM 1 "secondary_ord_ref_num" 8 Unsigned,
    FIRM 2 "firm" 4 Alpha,
    MIN_QTY 3 "min_qty" 4 Unsigned,
    CUSTOMER_TYPE 4 "customer_type" 1 Alpha,
    MAX_FLOOR 5 "max_floor" 4 Unsigned,
    PRICE_TYPE 6 "price_type" 1 Alpha,
    PEG_OFFSET 7 "peg_offset" 4 SignedPrice4,
    DISCRETION_PRICE 9 "discretion_price" 8 Price4,
    DISCRETION_PRICE_TYPE 10 "discretion_price_type" 1 Alpha,
    DISCRETION_PEG_OFFSET 11 "discretion_peg_offset" 4 SignedPrice4,
    POST_ONLY 12 "post_only" 1 Alpha,
    RANDOM_RESERVES 13 "random_reserves" 4 Unsigned,
    ROUTE 14 "route" 4 Alpha,
    EXPIRE_TIME 15 "expire_time" 4 Unsigned,
    TRADE_NOW 16 "trade_now" 1 Alpha,
    HANDLE_INST 17 "handle_inst" 1 Alpha,
    BBO_WEIGHT_INDICATOR 18 "bbo_weight_indicator" 1 Alpha,
    DISPLAY_QUANTITY 22 "display_quantity" 4 Unsigned,
    DISPLAY_PRICE 23 "display_price" 8 Price4,
    GROUP_ID 24 "group_id" 2 Unsigned,
    SHARES_LOCATED 25 "shares_located" 1 Alpha,
    SIDE 27 "side" 1 Alpha,
    USER_REF_IDX 28 "user_ref_idx" 1 Unsigned,
}

/// To the venue.
pub mod inbound {
    use super::{Decoded, OuchError, append_message, decode_message, has_appendage_length};
    use crate::layout::layouts;

    layouts! {
        common {}
        /// A new order.
        b'O' EnterOrder "enter_order" 47 {
            user_ref_num: u32 @ 1,
            side: char @ 5,
            quantity: u32 @ 6,
            symbol: [u8; 8] @ 10,
            price: price4_wide @ 18,
            time_in_force: char @ 26,
            display: char @ 27,
            capacity: char @ 28,
            intermarket_sweep_eligibility: char @ 29,
            cross_type: char @ 30,
            cl_ord_id: [u8; 14] @ 31,
            appendage_length: u16 @ 45,
        }
        /// Another order in place of one of ours.
        b'U' ReplaceOrder "replace_order" 40 {
            orig_user_ref_num: u32 @ 1,
            user_ref_num: u32 @ 5,
            quantity: u32 @ 9,
            price: price4_wide @ 13,
            time_in_force: char @ 21,
            display: char @ 22,
            intermarket_sweep_eligibility: char @ 23,
            cl_ord_id: [u8; 14] @ 24,
            appendage_length: u16 @ 38,
        }
        /// Reduce an order to `quantity`; 0 cancels it.
        b'X' CancelOrder "cancel_order" 9 {
            user_ref_num: u32 @ 1,
            quantity: u32 @ 5,
        }
        /// Change the side among sell kinds, or reduce the quantity.
        b'M' ModifyOrder "modify_order" 10 {
            user_ref_num: u32 @ 1,
            side: char @ 5,
            quantity: u32 @ 6,
        }
        /// Cancel every order of a firm, or those of one symbol.
        b'C' MassCancel "mass_cancel" 19 {
            user_ref_num: u32 @ 1,
            firm: [u8; 4] @ 5,
            symbol: [u8; 8] @ 9,
            appendage_length: u16 @ 17,
        }
        /// Refuse new orders of a firm from here on.
        b'D' DisableOrderEntry "disable_order_entry" 11 {
            user_ref_num: u32 @ 1,
            firm: [u8; 4] @ 5,
            appendage_length: u16 @ 9,
        }
        /// Accept orders of a firm again.
        b'E' EnableOrderEntry "enable_order_entry" 11 {
            user_ref_num: u32 @ 1,
            firm: [u8; 4] @ 5,
            appendage_length: u16 @ 9,
        }
        /// Ask for the next usable `user_ref_num`.
        b'Q' AccountQuery "account_query" 1 {
        }
    }

    /// Which types end with `appendage_length` in every revision.
    const HAS_APPENDAGE_LENGTH: [bool; 256] = has_appendage_length(LAYOUTS);

    /// The message that `bytes` is, whole, with its options.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Decoded<'_, Message<'_>>, OuchError> {
        decode_message(bytes, &LENGTHS, &HAS_APPENDAGE_LENGTH, decode_start)
    }

    /// Appends an encoded fixed part and its options, and sets `appendage_length` to the options' length. A type that
    /// had no options in 2023 gets a length only when there are options. Panics above 65,535 bytes of options.
    pub fn append(fixed: &[u8], options: &[u8], out: &mut Vec<u8>) {
        append_message(fixed, options, &HAS_APPENDAGE_LENGTH, out);
    }
}

/// From the venue.
pub mod outbound {
    use super::{Decoded, OuchError, append_message, decode_message, has_appendage_length};
    use crate::layout::layouts;

    layouts! {
        common {}
        /// Start or end of the day.
        b'S' SystemEvent "system_event" 10 {
            timestamp: u64 @ 1,
            event_code: char @ 9,
        }
        /// The order is live or was dead at once, see `order_state`.
        b'A' OrderAccepted "order_accepted" 64 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            side: char @ 13,
            quantity: u32 @ 14,
            symbol: [u8; 8] @ 18,
            price: price4_wide @ 26,
            time_in_force: char @ 34,
            display: char @ 35,
            order_reference_number: u64 @ 36,
            capacity: char @ 44,
            intermarket_sweep_eligibility: char @ 45,
            cross_type: char @ 46,
            order_state: char @ 47,
            cl_ord_id: [u8; 14] @ 48,
            appendage_length: u16 @ 62,
        }
        /// The replacement is in force; terms are those of the new order.
        b'U' OrderReplaced "order_replaced" 68 {
            timestamp: u64 @ 1,
            orig_user_ref_num: u32 @ 9,
            user_ref_num: u32 @ 13,
            side: char @ 17,
            quantity: u32 @ 18,
            symbol: [u8; 8] @ 22,
            price: price4_wide @ 30,
            time_in_force: char @ 38,
            display: char @ 39,
            order_reference_number: u64 @ 40,
            capacity: char @ 48,
            intermarket_sweep_eligibility: char @ 49,
            cross_type: char @ 50,
            order_state: char @ 51,
            cl_ord_id: [u8; 14] @ 52,
            appendage_length: u16 @ 66,
        }
        /// `quantity` shares were taken off.
        b'C' OrderCanceled "order_canceled" 18 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            quantity: u32 @ 13,
            reason: char @ 17,
        }
        /// Shares were taken off to prevent a trade with ourselves.
        b'D' AiqCanceled "aiq_canceled" 32 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            decrement_shares: u32 @ 13,
            reason: char @ 17,
            quantity_prevented_from_trading: u32 @ 18,
            execution_price: price4_wide @ 22,
            liquidity_flag: char @ 30,
            aiq_strategy: char @ 31,
        }
        /// `quantity` shares traded.
        b'E' OrderExecuted "order_executed" 36 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            quantity: u32 @ 13,
            price: price4_wide @ 17,
            liquidity_flag: char @ 25,
            match_number: u64 @ 26,
            appendage_length: u16 @ 34,
        }
        /// An earlier execution is void.
        b'B' BrokenTrade "broken_trade" 36 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            match_number: u64 @ 13,
            reason: char @ 21,
            cl_ord_id: [u8; 14] @ 22,
        }
        /// The order or replacement was refused.
        b'J' Rejected "rejected" 29 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            reason: u16 @ 13,
            cl_ord_id: [u8; 14] @ 15,
        }
        /// A cancel waits, because the order is held in a cross.
        b'P' CancelPending "cancel_pending" 13 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
        }
        /// A cancel was refused, because the order is held in a cross.
        b'I' CancelReject "cancel_reject" 13 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
        }
        /// The order has a new place and number in the book.
        b'T' OrderPriorityUpdate "order_priority_update" 30 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            price: price4_wide @ 13,
            display: char @ 21,
            order_reference_number: u64 @ 22,
        }
        /// The modification is in force.
        b'M' OrderModified "order_modified" 18 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            side: char @ 13,
            quantity: u32 @ 14,
        }
        /// The venue changed the order by itself.
        b'R' OrderRestated "order_restated" 16 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            reason: char @ 13,
            appendage_length: u16 @ 14,
        }
        /// Answer to a mass cancel.
        b'X' MassCancelResponse "mass_cancel_response" 27 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            firm: [u8; 4] @ 13,
            symbol: [u8; 8] @ 17,
            appendage_length: u16 @ 25,
        }
        /// Answer to a disable.
        b'G' DisableOrderEntryResponse "disable_order_entry_response" 19 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            firm: [u8; 4] @ 13,
            appendage_length: u16 @ 17,
        }
        /// Answer to an enable.
        b'K' EnableOrderEntryResponse "enable_order_entry_response" 19 {
            timestamp: u64 @ 1,
            user_ref_num: u32 @ 9,
            firm: [u8; 4] @ 13,
            appendage_length: u16 @ 17,
        }
        /// The next usable `user_ref_num`.
        b'Q' AccountQueryResponse "account_query_response" 13 {
            timestamp: u64 @ 1,
            next_user_ref_num: u32 @ 9,
        }
    }

    /// Which types end with `appendage_length` in every revision.
    const HAS_APPENDAGE_LENGTH: [bool; 256] = has_appendage_length(LAYOUTS);

    /// The message that `bytes` is, whole, with its options.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Decoded<'_, Message<'_>>, OuchError> {
        decode_message(bytes, &LENGTHS, &HAS_APPENDAGE_LENGTH, decode_start)
    }

    /// Appends an encoded fixed part and its options, and sets `appendage_length` to the options' length. A type that
    /// had no options in 2023 gets a length only when there are options. Panics above 65,535 bytes of options.
    pub fn append(fixed: &[u8], options: &[u8], out: &mut Vec<u8>) {
        append_message(fixed, options, &HAS_APPENDAGE_LENGTH, out);
    }
}

/// Type by type, whether the layout's last field announces options.
const fn has_appendage_length(layouts: &[&crate::Layout]) -> [bool; 256] {
    const NAME: &[u8] = b"appendage_length";
    let mut has = [false; 256];
    let mut i = 0;
    while i < layouts.len() {
        let fields = layouts[i].fields;
        let name = fields[fields.len() - 1].name.as_bytes();
        let mut same = 0;
        while same < NAME.len() && same < name.len() && name[same] == NAME[same] {
            same += 1;
        }
        has[layouts[i].kind as usize] = same == NAME.len() && name.len() == NAME.len();
        i += 1;
    }
    has
}

#[inline]
fn decode_message<'a, M>(
    bytes: &'a [u8],
    lengths: &[u8; 256],
    has_appendage_length: &[bool; 256],
    decode_start: impl FnOnce(&'a [u8]) -> Option<M>,
) -> Result<Decoded<'a, M>, OuchError> {
    let Some(&kind) = bytes.first() else {
        return Err(OuchError::Message(WireError::Empty));
    };
    let expected = usize::from(lengths[usize::from(kind)]);
    if expected == 0 {
        return Err(OuchError::Message(WireError::UnknownType(kind)));
    }
    let wrong_length = OuchError::Message(WireError::WrongLength { kind, expected, found: bytes.len() });
    let message = decode_start(bytes).ok_or(wrong_length)?;
    // The length of the options is the end of the fixed part, or what follows it, or absent.
    let at = if has_appendage_length[usize::from(kind)] { expected - 2 } else { expected };
    let options = match &bytes[at..] {
        [] => None,
        [_] => return Err(wrong_length),
        [high, low, options @ ..] => {
            let announced = usize::from(u16::from_be_bytes([*high, *low]));
            if announced != options.len() {
                return Err(OuchError::AppendageLength { kind, announced, found: options.len() });
            }
            Some(Options::new(options)?)
        }
    };
    Ok(Decoded { message, options })
}

fn append_message(fixed: &[u8], options: &[u8], has_appendage_length: &[bool; 256], out: &mut Vec<u8>) {
    let length = u16::try_from(options.len()).expect("OUCH options have at most 65,535 bytes").to_be_bytes();
    let kind = fixed.first().expect("an encoded message has at least its type byte");
    if has_appendage_length[usize::from(*kind)] {
        out.extend_from_slice(&fixed[..fixed.len() - length.len()]);
        out.extend_from_slice(&length);
    } else {
        out.extend_from_slice(fixed);
        out.extend_from_slice(if options.is_empty() { &[] } else { &length });
    }
    out.extend_from_slice(options);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> inbound::EnterOrder {
        inbound::EnterOrder {
            user_ref_num: 7,
            side: b'B',
            quantity: 100,
            symbol: *b"AAPL    ",
            price: 1_500_000,
            time_in_force: b'0',
            display: b'Y',
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            cross_type: b'N',
            cl_ord_id: *b"one           ",
            appendage_length: 0,
        }
    }

    #[test]
    fn an_order_is_written_into_the_callers_buffer() {
        let mut buffer = [0xAA; 64];
        let length = order().encode_into(&mut buffer);
        assert_eq!(length, inbound::EnterOrder::LENGTH);
        assert_eq!(&buffer[..length], order().encode());
        assert_eq!(buffer[length], 0xAA);
        let decoded = inbound::decode(&buffer[..length]).expect("an order");
        assert_eq!(decoded.options, Some(Options::default()));
        let inbound::Message::EnterOrder(view) = decoded.message else { panic!("an order: {decoded:?}") };
        assert_eq!(view.owned(), order());
    }

    #[test]
    fn options_are_appended_found_and_skipped() {
        let mut options = Vec::new();
        append_option(200, b"unknown", &mut options);
        append_option(tag::FIRM, b"LIME", &mut options);
        let mut bytes = Vec::new();
        inbound::append(&order().encode(), &options, &mut bytes);
        let decoded = inbound::decode(&bytes).expect("an order with options");
        let found = decoded.options.expect("options");
        assert_eq!(found.get(tag::FIRM), Some(b"LIME".as_slice()));
        assert_eq!(found.get(tag::ROUTE), None);
        assert_eq!(found.into_iter().map(|option| option.tag).collect::<Vec<_>>(), [200, tag::FIRM]);
    }

    #[test]
    fn both_lengths_of_a_cancel_are_accepted() {
        let cancel = inbound::CancelOrder { user_ref_num: 7, quantity: 0 }.encode();
        assert_eq!(inbound::decode(&cancel).expect("the 2023 form").options, None);
        let mut bytes = cancel.to_vec();
        bytes.extend_from_slice(&[0, 0]);
        assert_eq!(inbound::decode(&bytes).expect("the later form").options, Some(Options::default()));
        let mut longer = Vec::new();
        inbound::append(&cancel, &[2, tag::USER_REF_IDX, 1], &mut longer);
        let options = inbound::decode(&longer).expect("with an option").options.expect("options");
        assert_eq!(options.get(tag::USER_REF_IDX), Some([1].as_slice()));
    }

    #[test]
    fn errors_say_what_was_wrong() {
        let wrong = |kind, expected, found| Err(OuchError::Message(WireError::WrongLength { kind, expected, found }));
        assert_eq!(inbound::decode(b""), Err(OuchError::Message(WireError::Empty)));
        assert_eq!(inbound::decode(b"?"), Err(OuchError::Message(WireError::UnknownType(b'?'))));
        assert_eq!(inbound::decode(b"X123"), wrong(b'X', 9, 4));
        assert_eq!(inbound::decode(b"X12345678."), wrong(b'X', 9, 10));
        let mut bytes = order().encode().to_vec();
        bytes.push(9);
        let length = OuchError::AppendageLength { kind: b'O', announced: 0, found: 1 };
        assert_eq!(inbound::decode(&bytes), Err(length));
        let broken = |options: &[u8]| Options::new(options).expect_err("broken");
        assert_eq!(broken(&[2, 1, 1, 3, 4]), OuchError::BrokenOption { offset: 3, needs: 4, found: 2 });
        assert_eq!(broken(&[0]), OuchError::BrokenOption { offset: 0, needs: 2, found: 1 });
    }
}
