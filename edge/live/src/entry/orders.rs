//! What a session knows of its orders, whatever the protocol: which reference stands for which order, what the venue said,
//! what it has yet to say, and what the engine is told of it, once.

use std::collections::VecDeque;
use std::fmt;

use helios_types::{
    CancelReason, Cash, Event, InstrumentId, Link, Nanos, Order, OrderId, Output, Price, Quantity, RejectReason,
    Report, ReportKind,
};

use super::said::Said;
use super::table::{Life, Replacing, Row, Table};
use super::{EntryConfig, EntryCounters, Recorded};
use crate::EntryOut;

/// Oddities that are noted for each connection; further ones are counted.
const MAX_NOTES: u32 = 16;

/// Shares that the venue took off an order: totals before and after.
struct Cut {
    row: u32,
    before: Quantity,
    after: Quantity,
}

/// The orders of one session, and how the session stands.
pub(super) struct Orders {
    pub(super) name: String,
    pub(super) session: u32,
    ours: Vec<bool>,
    pub(super) table: Table,
    begun: bool,
    pub(super) up: bool,
    pub(super) settled: bool,
    /// Connections that were logged in, and sessions of the venue, of this process.
    pub(super) connection: u32,
    pub(super) day: u32,
    /// What the engine was told that was heard.
    pub(super) told: Option<(u128, u64)>,
    /// What the venue took off by itself, of which a process before us heard and did not say so: it will be said again.
    cuts: VecDeque<Cut>,
    oddities: u32,
    /// A cancel has a reference of its own.
    cancels_are_named: bool,
    pub(super) counters: EntryCounters,
}

impl Orders {
    pub(super) fn new(config: &EntryConfig) -> Self {
        Self {
            name: config.name.clone(),
            session: config.session,
            ours: config.symbols.iter().map(Option::is_some).collect(),
            table: Table::new(config.first_reference),
            begun: false,
            up: false,
            settled: false,
            connection: 0,
            day: 0,
            told: None,
            cuts: VecDeque::new(),
            oddities: 0,
            cancels_are_named: false,
            counters: EntryCounters::default(),
        }
    }

    /// For a protocol in which a cancel has a reference of its own.
    pub(super) fn with_cancel_references(mut self) -> Self {
        self.cancels_are_named = true;
        self
    }

    #[inline]
    pub(super) fn is_ours(&self, instrument: InstrumentId) -> bool {
        self.ours.get(instrument.index()).copied().unwrap_or(false)
    }

    // The session

    /// The first tick of a run: nothing is connected yet.
    pub(super) fn begin(&mut self, out: &mut impl EntryOut) {
        if !std::mem::replace(&mut self.begun, true) {
            out.event(Event::Link(Link::Down { session: self.session }));
        }
        self.prepare();
    }

    /// Room for the next orders. Called where nothing is to be sent: after answers, for a busy session has no ticks.
    #[inline]
    pub(super) fn prepare(&mut self) {
        self.table.prepare();
    }

    pub(super) fn logged_in(&mut self, out: &mut impl EntryOut) {
        self.connection += 1;
        self.oddities = 0;
        (self.up, self.settled) = (true, false);
        self.counters.logins += 1;
        out.event(Event::Link(Link::Up { session: self.session }));
    }

    pub(super) fn lost(&mut self, out: &mut impl EntryOut) {
        self.settled = false;
        if std::mem::take(&mut self.up) {
            out.event(Event::Link(Link::Down { session: self.session }));
        }
    }

    /// After the reports of a read, so that a crash can repeat some and lose none.
    pub(super) fn tell_heard(&mut self, name: u128, next: u64, out: &mut impl EntryOut) {
        if self.told != Some((name, next)) {
            self.told = Some((name, next));
            out.event(Event::Link(Link::Heard { session: self.session, name, next }));
        }
    }

    // What goes out

    /// A new order went out by the next reference, or could not: then the engine hears of it.
    #[inline]
    pub(super) fn entered(
        &mut self,
        order: &Order,
        reference: u32,
        sent: Result<bool, impl fmt::Display>,
        now: Nanos,
        out: &mut impl EntryOut,
    ) {
        let mut row = row_of(order, reference, self.connection, self.day);
        match sent {
            Ok(sent) => self.counters.sent += u64::from(sent),
            Err(error) => {
                row.life = Life::Done;
                out.note(format_args!("{}: order {} cannot be sent: {error}", self.name, order.id.0));
                self.refuse_order(order, RejectReason::Unsupported, now, out);
            }
        }
        if !self.table.add(row) {
            out.note(format_args!("{}: order {} was sent twice", self.name, order.id.0));
        }
    }

    pub(super) fn refuse_order(&mut self, order: &Order, reason: RejectReason, now: Nanos, out: &mut impl EntryOut) {
        self.counters.refused += 1;
        let (order, instrument, kind) = (order.id, order.instrument, ReportKind::Rejected { reason });
        out.event(Event::Report(Report { order, instrument, ts_event: now, kind }));
    }

    pub(super) fn refuse_change(
        &mut self,
        order: OrderId,
        instrument: InstrumentId,
        reason: RejectReason,
        now: Nanos,
        out: &mut impl EntryOut,
    ) {
        self.counters.refused += 1;
        let kind = ReportKind::ChangeRejected { reason };
        out.event(Event::Report(Report { order, instrument, ts_event: now, kind }));
    }

    /// The row of an order that is to be cancelled, unless it has ended; the engine hears of one that was never here.
    pub(super) fn cancelling(
        &mut self,
        id: OrderId,
        instrument: InstrumentId,
        now: Nanos,
        out: &mut impl EntryOut,
    ) -> Option<&mut Row> {
        let Some(at) = self.table.find(id) else {
            self.refuse_change(id, instrument, RejectReason::UnknownOrder, now, out);
            return None;
        };
        let connection = self.connection;
        let row = self.table.row(at);
        row.cancelling = Some(connection);
        (row.life != Life::Done).then_some(row)
    }

    /// The row of an order that is to be replaced, unless it has ended, and the reference that it is to have.
    pub(super) fn replacing(
        &mut self,
        id: OrderId,
        instrument: InstrumentId,
        now: Nanos,
        out: &mut impl EntryOut,
    ) -> Option<(u32, u32)> {
        let Some(at) = self.table.find(id) else {
            self.refuse_change(id, instrument, RejectReason::UnknownOrder, now, out);
            return None;
        };
        let Some(reference) = self.table.next_reference() else {
            self.refuse_change(id, instrument, RejectReason::Full, now, out);
            return None;
        };
        self.table.refer(at);
        (self.table.row(at).life != Life::Done).then_some((at, reference))
    }

    /// A replace went out, or could not.
    pub(super) fn replaced_by(
        &mut self,
        at: u32,
        replacing: Replacing,
        sent: Result<bool, impl fmt::Display>,
        now: Nanos,
        out: &mut impl EntryOut,
    ) {
        match sent {
            Ok(sent) => {
                self.counters.sent += u64::from(sent);
                self.table.row(at).replacing = Some(replacing);
            }
            Err(error) => {
                let (id, instrument) = (self.table.row(at).id, self.table.row(at).instrument);
                out.note(format_args!("{}: order {} cannot be replaced: {error}", self.name, id.0));
                self.refuse_change(id, instrument, RejectReason::Unsupported, now, out);
            }
        }
    }

    // What a journal tells

    pub(super) fn recover(&mut self, recorded: &Recorded<'_>) {
        match recorded {
            Recorded::Input(Event::Report(report)) if self.is_ours(report.instrument) => self.recover_report(report),
            Recorded::Input(_) => {}
            Recorded::Output(output) => self.recover_output(output),
        }
    }

    /// What had been sent, perhaps.
    fn recover_output(&mut self, output: &Output) {
        match output {
            Output::Submit(order) if self.is_ours(order.instrument) => {
                if let Some(reference) = self.table.next_reference() {
                    self.table.add(row_of(order, reference, 0, self.day));
                }
            }
            Output::Replace { order, instrument, quantity, price } if self.is_ours(*instrument) => {
                if let (Some(at), Some(reference)) = (self.table.find(*order), self.table.next_reference()) {
                    self.table.refer(at);
                    let (quantity, price) = (*quantity, *price);
                    self.table.row(at).replacing = Some(Replacing { reference, quantity, price, connection: 0 });
                }
            }
            Output::Cancel { order, instrument } if self.is_ours(*instrument) => {
                if let Some(at) = self.table.find(*order) {
                    if self.cancels_are_named && self.table.next_reference().is_some() {
                        self.table.refer(at);
                    }
                    self.table.row(at).cancelling = Some(0);
                }
            }
            _ => {}
        }
    }

    /// What had been heard.
    fn recover_report(&mut self, report: &Report) {
        let Some(at) = self.table.find(report.order) else { return };
        let day = self.day;
        let row = self.table.row(at);
        row.day = day;
        match report.kind {
            ReportKind::Accepted { .. } => row.life = Life::Open,
            ReportKind::Filled { execution, quantity, .. } => row.execute(execution, quantity),
            ReportKind::Cancelled { .. } => row.life = Life::Done,
            ReportKind::Replaced { quantity, price } => {
                let before = row.quantity;
                // The venue made it smaller by itself, or answers, perhaps with other terms than were asked for.
                let smaller = quantity < before && price == row.price;
                let answer =
                    row.replacing.take_if(|asked| !smaller || (asked.quantity, asked.price) == (quantity, price));
                row.reference = answer.map_or(row.reference, |asked| asked.reference);
                (row.quantity, row.price) = (quantity, price);
                row.life = if quantity <= row.executed { Life::Done } else { Life::Open };
                if answer.is_none() {
                    self.cuts.push_back(Cut { row: at, before, after: quantity });
                }
            }
            ReportKind::Rejected { reason: RejectReason::NeverArrived } => row.life = Life::GivenUp,
            ReportKind::Rejected { .. } => row.life = Life::Done,
            // The replace is answered first.
            ReportKind::ChangeRejected { .. } => {
                if row.replacing.take().is_none() {
                    row.cancelling = None;
                }
            }
        }
    }

    /// All that was said so far was heard: it is not said again.
    pub(super) fn recover_heard(&mut self, name: u128, next: u64) {
        self.told = Some((name, next));
        self.cuts.clear();
    }

    /// True when this was taken off already, by the journal; then it is not said a third time.
    fn has_cut(&mut self, row: u32, is: impl Fn(&Cut) -> bool) -> bool {
        let first = self.cuts.iter().position(|cut| cut.row == row);
        let known = first.filter(|at| is(&self.cuts[*at])).and_then(|at| self.cuts.remove(at));
        known.is_some()
    }

    // What the venue told when it has told all

    /// What went over an earlier connection and was not mentioned never arrived; what an earlier session of the venue had
    /// and this one did not mention has ended.
    pub(super) fn decide_fates(&mut self, now: Nanos, out: &mut impl EntryOut) {
        let (connection, day) = (self.connection, self.day);
        let (mut never, mut expired, mut gone, mut told) = (0, 0, 0, 0);
        self.cuts.clear();
        for row in self.table.rows_mut() {
            let mut tell = |row: &Row, kind| {
                let (order, instrument) = (row.id, row.instrument);
                out.event(Event::Report(Report { order, instrument, ts_event: now, kind }));
            };
            let lost = RejectReason::NeverArrived;
            match row.life {
                Life::Done | Life::GivenUp => {}
                Life::Unheard if row.connection < connection => {
                    row.life = Life::GivenUp;
                    never += 1;
                    gone += u64::from(row.day != day);
                    tell(row, ReportKind::Rejected { reason: lost });
                }
                Life::Open if row.day != day => {
                    row.life = Life::Done;
                    expired += 1;
                    gone += 1;
                    tell(row, ReportKind::Cancelled { reason: CancelReason::Expired });
                }
                Life::Unheard | Life::Open => {
                    if row.replacing.take_if(|replacing| replacing.connection < connection).is_some() {
                        never += 1;
                        tell(row, ReportKind::ChangeRejected { reason: lost });
                    }
                    if row.replacing.is_none()
                        && let Some(reason) = row.refused.take()
                    {
                        told += 1;
                        tell(row, ReportKind::ChangeRejected { reason });
                    }
                    if row.cancelling.take_if(|over| *over < connection).is_some() {
                        never += 1;
                        tell(row, ReportKind::ChangeRejected { reason: lost });
                    }
                }
            }
        }
        self.counters.reports += never + expired + told;
        self.counters.never_arrived += never;
        if never > 0 {
            out.note(format_args!("{}: {never} orders and changes never arrived", self.name));
        }
        if gone > 0 {
            out.note(format_args!(
                "{}: {gone} orders ended with the venue's old session, of which the last messages may be missing: \
                 compare positions with the venue's books",
                self.name
            ));
        }
    }

    /// Every order is decided: new ones go out.
    pub(super) fn settle(&mut self, out: &mut impl EntryOut) {
        self.settled = true;
        out.event(Event::Link(Link::Settled { session: self.session }));
    }

    // What the venue says

    pub(super) fn odd(&mut self, what: fmt::Arguments<'_>, out: &mut impl EntryOut) {
        self.counters.odd += 1;
        self.oddities += 1;
        if self.oddities <= MAX_NOTES {
            out.note(format_args!("{}: {what}", self.name));
        }
    }

    pub(super) fn foreign(&mut self, out: &mut impl EntryOut) {
        self.counters.foreign += 1;
        self.odd(format_args!("a report about an order that this journal does not have"), out);
    }

    /// One message of the venue.
    pub(super) fn take_in(&mut self, said: &Said, ts: Nanos, out: &mut impl EntryOut) {
        let Some(reference) = said.reference() else { return self.about_none(said, out) };
        let Some(at) = self.table.of(reference) else { return self.foreign(out) };
        let day = self.day;
        self.table.row(at).day = day;
        match *said {
            Said::Accepted { quantity, book_ref, dead, .. } => self.accepted(at, quantity, book_ref, dead, ts, out),
            Said::Replaced { open, price, dead, .. } => {
                self.replaced(at, reference, open, price, dead, ts, out);
                self.refuse_cancel(at, ts, out);
            }
            Said::Cancelled { quantity, reason, by_itself, .. } => {
                self.cancelled(at, quantity, reason, by_itself, ts, out);
            }
            Said::Executed { quantity, execution, .. } if quantity.0 <= 0 => {
                self.odd(format_args!("execution {execution} is of no shares"), out);
            }
            Said::Executed { quantity, price, liquidity, execution, .. } => {
                let row = self.table.row(at);
                if row.has(execution) {
                    return self.repeated();
                }
                row.execute(execution, quantity);
                let kind = ReportKind::Filled { execution, price, quantity, liquidity, fee: Cash::ZERO };
                self.report(at, ts, kind, out);
            }
            Said::Rejected { reason, code, .. } => {
                self.rejected(at, reference, reason, code, ts, out);
                self.refuse_cancel(at, ts, out);
            }
            // It will be cancelled: an answer, and nothing to report yet.
            Said::CancelPending { .. } => self.table.row(at).cancelling = None,
            Said::CancelRejected { reason, .. } => {
                let connection = self.connection;
                let row = self.table.row(at);
                // An order that is not known here, nor there: the refused cancel tells its fate, or nothing yet.
                let vague = row.life == Life::Unheard && row.connection < connection;
                if vague && reason == RejectReason::UnknownOrder {
                    row.life = Life::GivenUp;
                    self.counters.never_arrived += 1;
                    return self.report(at, ts, ReportKind::Rejected { reason: RejectReason::NeverArrived }, out);
                }
                if vague {
                    row.cancelling = Some(0);
                } else if row.cancelling.take().is_none() {
                    self.repeated();
                } else if row.replacing.is_some() {
                    row.refused = Some(reason);
                } else {
                    self.report(at, ts, ReportKind::ChangeRejected { reason }, out);
                }
            }
            Said::Modified { open, .. } => {
                let row = self.table.row(at);
                let left = Quantity(row.quantity.0.saturating_sub(row.executed.0));
                if row.life == Life::Open && open < left {
                    self.cancelled(at, Quantity(left.0 - open.0), CancelReason::Requested, None, ts, out);
                } else {
                    self.has_cut(at, |_| true);
                }
            }
            Said::Broken { execution, reason, .. } => {
                let (id, reason) = (self.table.row(at).id.0, reason.escape_ascii());
                self.counters.broken += 1;
                out.note(format_args!(
                    "{}: execution {execution} of order {id} is void (reason {reason}): positions are not the venue's",
                    self.name
                ));
            }
            Said::Corrected { execution, price, .. } => {
                let id = self.table.row(at).id.0;
                self.counters.broken += 1;
                out.note(format_args!(
                    "{}: execution {execution} of order {id} has a new price, {price}: cash is not the venue's",
                    self.name
                ));
            }
            _ => unreachable!("it names no reference"),
        }
    }

    fn about_none(&mut self, said: &Said, out: &mut impl EntryOut) {
        match *said {
            Said::Foreign => self.foreign(out),
            Said::System(code) => {
                out.note(format_args!("{}: the venue's system event {}", self.name, code.escape_ascii()));
            }
            Said::BadValue => self.odd(format_args!("a price or quantity that cannot be"), out),
            _ => {}
        }
    }

    fn report(&mut self, at: u32, ts_event: Nanos, kind: ReportKind, out: &mut impl EntryOut) {
        let row = self.table.row(at);
        let (order, instrument) = (row.id, row.instrument);
        self.counters.reports += 1;
        out.event(Event::Report(Report { order, instrument, ts_event, kind }));
    }

    fn repeated(&mut self) {
        self.counters.repeated += 1;
    }

    /// Two reports, perhaps; a process that died between them told the first, and the second is told now.
    fn accepted(&mut self, at: u32, quantity: Quantity, book_ref: u64, dead: bool, ts: Nanos, out: &mut impl EntryOut) {
        let row = self.table.row(at);
        let known = matches!(row.life, Life::Open | Life::Done);
        // By a replace it may have become larger since.
        let fewer = quantity < row.quantity && (!known || row.reference == row.first);
        if row.life == Life::Done || known && !dead && !fewer {
            self.has_cut(at, |cut| cut.after == quantity);
            return self.repeated();
        }
        row.quantity = if fewer { quantity } else { row.quantity };
        row.life = if dead { Life::Done } else { Life::Open };
        let price = row.price;
        if !known {
            self.report(at, ts, ReportKind::Accepted { book_ref }, out);
        }
        if dead {
            self.report(at, ts, ReportKind::Cancelled { reason: CancelReason::Unfilled }, out);
        } else if fewer {
            self.report(at, ts, ReportKind::Replaced { quantity, price }, out);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn replaced(
        &mut self,
        at: u32,
        reference: u32,
        open: Quantity,
        price: Price,
        dead: bool,
        ts: Nanos,
        out: &mut impl EntryOut,
    ) {
        let row = self.table.row(at);
        // The venue names what is open; we speak of the total.
        let quantity = Quantity(row.executed.0.saturating_add(open.0));
        // Two reports, perhaps: see `accepted`.
        let torn = reference == row.reference && reference != row.first && !dead && quantity < row.quantity;
        if row.life == Life::Done || reference <= row.reference && !torn {
            self.has_cut(at, |cut| cut.after == quantity);
            return self.repeated();
        }
        row.reference = reference;
        let answered = row.replacing.take_if(|replacing| replacing.reference <= reference);
        // Fewer at the price in force, which alone would not be taken for the answer.
        let asked = answered.map(|asked| asked.quantity).filter(|asked| quantity < *asked && price == row.price);
        (row.quantity, row.price) = (quantity, price);
        row.life = if dead || open.is_zero() { Life::Done } else { Life::Open };
        if dead {
            return self.report(at, ts, ReportKind::Cancelled { reason: CancelReason::Unfilled }, out);
        }
        if let Some(quantity) = asked {
            self.report(at, ts, ReportKind::Replaced { quantity, price }, out);
        }
        self.report(at, ts, ReportKind::Replaced { quantity, price }, out);
    }

    /// The replace has its answer: what was said of the cancel before is told, unless the order has ended.
    fn refuse_cancel(&mut self, at: u32, ts: Nanos, out: &mut impl EntryOut) {
        let row = self.table.row(at);
        if row.replacing.is_none()
            && let Some(reason) = row.refused.take()
            && row.life == Life::Open
        {
            self.report(at, ts, ReportKind::ChangeRejected { reason }, out);
        }
    }

    /// `by_itself` is the venue's word for a reason that has no name here.
    fn cancelled(
        &mut self,
        at: u32,
        quantity: Quantity,
        reason: CancelReason,
        by_itself: Option<u8>,
        ts: Nanos,
        out: &mut impl EntryOut,
    ) {
        if self.table.row(at).life == Life::Done || self.has_cut(at, |cut| cut.before.0 - cut.after.0 == quantity.0) {
            return self.repeated();
        }
        let row = self.table.row(at);
        let open = row.quantity.0.saturating_sub(row.executed.0);
        let whole = quantity.0 >= open;
        row.quantity.0 -= quantity.0.min(open).max(0);
        if !whole {
            row.life = Life::Open;
            let (quantity, price) = (row.quantity, row.price);
            return self.report(at, ts, ReportKind::Replaced { quantity, price }, out);
        }
        row.life = Life::Done;
        let id = row.id.0;
        if let Some(word) = by_itself {
            let word = word.escape_ascii();
            out.note(format_args!("{}: the venue cancelled order {id}, reason {word}", self.name));
        }
        self.report(at, ts, ReportKind::Cancelled { reason }, out);
    }

    fn rejected(
        &mut self,
        at: u32,
        reference: u32,
        reason: RejectReason,
        code: u16,
        ts: Nanos,
        out: &mut impl EntryOut,
    ) {
        let row = self.table.row(at);
        let kind = if reference == row.first {
            if matches!(row.life, Life::Open | Life::Done) {
                return self.repeated();
            }
            row.life = Life::Done;
            ReportKind::Rejected { reason }
        } else {
            if row.replacing.take_if(|replacing| replacing.reference == reference).is_none() {
                return self.repeated();
            }
            ReportKind::ChangeRejected { reason }
        };
        let id = row.id.0;
        if reason == RejectReason::Other {
            out.note(format_args!("{}: order {id} was rejected with code {code}", self.name));
        }
        self.report(at, ts, kind, out);
    }
}

fn row_of(order: &Order, reference: u32, connection: u32, day: u32) -> Row {
    Row {
        id: order.id,
        instrument: order.instrument,
        side: order.side,
        life: Life::Unheard,
        first: reference,
        reference,
        quantity: order.quantity,
        price: order.price,
        executed: Quantity::ZERO,
        executions: Vec::new(),
        time_in_force: order.time_in_force,
        terms: order.terms,
        connection,
        day,
        replacing: None,
        cancelling: None,
        refused: None,
    }
}
