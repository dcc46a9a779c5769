//! OUCH 5.0 and 4.2 over SoupBinTCP.
//!
//! After a login the venue replays what we missed, with no mark at the end. In 5.0 we ask for the account at once: what
//! comes before the answer is the past. Answers to questions of lost connections are counted, so that an old one, replayed,
//! is not taken for ours; after a restart that count is not known. Then, and in 4.2, the replay has ended when the server
//! has nothing to say but a heartbeat, or says something stamped well after our login.
//! A venue that left messages out is not trusted with new orders: `Settled` does not come, and a note says so.

use helios_execution::{EncodeError, Ouch42, Ouch50};
use helios_types::Event;
use helios_types::{InstrumentId, Link, Nanos, Order, OrderId, Output, Price, Quantity, RejectReason, Terms};
use helios_wire::soupbintcp::{Accepted, Client, ClientOut, ClientSettings, Closed, NOT_AUTHORIZED};
use helios_wire::text;

use super::orders::Orders;
use super::reconnect::Reconnect;
use super::said::{Said, read42, read50};
use super::table::Replacing;
use super::{EntryConfig, EntryCounters, Protocol, Recorded};
use crate::EntryOut;

/// A message stamped so long after our login is no replay, whatever the difference of the clocks.
const LIVE_AFTER_NS: u64 = 5_000_000_000;

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
    orders: Orders,
    midnight: Nanos,
    encoder: Encoder,
    reconnect: Reconnect,
    /// The venue's session, and the number of its next message.
    venue: [u8; 10],
    next: u64,
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
}

impl Ouch {
    pub(super) fn new(config: &EntryConfig, settings: ClientSettings) -> Self {
        let symbols = config.symbols.iter().map(|symbol| symbol.as_deref().unwrap_or(""));
        let encoder = match config.protocol {
            Protocol::Ouch42 => Encoder::V42(Ouch42::new(symbols, &config.token_prefix)),
            _ => Encoder::V50(Ouch50::new(symbols)),
        };
        let account = Account {
            orders: Orders::new(config),
            midnight: config.midnight,
            encoder,
            reconnect: Reconnect::new(config.seed),
            venue: [b' '; 10],
            next: 1,
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
        };
        Self { client: Client::new(settings), account }
    }

    pub(super) fn on_connected(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.client.on_connected(now, &mut Hearing { account: &mut self.account, now, out });
    }

    pub(super) fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut) {
        let mut hearing = Hearing { account: &mut self.account, now, out };
        self.client.on_bytes(bytes, now, &mut hearing);
        if self.account.orders.up {
            self.account.tell_heard(out);
        }
        if std::mem::take(&mut self.account.wants_query)
            && let Encoder::V50(encoder) = &mut self.account.encoder
            && self.client.send_packets(encoder.account_query(), now, &mut Wire(out))
        {
            self.account.queries += 1;
        }
        self.account.orders.prepare();
    }

    pub(super) fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.client.on_closed();
        self.account.reconnect.failed(now);
        self.account.lost(out);
    }

    pub(super) fn on_tick(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.account.orders.begin(out);
        if self.account.reconnect.begins(now) {
            out.connect();
        }
        self.client.on_tick(now, &mut Hearing { account: &mut self.account, now, out });
    }

    pub(super) fn next_tick(&self) -> Option<Nanos> {
        let due = self.account.reconnect.due();
        due.into_iter().chain(self.client.next_tick()).min()
    }

    pub(super) fn stop(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.client.logout(&mut Hearing { account: &mut self.account, now, out });
        self.account.reconnect.stop();
    }

    /// In 5.0 a drop copy names an order as we do, in 4.2 by its token.
    pub(super) fn order(&mut self, name: &str) -> Option<OrderId> {
        let account = &mut self.account;
        match &account.encoder {
            Encoder::V50(_) => {
                let id = OrderId(name.parse().ok()?);
                account.orders.table.find(id).map(|_| id)
            }
            Encoder::V42(encoder) => {
                let reference = encoder.reference(&helios_wire::alpha(name).ok()?)?;
                let at = account.orders.table.of(reference)?;
                Some(account.orders.table.row(at).id)
            }
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.account.orders.settled
    }

    pub(super) fn counters(&self) -> EntryCounters {
        self.account.orders.counters
    }

    #[inline]
    pub(super) fn send(&mut self, output: &Output, now: Nanos, out: &mut impl EntryOut) {
        let orders = &self.account.orders;
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

    #[inline]
    fn enter(&mut self, order: &Order, now: Nanos, out: &mut impl EntryOut) {
        let Account { orders, encoder, .. } = &mut self.account;
        let Some(reference) = orders.table.next_reference() else {
            return orders.refuse_order(order, RejectReason::Full, now, out);
        };
        let sent = encoder.enter(order, reference).map(|packet| self.client.send_packets(packet, now, &mut Wire(out)));
        // What does not delay the order comes after it.
        orders.entered(order, reference, sent, now, out);
    }

    fn cancel(&mut self, id: OrderId, instrument: InstrumentId, now: Nanos, out: &mut impl EntryOut) {
        let Account { orders, encoder, .. } = &mut self.account;
        let Some(row) = orders.cancelling(id, instrument, now, out) else { return };
        // Which of the two is in force when the cancel arrives cannot be known.
        let references = [row.reference, row.replacing.map_or(0, |replacing| replacing.reference)];
        let used = if row.replacing.is_some() { 2 } else { 1 };
        let packets = encoder.cancel(&references[..used]);
        orders.counters.sent += u64::from(self.client.send_packets(packets, now, &mut Wire(out)));
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
        let Account { orders, encoder, .. } = &mut self.account;
        let Some((at, reference)) = orders.replacing(id, instrument, now, out) else { return };
        let replacing = Replacing { reference, quantity, price, connection: orders.connection };
        let row = orders.table.row(at);
        let packet = encoder.replace(id, [row.reference, reference], quantity, price, &row.terms);
        let sent = packet.map(|packet| self.client.send_packets(packet, now, &mut Wire(out)));
        orders.replaced_by(at, replacing, sent, now, out);
    }

    pub(super) fn recover(&mut self, recorded: &Recorded<'_>) {
        match recorded {
            Recorded::Input(Event::Link(Link::Heard { session, name, next }))
                if *session == self.account.orders.session =>
            {
                self.resume(*name, *next);
            }
            other => self.account.orders.recover(other),
        }
    }

    /// The next login asks the venue to go on there.
    fn resume(&mut self, name: u128, next: u64) {
        let bytes = name.to_le_bytes();
        let account = &mut self.account;
        let session = *bytes.first_chunk().expect("a number has 16 bytes");
        self.client.resume(session, next);
        // What was sent in an older session is known by it.
        account.orders.day += u32::from(account.venue != [b' '; 10] && account.venue != self.client.session());
        (account.venue, account.next) = (self.client.session(), next);
        account.orders.told = Some((name, next));
    }
}

impl Account {
    fn lost(&mut self, out: &mut impl EntryOut) {
        self.wants_query = false;
        self.orders.lost(out);
    }

    fn tell_heard(&mut self, out: &mut impl EntryOut) {
        let mut name = [0; 16];
        name[..10].copy_from_slice(&self.venue);
        self.orders.tell_heard(u128::from_le_bytes(name), self.next, out);
    }

    fn logged_in(&mut self, login: &Accepted, now: Nanos, out: &mut impl EntryOut) {
        let orders = &mut self.orders;
        let known = self.venue != [b' '; 10];
        let changed = known && login.session != self.venue;
        if changed {
            let (old, new) = (text(&self.venue).escape_ascii(), text(&login.session).escape_ascii());
            out.note(format_args!("{}: the venue's session is {new}; until now it was {old}", orders.name));
            orders.day += 1;
            (self.queries, self.has_settled, self.missed) = (0, false, 0);
        }
        let expected = login.asked.unwrap_or(1);
        if login.next > expected {
            let missed = login.next - expected;
            self.missed = self.missed.saturating_add(missed);
            orders.counters.missed = orders.counters.missed.saturating_add(missed);
            let name = &orders.name;
            out.note(format_args!("{name}: the venue left out {missed} messages before number {}", login.next));
        } else if login.next < expected {
            out.note(format_args!("{}: the venue goes back to message {} from {expected}", orders.name, login.next));
        }
        self.stale = self.has_settled.then_some(self.queries);
        (self.venue, self.next, self.logged_in) = (login.session, login.next, now);
        (self.answers, self.live, self.complained) = (0, false, false);
        self.wants_query = matches!(self.encoder, Encoder::V50(_));
        self.reconnect.logged_in();
        self.orders.logged_in(out);
        self.tell_heard(out);
    }

    fn message(&mut self, number: u64, payload: &[u8], now: Nanos, out: &mut impl EntryOut) {
        self.next = number.saturating_add(1);
        let Some((since_midnight, said)) = self.encoder.read(payload) else {
            let head = payload[..payload.len().min(16)].escape_ascii();
            return self.orders.odd(format_args!("message {number} is no OUCH message of this version: {head}"), out);
        };
        let ts = self.midnight.plus(since_midnight);
        if let Said::NextReference(next) = said {
            self.answers += 1;
            self.queries = self.queries.saturating_sub(1);
            self.venue_reference = next;
        }
        self.orders.take_in(&said, ts, out);
        self.live |= ts >= self.logged_in.plus(LIVE_AFTER_NS);
        self.settle_if_told(now, out);
    }

    fn settle_if_told(&mut self, now: Nanos, out: &mut impl EntryOut) {
        if self.orders.settled || !self.orders.up {
            return;
        }
        let told = match self.encoder {
            Encoder::V42(_) => self.live,
            Encoder::V50(_) => self.answers > 0 && (self.live || self.stale.is_some_and(|old| self.answers > old)),
        };
        if !told || !self.is_trusted(out) {
            return;
        }
        self.has_settled = true;
        if self.live {
            // Answers that have not come were lost.
            self.queries = 0;
        }
        self.reconnect.settled();
        self.orders.decide_fates(now, out);
        self.tell_heard(out);
        self.orders.settle(out);
    }

    /// False when new orders could be lost or were perhaps filled unheard.
    fn is_trusted(&mut self, out: &mut impl EntryOut) -> bool {
        let ours = self.orders.table.next_reference().unwrap_or(u32::MAX);
        let behind = matches!(self.encoder, Encoder::V50(_)) && self.venue_reference > ours;
        if (behind || self.missed > 0) && !std::mem::replace(&mut self.complained, true) {
            let name = &self.orders.name;
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
        self.out.note(format_args!("{}: {why}", account.orders.name));
        self.out.close();
        if let Some(given_up) = account.reconnect.ended(*why == Closed::Rejected(NOT_AUTHORIZED), self.now) {
            self.out.note(format_args!("{}: user or password were {given_up}", account.orders.name));
        }
        if account.orders.up {
            account.tell_heard(self.out);
        }
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
        self.account.settle_if_told(self.now, self.out);
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
