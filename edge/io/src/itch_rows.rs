//! Every order event of an ITCH file as columns: what a catalog imports.
//!
//! The file's own directory (`R`) names the stocks; each (locate, stock) that it lists gets the next instrument number. Rows
//! are in the order of the file, and that is the order of time: a stamp that goes back is a fault of the file. Kinds of
//! rows are those of [`crate::Schema::Orders`].
//!
//! Absent: broken trades (`B`), since a row of a trade does not carry its match number; they are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use helios_data::normalise::update;
use helios_types::{Price, Quantity, Side, TradeKind, TradingStatus, Update};
use helios_wire::itch::{self, Message, view::StockDirectory};

use crate::itch_file::ItchFile;
use crate::source::SourceError;
use crate::survey::{clock, text};

const NS_PER_DAY: u64 = 86_400_000_000_000;
const NOT_WANTED: u32 = u32::MAX;
const UNLISTED: u32 = u32::MAX - 1;

/// One stock as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The venue's number for the day.
    pub locate: u16,
    /// Without the padding.
    pub symbol: String,
    /// Name and letter of every one-letter field, as documented by the venue.
    pub letters: Vec<(&'static str, char)>,
    /// Round lot, in shares.
    pub round_lot: u32,
    /// Letters of the issue's sub-type.
    pub issue_sub_type: String,
    /// 0 where it does not apply.
    pub leverage: u32,
}

/// Rows, column by column. Numbers at our scales.
#[derive(Clone, Debug, Default)]
pub struct OrderRows {
    /// Nanoseconds since 1970 UTC.
    pub ts: Vec<i64>,
    /// Index of the listing.
    pub instrument: Vec<u32>,
    /// `kind order new_order side price size`
    pub values: [Vec<i64>; 6],
}

impl OrderRows {
    fn clear(&mut self) {
        self.ts.clear();
        self.instrument.clear();
        self.values.iter_mut().for_each(Vec::clear);
    }
}

/// What was left out for one reason: how often, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Messages.
    pub count: u64,
    /// The first of them, in words.
    pub first: String,
}

/// Reads the rows of a file from its beginning to its end.
pub struct ItchRows {
    source: String,
    file: ItchFile,
    midnight: i64,
    wanted: Option<BTreeSet<String>>,
    strict: bool,
    by_locate: Vec<u32>,
    listings: Vec<Listing>,
    latest: u64,
    messages: u64,
    left_out: BTreeMap<&'static str, LeftOut>,
    ended: bool,
}

/// A row's values: kind, order, new order, side, price, size.
type Row = [i64; 6];

impl ItchRows {
    /// `midnight` is the start of the file's day, UTC. Without `wanted` every stock. With `strict` the first thing that
    /// cannot be used is an error; without, it is counted and left out.
    pub fn open(path: &Path, midnight: i64, wanted: Option<Vec<String>>, strict: bool) -> Result<Self, SourceError> {
        Ok(Self {
            source: path.display().to_string(),
            file: ItchFile::open(path)?,
            midnight,
            wanted: wanted.map(|symbols| symbols.into_iter().collect()),
            strict,
            by_locate: vec![UNLISTED; 1 << 16],
            listings: Vec::new(),
            latest: 0,
            messages: 0,
            left_out: BTreeMap::new(),
            ended: false,
        })
    }

    /// Stocks listed so far, those that are not wanted left out.
    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &BTreeMap<&'static str, LeftOut> {
        &self.left_out
    }

    /// Good messages so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// 0 to 1.
    pub fn progress(&self) -> f64 {
        self.file.progress()
    }

    /// Writes the next rows over what is in `rows`, at least `least` of them unless the file ends; false when it is over.
    pub fn read(&mut self, rows: &mut OrderRows, least: usize) -> Result<bool, SourceError> {
        rows.clear();
        while !self.ended && rows.ts.len() < least {
            if !self.file.advance()? {
                self.end()?;
                break;
            }
            for at in 0..self.file.batch().len() {
                let message = match itch::decode(self.file.batch().message(at)) {
                    Ok(message) => message,
                    Err(error) => {
                        let text = error.to_string();
                        self.refuse("message is not as specified", at, &text)?;
                        continue;
                    }
                };
                self.messages += 1;
                // What the message says is copied out, so that the file may be asked for its offset.
                let taken = take(&message, &mut self.listings, &mut self.by_locate, self.wanted.as_ref());
                let (ts, locate) = (message.timestamp(), message.stock_locate());
                self.row(rows, at, taken, ts, locate)?;
            }
        }
        Ok(!rows.ts.is_empty())
    }

    fn row(&mut self, rows: &mut OrderRows, at: usize, taken: Taken, ts: u64, locate: u16) -> Result<(), SourceError> {
        if ts < self.latest || ts >= NS_PER_DAY {
            let why = if ts < self.latest { "time goes back" } else { "not a time of day" };
            return self.refuse(why, at, &format!("from {} to {}", clock(self.latest), clock(ts)));
        }
        self.latest = ts;
        let row = match taken {
            Taken::Nothing => return Ok(()),
            Taken::Unusable(why, what) => return self.refuse(why, at, &what),
            Taken::Row(row) => row,
        };
        match self.by_locate[usize::from(locate)] {
            NOT_WANTED => {}
            UNLISTED => self.refuse("stock is not in the directory", at, &format!("stock locate {locate}"))?,
            instrument => {
                rows.ts.push(self.midnight + ts as i64);
                rows.instrument.push(instrument);
                for (column, value) in rows.values.iter_mut().zip(row) {
                    column.push(value);
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, why: &'static str, at: usize, what: &str) -> Result<(), SourceError> {
        let offset = self.file.offset(at);
        self.count(why, format!("offset {offset}: {why}: {what}"))
    }

    fn count(&mut self, why: &'static str, first: String) -> Result<(), SourceError> {
        if self.strict {
            self.ended = true;
            return Err(SourceError { source: self.source.clone(), message: first });
        }
        let left_out = self.left_out.entry(why).or_insert_with(|| LeftOut { count: 0, first });
        left_out.count += 1;
        Ok(())
    }

    /// Tells what was wrong with the file as a whole.
    fn end(&mut self) -> Result<(), SourceError> {
        self.ended = true;
        if self.messages == 0 {
            return Err(self.file.not_itch());
        }
        for fault in self.file.faults().describe() {
            self.count("file is damaged", fault)?;
        }
        Ok(())
    }
}

/// What one message is to the reader.
enum Taken {
    Nothing,
    Row(Row),
    Unusable(&'static str, String),
}

fn take(
    message: &Message<'_>,
    listings: &mut Vec<Listing>,
    by_locate: &mut [u32],
    wanted: Option<&BTreeSet<String>>,
) -> Taken {
    if let Message::StockDirectory(m) = message {
        let listing = listing(m);
        let slot = &mut by_locate[usize::from(m.stock_locate())];
        if wanted.is_some_and(|wanted| !wanted.contains(&listing.symbol)) {
            *slot = NOT_WANTED;
        } else if let Some(known) = listings.get_mut(*slot as usize).filter(|known| known.symbol == listing.symbol) {
            *known = listing;
        } else {
            *slot = listings.len() as u32;
            listings.push(listing);
        }
        return Taken::Nothing;
    }
    if matches!(message, Message::BrokenTrade(_)) {
        return Taken::Nothing;
    }
    match update(message) {
        Some(update) => match row(&update) {
            Some(row) => Taken::Row(row),
            None => Taken::Unusable("no shares, or a letter that means nothing", format!("{update:?}")),
        },
        None => Taken::Nothing,
    }
}

/// The columns of an event; `None` where its quantity says that it means nothing.
fn row(update: &Update) -> Option<Row> {
    let side = |side: Side| i64::from(matches!(side, Side::Sell));
    let row = |kind: i64, order: u64, new: u64, side: i64, price: Price, quantity: Quantity| {
        (quantity.0 > 0).then_some([kind, order as i64, new as i64, side, price.0, quantity.0])
    };
    let bare = |kind: i64, order: u64| Some([kind, order as i64, 0, -1, Price::UNDEFINED.0, 0]);
    match *update {
        Update::Add { order, side: who, price, quantity } => row(0, order, 0, side(who), price, quantity),
        Update::Execute { order, quantity, .. } => row(1, order, 0, -1, Price::UNDEFINED, quantity),
        Update::ExecuteAt { order, quantity, price, printable, .. } => {
            row(if printable { 11 } else { 12 }, order, 0, -1, price, quantity)
        }
        Update::Reduce { order, quantity } => row(2, order, 0, -1, Price::UNDEFINED, quantity),
        Update::Delete { order } => bare(3, order),
        Update::Replace { order, new_order, price, quantity } => row(4, order, new_order, -1, price, quantity),
        Update::Trade { price, quantity, kind: TradeKind::Cross, .. } => row(6, 0, 0, -1, price, quantity),
        Update::Trade { price, quantity, aggressor, kind: TradeKind::Displayed, .. } => {
            row(10, 0, 0, aggressor.map_or(-1, side), price, quantity)
        }
        Update::Trade { price, quantity, aggressor, .. } => row(5, 0, 0, aggressor.map_or(-1, side), price, quantity),
        Update::Status(TradingStatus::Trading) => bare(8, 0),
        Update::Status(TradingStatus::Paused) => bare(13, 0),
        Update::Status(TradingStatus::QuoteOnly) => bare(14, 0),
        Update::Status(TradingStatus::Halted) => bare(7, 0),
        Update::Clear => bare(9, 0),
        Update::TradeBreak { .. }
        | Update::Quote { .. }
        | Update::Bar { .. }
        | Update::Depth { .. }
        | Update::Split { .. }
        | Update::Dividend { .. }
        | Update::Value(_) => None,
    }
}

fn listing(m: &StockDirectory<'_>) -> Listing {
    let letter = |byte: u8| byte as char;
    Listing {
        locate: m.stock_locate(),
        symbol: text(m.stock()),
        letters: vec![
            ("market_category", letter(m.market_category())),
            ("financial_status", letter(m.financial_status_indicator())),
            ("round_lots_only", letter(m.round_lots_only())),
            ("issue_classification", letter(m.issue_classification())),
            ("authenticity", letter(m.authenticity())),
            ("short_sale_threshold", letter(m.short_sale_threshold_indicator())),
            ("ipo", letter(m.ipo_flag())),
            ("luld_tier", letter(m.luld_reference_price_tier())),
            ("etp", letter(m.etp_flag())),
            ("inverse", letter(m.inverse_indicator())),
        ],
        round_lot: m.round_lot_size(),
        issue_sub_type: text(m.issue_sub_type()),
        leverage: m.etp_leverage_factor(),
    }
}
