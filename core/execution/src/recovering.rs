//! Sessions that are lost and come back, and what a venue then says again.
//!
//! When a session is lost, an order whose answer was due is *unknown*: it keeps its room at the gate and its desk, so
//! that nothing is sent twice. The venue's reports, or word that the order never arrived, end that. A venue may repeat
//! what it said before the loss: a report that says again what was heard is counted and changes nothing.
//!
//! What a repetition is cannot always be told from a report alone, because it does not say to which change it answers:
//! an order's replaces answered before the loss must not be reported again while another is on its way. The station
//! that speaks with the venue knows them by their numbers and keeps them back.

use helios_risk::Risk;
use helios_types::{
    Breach, Control, InstrumentId, Link, Nanos, Order, OrderId, OrderState, Output, Quality, QualityKind, Report,
    ReportKind, Rule,
};

use crate::lifecycle::{Happening, next};
use crate::open::Identified;
use crate::orders::{
    Booked, CALLER_IDS, Claim, MAX_BOOKED_ORDERS, MAX_PAST_TERMS, Orders, Working, answer, change, decrements, misfit,
};

impl Orders {
    /// What an order-entry session came to. A venue's position is not for execution to judge.
    pub fn link(&mut self, now: Nanos, link: &Link, risk: &mut Risk, out: &mut Vec<Output>) {
        let (Link::Down { session: number }
        | Link::Up { session: number }
        | Link::Settled { session: number }
        | Link::Heard { session: number, .. }) = *link
        else {
            return;
        };
        let Some(session) = self.links.entry(number) else {
            let (instrument, kind) = (InstrumentId::NONE, QualityKind::BadValue);
            return out.push(Output::Quality(Quality { instrument, kind, detail: u64::from(number) }));
        };
        match *link {
            Link::Down { .. } => (session.up, session.settled, session.was_lost) = (false, false, true),
            Link::Up { .. } => (session.up, session.settled) = (true, false),
            Link::Settled { .. } => (session.up, session.settled) = (true, true),
            Link::Heard { name, next, .. } => (session.name, session.next) = (name, next),
            Link::Position { .. } => unreachable!("it names no session"),
        }
        self.links.look();
        match link {
            Link::Down { .. } => self.lose(number, out),
            Link::Up { .. } => self.cancel_remembered(now, number, out),
            Link::Settled { .. } => self.settle_session(now, number, risk, out),
            Link::Heard { .. } | Link::Position { .. } => {}
        }
    }

    /// Orders whose answer was due may have arrived or not. What was to be cancelled is asked for again.
    fn lose(&mut self, session: u32, out: &mut Vec<Output>) {
        for id in self.working.sorted() {
            let working = self.working.get_mut(id).expect("it was listed a moment ago");
            if self.links.session_of(working.order.instrument) != session {
                continue;
            }
            if working.state == OrderState::CancelPending {
                self.links.cancels.insert(id);
            }
            if let Some(to) = next(working.state, Happening::Lose, working.filled.0 > 0) {
                change(working, to, None, out);
            }
        }
    }

    fn cancel_remembered(&mut self, now: Nanos, session: u32, out: &mut Vec<Output>) {
        for id in self.links.cancels.iter().copied().collect::<Vec<_>>() {
            let working = self.working.get_mut(id).expect("what has ended is not remembered");
            if self.links.session_of(working.order.instrument) == session {
                self.links.ask_cancel(now, working, out);
            }
        }
    }

    /// New orders go out again: whoever waited is looked at.
    fn settle_session(&mut self, now: Nanos, session: u32, risk: &mut Risk, out: &mut Vec<Output>) {
        for at in 0..self.desks.len() {
            let instrument = InstrumentId(at as u32);
            if self.links.session_of(instrument) == session {
                if self.desks[at].hungry {
                    self.due.push_back(instrument);
                }
                self.requote(now, instrument, risk, out);
            }
        }
    }

    /// True for a report, other than an execution, that says again what was heard before its session was lost.
    pub(crate) fn repeats(&self, report: &Report) -> bool {
        let Some(working) = self.working.get(report.order) else { return self.repeats_the_end(report) };
        let Order { instrument, quantity: total, price: limit, .. } = working.order;
        if instrument != report.instrument {
            return false;
        }
        match report.kind {
            ReportKind::Accepted { .. } | ReportKind::ChangeRejected { .. } => answer(working, &report.kind).is_none(),
            // What the venue takes off by itself has no name here: the station tells it once, also when the total was in
            // force before.
            ReportKind::Replaced { .. } if decrements(working, &report.kind) => false,
            ReportKind::Replaced { quantity, price } => {
                let in_force = (quantity, price) == (total, limit);
                let telling = !self.links.is_open(instrument);
                let was = || telling && self.past.contains(&(report.order, quantity, price));
                match working.asked {
                    Some(asked) => asked != (quantity, price) && telling && (in_force || was()),
                    None => in_force || was(),
                }
            }
            _ => false,
        }
    }

    /// The same of an order that is not working.
    fn repeats_the_end(&self, report: &Report) -> bool {
        let ended = self.ended.iter().rev().find(|ended| ended.order.id == report.order);
        let Some(ended) = ended else {
            return self.was_sent(report.order) && !matches!(report.kind, ReportKind::Filled { .. });
        };
        let same = ended.order.instrument == report.instrument;
        same && match report.kind {
            // It ended because it had never worked.
            ReportKind::Accepted { .. } | ReportKind::Replaced { .. } => ended.state != OrderState::Rejected,
            ReportKind::Cancelled { .. } => ended.state == OrderState::Cancelled,
            ReportKind::Rejected { .. } => ended.state == OrderState::Rejected,
            ReportKind::ChangeRejected { .. } | ReportKind::Filled { .. } => false,
        }
    }

    fn was_sent(&self, id: OrderId) -> bool {
        if id.0 < CALLER_IDS { id.0 > 0 && id.0 < self.next_id } else { self.used.contains(id.0) }
    }

    /// True for an execution of an order that ended long ago.
    pub(crate) fn has_booked(&self, order: OrderId, execution: u64) -> bool {
        execution != 0 && self.booked.get(order).is_some_and(|booked| booked.executions.contains(&execution))
    }

    /// The venue works an order that was given up: it is cancelled, and until somebody has looked only reducing orders
    /// pass.
    pub(crate) fn returned(&mut self, report: &Report, risk: &mut Risk, out: &mut Vec<Output>) {
        misfit(report, out);
        out.push(Output::Cancel { order: report.order, instrument: report.instrument });
        risk.control(Control::Pause);
        out.push(Output::Breach(Breach { rule: Rule::Stopped, limit: 0, value: 1 }));
    }

    /// True when the venue accepts an order that had ended without having worked.
    pub(crate) fn returns(&self, report: &Report) -> bool {
        let given_up = |ended: &&Working| ended.order.id == report.order && ended.order.instrument == report.instrument;
        matches!(report.kind, ReportKind::Accepted { .. })
            && self.ended.iter().rev().find(given_up).is_some_and(|ended| ended.state == OrderState::Rejected)
    }

    /// Terms that are no longer in force.
    pub(crate) fn remember(&mut self, before: &Order) {
        if !self.links.may_repeat(before.instrument) {
            return;
        }
        if self.past.len() == MAX_PAST_TERMS {
            self.past.pop_front();
        }
        self.past.push_back((before.id, before.quantity, before.price));
    }

    /// An order that leaves the list of those that ended lately: of one that traded the numbers of its executions stay.
    pub(crate) fn retire(&mut self, ended: Working) {
        if ended.executions.is_empty() || !self.links.may_repeat(ended.order.instrument) {
            return;
        }
        if self.booked_order.len() == MAX_BOOKED_ORDERS
            && let Some(oldest) = self.booked_order.pop_front()
        {
            self.booked.remove(oldest);
        }
        let booked = Booked { order: ended.order.id, executions: ended.executions };
        self.booked_order.push_back(booked.id());
        self.booked.insert(booked);
    }

    /// Closes every position and cancels what rests, until [`Orders::resume`]: each strategy's wish counts as none, quotes
    /// are withdrawn, and nothing that a strategy orders itself is sent.
    pub fn flatten(&mut self, now: Nanos, risk: &Risk, out: &mut Vec<Output>) {
        self.flat = true;
        for quote in self.quotes.iter_mut().flatten() {
            quote.waits = true;
        }
        self.cancel_resting(now, out);
        for at in 0..self.desks.len() {
            self.claim_all(InstrumentId(at as u32), risk);
        }
    }

    /// What strategies hold without a wish, because they ordered it themselves, is closed like the rest.
    pub(crate) fn claim_all(&mut self, instrument: InstrumentId, risk: &Risk) {
        let desk = &mut self.desks[instrument.index()];
        for account in risk.accounts_in(instrument) {
            let held = risk.accounts()[*account as usize].position.quantity;
            if !held.is_zero() && !desk.claims.iter().any(|claim| claim.account == *account) {
                let strategy = risk.accounts()[*account as usize].strategy;
                desk.claims.push(Claim { strategy, account: *account, want: held, held });
                self.strangers.push((instrument, *account));
            }
        }
        if desk.claims.iter().any(|claim| !claim.held.is_zero()) {
            (desk.hungry, desk.not_before) = (true, Nanos(0));
            self.due.push_back(instrument);
        }
    }

    /// Positions are no longer closed: strategies' wishes, as they are now, count again.
    pub fn resume(&mut self, now: Nanos, risk: &mut Risk, out: &mut Vec<Output>) {
        if !std::mem::take(&mut self.flat) {
            return;
        }
        for (instrument, account) in std::mem::take(&mut self.strangers) {
            let claims = &mut self.desks[instrument.index()].claims;
            if let Some(claim) = claims.iter_mut().find(|claim| claim.account == account) {
                claim.want = claim.held;
            }
        }
        for at in 0..self.desks.len() {
            let (instrument, desk) = (InstrumentId(at as u32), &mut self.desks[at]);
            if !desk.claims.is_empty() {
                (desk.hungry, desk.not_before) = (true, Nanos(0));
                self.due.push_back(instrument);
            }
            self.requote(now, instrument, risk, out);
        }
    }
}
