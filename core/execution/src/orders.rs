//! Wishes, working orders, and who gets what of a fill.

use std::collections::{BTreeSet, VecDeque};

use helios_risk::{Moved, Risk, Share, Wish};
use helios_types::{
    Breach, Cash, Control, Digest, Fill, Hasher, InstrumentId, Intent, IntentKind, Liquidity, NANOS_PER_SECOND, Nanos,
    Order, OrderId, OrderState, Output, Overflow, Price, Quality, QualityKind, Quantity, Refusal, RejectReason, Report,
    ReportKind, Rule, Rules, Side, Split, StateChange, StrategyId, Terms, TickTable, TimeInForce, notional,
    round_down_to_tick,
};

use crate::lifecycle::{Happening, next};
use crate::links::Links;
use crate::open::{Identified, Open};
use crate::quoting::Quote;
use crate::used::Used;

/// Orders working at once; a wish beyond it is refused.
pub const MAX_OPEN_ORDERS: usize = 1 << 16;

/// Identifiers from here on are for callers ([`IntentKind::Order`]); those below are given by execution itself.
pub const CALLER_IDS: u64 = 1 << 31;

/// Ended orders that are remembered, so that an execution reported late is still booked; older ones are forgotten.
pub const MAX_ENDED_ORDERS: usize = 1 << 10;

/// Orders with executions that are remembered beyond those, by the numbers of their executions alone: when a venue tells
/// its day again, what was booked long ago is recognised. Only where a session was lost; the oldest is forgotten, and an
/// execution of a forgotten order pauses trading.
pub const MAX_BOOKED_ORDERS: usize = 1 << 18;

/// Totals and prices that replaces have put out of force and that are remembered, to recognise a repetition.
pub const MAX_PAST_TERMS: usize = 1 << 10;

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

/// One order: working, or ended a while ago.
#[derive(Clone, Debug)]
pub(crate) struct Working {
    pub(crate) order: Order,
    pub(crate) state: OrderState,
    pub(crate) filled: Quantity,
    /// Sent for all strategies together; its fills are shared out.
    pub(crate) netted: bool,
    /// The account of its strategy.
    pub(crate) account: u32,
    /// Quantity and price asked for by a replace that is on its way.
    pub(crate) asked: Option<(Quantity, Price)>,
    /// Numbers of the executions booked, so that none is booked twice.
    pub(crate) executions: Vec<u64>,
    /// When something was last asked of the venue about it.
    pub(crate) asked_at: Nanos,
}

/// An order that may be working, as others see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOrder {
    /// As it was sent, with what changes of it are in force.
    pub order: Order,
    /// How it stands.
    pub state: OrderState,
    /// Of its quantity.
    pub filled: Quantity,
    /// When something was last asked of the venue about it.
    pub asked_at: Nanos,
}

impl Working {
    fn open(&self) -> OpenOrder {
        let Self { order, state, filled, asked_at, .. } = *self;
        OpenOrder { order, state, filled, asked_at }
    }
}

/// What is left of an order that ended long ago.
#[derive(Debug)]
pub(crate) struct Booked {
    pub(crate) order: OrderId,
    pub(crate) executions: Vec<u64>,
}

impl Identified for Booked {
    fn id(&self) -> OrderId {
        self.order
    }
}

/// An order about which the venue owes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Which.
    pub order: OrderId,
    /// Of what.
    pub instrument: InstrumentId,
    /// New, cancel or replace pending, or unknown.
    pub state: OrderState,
    /// When it was sent, or was asked to change.
    pub since: Nanos,
}

impl Working {
    /// What is reserved for it at the gate: what can still fill, also by a replace that is on its way.
    fn room(&self) -> Quantity {
        if self.state.is_done() {
            return Quantity::ZERO;
        }
        let total = self.asked.map_or(self.order.quantity, |(quantity, _)| quantity.max(self.order.quantity));
        Quantity((total.0 - self.filled.0).max(0))
    }

    /// What can still fill by the terms in force.
    pub(crate) fn left(&self) -> Quantity {
        Quantity(self.order.quantity.0 - self.filled.0)
    }

    /// Books `quantity` as filled; true when something is left. More than the total shows that a replace under way is
    /// in force already.
    fn take(&mut self, quantity: Quantity, execution: u64) -> bool {
        self.filled = Quantity(self.filled.0.saturating_add(quantity.0));
        self.executions.push(execution);
        if let Some((asked, _)) = self.asked
            && self.filled > self.order.quantity
        {
            self.order.quantity = self.order.quantity.max(asked);
        }
        self.filled < self.order.quantity
    }
}

impl Identified for Working {
    fn id(&self) -> OrderId {
        self.order.id
    }
}

/// What one strategy wants to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) strategy: StrategyId,
    pub(crate) account: u32,
    pub(crate) want: Quantity,
    /// Its account's position, here again: all that netting looks at lies together.
    pub(crate) held: Quantity,
}

impl Claim {
    /// What is missing: bought when positive. Where positions are closed nothing is wanted.
    fn lacks(&self, flat: bool) -> i128 {
        i128::from(if flat { 0 } else { self.want.0 }) - i128::from(self.held.0)
    }
}

/// One instrument's wishes.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Desk {
    pub(crate) tick: Price,
    pub(crate) not_before: Nanos,
    /// A netted order is working: wait for its end.
    pub(crate) busy: bool,
    /// Wants and holdings may differ: look again.
    pub(crate) hungry: bool,
    pub(crate) claims: Vec<Claim>,
}

impl Desk {
    fn new(tick: Price) -> Self {
        Self { tick, not_before: Nanos(0), busy: false, hungry: false, claims: Vec::new() }
    }

    /// What all strategies together lack, and whether some lack what others have too much of.
    #[inline]
    fn lacks(&self, flat: bool) -> (i128, bool) {
        let (mut sum, mut buys, mut sells, mut wide) = (0i64, false, false, false);
        for claim in &self.claims {
            let (lack, beyond) = if flat { 0 } else { claim.want.0 }.overflowing_sub(claim.held.0);
            wide |= beyond;
            (sum, wide) = (sum.wrapping_add(lack), wide | sum.checked_add(lack).is_none());
            buys |= lack > 0;
            sells |= lack < 0;
        }
        if wide { self.lacks_wide(flat) } else { (i128::from(sum), buys & sells) }
    }

    /// [`Desk::lacks`] when it does not fit 64 bits.
    #[cold]
    fn lacks_wide(&self, flat: bool) -> (i128, bool) {
        let lacks = || self.claims.iter().map(|claim| claim.lacks(flat));
        (lacks().sum(), lacks().any(|lack| lack > 0) && lacks().any(|lack| lack < 0))
    }
}

/// All wishes and all working orders.
pub struct Orders {
    pub(crate) working: Open<Working>,
    pub(crate) desks: Vec<Desk>,
    /// What strategies want to show, by instrument.
    pub(crate) quotes: Vec<Vec<Quote>>,
    /// Instruments with a new wish, first come first served; empty between steps.
    pub(crate) due: VecDeque<InstrumentId>,
    /// The last orders that ended, oldest first.
    pub(crate) ended: VecDeque<Working>,
    /// Those before them that have executions, where a session was lost; and in the order in which they left `ended`.
    pub(crate) booked: Open<Booked>,
    pub(crate) booked_order: VecDeque<OrderId>,
    /// Totals and prices that were in force, where a session was lost; oldest first.
    pub(crate) past: VecDeque<(OrderId, Quantity, Price)>,
    /// The order-entry sessions.
    pub(crate) links: Links,
    /// Instruments of whose books messages are missing: as the views say, which the digest has.
    pub(crate) blind: BTreeSet<InstrumentId>,
    /// Every position is being closed.
    pub(crate) flat: bool,
    /// Instrument and account of claims that stand for what strategies ordered themselves, while positions are closed.
    pub(crate) strangers: Vec<(InstrumentId, u32)>,
    /// Identifiers that callers have used.
    pub(crate) used: Used,
    /// Emptied within each booking; kept to keep its memory.
    pub(crate) shares: Vec<Share>,
    pub(crate) next_id: u64,
    pub(crate) style: Style,
    /// By instrument; empty when none has any.
    pub(crate) rules: Vec<Rules>,
    pub(crate) counts: Counts,
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
    /// Times that opposite wishes of strategies were crossed without an order.
    pub transfers: u64,
    /// Orders rejected by the venue.
    pub rejected: u64,
    /// Executions that could not be booked: of an order that is not known, or of a price or amount that cannot be.
    /// Each one pauses trading, because positions are no longer what the venue says.
    pub unbooked: u64,
    /// Reports that a venue repeated after its session was lost, and that changed nothing.
    pub repeated: u64,
    /// Orders that were lost with a connection: the venue never had them.
    pub lost: u64,
}

impl Orders {
    /// No wishes yet. `ticks` are the instruments' price steps.
    pub fn new(ticks: Vec<Price>, style: Style) -> Self {
        Self {
            working: Open::new(),
            quotes: vec![Vec::new(); ticks.len()],
            desks: ticks.into_iter().map(Desk::new).collect(),
            due: VecDeque::new(),
            ended: VecDeque::new(),
            booked: Open::new(),
            booked_order: VecDeque::new(),
            past: VecDeque::new(),
            links: Links::new(),
            blind: BTreeSet::new(),
            flat: false,
            strangers: Vec::new(),
            used: Used::default(),
            shares: Vec::new(),
            next_id: 1,
            style,
            rules: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The instruments' rules, one for each.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Rules>) -> Self {
        assert!(rules.len() == self.desks.len(), "rules are given for every instrument, or for none");
        self.rules = rules;
        self
    }

    /// The order-entry session that each instrument's orders go through; without it all go through session 0.
    #[must_use]
    pub fn with_sessions(mut self, session_of: Vec<u32>) -> Self {
        assert!(session_of.len() == self.desks.len(), "a session is given for every instrument, or for none");
        self.links.through(session_of);
        self
    }

    /// The order-entry sessions.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// True while every position is being closed.
    pub fn is_flat(&self) -> bool {
        self.flat
    }

    /// Orders about which the venue owes an answer since `until` or longer, by number. Nothing is assumed about them: a
    /// desk whose order has no answer waits, and somebody has to look.
    pub fn unanswered(&self, until: Nanos) -> Vec<Unanswered> {
        let waiting = |id: OrderId| {
            let Working { order, state, asked_at, .. } = self.working.get(id)?;
            let answered = matches!(state, OrderState::Accepted | OrderState::PartlyFilled);
            (!answered && *asked_at <= until).then_some(Unanswered {
                order: id,
                instrument: order.instrument,
                state: *state,
                since: *asked_at,
            })
        };
        self.working.sorted().into_iter().filter_map(waiting).collect()
    }

    /// Wishes follow a split: what a strategy has is what it has now, and what it lacks is as much in new shares.
    pub fn split(&mut self, instrument: InstrumentId, split: Split, moved: &[Moved], lot: Quantity) {
        let desk = &mut self.desks[instrument.index()];
        for claim in &mut desk.claims {
            let lacks = split.shares(Quantity(claim.want.0.saturating_sub(claim.held.0)), lot);
            if let Some(one) = moved.iter().find(|one| one.account == Some(claim.account)) {
                claim.held = one.after.quantity;
            }
            claim.want = lacks.and_then(|lacks| claim.held.add(lacks)).unwrap_or(claim.held);
        }
    }

    /// Orders working now.
    pub fn open_orders(&self) -> usize {
        self.working.len()
    }

    /// Every order that may be working, lowest number first.
    pub fn open(&self) -> Vec<OpenOrder> {
        let ids = self.working.sorted();
        ids.into_iter().filter_map(|id| self.working.get(id)).map(Working::open).collect()
    }

    /// Orders of which nobody knows whether they are working.
    pub fn unknown_orders(&self) -> usize {
        self.working.iter().filter(|working| working.state == OrderState::Unknown).count()
    }

    /// The lowest number of a caller's range from which on none was used: where one goes on to count that was started anew.
    pub fn free_id(&self, first: u64, end: u64) -> u64 {
        self.used.free_from(first, end)
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
            // What one wants to hold is said of the security, not of one of its further listings.
            IntentKind::Target { .. } if risk.holder(instrument) != instrument => self.refuse(invalid(intent), out),
            IntentKind::Target { position } => {
                let desk = &mut self.desks[instrument.index()];
                let known = desk.claims.iter_mut().find(|claim| claim.strategy == strategy);
                if let Some(claim) = known {
                    claim.want = position;
                } else {
                    let Some(account) = risk.account(strategy, instrument) else {
                        return self.refuse(invalid(intent), out);
                    };
                    let held = risk.accounts()[account as usize].position.quantity;
                    desk.claims.push(Claim { strategy, account, want: position, held });
                }
                desk.hungry = true;
                // A new wish is a new chance.
                desk.not_before = Nanos(0);
                self.due.push_back(instrument);
            }
            IntentKind::Order { id, side, quantity, price, time_in_force, terms } => {
                // A number is used up even when the gate refuses: callers count upwards, whatever happens.
                if id.0 < CALLER_IDS || !self.used.claim(id.0) {
                    return self.refuse(invalid(intent), out);
                }
                // Its fills will need the account: opened now, booking cannot fail for want of one.
                let account = risk.account(strategy, instrument);
                let wish = Wish { strategy, instrument, side, quantity, price, time_in_force, terms };
                self.send(now, wish, id, account, false, risk, out);
            }
            IntentKind::Quote { .. } => match risk.account(strategy, instrument) {
                Some(account) => self.quote(now, intent, account, risk, out),
                None => self.refuse(invalid(intent), out),
            },
            IntentKind::Cancel { order } => self.cancel(now, intent, order, out),
            IntentKind::Replace { order, quantity, price } => {
                self.replace(now, intent, order, quantity, price, risk, out);
            }
        }
    }

    /// An instrument with a new wish; the caller then calls [`Orders::work`] for it.
    #[inline]
    pub fn next_due(&mut self) -> Option<InstrumentId> {
        self.due.pop_front()
    }

    /// True when [`Orders::work`] has something to do for the instrument.
    #[inline]
    pub fn is_hungry(&self, instrument: InstrumentId) -> bool {
        self.desks[instrument.index()].hungry
    }

    /// Brings holdings towards wishes in one instrument: crosses opposite wishes at the mark, sends the rest.
    pub fn work(&mut self, now: Nanos, instrument: InstrumentId, touch: Touch, risk: &mut Risk, out: &mut Vec<Output>) {
        let desk = &mut self.desks[instrument.index()];
        if !desk.hungry || desk.busy || now < desk.not_before || !touch.mark.is_defined() {
            return;
        }
        if !self.links.is_open(instrument) {
            return;
        }
        // Crossing takes as much from the ones as from the others.
        let (short, opposite) = desk.lacks(self.flat);
        if opposite && self.cross(now, instrument, touch.mark, risk, out).is_err() {
            out.push(Output::Quality(Quality { instrument, kind: QualityKind::BadValue, detail: 0 }));
            self.desks[instrument.index()].not_before = now.plus(RETRY_AFTER_NS);
            return;
        }
        let quantity = down_to_lot(short.unsigned_abs(), risk.lot_of(instrument));
        let flat = self.flat;
        let desk = &mut self.desks[instrument.index()];
        let Some(first) = desk.claims.iter().find(|claim| quantity.0 > 0 && claim.lacks(flat) != 0) else {
            // Nothing is lacking, or less than can be ordered.
            desk.hungry = false;
            return;
        };
        let side = if short > 0 { Side::Buy } else { Side::Sell };
        let rules = self.rules.get(instrument.index());
        let least = rules.map_or(Cash::ZERO, |rules| rules.min_notional);
        if !least.is_zero() && notional(touch.mark, quantity).is_ok_and(|value| value < least) {
            // The venue takes no order that small: wait until more is lacking, or the price is another.
            return;
        }
        let priced = match rules.and_then(|rules| rules.ticks.as_ref()) {
            Some(table) => self.style.price_by_table(side, touch, table),
            None => self.style.price(side, touch, desk.tick),
        };
        let Some((price, time_in_force)) = priced else {
            // No far side to meet: wait for the next event.
            return;
        };
        let terms = Terms::PLAIN;
        let mut wish = Wish { strategy: first.strategy, instrument, side, quantity, price, time_in_force, terms };
        let account = first.account;
        if flat {
            // In pieces that pass the gate; what still works on this side may close a part.
            wish.quantity = risk.closable(&wish);
            if wish.quantity.is_zero() {
                return;
            }
        }
        let (id, account) = (OrderId(self.next_id), Some(account).filter(|_| self.next_id < CALLER_IDS));
        if self.send(now, wish, id, account, true, risk, out) {
            self.next_id += 1;
            self.desks[instrument.index()].busy = true;
        } else {
            self.desks[instrument.index()].not_before = now.plus(RETRY_AFTER_NS);
        }
    }

    /// Moves shares between strategies whose wishes are opposite, at the mark and without a fee.
    #[cold]
    fn cross(
        &mut self,
        now: Nanos,
        instrument: InstrumentId,
        mark: Price,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) -> Result<(), Overflow> {
        let claims = &self.desks[instrument.index()].claims;
        let (mut buys, mut sells) = (0i128, 0i128);
        for lack in claims.iter().map(|claim| claim.lacks(self.flat)) {
            *(if lack > 0 { &mut buys } else { &mut sells }) += lack.abs();
        }
        let crossed = buys.min(sells);
        self.shares.clear();
        let mut left = [crossed, crossed];
        for claim in claims {
            let lack = claim.lacks(self.flat);
            let side = if lack > 0 { Side::Buy } else { Side::Sell };
            let quantity = lack.abs().min(left[side as usize]);
            if quantity > 0 {
                left[side as usize] -= quantity;
                self.shares.push(Share::new(claim.account, side, Quantity(whole(quantity)?)));
            }
        }
        risk.transfer(mark, Quantity(whole(crossed)?), &mut self.shares)?;
        self.hold_shares(instrument);
        self.counts.transfers += 1;
        let trade = Trade { order: OrderId(0), execution: 0, ts_event: now, liquidity: Liquidity::Maker, price: mark };
        tell(instrument, &trade, &self.shares, risk, out);
        Ok(())
    }

    /// Claims are told what their accounts hold after a booking.
    fn hold_shares(&mut self, instrument: InstrumentId) {
        let claims = &mut self.desks[instrument.index()].claims;
        for share in &self.shares {
            if let Some(claim) = claims.iter_mut().find(|claim| claim.account == share.account) {
                claim.held = share.after.quantity;
            }
        }
    }

    /// Asks the venue to cancel every resting order: trading has stopped. Orders that end by themselves are left alone.
    pub fn cancel_resting(&mut self, now: Nanos, out: &mut Vec<Output>) {
        for id in self.working.sorted() {
            let working = self.working.get_mut(id).expect("it was listed a moment ago");
            // A stop may sleep for long, whatever it is when it wakes.
            let at_once = matches!(working.order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
            if !at_once || working.order.terms.stop.is_defined() {
                self.links.ask_cancel(now, working, out);
            }
        }
    }

    /// Through the gate to the venue; without an account, or a number, it is refused.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn send(
        &mut self,
        now: Nanos,
        wish: Wish,
        id: OrderId,
        account: Option<u32>,
        netted: bool,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.working.len() >= MAX_OPEN_ORDERS {
            let limit = MAX_OPEN_ORDERS as i64;
            self.refuse(refusal(&wish, Rule::Invalid, limit, limit + 1), out);
            return false;
        }
        let Some(account) = account else {
            self.refuse(refusal(&wish, Rule::Invalid, 0, 0), out);
            return false;
        };
        if !self.links.is_open(wish.instrument) || (self.flat && !netted) {
            // While positions are closed nothing of a strategy's own may stand in the way.
            let rule = if self.links.is_open(wish.instrument) { Rule::Stopped } else { Rule::Unlinked };
            self.refuse(refusal(&wish, rule, 0, 0), out);
            return false;
        }
        match risk.check(now, wish) {
            Ok(approved) => {
                let order = approved.into_order(id);
                let (state, asked_at) = (OrderState::New, now);
                let (filled, asked, executions) = (Quantity::ZERO, None, Vec::new());
                let working = Working { order, state, filled, netted, account, asked, executions, asked_at };
                self.working.insert(working);
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

    fn cancel(&mut self, now: Nanos, intent: &Intent, id: OrderId, out: &mut Vec<Output>) {
        let Some(working) = self.working.get_mut(id).filter(|w| w.order.instrument == intent.instrument) else {
            return self.refuse(invalid(intent), out);
        };
        self.links.ask_cancel(now, working, out);
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn replace(
        &mut self,
        now: Nanos,
        intent: &Intent,
        id: OrderId,
        quantity: Quantity,
        price: Price,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) {
        // What was sent for all strategies together is nobody's to change, and a limit stays a limit.
        let own = |w: &&mut Working| {
            let Order { strategy, instrument, price: limit, .. } = w.order;
            (strategy, instrument) == (intent.strategy, intent.instrument)
                && !w.netted
                && limit.is_defined() == price.is_defined()
        };
        let Some(working) = self.working.get_mut(id).filter(own) else {
            return self.refuse(invalid(intent), out);
        };
        let Some(to) = next(working.state, Happening::AskReplace, working.filled.0 > 0) else {
            return self.refuse(invalid(intent), out);
        };
        let Order { strategy, instrument, side, time_in_force, terms, .. } = working.order;
        let wish = Wish { strategy, instrument, side, quantity, price, time_in_force, terms };
        if !self.links.is_open(instrument) || self.flat {
            let rule = if self.links.is_open(instrument) { Rule::Stopped } else { Rule::Unlinked };
            return self.refuse(refusal(&wish, rule, 0, 0), out);
        }
        match risk.check_replace(now, wish, working.room(), working.filled) {
            Ok(_approved) => {
                (working.asked, working.asked_at) = (Some((quantity, price)), now);
                change(working, to, None, out);
                out.push(Output::Replace { order: id, instrument, quantity, price });
            }
            Err(refusal) => self.refuse(refusal, out),
        }
    }

    /// Applies a venue's answer. One that does not fit the order's state is reported and changes nothing; an execution
    /// is booked whenever it can be.
    pub fn report(&mut self, now: Nanos, report: &Report, risk: &mut Risk, out: &mut Vec<Output>) {
        self.answered(now, report, risk, out);
        self.requote(now, report.instrument, risk, out);
    }

    fn answered(&mut self, now: Nanos, report: &Report, risk: &mut Risk, out: &mut Vec<Output>) {
        if let ReportKind::Filled { execution, price, quantity, liquidity, fee } = report.kind {
            let trade = Trade { order: report.order, execution, ts_event: report.ts_event, liquidity, price };
            return self.filled(report, &trade, quantity, fee, risk, out);
        }
        if self.links.may_repeat(report.instrument) && self.repeats(report) {
            self.counts.repeated += 1;
            return;
        }
        let Some(working) = self.working.get_mut(report.order).filter(|w| w.order.instrument == report.instrument)
        else {
            if self.links.may_repeat(report.instrument) && self.returns(report) {
                return self.returned(report, risk, out);
            }
            // A cancel or replace that crossed the order's end on the way is refused: that is no fault.
            let crossed = matches!(report.kind, ReportKind::ChangeRejected { .. }) && self.has_ended(report);
            if !crossed {
                misfit(report, out);
            }
            return;
        };
        let Some(to) = answer(working, &report.kind) else { return misfit(report, out) };
        let refused =
            matches!(report.kind, ReportKind::ChangeRejected { .. }) && working.state == OrderState::CancelPending;
        let room = working.room();
        let (before, reject) = (working.clone(), settle(working, to, &report.kind));
        let delta = Quantity(working.room().0 - room.0);
        if risk.change_working(report.instrument, working.order.side, delta).is_err() {
            *working = before;
            return misfit(report, out);
        }
        told(working, before.state, reject, out);
        if refused {
            self.links.cancel_refused(now, working, out);
        }
        if (before.order.quantity, before.order.price) != (working.order.quantity, working.order.price) {
            self.remember(&before.order);
        }
        let lost = matches!(report.kind, ReportKind::Rejected { reason: RejectReason::NeverArrived });
        self.counts.lost += u64::from(lost);
        self.counts.rejected += u64::from(!lost && matches!(report.kind, ReportKind::Rejected { .. }));
        if to.is_done() {
            // The venue did not refuse what it never had: that is tried again at once.
            let refused = to == OrderState::Rejected && !lost;
            let retry = if refused { now.plus(RETRY_AFTER_NS) } else { Nanos(0) };
            self.finish(report.order, retry, risk);
        }
    }

    /// Books an execution, also one that comes after the order's end or takes more than the order has: it is money.
    fn filled(
        &mut self,
        report: &Report,
        trade: &Trade,
        quantity: Quantity,
        fee: Cash,
        risk: &mut Risk,
        out: &mut Vec<Output>,
    ) {
        let sound = quantity.0 > 0 && trade.price.0 > 0 && trade.price.is_defined();
        if self.links.may_repeat(report.instrument) && self.has_booked(report.order, trade.execution) {
            self.counts.repeated += 1;
            return;
        }
        let known = match self.working.get(report.order) {
            None => self.ended.iter().rev().find(|ended| ended.order.id == report.order),
            working => working,
        };
        let Some(before) = known.filter(|known| sound && known.order.instrument == report.instrument) else {
            return self.unbooked(report, risk, out);
        };
        // Zero is no number: a venue without execution numbers cannot repeat itself.
        if trade.execution != 0 && before.executions.contains(&trade.execution) {
            if self.links.may_repeat(report.instrument) {
                self.counts.repeated += 1;
                return;
            }
            let (instrument, kind) = (report.instrument, QualityKind::DuplicateOrder);
            return out.push(Output::Quality(Quality { instrument, kind, detail: trade.execution }));
        }
        let mut after = before.clone();
        let happening = if after.take(quantity, trade.execution) { Happening::Fill } else { Happening::FillLast };
        after.state = follow(before, happening, true).unwrap_or(before.state);
        let (from, released) = (before.state, Quantity(before.room().0 - after.room().0));
        self.share_out(&after, quantity, fee);
        if risk.fill(&after.order, trade.price, quantity, fee, released, &mut self.shares).is_err() {
            return self.unbooked(report, risk, out);
        }
        let holder = risk.holder(report.instrument);
        self.hold_shares(holder);
        self.counts.fills += 1;
        self.keep(after, from, holder, risk, out);
        tell(report.instrument, trade, &self.shares, risk, out);
    }

    /// Puts an order with a new execution back where it came from; `holder` has the claims on what it traded.
    fn keep(&mut self, after: Working, from: OrderState, holder: InstrumentId, risk: &Risk, out: &mut Vec<Output>) {
        let (order, state) = (after.order, after.state);
        if after.filled > order.quantity {
            let (instrument, kind) = (order.instrument, QualityKind::ExceedsQuantity);
            out.push(Output::Quality(Quality { instrument, kind, detail: order.id.0 }));
        }
        if !after.netted {
            // What a strategy ordered itself is not to be undone by its target.
            let claims = &mut self.desks[holder.index()].claims;
            let bought = self.shares.iter().map(|share| share.side.sign() * share.quantity.0).sum();
            if let Some(claim) = claims.iter_mut().find(|claim| claim.account == after.account) {
                claim.want = Quantity(claim.want.0.saturating_add(bought));
            }
        }
        if self.flat {
            self.claim_all(holder, risk);
        }
        if from.is_done() {
            let at = self.ended.iter().rposition(|ended| ended.order.id == order.id).expect("it was found there");
            self.ended[at] = after;
            // What is held has changed: look again.
            self.desks[holder.index()].hungry = true;
            return;
        }
        told(&after, from, None, out);
        *self.working.get_mut(order.id).expect("it was found there") = after;
        if state.is_done() {
            self.finish(order.id, Nanos(0), risk);
        }
    }

    /// An execution that cannot be booked: from here on positions are not what the venue says, so trading pauses.
    fn unbooked(&mut self, report: &Report, risk: &mut Risk, out: &mut Vec<Output>) {
        misfit(report, out);
        self.counts.unbooked += 1;
        risk.control(Control::Pause);
        out.push(Output::Breach(Breach { rule: Rule::Stopped, limit: 0, value: self.counts.unbooked as i64 }));
    }

    fn has_ended(&self, report: &Report) -> bool {
        let same = |ended: &Working| (ended.order.id, ended.order.instrument) == (report.order, report.instrument);
        self.ended.iter().any(same)
    }

    fn finish(&mut self, id: OrderId, retry: Nanos, risk: &Risk) {
        let working = self.working.remove(id).expect("it was working a moment ago");
        self.links.cancels.remove(&id);
        // Where positions are closed the rest is closed at once, unless there was nobody to trade with.
        if self.flat && (!working.netted || !working.filled.is_zero()) {
            self.due.push_back(risk.holder(working.order.instrument));
        }
        for quote in self.quotes[working.order.instrument.index()].iter_mut().filter(|quote| quote.order == Some(id)) {
            quote.order = None;
        }
        if working.netted {
            let desk = &mut self.desks[working.order.instrument.index()];
            // It was hungry when it was sent, and stays so until holdings are looked at again.
            desk.busy = false;
            desk.not_before = desk.not_before.max(retry);
        }
        if self.ended.len() == MAX_ENDED_ORDERS
            && let Some(oldest) = self.ended.pop_front()
        {
            self.retire(oldest);
        }
        self.ended.push_back(working);
    }

    /// Shares a fill out to the strategies that lack it, first come first served; a fee goes with the shares.
    fn share_out(&mut self, working: &Working, quantity: Quantity, fee: Cash) {
        let Order { instrument, side, .. } = working.order;
        self.shares.clear();
        let mut left = quantity.0;
        if working.netted {
            for claim in &self.desks[instrument.index()].claims {
                let lack = claim.lacks(self.flat) * i128::from(side.sign());
                let part = lack.clamp(0, i128::from(left)) as i64;
                if part > 0 {
                    left -= part;
                    self.shares.push(Share::new(claim.account, side, Quantity(part)));
                }
            }
        }
        // Nobody lacks it any more (the wish changed while the order was on its way), or it was one strategy's own.
        if left > 0 {
            match self.shares.iter_mut().find(|share| share.account == working.account) {
                Some(share) => share.quantity.0 += left,
                None => self.shares.push(Share::new(working.account, side, Quantity(left))),
            }
        }
        let mut fee_left = fee.0;
        for share in &mut self.shares {
            share.fee = Cash(share_of(fee, share.quantity.0, quantity.0));
            fee_left -= share.fee.0;
        }
        self.shares.last_mut().expect("a fill has at least one share").fee.0 += fee_left;
    }
}

/// [`next`], but what a replace without an answer has come to stays unknown until that is known.
fn follow(working: &Working, happening: Happening, filled_some: bool) -> Option<OrderState> {
    let to = next(working.state, happening, filled_some)?;
    let open = working.asked.is_some() && matches!(happening, Happening::Accept | Happening::Fill);
    Some(if working.state == OrderState::Unknown && open { OrderState::Unknown } else { to })
}

/// The state that an answer leads to; `None` when it does not fit. Executions are booked elsewhere.
pub(crate) fn answer(working: &Working, kind: &ReportKind) -> Option<OrderState> {
    let happening = match *kind {
        ReportKind::Accepted { .. } => Happening::Accept,
        ReportKind::Replaced { .. } if decrements(working, kind) && working.asked.is_some() => {
            return Some(working.state);
        }
        ReportKind::Replaced { .. } if decrements(working, kind) => Happening::Replace,
        ReportKind::Replaced { .. } if working.asked.is_none() => return None,
        // A total of what is filled leaves nothing to work.
        ReportKind::Replaced { quantity, .. } if quantity <= working.filled => Happening::Cancel,
        ReportKind::Replaced { price, .. } if price.0 <= 0 => return None,
        ReportKind::Replaced { .. } => Happening::Replace,
        ReportKind::Cancelled { .. } => Happening::Cancel,
        // What has traded was there.
        ReportKind::Rejected { .. } if working.state == OrderState::Unknown && working.filled.0 > 0 => return None,
        ReportKind::Rejected { .. } => Happening::Reject,
        // With a replace and a cancel on their way, the first answer is the replace's.
        ReportKind::ChangeRejected { .. } if working.state == OrderState::CancelPending && working.asked.is_some() => {
            return Some(OrderState::CancelPending);
        }
        ReportKind::ChangeRejected { .. } => Happening::RefuseChange,
        ReportKind::Filled { .. } => unreachable!("executions are booked before"),
    };
    follow(working, happening, working.filled.0 > 0)
}

/// True for a smaller total at the same price that nobody asked for: self-trade prevention at the venue took the rest. A
/// replace that is on its way is still to be answered.
pub(crate) fn decrements(working: &Working, kind: &ReportKind) -> bool {
    let Working { order, filled, asked, state, .. } = working;
    let ReportKind::Replaced { quantity, price } = *kind else { return false };
    let smaller = *filled < quantity && quantity < order.quantity && price == order.price;
    smaller && *asked != Some((quantity, price)) && *state != OrderState::New
}

/// Changes the order as the answer says; returns the venue's reason when it refused something.
fn settle(working: &mut Working, to: OrderState, kind: &ReportKind) -> Option<RejectReason> {
    let asked = working.asked.filter(|_| decrements(working, kind));
    working.state = to;
    match *kind {
        ReportKind::Replaced { quantity, price } => {
            (working.order.quantity, working.order.price, working.asked) = (quantity, price, asked);
            None
        }
        ReportKind::ChangeRejected { reason } => {
            working.asked = None;
            Some(reason)
        }
        ReportKind::Rejected { reason } => Some(reason),
        ReportKind::Accepted { .. } | ReportKind::Cancelled { .. } | ReportKind::Filled { .. } => None,
    }
}

impl Style {
    /// Limit price and life time for an order of this side; `None` when there is nothing to meet.
    fn price(self, side: Side, touch: Touch, tick: Price) -> Option<(Price, TimeInForce)> {
        match self {
            Self::Market => Some((Price::UNDEFINED, TimeInForce::Ioc)),
            Self::Touch { ticks } => {
                let far = if side == Side::Buy { touch.ask } else { touch.bid };
                if !far.is_defined() {
                    return None;
                }
                let through = i64::from(ticks).checked_mul(tick.0)?;
                let price = Price(far.0.checked_add(side.sign() * through)?);
                // A quote between ticks is met at the next one beyond it, and nothing is sold below one tick.
                let below = round_down_to_tick(price, tick);
                let above = if below == price { below } else { Price(below.0.saturating_add(tick.0)) };
                let price = if side == Side::Buy { above } else { below.max(tick) };
                price.is_defined().then_some((price, TimeInForce::Ioc))
            }
        }
    }

    /// [`Style::price`] where the step depends on the price.
    fn price_by_table(self, side: Side, touch: Touch, table: &TickTable) -> Option<(Price, TimeInForce)> {
        let Self::Touch { ticks } = self else { return self.price(side, touch, Price(1)) };
        let far = if side == Side::Buy { touch.ask } else { touch.bid };
        if !far.is_defined() {
            return None;
        }
        let at = if side == Side::Buy { table.up(far) } else { table.down(far).max(table.at(Price::ZERO)) };
        let price = table.steps(at, side.sign() * i64::from(ticks));
        price.is_defined().then_some((price, TimeInForce::Ioc))
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

/// Says what each strategy got.
fn tell(instrument: InstrumentId, trade: &Trade, shares: &[Share], risk: &Risk, out: &mut Vec<Output>) {
    for share in shares {
        out.push(Output::Fill(Fill {
            order: trade.order,
            strategy: risk.accounts()[share.account as usize].strategy,
            instrument,
            execution: trade.execution,
            ts_event: trade.ts_event,
            side: share.side,
            price: trade.price,
            quantity: share.quantity,
            fee: share.fee,
            liquidity: trade.liquidity,
            position: share.after.quantity,
            realised: share.realised,
        }));
    }
}

/// Towards zero to a multiple of the lot. What does not fit an order is more than any limit: the gate says so.
#[inline]
pub(crate) fn down_to_lot(quantity: u128, lot: Quantity) -> Quantity {
    match i64::try_from(quantity) {
        Ok(quantity) => Quantity(quantity / lot.0 * lot.0),
        Err(_) => Quantity(i64::try_from(quantity / lot.0 as u128 * lot.0 as u128).unwrap_or(i64::MAX)),
    }
}

fn whole(quantity: i128) -> Result<i64, Overflow> {
    i64::try_from(quantity).map_err(|_| Overflow)
}

fn share_of(fee: Cash, part: i64, whole: i64) -> i64 {
    (i128::from(fee.0) * i128::from(part) / i128::from(whole)) as i64
}

pub(crate) fn change(working: &mut Working, to: OrderState, reject: Option<RejectReason>, out: &mut Vec<Output>) {
    let from = std::mem::replace(&mut working.state, to);
    told(working, from, reject, out);
}

/// Says that an order came to its state from another.
fn told(working: &Working, from: OrderState, reject: Option<RejectReason>, out: &mut Vec<Output>) {
    let (order, instrument, to) = (working.order.id, working.order.instrument, working.state);
    out.push(Output::State(StateChange { order, instrument, from, to, reject }));
}

/// A report that fits no order, or not its state.
pub(crate) fn misfit(report: &Report, out: &mut Vec<Output>) {
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
        IntentKind::Quote { side, price, quantity, .. } => (side, quantity, price),
        IntentKind::Cancel { .. } => (Side::Buy, Quantity::ZERO, Price::UNDEFINED),
    };
    let (strategy, instrument) = (intent.strategy, intent.instrument);
    Refusal { strategy, instrument, rule: Rule::Invalid, limit: 0, value: 0, side, quantity, price }
}

impl Digest for Working {
    fn digest(&self, hasher: &mut Hasher) {
        let Order { id, strategy, instrument, side, quantity, price, time_in_force, terms } = self.order;
        hasher.u64(id.0);
        hasher.u64(u64::from(instrument.0));
        hasher.u64(u64::from(strategy.0));
        let (life, rare) = (time_in_force as u64, time_in_force as u64 / 2);
        hasher.u64(side as u64 * 4 + life % 2 * 2 + u64::from(self.netted));
        if rare > 0 || !terms.is_plain() {
            hasher.u64(rare * 4 + u64::from(terms.post_only) * 2 + u64::from(terms.midpoint));
            hasher.i64(terms.display.0);
            hasher.i64(terms.stop.0);
        }
        hasher.u64(self.state as u64);
        hasher.u64(u64::from(self.account));
        for x in [quantity.0, price.0, self.filled.0] {
            hasher.i64(x);
        }
        let (quantity, price) = self.asked.unwrap_or((Quantity::ZERO, Price::ZERO));
        hasher.i64(quantity.0);
        hasher.i64(price.0);
        hasher.u64(self.executions.len() as u64);
        for execution in &self.executions {
            hasher.u64(*execution);
        }
    }
}

impl Digest for Orders {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.working.len() as u64);
        for id in self.working.sorted() {
            self.working.get(id).expect("it was listed a moment ago").digest(hasher);
        }
        hasher.u64(self.ended.len() as u64);
        for ended in &self.ended {
            ended.digest(hasher);
        }
        for desk in &self.desks {
            hasher.u64(desk.claims.len() as u64);
            for claim in &desk.claims {
                hasher.u64(u64::from(claim.account));
                hasher.i64(claim.want.0);
            }
            hasher.u64(u64::from(desk.busy) * 2 + u64::from(desk.hungry));
            hasher.u64(desk.not_before.0);
            hasher.i64(desk.tick.0);
        }
        for quote in self.quotes.iter().flatten() {
            quote.digest(hasher);
        }
        self.used.digest(hasher);
        hasher.u64(self.due.len() as u64);
        for instrument in &self.due {
            hasher.u64(u64::from(instrument.0));
        }
        hasher.u64(self.next_id);
        hasher.u64(match self.style {
            Style::Market => u64::MAX,
            Style::Touch { ticks } => u64::from(ticks),
        });
        let Counts { sent, refused, fills, transfers, rejected, unbooked, repeated, lost } = self.counts;
        for count in [sent, refused, fills, transfers, rejected, unbooked] {
            hasher.u64(count);
        }
        // What runs without lost sessions never see leaves the digests of those as they were.
        if repeated > 0 || lost > 0 {
            hasher.u64(repeated);
            hasher.u64(lost);
        }
        self.links.digest(hasher);
        if !self.booked_order.is_empty() {
            hasher.u64(self.booked_order.len() as u64);
            for id in &self.booked_order {
                let booked = self.booked.get(*id).expect("both lists hold the same orders");
                hasher.u64(id.0);
                hasher.u64(booked.executions.len() as u64);
                booked.executions.iter().for_each(|execution| hasher.u64(*execution));
            }
        }
        for (order, quantity, price) in &self.past {
            hasher.u64(order.0);
            hasher.i64(quantity.0);
            hasher.i64(price.0);
        }
        if self.flat {
            hasher.u64(1 + self.strangers.len() as u64);
            for (instrument, account) in &self.strangers {
                hasher.u64(u64::from(instrument.0));
                hasher.u64(u64::from(*account));
            }
        }
    }
}
