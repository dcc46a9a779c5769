//! Outputs -> order-entry bytes: OUCH 5.0 in SoupBinTCP packets, written into a fixed buffer.
//!
//! Terms become fields and options of the enter order: post-only, midpoint (price type `M`), hidden (display `N`), iceberg
//! (max floor), fill-or-kill (immediate with the whole quantity as the least), opening and closing cross. Absent, and
//! refused: stops, which OUCH does not have; they are kept at a broker or by whoever runs the session.

use std::collections::BTreeMap;
use std::fmt;

use helios_types::{Order, OrderId, Output, Price, Quantity, Side, Terms, TimeInForce};
use helios_wire::ouch::inbound::{CancelOrder, EnterOrder, ReplaceOrder};
use helios_wire::ouch::tag;

/// OUCH prices have four decimals, ours nine.
const PRICE4: i64 = 100_000;
/// "Market" in OUCH 5.0.
const MARKET: u64 = 0x7FFF_FFFF;
/// Largest order that OUCH 5.0 takes.
const MAX_SHARES: i64 = 999_999;
/// The least quantity that an order asks for is in round lots.
const ROUND_LOT: u32 = 100;
/// SoupBinTCP: two bytes of length and the packet type.
const ENVELOPE: usize = 3;
const UNSEQUENCED: u8 = b'U';
/// Bytes of the longest message sent.
const MAX_BYTES: usize = ENVELOPE + ENTER_BYTES + MAX_OPTIONS;
/// An enter order without its options.
const ENTER_BYTES: usize = 47;
/// Options: post-only (3 bytes), price type (3), max floor (6), least quantity (6).
const MAX_OPTIONS: usize = 18;

/// An order that OUCH cannot express. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// Not a whole number of shares from 1 to 999,999; fill-or-kill: not round lots of 100.
    Quantity(Quantity),
    /// More than four decimals, not positive, or 200,000 and above.
    Price(Price),
    /// The identifier does not fit 32 bits.
    Id(OrderId),
    /// A stop: OUCH has none.
    Stop(Price),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(q) => {
                write!(f, "OUCH takes 1 to {MAX_SHARES} whole shares (fill-or-kill: hundreds), not {q}")
            }
            Self::Price(p) => write!(f, "OUCH takes prices below 200000 with four decimals, not {p}"),
            Self::Stop(price) => {
                write!(
                    f,
                    "OUCH has no stop orders (stop {price}): watch the price and send the order when it is reached"
                )
            }
            Self::Id(id) => write!(f, "order {} does not fit OUCH's 32-bit user reference", id.0),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Encodes for one session. Order identifiers are the user reference numbers.
pub struct OuchGateway {
    /// Padded symbols by instrument.
    symbols: Vec<[u8; 8]>,
    /// Terms of working orders that have some: a replace must say them again, or a hidden order would be displayed.
    terms: BTreeMap<OrderId, Terms>,
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
        Self { symbols: symbols.map(pad).collect(), terms: BTreeMap::new(), buffer: [0; MAX_BYTES] }
    }

    /// The packet for an output; empty for outputs that do not go to the venue. It wants to see the ends of orders too,
    /// so that it can forget their terms.
    #[inline]
    pub fn encode(&mut self, output: &Output) -> Result<&[u8], EncodeError> {
        let body = match output {
            Output::Submit(order) => self.enter(order)?,
            Output::Cancel { order, .. } => {
                let cancel = CancelOrder { user_ref_num: reference(*order)?, quantity: 0 };
                cancel.encode_into(&mut self.buffer[ENVELOPE..])
            }
            Output::Replace { order, quantity, price, .. } => {
                let terms = self.terms.get(order).copied().unwrap_or_default();
                let options = Options::new(&terms, None)?;
                // Our identifier stays; a venue session keeps the map to the new reference (edge/io).
                let reference = reference(*order)?;
                let replace = ReplaceOrder {
                    orig_user_ref_num: reference,
                    user_ref_num: reference,
                    quantity: shares(*quantity)?,
                    price: price4(*price)?,
                    time_in_force: b'0',
                    display: display(&terms),
                    intermarket_sweep_eligibility: b'N',
                    cl_ord_id: [b' '; 14],
                    appendage_length: options.used as u16,
                };
                let fixed = replace.encode_into(&mut self.buffer[ENVELOPE..]);
                options.append(&mut self.buffer[ENVELOPE..], fixed)
            }
            Output::State(change) => {
                if change.to.is_done() {
                    self.terms.remove(&change.order);
                }
                return Ok(&[]);
            }
            _ => return Ok(&[]),
        };
        let length = u16::try_from(body + 1).expect("a packet is shorter than 64 KiB");
        self.buffer[..2].copy_from_slice(&length.to_be_bytes());
        self.buffer[2] = UNSEQUENCED;
        Ok(&self.buffer[..ENVELOPE + body])
    }

    fn enter(&mut self, order: &Order) -> Result<usize, EncodeError> {
        let terms = &order.terms;
        if terms.stop.is_defined() {
            return Err(EncodeError::Stop(terms.stop));
        }
        let quantity = shares(order.quantity)?;
        let at_once = matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        let whole = (order.time_in_force == TimeInForce::Fok).then_some(quantity);
        if whole.is_some_and(|quantity| quantity % ROUND_LOT != 0) {
            return Err(EncodeError::Quantity(order.quantity));
        }
        let options = Options::new(terms, whole)?;
        let enter = EnterOrder {
            user_ref_num: reference(order.id)?,
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
            cl_ord_id: [b' '; 14],
            appendage_length: options.used as u16,
        };
        let fixed = enter.encode_into(&mut self.buffer[ENVELOPE..]);
        if !terms.is_plain() {
            self.terms.insert(order.id, *terms);
        }
        Ok(options.append(&mut self.buffer[ENVELOPE..], fixed))
    }
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

    /// Puts them behind the fixed part; returns the length of the whole.
    fn append(&self, body: &mut [u8], fixed: usize) -> usize {
        let length = fixed + self.used;
        body[fixed..length].copy_from_slice(&self.bytes[..self.used]);
        length
    }

    fn push(&mut self, tag: u8, value: &[u8]) {
        let end = self.used + 2 + value.len();
        self.bytes[self.used] = value.len() as u8 + 1;
        self.bytes[self.used + 1] = tag;
        self.bytes[self.used + 2..end].copy_from_slice(value);
        self.used = end;
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

    type Entered = (u8, u8, u8, Vec<(u8, Vec<u8>)>);

    /// Life time, display, cross type and options of an order with these terms, as they read back.
    fn entered(time_in_force: TimeInForce, terms: Terms) -> Result<Entered, EncodeError> {
        let Output::Submit(plain) = order(Quantity::whole(300), Price::whole(45)) else { unreachable!() };
        let mut gateway = OuchGateway::new(["KO"].into_iter());
        let bytes = gateway.encode(&Output::Submit(Order { time_in_force, terms, ..plain }))?.to_vec();
        assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 2, bytes.len());
        let decoded = helios_wire::ouch::inbound::decode(&bytes[3..]).expect("as the wire reads it");
        let helios_wire::ouch::inbound::Message::EnterOrder(m) = decoded.message else { panic!("an enter order") };
        let options = decoded.options.unwrap_or_default().into_iter().map(|x| (x.tag, x.value.to_vec())).collect();
        Ok((m.time_in_force(), m.display(), m.cross_type(), options))
    }

    #[test]
    fn terms_read_back_as_they_were_meant() {
        let (plain, ioc, fok) = (Terms::PLAIN, TimeInForce::Ioc, TimeInForce::Fok);
        let day = |terms| entered(TimeInForce::Day, terms).unwrap();
        let life = |life| entered(life, plain).unwrap();
        let shares = |n: u32| n.to_be_bytes().to_vec();
        assert_eq!(day(plain), (b'0', b'Y', b'N', vec![]));
        assert_eq!(day(Terms { post_only: true, ..plain }), (b'0', b'Y', b'N', vec![(tag::POST_ONLY, b"P".to_vec())]));
        assert_eq!(day(Terms { midpoint: true, ..plain }), (b'0', b'N', b'N', vec![(tag::PRICE_TYPE, b"M".to_vec())]));
        assert_eq!(day(Terms { display: Quantity::ZERO, ..plain }), (b'0', b'N', b'N', vec![]));
        let iceberg = Terms { display: Quantity::whole(100), post_only: true, ..plain };
        let options = vec![(tag::POST_ONLY, b"P".to_vec()), (tag::MAX_FLOOR, shares(100))];
        assert_eq!(day(iceberg), (b'0', b'Y', b'N', options));
        assert_eq!(life(ioc), (b'3', b'Y', b'N', vec![]));
        assert_eq!(life(fok), (b'3', b'Y', b'N', vec![(tag::MIN_QTY, shares(300))]));
        assert_eq!(life(TimeInForce::Open), (b'0', b'Y', b'O', vec![]));
        assert_eq!(life(TimeInForce::Close), (b'0', b'Y', b'C', vec![]));
    }

    #[test]
    fn a_replace_says_the_terms_again_until_the_order_has_ended() {
        use helios_types::{OrderState, StateChange};
        let Output::Submit(plain) = order(Quantity::whole(300), Price::whole(45)) else { unreachable!() };
        let mut gateway = OuchGateway::new(["KO"].into_iter());
        let terms = Terms { display: Quantity::ZERO, post_only: true, ..Terms::PLAIN };
        gateway.encode(&Output::Submit(Order { time_in_force: TimeInForce::Day, terms, ..plain })).unwrap();
        let (id, instrument, quantity, price) = (plain.id, plain.instrument, plain.quantity, plain.price);
        let replaced = |gateway: &mut OuchGateway| {
            let bytes = gateway.encode(&Output::Replace { order: id, instrument, quantity, price }).unwrap().to_vec();
            let decoded = helios_wire::ouch::inbound::decode(&bytes[3..]).unwrap();
            let helios_wire::ouch::inbound::Message::ReplaceOrder(m) = decoded.message else { panic!("a replace") };
            (m.display(), decoded.options.unwrap_or_default().get(tag::POST_ONLY).map(<[u8]>::to_vec))
        };
        assert_eq!(replaced(&mut gateway), (b'N', Some(b"P".to_vec())));
        let (from, to) = (OrderState::Accepted, OrderState::Cancelled);
        gateway.encode(&Output::State(StateChange { order: id, instrument, from, to, reject: None })).unwrap();
        assert!(gateway.terms.is_empty());
    }

    #[test]
    fn a_stop_is_an_error_that_says_what_to_do() {
        let stop = Price::whole(50);
        let error = entered(TimeInForce::Day, Terms { stop, ..Terms::PLAIN }).unwrap_err();
        assert_eq!(error, EncodeError::Stop(stop));
        assert!(error.to_string().contains("no stop orders (stop 50"), "{error}");
        let Output::Submit(plain) = order(Quantity::whole(150), Price::whole(45)) else { unreachable!() };
        let fok = Output::Submit(Order { time_in_force: TimeInForce::Fok, ..plain });
        let odd = OuchGateway::new(["KO"].into_iter()).encode(&fok).map(<[u8]>::to_vec);
        assert_eq!(odd, Err(EncodeError::Quantity(Quantity::whole(150))));
        let half = Quantity(50_000_000);
        let error = entered(TimeInForce::Day, Terms { display: half, ..Terms::PLAIN }).unwrap_err();
        assert_eq!(error, EncodeError::Quantity(half));
    }
}
