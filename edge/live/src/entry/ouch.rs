//! OUCH 5.0 and 4.2 over SoupBinTCP.
//!
//! After a login the venue replays what we missed, with no mark at the end. In 5.0 we ask for the account at once: what
//! comes before the answer is the past. Answers to questions of lost connections are counted, so that an old one, replayed,
//! is not taken for ours; after a restart that count is not known. Then, and in 4.2, the replay has ended when the server
//! has nothing to say but a heartbeat, or says something stamped well after our login.
//! A venue that left messages out is not trusted with new orders: `Settled` does not come, and a note says so.

use helios_execution::{EncodeError, Ouch42, Ouch50};
use helios_types::{
    CancelReason, Cash, Event, InstrumentId, Link, Nanos, Order, OrderId, Output, Price, Quantity, RejectReason,
    Report, ReportKind, Terms,
};
use helios_wire::soupbintcp::{Accepted, Client, ClientOut, ClientSettings, Closed, NOT_AUTHORIZED};
use helios_wire::text;

use super::reconnect::{MAX_REFUSALS, Reconnect};
use super::said::{Said, cancel_reason, read42, read50};
use super::table::{Life, Replacing, Row, Table};
use super::{EntryConfig, EntryCounters, Protocol, Recorded};
use crate::EntryOut;

/// A message stamped so long after our login is no replay, whatever the difference of the clocks.
const LIVE_AFTER_NS: u64 = 5_000_000_000;
/// Oddities that are noted for each connection; further ones are counted.
const MAX_NOTES: u32 = 16;

enum Encoder {
    V42(Ouch42),
    V50(Ouch50),
}

impl Encoder {
    #[inline]
    fn enter(&mut self, order: &Order, reference: u32) -> Result<&[u8], EncodeError> {
        match self {
            Self::V42(encoder) => encoder.enter(order, reference),
            Self::V50(encoder) => encoder.enter(order, reference),
        }
    }

    #[inline]
    fn replace(
        &mut self,
        order: OrderId,
        references: [u32; 2],
        quantity: Quantity,
        price: Price,
        terms: &Terms,
    ) -> Result<&[u8], EncodeError> {
        match self {
            Self::V42(encoder) => encoder.replace(order, references, quantity, price, terms),
            Self::V50(encoder) => encoder.replace(order, references, quantity, price, terms),
        }
    }

    #[inline]
    fn cancel(&mut self, references: &[u32]) -> &[u8] {
        match self {
            Self::V42(encoder) => encoder.cancel(references),
            Self::V50(encoder) => encoder.cancel(references),
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<(u64, Said)> {
        match self {
            Self::V42(encoder) => read42(bytes, encoder),
            Self::V50(_) => read50(bytes),
        }
    }
}

/// One session of OUCH.
pub struct Ouch {
    client: Client,
    account: Account,
}

/// All that is not the carrier's.
struct Account {
    name: String,
    session: u32,
    ours: Vec<bool>,
    midnight: Nanos,
    encoder: Encoder,
    table: Table,
    reconnect: Reconnect,
    begun: bool,
    up: bool,
    settled: bool,
    /// The venue's session, and the number of its next message.
    venue: [u8; 10],
    next: u64,
    /// The same as the engine was told.
    told: ([u8; 10], u64),
    /// Connections that were logged in, and sessions of the venue, of this process.
    connection: u32,
    day: u32,
    logged_in: Nanos,
    /// The venue has said something that is no replay.
    live: bool,
    /// Account queries without an answer, of this venue's session; before it settled for the first time there may be more,
    /// of a process before us.
    queries: u32,
    has_settled: bool,
    /// How many of them are of earlier connections; `None` when it is not known.
    stale: Option<u32>,
    /// Answers on this connection, and the last of them.
    answers: u32,
    venue_reference: u32,
    wants_query: bool,
    /// Messages that the venue left out, of its session.
    missed: u64,
    /// Why it does not settle was noted.
    complained: bool,
    oddities: u32,
    counters: EntryCounters,
}

impl Ouch {
    pub(super) fn new(config: &EntryConfig, settings: ClientSettings) -> Self {
        let symbols = config.symbols.iter().map(|symbol| symbol.as_deref().unwrap_or(""));
        let encoder = match config.protocol {
            Protocol::Ouch42 => Encoder::V42(Ouch42::new(symbols, &config.token_prefix)),
            Protocol::Ouch50 => Encoder::V50(Ouch50::new(symbols)),
        };
        let account = Account {
            name: config.name.clone(),
            session: config.session,
            ours: config.symbols.iter().map(Option::is_some).collect(),
            midnight: config.midnight,
            encoder,
            table: Table::new(config.first_reference),
            reconnect: Reconnect::new(config.seed),
            begun: false,
            up: false,
            settled: false,
            venue: [b' '; 10],
            next: 1,
            told: ([b' '; 10], 1),
            connection: 0,
            day: 0,
            logged_in: Nanos(0),
            live: false,
            queries: 0,
            has_settled: false,
            stale: None,
            answers: 0,
            venue_reference: 0,
            wants_query: false,
            missed: 0,
            complained: false,
            oddities: 0,
            counters: EntryCounters::default(),
        };
        Self { client: Client::new(settings), account }
    }

    pub(super) fn on_connected(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.client.on_connected(now, &mut Hearing { account: &mut self.account, now, out });
    }

    pub(super) fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut) {
        let mut hearing = Hearing { account: &mut self.account, now, out };
        self.client.on_bytes(bytes, now, &mut hearing);
        self.account.tell_heard(out);
        if std::mem::take(&mut self.account.wants_query)
            && let Encoder::V50(encoder) = &mut self.account.encoder
            && self.client.send_packets(encoder.account_query(), now, &mut Wire(out))
        {
            self.account.queries += 1;
        }
    }

    pub(super) fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.client.on_closed();
        self.account.reconnect.failed(now);
        self.account.lost(out);
    }

    pub(super) fn on_tick(&mut self, now: Nanos, out: &mut impl EntryOut) {
        if !std::mem::replace(&mut self.account.begun, true) {
            out.event(Event::Link(Link::Down { session: self.account.session }));
        }
        if self.account.reconnect.begins(now) {
            out.connect();
        }
        self.client.on_tick(now, &mut Hearing { account: &mut self.account, now, out });
        self.account.table.prepare();
    }

    pub(super) fn next_tick(&self) -> Option<Nanos> {
        let due = self.account.reconnect.due();
        due.into_iter().chain(self.client.next_tick()).min()
    }

    pub(super) fn stop(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.client.logout(&mut Hearing { account: &mut self.account, now, out });
        self.account.reconnect.stop();
    }

    pub(super) fn is_settled(&self) -> bool {
        self.account.settled
    }

    pub(super) fn counters(&self) -> EntryCounters {
        self.account.counters
    }

    #[inline]
    pub(super) fn send(&mut self, output: &Output, now: Nanos, out: &mut impl EntryOut) {
        match output {
            Output::Submit(order) if self.account.is_ours(order.instrument) => self.enter(order, now, out),
            Output::Cancel { order, instrument } if self.account.is_ours(*instrument) => {
                self.cancel(*order, *instrument, now, out);
            }
            Output::Replace { order, instrument, quantity, price } if self.account.is_ours(*instrument) => {
                self.replace(*order, *instrument, *quantity, *price, now, out);
            }
            _ => {}
        }
    }

    #[inline]
    fn enter(&mut self, order: &Order, now: Nanos, out: &mut impl EntryOut) {
        let account = &mut self.account;
        let Some(reference) = account.table.next_reference() else {
            return account.refuse_order(order, RejectReason::Full, now, out);
        };
        let packet = account.encoder.enter(order, reference);
        let sent = match packet {
            Ok(packet) => Ok(self.client.send_packets(packet, now, &mut Wire(out))),
            Err(error) => Err(error),
        };
        // What does not delay the order comes after it.
        account.counters.sent += u64::from(sent == Ok(true));
        let mut row = row_of(order, reference, account.connection, account.day);
        if let Err(error) = sent {
            row.life = Life::Done;
            out.note(format_args!("{}: order {} cannot be sent: {error}", account.name, order.id.0));
            account.refuse_order(order, RejectReason::Unsupported, now, out);
        }
        if !account.table.add(row) {
            out.note(format_args!("{}: order {} was sent twice", account.name, order.id.0));
        }
    }

    fn cancel(&mut self, id: OrderId, instrument: InstrumentId, now: Nanos, out: &mut impl EntryOut) {
        let account = &mut self.account;
        let Some(at) = account.table.find(id) else {
            return account.refuse_change(id, instrument, RejectReason::UnknownOrder, now, out);
        };
        let row = account.table.row(at);
        row.cancelling = Some(account.connection);
        if row.life == Life::Done {
            return;
        }
        // Which of the two is in force when the cancel arrives cannot be known.
        let references = [row.reference, row.replacing.map_or(0, |replacing| replacing.reference)];
        let used = if row.replacing.is_some() { 2 } else { 1 };
        let packet = account.encoder.cancel(&references[..used]);
        account.counters.sent += u64::from(self.client.send_packets(packet, now, &mut Wire(out)));
    }

    fn replace(
        &mut self,
        id: OrderId,
        instrument: InstrumentId,
        quantity: Quantity,
        price: Price,
        now: Nanos,
        out: &mut impl EntryOut,
    ) {
        let account = &mut self.account;
        let Some(at) = account.table.find(id) else {
            return account.refuse_change(id, instrument, RejectReason::UnknownOrder, now, out);
        };
        let Some(reference) = account.table.next_reference() else {
            return account.refuse_change(id, instrument, RejectReason::Full, now, out);
        };
        account.table.refer(at);
        let row = account.table.row(at);
        if row.life == Life::Done {
            return;
        }
        match account.encoder.replace(id, [row.reference, reference], quantity, price, &row.terms) {
            Ok(packet) => {
                account.counters.sent += u64::from(self.client.send_packets(packet, now, &mut Wire(out)));
                let (shares, connection) = (whole_shares(quantity), account.connection);
                row.replacing = Some(Replacing { reference, shares, price, connection });
            }
            Err(error) => {
                out.note(format_args!("{}: order {} cannot be replaced: {error}", account.name, id.0));
                account.refuse_change(id, instrument, RejectReason::Unsupported, now, out);
            }
        }
    }

    pub(super) fn recover(&mut self, recorded: &Recorded<'_>) {
        match recorded {
            Recorded::Input(Event::Report(report)) if self.account.is_ours(report.instrument) => {
                self.account.recover_report(report);
            }
            Recorded::Input(Event::Link(Link::Heard { session, name, next })) if *session == self.account.session => {
                self.resume(*name, *next);
            }
            Recorded::Input(_) => {}
            Recorded::Output(output) => self.account.recover_output(output),
        }
    }

    /// The next login asks the venue to go on there.
    fn resume(&mut self, name: u128, next: u64) {
        let bytes = name.to_le_bytes();
        let account = &mut self.account;
        let session = *bytes.first_chunk().expect("a number has 16 bytes");
        self.client.resume(session, next);
        // What was sent in an older session is known by it.
        account.day += u32::from(account.venue != [b' '; 10] && account.venue != self.client.session());
        (account.venue, account.next) = (self.client.session(), next);
        account.told = (account.venue, next);
    }
}

fn row_of(order: &Order, reference: u32, connection: u32, day: u32) -> Row {
    Row {
        id: order.id,
        instrument: order.instrument,
        life: Life::Unheard,
        first: reference,
        reference,
        shares: whole_shares(order.quantity),
        price: order.price,
        executed: 0,
        executions: Vec::new(),
        terms: order.terms,
        connection,
        day,
        replacing: None,
        cancelling: None,
    }
}

/// Shares of an order that went out, or of a fill: whole ones that fit.
fn whole_shares(quantity: Quantity) -> u32 {
    u32::try_from(quantity.0 / helios_types::QUANTITY_SCALE).unwrap_or(u32::MAX)
}

impl Account {
    #[inline]
    fn is_ours(&self, instrument: InstrumentId) -> bool {
        self.ours.get(instrument.index()).copied().unwrap_or(false)
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
                    let replacing =
                        Replacing { reference, shares: whole_shares(*quantity), price: *price, connection: 0 };
                    self.table.row(at).replacing = Some(replacing);
                }
            }
            Output::Cancel { order, instrument } if self.is_ours(*instrument) => {
                if let Some(at) = self.table.find(*order) {
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
            ReportKind::Filled { execution, quantity, .. } => row.execute(execution, whole_shares(quantity)),
            ReportKind::Cancelled { .. } => row.life = Life::Done,
            ReportKind::Replaced { quantity, price } => {
                let shares = whole_shares(quantity);
                // Else the venue made it smaller by itself.
                let answer = row.replacing.take_if(|asked| (asked.shares, asked.price) == (shares, price));
                row.reference = answer.map_or(row.reference, |asked| asked.reference);
                (row.shares, row.price) = (shares, price);
                row.life = if shares <= row.executed { Life::Done } else { Life::Open };
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

    fn report(&mut self, at: u32, ts_event: Nanos, kind: ReportKind, out: &mut impl EntryOut) {
        let row = self.table.row(at);
        let (order, instrument) = (row.id, row.instrument);
        self.counters.reports += 1;
        out.event(Event::Report(Report { order, instrument, ts_event, kind }));
    }

    fn refuse_order(&mut self, order: &Order, reason: RejectReason, now: Nanos, out: &mut impl EntryOut) {
        self.counters.refused += 1;
        let (order, instrument, kind) = (order.id, order.instrument, ReportKind::Rejected { reason });
        out.event(Event::Report(Report { order, instrument, ts_event: now, kind }));
    }

    fn refuse_change(
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

    // The connection

    fn lost(&mut self, out: &mut impl EntryOut) {
        self.settled = false;
        self.wants_query = false;
        if std::mem::take(&mut self.up) {
            out.event(Event::Link(Link::Down { session: self.session }));
        }
    }

    fn logged_in(&mut self, login: &Accepted, now: Nanos, out: &mut impl EntryOut) {
        let known = self.venue != [b' '; 10];
        let changed = known && login.session != self.venue;
        if changed {
            let (old, new) = (text(&self.venue).escape_ascii(), text(&login.session).escape_ascii());
            out.note(format_args!("{}: the venue's session is {new}; until now it was {old}", self.name));
            self.day += 1;
            (self.queries, self.has_settled, self.missed) = (0, false, 0);
        }
        let expected = login.asked.unwrap_or(1);
        if login.next > expected {
            let missed = login.next - expected;
            self.missed = self.missed.saturating_add(missed);
            self.counters.missed = self.counters.missed.saturating_add(missed);
            let name = &self.name;
            out.note(format_args!("{name}: the venue left out {missed} messages before number {}", login.next));
        } else if login.next < expected {
            out.note(format_args!("{}: the venue goes back to message {} from {expected}", self.name, login.next));
        }
        self.stale = self.has_settled.then_some(self.queries);
        self.connection += 1;
        (self.venue, self.next, self.logged_in) = (login.session, login.next, now);
        (self.answers, self.oddities, self.live, self.complained) = (0, 0, false, false);
        (self.up, self.settled) = (true, false);
        self.wants_query = matches!(self.encoder, Encoder::V50(_));
        self.counters.logins += 1;
        self.reconnect.logged_in();
        out.event(Event::Link(Link::Up { session: self.session }));
        self.tell_heard(out);
    }

    /// After the reports of a read, so that a crash can repeat some and lose none.
    fn tell_heard(&mut self, out: &mut impl EntryOut) {
        if self.told == (self.venue, self.next) {
            return;
        }
        self.told = (self.venue, self.next);
        let mut name = [0; 16];
        name[..10].copy_from_slice(&self.venue);
        let (session, name, next) = (self.session, u128::from_le_bytes(name), self.next);
        out.event(Event::Link(Link::Heard { session, name, next }));
    }

    fn settle_if_told(&mut self, now: Nanos, out: &mut impl EntryOut) {
        let told = match self.encoder {
            Encoder::V42(_) => self.live,
            Encoder::V50(_) => self.answers > 0 && (self.live || self.stale.is_some_and(|old| self.answers > old)),
        };
        if !told || self.settled || !self.up || !self.is_trusted(out) {
            return;
        }
        self.decide_fates(now, out);
        (self.settled, self.has_settled) = (true, true);
        if self.live {
            // Answers that have not come were lost.
            self.queries = 0;
        }
        self.reconnect.settled();
        self.tell_heard(out);
        out.event(Event::Link(Link::Settled { session: self.session }));
    }

    /// False when new orders could be lost or were perhaps filled unheard.
    fn is_trusted(&mut self, out: &mut impl EntryOut) -> bool {
        let ours = self.table.next_reference().unwrap_or(u32::MAX);
        let behind = matches!(self.encoder, Encoder::V50(_)) && self.venue_reference > ours;
        if (behind || self.missed > 0) && !std::mem::replace(&mut self.complained, true) {
            let name = &self.name;
            if behind {
                out.note(format_args!(
                    "{name}: no new orders: the venue takes references from {} on and would ignore ours, which go on \
                     at {ours}. Another program uses this user, or another journal did today: set first_reference",
                    self.venue_reference
                ));
            }
            if self.missed > 0 {
                out.note(format_args!(
                    "{name}: no new orders: {} messages of the venue are missing. Compare orders and positions with the \
                     venue's books, then start again",
                    self.missed
                ));
            }
        }
        !behind && self.missed == 0
    }

    /// Everything was told: what went over an earlier connection and was not mentioned never arrived.
    fn decide_fates(&mut self, now: Nanos, out: &mut impl EntryOut) {
        let (connection, day) = (self.connection, self.day);
        let (mut never, mut expired) = (0, 0);
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
                    tell(row, ReportKind::Rejected { reason: lost });
                }
                Life::Open if row.day != day => {
                    row.life = Life::Done;
                    expired += 1;
                    tell(row, ReportKind::Cancelled { reason: CancelReason::Expired });
                }
                Life::Unheard | Life::Open => {
                    if row.replacing.take_if(|replacing| replacing.connection < connection).is_some() {
                        never += 1;
                        tell(row, ReportKind::ChangeRejected { reason: lost });
                    }
                    if row.cancelling.take_if(|over| *over < connection).is_some() {
                        never += 1;
                        tell(row, ReportKind::ChangeRejected { reason: lost });
                    }
                }
            }
        }
        self.counters.reports += never + expired;
        self.counters.never_arrived += never;
        if never > 0 {
            out.note(format_args!("{}: {never} orders and changes never arrived", self.name));
        }
        if expired > 0 {
            out.note(format_args!(
                "{}: {expired} orders ended with the venue's old session, of which the last messages may be missing: \
                 compare positions with the venue's books",
                self.name
            ));
        }
    }

    // What the venue says

    fn odd(&mut self, what: std::fmt::Arguments<'_>, out: &mut impl EntryOut) {
        self.counters.odd += 1;
        self.oddities += 1;
        if self.oddities <= MAX_NOTES {
            out.note(format_args!("{}: {what}", self.name));
        }
    }

    fn message(&mut self, number: u64, payload: &[u8], now: Nanos, out: &mut impl EntryOut) {
        self.next = number.saturating_add(1);
        let Some((since_midnight, said)) = self.encoder.read(payload) else {
            let head = payload[..payload.len().min(16)].escape_ascii();
            return self.odd(format_args!("message {number} is no OUCH message of this version: {head}"), out);
        };
        let ts = self.midnight.plus(since_midnight);
        self.take_in(&said, ts, out);
        self.live |= ts >= self.logged_in.plus(LIVE_AFTER_NS);
        if !self.settled {
            self.settle_if_told(now, out);
        }
    }

    fn take_in(&mut self, said: &Said, ts: Nanos, out: &mut impl EntryOut) {
        match *said {
            Said::Accepted { reference, .. }
            | Said::Replaced { reference, .. }
            | Said::Cancelled { reference, .. }
            | Said::Executed { reference, .. }
            | Said::Rejected { reference, .. }
            | Said::CancelPending { reference }
            | Said::CancelRejected { reference }
            | Said::Modified { reference, .. }
            | Said::Broken { reference, .. }
            | Said::Corrected { reference, .. } => match self.table.of(reference) {
                Some(at) => {
                    let day = self.day;
                    self.table.row(at).day = day;
                    self.about(at, said, ts, out);
                }
                None => self.foreign(out),
            },
            Said::Foreign => self.foreign(out),
            Said::NextReference(next) => {
                self.answers += 1;
                self.queries = self.queries.saturating_sub(1);
                self.venue_reference = next;
            }
            Said::System(code) => {
                out.note(format_args!("{}: the venue's system event {}", self.name, code.escape_ascii()));
            }
            Said::BadPrice => self.odd(format_args!("a price that cannot be"), out),
            Said::Moved | Said::Answered => {}
        }
    }

    fn foreign(&mut self, out: &mut impl EntryOut) {
        self.counters.foreign += 1;
        self.odd(format_args!("a report about an order that this journal does not have"), out);
    }

    /// A message about one of our orders.
    fn about(&mut self, at: u32, said: &Said, ts: Nanos, out: &mut impl EntryOut) {
        match *said {
            Said::Accepted { shares, book_ref, dead, .. } => self.accepted(at, shares, book_ref, dead, ts, out),
            Said::Replaced { reference, open, price, dead } => self.replaced(at, reference, open, price, dead, ts, out),
            Said::Cancelled { shares, reason, .. } => self.cancelled(at, shares, reason, ts, out),
            Said::Executed { shares, price, liquidity, execution, .. } => {
                let row = self.table.row(at);
                if row.has(execution) {
                    return self.repeated();
                }
                row.execute(execution, shares);
                let quantity = Quantity::whole(i64::from(shares));
                let kind = ReportKind::Filled { execution, price, quantity, liquidity, fee: Cash::ZERO };
                self.report(at, ts, kind, out);
            }
            Said::Rejected { reference, reason, code } => self.rejected(at, reference, reason, code, ts, out),
            // It will be cancelled: an answer, and nothing to report yet.
            Said::CancelPending { .. } => self.table.row(at).cancelling = None,
            Said::CancelRejected { .. } => {
                if self.table.row(at).cancelling.take().is_none() {
                    return self.repeated();
                }
                self.report(at, ts, ReportKind::ChangeRejected { reason: RejectReason::Other }, out);
            }
            Said::Modified { open, .. } => {
                let row = self.table.row(at);
                let left = row.shares.saturating_sub(row.executed);
                if row.life == Life::Open && open < left {
                    self.cancelled(at, left - open, b'U', ts, out);
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
            Said::NextReference(_)
            | Said::System(_)
            | Said::Moved
            | Said::Answered
            | Said::Foreign
            | Said::BadPrice => {}
        }
    }

    fn repeated(&mut self) {
        self.counters.repeated += 1;
    }

    fn accepted(&mut self, at: u32, shares: u32, book_ref: u64, dead: bool, ts: Nanos, out: &mut impl EntryOut) {
        let row = self.table.row(at);
        if matches!(row.life, Life::Open | Life::Done) {
            return self.repeated();
        }
        let fewer = shares < row.shares;
        row.shares = row.shares.min(shares);
        row.life = if dead { Life::Done } else { Life::Open };
        let price = row.price;
        self.report(at, ts, ReportKind::Accepted { book_ref }, out);
        if dead {
            self.report(at, ts, ReportKind::Cancelled { reason: CancelReason::Unfilled }, out);
        } else if fewer {
            let quantity = Quantity::whole(i64::from(shares));
            self.report(at, ts, ReportKind::Replaced { quantity, price }, out);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn replaced(
        &mut self,
        at: u32,
        reference: u32,
        open: u32,
        price: Price,
        dead: bool,
        ts: Nanos,
        out: &mut impl EntryOut,
    ) {
        let row = self.table.row(at);
        if row.life == Life::Done || reference <= row.reference {
            return self.repeated();
        }
        row.reference = reference;
        row.replacing.take_if(|replacing| replacing.reference <= reference);
        // The venue names what is open; we speak of the total.
        row.shares = row.executed.saturating_add(open);
        row.price = price;
        row.life = if dead || open == 0 { Life::Done } else { Life::Open };
        let quantity = Quantity::whole(i64::from(row.shares));
        let kind = if dead {
            ReportKind::Cancelled { reason: CancelReason::Unfilled }
        } else {
            ReportKind::Replaced { quantity, price }
        };
        self.report(at, ts, kind, out);
    }

    fn cancelled(&mut self, at: u32, shares: u32, reason: u8, ts: Nanos, out: &mut impl EntryOut) {
        let row = self.table.row(at);
        if row.life == Life::Done {
            return self.repeated();
        }
        let open = row.shares.saturating_sub(row.executed);
        let whole = shares >= open;
        row.shares = row.shares.saturating_sub(shares.min(open));
        if !whole {
            row.life = Life::Open;
            let (quantity, price) = (Quantity::whole(i64::from(row.shares)), row.price);
            return self.report(at, ts, ReportKind::Replaced { quantity, price }, out);
        }
        row.life = Life::Done;
        let id = row.id.0;
        let (named, by_itself) = cancel_reason(reason);
        if by_itself {
            let reason = reason.escape_ascii();
            out.note(format_args!("{}: the venue cancelled order {id}, reason {reason}", self.name));
        }
        self.report(at, ts, ReportKind::Cancelled { reason: named }, out);
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

/// The carrier's view of the world while something is heard.
struct Hearing<'a, O> {
    account: &'a mut Account,
    now: Nanos,
    out: &'a mut O,
}

impl<O: EntryOut> ClientOut for Hearing<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }

    fn close(&mut self, why: &Closed) {
        let account = &mut *self.account;
        self.out.note(format_args!("{}: {why}", account.name));
        self.out.close();
        if *why != Closed::Rejected(NOT_AUTHORIZED) {
            account.reconnect.failed(self.now);
        } else if !account.reconnect.refused(self.now) {
            self.out.note(format_args!(
                "{}: user or password were refused {MAX_REFUSALS} times: there will be no further attempt",
                account.name
            ));
        }
        account.tell_heard(self.out);
        account.lost(self.out);
    }

    fn accepted(&mut self, login: &Accepted) {
        self.account.logged_in(login, self.now, self.out);
    }

    #[inline]
    fn message(&mut self, number: u64, payload: &[u8]) {
        self.account.message(number, payload, self.now, self.out);
    }

    fn heartbeat(&mut self) {
        self.account.live = true;
        if !self.account.settled {
            self.account.settle_if_told(self.now, self.out);
        }
    }
}

/// The same while something is sent: only writing is asked for.
struct Wire<'a, O>(&'a mut O);

impl<O: EntryOut> ClientOut for Wire<'_, O> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn close(&mut self, _: &Closed) {}

    fn accepted(&mut self, _: &Accepted) {}

    fn message(&mut self, _: u64, _: &[u8]) {}
}
