//! A recorded day as a venue's market: its messages go out as they were, and clients trade against it as in a backtest.
//!
//! Clients' orders are unseen by the others and stand in the queues of the record (`core/venue`, `docs/models`): they fill
//! when the record trades through or against them, and what they take is gone for them, not for the feed. All clients are
//! one owner there: their orders never trade with each other. Stamps are the time at which a message goes out.
//! Assumes TotalView-ITCH 5.0 with the directory before everything else; only the venue's symbols are told. What lies before
//! the moment that is asked for goes out at once, and the rest in its own time.
//! Absent: halts on demand, hidden prints against clients beyond what the record shows.

use std::collections::BTreeMap;

use helios_book::{Books, Capacity};
use helios_data::normalise::{ItchNormaliser, Stock};
use helios_types::{
    BookRef, Instrument, InstrumentId, Nanos, Order, OrderId, Output, PRICE_SCALE, Price, Quantity, Report, StrategyId,
};
use helios_venue::matching::NewOrder;
use helios_venue::{Config, Venue};
use helios_wire::frame;
use helios_wire::itch;

/// Marks of clients' orders in their numbers.
const NUMBER: BookRef = u64::MAX >> 2;

/// Messages of a day, one after another.
pub trait Messages {
    /// Puts the next message, without a length, in place of what is in `message`; false at the end.
    fn next(&mut self, message: &mut Vec<u8>) -> Result<bool, String>;
}

pub(crate) struct Replay {
    messages: Box<dyn Messages + Send>,
    /// The message that is next; empty at the end.
    pending: Vec<u8>,
    normaliser: ItchNormaliser,
    venue: Venue,
    /// What the feed shows.
    shown: Books,
    /// Directory entry and trading action by instrument, as the feed had them last; and the instrument's locate.
    directory: Vec<[Vec<u8>; 2]>,
    locates: Vec<u16>,
    numbers: BTreeMap<OrderId, BookRef>,
    reports: Vec<(Nanos, Report)>,
    at: Nanos,
    failed: Option<String>,
}

impl Replay {
    pub(crate) fn new(symbols: &[String], messages: Box<dyn Messages + Send>) -> Self {
        let (tick, lot) = (Price(PRICE_SCALE / 100), Quantity::whole(1));
        let instruments: Vec<Instrument> =
            symbols.iter().map(|symbol| Instrument { symbol: symbol.clone(), tick, lot }).collect();
        let mut replay = Self {
            messages,
            pending: Vec::new(),
            normaliser: ItchNormaliser::new(Nanos(0), symbols),
            venue: Venue::new(&instruments, Config::default()),
            shown: Books::new(symbols.len(), Capacity::default()),
            directory: vec![Default::default(); symbols.len()],
            locates: vec![0; symbols.len()],
            numbers: BTreeMap::new(),
            reports: Vec::new(),
            at: Nanos(0),
            failed: None,
        };
        replay.load();
        replay
    }

    /// Why the record ended before its end, once.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failed.take()
    }

    /// The next message about the venue's symbols, or about no symbol.
    fn load(&mut self) {
        loop {
            match self.messages.next(&mut self.pending) {
                Ok(true) => {}
                Ok(false) => return self.pending.clear(),
                Err(error) => {
                    self.failed = Some(error);
                    return self.pending.clear();
                }
            }
            let Ok(message) = itch::decode(&self.pending) else { continue };
            if let itch::Message::StockDirectory(_) = message {
                let _ = self.normaliser.normalise(&message);
            }
            let locate = message.stock_locate();
            if locate == 0 || matches!(self.normaliser.stock(locate), Stock::Ours(_)) {
                return;
            }
        }
    }

    /// When the next message was recorded, nanoseconds since midnight.
    pub(crate) fn next_at(&self) -> Option<u64> {
        itch::decode(&self.pending).ok().map(|message| message.timestamp())
    }

    /// The next message goes out with a stamp.
    pub(crate) fn step(&mut self, stamp: u64, out: &mut Vec<u8>) {
        let Ok(message) = itch::decode(&self.pending) else { return };
        if let Stock::Ours(instrument) = self.normaliser.stock(message.stock_locate()) {
            self.at = self.at.max(Nanos(message.timestamp()));
            let kind = match message {
                itch::Message::StockDirectory(_) => Some(0),
                itch::Message::StockTradingAction(_) => Some(1),
                _ => None,
            };
            self.locates[instrument.index()] = message.stock_locate();
            if let Some(kind) = kind {
                self.directory[instrument.index()][kind] = self.pending.clone();
            }
            if let Some(market) = self.normaliser.event(instrument, &message) {
                let _ = self.shown.apply(instrument, &market.update);
                self.venue.market(&market);
                self.venue.advance(self.at, &mut self.reports);
            }
        }
        stamped(&mut self.pending, stamp);
        frame::append(&self.pending, out);
        self.load();
    }

    pub(crate) fn submit(&mut self, new: &NewOrder) {
        let id = OrderId(new.order & NUMBER);
        self.numbers.insert(id, new.order);
        let NewOrder { instrument, side, quantity, price, time_in_force, terms, .. } = *new;
        let strategy = StrategyId::default();
        self.tell(&Output::Submit(Order { id, strategy, instrument, side, quantity, price, time_in_force, terms }));
    }

    pub(crate) fn cancel(&mut self, instrument: InstrumentId, order: BookRef) {
        self.tell(&Output::Cancel { order: OrderId(order & NUMBER), instrument });
    }

    /// `total` is what the order shall have in all, with what it has traded.
    pub(crate) fn reduce(&mut self, instrument: InstrumentId, order: BookRef, total: Quantity, price: Price) {
        self.tell(&Output::Replace { order: OrderId(order & NUMBER), instrument, quantity: total, price });
    }

    fn tell(&mut self, output: &Output) {
        self.venue.submit(self.at, output);
        self.venue.advance(self.at, &mut self.reports);
    }

    /// What the venue reported, by the numbers of the orders.
    pub(crate) fn take_reports(&mut self) -> Vec<(BookRef, Report)> {
        let reports = self.reports.drain(..);
        reports.filter_map(|(_, report)| Some((*self.numbers.get(&report.order)?, report))).collect()
    }

    pub(crate) fn forget(&mut self, order: BookRef) {
        self.numbers.remove(&OrderId(order & NUMBER));
    }

    pub(crate) fn shown(&self) -> &Books {
        &self.shown
    }

    pub(crate) fn locate(&self, instrument: InstrumentId) -> u16 {
        self.locates[instrument.index()]
    }

    /// Directory entries and trading actions as they are, with this stamp.
    pub(crate) fn directory(&self, stamp: u64) -> Vec<Vec<u8>> {
        let messages = self.directory.iter().flatten().filter(|message| !message.is_empty());
        let stamped = messages.map(|message| {
            let mut message = message.clone();
            stamped(&mut message, stamp);
            message
        });
        stamped.collect()
    }
}

/// Every ITCH message has its time in the same place.
fn stamped(message: &mut [u8], stamp: u64) {
    if let Some(time) = message.get_mut(5..11) {
        time.copy_from_slice(&stamp.to_be_bytes()[2..]);
    }
}
