//! Orders of guests: somebody who is no agent trades on the agents' exchange.
//!
//! A guest's order goes into the same engine and the same feed, under a number for which [`is_ours`](crate::is_ours) holds. What it takes, its
//! owners know, and one maker looks at once, as after any taker; what rests is one more order in the book for everybody.
//! What agents take from a guest waits in [`Simulation::take_guest_fills`]. Without guests nothing here runs.
//! Absent: icebergs, pegs, stops and auction orders of guests; hidden ones where the guest is a [`crate::Venue`].

use helios_types::{BookRef, PRICE_SCALE, Price, Quantity};

use super::config::MAX_SYMBOLS;
use super::exchange::{Exchange, PRICE_PER_CENT, locate, shares_of};
use super::market::Simulation;
use crate::matching::NewOrder;

/// Largest limit price of a guest: prices around it still fit the feed.
pub(crate) const MAX_GUEST_PRICE: Price = Price(150_000 * PRICE_SCALE);
/// Most shares of one order, as at NASDAQ.
pub(crate) const MAX_GUEST_SHARES: i64 = 999_999;
/// Most open orders of guests: with those of the agents they fit the books.
pub(crate) const MAX_GUEST_ORDERS: usize = 1 << 16;

const _: () = assert!(MAX_SYMBOLS as usize * 88 + MAX_GUEST_ORDERS < super::exchange::CAPACITY.orders as usize);

/// Set in the number of a guest's hidden order, beside the mark of all guests.
pub(crate) const HIDDEN: BookRef = 1 << 62;

/// True for the number of a guest's hidden order, which the feed never shows.
pub(crate) const fn is_hidden(order: BookRef) -> bool {
    order & HIDDEN != 0
}

/// An agent took from a guest's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestFill {
    pub(crate) order: BookRef,
    /// Nanoseconds since midnight.
    pub(crate) at: u64,
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
    pub(crate) match_number: u64,
}

/// True for a price in whole cents, which is all that agents understand.
pub(crate) fn is_in_cents(price: Price) -> bool {
    price.0 % PRICE_PER_CENT == 0
}

impl Simulation {
    /// The exchange turns to a guest's request; its messages carry this stamp. Nanoseconds since midnight.
    pub(crate) fn guest_comes(&mut self, at: u64) {
        self.exchange.feed.at(at);
    }

    /// Matches a guest's order, which is valid; true when it rests. `met` gets the prices and quantities that it traded.
    pub(crate) fn guest_submits(
        &mut self,
        symbol: usize,
        new: &NewOrder,
        met: &mut Vec<(Price, Quantity)>,
        out: &mut Vec<u8>,
    ) -> bool {
        let rests = self.exchange.submit_guest(symbol, new, out);
        met.extend(self.exchange.prices());
        rests
    }

    /// What agents do because of the order submitted last.
    pub(crate) fn agents_answer(&mut self, symbol: usize, new: &NewOrder, out: &mut Vec<u8>) {
        self.answer(symbol, out, |pit, m| pit.answer_guest(new.side, m));
    }

    /// Takes a guest's order, which rests, off the book.
    pub(crate) fn guest_leaves(&mut self, symbol: usize, order: BookRef, out: &mut Vec<u8>) {
        self.exchange.withdraw_guest(symbol, order, out);
    }

    /// Makes a guest's order smaller by `by`, less than what it has; it keeps its place.
    pub(crate) fn guest_shrinks(&mut self, symbol: usize, order: BookRef, by: Quantity, out: &mut Vec<u8>) {
        self.exchange.shrink_guest(symbol, order, by, out);
    }

    /// What agents took from guests since the last call, in order.
    pub(crate) fn take_guest_fills(&mut self) -> impl Iterator<Item = GuestFill> + '_ {
        self.exchange.guest_fills.drain(..)
    }
}

impl Exchange {
    fn withdraw_guest(&mut self, symbol: usize, order: BookRef, out: &mut Vec<u8>) {
        self.remove(symbol, order);
        self.feed.deleted(locate(symbol), order, out);
    }

    fn shrink_guest(&mut self, symbol: usize, order: BookRef, by: Quantity, out: &mut Vec<u8>) {
        let resting = self.books().order(order).expect("an open order rests in the book");
        let left = Quantity(resting.quantity.0 - by.0);
        self.amend(symbol, order, order, resting.price, left);
        self.feed.reduced(locate(symbol), order, shares_of(by), out);
    }
}
