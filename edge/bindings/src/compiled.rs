//! Compiled callbacks: functions that Numba made, called through a pointer.
//!
//! The structures below are the contract. Python asks for their fields ([`layout`]) and compiles against that, so the two
//! cannot differ. What a function wishes comes back as inputs of their own, like the wishes of a strategy in Python: a
//! replay needs neither the class nor Numba.

use std::mem::offset_of;

use helios_engine::State;
use helios_execution::CALLER_IDS;
use helios_io::Touched;
use helios_risk::Risk;
use helios_types::{
    Damaged, Event, Feed, Input, InstrumentId, Intent, IntentKind, Load, Market, OrderId, Output, PRICE_SCALE, Persist,
    Price, QUANTITY_SCALE, Quantity, Save, Side, StrategyId, Terms, TimeInForce, Update,
};
use pyo3::prelude::*;

use crate::refuse;
use crate::strategy::{Accounts, price};

/// Most wishes of one call; more stop the run.
const MAX_WISHES: usize = 8;

/// What happened. Only the fields that belong to the event mean something.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct What {
    ts: i64,
    /// Place in the strategy's universe.
    instrument: i64,
    price: f64,
    quantity: f64,
    /// +1 buyer, -1 seller, 0 not known.
    side: i64,
    order: i64,
    fee: f64,
    realised: f64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    span: i64,
}

/// What is known of one instrument.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Known {
    bid: f64,
    ask: f64,
    bid_size: f64,
    ask_size: f64,
    last: f64,
    last_size: f64,
    position: f64,
}

const UNKNOWN: Known = Known {
    bid: f64::NAN,
    ask: f64::NAN,
    bid_size: f64::NAN,
    ask_size: f64::NAN,
    last: f64::NAN,
    last_size: f64::NAN,
    position: 0.0,
};

/// What the function wishes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Wishes {
    count: i64,
    /// Identifier that the next order will have; the function counts it up.
    next_order: i64,
    /// Set when the function ended by an exception.
    failed: i64,
    kind: [i64; MAX_WISHES],
    instrument: [i64; MAX_WISHES],
    order: [i64; MAX_WISHES],
    quantity: [f64; MAX_WISHES],
    /// NaN for a market order.
    price: [f64; MAX_WISHES],
}

const TARGET: i64 = 1;
const BUY: i64 = 2;
const BUY_IOC: i64 = 3;
const SELL: i64 = 4;
const SELL_IOC: i64 = 5;
const CANCEL: i64 = 6;
const REPLACE: i64 = 7;
const BUY_POST_ONLY: i64 = 8;
const SELL_POST_ONLY: i64 = 9;

/// What every compiled function is: event, what is known of each instrument and of how many, the parameters, the
/// strategy's memory and its length, and where the wishes go.
type Function = unsafe extern "C" fn(*const What, *const Known, i64, *const u8, *mut f64, i64, *mut Wishes);

type Field = (&'static str, &'static str, usize, usize);

macro_rules! fields {
    ($of:ty, $($name:ident: $kind:literal x $count:expr),+) => {
        vec![$((stringify!($name), $kind, offset_of!($of, $name), $count)),+]
    };
}

/// The structures: (name, size, fields), each field a name, "i8" or "f8", its offset, and how many there are (0: one).
#[pyfunction]
pub(crate) fn compiled_layout() -> Vec<(&'static str, usize, Vec<Field>)> {
    vec![
        (
            "event",
            size_of::<What>(),
            fields!(What, ts: "i8" x 0, instrument: "i8" x 0, price: "f8" x 0, quantity: "f8" x 0, side: "i8" x 0,
                order: "i8" x 0, fee: "f8" x 0, realised: "f8" x 0, open: "f8" x 0, high: "f8" x 0, low: "f8" x 0,
                close: "f8" x 0, volume: "f8" x 0, span: "i8" x 0),
        ),
        (
            "book",
            size_of::<Known>(),
            fields!(Known, bid: "f8" x 0, ask: "f8" x 0, bid_size: "f8" x 0, ask_size: "f8" x 0, last: "f8" x 0,
                last_size: "f8" x 0, position: "f8" x 0),
        ),
        (
            "wishes",
            size_of::<Wishes>(),
            fields!(Wishes, count: "i8" x 0, next_order: "i8" x 0, failed: "i8" x 0, kind: "i8" x MAX_WISHES,
                instrument: "i8" x MAX_WISHES, order: "i8" x MAX_WISHES, quantity: "f8" x MAX_WISHES,
                price: "f8" x MAX_WISHES),
        ),
    ]
}

/// One strategy's compiled functions with their parameters and memory.
pub(crate) struct Compiled {
    name: String,
    accounts: Accounts,
    /// `on_book on_trade on_bar on_fill on_timer`.
    functions: [Option<Function>; 5],
    /// Numba's objects: while they live, so does the machine code.
    _owner: Py<PyAny>,
    /// A row of 8-byte numbers.
    params: Vec<u64>,
    memory: Vec<f64>,
    timer_ns: u64,
    timer_due: u64,
    from: u64,
    /// The strategy's instruments, by their numbers in the run, and back (u32::MAX for one that is not among them).
    universe: Vec<u32>,
    places: Vec<u32>,
    known: Vec<Known>,
    what: What,
    wishes: Wishes,
    /// Wishes of the last calls.
    ready: Vec<Intent>,
}

/// What a snapshot keeps of compiled functions: all that they are called with, bit for bit.
pub(crate) struct CompiledKept {
    memory: Vec<f64>,
    /// Seven numbers of each instrument.
    known: Vec<f64>,
    next_order: i64,
    timer_due: u64,
    held: Vec<Vec<i64>>,
}

impl CompiledKept {
    pub(crate) fn load(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut load = Load(bytes);
        let (memory, known) = Persist::load(&mut load)?;
        let (next_order, timer_due, held) = Persist::load(&mut load)?;
        load.finish()?;
        Ok(Self { memory, known, next_order, timer_due, held })
    }
}

/// What Python hands over: accounts, name, addresses (0: none), owner, parameters, memory's length, timer, universe.
pub(crate) type CompiledSpec = (Vec<u32>, String, [usize; 5], Py<PyAny>, Vec<u8>, usize, u64, Vec<u32>);

const NAMES: [&str; 5] = ["on_book", "on_trade", "on_bar", "on_fill", "on_timer"];

impl Compiled {
    pub(crate) fn new(spec: CompiledSpec, instruments: usize, risk: &Risk, from: u64) -> PyResult<Self> {
        let (accounts, name, addresses, owner, params, memory, timer_ns, universe) = spec;
        let accounts = Accounts::new(&accounts, instruments, risk)?;
        let mut places = vec![u32::MAX; instruments];
        for (place, instrument) in (0..).zip(&universe) {
            let at = places.get_mut(*instrument as usize);
            *at.ok_or_else(|| refuse("strategy", format!("instrument {instrument} is not part of this run")))? = place;
        }
        if params.len() % 8 != 0 || params.is_empty() {
            return Err(refuse("strategy", "compiled parameters are a row of 8-byte numbers"));
        }
        Ok(Self {
            name,
            functions: addresses.map(function),
            _owner: owner,
            params: params
                .chunks_exact(8)
                .map(|x| u64::from_ne_bytes(x.try_into().expect("chunks of eight")))
                .collect(),
            memory: vec![0.0; memory],
            timer_ns,
            timer_due: 0,
            from,
            known: vec![UNKNOWN; universe.len()],
            universe,
            places,
            what: What::default(),
            // The upper half of the strategy's range: its methods in Python number theirs in the lower one.
            wishes: Wishes {
                next_order: (CALLER_IDS + (u64::from(accounts.own().0) << 24) + (1 << 23)) as i64,
                ..Wishes::default()
            },
            ready: Vec::new(),
            accounts,
        })
    }

    /// What it remembers.
    pub(crate) fn save(&self) -> Vec<u8> {
        let mut save = Save::default();
        let numbers = |known: &Known| {
            let Known { bid, ask, bid_size, ask_size, last, last_size, position } = *known;
            [bid, ask, bid_size, ask_size, last, last_size, position]
        };
        self.memory.save(&mut save);
        self.known.iter().flat_map(numbers).collect::<Vec<f64>>().save(&mut save);
        (self.wishes.next_order, self.timer_due, self.accounts.held().to_vec()).save(&mut save);
        save.0
    }

    /// Whether it can remember what was kept.
    pub(crate) fn fits(&self, kept: &CompiledKept) -> bool {
        let sizes = kept.memory.len() == self.memory.len() && kept.known.len() == self.known.len() * 7;
        sizes && self.accounts.fits(&kept.held)
    }

    /// Remembers what was kept, which [fits](Self::fits).
    pub(crate) fn load(&mut self, kept: CompiledKept) {
        self.memory = kept.memory;
        for (known, numbers) in self.known.iter_mut().zip(kept.known.chunks_exact(7)) {
            let [bid, ask, bid_size, ask_size, last, last_size, position] = numbers.try_into().expect("sevens");
            *known = Known { bid, ask, bid_size, ask_size, last, last_size, position };
        }
        (self.wishes.next_order, self.timer_due) = (kept.next_order, kept.timer_due);
        self.accounts.set_held(kept.held);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn has(&self, strategy: StrategyId) -> bool {
        self.accounts.place(strategy).is_some()
    }

    /// A run goes on: positions are those of the state, and identifiers follow those that were used.
    pub(crate) fn restore(&mut self, state: &State) {
        let (known, places) = (&mut self.known, &self.places);
        self.accounts.restore(state.risk(), |sum, listings| {
            for listing in listings {
                if let Some(known) = known.get_mut(places[*listing] as usize) {
                    known.position = sum.to_f64();
                }
            }
        });
        let first = self.wishes.next_order as u64;
        self.wishes.next_order = state.orders().free_id(first, first + (1 << 23)) as i64;
    }

    pub(crate) fn strategy(&self) -> u32 {
        self.accounts.own().0
    }

    pub(crate) fn timer_ns(&self) -> u64 {
        self.timer_ns
    }

    pub(crate) fn memory(&self) -> &[f64] {
        &self.memory
    }

    pub(crate) fn take(&mut self, wishes: &mut Vec<Intent>) {
        wishes.append(&mut self.ready);
    }

    #[inline]
    pub(crate) fn after(&mut self, input: &Input, outputs: &[Output], state: &State) -> PyResult<()> {
        let now = input.ts.0;
        if self.timer_ns > 0 && self.timer_due == 0 {
            self.set_timer(now);
        }
        let started = now >= self.from;
        match &input.event {
            // What is in the place of the instrument is the number of a series, of which there may be more.
            Event::Market(Market { update: Update::Value(_), .. }) | Event::Charge(_) => {}
            Event::Market(market) => {
                // An event of no instrument of the run was refused, but is heard of.
                let place = self.places.get(market.instrument.index()).copied().unwrap_or(u32::MAX);
                if place != u32::MAX {
                    self.market(place, market.instrument, &market.update, now, started, state)?;
                }
            }
            // Market data is whole again: what is best now is news.
            Event::Feed(Feed::Complete { instrument }) if state.touched().has(Touched::TOP) => {
                let place = self.places.get(instrument.index()).copied().unwrap_or(u32::MAX);
                if place != u32::MAX {
                    self.market(place, *instrument, &Update::Clear, now, started, state)?;
                }
            }
            Event::Timer(_) if self.timer_ns > 0 && now >= self.timer_due => {
                self.set_timer(now);
                if started {
                    self.what = What { ts: now as i64, instrument: -1, ..What::default() };
                    self.call(4)?;
                }
            }
            _ => {}
        }
        for output in outputs {
            let Output::Fill(fill) = output else { continue };
            let Some(account) = self.accounts.place(fill.strategy) else { continue };
            let (position, listings) = self.accounts.book(account, fill.instrument, fill.position);
            for listing in listings {
                if let Some(known) = self.known.get_mut(self.places[*listing] as usize) {
                    known.position = position.to_f64();
                }
            }
            let place = self.places[fill.instrument.index()];
            if place == u32::MAX {
                continue;
            }
            self.what = What {
                ts: fill.ts_event.0 as i64,
                instrument: i64::from(place),
                price: fill.price.to_f64(),
                quantity: fill.quantity.to_f64(),
                side: fill.side.sign(),
                order: fill.order.0 as i64,
                fee: fill.fee.to_f64(),
                realised: fill.realised.to_f64(),
                ..What::default()
            };
            self.call(3)?;
        }
        Ok(())
    }

    #[inline]
    fn market(
        &mut self,
        place: u32,
        instrument: InstrumentId,
        update: &Update,
        now: u64,
        started: bool,
        state: &State,
    ) -> PyResult<()> {
        let touched = state.touched();
        let view = state.markets().view(instrument);
        let known = &mut self.known[place as usize];
        if touched.has(Touched::TRADE) {
            known.last = price(view.last.0);
            known.last_size = view.last_quantity.to_f64();
        }
        if touched.has(Touched::TOP) {
            known.bid = price(view.top.bid.price.0);
            known.ask = price(view.top.ask.price.0);
            known.bid_size = view.top.bid.quantity.to_f64();
            known.ask_size = view.top.ask.quantity.to_f64();
        }
        if !started {
            return Ok(());
        }
        self.what.ts = now as i64;
        self.what.instrument = i64::from(place);
        if touched.has(Touched::TOP) {
            self.call(0)?;
        }
        if touched.has(Touched::TRADE) {
            self.what.price = price(view.last.0);
            self.what.quantity = view.last_quantity.to_f64();
            self.what.side = view.last_aggressor.map_or(0, Side::sign);
            self.call(1)?;
        }
        if let Update::Bar { open, high, low, close, volume, span } = *update
            && touched.has(Touched::BAR)
        {
            self.what = What {
                open: price(open.0),
                high: price(high.0),
                low: price(low.0),
                close: price(close.0),
                volume: volume.to_f64(),
                span: span as i64,
                ..self.what
            };
            self.call(2)?;
        }
        Ok(())
    }

    fn set_timer(&mut self, now: u64) {
        self.timer_due = (now / self.timer_ns + 1).saturating_mul(self.timer_ns);
    }

    /// Calls one of the functions, if it is there, and takes what it wishes.
    #[inline]
    fn call(&mut self, which: usize) -> PyResult<()> {
        let Some(function) = self.functions[which] else { return Ok(()) };
        call(function, &self.what, &self.known, &self.params, &mut self.memory, &mut self.wishes);
        if self.wishes.count == 0 && self.wishes.failed == 0 { Ok(()) } else { self.collect(which) }
    }

    #[cold]
    fn collect(&mut self, which: usize) -> PyResult<()> {
        let who = format!("compiled {} of strategy {:?}", NAMES[which], self.name);
        if self.wishes.failed != 0 {
            return Err(refuse(
                "strategy",
                format!(
                    "{who} ended by an exception: an index out of its bounds, a division by zero, or one of its own"
                ),
            ));
        }
        let count = usize::try_from(self.wishes.count).ok().filter(|count| *count <= MAX_WISHES);
        let count = count.ok_or_else(|| {
            refuse(
                "strategy",
                format!("{who} has {} wishes in one call, at most {MAX_WISHES} are possible", self.wishes.count),
            )
        })?;
        self.wishes.count = 0;
        for slot in 0..count {
            let intent = self.intent(slot).map_err(|wrong| refuse("strategy", format!("{who}: {wrong}")))?;
            self.ready.push(intent);
        }
        Ok(())
    }

    fn intent(&self, slot: usize) -> Result<Intent, String> {
        let w = &self.wishes;
        let place = w.instrument[slot];
        let instrument = usize::try_from(place).ok().and_then(|place| self.universe.get(place)).copied();
        let instrument = instrument
            .ok_or_else(|| format!("instrument {place} is none of the {} of its universe", self.universe.len()))?;
        let quantity = |value: f64| scaled(value, QUANTITY_SCALE, "quantity").map(Quantity);
        let order = OrderId(w.order[slot] as u64);
        let (size, at) = (w.quantity[slot], w.price[slot]);
        let kind = match w.kind[slot] {
            TARGET => IntentKind::Target { position: quantity(size)? },
            kind @ (BUY | BUY_IOC | BUY_POST_ONLY | SELL | SELL_IOC | SELL_POST_ONLY) => IntentKind::Order {
                id: order,
                side: if matches!(kind, BUY | BUY_IOC | BUY_POST_ONLY) { Side::Buy } else { Side::Sell },
                quantity: quantity(size)?,
                price: if at.is_nan() { Price::UNDEFINED } else { Price(scaled(at, PRICE_SCALE, "price")?) },
                // A market order does not rest: it takes what is there.
                time_in_force: if matches!(kind, BUY_IOC | SELL_IOC) || at.is_nan() {
                    TimeInForce::Ioc
                } else {
                    TimeInForce::Day
                },
                terms: Terms { post_only: matches!(kind, BUY_POST_ONLY | SELL_POST_ONLY), ..Terms::PLAIN },
            },
            CANCEL => IntentKind::Cancel { order },
            REPLACE => IntentKind::Replace {
                order,
                quantity: quantity(size)?,
                price: Price(scaled(at, PRICE_SCALE, "price")?),
            },
            other => return Err(format!("there is no wish of kind {other}")),
        };
        Ok(Intent { strategy: self.accounts.own(), instrument: InstrumentId(instrument), kind })
    }
}

/// As the core's integer. A NaN that came out of a calculation must not become an order.
fn scaled(value: f64, scale: i64, what: &str) -> Result<i64, String> {
    let units = value * scale as f64;
    if !units.is_finite() || units.abs() >= i64::MAX as f64 {
        return Err(format!("{what} {value} is no number, or too large for the core"));
    }
    Ok(units.round_ties_even() as i64)
}

#[allow(unsafe_code)]
fn function(address: usize) -> Option<Function> {
    let address = std::ptr::with_exposed_provenance::<()>(address);
    // SAFETY: the address is zero, which is None, or that of a function that `helios.signals.compiling` compiled with the
    // signature of `Function`, over the layout that `compiled_layout` told it; nothing else calls
    // `Session.compiled`. `Option<fn>` has the size of a pointer, null being None. The owner keeps the code alive.
    // Covered by tests/python/test_compiled.py.
    unsafe { std::mem::transmute::<*const (), Option<Function>>(address) }
}

#[allow(unsafe_code)]
#[inline(always)]
fn call(function: Function, what: &What, known: &[Known], params: &[u64], memory: &mut [f64], wishes: &mut Wishes) {
    // SAFETY: all pointers come from references that live through the call, the lengths beside them are theirs, and the
    // function keeps none (Numba has no way to). It is compiled with bounds checks, reads at most `known.len()` rows,
    // one record of parameters, whose size Python checked against `params`, and `memory.len()` numbers, and catches
    // its own exceptions. Covered by tests/python/test_compiled.py.
    unsafe {
        function(
            what,
            known.as_ptr(),
            known.len() as i64,
            params.as_ptr().cast(),
            memory.as_mut_ptr(),
            memory.len() as i64,
            wishes,
        );
    }
}
