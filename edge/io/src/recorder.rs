//! What a run said, as columns: the copy from which results are made. It never reads the live state.

use std::collections::BTreeMap;

use helios_data::Markets;
use helios_risk::{Position, Risk};
use helios_types::{InstrumentId, Nanos, OrderState, Output, Price, StrategyId};

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident { $($column:ident: $kind:ty),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default)]
            pub struct $table { $(#[allow(missing_docs)] pub $column: Vec<$kind>),+ }

            impl $table {
                #[allow(clippy::too_many_arguments)]
                fn push(&mut self, $($column: $kind),+) {
                    $(self.$column.push($column);)+
                }

                /// Gives each column's name and little-endian bytes.
                pub fn columns(&self, mut give: impl FnMut(&'static str, &'static str, &[u8])) {
                    $(give(stringify!($column), stringify!($kind), &bytes(&self.$column));)+
                }
            }
        )+
    };
}

trait Little: Copy {
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! little {
    ($($kind:ty),+) => {
        $(impl Little for $kind {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        })+
    };
}

little!(u8, u32, u64, i64, f64);

fn bytes<T: Little>(column: &[T]) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_of_val(column));
    for x in column {
        x.put(&mut out);
    }
    out
}

tables! {
    /// Orders: as they were sent, with their last state and what was filled.
    Orders {
        ts: u64, order: u64, strategy: u32, instrument: u32, side: u8, quantity: i64, price: i64, time_in_force: u8,
        state: u8, filled: i64, post_only: u8, peg: u8, display: i64, stop: i64,
    }
    /// Executions, one row for each strategy's share.
    Fills {
        ts: u64, ts_event: u64, order: u64, execution: u64, strategy: u32, instrument: u32, side: u8, price: i64,
        quantity: i64, fee: i64, liquidity: u8, position: i64, realised: i64,
    }
    /// Wishes that the gate refused.
    Refusals {
        ts: u64, strategy: u32, instrument: u32, rule: u8, limit: i64, value: i64, side: u8, quantity: i64, price: i64,
    }
    /// Changes of recorded signals.
    Signals { ts: u64, signal: u32, value: f64, input: f64 }
    /// Money on a grid of time.
    Equity {
        ts: u64, equity: i64, cash: i64, realised: i64, unrealised: i64, fees: i64, gross: i64, net: i64, dividends: i64,
        borrow: i64, financing: i64,
    }
    /// Net positions at the end.
    Positions {
        instrument: u32, quantity: i64, average_price: i64, mark: i64, unrealised: i64, realised: i64, fees: i64,
        dividends: i64, borrow: i64,
    }
    /// Each strategy's money at the end.
    Strategies {
        strategy: u32, realised: i64, unrealised: i64, fees: i64, net: i64, fills: u64, turnover: i64, dividends: i64,
        borrow: i64, financing: i64,
    }
    /// Faults of the data: how many of each kind.
    Faults { instrument: u32, kind: u8, count: u64 }
    /// Reference prices on a grid of time.
    Marks { ts: u64, instrument: u32, price: i64 }
    /// Money and shares that came or went without a trade.
    Cashflows {
        ts: u64, strategy: u32, instrument: u32, kind: u8, cash: i64, position: i64, realised: i64, numerator: u32,
        denominator: u32,
    }
    /// Supervised limits that were reached.
    Breaches { ts: u64, rule: u8, limit: i64, value: i64 }
}

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Orders.
    pub orders: Orders,
    /// Executions.
    pub fills: Fills,
    /// Refusals.
    pub refusals: Refusals,
    /// Signals.
    pub signals: Signals,
    /// Money over time.
    pub equity: Equity,
    /// Net positions at the end.
    pub positions: Positions,
    /// Strategies at the end.
    pub strategies: Strategies,
    /// Faults of the data.
    pub quality: Faults,
    /// Reference prices over time.
    pub marks: Marks,
    /// Dividends, splits, charges.
    pub cashflows: Cashflows,
    /// Breaches.
    pub breaches: Breaches,
}

/// Collects outputs into tables. Its size follows what the run said, not how much it read.
#[derive(Default)]
pub struct Recorder {
    tables: Tables,
    /// Rows of orders that still work.
    rows: BTreeMap<u64, usize>,
    faults: BTreeMap<(u32, u8), u64>,
    cash: i64,
}

impl Recorder {
    /// Empty. `cash` is the money at the start.
    pub fn new(cash: i64) -> Self {
        Self { cash, ..Self::default() }
    }

    /// Gives out all tables, closed with the final positions.
    pub fn take(&mut self, risk: &Risk, instruments: usize) -> Tables {
        let mut tables = std::mem::take(&mut self.tables);
        for at in 0..instruments {
            let id = InstrumentId(u32::try_from(at).expect("instrument numbers have 32 bits"));
            if risk.holder(id) != id {
                continue;
            }
            let (position, mark) = (risk.position(id), risk.mark_of(id));
            if position.fills > 0 {
                tables.positions.push(
                    id.0,
                    position.quantity.0,
                    position.average_price().unwrap_or(Price::UNDEFINED).0,
                    mark.0,
                    unrealised(position, mark),
                    position.realised.0,
                    position.fees.0,
                    position.dividends.0,
                    position.borrow.0,
                );
            }
        }
        let mut strategies: BTreeMap<u32, [i64; 7]> = BTreeMap::new();
        for account in risk.accounts() {
            let position = &account.position;
            let row = strategies.entry(account.strategy.0).or_default();
            row[0] += position.realised.0;
            row[1] += unrealised(position, risk.mark_of(account.instrument));
            row[2] += position.fees.0;
            row[3] += position.fills as i64;
            row[4] += position.turnover.0;
            row[5] += position.dividends.0;
            row[6] += position.borrow.0;
        }
        for (strategy, [realised, unrealised, fees, fills, turnover, dividends, borrow]) in strategies {
            let financing = risk.financing_of(StrategyId(strategy)).0;
            let net = realised + unrealised - fees + dividends - borrow - financing;
            let t = &mut tables.strategies;
            t.push(strategy, realised, unrealised, fees, net, fills as u64, turnover, dividends, borrow, financing);
        }
        for ((instrument, kind), count) in std::mem::take(&mut self.faults) {
            tables.quality.push(instrument, kind, count);
        }
        tables
    }

    /// Appends one output.
    pub fn record(&mut self, ts: Nanos, output: &Output) {
        let (t, ts) = (&mut self.tables, ts.0);
        match output {
            Output::Submit(o) => {
                self.rows.insert(o.id.0, t.orders.ts.len());
                t.orders.push(
                    ts,
                    o.id.0,
                    o.strategy.0,
                    o.instrument.0,
                    o.side as u8,
                    o.quantity.0,
                    o.price.0,
                    o.time_in_force as u8,
                    OrderState::New as u8,
                    0,
                    u8::from(o.terms.post_only),
                    u8::from(o.terms.midpoint),
                    o.terms.display.0,
                    o.terms.stop.0,
                );
            }
            Output::State(s) => {
                if let Some(row) = self.rows.get(&s.order.0) {
                    t.orders.state[*row] = s.to as u8;
                }
                // Its fill follows in the same step and still needs the row.
                if s.to.is_done() && s.to != OrderState::Filled {
                    self.rows.remove(&s.order.0);
                }
            }
            Output::Fill(f) => {
                if let Some(row) = self.rows.get(&f.order.0) {
                    t.orders.filled[*row] += f.quantity.0;
                    if t.orders.filled[*row] == t.orders.quantity[*row] {
                        self.rows.remove(&f.order.0);
                    }
                }
                t.fills.push(
                    ts,
                    f.ts_event.0,
                    f.order.0,
                    f.execution,
                    f.strategy.0,
                    f.instrument.0,
                    f.side as u8,
                    f.price.0,
                    f.quantity.0,
                    f.fee.0,
                    f.liquidity as u8,
                    f.position.0,
                    f.realised.0,
                );
            }
            Output::Replace { order, quantity, price, .. } => {
                if let Some(row) = self.rows.get(&order.0) {
                    (t.orders.quantity[*row], t.orders.price[*row]) = (quantity.0, price.0);
                }
            }
            Output::Refused(r) => t.refusals.push(
                ts,
                r.strategy.0,
                r.instrument.0,
                r.rule as u8,
                r.limit,
                r.value,
                r.side as u8,
                r.quantity.0,
                r.price.0,
            ),
            Output::Signal(s) => t.signals.push(ts, s.signal, s.value, s.input),
            Output::Quality(q) => *self.faults.entry((q.instrument.0, q.kind as u8)).or_default() += 1,
            Output::Booked(b) => t.cashflows.push(
                ts,
                b.strategy.0,
                b.instrument.0,
                b.kind as u8,
                b.cash.0,
                b.position.0,
                b.realised.0,
                b.numerator,
                b.denominator,
            ),
            Output::Breach(b) => t.breaches.push(ts, b.rule as u8, b.limit, b.value),
            Output::Cancel { .. } | Output::Difference(_) => {}
        }
    }

    /// Appends one sample of the money. Realised profit is the rest: equity = start + realised + unrealised - fees +
    /// dividends - borrow - financing.
    pub fn sample(&mut self, ts: Nanos, risk: &Risk) {
        self.put(ts, &Money::of(risk));
    }

    /// Appends a sample that was taken elsewhere.
    pub fn put(&mut self, ts: Nanos, money: &Money) {
        let Money { equity, cash, unrealised, fees, gross, net, dividends, borrow, financing } = *money;
        let realised = equity - self.cash - unrealised + fees - dividends + borrow + financing;
        let t = &mut self.tables.equity;
        t.push(ts.0, equity, cash, realised, unrealised, fees, gross, net, dividends, borrow, financing);
    }

    /// Rows that are kept.
    pub fn rows(&self) -> usize {
        let t = &self.tables;
        t.orders.ts.len()
            + t.fills.ts.len()
            + t.refusals.ts.len()
            + t.signals.ts.len()
            + t.equity.ts.len()
            + t.cashflows.ts.len()
            + t.breaches.ts.len()
    }

    /// A copy of all tables, those of the positions and of the strategies apart: see [`Recorder::take`].
    pub fn copy(&self) -> Tables {
        let mut tables = self.tables.clone();
        for (&(instrument, kind), &count) in &self.faults {
            tables.quality.push(instrument, kind, count);
        }
        tables
    }

    /// Appends the reference price of every instrument that has one.
    pub fn sample_marks(&mut self, ts: Nanos, markets: &Markets) {
        for at in 0..markets.len() {
            let id = InstrumentId(u32::try_from(at).expect("instrument numbers have 32 bits"));
            let mark = markets.view(id).mark();
            if mark.is_defined() {
                self.tables.marks.push(ts.0, id.0, mark.0);
            }
        }
    }
}

/// The money at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    equity: i64,
    cash: i64,
    unrealised: i64,
    fees: i64,
    gross: i64,
    net: i64,
    dividends: i64,
    borrow: i64,
    financing: i64,
}

impl Money {
    /// As it is now.
    pub fn of(risk: &Risk) -> Self {
        Self {
            equity: risk.equity().0,
            cash: risk.cash().0,
            unrealised: risk.unrealised().0,
            fees: risk.fees().0,
            gross: risk.gross().0,
            net: risk.net().0,
            dividends: risk.dividends().0,
            borrow: risk.borrowed().0,
            financing: risk.financing().0,
        }
    }
}

fn unrealised(position: &Position, mark: Price) -> i64 {
    if position.quantity.is_zero() || !mark.is_defined() {
        return 0;
    }
    position.value(mark).map_or(0, |value| value.0 - position.cost.0)
}
