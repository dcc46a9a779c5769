//! Questions about one ITCH file: what is in it, and what a book looked like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use helios_book::{BookError, Books, Capacity, Level};
use helios_data::normalise::update;
use helios_types::{Digest, Hasher, InstrumentId, Side, Update};
use helios_wire::itch::{self, Message};

use crate::itch_file::{Batch, ItchFile};
use crate::source::SourceError;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Good messages by type.
    pub counts: BTreeMap<char, u64>,
    /// Nanoseconds since midnight of the first and last good message.
    pub span: Option<(u64, u64)>,
    /// Messages stamped earlier than the one before.
    pub backwards: u64,
    /// Changes of orders that the file never added.
    pub unknown_orders: u64,
    /// Other changes that the books refused, among them those of orders that replaced an unknown one.
    pub refused: u64,
    /// The first refused change of each sort, in words.
    pub notes: Vec<String>,
    /// Faults of the file itself.
    pub faults: Vec<String>,
    /// Number of faults of the file itself.
    pub fault_count: u64,
    /// Orders resting at the end.
    pub resting: usize,
    /// Fingerprint of all books at the end.
    pub digest: u128,
}

/// A book at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookAt {
    /// Nanoseconds since midnight of the last message applied to this book, if any.
    pub ts: Option<u64>,
    /// Best first.
    pub bids: Vec<Level>,
    /// Best first.
    pub asks: Vec<Level>,
    /// Faults of the file itself.
    pub faults: Vec<String>,
}

/// A locate number is an instrument number here: the whole market at once.
fn whole_market() -> Books {
    Books::new(1 << 16, Capacity::default())
}

/// How many messages ahead the index and the ladders are looked at, an order's record, and its level.
pub(crate) const FAR: usize = 32;
pub(crate) const NEAR: usize = 16;
pub(crate) const CLOSE: usize = 8;

/// Loads what messages at these distances will need of the books; only speed depends on it.
#[inline(always)]
pub(crate) fn look_ahead(books: &Books, far: &[u8], near: &[u8], close: &[u8]) {
    let locate = far.get(1..3).map_or(0, |locate| u32::from(u16::from_be_bytes([locate[0], locate[1]])));
    books.look_far_ahead(InstrumentId(locate), itch::order_reference_ahead(far));
    books.look_ahead(itch::order_reference_ahead(near));
    books.look_close_ahead(itch::order_reference_ahead(close));
}

/// The messages behind the current one, as far as they were read.
struct Coming<'a> {
    batch: &'a Batch,
    at: usize,
}

impl Coming<'_> {
    fn load_for(&self, books: &Books) {
        let ahead = |distance| match self.at + distance {
            at if at < self.batch.len() => self.batch.message(at),
            _ => &[],
        };
        look_ahead(books, ahead(FAR), ahead(NEAR), ahead(CLOSE));
    }
}

/// Gives each good message and its offset to `take`, until it says false. A file without one is an error.
fn each(file: &mut ItchFile, mut take: impl FnMut(&Message<'_>, u64, Coming<'_>) -> bool) -> Result<(), SourceError> {
    let mut good = false;
    while file.advance()? {
        for at in 0..file.batch().len() {
            match itch::decode(file.batch().message(at)) {
                Ok(message) => {
                    good = true;
                    if !take(&message, file.offset(at), Coming { batch: file.batch(), at }) {
                        return Ok(());
                    }
                }
                Err(error) => file.note(at, error),
            }
        }
    }
    if good { Ok(()) } else { Err(file.not_itch()) }
}

/// Numbers of orders that replaced unknown ones. Beyond this many, their changes count as unknown too.
const MAX_ORPHANS: usize = 1 << 20;

/// Counts messages and builds every book.
pub fn stats(path: &Path) -> Result<Stats, SourceError> {
    let mut file = ItchFile::open(path)?;
    let mut books = whole_market();
    let mut stats = Stats::default();
    let mut counts = [0u64; 256];
    let (mut last, mut orphans) = (0, BTreeSet::new());
    each(&mut file, |message, offset, coming| {
        coming.load_for(&books);
        counts[usize::from(message.bytes()[0])] += 1;
        let ts = message.timestamp();
        if ts < last {
            stats.backwards += 1;
            note(&mut stats.notes, stats.backwards, || {
                format!("message at offset {offset}: time goes back from {} to {}; it was used", clock(last), clock(ts))
            });
        }
        last = last.max(ts);
        stats.span = Some((stats.span.map_or(ts, |(first, _)| first.min(ts)), last));
        let locate = InstrumentId(u32::from(message.stock_locate()));
        if let Some(change) = update(message)
            && let Err(error) = books.apply(locate, &change)
        {
            let order = change.order().unwrap_or(0);
            let (count, advice) = match error {
                BookError::UnknownOrder if !orphans.contains(&order) => (
                    &mut stats.unknown_orders,
                    "; it was passed over. A file that is cut from a day lacks the orders that were added before the cut",
                ),
                _ => (&mut stats.refused, "; it was passed over"),
            };
            *count += 1;
            note(&mut stats.notes, *count, || {
                let kind = message.bytes()[0] as char;
                format!("message at offset {offset}: type {kind} of order {order} at {}: {error}{advice}", clock(ts))
            });
            if let (Update::Replace { new_order, .. }, BookError::UnknownOrder) = (change, error)
                && orphans.len() < MAX_ORPHANS
            {
                orphans.insert(new_order);
            }
        }
        true
    })?;
    stats.counts = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| (kind as u8 as char, *count))
        .collect();
    stats.faults = file.faults().describe();
    stats.fault_count = file.faults().count();
    stats.resting = books.len();
    stats.digest = digest(&books);
    Ok(stats)
}

/// Keeps the words for the first of its sort only.
fn note(notes: &mut Vec<String>, count: u64, words: impl FnOnce() -> String) {
    if count == 1 {
        notes.push(words());
    }
}

fn digest(books: &Books) -> u128 {
    let mut hasher = Hasher::new();
    books.digest(&mut hasher);
    hasher.finish()
}

/// `HH:MM:SS.nnnnnnnnn`
pub(crate) fn clock(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    format!("{:02}:{:02}:{:02}.{:09}", seconds / 3600, seconds / 60 % 60, seconds % 60, ns % 1_000_000_000)
}

/// The stocks that a file lists before its first order, in order of appearance.
pub fn directory(path: &Path) -> Result<Vec<String>, SourceError> {
    let mut file = ItchFile::open(path)?;
    let mut symbols = Vec::new();
    each(&mut file, |message, _, _| {
        if let Message::StockDirectory(m) = message {
            symbols.push(text(m.stock()));
        }
        !matches!(message, Message::AddOrder(_) | Message::AddOrderMpid(_))
    })?;
    Ok(symbols)
}

pub(crate) fn text(stock: &[u8]) -> String {
    String::from_utf8_lossy(stock).trim_end_matches(' ').to_owned()
}

/// The book of a stock after every message stamped at or before `at` (end of file when `None`); the error names
/// near symbols when there is no such stock.
pub fn book_at(path: &Path, symbol: &str, at: Option<u64>, levels: usize) -> Result<BookAt, SourceError> {
    let mut file = ItchFile::open(path)?;
    let mut books = Books::new(1, Capacity::default());
    let (mut locate, mut ts, mut known) = (None, None, Vec::new());
    let id = InstrumentId(0);
    each(&mut file, |message, _, _| {
        if let Message::StockDirectory(m) = message {
            let stock = text(m.stock());
            if stock == symbol {
                locate = Some(m.stock_locate());
            } else {
                known.push(stock);
            }
        }
        // Stamps can go back in a damaged file, so every message is looked at.
        if at.is_some_and(|at| message.timestamp() > at) {
            return true;
        }
        if Some(message.stock_locate()) == locate
            && let Some(change) = update(message)
            && matches!(books.apply(id, &change), Ok(Some(_)))
        {
            ts = Some(message.timestamp());
        }
        true
    })?;
    if locate.is_none() {
        let near = nearest(symbol, &known);
        let hint = if near.is_empty() { String::new() } else { format!("; near ones: {}", near.join(", ")) };
        let message = format!("no stock {symbol:?} is listed in this file{hint}");
        return Err(SourceError { source: path.display().to_string(), message });
    }
    Ok(BookAt {
        ts,
        bids: books.depth(id, Side::Buy).take(levels).collect(),
        asks: books.depth(id, Side::Sell).take(levels).collect(),
        faults: file.faults().describe(),
    })
}

/// At most three stocks that differ from `symbol` by one or two letters, nearest first.
fn nearest<'a>(symbol: &str, known: &'a [String]) -> Vec<&'a str> {
    let upper = symbol.to_uppercase();
    let mut near: Vec<_> = known
        .iter()
        .map(|stock| (distance(&upper, stock), stock.as_str()))
        .filter(|(distance, stock)| *distance <= 2 && *distance < stock.len())
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, stock)| stock).collect()
}

/// Letters to insert, remove, change, or swap with their neighbour to get from one text to the other (Damerau 1964).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
