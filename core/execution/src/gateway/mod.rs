//! Outputs -> order-entry bytes: OUCH 5.0 and 4.2 in SoupBinTCP packets, written into a fixed buffer.
//!
//! [`Ouch50`] and [`Ouch42`] write what an order-entry session sends; which reference an order has at the venue is the
//! session's to know. [`OuchGateway`] is the same encoder behind the plainest session: every order's reference is its
//! identifier, which is how the order path is timed without a venue.
//!
//! Terms become fields and options of the enter order: post-only, midpoint, hidden, iceberg (5.0), fill-or-kill (immediate
//! with the whole quantity as the least), opening and closing cross. Absent, and refused: stops, which OUCH does not have
//! (they are kept at a broker or by whoever runs the session), short-sale marks, firms and routes.

mod ouch42;
mod ouch50;

use std::collections::BTreeMap;
use std::fmt;

use helios_types::{OrderId, Output, Price, Quantity, Terms};
use helios_wire::soupbintcp::{HEADER_LENGTH, header, kind};

pub use ouch42::Ouch42;
pub use ouch50::Ouch50;

/// OUCH prices have four decimals, ours nine.
const PRICE4: i64 = 100_000;
/// Limit prices are below, in the wire's units; from here on a price means "market".
const PRICE_END: i64 = 2_000_000_000;
/// Largest order that OUCH takes.
const MAX_SHARES: i64 = 999_999;
/// The least quantity that an order asks for is in round lots.
const ROUND_LOT: u32 = 100;
/// The largest number that fits an order's name of 14 characters.
const MAX_ID: u64 = 99_999_999_999_999;

/// An order that OUCH cannot express. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// Not a whole number of shares from 1 to 999,999; fill-or-kill: not round lots of 100.
    Quantity(Quantity),
    /// More than four decimals, not positive, or 200,000 and above; in 4.2 also a market order outside of a cross.
    Price(Price),
    /// The identifier does not fit its field.
    Id(OrderId),
    /// A stop: OUCH has none.
    Stop(Price),
    /// OUCH 4.2 has no iceberg orders, and none that are post-only and hidden.
    Terms,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(q) => {
                write!(f, "OUCH takes 1 to {MAX_SHARES} whole shares (fill-or-kill: hundreds), not {q}")
            }
            Self::Price(p) if !p.is_defined() => {
                f.write_str("OUCH 4.2 takes market orders in a cross only: set a limit")
            }
            Self::Price(p) => write!(f, "OUCH takes prices below 200000 with four decimals, not {p}"),
            Self::Stop(price) => {
                write!(
                    f,
                    "OUCH has no stop orders (stop {price}): watch the price and send the order when it is reached"
                )
            }
            Self::Terms => {
                f.write_str("OUCH 4.2 has no iceberg orders, and none that are post-only and hidden: use 5.0")
            }
            Self::Id(id) => write!(f, "order {} does not fit OUCH's field for it", id.0),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Encodes without a session: order identifiers are the user reference numbers.
pub struct OuchGateway {
    encoder: Ouch50,
    /// Terms of working orders that have some: a replace must say them again, or a hidden order would be displayed.
    terms: BTreeMap<OrderId, Terms>,
}

impl OuchGateway {
    /// For instruments with these symbols; longer ones than eight bytes are cut, as the venue would.
    pub fn new<'a>(symbols: impl Iterator<Item = &'a str>) -> Self {
        Self { encoder: Ouch50::new(symbols), terms: BTreeMap::new() }
    }

    /// The packet for an output; empty for outputs that do not go to the venue. It wants to see the ends of orders too,
    /// so that it can forget their terms.
    #[inline]
    pub fn encode(&mut self, output: &Output) -> Result<&[u8], EncodeError> {
        match output {
            Output::Submit(order) => {
                let packet = self.encoder.enter(order, reference(order.id)?)?;
                if !order.terms.is_plain() {
                    self.terms.insert(order.id, order.terms);
                }
                Ok(packet)
            }
            Output::Cancel { order, .. } => Ok(self.encoder.cancel(&[reference(*order)?])),
            Output::Replace { order, quantity, price, .. } => {
                let terms = self.terms.get(order).copied().unwrap_or_default();
                let same = reference(*order)?;
                self.encoder.replace(*order, [same, same], *quantity, *price, &terms)
            }
            Output::State(change) => {
                if change.to.is_done() {
                    self.terms.remove(&change.order);
                }
                Ok(&[])
            }
            _ => Ok(&[]),
        }
    }
}

fn reference(id: OrderId) -> Result<u32, EncodeError> {
    u32::try_from(id.0).map_err(|_| EncodeError::Id(id))
}

/// Symbols as their field has them.
fn padded<'a>(symbols: impl Iterator<Item = &'a str>) -> Vec<[u8; 8]> {
    let pad = |symbol: &str| {
        let mut padded = [b' '; 8];
        let n = symbol.len().min(8);
        padded[..n].copy_from_slice(&symbol.as_bytes()[..n]);
        padded
    };
    symbols.map(pad).collect()
}

/// Puts the carrier's header in front of a message that was written behind it, at `at`; returns where the packet ends.
#[inline]
fn wrap(buffer: &mut [u8], at: usize, message: usize) -> usize {
    buffer[at..at + HEADER_LENGTH].copy_from_slice(&header(kind::UNSEQUENCED_DATA, message));
    at + HEADER_LENGTH + message
}

/// A number's digits on the left of `field`, behind its first `from` bytes, and spaces after them.
#[inline]
fn write_digits(number: u64, from: usize, field: &mut [u8; 14]) {
    let mut digits = [0; 20];
    let (mut left, mut at) = (number, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    let used = from + digits.len() - at;
    field[from..used].copy_from_slice(&digits[at..]);
    field[used..].fill(b' ');
}

fn shares(quantity: Quantity) -> Result<u32, EncodeError> {
    let whole = quantity.0 / helios_types::QUANTITY_SCALE;
    if quantity != Quantity::whole(whole) || !(1..=MAX_SHARES).contains(&whole) {
        return Err(EncodeError::Quantity(quantity));
    }
    Ok(whole as u32)
}

/// A limit in the wire's units.
fn limit4(price: Price) -> Result<u32, EncodeError> {
    let raw = price.0 / PRICE4;
    if !price.is_defined() || price.0 % PRICE4 != 0 || raw <= 0 || raw >= PRICE_END {
        return Err(EncodeError::Price(price));
    }
    Ok(raw as u32)
}

/// The whole quantity of a fill-or-kill order, which is the least that it asks for.
fn least(order: &helios_types::Order, quantity: u32) -> Result<Option<u32>, EncodeError> {
    let whole = (order.time_in_force == helios_types::TimeInForce::Fok).then_some(quantity);
    if whole.is_some_and(|quantity| quantity % ROUND_LOT != 0) {
        return Err(EncodeError::Quantity(order.quantity));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use helios_types::{InstrumentId, Order, Side, StrategyId, TimeInForce};
    use helios_wire::ouch::tag;

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
