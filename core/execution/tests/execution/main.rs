//! Orders and wishes: single cases of an order's life, random reports against a plain ledger, and wishes of many
//! strategies that a willing venue fills.

mod life;
mod netting;
mod quoting;
mod random;
mod recovering;

use helios_execution::{CALLER_IDS, Orders, Style, Touch};
use helios_risk::{Limits, Risk};
use helios_types::{
    CancelReason, Cash, Digest, Fill, Hasher, Instrument, InstrumentId, Intent, IntentKind, Liquidity, Nanos, Order,
    OrderId, OrderState, Output, Price, Quality, QualityKind, Quantity, RejectReason, Report, ReportKind, Side,
    StrategyId, Terms, TimeInForce,
};

pub const KO: InstrumentId = InstrumentId(0);
pub const TICK: Price = Price(10_000_000);

/// Execution and risk as the engine couples them, and what the last call said.
pub struct Floor {
    pub orders: Orders,
    pub risk: Risk,
    pub now: Nanos,
    pub out: Vec<Output>,
}

impl Floor {
    /// Two instruments at 50, cents, `lot` shares; limit orders at the touch.
    pub fn new(limits: Limits, lot: Quantity) -> Self {
        Self::with_style(limits, lot, Style::Touch { ticks: 0 })
    }

    pub fn with_style(limits: Limits, lot: Quantity, style: Style) -> Self {
        let instruments = ["KO", "PEP"].map(|symbol| Instrument { symbol: symbol.to_owned(), tick: TICK, lot });
        let mut risk = Risk::new(&instruments, limits, Cash::whole(1_000_000_000));
        for id in 0..2 {
            risk.mark(InstrumentId(id), Price::whole(50)).unwrap();
        }
        Self { orders: Orders::new(vec![TICK; 2], style), risk, now: Nanos(0), out: Vec::new() }
    }

    pub fn wish(&mut self, strategy: u32, instrument: InstrumentId, kind: IntentKind) -> &[Output] {
        self.out.clear();
        let intent = Intent { strategy: StrategyId(strategy), instrument, kind };
        self.orders.wish(self.now, &intent, &mut self.risk, &mut self.out);
        while let Some(due) = self.orders.next_due() {
            self.orders.work(self.now, due, touch(50.0), &mut self.risk, &mut self.out);
        }
        &self.out
    }

    /// A target in KO that nobody works at yet.
    pub fn hope(&mut self, strategy: u32, position: Quantity) {
        let (strategy, kind) = (StrategyId(strategy), IntentKind::Target { position });
        self.out.clear();
        self.orders.wish(self.now, &Intent { strategy, instrument: KO, kind }, &mut self.risk, &mut self.out);
    }

    /// A strategy's own limit order in KO; its identifier is the `n`th of those that are kept for callers.
    pub fn order(&mut self, n: u64, side: Side, shares: i64) -> &[Output] {
        let (id, quantity, price) = (caller(n), Quantity::whole(shares), Price::whole(50));
        self.wish(
            7,
            KO,
            IntentKind::Order { id, side, quantity, price, time_in_force: TimeInForce::Day, terms: Terms::PLAIN },
        )
    }

    pub fn target(&mut self, strategy: u32, shares: i64) -> &[Output] {
        self.wish(strategy, KO, IntentKind::Target { position: Quantity::whole(shares) })
    }

    pub fn report(&mut self, order: OrderId, kind: ReportKind) -> &[Output] {
        self.report_of(KO, order, kind)
    }

    pub fn report_of(&mut self, instrument: InstrumentId, order: OrderId, kind: ReportKind) -> &[Output] {
        self.out.clear();
        let report = Report { order, instrument, ts_event: self.now, kind };
        self.orders.report(self.now, &report, &mut self.risk, &mut self.out);
        &self.out
    }

    /// A market event of KO, as far as wishes are concerned.
    pub fn event(&mut self, touch: Touch) -> &[Output] {
        self.out.clear();
        self.orders.work(self.now, KO, touch, &mut self.risk, &mut self.out);
        &self.out
    }

    pub fn held(&self) -> i64 {
        self.risk.position(KO).quantity.0
    }

    pub fn working(&self) -> [Quantity; 2] {
        [Side::Buy, Side::Sell].map(|side| self.risk.working(KO, side))
    }

    pub fn digest(&self) -> u128 {
        let mut hasher = Hasher::new();
        self.orders.digest(&mut hasher);
        self.risk.digest(&mut hasher);
        hasher.finish()
    }
}

pub fn caller(n: u64) -> OrderId {
    OrderId(CALLER_IDS + n)
}

/// A market of one price.
pub fn touch(price: f64) -> Touch {
    let price = Price::from_f64(price).unwrap();
    Touch { bid: price, ask: price, mark: price }
}

pub fn fill(execution: u64, shares: i64, price: f64) -> ReportKind {
    let (price, quantity) = (Price::from_f64(price).unwrap(), Quantity::whole(shares));
    ReportKind::Filled { execution, price, quantity, liquidity: Liquidity::Taker, fee: Cash(3) }
}

pub const ACCEPTED: ReportKind = ReportKind::Accepted { book_ref: 0 };
pub const CANCELLED: ReportKind = ReportKind::Cancelled { reason: CancelReason::Requested };
pub const REJECTED: ReportKind = ReportKind::Rejected { reason: RejectReason::NotTrading };
pub const CHANGE_REJECTED: ReportKind = ReportKind::ChangeRejected { reason: RejectReason::UnknownOrder };

pub fn replaced(shares: i64, price: f64) -> ReportKind {
    ReportKind::Replaced { quantity: Quantity::whole(shares), price: Price::from_f64(price).unwrap() }
}

pub fn submitted(out: &[Output]) -> Vec<Order> {
    out.iter().filter_map(|output| if let Output::Submit(order) = output { Some(*order) } else { None }).collect()
}

pub fn fills(out: &[Output]) -> Vec<Fill> {
    out.iter().filter_map(|output| if let Output::Fill(fill) = output { Some(*fill) } else { None }).collect()
}

pub fn states(out: &[Output]) -> Vec<(OrderState, OrderState)> {
    let state = |output: &Output| if let Output::State(s) = output { Some((s.from, s.to)) } else { None };
    out.iter().filter_map(state).collect()
}

pub fn faults(out: &[Output]) -> Vec<(QualityKind, u64)> {
    let fault = |output: &Output| {
        if let Output::Quality(Quality { kind, detail, .. }) = output { Some((*kind, *detail)) } else { None }
    };
    out.iter().filter_map(fault).collect()
}
