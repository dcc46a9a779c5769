//! The payload table: which byte stands for which variant, and its fields in their order.
//!
//! Each row is used for writing and for reading, so the two cannot disagree, and no `match` here has a wildcard on
//! our side: a new variant or field in `core/types` does not compile until it has a row. Rows are kept for ever:
//! a new meaning takes a new byte. The high half of a kind byte is its family.

use helios_types::{
    Booking, BookingKind, Breach, CancelReason, Cash, Charge, Control, Difference, Event, Feed, Fill, Input,
    InstrumentId, Intent, IntentKind, Link, Liquidity, Market, Nanos, Order, OrderId, OrderState, Output, Price,
    Quality, QualityKind, Quantity, Refusal, RejectReason, Report, ReportKind, Rule, Side, SignalChange, StateChange,
    StrategyId, Terms, TimeInForce, Timer, TradeKind, TradingStatus, Update,
};

use crate::{DamageKind, End, MAX_PAYLOAD_LEN};

/// The configuration: kind, then opaque bytes.
pub(crate) const CONFIG: u8 = 0x01;
/// The clean end: kind, inputs u64, outputs u64, digest u128.
pub(crate) const END: u8 = 0x02;
/// A timer: the only event without variants.
const TIMER: u8 = 0x40;

/// Room for one payload.
pub(crate) type Payload = [u8; MAX_PAYLOAD_LEN];

/// Payloads are padded with zeros to whole words of this many bytes (the configuration is not).
const WORD: usize = 8;

/// A payload being written, in whole words: XXH3 reads words, and a processor stalls when a load spans two stores
/// that are still under way. That alone was half of the cost of a record. Offsets are constants of the kind, so
/// shifts and bounds checks fold away in release builds.
pub(crate) struct Put<'a> {
    bytes: &'a mut Payload,
    length: usize,
    /// The bytes since the last whole word.
    word: u64,
}

impl<'a> Put<'a> {
    #[inline(always)]
    fn new(bytes: &'a mut Payload) -> Self {
        Self { bytes, length: 0, word: 0 }
    }

    /// Appends the low `size` bytes of `value`, whose others are zero.
    #[inline(always)]
    fn low_bytes(&mut self, value: u64, size: usize) {
        let used = self.length % WORD;
        self.word |= value << (8 * used);
        self.length += size;
        if used + size >= WORD {
            self.store((self.length - size) / WORD * WORD);
            self.word = if used == 0 { 0 } else { value >> (8 * (WORD - used)) };
        }
    }

    #[inline(always)]
    fn store(&mut self, at: usize) {
        self.bytes[at..at + WORD].copy_from_slice(&self.word.to_le_bytes());
    }

    #[inline(always)]
    fn field<T: Wire>(&mut self, field: T) {
        field.put(self);
    }

    /// Pads the last word and returns the payload's length.
    #[inline(always)]
    fn finish(mut self) -> usize {
        if !self.length.is_multiple_of(WORD) {
            self.store(self.length / WORD * WORD);
        }
        self.length.next_multiple_of(WORD)
    }
}

/// A payload being read.
pub(crate) struct Get<'a> {
    payload: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Get<'a> {
    #[inline(always)]
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { payload, rest: payload }
    }

    #[inline(always)]
    fn raw<const N: usize>(&mut self) -> Result<[u8; N], DamageKind> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else { return Err(self.bad_length()) };
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline(always)]
    pub(crate) fn field<T: Wire>(&mut self) -> Result<T, DamageKind> {
        T::get(self)
    }

    /// What is left: the bytes of a configuration.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Only the padding of the last word may be left.
    #[inline(always)]
    fn finish(&self) -> Result<(), DamageKind> {
        if self.rest.len() >= WORD || !self.payload.len().is_multiple_of(WORD) {
            return Err(self.bad_length());
        }
        match self.rest.iter().find(|&&byte| byte != 0) {
            Some(&found) => Err(DamageKind::BadValue { what: "padding", found }),
            None => Ok(()),
        }
    }

    fn bad_length(&self) -> DamageKind {
        DamageKind::BadLength(self.payload.len() as u32)
    }
}

/// A field with a fixed layout.
pub(crate) trait Wire: Sized {
    fn put(&self, put: &mut Put<'_>);
    fn get(get: &mut Get<'_>) -> Result<Self, DamageKind>;
}

/// An enum whose variants are kinds of records.
trait Tagged: Sized {
    const KINDS: &'static [(u8, &'static str)];
    /// The kind byte and what belongs to every kind of the family, then the variant's own fields. The length.
    fn put(&self, payload: &mut Payload, shared: impl Wire) -> usize;
    /// The variant's own fields, which end the payload.
    fn get(kind: u8, get: &mut Get<'_>) -> Result<Self, DamageKind>;
}

/// An enum without fields: one byte.
trait Coded: Copy + Sized {
    const NAME: &'static str;
    fn code(self) -> u8;
    fn from_code(code: u8) -> Option<Self>;
}

/// The code of `None`.
const NONE: u8 = 0xFF;

macro_rules! numbers {
    ($($number:ident)*) => { $(
        impl Wire for $number {
            #[inline(always)]
            fn put(&self, put: &mut Put<'_>) {
                put.low_bytes(*self as u64, size_of::<Self>());
            }

            #[inline(always)]
            fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
                get.raw().map(Self::from_le_bytes)
            }
        }
    )* };
}

macro_rules! wrapped {
    ($($wrapper:ident)*) => { $(
        impl Wire for $wrapper {
            #[inline(always)]
            fn put(&self, put: &mut Put<'_>) {
                self.0.put(put);
            }

            #[inline(always)]
            fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
                get.field().map(Self)
            }
        }
    )* };
}

macro_rules! codes {
    ($($enum:ident { $($code:literal $variant:ident,)* })*) => { $(
        impl Coded for $enum {
            const NAME: &'static str = stringify!($enum);

            #[inline(always)]
            fn code(self) -> u8 {
                match self { $(Self::$variant => $code),* }
            }

            #[inline(always)]
            fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl Wire for $enum {
            #[inline(always)]
            fn put(&self, put: &mut Put<'_>) {
                self.code().put(put);
            }

            #[inline(always)]
            fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
                let found: u8 = get.field()?;
                Self::from_code(found).ok_or(DamageKind::BadValue { what: Self::NAME, found })
            }
        }

        $(const _: () = assert!($code != NONE);)*
    )* };
}

macro_rules! fields {
    ($($struct:ident { $($field:ident),* })*) => { $(
        impl Wire for $struct {
            #[inline(always)]
            fn put(&self, put: &mut Put<'_>) {
                let Self { $($field),* } = self;
                $($field.put(put);)*
            }

            #[inline(always)]
            fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
                Ok(Self { $($field: get.field()?),* })
            }
        }
    )* };
}

macro_rules! kinds {
    ($($enum:ident $family:literal { $($kind:literal $variant:ident $({ $($field:ident),* })? $(($item:ident))?,)* })*) => { $(
        impl Tagged for $enum {
            const KINDS: &'static [(u8, &'static str)] =
                &[$(($kind, concat!(stringify!($enum), "::", stringify!($variant)))),*];

            #[inline(always)]
            fn put(&self, payload: &mut Payload, shared: impl Wire) -> usize {
                match *self { $(
                    Self::$variant $({ $($field),* })? $(($item))? => {
                        let mut put = Put::new(payload);
                        put.field::<u8>($kind);
                        put.field(shared);
                        $($(put.field($field);)*)?
                        $(put.field($item);)?
                        put.finish()
                    }
                )* }
            }

            #[inline(always)]
            fn get(kind: u8, get: &mut Get<'_>) -> Result<Self, DamageKind> {
                match kind {
                    $($kind => {
                        $($(let $field = get.field()?;)*)?
                        $(let $item = get.field()?;)?
                        get.finish()?;
                        Ok(Self::$variant $({ $($field),* })? $(($item))?)
                    })*
                    unknown => Err(DamageKind::UnknownKind(unknown)),
                }
            }
        }

        $(const _: () = assert!($kind >> 4 == $family, "a kind's high half is its family");)*
    )* };
}

numbers! { u8 u32 u64 i64 }
wrapped! { Price Quantity Cash Nanos OrderId InstrumentId StrategyId }

codes! {
    Side { 0 Buy, 1 Sell, }
    TimeInForce { 0 Day, 1 Ioc, 2 Fok, 3 Open, 4 Close, }
    TradeKind { 0 Regular, 1 Hidden, 2 Cross, 3 Displayed, }
    TradingStatus { 0 Halted, 1 Paused, 2 QuoteOnly, 3 Trading, }
    Liquidity { 0 Maker, 1 Taker, }
    CancelReason { 0 Requested, 1 Unfilled, 2 Expired, 3 SelfTrade, }
    RejectReason {
        0 UnknownInstrument, 1 NotTrading, 2 BadQuantity, 3 BadPrice, 4 UnknownOrder, 5 DuplicateOrder, 6 NoMarket,
        7 Full, 8 WouldTake, 9 PriceBand, 10 Unsupported, 11 NotShortable, 12 BelowMinimum, 13 NeverArrived, 14 Other,
    }
    OrderState {
        0 New, 1 Accepted, 2 PartlyFilled, 3 Filled, 4 CancelPending, 5 Cancelled, 6 ReplacePending, 7 Rejected,
        8 Unknown,
    }
    Rule {
        0 OrderQuantity, 1 OrderNotional, 2 PriceCollar, 3 Position, 4 GrossExposure, 5 OrderRate, 6 DailyLoss,
        7 Stopped, 8 Invalid, 9 Unlinked,
    }
    BookingKind { 0 Split, 1 Dividend, 2 Borrow, 3 Financing, }
    QualityKind {
        0 UnknownOrder, 1 DuplicateOrder, 2 ExceedsQuantity, 3 WrongInstrument, 4 BadValue, 5 Crossed,
        6 TimeBackwards, 7 Full, 8 Gap, 9 Whole,
    }
}

fields! {
    Timer { id }
    Order { id, strategy, instrument, side, quantity, price, time_in_force, terms }
    Refusal { strategy, instrument, rule, limit, value, side, quantity, price }
    StateChange { order, instrument, from, to, reject }
    Fill {
        order, strategy, instrument, execution, ts_event, side, price, quantity, fee, liquidity, position, realised
    }
    SignalChange { signal, value, input }
    Quality { instrument, kind, detail }
    Breach { rule, limit, value }
    Difference { instrument, ours, theirs }
    Booking { strategy, instrument, kind, cash, position, realised, numerator, denominator }
}

kinds! {
    // kind u8, seq u64, ts u64, instrument u32, ts_event u64, then:
    Update 0x1 {
        0x10 Add { order, side, price, quantity },
        0x11 Execute { order, quantity, trade },
        0x12 ExecuteAt { order, quantity, price, printable, trade },
        0x13 Reduce { order, quantity },
        0x14 Delete { order },
        0x15 Replace { order, new_order, price, quantity },
        0x16 Trade { price, quantity, aggressor, kind, trade },
        0x17 TradeBreak { trade },
        0x18 Quote { bid, bid_quantity, ask, ask_quantity },
        0x19 Bar { open, high, low, close, volume, span },
        0x1A Status(status),
        0x1B Clear,
        0x1C Value(value),
        0x1D Depth { side, price, quantity },
        0x1E Split { numerator, denominator },
        0x1F Dividend { cash },
    }
    // kind u8, seq u64, ts u64, order u64, instrument u32, ts_event u64, then:
    ReportKind 0x2 {
        0x20 Accepted { book_ref },
        0x21 Filled { execution, price, quantity, liquidity, fee },
        0x22 Cancelled { reason },
        0x23 Replaced { quantity, price },
        0x24 Rejected { reason },
        0x25 ChangeRejected { reason },
    }
    // kind u8, seq u64, ts u64, strategy u32, instrument u32, then:
    IntentKind 0x3 {
        0x30 Target { position },
        0x31 Order { id, side, quantity, price, time_in_force, terms },
        0x32 Cancel { order },
        0x33 Replace { order, quantity, price },
        0x34 Quote { side, price, quantity, limit },
    }
    // kind u8, seq u64, ts u64
    Control 0x5 {
        0x50 Pause,
        0x51 Resume,
        0x52 Kill,
        0x53 Flatten,
        0x54 SetLimit { rule, limit },
    }
    // kind u8, seq u64, ts u64, then:
    Charge 0x6 {
        0x60 Borrow { instrument, amount },
        0x61 Financing { amount },
    }
    // kind u8, seq u64, ts u64, then:
    Feed 0x7 {
        0x70 Incomplete { instrument, missed },
        0x71 Complete { instrument },
        0x72 Began { exchange },
        0x73 Ended { exchange },
    }
    // kind u8, seq u64, ts u64, then:
    Link 0x9 {
        0x90 Down { session },
        0x91 Up { session },
        0x92 Settled { session },
        0x93 Heard { session, name, next },
        0x94 Position { instrument, quantity },
    }
    // kind u8, seq u64 of the input, then:
    Output 0x8 {
        0x80 Submit(order),
        0x81 Cancel { order, instrument },
        0x82 Replace { order, instrument, quantity, price },
        0x83 Refused(refusal),
        0x84 State(change),
        0x85 Fill(fill),
        0x86 Signal(change),
        0x87 Quality(quality),
        0x88 Breach(breach),
        0x8C Booked(booking),
        0x8D Difference(difference),
    }
}

macro_rules! tuples {
    ($(($($part:ident)*))*) => { $(
        #[allow(non_snake_case)]
        impl<$($part: Wire),*> Wire for ($($part,)*) {
            #[inline(always)]
            fn put(&self, put: &mut Put<'_>) {
                let ($($part,)*) = self;
                $($part.put(put);)*
            }

            #[inline(always)]
            fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
                $(let $part = get.field()?;)*
                Ok(($($part,)*))
            }
        }
    )* };
}

tuples! { (A B) (A B C) (A B C D) (A B C D E) }

impl Wire for u128 {
    /// Low half, high half.
    #[inline(always)]
    fn put(&self, put: &mut Put<'_>) {
        put.field((*self as u64, (*self >> 64) as u64));
    }

    #[inline(always)]
    fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
        get.raw().map(Self::from_le_bytes)
    }
}

/// The last field of its record. Plain terms take no bytes: records from before there were terms read as plain.
impl Wire for Terms {
    #[inline(always)]
    fn put(&self, put: &mut Put<'_>) {
        let Self { post_only, midpoint, display, stop } = *self;
        if !self.is_plain() {
            put.field((post_only, midpoint, display, stop));
        }
    }

    #[inline(always)]
    fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
        // Less than a word is padding.
        if get.rest.len() < WORD {
            return Ok(Self::PLAIN);
        }
        let (post_only, midpoint, display, stop) = get.field()?;
        let terms = Self { post_only, midpoint, display, stop };
        if terms.is_plain() { Err(DamageKind::BadValue { what: "Terms", found: 0 }) } else { Ok(terms) }
    }
}

impl Wire for bool {
    #[inline(always)]
    fn put(&self, put: &mut Put<'_>) {
        u8::from(*self).put(put);
    }

    #[inline(always)]
    fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
        match get.field()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DamageKind::BadValue { what: "yes or no", found }),
        }
    }
}

impl Wire for f64 {
    /// By its bits: a NaN comes back as the same NaN.
    #[inline(always)]
    fn put(&self, put: &mut Put<'_>) {
        self.to_bits().put(put);
    }

    #[inline(always)]
    fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
        get.field().map(Self::from_bits)
    }
}

impl<C: Coded> Wire for Option<C> {
    #[inline(always)]
    fn put(&self, put: &mut Put<'_>) {
        self.map_or(NONE, C::code).put(put);
    }

    #[inline(always)]
    fn get(get: &mut Get<'_>) -> Result<Self, DamageKind> {
        match get.field()? {
            NONE => Ok(None),
            found => C::from_code(found).map(Some).ok_or(DamageKind::BadValue { what: C::NAME, found }),
        }
    }
}

/// Writes an input's payload and returns its length.
#[inline]
pub(crate) fn put_input(payload: &mut Payload, &Input { seq, ts, event }: &Input) -> usize {
    match event {
        Event::Market(Market { instrument, ts_event, update }) => update.put(payload, (seq, ts, instrument, ts_event)),
        Event::Report(Report { order, instrument, ts_event, kind }) => {
            kind.put(payload, (seq, ts, order, instrument, ts_event))
        }
        Event::Intent(Intent { strategy, instrument, kind }) => kind.put(payload, (seq, ts, strategy, instrument)),
        Event::Timer(timer) => {
            let mut put = Put::new(payload);
            put.field((TIMER, seq, ts, timer));
            put.finish()
        }
        Event::Control(control) => control.put(payload, (seq, ts)),
        Event::Charge(charge) => charge.put(payload, (seq, ts)),
        Event::Feed(feed) => feed.put(payload, (seq, ts)),
        Event::Link(link) => link.put(payload, (seq, ts)),
    }
}

/// Reads what follows the kind byte of an input.
#[inline]
pub(crate) fn get_input(kind: u8, get: &mut Get<'_>) -> Result<Input, DamageKind> {
    let (seq, ts) = get.field()?;
    let event = match kind >> 4 {
        0x1 => {
            let (instrument, ts_event) = get.field()?;
            Event::Market(Market { instrument, ts_event, update: Tagged::get(kind, get)? })
        }
        0x2 => {
            let (order, instrument, ts_event) = get.field()?;
            Event::Report(Report { order, instrument, ts_event, kind: Tagged::get(kind, get)? })
        }
        0x3 => {
            let (strategy, instrument) = get.field()?;
            Event::Intent(Intent { strategy, instrument, kind: Tagged::get(kind, get)? })
        }
        _ if kind == TIMER => {
            let timer = get.field()?;
            get.finish()?;
            Event::Timer(timer)
        }
        0x5 => Event::Control(Tagged::get(kind, get)?),
        0x6 => Event::Charge(Tagged::get(kind, get)?),
        0x7 => Event::Feed(Tagged::get(kind, get)?),
        0x9 => Event::Link(Tagged::get(kind, get)?),
        _ => return Err(DamageKind::UnknownKind(kind)),
    };
    Ok(Input { seq, ts, event })
}

/// Writes the payload of an output of input `seq` and returns its length.
#[inline]
pub(crate) fn put_output(payload: &mut Payload, seq: u64, output: &Output) -> usize {
    output.put(payload, seq)
}

/// Writes the payload of the end record and returns its length.
pub(crate) fn put_end(payload: &mut Payload, End { inputs, outputs, digest }: End) -> usize {
    let mut put = Put::new(payload);
    put.field((END, inputs, outputs, digest));
    put.finish()
}

/// Reads what follows the kind byte of an output.
#[inline]
pub(crate) fn get_output(kind: u8, get: &mut Get<'_>) -> Result<(u64, Output), DamageKind> {
    Ok((get.field()?, Tagged::get(kind, get)?))
}

/// Reads what follows the kind byte of the end record.
pub(crate) fn get_end(get: &mut Get<'_>) -> Result<End, DamageKind> {
    let (inputs, outputs, digest) = get.field()?;
    get.finish()?;
    Ok(End { inputs, outputs, digest })
}

/// True for the kinds that [`get_output`] reads.
#[inline]
pub(crate) fn is_output(kind: u8) -> bool {
    kind >> 4 == 0x8
}

/// Every kind byte of this version and its name, for tools and for the test that keeps old bytes readable.
pub fn record_kinds() -> impl Iterator<Item = (u8, &'static str)> {
    let rest: &[(u8, &str)] = &[(CONFIG, "Config"), (END, "End"), (TIMER, "Timer")];
    [
        rest,
        Update::KINDS,
        ReportKind::KINDS,
        IntentKind::KINDS,
        Control::KINDS,
        Charge::KINDS,
        Feed::KINDS,
        Link::KINDS,
        Output::KINDS,
    ]
    .into_iter()
    .flatten()
    .copied()
}
