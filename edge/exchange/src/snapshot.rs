//! The state of a venue's books as ITCH messages, for clients that come late or have lost too much.
//!
//! A snapshot session is a SoupBinTCP session of its own, with the name of the feed's session. After a login come, as
//! sequenced messages from 1 on: a system event (`S`, the last one of the feed), then for each stock its directory entry
//! (`R`) and trading action (`H`), then every displayed order as an add (`A`) in the order of time, without attribution.
//! The last message is `G` and twenty ASCII digits, right justified: the number of the message of the live feed with which
//! to go on. Books made of it and of the feed from that number on are those of the whole feed.
//! The stamps are the time of the snapshot.

use helios_types::{InstrumentId, QUANTITY_SCALE, Side};
use helios_wire::soupbintcp::{Justify, MemoryStore, Store, StoreFull, number};
use helios_wire::{itch, to_price4};

use crate::venue::Venue;

/// Most bytes of a snapshot: some twenty million orders.
const MAX_BYTES: usize = 1 << 30;

/// The last message.
pub(crate) fn end(next: u64) -> [u8; 21] {
    let mut message = [b'G'; 21];
    message[1..].copy_from_slice(&number::<20>(next, Justify::Right));
    message
}

/// The venue's state now, which is that of its feed up to the last message written.
pub(crate) fn take(venue: &Venue) -> Result<MemoryStore, StoreFull> {
    let mut store = MemoryStore::new(venue.tape.session(), MAX_BYTES);
    let (timestamp, tracking_number) = (venue.stamp(), 0);
    let event_code = if venue.is_ended() { b'C' } else { b'Q' };
    store.push(&itch::SystemEvent { stock_locate: 0, tracking_number, timestamp, event_code }.encode())?;
    for message in venue.directory() {
        store.push(&message)?;
    }
    let books = venue.shown();
    let mut orders = Vec::with_capacity(books.len());
    for at in 0..venue.floor.stocks().len() {
        let instrument = InstrumentId(at as u32);
        for side in [Side::Buy, Side::Sell] {
            for level in books.depth(instrument, side) {
                orders.extend(books.queue(instrument, side, level.price));
            }
        }
    }
    // Numbers grow with time once the marks of clients' orders are off. Those of a record need not: its queues have the order.
    if venue.replay.is_none() {
        orders.sort_unstable_by_key(|order| order.order & (u64::MAX >> 2));
    }
    for order in orders {
        let at = order.instrument.index();
        let message = itch::AddOrder {
            stock_locate: venue.locate(order.instrument),
            tracking_number,
            timestamp,
            order_reference_number: order.order,
            buy_sell_indicator: if order.side == Side::Buy { b'B' } else { b'S' },
            shares: (order.quantity.0 / QUANTITY_SCALE) as u32,
            stock: venue.floor.stocks()[at],
            price: to_price4(order.price).and_then(|price| u32::try_from(price).ok()).unwrap_or(0),
        };
        store.push(&message.encode())?;
    }
    store.push(&end(venue.tape.next()))?;
    Ok(store)
}
