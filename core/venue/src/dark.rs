//! Orders of ours that nobody sees: hidden at a limit, or pegged to the midpoint of the best displayed bid and ask.
//!
//! They stand beside the book: at one price everything displayed comes first, then these by time. A pegged order
//! stands only while there is a midpoint and that is within its limit. Assumes few of them: they are looked through.

use crate::desk::within;
use helios_types::{BookRef, Price, Side};

/// True when an order of `side` at this price comes before one at the other; one without a price comes last.
pub(crate) fn better(side: Side, price: Price, other: Price) -> bool {
    match side {
        Side::Buy => price > other || !other.is_defined(),
        Side::Sell => price < other,
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unseen {
    pub(crate) number: BookRef,
    pub(crate) side: Side,
    /// Where it stands; of a pegged one, the worst price.
    pub(crate) limit: Price,
    pub(crate) pegged: bool,
}

impl Unseen {
    /// Where it stands now.
    fn price(&self, midpoint: Price) -> Option<Price> {
        match self.pegged {
            false => Some(self.limit),
            true => Some(midpoint).filter(|midpoint| within(self.side, self.limit, *midpoint)),
        }
    }
}

/// Those of one instrument, by time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dark(Vec<Unseen>);

impl Dark {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn join(&mut self, order: Unseen) {
        self.0.push(order);
    }

    /// True when it was here.
    pub(crate) fn leave(&mut self, number: BookRef) -> bool {
        let before = self.0.len();
        self.0.retain(|order| order.number != number);
        self.0.len() < before
    }

    /// The first of a side, and where it stands; without a midpoint ([`Price::UNDEFINED`]) pegged orders do not count.
    #[inline]
    pub(crate) fn first(&self, side: Side, midpoint: Price) -> Option<(Price, BookRef)> {
        if self.0.is_empty() { None } else { self.first_where(side, midpoint, |_, _| true) }
    }

    /// The first of those that pass, by price and whether they are pegged.
    pub(crate) fn first_where(
        &self,
        side: Side,
        midpoint: Price,
        passes: impl Fn(Price, bool) -> bool,
    ) -> Option<(Price, BookRef)> {
        let mut first: Option<(Price, BookRef)> = None;
        for order in self.0.iter().filter(|order| order.side == side) {
            if let Some(price) = order.price(midpoint)
                && passes(price, order.pegged)
                && first.is_none_or(|(best, _)| better(side, price, best))
            {
                first = Some((price, order.number));
            }
        }
        first
    }

    /// Those of a side, and where they stand now.
    pub(crate) fn orders(&self, side: Side, midpoint: Price) -> impl Iterator<Item = (Price, BookRef)> + '_ {
        let of_side = self.0.iter().filter(move |order| order.side == side);
        of_side.filter_map(move |order| Some((order.price(midpoint)?, order.number)))
    }

    /// Where an order stands now, and who stands before it at its price.
    pub(crate) fn place(&self, number: BookRef, midpoint: Price) -> Option<(Side, Price, Vec<BookRef>)> {
        let at = self.0.iter().position(|order| order.number == number)?;
        let (side, price) = (self.0[at].side, self.0[at].price(midpoint)?);
        let before = self.0[..at].iter().filter(|order| order.side == side && order.price(midpoint) == Some(price));
        Some((side, price, before.map(|order| order.number).collect()))
    }

    /// Empties it, by time.
    pub(crate) fn take(&mut self) -> Vec<BookRef> {
        std::mem::take(&mut self.0).into_iter().map(|order| order.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_then_time_and_pegs_only_with_a_midpoint_within_their_limit() {
        let mut dark = Dark::default();
        let order = |number, limit, pegged| Unseen { number, side: Side::Buy, limit, pegged };
        dark.join(order(1, Price(10), false));
        dark.join(order(2, Price(12), true));
        dark.join(order(3, Price::UNDEFINED, true));
        dark.join(order(4, Price(11), false));
        let first = |midpoint| dark.first(Side::Buy, midpoint);
        assert_eq!(first(Price::UNDEFINED), Some((Price(11), 4)));
        assert_eq!(first(Price(12)), Some((Price(12), 2)));
        assert_eq!(first(Price(13)), Some((Price(13), 3)), "beyond its limit the first peg waits");
        assert_eq!(first(Price(9)), Some((Price(11), 4)));
        assert_eq!(dark.first(Side::Sell, Price(12)), None);
        assert_eq!(dark.place(3, Price(12)), Some((Side::Buy, Price(12), vec![2])));
        assert_eq!(dark.place(2, Price(13)), None);
    }

    #[test]
    fn what_has_no_price_comes_last() {
        assert!(better(Side::Buy, Price(1), Price::UNDEFINED) && better(Side::Sell, Price(1), Price::UNDEFINED));
        assert!(!better(Side::Buy, Price(1), Price(1)) && !better(Side::Sell, Price(1), Price(1)));
    }
}
