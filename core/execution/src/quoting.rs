//! Quotes: a strategy says at what price it wants to stand on a side, and one working order follows it.
//!
//! A quote is one post-only day order for each strategy, instrument and side. A new wish moves it by a replace; the same
//! price and quantity leave it where it is, in its place in the queue. While an answer is on its way the newest wish
//! waits for it. An order that has ended (filled, refused, expired) comes back with the next wish, not by itself.
//! Prices are rounded to the tick away from the market; the quantity is cut so that the position stays within `limit`.
//! Absent: netting with targets (a quote is the strategy's own order), several levels a side.

use helios_risk::{Risk, Wish};
use helios_types::{
    Digest, Hasher, InstrumentId, Intent, IntentKind, Nanos, OrderId, OrderState, Output, Price, Quantity, Side,
    StrategyId, Terms, TimeInForce, round_down_to_tick, round_up_to_tick,
};

use crate::orders::{CALLER_IDS, Orders, down_to_lot};

/// What a strategy wants to show on one side of one instrument, and the order that shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    pub(crate) strategy: StrategyId,
    pub(crate) account: u32,
    pub(crate) side: Side,
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
    pub(crate) limit: Quantity,
    pub(crate) order: Option<OrderId>,
    /// A newer wish waits for the venue's answer about the order.
    pub(crate) waits: bool,
}

impl Orders {
    /// A new wish for a quote. No price or no quantity takes the quote away.
    pub(crate) fn quote(&mut self, now: Nanos, intent: &Intent, account: u32, risk: &mut Risk, out: &mut Vec<Output>) {
        let Intent { strategy, instrument, kind } = *intent;
        let IntentKind::Quote { side, price, quantity, limit } = kind else {
            unreachable!("only quotes are passed on")
        };
        let quotes = &mut self.quotes[instrument.index()];
        let known = quotes.iter().position(|quote| (quote.strategy, quote.side) == (strategy, side));
        let at = known.unwrap_or_else(|| {
            let (order, waits) = (None, false);
            quotes.push(Quote { strategy, account, side, price, quantity, limit, order, waits });
            quotes.len() - 1
        });
        let quote = &mut quotes[at];
        (quote.price, quote.quantity, quote.limit) = (price, quantity, limit);
        self.follow(now, instrument, at, risk, out);
    }

    /// Brings an order to where its quote is.
    fn follow(&mut self, now: Nanos, instrument: InstrumentId, at: usize, risk: &mut Risk, out: &mut Vec<Output>) {
        let quote = self.quotes[instrument.index()][at];
        let Quote { strategy, account, side, order, .. } = quote;
        let (price, wanted) = self.wanted(instrument, &quote, risk);
        let quantity = if self.flat { Quantity::ZERO } else { wanted };
        // Nothing new goes out while the session is not settled, the book not whole, or positions are closed: the wish waits.
        let open = self.links.is_open(instrument) && !self.flat && !self.blind.contains(&instrument);
        let Some((id, working)) = order.and_then(|id| Some((id, self.working.get_mut(id)?))) else {
            self.quotes[instrument.index()][at].waits = !open;
            if quantity.0 > 0 && open {
                let (time_in_force, terms) = (TimeInForce::Day, Terms { post_only: true, ..Terms::PLAIN });
                let wish = Wish { strategy, instrument, side, quantity, price, time_in_force, terms };
                let (id, account) = (OrderId(self.next_id), Some(account).filter(|_| self.next_id < CALLER_IDS));
                if self.send(now, wish, id, account, false, risk, out) {
                    self.next_id += 1;
                    self.quotes[instrument.index()][at].order = Some(id);
                }
            }
            return;
        };
        let settled = matches!(working.state, OrderState::Accepted | OrderState::PartlyFilled)
            && !self.links.cancels.contains(&id);
        self.quotes[instrument.index()][at].waits = !settled || !open;
        if quantity.0 <= 0 && (settled || working.state == OrderState::Unknown) {
            return self.links.ask_cancel(now, working, out);
        }
        if !settled || !open || (working.order.price, working.left()) == (price, quantity) {
            return;
        }
        let total = Quantity(working.filled.0.saturating_add(quantity.0));
        let kind = IntentKind::Replace { order: id, quantity: total, price };
        self.replace(now, &Intent { strategy, instrument, kind }, id, total, price, risk, out);
    }

    /// Price on a tick, away from the market, and what the position leaves room for.
    fn wanted(&self, instrument: InstrumentId, quote: &Quote, risk: &Risk) -> (Price, Quantity) {
        let tick = self.desks[instrument.index()].tick;
        if !quote.price.is_defined() || quote.price.0 <= 0 {
            return (Price::UNDEFINED, Quantity::ZERO);
        }
        let price = match quote.side {
            Side::Buy => round_down_to_tick(quote.price, tick),
            Side::Sell => round_up_to_tick(quote.price, tick),
        };
        let held = risk.accounts()[quote.account as usize].position.quantity.0;
        let room = i128::from(quote.limit.0) - i128::from(quote.side.sign()) * i128::from(held);
        let most = i128::from(quote.quantity.0).min(room).max(0).unsigned_abs();
        if price.0 <= 0 { (price, Quantity::ZERO) } else { (price, down_to_lot(most, risk.lot_of(instrument))) }
    }

    /// Messages of the instrument are missing: what is quoted stays, and nothing new is.
    pub fn blind(&mut self, instrument: InstrumentId) {
        self.blind.insert(instrument);
    }

    /// They have come: quotes that waited are looked at again.
    pub fn sighted(&mut self, now: Nanos, instrument: InstrumentId, risk: &mut Risk, out: &mut Vec<Output>) {
        self.blind.remove(&instrument);
        self.requote(now, instrument, risk, out);
    }

    /// An answer came: quotes whose newest wish waited for it move on.
    #[inline]
    pub(crate) fn requote(&mut self, now: Nanos, instrument: InstrumentId, risk: &mut Risk, out: &mut Vec<Output>) {
        let Some(quotes) = self.quotes.get(instrument.index()) else { return };
        for at in 0..quotes.len() {
            if self.quotes[instrument.index()][at].waits {
                self.follow(now, instrument, at, risk, out);
            }
        }
    }
}

impl Digest for Quote {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(u64::from(self.strategy.0));
        hasher.u64(self.side as u64 * 2 + u64::from(self.waits));
        for x in [self.price.0, self.quantity.0, self.limit.0] {
            hasher.i64(x);
        }
        hasher.u64(self.order.map_or(0, |order| order.0));
    }
}
