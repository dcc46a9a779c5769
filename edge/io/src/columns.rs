//! Market events from columns: bars, quotes, trades or order events, in batches.

use helios_types::{InstrumentId, Market, Nanos, Price, Quantity, Side, TradeKind, TradingStatus, Update};

use crate::source::{Source, SourceError};

/// What the six value columns of a batch mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// open high low close volume span
    Bars,
    /// bid ask bid_size ask_size
    Quotes,
    /// price size aggressor (0 unknown, 1 buy, 2 sell)
    Trades,
    /// kind order new_order side price size
    Orders,
    /// kind (0 level, 1 clear, 2 trade) side price size
    Depth,
    /// kind (0 split, 1 dividend) a (new shares; cash per share) b (for so many old ones; 0)
    Actions,
    /// value (the bits of a float); the number of the series stands in the column instrument
    Series,
}

impl Schema {
    /// Names of the value columns, in order.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Bars => &["open", "high", "low", "close", "volume", "span"],
            Self::Quotes => &["bid", "ask", "bid_size", "ask_size"],
            Self::Trades => &["price", "size", "aggressor"],
            Self::Series => &["value"],
            Self::Depth => &["kind", "side", "price", "size"],
            Self::Actions => &["kind", "a", "b"],
            Self::Orders => &["kind", "order", "new_order", "side", "price", "size"],
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bars" => Self::Bars,
            "quotes" => Self::Quotes,
            "trades" => Self::Trades,
            "orders" => Self::Orders,
            "series" => Self::Series,
            "actions" => Self::Actions,
            "depth" => Self::Depth,
            _ => return None,
        })
    }
}

/// Rows of one schema, sorted by time. Prices at 1e-9, quantities at 1e-8, times in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct ColumnBatch {
    /// Event time of each row.
    pub ts: Vec<i64>,
    /// When each row was received; empty where that is not known or not asked for.
    pub received: Vec<i64>,
    /// Instrument of each row.
    pub instrument: Vec<u32>,
    /// The value columns of the schema.
    pub values: Vec<Vec<i64>>,
}

impl ColumnBatch {
    /// All columns are there and have one length.
    fn check(&self, schema: Schema) -> Result<(), String> {
        let rows = self.ts.len();
        if self.values.len() != schema.columns().len() {
            return Err(format!("a batch of {schema:?} needs columns ts, instrument, {}", schema.columns().join(", ")));
        }
        let stamped = self.received.is_empty() || self.received.len() == rows;
        if !stamped || self.instrument.len() != rows || self.values.iter().any(|column| column.len() != rows) {
            return Err("the columns of a batch have different lengths".to_owned());
        }
        Ok(())
    }
}

/// Writes the next batch over the last one, whose memory it can use again; false at the end.
pub type Feeder = Box<dyn FnMut(&mut ColumnBatch) -> Result<bool, SourceError> + Send>;

/// A source made of batches.
pub struct Columns {
    name: String,
    schema: Schema,
    feeder: Feeder,
    batch: ColumnBatch,
    at: usize,
    done: u64,
    rows: Option<u64>,
    next_trade: u64,
}

impl Columns {
    /// `rows` is the total if known; it only serves the progress bar.
    pub fn new(name: String, schema: Schema, rows: Option<u64>, feeder: Feeder) -> Self {
        let batch = ColumnBatch::default();
        Self { name, schema, feeder, batch, at: 0, done: 0, rows, next_trade: 1 }
    }

    fn error(&self, message: String) -> SourceError {
        SourceError { source: self.name.clone(), message }
    }

    #[inline(always)]
    fn update(&mut self, row: usize) -> Result<Update, SourceError> {
        #[inline(always)]
        fn row_of<const N: usize>(values: &[Vec<i64>], row: usize) -> [i64; N] {
            std::array::from_fn(|column| values[column][row])
        }
        let value = |column: usize| self.batch.values[column][row];
        let side = |code: i64| if code == 0 { Side::Buy } else { Side::Sell };
        Ok(match self.schema {
            Schema::Bars => Update::Bar {
                open: Price(value(0)),
                high: Price(value(1)),
                low: Price(value(2)),
                close: Price(value(3)),
                volume: Quantity(value(4)),
                span: value(5) as u64,
            },
            Schema::Quotes => Update::Quote {
                bid: Price(value(0)),
                ask: Price(value(1)),
                bid_quantity: Quantity(value(2)),
                ask_quantity: Quantity(value(3)),
            },
            Schema::Series => Update::Value(f64::from_bits(value(0) as u64)),
            Schema::Actions => match (value(0), u32::try_from(value(1)), u32::try_from(value(2))) {
                (0, Ok(numerator), Ok(denominator)) => Update::Split { numerator, denominator },
                (1, ..) => Update::Dividend { cash: Price(value(1)) },
                (kind, ..) => {
                    let row = self.done + row as u64;
                    return Err(self.error(format!(
                        "row {row}: kind {kind} is neither 0 (a split of 32-bit numbers) nor 1 (a dividend)"
                    )));
                }
            },
            Schema::Depth => {
                let [kind, who, price, quantity] = row_of(&self.batch.values, row);
                let (price, quantity) = (Price(price), Quantity(quantity));
                match kind {
                    0 => Update::Depth { side: side(who), price, quantity },
                    1 => Update::Clear,
                    2 => {
                        self.next_trade += 1;
                        let aggressor = (who >= 0).then(|| side(who));
                        let (kind, trade) = (TradeKind::Regular, self.next_trade - 1);
                        Update::Trade { price, quantity, aggressor, kind, trade }
                    }
                    kind => {
                        let row = self.done + row as u64;
                        return Err(self.error(format!("row {row}: kind {kind} is not one of 0 to 2")));
                    }
                }
            }
            Schema::Trades => {
                self.next_trade += 1;
                Update::Trade {
                    price: Price(self.batch.values[0][row]),
                    quantity: Quantity(self.batch.values[1][row]),
                    aggressor: match self.batch.values[2][row] {
                        1 => Some(Side::Buy),
                        2 => Some(Side::Sell),
                        _ => None,
                    },
                    kind: TradeKind::Regular,
                    trade: self.next_trade - 1,
                }
            }
            Schema::Orders => {
                let (order, new_order) = (value(1) as u64, value(2) as u64);
                let (price, quantity) = (Price(value(4)), Quantity(value(5)));
                let (who, kind) = (side(value(3)), value(0));
                self.next_trade += 1;
                let trade = self.next_trade - 1;
                match kind {
                    0 => Update::Add { order, side: who, price, quantity },
                    1 => Update::Execute { order, quantity, trade },
                    2 => Update::Reduce { order, quantity },
                    3 => Update::Delete { order },
                    4 => Update::Replace { order, new_order, price, quantity },
                    5 => {
                        let aggressor = (value(3) >= 0).then_some(who);
                        Update::Trade { price, quantity, aggressor, kind: TradeKind::Hidden, trade }
                    }
                    6 => Update::Trade { price, quantity, aggressor: None, kind: TradeKind::Cross, trade },
                    7 => Update::Status(TradingStatus::Halted),
                    8 => Update::Status(TradingStatus::Trading),
                    9 => Update::Clear,
                    10 => {
                        let aggressor = (value(3) >= 0).then_some(who);
                        Update::Trade { price, quantity, aggressor, kind: TradeKind::Displayed, trade }
                    }
                    11 | 12 => Update::ExecuteAt { order, quantity, price, printable: kind == 11, trade },
                    13 => Update::Status(TradingStatus::Paused),
                    14 => Update::Status(TradingStatus::QuoteOnly),
                    _ => {
                        let row = self.done + row as u64;
                        return Err(self.error(format!("row {row}: kind {kind} is not one of 0 to 14")));
                    }
                }
            }
        })
    }
}

impl Source for Columns {
    #[inline]
    fn next(&mut self, market: &mut Market) -> Result<bool, SourceError> {
        while self.at == self.batch.ts.len() {
            self.done += self.batch.ts.len() as u64;
            self.at = 0;
            let filled = (self.feeder)(&mut self.batch).and_then(|more| {
                let sound = self.batch.check(self.schema).map_err(|message| self.error(message));
                if more { sound.map(|()| true) } else { Ok(false) }
            });
            if !matches!(filled, Ok(true)) {
                // Whatever is half filled is not to be read.
                self.batch = ColumnBatch::default();
                return filled;
            }
        }
        let row = self.at;
        self.at += 1;
        market.update = self.update(row)?;
        market.instrument = InstrumentId(self.batch.instrument[row]);
        market.ts_event = match u64::try_from(self.batch.ts[row]) {
            Ok(ts) => Nanos(ts),
            Err(_) => return Err(self.error(format!("row {}: a time before 1970", self.done + row as u64))),
        };
        Ok(true)
    }

    fn received(&self) -> Nanos {
        let stamp = self.at.checked_sub(1).and_then(|row| self.batch.received.get(row));
        Nanos(stamp.map_or(0, |stamp| u64::try_from(*stamp).unwrap_or(0)))
    }

    fn progress(&self) -> f64 {
        self.rows.map_or(0.0, |rows| (self.done + self.at as u64) as f64 / rows.max(1) as f64)
    }
}
