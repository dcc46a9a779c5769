//! OUCH 4.2: references are tokens, a prefix and a number; terms are one letter.

use helios_types::{Order, OrderId, Price, Quantity, Side, Terms, TimeInForce};
use helios_wire::ouch42::inbound::{CancelOrder, EnterOrder, ReplaceOrder};
use helios_wire::ouch42::{MARKET_PRICE, time_in_force};
use helios_wire::soupbintcp::HEADER_LENGTH;

use super::{EncodeError, least, limit4, padded, shares, wrap, write_digits};

/// Bytes of the longest packet.
const MAX_BYTES: usize = HEADER_LENGTH + EnterOrder::LENGTH;
/// What stands before the number of a token, at most: ten digits follow.
const MAX_PREFIX: usize = 4;

/// Writes OUCH 4.2.
pub struct Ouch42 {
    symbols: Vec<[u8; 8]>,
    /// A token without its number.
    token: [u8; 14],
    prefix: usize,
    buffer: [u8; MAX_BYTES],
}

impl Ouch42 {
    /// For instruments with these symbols; longer ones than eight bytes are cut, as the venue would. Of the prefix, which
    /// is to be letters, the first four are taken.
    pub fn new<'a>(symbols: impl Iterator<Item = &'a str>, prefix: &str) -> Self {
        let mut token = [b' '; 14];
        let prefix = &prefix.as_bytes()[..prefix.len().min(MAX_PREFIX)];
        token[..prefix.len()].copy_from_slice(prefix);
        Self { symbols: padded(symbols), token, prefix: prefix.len(), buffer: [0; MAX_BYTES] }
    }

    /// The reference that a token has; `None` for another's.
    pub fn reference(&self, token: &[u8; 14]) -> Option<u32> {
        let (prefix, digits) = token.split_at(self.prefix);
        let digits = helios_wire::text(digits);
        if prefix != &self.token[..self.prefix] || digits.first() == Some(&b'0') || digits.is_empty() {
            return None;
        }
        digits.iter().try_fold(0_u32, |number, digit| {
            let digit = char::from(*digit).to_digit(10)?;
            number.checked_mul(10)?.checked_add(digit)
        })
    }

    /// A new order by this reference.
    #[inline]
    pub fn enter(&mut self, order: &Order, reference: u32) -> Result<&[u8], EncodeError> {
        let terms = &order.terms;
        if terms.stop.is_defined() {
            return Err(EncodeError::Stop(terms.stop));
        }
        let shares = shares(order.quantity)?;
        let least = least(order, shares)?;
        let (time_in_force, cross_type) = match order.time_in_force {
            TimeInForce::Ioc | TimeInForce::Fok => (time_in_force::IMMEDIATE, b'N'),
            TimeInForce::Day => (time_in_force::MARKET_HOURS, b'N'),
            TimeInForce::Open => (time_in_force::MARKET_HOURS, b'O'),
            TimeInForce::Close => (time_in_force::MARKET_HOURS, b'C'),
        };
        let in_cross = cross_type != b'N';
        let enter = EnterOrder {
            order_token: self.token(reference),
            buy_sell_indicator: if order.side == Side::Buy { b'B' } else { b'S' },
            shares,
            stock: self.symbols[order.instrument.index()],
            price: if in_cross && !order.price.is_defined() { MARKET_PRICE } else { limit4(order.price)? },
            time_in_force,
            firm: [b' '; 4],
            display: display(terms)?,
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            minimum_quantity: least.unwrap_or(0),
            cross_type,
            customer_type: b' ',
        };
        let length = enter.encode_into(&mut self.buffer[HEADER_LENGTH..]);
        Ok(self.packet(length))
    }

    /// A replace of the first reference by the second; `quantity` is the total, what was executed included.
    #[inline]
    pub fn replace(
        &mut self,
        _: OrderId,
        [from, to]: [u32; 2],
        quantity: Quantity,
        price: Price,
        terms: &Terms,
    ) -> Result<&[u8], EncodeError> {
        let replace = ReplaceOrder {
            existing_order_token: self.token(from),
            replacement_order_token: self.token(to),
            shares: shares(quantity)?,
            price: limit4(price)?,
            time_in_force: time_in_force::MARKET_HOURS,
            display: display(terms)?,
            intermarket_sweep_eligibility: b'N',
            minimum_quantity: 0,
        };
        let length = replace.encode_into(&mut self.buffer[HEADER_LENGTH..]);
        Ok(self.packet(length))
    }

    /// Cancels of these references (at most two), each in a packet of its own: see [`super::Ouch50::cancel`].
    #[inline]
    pub fn cancel(&mut self, references: &[u32]) -> &[u8] {
        let mut end = 0;
        for reference in references {
            let cancel = CancelOrder { order_token: self.token(*reference), shares: 0 };
            let length = cancel.encode_into(&mut self.buffer[end + HEADER_LENGTH..]);
            end = wrap(&mut self.buffer, end, length);
        }
        &self.buffer[..end]
    }

    #[inline]
    fn token(&self, reference: u32) -> [u8; 14] {
        let mut token = self.token;
        write_digits(u64::from(reference), self.prefix, &mut token);
        token
    }

    #[inline]
    fn packet(&mut self, length: usize) -> &[u8] {
        let end = wrap(&mut self.buffer, 0, length);
        &self.buffer[..end]
    }
}

fn display(terms: &Terms) -> Result<u8, EncodeError> {
    let hidden = terms.display.is_zero();
    if !hidden && terms.display != Terms::ALL {
        return Err(EncodeError::Terms);
    }
    Ok(match (terms.midpoint, hidden, terms.post_only) {
        (true, _, false) => b'M',
        (true, _, true) => b'W',
        (false, true, false) => b'N',
        (false, false, true) => b'P',
        (false, false, false) => b'Y',
        (false, true, true) => return Err(EncodeError::Terms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use helios_types::{InstrumentId, StrategyId};
    use helios_wire::ouch42::inbound::{Message, decode};
    use helios_wire::soupbintcp;

    fn order(price: Price, time_in_force: TimeInForce, terms: Terms) -> Order {
        Order {
            id: OrderId(7),
            strategy: StrategyId(0),
            instrument: InstrumentId(0),
            side: Side::Sell,
            quantity: Quantity::whole(300),
            price,
            time_in_force,
            terms,
        }
    }

    /// The messages of some packets.
    fn sent(packets: &[u8]) -> Vec<Message<'_>> {
        let (mut rest, mut messages) = (packets, Vec::new());
        while let Some((packet, length)) = soupbintcp::decode(rest).expect("packets") {
            let soupbintcp::Packet::UnsequencedData(body) = packet else { panic!("{packet:?}") };
            messages.push(decode(body).expect("a message"));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        messages
    }

    #[test]
    fn an_order_reads_back_as_it_was_meant() {
        let mut encoder = Ouch42::new(["KO"].into_iter(), "H");
        let ten = Price::whole(10);
        let rows = [
            (TimeInForce::Day, Terms::PLAIN, Ok((99_998, b'Y', b'N', 0))),
            (TimeInForce::Ioc, Terms::PLAIN, Ok((0, b'Y', b'N', 0))),
            (TimeInForce::Fok, Terms::PLAIN, Ok((0, b'Y', b'N', 300))),
            (TimeInForce::Open, Terms::PLAIN, Ok((99_998, b'Y', b'O', 0))),
            (TimeInForce::Close, Terms::PLAIN, Ok((99_998, b'Y', b'C', 0))),
            (TimeInForce::Day, Terms { post_only: true, ..Terms::PLAIN }, Ok((99_998, b'P', b'N', 0))),
            (TimeInForce::Day, Terms { midpoint: true, ..Terms::PLAIN }, Ok((99_998, b'M', b'N', 0))),
            (TimeInForce::Day, Terms { midpoint: true, post_only: true, ..Terms::PLAIN }, Ok((99_998, b'W', b'N', 0))),
            (TimeInForce::Day, Terms { display: Quantity::ZERO, ..Terms::PLAIN }, Ok((99_998, b'N', b'N', 0))),
            (
                TimeInForce::Day,
                Terms { display: Quantity::ZERO, post_only: true, ..Terms::PLAIN },
                Err(EncodeError::Terms),
            ),
            (TimeInForce::Day, Terms { display: Quantity::whole(100), ..Terms::PLAIN }, Err(EncodeError::Terms)),
            (TimeInForce::Day, Terms { stop: ten, ..Terms::PLAIN }, Err(EncodeError::Stop(ten))),
        ];
        for (life, terms, expected) in rows {
            let found = encoder.enter(&order(ten, life, terms), 12).map(|bytes| {
                let messages = sent(bytes);
                let [Message::EnterOrder(m)] = messages[..] else { panic!("{messages:?}") };
                assert_eq!((m.order_token(), m.buy_sell_indicator()), (b"H12           ", b'S'));
                assert_eq!((m.stock(), m.shares(), m.price()), (b"KO      ", 300, 100_000));
                (m.time_in_force(), m.display(), m.cross_type(), m.minimum_quantity())
            });
            assert_eq!(found, expected, "{life:?} {terms:?}");
        }
    }

    #[test]
    fn a_market_order_is_for_a_cross() {
        let mut encoder = Ouch42::new(["KO"].into_iter(), "");
        let market = |life| order(Price::UNDEFINED, life, Terms::PLAIN);
        let error = encoder.enter(&market(TimeInForce::Ioc), 1).expect_err("not in a cross");
        assert!(error.to_string().contains("in a cross only"), "{error}");
        let messages = sent(encoder.enter(&market(TimeInForce::Close), 1).expect("in a cross"));
        assert!(matches!(messages[..], [Message::EnterOrder(m)] if m.price() == MARKET_PRICE));
    }

    #[test]
    fn a_replace_and_its_cancels_name_both_tokens() {
        let mut encoder = Ouch42::new(["KO"].into_iter(), "AB");
        let (ten, all) = (Price::whole(10), Quantity::whole(500));
        let messages = sent(encoder.replace(OrderId(7), [1, 4_294_967_295], all, ten, &Terms::PLAIN).expect("sound"));
        let [Message::ReplaceOrder(m)] = messages[..] else { panic!("{messages:?}") };
        assert_eq!((m.existing_order_token(), m.replacement_order_token()), (b"AB1           ", b"AB4294967295  "));
        assert_eq!((m.shares(), m.price()), (500, 100_000));
        let messages = sent(encoder.cancel(&[1, 4_294_967_295]));
        let tokens: Vec<_> = messages
            .iter()
            .map(|m| match m {
                Message::CancelOrder(m) => (*m.order_token(), m.shares()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(tokens, [(*b"AB1           ", 0), (*b"AB4294967295  ", 0)]);
    }

    #[test]
    fn a_token_is_read_back_and_anothers_is_not() {
        let encoder = Ouch42::new(["KO"].into_iter(), "AB");
        for reference in [1, 20, u32::MAX] {
            assert_eq!(encoder.reference(&encoder.token(reference)), Some(reference));
        }
        for other in [
            b"AC1           ",
            b"AB            ",
            b"ABx           ",
            b"AB1 2         ",
            b"AB01          ",
            b"AB4294967296  ",
        ] {
            assert_eq!(encoder.reference(other), None, "{}", other.escape_ascii());
        }
    }
}
