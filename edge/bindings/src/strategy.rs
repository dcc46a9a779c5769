//! Strategies written in Python: what they see, and how their wishes come back.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use helios_engine::State;
use helios_execution::CALLER_IDS;
use helios_io::{Callbacks, SourceError};
use helios_risk::Risk;
use helios_types::{
    CASH_SCALE, Event, Feed, Input, InstrumentId, Intent, IntentKind, Nanos, OrderId, OrderState, Output, Price,
    QUANTITY_SCALE, Quantity, Rule, Side, StrategyId, Terms, TimeInForce, Update,
};
use helios_venue::Venues;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::compiled::Compiled;
use crate::refuse;

/// The last known numbers of one instrument.
#[derive(Default)]
struct Cells {
    bid: AtomicI64,
    ask: AtomicI64,
    bid_size: AtomicI64,
    ask_size: AtomicI64,
    position: AtomicI64,
    /// Messages of the book are missing.
    incomplete: AtomicBool,
}

/// What a strategy and its views share. Written by the loop before a call, read during it.
struct Shared {
    symbols: Vec<Py<PyString>>,
    cells: Vec<Cells>,
    now: AtomicU64,
    wishes: Mutex<Vec<Intent>>,
    /// Length of `wishes`: looked at after every event, so it is kept outside the lock.
    waiting: AtomicUsize,
    next_id: AtomicU64,
    /// The run's venue while a method is called, null else: see [`Look`].
    venue: AtomicPtr<Venues>,
}

/// Lends the venue to the views of one strategy, as long as it lives.
struct Look<'a>(&'a Shared);

impl<'a> Look<'a> {
    fn at(shared: &'a Shared, venue: Option<&'a Venues>) -> Self {
        let venue = venue.map_or(std::ptr::null_mut(), |venue| std::ptr::from_ref(venue).cast_mut());
        shared.venue.store(venue, Relaxed);
        Self(shared)
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.venue.store(std::ptr::null_mut(), Relaxed);
    }
}

const NAN: f64 = f64::NAN;

pub(crate) fn price(raw: i64) -> f64 {
    if raw == Price::UNDEFINED.0 || raw == 0 { NAN } else { Price(raw).to_f64() }
}

/// A strategy's line to the engine: it wishes and asks.
#[pyclass(frozen, module = "helios._core")]
pub(crate) struct Port {
    strategy: StrategyId,
    shared: Arc<Shared>,
}

impl Port {
    fn wish(&self, instrument: u32, kind: IntentKind) -> PyResult<()> {
        if instrument as usize >= self.shared.cells.len() {
            return Err(refuse("strategy", format!("instrument {instrument} is not part of this run")));
        }
        let mut wishes = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.push(Intent { strategy: self.strategy, instrument: InstrumentId(instrument), kind });
        self.shared.waiting.store(wishes.len(), Relaxed);
        Ok(())
    }
}

#[pymethods]
impl Port {
    /// Wishes an order; returns its identifier. `price` None is a market order; `life` is the number of a time in force,
    /// `display` None all of it. Units: 1e-8 and 1e-9.
    #[pyo3(signature = (instrument, buy, quantity, price, life, post_only=false, midpoint=false, display=None, stop=None))]
    #[allow(clippy::too_many_arguments)]
    fn order(
        &self,
        instrument: u32,
        buy: bool,
        quantity: i64,
        price: Option<i64>,
        life: u8,
        post_only: bool,
        midpoint: bool,
        display: Option<i64>,
        stop: Option<i64>,
    ) -> PyResult<u64> {
        let time_in_force = match life {
            0 => TimeInForce::Day,
            1 => TimeInForce::Ioc,
            2 => TimeInForce::Fok,
            3 => TimeInForce::Open,
            4 => TimeInForce::Close,
            _ => return Err(refuse("strategy", format!("no time in force has the number {life}"))),
        };
        let display = display.map_or(Terms::ALL, Quantity);
        let id = OrderId(self.shared.next_id.fetch_add(1, Relaxed));
        let kind = IntentKind::Order {
            id,
            side: if buy { Side::Buy } else { Side::Sell },
            quantity: Quantity(quantity),
            price: price.map_or(Price::UNDEFINED, Price),
            time_in_force,
            terms: Terms { post_only, midpoint, display, stop: stop.map_or(Price::UNDEFINED, Price) },
        };
        self.wish(instrument, kind)?;
        Ok(id.0)
    }

    /// Wishes to cancel a working order.
    fn cancel(&self, instrument: u32, order: u64) -> PyResult<()> {
        self.wish(instrument, IntentKind::Cancel { order: OrderId(order) })
    }

    /// Wishes another quantity and price for a working order.
    fn replace(&self, instrument: u32, order: u64, quantity: i64, price: i64) -> PyResult<()> {
        let kind = IntentKind::Replace { order: OrderId(order), quantity: Quantity(quantity), price: Price(price) };
        self.wish(instrument, kind)
    }

    /// Wishes to hold this signed position.
    fn target(&self, instrument: u32, position: i64) -> PyResult<()> {
        self.wish(instrument, IntentKind::Target { position: Quantity(position) })
    }

    /// The strategy's signed position, 1e-8.
    fn position(&self, instrument: usize) -> PyResult<i64> {
        let cells = self.shared.cells.get(instrument).ok_or_else(|| refuse("strategy", "no such instrument"))?;
        Ok(cells.position.load(Relaxed))
    }

    /// Where an order stands at the simulated venue, as that has it now: price (1e-9), quantity before it and left of it
    /// (1e-8). None unless it rests in an order-level book; also outside the strategy's methods.
    #[allow(unsafe_code)]
    fn queue(&self, instrument: u32, order: u64) -> Option<(i64, i64, i64)> {
        let venue = self.shared.venue.load(Relaxed);
        // SAFETY: the pointer is null, or was made of a reference that `Look` borrows for the whole of the call of a
        // strategy's method, during which nobody changes the venue. The interpreter's lock (`abi3`: there always is one)
        // is held by the thread in that call, and here until this returns, so it cannot end meanwhile, whatever thread
        // asks. Covered by tests/python/test_order_terms.py.
        let venue = unsafe { venue.as_ref() }?;
        let standing = venue.standing(OrderId(order), InstrumentId(instrument))?;
        Some((standing.price.0, standing.ahead.0, standing.left.0))
    }

    /// Engine time, ns.
    #[getter]
    fn now(&self) -> u64 {
        self.shared.now.load(Relaxed)
    }

    /// The live view of one instrument's best prices.
    fn book(&self, instrument: u32) -> PyResult<BookView> {
        if instrument as usize >= self.shared.cells.len() {
            return Err(refuse("strategy", format!("instrument {instrument} is not part of this run")));
        }
        Ok(BookView { at: AtomicU32::new(instrument), shared: Arc::clone(&self.shared) })
    }
}

/// Best bid and ask of an instrument, as they are now. One object serves all calls: copy what you keep.
#[pyclass(frozen, module = "helios._core")]
pub(crate) struct BookView {
    at: AtomicU32,
    shared: Arc<Shared>,
}

impl BookView {
    fn cells(&self) -> &Cells {
        &self.shared.cells[self.at.load(Relaxed) as usize]
    }
}

#[pymethods]
impl BookView {
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        shown(slf.as_any(), &["symbol", "ts", "bid", "ask", "bid_size", "ask_size", "complete"])
    }
    #[getter]
    fn instrument(&self) -> u32 {
        self.at.load(Relaxed)
    }
    #[getter]
    fn symbol<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.shared.symbols[self.at.load(Relaxed) as usize].bind(py).clone()
    }
    #[getter]
    fn ts(&self) -> u64 {
        self.shared.now.load(Relaxed)
    }
    #[getter]
    fn bid(&self) -> f64 {
        price(self.cells().bid.load(Relaxed))
    }
    #[getter]
    fn ask(&self) -> f64 {
        price(self.cells().ask.load(Relaxed))
    }
    #[getter]
    fn mid(&self) -> f64 {
        (self.bid() + self.ask()) * 0.5
    }
    #[getter]
    fn bid_size(&self) -> f64 {
        Quantity(self.cells().bid_size.load(Relaxed)).to_f64()
    }
    #[getter]
    fn ask_size(&self) -> f64 {
        Quantity(self.cells().ask_size.load(Relaxed)).to_f64()
    }
    /// False while market data is known to be missing: the prices are the last that were known to be right.
    #[getter]
    fn complete(&self) -> bool {
        !self.cells().incomplete.load(Relaxed)
    }
}

/// The trade that was just printed. One object serves all calls: copy what you keep.
#[pyclass(frozen, module = "helios._core")]
pub(crate) struct TradeView {
    at: AtomicU32,
    price: AtomicI64,
    size: AtomicI64,
    aggressor: AtomicI64,
    shared: Arc<Shared>,
}

#[pymethods]
impl TradeView {
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        shown(slf.as_any(), &["symbol", "ts", "price", "size", "aggressor"])
    }
    #[getter]
    fn instrument(&self) -> u32 {
        self.at.load(Relaxed)
    }
    #[getter]
    fn symbol<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.shared.symbols[self.at.load(Relaxed) as usize].bind(py).clone()
    }
    #[getter]
    fn ts(&self) -> u64 {
        self.shared.now.load(Relaxed)
    }
    #[getter]
    fn price(&self) -> f64 {
        price(self.price.load(Relaxed))
    }
    #[getter]
    fn size(&self) -> f64 {
        Quantity(self.size.load(Relaxed)).to_f64()
    }
    /// +1 buyer, -1 seller, 0 not known.
    #[getter]
    fn aggressor(&self) -> i64 {
        self.aggressor.load(Relaxed)
    }
}

/// The bar that just ended. One object serves all calls: copy what you keep.
#[pyclass(frozen, module = "helios._core")]
pub(crate) struct BarView {
    at: AtomicU32,
    prices: [AtomicI64; 4],
    volume: AtomicI64,
    span: AtomicU64,
    shared: Arc<Shared>,
}

#[pymethods]
impl BarView {
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        shown(slf.as_any(), &["symbol", "ts", "open", "high", "low", "close", "volume"])
    }
    #[getter]
    fn instrument(&self) -> u32 {
        self.at.load(Relaxed)
    }
    #[getter]
    fn symbol<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.shared.symbols[self.at.load(Relaxed) as usize].bind(py).clone()
    }
    /// End of the bar, ns.
    #[getter]
    fn ts(&self) -> u64 {
        self.shared.now.load(Relaxed)
    }
    #[getter]
    fn open(&self) -> f64 {
        price(self.prices[0].load(Relaxed))
    }
    #[getter]
    fn high(&self) -> f64 {
        price(self.prices[1].load(Relaxed))
    }
    #[getter]
    fn low(&self) -> f64 {
        price(self.prices[2].load(Relaxed))
    }
    #[getter]
    fn close(&self) -> f64 {
        price(self.prices[3].load(Relaxed))
    }
    #[getter]
    fn volume(&self) -> f64 {
        Quantity(self.volume.load(Relaxed)).to_f64()
    }
    /// Length of the bar, ns.
    #[getter]
    fn span(&self) -> u64 {
        self.span.load(Relaxed)
    }
}

/// The accounts of one strategy: its own, and those that its targets name. What it holds is the sum.
pub(crate) struct Accounts {
    ids: Vec<StrategyId>,
    /// By account and instrument, 1e-8; of a security with several listings where its position is held.
    held: Vec<Vec<i64>>,
    /// For each instrument all that share its position, where there are others.
    listings: Vec<Vec<usize>>,
}

impl Accounts {
    /// The first is the strategy's own.
    pub(crate) fn new(numbers: &[u32], instruments: usize, risk: &Risk) -> PyResult<Self> {
        if numbers.is_empty() {
            return Err(refuse("strategy", "it needs an account"));
        }
        let held = numbers.iter().map(|_| vec![0; instruments]).collect();
        let mut listings = vec![Vec::new(); instruments];
        for (at, id) in (0..).map(InstrumentId).enumerate().take(instruments) {
            listings[risk.holder(id).index()].push(at);
        }
        for (at, id) in (0..).map(InstrumentId).enumerate().take(instruments) {
            if risk.holder(id) != id {
                listings[at] = listings[risk.holder(id).index()].clone();
            }
        }
        Ok(Self { ids: numbers.iter().copied().map(StrategyId).collect(), held, listings })
    }

    pub(crate) fn own(&self) -> StrategyId {
        self.ids[0]
    }

    /// Which of the accounts this is, if it is one.
    pub(crate) fn place(&self, strategy: StrategyId) -> Option<usize> {
        self.ids.iter().position(|id| *id == strategy)
    }

    /// Books an account's new position; returns the sum, and all instruments whose position it is.
    pub(crate) fn book(
        &mut self,
        account: usize,
        instrument: InstrumentId,
        position: Quantity,
    ) -> (Quantity, &[usize]) {
        let listings = &self.listings[instrument.index()];
        let first = listings[0];
        self.held[account][first] = position.0;
        (Quantity(self.held.iter().fold(0, |sum, held| sum.saturating_add(held[first]))), listings)
    }
}

impl Accounts {
    /// What they hold already, where a run goes on: for each account's position the sum, and the instruments whose it is.
    pub(crate) fn restore(&mut self, risk: &Risk, mut tell: impl FnMut(Quantity, &[usize])) {
        for account in risk.accounts() {
            if let Some(place) = self.place(account.strategy) {
                let (sum, listings) = self.book(place, account.instrument, account.position.quantity);
                tell(sum, listings);
            }
        }
    }
}

/// `print` shows what a view holds.
fn shown(view: &Bound<'_, PyAny>, fields: &[&str]) -> PyResult<String> {
    let mut shown = Vec::with_capacity(fields.len());
    for field in fields {
        shown.push(format!("{field}={}", view.getattr(*field)?.repr()?));
    }
    Ok(format!("{}({})", view.get_type().name()?, shown.join(", ")))
}

macro_rules! show {
    ($view:ident: $($field:ident),+) => {
        #[pymethods]
        impl $view {
            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                shown(slf.as_any(), &[$(stringify!($field)),+])
            }
        }
    };
}

show!(FillView: symbol, ts, order, side, price, quantity, fee, position, account, realised);
show!(SignalView: name, ts, value, input);
show!(RefusalView: symbol, ts, rule, limit, value, side, quantity, price);
show!(OrderView: symbol, ts, order, state, done, rejected);
show!(FeedView: symbol, ts, complete, missed);

/// One fill of a strategy's order: its share of it.
#[pyclass(frozen, get_all, module = "helios._core")]
pub(crate) struct FillView {
    order: u64,
    instrument: u32,
    symbol: Py<PyString>,
    ts: u64,
    /// "buy" or "sell".
    side: &'static str,
    price: f64,
    quantity: f64,
    fee: f64,
    /// Signed position after it, all of the strategy's accounts together.
    position: f64,
    /// Whose it is: the strategy's name, or that of an account of its own like "pairs/KO/PEP".
    account: Py<PyString>,
    /// Profit realised by it, before its fee.
    realised: f64,
}

/// A recorded signal of this strategy has a new value.
#[pyclass(frozen, get_all, module = "helios._core")]
pub(crate) struct SignalView {
    /// As the strategy recorded it.
    name: Py<PyString>,
    ts: u64,
    value: f64,
    /// What it was derived from, NaN when that has no value.
    input: f64,
}

/// The gate refused a wish of this strategy.
#[pyclass(frozen, get_all, module = "helios._core")]
pub(crate) struct RefusalView {
    instrument: u32,
    symbol: Py<PyString>,
    ts: u64,
    /// The limit's name, "stopped" or "invalid".
    rule: &'static str,
    /// In the unit in which the limit is given.
    limit: f64,
    value: f64,
    /// "buy" or "sell".
    side: &'static str,
    quantity: f64,
    /// NaN for a market order.
    price: f64,
}

/// An order of this strategy changed its state.
#[pyclass(frozen, get_all, module = "helios._core")]
pub(crate) struct OrderView {
    order: u64,
    instrument: u32,
    symbol: Py<PyString>,
    ts: u64,
    state: &'static str,
    /// Nothing more can happen to it.
    done: bool,
    /// The venue refused something.
    rejected: bool,
}

/// What the feed handler knows of its own data about one instrument.
#[pyclass(frozen, get_all, module = "helios._core")]
pub(crate) struct FeedView {
    instrument: u32,
    symbol: Py<PyString>,
    ts: u64,
    /// Every message so far is in the book.
    complete: bool,
    /// How many are missing, as far as it is known.
    missed: u64,
}

pub(crate) fn state_name(state: OrderState) -> &'static str {
    match state {
        OrderState::New => "new",
        OrderState::Accepted => "accepted",
        OrderState::PartlyFilled => "partly_filled",
        OrderState::Filled => "filled",
        OrderState::CancelPending => "cancel_pending",
        OrderState::Cancelled => "cancelled",
        OrderState::ReplacePending => "replace_pending",
        OrderState::Rejected => "rejected",
        OrderState::Unknown => "unknown",
    }
}

/// A rule's name, and the unit of its numbers.
fn rule_name(rule: Rule) -> (&'static str, f64) {
    let (quantity, cash) = (QUANTITY_SCALE as f64, CASH_SCALE as f64);
    match rule {
        Rule::OrderQuantity => ("order_quantity", quantity),
        Rule::OrderNotional => ("order_notional", cash),
        Rule::PriceCollar => ("price_collar", 1e6),
        Rule::Position => ("position", quantity),
        Rule::GrossExposure => ("gross_exposure", cash),
        Rule::OrderRate => ("order_rate", 1.0),
        Rule::DailyLoss => ("daily_loss", cash),
        Rule::Stopped => ("stopped", 1.0),
        Rule::Invalid => ("invalid", 1.0),
        Rule::Unlinked => ("unlinked", 1.0),
    }
}

/// How many methods a strategy may have.
pub(crate) const METHODS: usize = 9;

/// Identifiers of orders that a strategy may use: 2^24 each.
const IDS: u64 = 1 << 24;

/// One Python strategy: the methods it overrides, and the objects they are called with.
pub(crate) struct Handler {
    accounts: Accounts,
    names: Vec<Py<PyString>>,
    on_book: Option<Py<PyAny>>,
    on_trade: Option<Py<PyAny>>,
    on_bar: Option<Py<PyAny>>,
    on_fill: Option<Py<PyAny>>,
    on_timer: Option<Py<PyAny>>,
    on_signal: Option<Py<PyAny>>,
    on_refusal: Option<Py<PyAny>>,
    on_order: Option<Py<PyAny>>,
    on_feed: Option<Py<PyAny>>,
    /// The names of this strategy's signals, by number.
    signals: Vec<Option<Py<PyString>>>,
    first_id: u64,
    timer_ns: u64,
    /// When this strategy's own timer is due: the run's timers may come more often, for others. Zero before the first
    /// event.
    timer_due: u64,
    /// Before this moment the views are kept current, but nothing is called.
    from: u64,
    book: (Py<BookView>, Py<PyTuple>),
    trade: (Py<TradeView>, Py<PyTuple>),
    bar: (Py<BarView>, Py<PyTuple>),
    shared: Arc<Shared>,
}

impl Handler {
    /// `methods` are the bound methods `on_book on_trade on_bar on_fill on_timer on_signal on_refusal on_order on_feed`,
    /// None where not overridden; `signals` the names of this strategy's, by number, None for those of others.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        py: Python<'_>,
        accounts: &[(u32, String)],
        symbols: &[String],
        risk: &Risk,
        methods: [Option<Py<PyAny>>; METHODS],
        signals: Vec<Option<String>>,
        timer_ns: u64,
        from: u64,
    ) -> PyResult<(Self, Py<Port>)> {
        let numbers: Vec<u32> = accounts.iter().map(|(number, _)| *number).collect();
        let names = accounts.iter().map(|(_, name)| PyString::intern(py, name).unbind()).collect();
        let accounts = Accounts::new(&numbers, symbols.len(), risk)?;
        let strategy = accounts.own().0;
        let first_id = CALLER_IDS + u64::from(strategy) * IDS;
        let shared = Arc::new(Shared {
            symbols: symbols.iter().map(|symbol| PyString::intern(py, symbol).unbind()).collect(),
            cells: symbols.iter().map(|_| Cells::default()).collect(),
            now: AtomicU64::new(0),
            wishes: Mutex::new(Vec::new()),
            waiting: AtomicUsize::new(0),
            // Each strategy numbers its orders in a range of its own.
            next_id: AtomicU64::new(first_id),
            venue: AtomicPtr::new(std::ptr::null_mut()),
        });
        let book = Py::new(py, BookView { at: AtomicU32::new(0), shared: Arc::clone(&shared) })?;
        let trade = Py::new(
            py,
            TradeView {
                at: AtomicU32::new(0),
                price: AtomicI64::new(0),
                size: AtomicI64::new(0),
                aggressor: AtomicI64::new(0),
                shared: Arc::clone(&shared),
            },
        )?;
        let bar = Py::new(
            py,
            BarView {
                at: AtomicU32::new(0),
                prices: Default::default(),
                volume: AtomicI64::new(0),
                span: AtomicU64::new(0),
                shared: Arc::clone(&shared),
            },
        )?;
        let port = Py::new(py, Port { strategy: StrategyId(strategy), shared: Arc::clone(&shared) })?;
        let [on_book, on_trade, on_bar, on_fill, on_timer, on_signal, on_refusal, on_order, on_feed] = methods;
        let handler = Self {
            accounts,
            names,
            on_book,
            on_trade,
            on_bar,
            on_fill,
            on_timer,
            on_signal,
            on_refusal,
            on_order,
            on_feed,
            signals: signals.iter().map(|name| name.as_ref().map(|name| PyString::intern(py, name).unbind())).collect(),
            first_id,
            timer_ns,
            timer_due: 0,
            from,
            book: (book.clone_ref(py), PyTuple::new(py, [book])?.unbind()),
            trade: (trade.clone_ref(py), PyTuple::new(py, [trade])?.unbind()),
            bar: (bar.clone_ref(py), PyTuple::new(py, [bar])?.unbind()),
            shared,
        };
        Ok((handler, port))
    }

    /// A run goes on: positions and best prices are those of the state, and identifiers follow those that were used.
    fn restore(&mut self, state: &State) {
        let cells = &self.shared.cells;
        self.accounts.restore(state.risk(), |sum, listings| {
            listings.iter().for_each(|listing| cells[*listing].position.store(sum.0, Relaxed));
        });
        let next = state.orders().free_id(self.first_id, self.first_id + IDS / 2);
        self.shared.next_id.fetch_max(next, Relaxed);
    }

    fn after(&mut self, py: Python<'_>, input: &Input, outputs: &[Output], state: &State) -> PyResult<()> {
        self.shared.now.store(input.ts.0, Relaxed);
        if self.timer_ns > 0 && self.timer_due == 0 {
            self.set_timer(input.ts.0);
        }
        let started = input.ts.0 >= self.from;
        match &input.event {
            Event::Market(market) => {
                let touched = state.touched();
                if touched.has(helios_io::Touched::TOP) {
                    self.see_book(py, market.instrument, state, started)?;
                }
                if started
                    && touched.has(helios_io::Touched::TRADE)
                    && let Some(on_trade) = &self.on_trade
                {
                    let (view, trade) = (state.markets().view(market.instrument), self.trade.0.get());
                    trade.at.store(market.instrument.0, Relaxed);
                    trade.price.store(view.last.0, Relaxed);
                    trade.size.store(view.last_quantity.0, Relaxed);
                    trade.aggressor.store(view.last_aggressor.map_or(0, Side::sign), Relaxed);
                    call(py, on_trade, &self.trade.1)?;
                }
                if started
                    && let Update::Bar { open, high, low, close, volume, span } = market.update
                    && touched.has(helios_io::Touched::BAR)
                    && let Some(on_bar) = &self.on_bar
                {
                    let bar = self.bar.0.get();
                    bar.at.store(market.instrument.0, Relaxed);
                    for (cell, price) in bar.prices.iter().zip([open, high, low, close]) {
                        cell.store(price.0, Relaxed);
                    }
                    bar.volume.store(volume.0, Relaxed);
                    bar.span.store(span, Relaxed);
                    call(py, on_bar, &self.bar.1)?;
                }
            }
            Event::Timer(_) => {
                if self.timer_ns > 0 && input.ts.0 >= self.timer_due {
                    self.set_timer(input.ts.0);
                    if started && let Some(on_timer) = &self.on_timer {
                        on_timer.bind(py).call1((input.ts.0,))?;
                    }
                }
            }
            Event::Feed(feed) => self.see_feed(py, feed, input.ts.0, state, started)?,
            Event::Report(_) | Event::Intent(_) | Event::Control(_) | Event::Charge(_) | Event::Link(_) => {}
        }
        outputs.iter().try_for_each(|output| self.hear(py, output, input.ts.0, started))
    }

    /// Best prices have changed, or may be looked at again.
    #[inline]
    fn see_book(&self, py: Python<'_>, instrument: InstrumentId, state: &State, started: bool) -> PyResult<()> {
        let top = &state.markets().view(instrument).top;
        let cells = &self.shared.cells[instrument.index()];
        cells.bid.store(top.bid.price.0, Relaxed);
        cells.ask.store(top.ask.price.0, Relaxed);
        cells.bid_size.store(top.bid.quantity.0, Relaxed);
        cells.ask_size.store(top.ask.quantity.0, Relaxed);
        if started && let Some(on_book) = &self.on_book {
            self.book.0.get().at.store(instrument.0, Relaxed);
            call(py, on_book, &self.book.1)?;
        }
        Ok(())
    }

    /// Market data is missing, or whole again: said when it changes. A whole book is seen at once.
    fn see_feed(&self, py: Python<'_>, feed: &Feed, ts: u64, state: &State, started: bool) -> PyResult<()> {
        let (instrument, complete, missed) = match *feed {
            Feed::Incomplete { instrument, missed } => (instrument, false, missed),
            Feed::Complete { instrument } => (instrument, true, 0),
            Feed::Began { .. } | Feed::Ended { .. } => return Ok(()),
        };
        let Some(cells) = self.shared.cells.get(instrument.index()) else { return Ok(()) };
        if cells.incomplete.swap(!complete, Relaxed) != complete {
            return Ok(());
        }
        if started && let Some(on_feed) = &self.on_feed {
            let symbol = self.shared.symbols[instrument.index()].clone_ref(py);
            on_feed.bind(py).call1((FeedView { instrument: instrument.0, symbol, ts, complete, missed },))?;
        }
        if complete { self.see_book(py, instrument, state, started) } else { Ok(()) }
    }

    /// What was said of this strategy's wishes.
    fn hear(&mut self, py: Python<'_>, output: &Output, ts: u64, started: bool) -> PyResult<()> {
        let symbols = &self.shared.symbols;
        let symbol = |instrument: InstrumentId| symbols[instrument.index()].clone_ref(py);
        let side = |side: Side| if side == Side::Buy { "buy" } else { "sell" };
        match output {
            Output::Fill(fill) => {
                let Some(account) = self.accounts.place(fill.strategy) else { return Ok(()) };
                let (position, listings) = self.accounts.book(account, fill.instrument, fill.position);
                for listing in listings {
                    self.shared.cells[*listing].position.store(position.0, Relaxed);
                }
                let Some(on_fill) = &self.on_fill else { return Ok(()) };
                let view = FillView {
                    order: fill.order.0,
                    instrument: fill.instrument.0,
                    symbol: symbol(fill.instrument),
                    ts: fill.ts_event.0,
                    side: side(fill.side),
                    price: fill.price.to_f64(),
                    quantity: fill.quantity.to_f64(),
                    fee: fill.fee.to_f64(),
                    position: position.to_f64(),
                    account: self.names[account].clone_ref(py),
                    realised: fill.realised.to_f64(),
                };
                on_fill.bind(py).call1((view,))?;
            }
            Output::Signal(change) if started => {
                let Some(on_signal) = &self.on_signal else { return Ok(()) };
                let Some(name) = self.signals.get(change.signal as usize).and_then(Option::as_ref) else {
                    return Ok(());
                };
                let view = SignalView { name: name.clone_ref(py), ts, value: change.value, input: change.input };
                on_signal.bind(py).call1((view,))?;
            }
            Output::Refused(refusal) if self.accounts.place(refusal.strategy).is_some() => {
                let Some(on_refusal) = &self.on_refusal else { return Ok(()) };
                let (rule, unit) = rule_name(refusal.rule);
                let view = RefusalView {
                    instrument: refusal.instrument.0,
                    symbol: symbol(refusal.instrument),
                    ts,
                    rule,
                    limit: refusal.limit as f64 / unit,
                    value: refusal.value as f64 / unit,
                    side: side(refusal.side),
                    quantity: refusal.quantity.to_f64(),
                    price: price(refusal.price.0),
                };
                on_refusal.bind(py).call1((view,))?;
            }
            Output::State(change) if change.order.0.wrapping_sub(self.first_id) < IDS => {
                let Some(on_order) = &self.on_order else { return Ok(()) };
                let view = OrderView {
                    order: change.order.0,
                    instrument: change.instrument.0,
                    symbol: symbol(change.instrument),
                    ts,
                    state: state_name(change.to),
                    done: change.to.is_done(),
                    rejected: change.reject.is_some(),
                };
                on_order.bind(py).call1((view,))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The next multiple of the period.
    fn set_timer(&mut self, now: u64) {
        self.timer_due = (now / self.timer_ns + 1).saturating_mul(self.timer_ns);
    }

    #[inline]
    fn take(&self, wishes: &mut Vec<Intent>) {
        if self.shared.waiting.load(Relaxed) > 0 {
            let mut waiting = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner);
            wishes.append(&mut waiting);
            self.shared.waiting.store(0, Relaxed);
        }
    }
}

/// A call with arguments that exist already allocates nothing.
#[inline]
fn call(py: Python<'_>, method: &Py<PyAny>, arguments: &Py<PyTuple>) -> PyResult<()> {
    method.bind(py).call1(arguments.bind(py)).map(drop)
}

/// What a run calls, in the order in which it was given.
pub(crate) enum Callee {
    /// Methods in Python.
    Python(Box<Handler>),
    /// Machine code.
    Compiled(Box<Compiled>),
}

impl Callee {
    /// A run goes on from this state.
    pub(crate) fn restore(&mut self, state: &State) {
        match self {
            Self::Python(handler) => handler.restore(state),
            Self::Compiled(compiled) => compiled.restore(state),
        }
    }

    pub(crate) fn is_python(&self) -> bool {
        matches!(self, Self::Python(_))
    }

    /// One in machine code, which needs no interpreter.
    #[inline]
    pub(crate) fn after_compiled(
        &mut self,
        input: &Input,
        outputs: &[Output],
        state: &State,
        wishes: &mut Vec<Intent>,
    ) -> Result<(), SourceError> {
        let Self::Compiled(compiled) = self else { return Ok(()) };
        let wrong = |error: PyErr| SourceError { source: "strategy".to_owned(), message: error.to_string() };
        compiled.after(input, outputs, state).map_err(wrong)?;
        compiled.take(wishes);
        Ok(())
    }

    pub(crate) fn timer_ns(&self) -> u64 {
        match self {
            Self::Python(handler) => handler.timer_ns,
            Self::Compiled(compiled) => compiled.timer_ns(),
        }
    }
}

/// The callees of a run, while the interpreter is attached.
pub(crate) struct Attached<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) callees: &'a mut [Callee],
    /// The exception that stopped the run, with its traceback.
    pub(crate) raised: Option<PyErr>,
}

impl Callbacks for Attached<'_, '_> {
    #[inline]
    fn after(
        &mut self,
        input: &Input,
        outputs: &[Output],
        state: &State,
        venue: Option<&Venues>,
        wishes: &mut Vec<Intent>,
    ) -> Result<(), SourceError> {
        for callee in self.callees.iter_mut() {
            let done = match callee {
                Callee::Python(handler) => {
                    let shared = Arc::clone(&handler.shared);
                    let look = Look::at(&shared, venue);
                    let done = handler.after(self.py, input, outputs, state);
                    drop(look);
                    done.map(|()| handler.take(wishes))
                }
                Callee::Compiled(compiled) => compiled.after(input, outputs, state).map(|()| compiled.take(wishes)),
            };
            if let Err(error) = done {
                let message = error.to_string();
                self.raised = Some(error);
                return Err(SourceError { source: "strategy".to_owned(), message });
            }
        }
        Ok(())
    }

    fn next_timer(&self, after: Nanos) -> Option<Nanos> {
        let next = |ns: u64| Nanos((after.0 / ns + 1).saturating_mul(ns));
        self.callees.iter().map(Callee::timer_ns).filter(|ns| *ns > 0).map(next).min()
    }
}
