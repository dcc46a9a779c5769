//! The state of every instrument, as the strategies see it.

use helios_book::{Books, Capacity, Level, Top};
use helios_types::{
    Damaged, Digest, Feed, Hasher, InstrumentId, Load, Market, Nanos, Persist, Price, Quality, QualityKind, Quantity,
    Save, Side, Split, TradeKind, TradingStatus, Update, persist,
};

/// What a market event changed, as a set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched(pub u8);

impl Touched {
    /// Nothing that a strategy can see.
    pub const NOTHING: Self = Self(0);
    /// Best bid or ask: price, quantity or order count; every quote event.
    pub const TOP: Self = Self(1);
    /// A trade was printed.
    pub const TRADE: Self = Self(2);
    /// A bar was completed.
    pub const BAR: Self = Self(4);
    /// The trading state changed.
    pub const STATUS: Self = Self(8);
    /// An order book changed, at whatever level.
    pub const BOOK: Self = Self(16);

    /// True when all of `other` is in here.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && other.0 != 0
    }

    /// True when something of `other` is in here.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is to be seen of a book of which messages are missing: prints and the trading state.
    pub const fn without_book(self) -> Self {
        Self(self.0 & !(Self::TOP.0 | Self::BOOK.0))
    }

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One completed bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Traded quantity.
    pub volume: Quantity,
}

/// What is known of one instrument.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Best bid and ask, from the book or from quotes.
    pub top: Top,
    /// Last trade price, or the last bar's close; [`Price::UNDEFINED`] before the first.
    pub last: Price,
    /// Last trade's quantity.
    pub last_quantity: Quantity,
    /// Side of the last trade's aggressor, where known.
    pub last_aggressor: Option<Side>,
    /// Last completed bar.
    pub bar: Option<Bar>,
    /// Trading state; trading until told otherwise.
    pub status: TradingStatus,
    /// Nothing is known to be missing of the book.
    pub complete: bool,
    /// The venue's stamp of the last event.
    pub ts_event: Nanos,
    /// The best bid is above the best ask during continuous trading, and that was reported.
    crossed: bool,
}

impl View {
    const UNSEEN: Self = Self {
        top: Top::EMPTY,
        last: Price::UNDEFINED,
        last_quantity: Quantity::ZERO,
        last_aggressor: None,
        bar: None,
        status: TradingStatus::Trading,
        complete: true,
        ts_event: Nanos(0),
        crossed: false,
    };

    /// The price at which a position is valued: mid of a two-sided market that is not crossed and of which nothing is
    /// missing, else the last trade or close, else [`Price::UNDEFINED`].
    pub fn mark(&self) -> Price {
        let (bid, ask) = (self.top.bid.price, self.top.ask.price);
        let two_sided = bid.is_defined() && ask.is_defined() && bid <= ask;
        if two_sided && self.complete { Price(bid.0 + (ask.0 - bid.0) / 2) } else { self.last }
    }
}

/// All instruments.
pub struct Markets {
    books: Books,
    views: Vec<View>,
    clock: Nanos,
    faults: [u64; QUALITY_KINDS],
}

const QUALITY_KINDS: usize = QualityKind::Whole as usize + 1;

impl Markets {
    /// `instruments` instruments, numbered from zero, nothing seen yet.
    pub fn new(instruments: usize, capacity: Capacity) -> Self {
        Self {
            books: Books::new(instruments, capacity),
            views: vec![View::UNSEEN; instruments],
            clock: Nanos(0),
            faults: [0; QUALITY_KINDS],
        }
    }

    /// What is known of an instrument.
    #[inline]
    pub fn view(&self, instrument: InstrumentId) -> &View {
        &self.views[instrument.index()]
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.views.len()
    }

    /// True without instruments.
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// The order books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Events refused so far, by [`QualityKind`].
    pub fn faults(&self) -> &[u64; QUALITY_KINDS] {
        &self.faults
    }

    /// Applies one event whole, or refuses it whole.
    ///
    /// `Err` names a fault in the data; crossed books and clocks that go back are reported the same way, but such an
    /// event is applied when it can be: see [`Markets::judge`].
    pub fn apply(&mut self, market: &Market) -> Result<Touched, Quality> {
        let id = market.instrument;
        let fault = |kind, detail| Quality { instrument: id, kind, detail };
        if id.index() >= self.views.len() {
            return self.count(fault(QualityKind::WrongInstrument, u64::from(id.0)));
        }
        let touched = match market.update {
            Update::Quote { bid, bid_quantity, ask, ask_quantity } => {
                if !quote_is_sound(bid, bid_quantity) || !quote_is_sound(ask, ask_quantity) {
                    return self.count(fault(QualityKind::BadValue, 0));
                }
                let side = |price: Price, quantity| Level { price, quantity, orders: u32::from(price.is_defined()) };
                self.views[id.index()].top = Top { bid: side(bid, bid_quantity), ask: side(ask, ask_quantity) };
                Touched::TOP
            }
            Update::Bar { open, high, low, close, volume, .. } => {
                let sound = low.0 > 0 && low <= open && low <= close && high >= open && high >= close && volume.0 >= 0;
                if !sound || !high.is_defined() {
                    return self.count(fault(QualityKind::BadValue, 0));
                }
                let view = &mut self.views[id.index()];
                view.bar = Some(Bar { open, high, low, close, volume });
                view.last = close;
                Touched::BAR
            }
            Update::Trade { price, quantity, aggressor, kind, .. } if kind != TradeKind::Displayed => {
                if price.0 <= 0 || !price.is_defined() || quantity.0 <= 0 {
                    return self.count(fault(QualityKind::BadValue, 0));
                }
                self.printed(id, price, quantity, aggressor)
            }
            Update::Status(status) => {
                self.views[id.index()].status = status;
                Touched::STATUS
            }
            Update::TradeBreak { .. } | Update::Value(_) => Touched::NOTHING,
            Update::Split { numerator, denominator } => {
                let Some(split) = Split::new(numerator, denominator) else {
                    return self.count(fault(QualityKind::BadValue, 0));
                };
                self.split(id, split);
                Touched::NOTHING
            }
            Update::Dividend { cash } => {
                if cash.0 <= 0 || !cash.is_defined() {
                    return self.count(fault(QualityKind::BadValue, 0));
                }
                let last = &mut self.views[id.index()].last;
                if last.is_defined() && *last > cash {
                    *last = Price(last.0 - cash.0);
                }
                Touched::NOTHING
            }
            // A print without a price would become the last price; the book must not change without it.
            Update::ExecuteAt { order, price, printable: true, .. } if price.0 <= 0 || !price.is_defined() => {
                return self.count(fault(QualityKind::BadValue, order));
            }
            Update::Depth { side, price, quantity } => match self.books.set_level(id, side, price, quantity) {
                Ok(change) if change.top_changed => {
                    self.views[id.index()].top = self.books.top(id);
                    Touched::BOOK.and(Touched::TOP)
                }
                Ok(_) => Touched::BOOK,
                Err(error) => return self.count(fault(error.quality(), 0)),
            },
            _ => match self.books.apply(id, &market.update) {
                Ok(change) => {
                    let mut touched = Touched::BOOK;
                    // Clear reports no change of its own.
                    if change.is_none_or(|change| change.top_changed) {
                        self.views[id.index()].top = self.books.top(id);
                        touched = touched.and(Touched::TOP);
                    }
                    match (market.update, change) {
                        // An order without a price that trades "at its own price" says nothing of the price.
                        (Update::Execute { quantity, .. }, Some(change)) if change.price.is_defined() => {
                            touched.and(self.printed(id, change.price, quantity, Some(change.side.opposite())))
                        }
                        (Update::ExecuteAt { price, quantity, printable: true, .. }, Some(change)) => {
                            touched.and(self.printed(id, price, quantity, Some(change.side.opposite())))
                        }
                        (Update::Trade { price, quantity, aggressor, .. }, Some(_)) => {
                            touched.and(self.printed(id, price, quantity, aggressor))
                        }
                        _ => touched,
                    }
                }
                Err(error) => return self.count(fault(error.quality(), market.update.order().unwrap_or(0))),
            },
        };
        self.views[id.index()].ts_event = market.ts_event;
        Ok(touched)
    }

    /// Prices of old shares become those of new ones; what was displayed in old shares is void. Strategies see none of
    /// it: the next price is in new shares.
    fn split(&mut self, id: InstrumentId, split: Split) {
        // Clearing a book that is there cannot fail.
        let _ = self.books.apply(id, &Update::Clear);
        let view = &mut self.views[id.index()];
        view.top = Top::EMPTY;
        view.last = split.price(view.last);
        view.last_quantity = split.shown(view.last_quantity);
        view.bar = view.bar.map(|bar| Bar {
            open: split.price(bar.open),
            high: split.price(bar.high),
            low: split.price(bar.low),
            close: split.price(bar.close),
            volume: split.shown(bar.volume),
        });
    }

    /// What the feed handler knows of its own data; said once for each change.
    pub fn feed(&mut self, feed: Feed) -> Option<Quality> {
        let (instrument, complete, detail) = match feed {
            Feed::Incomplete { instrument, missed } => (instrument, false, missed),
            Feed::Complete { instrument } => (instrument, true, 0),
            Feed::Began { .. } | Feed::Ended { .. } => return None,
        };
        let Some(view) = self.views.get_mut(instrument.index()) else {
            return Some(Quality { instrument, kind: QualityKind::WrongInstrument, detail: u64::from(instrument.0) });
        };
        if std::mem::replace(&mut view.complete, complete) == complete {
            return None;
        }
        let kind = if complete { QualityKind::Whole } else { QualityKind::Gap };
        self.faults[kind as usize] += 1;
        Some(Quality { instrument, kind, detail })
    }

    fn printed(&mut self, id: InstrumentId, price: Price, quantity: Quantity, aggressor: Option<Side>) -> Touched {
        let view = &mut self.views[id.index()];
        view.last = price;
        view.last_quantity = quantity;
        view.last_aggressor = aggressor;
        Touched::TRADE
    }

    fn count(&mut self, quality: Quality) -> Result<Touched, Quality> {
        self.faults[quality.kind as usize] += 1;
        Err(quality)
    }

    /// Faults that do not keep an event from being applied: a clock that goes back, a market that has just crossed.
    /// Call it after [`Markets::apply`].
    pub fn judge(&mut self, market: &Market) -> Option<Quality> {
        let backwards = market.ts_event < self.clock;
        self.clock = self.clock.max(market.ts_event);
        let view = self.views.get_mut(market.instrument.index())?;
        let was_crossed = view.crossed;
        // Locked is no fault, and before the open or in a halt crossed is none either.
        view.crossed = view.status == TradingStatus::Trading
            && view.top.is_crossed()
            && view.top.bid.price > view.top.ask.price
            // One fault an event: what is not reported now is reported by the next event.
            && (was_crossed || !backwards);
        let kind = if backwards {
            QualityKind::TimeBackwards
        } else if view.crossed && !was_crossed {
            QualityKind::Crossed
        } else {
            return None;
        };
        self.faults[kind as usize] += 1;
        Some(Quality { instrument: market.instrument, kind, detail: market.ts_event.0 })
    }
}

/// An empty side is undefined with quantity zero; a quoted one has a positive price and a quantity.
fn quote_is_sound(price: Price, quantity: Quantity) -> bool {
    if price.is_defined() { price.0 > 0 && quantity.0 > 0 } else { quantity.is_zero() }
}

impl Digest for Markets {
    fn digest(&self, hasher: &mut Hasher) {
        self.books.digest(hasher);
        for view in &self.views {
            for level in [view.top.bid, view.top.ask] {
                hasher.i64(level.price.0);
                hasher.i64(level.quantity.0);
                hasher.u64(u64::from(level.orders));
            }
            hasher.i64(view.last.0);
            hasher.i64(view.last_quantity.0);
            hasher.u64(view.last_aggressor.map_or(2, |side| side as u64));
            let bar = view.bar.unwrap_or(Bar {
                open: Price::UNDEFINED,
                high: Price::UNDEFINED,
                low: Price::UNDEFINED,
                close: Price::UNDEFINED,
                volume: Quantity::ZERO,
            });
            for x in [bar.open.0, bar.high.0, bar.low.0, bar.close.0, bar.volume.0] {
                hasher.i64(x);
            }
            // A bit that old runs never set: their digests stay.
            let incomplete = u64::from(!view.complete) << 8;
            hasher.u64(incomplete + view.status as u64 * 2 + u64::from(view.crossed));
            hasher.u64(view.ts_event.0);
        }
        hasher.u64(self.clock.0);
        let (old, new) = self.faults.split_at(QualityKind::Gap as usize);
        for count in old.iter().chain(new.iter().filter(|count| **count > 0)) {
            hasher.u64(*count);
        }
    }
}

persist!(Bar { open, high, low, close, volume });

impl Persist for View {
    fn save(&self, save: &mut Save) {
        let Self { top, last, last_quantity, last_aggressor, bar, status, complete, ts_event, crossed } = *self;
        for level in [top.bid, top.ask] {
            (level.price, level.quantity, level.orders).save(save);
        }
        (last, last_quantity, last_aggressor).save(save);
        (bar, status).save(save);
        (complete, ts_event, crossed).save(save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        let mut level = || {
            let (price, quantity, orders) = Persist::load(load)?;
            Ok(Level { price, quantity, orders })
        };
        let top = Top { bid: level()?, ask: level()? };
        let (last, last_quantity, last_aggressor) = Persist::load(load)?;
        let (bar, status) = Persist::load(load)?;
        let (complete, ts_event, crossed) = Persist::load(load)?;
        Ok(Self { top, last, last_quantity, last_aggressor, bar, status, complete, ts_event, crossed })
    }
}

/// Snapshots.
impl Markets {
    /// Appends the state of every instrument.
    pub fn save(&self, save: &mut Save) {
        let Self { books, views, clock, faults } = self;
        books.save(save);
        views.save(save);
        clock.save(save);
        faults.iter().for_each(|count| count.save(save));
    }

    /// Becomes what a snapshot says; of markets with the same instruments in which nothing was seen.
    pub fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.books.restore(load)?;
        self.views = load.same(&self.views)?;
        self.clock = Persist::load(load)?;
        for count in &mut self.faults {
            *count = Persist::load(load)?;
        }
        Ok(())
    }
}
