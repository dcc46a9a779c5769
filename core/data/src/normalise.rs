//! Venue messages -> normalised events.
//!
//! A message whose letters or numbers mean nothing (a side that is neither `B` nor `S`, more shares than fit) becomes an
//! event with quantity zero, which [`crate::Markets`] refuses and counts: it is never guessed at and never lost.
//! Absent on purpose: administration. An operational halt (`h`) stops one market center and not the instrument.

use std::collections::{BTreeMap, BTreeSet};

use helios_types::{InstrumentId, Market, Nanos, Price, Quantity, Side, TradeKind, TradingStatus, Update};
use helios_wire::itch::Message;

/// 200,000.0000 and above stand for "market" or a placeholder: the order rests, but without a price.
const PLACEHOLDER_PRICE4: u32 = 2_000_000_000;
/// ITCH prices have four decimals, ours nine.
const PRICE4: i64 = 100_000;

/// In the table of locates: a stock that the run did not ask for.
const OTHER: u32 = u32::MAX - 1;
/// In the table of locates: nobody has said yet which stock that is.
const UNKNOWN: u32 = u32::MAX;

/// What a locate number means today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// An instrument of the run.
    Ours(InstrumentId),
    /// A stock that the run did not ask for.
    Other,
    /// Nobody has said yet.
    Unknown,
}

/// NASDAQ TotalView-ITCH 5.0 -> events of the instruments that a run asked for.
///
/// The directory (`R`) tells which stock a locate number means today; messages about other stocks give no event.
pub struct ItchNormaliser {
    midnight: Nanos,
    wanted: BTreeMap<[u8; 8], InstrumentId>,
    by_locate: Vec<u32>,
}

impl ItchNormaliser {
    /// `midnight` is the start of the trading day in New York, as UTC; `symbols[i]` becomes instrument `i`.
    pub fn new(midnight: Nanos, symbols: &[String]) -> Self {
        Self::of(midnight, (0..).map(InstrumentId).zip(symbols.iter().map(String::as_str)))
    }

    /// The same for instruments with these numbers.
    pub fn of<'a>(midnight: Nanos, instruments: impl IntoIterator<Item = (InstrumentId, &'a str)>) -> Self {
        let wanted = instruments.into_iter().filter_map(|(id, symbol)| Some((padded(symbol)?, id))).collect();
        Self { midnight, wanted, by_locate: vec![UNKNOWN; 1 << 16] }
    }

    /// The event that a message is, if it is about an instrument of the run and means something to a book or trade.
    #[inline]
    pub fn normalise(&mut self, message: &Message<'_>) -> Option<Market> {
        if let Message::StockDirectory(m) = message {
            self.learn(m.stock_locate(), m.stock());
            return None;
        }
        let instrument = self.by_locate[usize::from(message.stock_locate())];
        if instrument >= OTHER {
            return None;
        }
        self.event(InstrumentId(instrument), message)
    }

    /// The event that a message is which is known to be about this instrument.
    #[inline]
    pub fn event(&self, instrument: InstrumentId, message: &Message<'_>) -> Option<Market> {
        let update = update(message)?;
        Some(Market { instrument, ts_event: self.midnight.plus(message.timestamp()), update })
    }

    /// What a locate number means.
    #[inline]
    pub fn stock(&self, locate: u16) -> Stock {
        match self.by_locate[usize::from(locate)] {
            UNKNOWN => Stock::Unknown,
            OTHER => Stock::Other,
            instrument => Stock::Ours(InstrumentId(instrument)),
        }
    }

    /// This locate number means this stock.
    pub fn learn(&mut self, locate: u16, stock: &[u8; 8]) {
        self.by_locate[usize::from(locate)] = self.wanted.get(stock).map_or(OTHER, |instrument| instrument.0);
    }

    /// The symbols of the run that no locate number stands for yet.
    pub fn unlisted(&self) -> impl Iterator<Item = &str> + '_ {
        let listed: BTreeSet<u32> = self.by_locate.iter().copied().filter(|id| *id < OTHER).collect();
        let unlisted = self.wanted.iter().filter(move |(_, id)| !listed.contains(&id.0));
        unlisted.filter_map(|(symbol, _)| std::str::from_utf8(symbol).ok()).map(str::trim_end)
    }

    /// The start of the day that stamps count from.
    pub fn midnight(&self) -> Nanos {
        self.midnight
    }

    /// Another day: locate numbers mean nothing any more.
    pub fn new_day(&mut self, midnight: Nanos) {
        self.midnight = midnight;
        self.by_locate.fill(UNKNOWN);
    }
}

fn padded(symbol: &str) -> Option<[u8; 8]> {
    let mut stock = [b' '; 8];
    stock.get_mut(..symbol.len())?.copy_from_slice(symbol.as_bytes());
    Some(stock)
}

/// A displayed price.
#[inline]
pub fn price4(raw: u32) -> Price {
    if raw >= PLACEHOLDER_PRICE4 { Price::UNDEFINED } else { Price(i64::from(raw) * PRICE4) }
}

fn shares(raw: u32) -> Quantity {
    Quantity::whole(i64::from(raw))
}

/// Side and quantity of a new order; zero shares for a letter that is no side.
#[inline]
fn sized(indicator: u8, raw: u32) -> (Side, Quantity) {
    match indicator {
        b'B' => (Side::Buy, shares(raw)),
        b'S' => (Side::Sell, shares(raw)),
        _ => (Side::Sell, Quantity::ZERO),
    }
}

fn add(order: u64, (side, quantity): (Side, Quantity), raw_price: u32) -> Update {
    Update::Add { order, side, price: price4(raw_price), quantity }
}

/// The shares of a cross; zero when they do not fit.
fn cross_shares(raw: u64) -> Quantity {
    let units = i64::try_from(raw).ok().and_then(|raw| raw.checked_mul(helios_types::QUANTITY_SCALE));
    Quantity(units.unwrap_or(0))
}

/// What a message does to a book or says of a trade; `None` for administration.
#[inline]
pub fn update(message: &Message<'_>) -> Option<Update> {
    Some(match message {
        Message::AddOrder(m) => add(m.order_reference_number(), sized(m.buy_sell_indicator(), m.shares()), m.price()),
        Message::AddOrderMpid(m) => {
            add(m.order_reference_number(), sized(m.buy_sell_indicator(), m.shares()), m.price())
        }
        Message::OrderExecuted(m) => Update::Execute {
            order: m.order_reference_number(),
            quantity: shares(m.executed_shares()),
            trade: m.match_number(),
        },
        Message::OrderExecutedWithPrice(m) => Update::ExecuteAt {
            order: m.order_reference_number(),
            quantity: shares(m.executed_shares()),
            price: price4(m.execution_price()),
            printable: m.printable() == b'Y',
            trade: m.match_number(),
        },
        Message::OrderCancel(m) => {
            Update::Reduce { order: m.order_reference_number(), quantity: shares(m.canceled_shares()) }
        }
        Message::OrderDelete(m) => Update::Delete { order: m.order_reference_number() },
        Message::OrderReplace(m) => Update::Replace {
            order: m.original_order_reference_number(),
            new_order: m.new_order_reference_number(),
            price: price4(m.price()),
            quantity: shares(m.shares()),
        },
        Message::TradeNonCross(m) => Update::Trade {
            price: price4(m.price()),
            quantity: shares(m.shares()),
            aggressor: None,
            kind: TradeKind::Hidden,
            trade: m.match_number(),
        },
        // A cross without shares is an announcement, not a trade.
        Message::CrossTrade(m) if m.cross_shares() > 0 => Update::Trade {
            price: price4(m.cross_price()),
            quantity: cross_shares(m.cross_shares()),
            aggressor: None,
            kind: TradeKind::Cross,
            trade: m.match_number(),
        },
        Message::BrokenTrade(m) => Update::TradeBreak { trade: m.match_number() },
        Message::StockTradingAction(m) => Update::Status(match m.trading_state() {
            b'T' => TradingStatus::Trading,
            b'Q' => TradingStatus::QuoteOnly,
            b'P' => TradingStatus::Paused,
            _ => TradingStatus::Halted,
        }),
        _ => return None,
    })
}
