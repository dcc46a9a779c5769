//! Wishes, working orders, and who gets what of a fill.

use std::collections::BTreeMap;

use helios_risk::{Risk, Wish};
use helios_types::{
    Cash, Digest, Fill, Hasher, InstrumentId, Intent, IntentKind, Liquidity, NANOS_PER_SECOND, Nanos, Order, OrderId,
    OrderState, Output, Price, Quality, QualityKind, Quantity, Refusal, RejectReason, Report, ReportKind, Rule, Side,
    StateChange, StrategyId, TimeInForce,
};

use crate::lifecycle::{Happening, next};

/// Orders working at once; a wish beyond it is refused.
pub const MAX_OPEN_ORDERS: usize = 1 << 16;

/// Identifiers from here on are for callers ([`IntentKind::Order`]); those below are given by execution itself.
pub const CALLER_IDS: u64 = 1 << 31;

/// After a refusal or a reject an instrument's wishes wait this long before they are tried again.
const RETRY_AFTER_NS: u64 = NANOS_PER_SECOND;

/// How a netted wish becomes an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A market order; the venue decides the price (bars).
    Market,
    /// An immediate-or-cancel limit order so many ticks through the far touch; what is not filled is tried again at
    /// the next event.
    Touch { ticks: u16 },
}

/// Prices of an instrument, as the engine sees them now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Best bid or [`Price::UNDEFINED`].
    pub bid: Price,
    /// Best ask or [`Price::UNDEFINED`].
    pub ask: Price,
    /// Price at which positions are valued.
    pub mark: Price,
}

/// One working order.
#[derive(Clone, Copy, Debug)]
struct Working {
    order: Order,
    state: OrderState,
    filled: Quantity,
    /// Sent for all strategies together; its fills are shared out.
    netted: bool,
    /// Quantity and price asked for by a replace that is on its way.
    asked: Option<(Quantity, Price)>,
}

impl Working {
    fn open(&self) -> Quantity {
        Quantity(self.order.quantity.0 - self.filled.0)
    }
}

/// What one strategy wants to hold.
#[derive(Clone, Copy, Debug)]
struct Claim {
    strategy: StrategyId,
    account: u32,
    want: Quantity,
}

/// One instrument's wishes.
#[derive(Clone, Debug, Default)]
struct Desk {
    claims: Vec<Claim>,
    /// A netted order is working: wait for its end.
    busy: bool,
    /// Wants and holdings may differ: look again.
    hungry: bool,
    not_before: Nanos,
}

/// All wishes and all working orders.
pub struct Orders {
    working: BTreeMap<OrderId, Working>,
    desks: Vec<Desk>,
    /// Instruments with a new wish since [`Orders::next_due`] last gave them out.
    due: Vec<InstrumentId>,
    ticks: Vec<Price>,
    next_id: u64,
    style: Style,
    counts: Counts,
}

/// What execution did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders sent.
    pub sent: u64,
    /// Wishes refused by the gate.
    pub refused: u64,
    /// Executions booked.
    pub fills: u64,
    /// Quantity crossed between strategies without an order.
    pub transfers: u64,
    /// Orders rejected by the venue.
    pub rejected: u64,
}

impl Orders {
    /// No wishes yet. `ticks` are the instruments' price steps.
    pub fn new(ticks: Vec<Price>, style: Style) -> Self {
        Self {
            working: BTreeMap::new(),
            desks: vec![Desk::default(); ticks.len()],
            due: Vec::new(),
            ticks,
            next_id: 1,
            style,
            counts: Counts::default(),
        }
    }

    /// Orders working now.
    pub fn open_orders(&self) -> usize {
        self.working.len()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a wish. Targets wait for [`Orders::work`]; orders, cancels and replaces go at once.
    pub fn wish(&mut self, now: Nanos, intent: &Intent, risk: &mut Risk, out: &mut Vec<Output>) {
        let Intent { strategy, instrument, kind } = *intent;
        if instrument.index() >= self.desks.len() {
            return self.refuse(invalid(intent), out);
        }
        match kind {
            IntentKind::Target { position } => {
                let account = risk.account(strategy, instrument);
                self.due.push(instrument);
                let desk = &mut self.desks[instrument.index()];
                desk.hungry = true;
                // A new wish is a new chance.
                desk.not_before = Nanos(0);
                match desk.claims.iter_mut().find(|claim| claim.strategy == strategy) {
                    Some(claim) => claim.want = position,
                    None => desk.claims.push(Claim { strategy, account, want: position }),
                }
            }
            IntentKind::Order { id, side, quantity, price, time_in_force } => {
                if id.0 < CALLER_IDS || self.working.contains_key(&id) {
                    return self.refuse(invalid(intent), out);
                }
                let wish = Wish { strategy, instrument, side, quantity, price, time_in_force };
                self.send(now, wish, id, false, risk, out);
            }
            IntentKind::Cancel { order } => self.cancel(intent, order, out),
            IntentKind::Replace { order, quantity, price } => {
                self.replace(now, intent, order, quantity, price, risk, out);
            }
        }
    }

    /// An instrument with a new wish; the caller then calls [`Orders::work`] for it.
    #[inline]
    pub fn next_due(&mut self) -> Option<InstrumentId> {
        self.due.pop()
    }

    /// True when [`Orders::work`] has something to do for the instrument.
    #[inline]
    pub fn is_hungry(&self, instrument: InstrumentId) -> bool {
        self.desks[instrument.index()].hungry
    }

    /// Brings holdings towards wishes in one instrument: crosses opposite wishes at the mark, sends the rest.
    pub fn work(&mut self, now: Nanos, instrument: InstrumentId, touch: Touch, risk: &mut Risk, out: &mut Vec<Output>) {
        let desk = &self.desks[instrument.index()];
        if !desk.hungry || desk.busy || now < desk.not_before || !touch.mark.is_defined() {
            return;
        }
        self.cross(now, instrument, touch.mark, risk, out);
        let desk = &mut self.desks[instrument.index()];
        let lacking = |claim: &Claim| claim.want.0 - risk.accounts()[claim.account as usize].position.quantity.0;
        let short: i64 = desk.claims.iter().map(lacking).sum();
        let Some(first) = desk.claims.iter().find(|claim| lacking(claim) != 0) else {
            desk.hungry = false;
            return;
        };
        assert!(short != 0, "after crossing, what is lacking has one sign");
        let side = Side::of(Quantity(short));
        let Some((price, time_in_force)) = self.style.price(side, touch, self.ticks[instrument.index()]) else {
            // No far side to meet: wait for the next event.
            return;
        };
        let strategy = first.strategy;
        let wish = Wish { strategy, instrument, side, quantity: Quantity(short.abs()), price, time_in_force };
        let id = OrderId(self.next_id);
        if self.send(now, wish, id, true, risk, out) {
            self.next_id += 1;
            self.desks[instrument.index()].busy = true;
        } else {
            self.desks[instrument.index()].not_before = now.plus(RETRY_AFTER_NS);
        }
    }

    /// Moves shares between strategies whose wishes are opposite, at the mark and without a fee.
    fn cross(&mut self, now: Nanos, instrument: InstrumentId, mark: Price, risk: &mut Risk, out: &mut Vec<Output>) {
        let claims = &self.desks[instrument.index()].claims;
        let lacking =
            |risk: &Risk, claim: &Claim| claim.want.0 - risk.accounts()[claim.account as usize].position.quantity.0;
        let (mut buys, mut sells) = (0i64, 0i64);
        for claim in claims {
            let lack = lacking(risk, claim);
            *(if lack > 0 { &mut buys } else { &mut sells }) += lack.abs();
        }
        let crossed = buys.min(sells);
        if crossed == 0 {
            return;
        }
        self.counts.transfers += 1;
        let mut left = [crossed, crossed];
        for claim in claims {
            let lack = lacking(risk, claim);
            let side = Side::of(Quantity(lack));
            let quantity = Quantity(lack.abs().min(left[side as usize]));
            if quantity.is_zero() {
                continue;
            }
            left[side as usize] -= quantity.0;
            let share = Share { claim: (claim.strategy, claim.account), side, quantity, fee: Cash::ZERO };
            let trade =
                Trade { order: OrderId(0), execution: 0, ts_event: now, liquidity: Liquidity::Maker, price: mark };
            book_share(instrument, &trade, &share, risk, out);
        }
    }

    fn send(
        &mut self,
        now: Nanos,
        wish: Wish,
        id: OrderId,
        netted: bool,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.working.len() >= MAX_OPEN_ORDERS {
            let limit = MAX_OPEN_ORDERS as i64;
            self.refuse(refusal(&wish, Rule::Invalid, limit, limit + 1), out);
            return false;
        }
        match risk.check(now, wish) {
            Ok(approved) => {
                let order = approved.into_order(id);
                let working = Working { order, state: OrderState::New, filled: Quantity::ZERO, netted, asked: None };
                let previous = self.working.insert(id, working);
                assert!(previous.is_none(), "order identifiers are never reused");
                self.counts.sent += 1;
                out.push(Output::Submit(order));
                true
            }
            Err(refusal) => {
                self.refuse(refusal, out);
                false
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, out: &mut Vec<Output>) {
        self.counts.refused += 1;
        out.push(Output::Refused(refusal));
    }

    fn cancel(&mut self, intent: &Intent, id: OrderId, out: &mut Vec<Output>) {
        let Some(working) = self.working.get_mut(&id).filter(|w| w.order.instrument == intent.instrument) else {
            return self.refuse(invalid(intent), out);
        };
        // A second cancel while the first is on its way is no new message.
        if let Some(to) = next(working.state, Happening::AskCancel, working.filled.0 > 0) {
            change(working, to, None, out);
            out.push(Output::Cancel { order: id, instrument: intent.instrument });
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn replace(
        &mut self,
        now: Nanos,
        intent: &Intent,
        id: OrderId,
        quantity: Quantity,
        price: Price,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) {
        let Some(working) = self.working.get_mut(&id).filter(|w| w.order.instrument == intent.instrument) else {
            return self.refuse(invalid(intent), out);
        };
        let Some(to) = next(working.state, Happening::AskReplace, working.filled.0 > 0) else {
            return self.refuse(invalid(intent), out);
        };
        let Order { strategy, instrument, side, time_in_force, .. } = working.order;
        let wish = Wish { strategy, instrument, side, quantity, price, time_in_force };
        match risk.check_replace(now, wish, working.open(), working.filled) {
            Ok(_approved) => {
                working.asked = Some((quantity, price));
                change(working, to, None, out);
                out.push(Output::Replace { order: id, instrument, quantity, price });
            }
            Err(refusal) => self.refuse(refusal, out),
        }
    }

    /// Applies a venue's answer. One that does not fit the order's state is reported and changes nothing.
    pub fn report(&mut self, report: &Report, risk: &mut Risk, out: &mut Vec<Output>) {
        let Some(working) = self.working.get_mut(&report.order) else {
            return misfit(report, out);
        };
        let happening = match report.kind {
            ReportKind::Accepted { .. } => Happening::Accept,
            ReportKind::Filled { quantity, .. } => match quantity.0.cmp(&working.open().0) {
                _ if quantity.0 <= 0 => return misfit(report, out),
                std::cmp::Ordering::Less => Happening::Fill,
                std::cmp::Ordering::Equal => Happening::FillLast,
                std::cmp::Ordering::Greater => return misfit(report, out),
            },
            ReportKind::Cancelled { .. } => Happening::Cancel,
            ReportKind::Replaced { .. } => Happening::Replace,
            ReportKind::Rejected { .. } => Happening::Reject,
            ReportKind::ChangeRejected { .. } => Happening::RefuseChange,
        };
        let fills = matches!(happening, Happening::Fill | Happening::FillLast);
        let Some(to) = next(working.state, happening, working.filled.0 > 0 || fills) else {
            return misfit(report, out);
        };
        match report.kind {
            ReportKind::Accepted { .. } => change(working, to, None, out),
            ReportKind::Filled { execution, price, quantity, liquidity, fee } => {
                let trade = Trade { order: report.order, execution, ts_event: report.ts_event, liquidity, price };
                if risk.fill(&working.order, price, quantity, fee).is_err() {
                    return misfit(report, out);
                }
                working.filled = Quantity(working.filled.0 + quantity.0);
                change(working, to, None, out);
                let working = *working;
                self.counts.fills += 1;
                self.share_out(&working, &trade, quantity, fee, risk, out);
            }
            ReportKind::Cancelled { .. } => {
                risk.change_working(report.instrument, working.order.side, working.open().neg());
                change(working, to, None, out);
            }
            ReportKind::Replaced { quantity, price } => {
                let before = working.open();
                if quantity < working.filled {
                    return misfit(report, out);
                }
                (working.order.quantity, working.order.price, working.asked) = (quantity, price, None);
                let delta = Quantity(working.open().0 - before.0);
                risk.change_working(report.instrument, working.order.side, delta);
                change(working, to, None, out);
            }
            ReportKind::Rejected { reason } => {
                risk.change_working(report.instrument, working.order.side, working.open().neg());
                change(working, to, Some(reason), out);
                self.counts.rejected += 1;
            }
            ReportKind::ChangeRejected { reason } => {
                working.asked = None;
                change(working, to, Some(reason), out);
            }
        }
        if to.is_done() {
            self.finish(report);
        }
    }

    fn finish(&mut self, report: &Report) {
        let working = self.working.remove(&report.order).expect("it was working a moment ago");
        if working.netted {
            let desk = &mut self.desks[working.order.instrument.index()];
            desk.busy = false;
            desk.hungry = true;
            if let ReportKind::Rejected { .. } = report.kind {
                desk.not_before = report.ts_event.plus(RETRY_AFTER_NS);
            }
        }
    }

    /// Gives a fill to the strategies that lack it, first come first served; a fee goes with the shares.
    fn share_out(
        &mut self,
        working: &Working,
        trade: &Trade,
        quantity: Quantity,
        fee: Cash,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) {
        let Order { instrument, side, strategy, .. } = working.order;
        let sign = side.sign();
        let (mut left, mut fee_left) = (quantity.0, fee.0);
        let mut give = |strategy: StrategyId, account: u32, part: i64, risk: &mut Risk, out: &mut Vec<Output>| {
            let fee_part = if part == left { fee_left } else { share_of(fee, part, quantity.0) };
            left -= part;
            fee_left -= fee_part;
            let share = Share { claim: (strategy, account), side, quantity: Quantity(part), fee: Cash(fee_part) };
            book_share(instrument, trade, &share, risk, out);
            left
        };
        let mut remaining = quantity.0;
        if working.netted {
            for claim in &self.desks[instrument.index()].claims {
                let held = risk.accounts()[claim.account as usize].position.quantity.0;
                let lack = (claim.want.0 - held) * sign;
                if lack > 0 && remaining > 0 {
                    remaining = give(claim.strategy, claim.account, lack.min(remaining), risk, out);
                }
            }
        }
        // Nobody lacks it any more (the wish changed while the order was on its way), or it was one strategy's own.
        if remaining > 0 {
            let account = risk.account(strategy, instrument);
            give(strategy, account, remaining, risk, out);
        }
        if !working.netted {
            let desk = &mut self.desks[instrument.index()];
            if let Some(claim) = desk.claims.iter_mut().find(|claim| claim.strategy == strategy) {
                claim.want = Quantity(claim.want.0 + sign * quantity.0);
            }
        }
    }
}

impl Style {
    /// Limit price and life time for an order of this side; `None` when there is nothing to meet.
    fn price(self, side: Side, touch: Touch, tick: Price) -> Option<(Price, TimeInForce)> {
        match self {
            Self::Market => Some((Price::UNDEFINED, TimeInForce::Ioc)),
            Self::Touch { ticks } => {
                let far = match side {
                    Side::Buy => touch.ask,
                    Side::Sell => touch.bid,
                };
                let through = side.sign() * i64::from(ticks) * tick.0;
                let price = Price(far.0.checked_add(through)?);
                (far.is_defined() && price.0 > 0).then_some((price, TimeInForce::Ioc))
            }
        }
    }
}

/// One execution, before it is shared out.
struct Trade {
    order: OrderId,
    execution: u64,
    ts_event: Nanos,
    liquidity: Liquidity,
    price: Price,
}

/// What one strategy gets of it.
struct Share {
    claim: (StrategyId, u32),
    side: Side,
    quantity: Quantity,
    fee: Cash,
}

fn book_share(instrument: InstrumentId, trade: &Trade, share: &Share, risk: &mut Risk, out: &mut Vec<Output>) {
    let (strategy, account) = share.claim;
    let (realised, position) = risk
        .book_share(account, share.side, trade.price, share.quantity, share.fee)
        .expect("a share of a fill that fitted the net position fits a strategy's account");
    out.push(Output::Fill(Fill {
        order: trade.order,
        strategy,
        instrument,
        execution: trade.execution,
        ts_event: trade.ts_event,
        side: share.side,
        price: trade.price,
        quantity: share.quantity,
        fee: share.fee,
        liquidity: trade.liquidity,
        position,
        realised,
    }));
}

fn share_of(fee: Cash, part: i64, whole: i64) -> i64 {
    (i128::from(fee.0) * i128::from(part) / i128::from(whole)) as i64
}

fn change(working: &mut Working, to: OrderState, reject: Option<RejectReason>, out: &mut Vec<Output>) {
    let (order, instrument, from) = (working.order.id, working.order.instrument, working.state);
    working.state = to;
    out.push(Output::State(StateChange { order, instrument, from, to, reject }));
}

/// A report that fits no order, or not its state.
fn misfit(report: &Report, out: &mut Vec<Output>) {
    let kind = QualityKind::UnknownOrder;
    out.push(Output::Quality(Quality { instrument: report.instrument, kind, detail: report.order.0 }));
}

fn refusal(wish: &Wish, rule: Rule, limit: i64, value: i64) -> Refusal {
    let Wish { strategy, instrument, side, quantity, price, .. } = *wish;
    Refusal { strategy, instrument, rule, limit, value, side, quantity, price }
}

fn invalid(intent: &Intent) -> Refusal {
    let (side, quantity, price) = match intent.kind {
        IntentKind::Order { side, quantity, price, .. } => (side, quantity, price),
        IntentKind::Target { position } => (Side::of(position), position.abs(), Price::UNDEFINED),
        IntentKind::Replace { quantity, price, .. } => (Side::Buy, quantity, price),
        IntentKind::Cancel { .. } => (Side::Buy, Quantity::ZERO, Price::UNDEFINED),
    };
    let (strategy, instrument) = (intent.strategy, intent.instrument);
    Refusal { strategy, instrument, rule: Rule::Invalid, limit: 0, value: 0, side, quantity, price }
}

impl Digest for Orders {
    fn digest(&self, hasher: &mut Hasher) {
        for (id, working) in &self.working {
            hasher.u64(id.0);
            hasher.u64(u64::from(working.order.instrument.0));
            hasher.u64(u64::from(working.order.strategy.0));
            hasher.u64(
                working.order.side as u64 * 4 + working.order.time_in_force as u64 * 2 + u64::from(working.netted),
            );
            hasher.u64(working.state as u64);
            for x in [working.order.quantity.0, working.order.price.0, working.filled.0] {
                hasher.i64(x);
            }
            let (quantity, price) = working.asked.unwrap_or((Quantity::ZERO, Price::ZERO));
            hasher.i64(quantity.0);
            hasher.i64(price.0);
        }
        for desk in &self.desks {
            for claim in &desk.claims {
                hasher.u64(u64::from(claim.strategy.0));
                hasher.i64(claim.want.0);
            }
            hasher.u64(u64::from(desk.busy) * 2 + u64::from(desk.hungry));
            hasher.u64(desk.not_before.0);
        }
        hasher.u64(self.next_id);
    }
}
