//! Orders of clients as the venue knows them, and the words in which protocols ask and are answered.

use std::fmt;

use helios_types::{BookRef, Nanos, Side};
use helios_wire::text;

/// What a client calls an order, unique in its account and day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reference {
    /// OUCH 5.0: `user_ref_num`.
    Number(u32),
    /// OUCH 4.2: order token.
    Token([u8; 14]),
    /// FIX: ClOrdID.
    Text(Box<str>),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Token(token) => write!(f, "{}", text(token).escape_ascii()),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What the venue only repeats.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// The protocol's own number or letter.
    pub(crate) time_in_force: u32,
    pub(crate) display: u8,
    pub(crate) capacity: u8,
    pub(crate) intermarket_sweep: u8,
    pub(crate) minimum: u32,
    pub(crate) customer_type: u8,
    pub(crate) firm: [u8; 4],
    pub(crate) cl_ord_id: [u8; 14],
    /// OUCH 5.0: the options that an answer repeats.
    pub(crate) options: Vec<u8>,
    pub(crate) group: u16,
}

/// How long an order may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Day,
    Immediate,
    /// Until so many nanoseconds have passed.
    For(u64),
}

impl Life {
    /// A minimum is taken where it is the whole of an order that does not rest.
    pub(crate) fn allows_minimum(self, minimum: u32, shares: u32) -> Result<(), Refusal> {
        let whole = self == Self::Immediate && minimum == shares;
        if minimum == 0 || whole { Ok(()) } else { Err(Refusal::MinQuantity) }
    }

    /// What may not take must be able to rest.
    pub(crate) fn allows_post_only(self, post_only: bool) -> Result<(), Refusal> {
        if post_only && self == Self::Immediate { Err(Refusal::Restricted) } else { Ok(()) }
    }
}

/// OUCH: a capacity as an answer repeats it.
pub(crate) fn capacity(letter: u8) -> u8 {
    if matches!(letter, b'A' | b'P' | b'R') { letter } else { b'O' }
}

/// How an order is worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) life: Life,
    pub(crate) hidden: bool,
    pub(crate) post_only: bool,
    /// Shown with the firm's name.
    pub(crate) attributed: bool,
}

/// A new order as a protocol asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Enter {
    pub(crate) reference: Reference,
    /// `B`, `S`, `T` sell short, `E` sell short exempt.
    pub(crate) side: u8,
    pub(crate) shares: u32,
    pub(crate) stock: [u8; 8],
    /// In units of 0.0001; [`MARKET`] for none.
    pub(crate) price: u64,
    pub(crate) manner: Manner,
    pub(crate) said: Said,
}

/// A replacement as a protocol asks for it; side, stock, firm and capacity stay.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) reference: Reference,
    /// With what the chain has executed already.
    pub(crate) shares: u32,
    pub(crate) price: u64,
    pub(crate) manner: Manner,
    pub(crate) said: Said,
}

/// FIX: bytes of the time in a stored body, behind its type.
pub(crate) const TIME_BYTES: usize = 8;

/// The price of an order without a limit, at this value and in OUCH 5.0 above [`MAX_PRICE`].
pub(crate) const MARKET: u64 = helios_wire::ouch::MARKET_PRICE;
/// The highest limit.
pub(crate) const MAX_PRICE: u64 = helios_wire::ouch::MAX_PRICE;
/// The largest order.
pub(crate) const MAX_SHARES: u32 = helios_wire::ouch::MAX_QUANTITY;

/// A client's order that works.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) account: usize,
    pub(crate) reference: Reference,
    pub(crate) symbol: usize,
    pub(crate) stock: [u8; 8],
    pub(crate) side: u8,
    pub(crate) price: u64,
    pub(crate) open: u32,
    /// Of this order and those that it replaced.
    pub(crate) executed: u32,
    pub(crate) number: BookRef,
    /// Number of the first order of the chain.
    pub(crate) chain: BookRef,
    /// Shares of the chain in all, and money traded in units of 0.0001.
    pub(crate) total: u32,
    pub(crate) paid: u128,
    /// Executed since it has its number.
    pub(crate) here: u32,
    /// FIX: the ClOrdID of the request that ends it.
    pub(crate) asked: Option<Box<str>>,
    pub(crate) expires: Option<Nanos>,
    pub(crate) manner: Manner,
    pub(crate) said: Said,
}

impl Order {
    pub(crate) fn side(&self) -> Side {
        side_of(self.side).expect("an order that works has a side")
    }
}

/// Buy or sell of a side's letter.
pub(crate) fn side_of(letter: u8) -> Option<Side> {
    match letter {
        b'B' => Some(Side::Buy),
        b'S' | b'T' | b'E' => Some(Side::Sell),
        _ => None,
    }
}

/// Why an order was refused; each protocol has its own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Side,
    Quantity,
    Symbol,
    Price,
    TimeInForce,
    Display,
    Cross,
    MinQuantity,
    MaxFloor,
    Peg,
    Restricted,
    Routing,
    Retail,
    /// FIX: the reference was used.
    Duplicate,
    Firm,
    Halted,
    Closed,
    /// A table is full, or the venue refuses orders on demand.
    Processing,
}

/// Why an order ended; the letters are the same in both versions of OUCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ended {
    User = b'U',
    Immediate = b'I',
    Timeout = b'T',
    Supervisory = b'S',
    System = b'Z',
    Closed = b'E',
    PostOnly = b'G',
}

/// What the venue tells a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply<'a> {
    /// Start (`S`) or end (`E`) of the day.
    Day(u8),
    Accepted(&'a Order),
    Replaced {
        old: &'a Reference,
        order: &'a Order,
    },
    Canceled {
        order: &'a Order,
        shares: u32,
        ended: Ended,
    },
    /// Taken off to prevent a trade of the client with itself.
    SelfTrade {
        order: &'a Order,
        shares: u32,
        price: u64,
    },
    Executed {
        order: &'a Order,
        shares: u32,
        price: u64,
        flag: u8,
        match_number: u64,
    },
    Rejected {
        reference: &'a Reference,
        cl_ord_id: &'a [u8; 14],
        why: Refusal,
    },
    Modified(&'a Order),
    /// OUCH 4.2: the order was let trade, which it always is here.
    TradeNow(&'a Order),
    /// The order lost its place and has a new number in the book.
    Moved(&'a Order),
}
