//! OUCH 5.0.

use helios_types::{Order, OrderId, Price, Quantity, Side, Terms, TimeInForce};
use helios_wire::ouch::inbound::{AccountQuery, CancelOrder, EnterOrder, ReplaceOrder};
use helios_wire::ouch::{MARKET_PRICE, tag};
use helios_wire::soupbintcp::HEADER_LENGTH;

use super::{EncodeError, MAX_ID, least, limit4, padded, shares, wrap, write_digits};

/// Options: post-only (3 bytes), price type (3), max floor (6), least quantity (6).
const MAX_OPTIONS: usize = 18;
/// Bytes of the longest packet.
const MAX_BYTES: usize = HEADER_LENGTH + EnterOrder::LENGTH + MAX_OPTIONS;

/// Writes OUCH 5.0. The client's order number on the wire is our identifier in decimal.
pub struct Ouch50 {
    symbols: Vec<[u8; 8]>,
    buffer: [u8; MAX_BYTES],
}

impl Ouch50 {
    /// For instruments with these symbols; longer ones than eight bytes are cut, as the venue would.
    pub fn new<'a>(symbols: impl Iterator<Item = &'a str>) -> Self {
        Self { symbols: padded(symbols), buffer: [0; MAX_BYTES] }
    }

    /// A new order by this reference.
    #[inline]
    pub fn enter(&mut self, order: &Order, reference: u32) -> Result<&[u8], EncodeError> {
        let terms = &order.terms;
        if terms.stop.is_defined() {
            return Err(EncodeError::Stop(terms.stop));
        }
        let quantity = shares(order.quantity)?;
        let at_once = matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        let options = Options::new(terms, least(order, quantity)?)?;
        let enter = EnterOrder {
            user_ref_num: reference,
            side: if order.side == Side::Buy { b'B' } else { b'S' },
            quantity,
            symbol: self.symbols[order.instrument.index()],
            price: price4(order.price)?,
            time_in_force: if at_once { b'3' } else { b'0' },
            display: display(terms),
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            cross_type: match order.time_in_force {
                TimeInForce::Open => b'O',
                TimeInForce::Close => b'C',
                TimeInForce::Day | TimeInForce::Ioc | TimeInForce::Fok => b'N',
            },
            cl_ord_id: named(order.id)?,
            appendage_length: options.used as u16,
        };
        let fixed = enter.encode_into(&mut self.buffer[HEADER_LENGTH..]);
        Ok(self.packet(fixed, &options))
    }

    /// A replace of the first reference by the second; `quantity` is the total, what was executed included.
    #[inline]
    pub fn replace(
        &mut self,
        order: OrderId,
        [from, to]: [u32; 2],
        quantity: Quantity,
        price: Price,
        terms: &Terms,
    ) -> Result<&[u8], EncodeError> {
        let options = Options::new(terms, None)?;
        let replace = ReplaceOrder {
            orig_user_ref_num: from,
            user_ref_num: to,
            quantity: shares(quantity)?,
            price: price4(price)?,
            time_in_force: b'0',
            display: display(terms),
            intermarket_sweep_eligibility: b'N',
            cl_ord_id: named(order)?,
            appendage_length: options.used as u16,
        };
        let fixed = replace.encode_into(&mut self.buffer[HEADER_LENGTH..]);
        Ok(self.packet(fixed, &options))
    }

    /// Cancels of these references (at most three), each in a packet of its own: an order that is being replaced is
    /// cancelled by both, and the venue ignores the one that is none.
    #[inline]
    pub fn cancel(&mut self, references: &[u32]) -> &[u8] {
        let mut end = 0;
        for reference in references {
            let cancel = CancelOrder { user_ref_num: *reference, quantity: 0 };
            let length = cancel.encode_into(&mut self.buffer[end + HEADER_LENGTH..]);
            end = wrap(&mut self.buffer, end, length);
        }
        &self.buffer[..end]
    }

    /// Asks for the next reference that the venue takes.
    pub fn account_query(&mut self) -> &[u8] {
        let length = AccountQuery {}.encode_into(&mut self.buffer[HEADER_LENGTH..]);
        let end = wrap(&mut self.buffer, 0, length);
        &self.buffer[..end]
    }

    #[inline]
    fn packet(&mut self, fixed: usize, options: &Options) -> &[u8] {
        let at = HEADER_LENGTH + fixed;
        self.buffer[at..at + options.used].copy_from_slice(&options.bytes[..options.used]);
        let end = wrap(&mut self.buffer, 0, fixed + options.used);
        &self.buffer[..end]
    }
}

#[inline]
fn named(id: OrderId) -> Result<[u8; 14], EncodeError> {
    if id.0 > MAX_ID {
        return Err(EncodeError::Id(id));
    }
    let mut field = [b' '; 14];
    write_digits(id.0, 0, &mut field);
    Ok(field)
}

fn price4(price: Price) -> Result<u64, EncodeError> {
    if price.is_defined() { limit4(price).map(u64::from) } else { Ok(MARKET_PRICE) }
}

fn display(terms: &Terms) -> u8 {
    if terms.midpoint || terms.display.is_zero() { b'N' } else { b'Y' }
}

/// The options of one order.
struct Options {
    bytes: [u8; MAX_OPTIONS],
    used: usize,
}

impl Options {
    /// What these terms need, and the least quantity, if there is one.
    fn new(terms: &Terms, least: Option<u32>) -> Result<Self, EncodeError> {
        let mut options = Self { bytes: [0; MAX_OPTIONS], used: 0 };
        if terms.post_only {
            options.push(tag::POST_ONLY, b"P");
        }
        if terms.midpoint {
            options.push(tag::PRICE_TYPE, b"M");
        }
        if terms.display != Terms::ALL && !terms.display.is_zero() {
            options.push(tag::MAX_FLOOR, &shares(terms.display)?.to_be_bytes());
        }
        if let Some(least) = least {
            options.push(tag::MIN_QTY, &least.to_be_bytes());
        }
        Ok(options)
    }

    fn push(&mut self, tag: u8, value: &[u8]) {
        let end = self.used + 2 + value.len();
        self.bytes[self.used] = value.len() as u8 + 1;
        self.bytes[self.used + 1] = tag;
        self.bytes[self.used + 2..end].copy_from_slice(value);
        self.used = end;
    }
}
