//! Outputs -> order-entry bytes: OUCH 5.0 in SoupBinTCP packets, written into a fixed buffer.

use std::fmt;

use helios_types::{Order, OrderId, Output, Price, Quantity, Side, TimeInForce};
use helios_wire::ouch::inbound::{CancelOrder, EnterOrder, ReplaceOrder};

/// OUCH prices have four decimals, ours nine.
const PRICE4: i64 = 100_000;
/// "Market" in OUCH 5.0.
const MARKET: u64 = 0x7FFF_FFFF;
/// Largest order that OUCH 5.0 takes.
const MAX_SHARES: i64 = 999_999;
/// SoupBinTCP: two bytes of length and the packet type.
const ENVELOPE: usize = 3;
const UNSEQUENCED: u8 = b'U';
/// Bytes of the longest message sent.
const MAX_BYTES: usize = ENVELOPE + 47;

/// An order that OUCH cannot express. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// Not a whole number of shares from 1 to 999,999.
    Quantity(Quantity),
    /// More than four decimals, not positive, or 200,000 and above.
    Price(Price),
    /// The identifier does not fit 32 bits.
    Id(OrderId),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(q) => write!(f, "OUCH takes 1 to {MAX_SHARES} whole shares, not {q}"),
            Self::Price(p) => write!(f, "OUCH takes prices below 200000 with four decimals, not {p}"),
            Self::Id(id) => write!(f, "order {} does not fit OUCH's 32-bit user reference", id.0),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Encodes for one session. Order identifiers are the user reference numbers.
pub struct OuchGateway {
    /// Padded symbols by instrument.
    symbols: Vec<[u8; 8]>,
    buffer: [u8; MAX_BYTES],
}

impl OuchGateway {
    /// For instruments with these symbols; longer ones than eight bytes are cut, as the venue would.
    pub fn new<'a>(symbols: impl Iterator<Item = &'a str>) -> Self {
        let pad = |symbol: &str| {
            let mut padded = [b' '; 8];
            let n = symbol.len().min(8);
            padded[..n].copy_from_slice(&symbol.as_bytes()[..n]);
            padded
        };
        Self { symbols: symbols.map(pad).collect(), buffer: [0; MAX_BYTES] }
    }

    /// The packet for an output; empty for outputs that do not go to the venue.
    #[inline]
    pub fn encode(&mut self, output: &Output) -> Result<&[u8], EncodeError> {
        let body = match output {
            Output::Submit(order) => self.enter(order)?,
            Output::Cancel { order, .. } => {
                let cancel = CancelOrder { user_ref_num: reference(*order)?, quantity: 0 };
                cancel.encode_into(&mut self.buffer[ENVELOPE..])
            }
            Output::Replace { order, quantity, price, .. } => {
                // Our identifier stays; a venue session keeps the map to the new reference (edge/io).
                let reference = reference(*order)?;
                let replace = ReplaceOrder {
                    orig_user_ref_num: reference,
                    user_ref_num: reference,
                    quantity: shares(*quantity)?,
                    price: price4(*price)?,
                    time_in_force: b'0',
                    display: b'Y',
                    intermarket_sweep_eligibility: b'N',
                    cl_ord_id: [b' '; 14],
                    appendage_length: 0,
                };
                replace.encode_into(&mut self.buffer[ENVELOPE..])
            }
            _ => return Ok(&[]),
        };
        let length = u16::try_from(body + 1).expect("a packet is shorter than 64 KiB");
        self.buffer[..2].copy_from_slice(&length.to_be_bytes());
        self.buffer[2] = UNSEQUENCED;
        Ok(&self.buffer[..ENVELOPE + body])
    }

    fn enter(&mut self, order: &Order) -> Result<usize, EncodeError> {
        let enter = EnterOrder {
            user_ref_num: reference(order.id)?,
            side: if order.side == Side::Buy { b'B' } else { b'S' },
            quantity: shares(order.quantity)?,
            symbol: self.symbols[order.instrument.index()],
            price: price4(order.price)?,
            time_in_force: if order.time_in_force == TimeInForce::Day { b'0' } else { b'3' },
            display: b'Y',
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            cross_type: b'N',
            cl_ord_id: [b' '; 14],
            appendage_length: 0,
        };
        Ok(enter.encode_into(&mut self.buffer[ENVELOPE..]))
    }
}

fn reference(id: OrderId) -> Result<u32, EncodeError> {
    u32::try_from(id.0).map_err(|_| EncodeError::Id(id))
}

fn shares(quantity: Quantity) -> Result<u32, EncodeError> {
    let whole = quantity.0 / helios_types::QUANTITY_SCALE;
    if quantity != Quantity::whole(whole) || !(1..=MAX_SHARES).contains(&whole) {
        return Err(EncodeError::Quantity(quantity));
    }
    Ok(whole as u32)
}

fn price4(price: Price) -> Result<u64, EncodeError> {
    if !price.is_defined() {
        return Ok(MARKET);
    }
    let raw = price.0 / PRICE4;
    if price.0 % PRICE4 != 0 || raw <= 0 || raw >= 2_000_000_000 {
        return Err(EncodeError::Price(price));
    }
    Ok(raw as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use helios_types::{InstrumentId, StrategyId};

    fn order(quantity: Quantity, price: Price) -> Output {
        Output::Submit(Order {
            id: OrderId(7),
            strategy: StrategyId(0),
            instrument: InstrumentId(0),
            side: Side::Sell,
            quantity,
            price,
            time_in_force: TimeInForce::Ioc,
            terms: helios_types::Terms::PLAIN,
        })
    }

    #[test]
    fn an_order_reads_back_as_it_was_meant() {
        let mut gateway = OuchGateway::new(["KO"].into_iter());
        let bytes = gateway.encode(&order(Quantity::whole(300), Price(45_670_000_000))).unwrap().to_vec();
        assert_eq!(&bytes[..3], &[0, 48, b'U']);
        let decoded = helios_wire::ouch::inbound::decode(&bytes[3..]).unwrap();
        let helios_wire::ouch::inbound::Message::EnterOrder(m) = decoded.message else { panic!("an enter order") };
        assert_eq!((m.user_ref_num(), m.side(), m.quantity(), m.price()), (7, b'S', 300, 456_700));
        assert_eq!((m.symbol(), m.time_in_force()), (b"KO      ", b'3'));
    }

    #[test]
    fn what_ouch_cannot_say_is_an_error() {
        let mut gateway = OuchGateway::new(["KO"].into_iter());
        let half = Quantity(50_000_000);
        assert_eq!(gateway.encode(&order(half, Price::whole(1))), Err(EncodeError::Quantity(half)));
        assert_eq!(gateway.encode(&order(Quantity::whole(1), Price(1))), Err(EncodeError::Price(Price(1))));
        assert!(gateway.encode(&order(Quantity::whole(1_000_000), Price::whole(1))).is_err());
    }
}
