//! FIX 4.4 order entry.
//!
//! ClOrdIDs are references: every request has one, a cancel too. FIX tells again what was missed, by number; what was sent
//! and lost is never sent again, since an order that is late is another order: its numbers are filled. After a logon the
//! venue is asked for the status of every order whose answer is due, and of one at least, because the answer comes behind
//! all that waited; then every fate is known. A venue that does not answer is taken at its word for what it said.
//!
//! Our next number is kept in the name of [`Link::Heard`]: after a restart we go on well above it, and the venue's question
//! for what is between is answered by a fill. A journal's first logon resets both numbers.
//! Absent: fees, accounts, allocations; executions are booked without a fee.

use std::collections::{BTreeSet, VecDeque};

use helios_types::{
    CancelReason, Event, Hasher, InstrumentId, Link, Liquidity, Nanos, Order, OrderId, Output, PRICE_SCALE, Price,
    QUANTITY_SCALE, Quantity, RejectReason, Side, Terms, TimeInForce,
};
use helios_wire::fix::{
    Builder, Closed, Handled, Message, Outside, Precision, Reply, Role, SendError, Session, SessionEvent, Settings,
    Stored, Version,
};

use super::orders::Orders;
use super::reconnect::Reconnect;
use super::said::Said;
use super::table::{Life, Replacing};
use super::{EntryConfig, EntryCounters, EntryError, Protocol, Recorded, Secret};
use crate::EntryOut;

/// How often a connected session looks at the time.
pub(super) const TICK_NS: u64 = 100_000_000;
/// Numbers that we may have used since the engine was last told, beyond the orders of the journal.
const MARGIN: u64 = 1_000;
/// Status requests under way.
const MAX_ASKED: usize = 256;
/// Answers to status requests are waited for so long.
const ASK_NS: u64 = 5_000_000_000;
/// Requests whose numbers are remembered, so that a Reject finds them.
const MAX_NUMBERS: usize = 4_096;

/// One FIX session.
#[derive(Clone, Debug)]
pub struct FixConfig {
    /// Its name in notes.
    pub name: String,
    /// Its number in the run.
    pub session: u32,
    /// Our CompID.
    pub sender: String,
    /// The venue's.
    pub target: String,
    /// Logon field 553.
    pub user: Option<String>,
    /// Logon field 554.
    pub password: Option<Secret>,
    /// Seconds of silence before a Heartbeat.
    pub heartbeat_s: u32,
    /// The venue's symbol of each instrument; `None` for one that trades through another session.
    pub symbols: Vec<Option<String>>,
    /// See [`EntryConfig::first_reference`].
    pub first_reference: u32,
    /// What ClOrdIDs begin with, at most four letters.
    pub prefix: String,
    /// Spreads the times of new attempts to connect.
    pub seed: Option<u64>,
}

impl FixConfig {
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::new(Role::Initiator, Version::Fix44, &self.sender, &self.target);
        settings.heartbeat_s = self.heartbeat_s;
        settings.username = self.user.clone();
        settings.password = self.password.as_ref().map(|password| password.text().to_owned());
        settings
    }
}

/// One session of FIX.
pub struct Fix {
    session: Session,
    desk: Desk,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Order,
    Cancel,
    Status,
}

/// All that is not the session layer's.
struct Desk {
    orders: Orders,
    settings: Settings,
    symbols: Vec<String>,
    prefix: String,
    reconnect: Reconnect,
    /// Nothing was ever said in this journal: the numbers begin anew.
    fresh: bool,
    next_out: u64,
    next_in: u64,
    /// The last message that is missing.
    gap: Option<u64>,
    logged_on: bool,
    closing: bool,
    ticked: Nanos,
    /// Rows to ask for, and references that were asked for; `None` before it began.
    to_ask: Option<VecDeque<u32>>,
    asked: BTreeSet<u32>,
    asked_at: Nanos,
    /// Requests by their number.
    numbers: VecDeque<(u64, u32, Request)>,
    /// What was sent over this connection until it settled: the venue drops it when it asks for what is before.
    sent: VecDeque<(u64, Vec<u8>)>,
}

impl Fix {
    pub(super) fn new(config: &FixConfig) -> Result<Self, EntryError> {
        check_names(config)?;
        let wrong = |what: String| EntryError::new(format!("session {}: {what}", config.name));
        if config.prefix.len() > 4 || !config.prefix.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong(format!("prefix {:?} is not up to four letters", config.prefix)));
        }
        if config.first_reference == 0 {
            return Err(wrong("first_reference is 0: references begin at 1".to_owned()));
        }
        let orders = Orders::new(&EntryConfig {
            name: config.name.clone(),
            session: config.session,
            protocol: Protocol::Ouch50, // not looked at
            user: String::new(),
            password: Secret::new(""),
            symbols: config.symbols.clone(),
            midnight: Nanos(0),
            first_reference: config.first_reference,
            token_prefix: String::new(),
            timeout_ms: None,
            seed: config.seed,
        });
        let settings = config.settings();
        let desk = Desk {
            orders: orders.with_cancel_references(),
            settings: settings.clone(),
            symbols: config.symbols.iter().map(|symbol| symbol.clone().unwrap_or_default()).collect(),
            prefix: config.prefix.clone(),
            reconnect: Reconnect::new(config.seed),
            fresh: true,
            next_out: 1,
            next_in: 1,
            gap: None,
            logged_on: false,
            closing: false,
            ticked: Nanos(0),
            to_ask: None,
            asked: BTreeSet::new(),
            asked_at: Nanos(0),
            numbers: VecDeque::with_capacity(MAX_NUMBERS),
            sent: VecDeque::new(),
        };
        Ok(Self { session: Session::new(settings, Stored::fresh(Nanos(0))), desk })
    }

    pub(super) fn recover(&mut self, recorded: &Recorded<'_>) {
        let desk = &mut self.desk;
        match recorded {
            Recorded::Input(Event::Link(Link::Heard { session, name, next })) if *session == desk.orders.session => {
                desk.next_out = u64::try_from(*name).unwrap_or(1);
                (desk.next_in, desk.fresh) = (*next, false);
                desk.orders.recover_heard(*name, *next);
            }
            other => {
                let requests = matches!(
                    other,
                    Recorded::Output(Output::Submit(_) | Output::Cancel { .. } | Output::Replace { .. })
                );
                desk.next_out += u64::from(requests);
                desk.orders.recover(other);
            }
        }
    }

    pub(super) fn on_connected(&mut self, now: Nanos, out: &mut impl EntryOut) {
        let desk = &mut self.desk;
        let mut settings = desk.settings.clone();
        settings.reset_on_logon = desk.fresh;
        if desk.orders.connection == 0 && !desk.fresh {
            desk.next_out += MARGIN;
        }
        let stored = Stored { next_out: desk.next_out, next_in: desk.next_in, created: now };
        self.session = Session::new(settings, stored);
        (desk.gap, desk.logged_on, desk.to_ask) = (None, false, None);
        desk.asked.clear();
        desk.numbers.clear();
        desk.sent.clear();
        self.call(now, out, |session, now, hearing| session.on_connected(now, hearing));
    }

    pub(super) fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut) {
        self.call(now, out, |session, now, hearing| session.on_bytes(bytes, now, hearing));
        self.desk.orders.prepare();
    }

    pub(super) fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.desk.closing = true;
        self.call(now, out, |_, _, _| {});
    }

    pub(super) fn on_tick(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.desk.orders.begin(out);
        self.desk.ticked = now;
        if self.desk.reconnect.begins(now) {
            out.connect();
        }
        self.call(now, out, |session, now, hearing| session.on_tick(now, hearing));
    }

    pub(super) fn next_tick(&self) -> Option<Nanos> {
        let connected = self.session.is_connected().then(|| self.desk.ticked.plus(TICK_NS));
        self.desk.reconnect.due().into_iter().chain(connected).min()
    }

    /// The Logout's answer is not waited for.
    pub(super) fn stop(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.desk.reconnect.stop();
        if self.session.is_connected() {
            self.call(now, out, |session, now, hearing| session.logout("", now, hearing));
        }
        // A session that was not logged on has closed at once.
        if self.session.is_connected() {
            out.close();
            self.on_closed(now, out);
        }
    }

    pub(super) fn order(&mut self, name: &str) -> Option<OrderId> {
        let at = self.desk.orders.table.of(self.desk.reference(name.as_bytes())?)?;
        Some(self.desk.orders.table.row(at).id)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.desk.orders.settled
    }

    pub(super) fn counters(&self) -> EntryCounters {
        self.desk.orders.counters
    }

    /// One thing happens to the session; afterwards what it came to is looked at.
    fn call<O: EntryOut>(
        &mut self,
        now: Nanos,
        out: &mut O,
        act: impl FnOnce(&mut Session, Nanos, &mut Hearing<'_, O>),
    ) {
        act(&mut self.session, now, &mut Hearing { desk: &mut self.desk, now, out });
        if std::mem::take(&mut self.desk.logged_on) {
            self.desk.fresh = false;
            self.desk.reconnect.logged_in();
            self.desk.orders.logged_in(out);
        }
        if self.desk.orders.up {
            self.settle_if_told(now, out);
            let (name, next) = (u128::from(self.desk.next_out), self.desk.next_in);
            self.desk.orders.tell_heard(name, next, out);
        }
        if std::mem::take(&mut self.desk.closing) {
            self.session.on_closed(now, &mut Hearing { desk: &mut self.desk, now, out });
            self.desk.closing = false;
            self.desk.reconnect.failed(now);
            self.desk.orders.lost(out);
        }
    }

    // What goes out

    #[inline]
    pub(super) fn send(&mut self, output: &Output, now: Nanos, out: &mut impl EntryOut) {
        let orders = &self.desk.orders;
        match output {
            Output::Submit(order) if orders.is_ours(order.instrument) => self.enter(order, now, out),
            Output::Cancel { order, instrument } if orders.is_ours(*instrument) => {
                self.cancel(*order, *instrument, now, out);
            }
            Output::Replace { order, instrument, quantity, price } if orders.is_ours(*instrument) => {
                self.replace(*order, *instrument, *quantity, *price, now, out);
            }
            _ => {}
        }
    }

    /// Sends one request. False when the session is not logged on: then nothing was sent.
    fn request<O: EntryOut>(
        &mut self,
        (kind, request): (&[u8], Request),
        reference: u32,
        now: Nanos,
        out: &mut O,
        body: impl FnOnce(&mut Builder),
    ) -> Result<bool, SendError> {
        let prefix = std::mem::take(&mut self.desk.prefix);
        let named = |builder: &mut Builder| {
            clordid(builder, 11, &prefix, reference);
            body(builder);
        };
        let sent = self.session.send(kind, named, now, &mut Hearing { desk: &mut self.desk, now, out });
        self.desk.prefix = prefix;
        match sent {
            Ok(number) => {
                if self.desk.numbers.len() == MAX_NUMBERS {
                    self.desk.numbers.pop_front();
                }
                self.desk.numbers.push_back((number, reference, request));
                Ok(true)
            }
            Err(SendError::NotLoggedOn) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, order: &Order, now: Nanos, out: &mut impl EntryOut) {
        let Some(reference) = self.desk.orders.table.next_reference() else {
            return self.desk.orders.refuse_order(order, RejectReason::Full, now, out);
        };
        let symbol = std::mem::take(&mut self.desk.symbols[order.instrument.index()]);
        let sent = self.request((b"D", Request::Order), reference, now, out, |builder| {
            about(builder, &symbol, order.side, now);
            terms(builder, order.quantity, order.price, order.time_in_force, &order.terms);
        });
        self.desk.symbols[order.instrument.index()] = symbol;
        self.desk.orders.entered(order, reference, sent, now, out);
    }

    fn cancel(&mut self, id: OrderId, instrument: InstrumentId, now: Nanos, out: &mut impl EntryOut) {
        let Some(reference) = self.desk.orders.table.next_reference() else {
            return self.desk.orders.refuse_change(id, instrument, RejectReason::Full, now, out);
        };
        let row = self.desk.orders.table.find(id);
        row.into_iter().for_each(|row| self.desk.orders.table.refer(row));
        let Some(row) = self.desk.orders.cancelling(id, instrument, now, out) else { return };
        // With a replace under way the venue takes requests in their order: a cancel names what the replace makes of it.
        let of = row.replacing.map_or(row.reference, |replacing| replacing.reference);
        let (side, quantity) = (row.side, row.quantity);
        let (symbol, prefix) = (self.desk.symbols[instrument.index()].clone(), self.desk.prefix.clone());
        let sent = self.request((b"F", Request::Cancel), reference, now, out, |builder| {
            clordid(builder, 41, &prefix, of);
            about(builder, &symbol, side, now);
            builder.quantity(38, quantity);
        });
        self.desk.orders.counters.sent += u64::from(sent == Ok(true));
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
        let Some((at, reference)) = self.desk.orders.replacing(id, instrument, now, out) else { return };
        let replacing = Replacing { reference, quantity, price, connection: self.desk.orders.connection };
        let row = self.desk.orders.table.row(at);
        let (of, side, life, manner) = (row.reference, row.side, row.time_in_force, row.terms);
        let (symbol, prefix) = (self.desk.symbols[instrument.index()].clone(), self.desk.prefix.clone());
        let sent = self.request((b"G", Request::Order), reference, now, out, |builder| {
            clordid(builder, 41, &prefix, of);
            about(builder, &symbol, side, now);
            terms(builder, quantity, price, life, &manner);
        });
        self.desk.orders.replaced_by(at, replacing, sent, now, out);
    }

    // When all is told

    fn settle_if_told(&mut self, now: Nanos, out: &mut impl EntryOut) {
        let missing = self.desk.gap.is_some_and(|to| self.desk.next_in <= to);
        if self.desk.orders.settled || missing || !self.session.is_logged_on() {
            return;
        }
        if self.desk.to_ask.is_none() {
            self.desk.to_ask = Some(self.desk.undecided());
            self.desk.asked_at = now;
        }
        while self.desk.asked.len() < MAX_ASKED
            && let Some(reference) = self.desk.to_ask.as_mut().and_then(VecDeque::pop_front)
        {
            self.ask(reference, now, out);
        }
        let late = now.since(self.desk.asked_at) >= ASK_NS;
        if late && !self.desk.asked.is_empty() {
            let (name, count) = (&self.desk.orders.name, self.desk.asked.len());
            out.note(format_args!("{name}: {count} requests for an order's status were not answered"));
            self.desk.asked.clear();
            self.desk.asked_at = now;
        }
        if self.desk.asked.is_empty() && self.desk.to_ask.as_ref().is_some_and(VecDeque::is_empty) {
            self.desk.reconnect.settled();
            self.desk.orders.decide_fates(now, out);
            let (name, next) = (u128::from(self.desk.next_out), self.desk.next_in);
            self.desk.orders.tell_heard(name, next, out);
            self.desk.orders.settle(out);
            self.desk.sent.clear();
        }
    }

    fn ask(&mut self, reference: u32, now: Nanos, out: &mut impl EntryOut) {
        let at = self.desk.orders.table.of(reference);
        let (side, symbol) = match at {
            Some(at) => {
                let row = self.desk.orders.table.row(at);
                (row.side, self.desk.symbols[row.instrument.index()].clone())
            }
            // Nobody's order: only the answer's place counts.
            None => {
                (Side::Buy, self.desk.symbols.iter().find(|symbol| !symbol.is_empty()).cloned().unwrap_or_default())
            }
        };
        let sent = self.request((b"H", Request::Status), reference, now, out, |builder| {
            builder.number(790, reference.into());
            builder.field(55, symbol.as_bytes());
            builder.char(54, if side == Side::Buy { b'1' } else { b'2' });
        });
        if sent == Ok(true) {
            self.desk.asked.insert(reference);
        }
    }
}

impl Desk {
    /// References whose orders or changes went over an earlier connection and have no answer; at least one.
    fn undecided(&mut self) -> VecDeque<u32> {
        let connection = self.orders.connection;
        let due = self.orders.table.rows_mut().filter(|row| match row.life {
            Life::Done | Life::GivenUp => false,
            Life::Unheard => row.connection < connection,
            Life::Open => {
                row.replacing.is_some_and(|replacing| replacing.connection < connection)
                    || row.cancelling.is_some_and(|over| over < connection)
            }
        });
        let mut due: VecDeque<u32> = due.map(|row| row.reference).collect();
        if due.is_empty() {
            due.push_back(0);
        }
        due
    }

    /// The reference that a ClOrdID has.
    fn reference(&self, id: &[u8]) -> Option<u32> {
        let digits = id.strip_prefix(self.prefix.as_bytes())?;
        helios_wire::fix::codec::number(digits).and_then(|number| u32::try_from(number).ok())
    }

    fn named(&self, message: &Message<'_>, tag: i32) -> Option<u32> {
        self.reference(message.get(tag)?)
    }

    /// A request that the venue refused as a message, or does not understand.
    fn refused(&mut self, number: Option<u64>, text: &str, now: Nanos, out: &mut impl EntryOut) {
        let found = self.numbers.iter().find(|(seq, ..)| Some(*seq) == number).copied();
        let Some((_, reference, request)) = found else { return };
        let reason = RejectReason::Unsupported;
        let said = match request {
            Request::Order => Said::Rejected { reference, reason, code: 0 },
            Request::Cancel => Said::CancelRejected { reference, reason },
            Request::Status => {
                self.asked.remove(&reference);
                return;
            }
        };
        out.note(format_args!("{}: the venue refused a message: {text}", self.orders.name));
        self.orders.take_in(&said, now, out);
    }

    fn execution_report(&mut self, message: &Message<'_>, now: Nanos, out: &mut impl EntryOut) {
        let ts = message.timestamp(60).or(message.timestamp(52)).unwrap_or(now);
        let kind = message.get(150).and_then(|kind| kind.first()).copied().unwrap_or(0);
        if kind == b'I' {
            return self.status(message, ts, out);
        }
        let own = self.named(message, 11).or_else(|| self.named(message, 41));
        let said = own.map_or(Said::Foreign, |reference| report(message, kind, reference));
        self.orders.take_in(&said, ts, out);
    }

    /// The answer to a status request.
    fn status(&mut self, message: &Message<'_>, ts: Nanos, out: &mut impl EntryOut) {
        let Some(reference) =
            message.get_u64(790).and_then(|n| u32::try_from(n).ok()).or_else(|| self.named(message, 11))
        else {
            return self.orders.foreign(out);
        };
        self.asked.remove(&reference);
        let Some(at) = self.orders.table.of(reference) else { return };
        let connection = self.orders.connection;
        let row = self.orders.table.row(at);
        let quantity = row.quantity;
        let all = Quantity(i64::MAX);
        let word = message.get(39).and_then(|status| status.first()).copied().unwrap_or(b'8');
        match word {
            // Unknown there: it never arrived.
            b'8' => return,
            // A change is still under way: its answer will come.
            b'6' | b'E' => {
                row.replacing.iter_mut().for_each(|replacing| replacing.connection = connection);
                row.cancelling = row.cancelling.map(|_| connection);
            }
            _ => {}
        }
        let book_ref = message.get_u64(37).unwrap_or(0);
        if row.life != Life::Open && row.life != Life::Done {
            self.orders.take_in(&Said::Accepted { reference, quantity, book_ref, dead: false }, ts, out);
        }
        let reason = match word {
            b'4' => CancelReason::Requested,
            b'3' | b'C' => CancelReason::Expired,
            _ => return,
        };
        self.orders.take_in(&Said::Cancelled { reference, quantity: all, reason, by_itself: None }, ts, out);
    }

    fn cancel_reject(&mut self, message: &Message<'_>, now: Nanos, out: &mut impl EntryOut) {
        let ts = message.timestamp(60).unwrap_or(now);
        let Some(reference) = self.named(message, 11) else { return self.orders.foreign(out) };
        let reason = match message.get_u64(102) {
            Some(0 | 1) => RejectReason::UnknownOrder,
            Some(6) => RejectReason::DuplicateOrder,
            _ => RejectReason::Other,
        };
        let said = if message.get(434) == Some(b"2") {
            Said::Rejected { reference, reason, code: message.get_u64(102).unwrap_or(99) as u16 }
        } else {
            Said::CancelRejected { reference, reason }
        };
        self.orders.take_in(&said, ts, out);
    }
}

/// CompIDs and symbols that can stand in a message.
pub(super) fn check_names(config: &FixConfig) -> Result<(), EntryError> {
    let wrong = |what: String| EntryError::new(format!("session {}: {what}", config.name));
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable(&config.sender) || !printable(&config.target) {
        return Err(wrong(format!("CompIDs {:?} and {:?} must be printable", config.sender, config.target)));
    }
    match config.symbols.iter().flatten().find(|symbol| !printable(symbol)) {
        Some(bad) => Err(wrong(format!("symbol {bad:?} is not printable: give the venue's own"))),
        None => Ok(()),
    }
}

/// What an ExecutionReport says about one of our references.
fn report(message: &Message<'_>, kind: u8, reference: u32) -> Said {
    let quantity = |tag| message.get(tag).and_then(|text| decimal(text, QUANTITY_SCALE)).map(Quantity);
    let price = |tag| message.get(tag).and_then(|text| decimal(text, PRICE_SCALE)).map(Price);
    let all = Quantity(i64::MAX);
    let book_ref = message.get_u64(37).unwrap_or(0);
    match kind {
        b'0' => Said::Accepted { reference, quantity: quantity(38).unwrap_or(all), book_ref, dead: false },
        b'5' => match (quantity(151), price(44)) {
            (Some(open), Some(price)) => Said::Replaced { reference, open, price, dead: open.is_zero() },
            _ => Said::BadValue,
        },
        // In versions before 4.3 the type says how much it was.
        b'F' | b'1' | b'2' => match (quantity(32), price(31), execution(message)) {
            (Some(quantity), Some(price), Some(execution)) => {
                let liquidity = if message.get(851) == Some(b"1") { Liquidity::Maker } else { Liquidity::Taker };
                Said::Executed { reference, quantity, price, liquidity, execution }
            }
            _ => Said::BadValue,
        },
        b'4' => {
            let reason = if message.get(41).is_some() { CancelReason::Requested } else { CancelReason::Unfilled };
            Said::Cancelled { reference, quantity: all, reason, by_itself: None }
        }
        b'3' | b'C' => Said::Cancelled { reference, quantity: all, reason: CancelReason::Expired, by_itself: None },
        b'8' => {
            let code = message.get_u64(103).unwrap_or(99) as u16;
            Said::Rejected { reference, reason: reject_reason(code), code }
        }
        b'D' => quantity(151).map_or(Said::BadValue, |open| Said::Modified { reference, open }),
        b'H' | b'G' => {
            let execution = message.get(19).map_or(0, execution_number);
            match (kind, price(31)) {
                (b'G', Some(price)) => Said::Corrected { reference, execution, price },
                _ => Said::Broken { reference, execution, reason: kind },
            }
        }
        // Pending, suspended, calculated: nothing has come of it yet.
        _ => Said::Nothing,
    }
}

/// The execution's number: the match number of the venue's feed where it is told (527), else the ExecID.
fn execution(message: &Message<'_>) -> Option<u64> {
    message.get(527).or_else(|| message.get(17)).map(execution_number)
}

/// A number as it is, text by its hash.
pub(super) fn execution_number(id: &[u8]) -> u64 {
    helios_wire::fix::codec::number(id).unwrap_or_else(|| {
        let mut hasher = Hasher::new();
        hasher.bytes(id);
        hasher.finish() as u64
    })
}

fn reject_reason(code: u16) -> RejectReason {
    match code {
        1 => RejectReason::UnknownInstrument,
        2 | 4 => RejectReason::NotTrading,
        5 => RejectReason::UnknownOrder,
        6 => RejectReason::DuplicateOrder,
        11 => RejectReason::Unsupported,
        13 => RejectReason::BadQuantity,
        _ => RejectReason::Other,
    }
}

/// A decimal of FIX in units of `1 / scale`; `None` when it does not fit exactly.
pub(super) fn decimal(text: &[u8], scale: i64) -> Option<i64> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let at = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..at], digits.get(at + 1..).unwrap_or_default());
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let step = |value: i64, digit: &u8| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    };
    let mut value = whole.iter().try_fold(0, step)?.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction {
        let digit = i64::from(char::from(*digit).to_digit(10)?);
        unit /= 10;
        // Finer than our unit: only zeros.
        if unit == 0 && digit != 0 {
            return None;
        }
        value = value.checked_add(digit * unit)?;
    }
    Some(if negative { -value } else { value })
}

fn clordid(builder: &mut Builder, tag: u32, prefix: &str, reference: u32) {
    let (mut text, mut at, mut left) = ([0_u8; 14], 14, reference);
    loop {
        at -= 1;
        text[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    at -= prefix.len();
    text[at..at + prefix.len()].copy_from_slice(prefix.as_bytes());
    builder.field(tag, &text[at..]);
}

fn about(builder: &mut Builder, symbol: &str, side: Side, now: Nanos) {
    builder.field(55, symbol.as_bytes());
    builder.char(54, if side == Side::Buy { b'1' } else { b'2' });
    builder.timestamp(60, now, Precision::Millis);
}

fn terms(builder: &mut Builder, quantity: Quantity, price: Price, life: TimeInForce, terms: &Terms) {
    builder.quantity(38, quantity);
    let kind = match (terms.stop.is_defined(), price.is_defined(), terms.midpoint) {
        (_, _, true) => b'P',
        (true, true, _) => b'4',
        (true, false, _) => b'3',
        (false, true, _) => b'2',
        (false, false, _) => b'1',
    };
    builder.char(40, kind);
    if price.is_defined() {
        builder.price(44, price);
    }
    if terms.stop.is_defined() {
        builder.price(99, terms.stop);
    }
    builder.char(
        59,
        match life {
            TimeInForce::Day => b'0',
            TimeInForce::Ioc => b'3',
            TimeInForce::Fok => b'4',
            TimeInForce::Open => b'2',
            TimeInForce::Close => b'7',
        },
    );
    match (terms.post_only, terms.midpoint) {
        (true, true) => builder.field(18, b"6 M"),
        (true, false) => builder.char(18, b'6'),
        (false, true) => builder.char(18, b'M'),
        (false, false) => {}
    }
    if terms.display != Terms::ALL {
        builder.quantity(111, terms.display);
    }
}

/// The session layer's view of the world.
struct Hearing<'a, O> {
    desk: &'a mut Desk,
    now: Nanos,
    out: &'a mut O,
}

impl<O: EntryOut> Outside for Hearing<'_, O> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }

    fn close(&mut self, why: &Closed) {
        let Desk { orders, reconnect, closing, .. } = &mut *self.desk;
        self.out.note(format_args!("{}: {why}", orders.name));
        self.out.close();
        *closing = true;
        if let Some(given_up) = reconnect.ended(why.is_refusal(), self.now) {
            self.out.note(format_args!("{}: the logon was {given_up}", orders.name));
        }
    }

    #[inline]
    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        self.desk.next_out = seq + 1;
        if let Some(message) = message.filter(|_| !self.desk.orders.settled) {
            if self.desk.sent.len() == MAX_NUMBERS {
                self.desk.sent.pop_front();
            }
            self.desk.sent.push_back((seq, message.to_vec()));
        }
    }

    fn received(&mut self, next_in: u64) {
        self.desk.next_in = next_in;
    }

    /// An order that is late is another order: only what went over this connection is sent again.
    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        let wanted = self.desk.sent.iter().filter(|(seq, _)| (from..=to).contains(seq));
        wanted.for_each(|(seq, message)| each(*seq, message));
    }

    fn reset(&mut self, _: Nanos) {
        let desk = &mut *self.desk;
        (desk.next_out, desk.next_in) = (1, 1);
        if !desk.fresh {
            desk.orders.day += 1;
            self.out
                .note(format_args!("{}: the numbers begin anew: what was missed is not told again", desk.orders.name));
        }
    }

    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        match message.msg_type() {
            b"8" => self.desk.execution_report(message, self.now, self.out),
            b"9" => self.desk.cancel_reject(message, self.now, self.out),
            b"j" => {
                let text = message.text(58).unwrap_or_default();
                self.desk.refused(message.get_u64(45), &text, self.now, self.out);
            }
            _ => return Handled::Unsupported,
        }
        Handled::Done
    }

    fn logged_on(&mut self) {
        self.desk.logged_on = true;
    }

    fn note(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::ResendAsked { to, .. } => self.desk.gap = Some(self.desk.gap.unwrap_or(0).max(*to)),
            SessionEvent::RejectReceived { ref_seq, text, .. } => {
                let text = text.clone().unwrap_or_default();
                self.desk.refused(*ref_seq, &text, self.now, self.out);
            }
            SessionEvent::LoggedOn { .. } | SessionEvent::Reset | SessionEvent::ResendAnswered { .. } => {}
            other => self.desk.orders.odd(format_args!("{other}"), self.out),
        }
    }
}
