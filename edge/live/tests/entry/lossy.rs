//! A session and a venue over a line that breaks, with a process that dies: no order arrives twice, no fill is lost or told
//! twice, and in the end both sides know the same. Everything comes from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use helios_live::{Entry, EntryOut, Protocol, Recorded};
use helios_types::{
    Event, InstrumentId, Link, Nanos, OrderId, OrderState, Output, Price, Quantity, RejectReason, Report, ReportKind,
    Rng, Side, TimeInForce,
};
use helios_wire::fix::{Dictionary, Fields, Version};
use helios_wire::soupbintcp::{Closed, Limits, MemoryStore, Server, ServerOut};
use helios_wire::{ouch, ouch42, text};

use crate::fix::{FixVenue, fix_config};
use crate::world::{MIDNIGHT, Says, config, order, said};

// A stand-in for the engine, which believes what it is told and notices what cannot be

#[derive(Clone, Debug)]
struct Order {
    state: OrderState,
    total: i64,
    filled: i64,
    asked: Option<i64>,
    cancel_wanted: bool,
    executions: BTreeSet<u64>,
}

enum Record {
    Input(Event),
    Output(Output),
}

#[derive(Default)]
struct Desk {
    orders: BTreeMap<u64, Order>,
    journal: Vec<Record>,
    /// Outputs that were not handed to the entry yet.
    fresh: Vec<Output>,
    up: bool,
    settled: bool,
    never_arrived: u32,
}

const KO: InstrumentId = InstrumentId(0);

impl Desk {
    fn say(&mut self, output: Output) {
        self.journal.push(Record::Output(output));
        self.fresh.push(output);
    }

    fn to(&mut self, id: u64, to: OrderState) {
        self.orders.get_mut(&id).expect("an order of ours").state = to;
    }

    fn event(&mut self, event: &Event) {
        self.journal.push(Record::Input(*event));
        match event {
            Event::Link(link) => self.link(link),
            Event::Report(report) => self.report(report),
            other => panic!("{other:?}"),
        }
    }

    fn link(&mut self, link: &Link) {
        match *link {
            Link::Down { .. } => {
                (self.up, self.settled) = (false, false);
                let ids: Vec<u64> = self.orders.keys().copied().collect();
                for id in ids {
                    let order = self.orders.get_mut(&id).expect("listed");
                    if matches!(order.state, OrderState::New | OrderState::CancelPending | OrderState::ReplacePending) {
                        order.cancel_wanted |= order.state == OrderState::CancelPending;
                        self.to(id, OrderState::Unknown);
                    }
                }
            }
            Link::Up { .. } => {
                (self.up, self.settled) = (true, false);
                let wanted: Vec<u64> = self
                    .orders
                    .iter()
                    .filter(|(_, o)| o.cancel_wanted && !o.state.is_done())
                    .map(|(id, _)| *id)
                    .collect();
                wanted.into_iter().for_each(|id| self.cancel(id));
            }
            Link::Settled { .. } => {
                self.settled = true;
                let vague = self.orders.iter().find(|(_, order)| order.state == OrderState::Unknown);
                assert!(vague.is_none(), "settled, and the fate of {vague:?} is not known");
            }
            Link::Heard { .. } => {}
            Link::Position { .. } => panic!("not of a session"),
        }
    }

    fn report(&mut self, report: &Report) {
        use OrderState as S;
        let id = report.order.0;
        let order = self.orders.get_mut(&id).expect("a report is about an order of ours");
        let working = if order.filled > 0 { S::PartlyFilled } else { S::Accepted };
        match report.kind {
            ReportKind::Accepted { .. } => {
                assert!(matches!(order.state, S::New | S::Unknown | S::CancelPending), "accepted: {order:?}");
                let to = if order.state == S::CancelPending { S::CancelPending } else { working };
                self.to(id, to);
            }
            ReportKind::Filled { execution, quantity, .. } => {
                assert!(order.executions.insert(execution), "execution {execution} was told twice");
                order.filled += quantity.0;
                let to = match order.state {
                    S::New | S::Accepted | S::Unknown | S::PartlyFilled => S::PartlyFilled,
                    other => other,
                };
                let full = order.filled >= order.total;
                self.to(id, if full { S::Filled } else { to });
            }
            ReportKind::Cancelled { .. } => {
                assert!(!order.state.is_done(), "cancelled: {order:?}");
                self.to(id, S::Cancelled);
            }
            ReportKind::Replaced { quantity, .. } => {
                assert!(!order.state.is_done() && order.asked == Some(quantity.0), "replaced: {report:?} {order:?}");
                (order.total, order.asked) = (quantity.0, None);
                let to = if order.state == S::CancelPending { S::CancelPending } else { working };
                let full = order.filled >= order.total;
                self.to(id, if full { S::Filled } else { to });
            }
            ReportKind::Rejected { reason } => {
                assert!(matches!(order.state, S::New | S::Unknown | S::CancelPending), "rejected: {order:?}");
                self.never_arrived += u32::from(reason == RejectReason::NeverArrived);
                self.to(id, S::Rejected);
            }
            ReportKind::ChangeRejected { reason } => {
                let lost = reason == RejectReason::NeverArrived;
                if order.state.is_done() {
                    return;
                }
                // A fill may have come first: then the state says no more that an answer is due.
                let pending = matches!(order.state, S::CancelPending | S::Unknown) || order.asked.is_some();
                assert!(lost || pending, "{report:?}: {order:?}");
                self.never_arrived += u32::from(lost);
                let order = self.orders.get_mut(&id).expect("it is there");
                let replaced = order.asked.take().is_some();
                let to = if order.state == S::CancelPending && replaced { S::CancelPending } else { working };
                self.to(id, to);
            }
        }
    }

    fn submit(&mut self, id: u64, shares: i64, life: TimeInForce) {
        let total = Quantity::whole(shares).0;
        let (asked, filled, executions) = (None, 0, BTreeSet::new());
        let new = Order { state: OrderState::New, total, filled, asked, cancel_wanted: false, executions };
        self.orders.insert(id, new);
        self.say(Output::Submit(order(id, Side::Buy, shares, price_of(id), life)));
    }

    fn cancel(&mut self, id: u64) {
        let order = self.orders.get_mut(&id).expect("an order of ours");
        order.cancel_wanted = true;
        if order.state != OrderState::CancelPending {
            self.to(id, OrderState::CancelPending);
            self.say(Output::Cancel { order: OrderId(id), instrument: KO });
        }
    }

    fn replace(&mut self, id: u64, shares: i64) {
        let quantity = Quantity::whole(shares);
        self.orders.get_mut(&id).expect("an order of ours").asked = Some(quantity.0);
        self.to(id, OrderState::ReplacePending);
        self.say(Output::Replace { order: OrderId(id), instrument: KO, quantity, price: price_of(id) });
    }
}

/// An order's price is its name.
fn price_of(id: u64) -> Price {
    Price(100_000_000_000 + id as i64 * 100_000)
}

fn id_of(raw: u64) -> u64 {
    raw - 1_000_000
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ouch42,
    Ouch50,
    Fix,
}

impl Kind {
    fn entry(self) -> Entry {
        match self {
            Self::Ouch42 => Entry::new(config(Protocol::Ouch42)),
            Self::Ouch50 => Entry::new(config(Protocol::Ouch50)),
            Self::Fix => Entry::fix(&fix_config()),
        }
        .expect("sound")
    }
}

// A simple venue

#[derive(Clone, Debug)]
struct Resting {
    id: u64,
    open: u32,
    executed: u32,
}

struct Venue {
    kind: Kind,
    server: Server<MemoryStore>,
    fix: FixVenue,
    port: Port,
    /// By the reference in force.
    resting: BTreeMap<u32, Resting>,
    /// The highest reference (5.0), or all (4.2).
    used: BTreeSet<u32>,
    entered: BTreeMap<u64, u32>,
    executed: BTreeMap<u64, i64>,
    executions: u64,
}

#[derive(Default)]
pub struct Port {
    pub wrote: BTreeMap<u64, Vec<u8>>,
    pub closed: BTreeSet<u64>,
    pub messages: Vec<Vec<u8>>,
}

impl ServerOut for Port {
    fn write(&mut self, connection: u64, bytes: &[u8]) {
        self.wrote.entry(connection).or_default().extend_from_slice(bytes);
    }
    fn close(&mut self, connection: u64, _: &Closed) {
        self.closed.insert(connection);
    }
    fn message(&mut self, _: usize, payload: &[u8]) {
        self.messages.push(payload.to_vec());
    }
}

impl Venue {
    fn new(kind: Kind) -> Self {
        let mut server = Server::new(Limits { burst_bytes: 300, ..Limits::default() });
        server.add_user("ME", "HUNTER2", MemoryStore::new(*b"DAY       ", 1 << 20)).expect("a user");
        Self {
            kind,
            server,
            fix: FixVenue::new(),
            port: Port::default(),
            resting: BTreeMap::new(),
            used: BTreeSet::new(),
            entered: BTreeMap::new(),
            executed: BTreeMap::new(),
            executions: 0,
        }
    }

    fn publish(&mut self, now: Nanos, reference: u32, says: Says) {
        let protocol = match self.kind {
            Kind::Ouch42 => Protocol::Ouch42,
            Kind::Ouch50 => Protocol::Ouch50,
            Kind::Fix => return self.fix.publish(now, reference, says, &mut self.port),
        };
        let message = said(protocol, now.since(MIDNIGHT), reference, says).expect("this version has it");
        self.server.publish(0, &message, now, &mut self.port).expect("room");
    }

    fn on_bytes(&mut self, connection: u64, bytes: &[u8], now: Nanos, rng: &mut Rng) {
        match self.kind {
            Kind::Fix => self.fix.on_bytes(connection, bytes, now, &mut self.port),
            _ => self.server.on_bytes(connection, bytes, now, &mut self.port),
        }
        for message in std::mem::take(&mut self.port.messages) {
            match self.kind {
                Kind::Ouch50 => self.take50(&message, now, rng),
                Kind::Ouch42 => self.take42(&message, now, rng),
                Kind::Fix => self.take_fix(&message, now, rng),
            }
        }
    }

    fn on_connected(&mut self, connection: u64, now: Nanos) {
        match self.kind {
            Kind::Fix => self.fix.on_connected(connection, now, &mut self.port),
            _ => self.server.on_connected(connection, now, &mut self.port),
        }
    }

    fn on_closed(&mut self, connection: u64, now: Nanos) {
        match self.kind {
            Kind::Fix => self.fix.on_closed(connection, now, &mut self.port),
            _ => self.server.on_closed(connection, &mut self.port),
        }
    }

    fn on_tick(&mut self, now: Nanos) {
        match self.kind {
            Kind::Fix => self.fix.on_tick(now, &mut self.port),
            _ => self.server.on_tick(now, &mut self.port),
        }
    }

    fn take_fix(&mut self, message: &[u8], now: Nanos, rng: &mut Rng) {
        let mut fields = Fields::new();
        let message = fields.parse(message, Dictionary::of(Version::Fix44)).expect("it was read before");
        let named = |tag| message.get_u64(tag).expect("a ClOrdID of ours") as u32;
        let shares = || message.get_u64(38).expect("whole shares") as u32;
        let own = named(11);
        match message.msg_type() {
            b"D" => {
                let price: f64 = message.text(44).expect("a limit").parse().expect("a number");
                let id = id_of((price * 10_000.0).round() as u64);
                self.enter(own, id, shares(), message.get(59) == Some(b"3"), now, rng);
            }
            b"G" if self.resting.contains_key(&named(41)) => self.replace(named(41), own, shares(), now, rng),
            b"G" => self.publish(now, own, Says::ReplaceRejected),
            b"F" => {
                assert!(self.used.insert(own), "a ClOrdID was used twice");
                match self.resting.remove(&named(41)) {
                    Some(_) => self.publish(now, own, Says::Cancelled { shares: 0, reason: b'U' }),
                    None => self.publish(now, own, Says::CancelRejected),
                }
            }
            b"H" => {
                let found = self.resting.contains_key(&own);
                let status = if found {
                    '0'
                } else if self.used.contains(&own) {
                    '2'
                } else {
                    '8'
                };
                self.publish(now, own, Says::Status { status });
            }
            other => panic!("{}", other.escape_ascii()),
        }
    }

    fn take50(&mut self, message: &[u8], now: Nanos, rng: &mut Rng) {
        use ouch::inbound::Message as M;
        let highest = self.used.last().copied().unwrap_or(0);
        match ouch::inbound::decode(message).expect("a message").message {
            M::EnterOrder(m) => {
                let id = id_of(m.price());
                assert_eq!(text(m.cl_ord_id()), id.to_string().as_bytes());
                self.enter(m.user_ref_num(), id, m.quantity(), m.time_in_force() == b'3', now, rng);
            }
            M::ReplaceOrder(m) if m.user_ref_num() > highest => {
                self.replace(m.orig_user_ref_num(), m.user_ref_num(), m.quantity(), now, rng);
            }
            M::CancelOrder(m) => self.cancel(m.user_ref_num(), now),
            M::AccountQuery(_) => self.publish(now, highest + 1, Says::Next),
            M::ReplaceOrder(_) => panic!("a replace was sent twice"),
            other => panic!("{other:?}"),
        }
    }

    fn take42(&mut self, message: &[u8], now: Nanos, rng: &mut Rng) {
        use ouch42::inbound::Message as M;
        let number = |token: &[u8; 14]| std::str::from_utf8(text(token)).expect("ASCII").parse().expect("a number");
        match ouch42::inbound::decode(message).expect("a message") {
            M::EnterOrder(m) => {
                let id = id_of(m.price().into());
                self.enter(number(m.order_token()), id, m.shares(), m.time_in_force() == 0, now, rng);
            }
            M::ReplaceOrder(m) => {
                let (from, to) = (number(m.existing_order_token()), number(m.replacement_order_token()));
                self.replace(from, to, m.shares(), now, rng);
            }
            M::CancelOrder(m) => self.cancel(number(m.order_token()), now),
            other => panic!("{other:?}"),
        }
    }

    fn enter(&mut self, reference: u32, id: u64, shares: u32, ioc: bool, now: Nanos, rng: &mut Rng) {
        assert!(self.used.last().is_none_or(|highest| *highest < reference), "references go up");
        self.used.insert(reference);
        let times = self.entered.entry(id).or_default();
        *times += 1;
        assert_eq!(*times, 1, "order {id} arrived twice");
        if rng.below(10) == 0 {
            return self.publish(now, reference, Says::Rejected { code: 10 });
        }
        self.publish(now, reference, Says::Accepted { shares, book: id, dead: false });
        self.resting.insert(reference, Resting { id, open: shares, executed: 0 });
        if ioc {
            self.trade(reference, now, rng);
            self.take_off(reference, b'I', now);
        }
    }

    fn replace(&mut self, from: u32, to: u32, shares: u32, now: Nanos, rng: &mut Rng) {
        let Some(old) = self.resting.get(&from).cloned() else { return };
        assert!(self.used.last().is_none_or(|highest| *highest < to), "references go up");
        match if self.kind == Kind::Fix { 1 + rng.below(7) } else { rng.below(8) } {
            // New terms that are not valid: the order is cancelled, the reference is not used.
            0 => self.take_off(from, b'Z', now),
            1 => {
                self.used.insert(to);
                let fix = self.kind == Kind::Fix;
                self.publish(now, to, if fix { Says::ReplaceRejected } else { Says::Rejected { code: 11 } });
            }
            _ => {
                self.used.insert(to);
                self.resting.remove(&from);
                let open = shares.saturating_sub(old.executed);
                let raw = (price_of(old.id).0 / 100_000) as u32;
                self.publish(now, to, Says::Replaced { open, raw, dead: open == 0 });
                if open > 0 {
                    self.resting.insert(to, Resting { open, ..old });
                }
            }
        }
    }

    fn cancel(&mut self, reference: u32, now: Nanos) {
        self.take_off(reference, b'U', now);
    }

    fn take_off(&mut self, reference: u32, reason: u8, now: Nanos) {
        if let Some(gone) = self.resting.remove(&reference) {
            self.publish(now, reference, Says::Cancelled { shares: gone.open, reason });
        }
    }

    fn trade(&mut self, reference: u32, now: Nanos, rng: &mut Rng) {
        let Some(resting) = self.resting.get_mut(&reference) else { return };
        let shares = 1 + rng.below(u64::from(resting.open)) as u32;
        (resting.open, resting.executed) = (resting.open - shares, resting.executed + shares);
        let (id, open) = (resting.id, resting.open);
        self.executions += 1;
        *self.executed.entry(id).or_default() += Quantity::whole(i64::from(shares)).0;
        let execution = self.executions;
        self.publish(now, reference, Says::Executed { shares, raw: 1_000_000, execution, flag: b'A' });
        if open == 0 {
            self.resting.remove(&reference);
        }
    }
}

// The line, and the world

enum Act {
    Event(Event),
    Connect,
    Write(Vec<u8>),
    Close,
}

#[derive(Default)]
struct Acts(Vec<Act>);

impl EntryOut for Acts {
    fn event(&mut self, event: Event) {
        self.0.push(Act::Event(event));
    }
    fn connect(&mut self) {
        self.0.push(Act::Connect);
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.push(Act::Write(bytes.to_vec()));
    }
    fn close(&mut self) {
        self.0.push(Act::Close);
    }
    fn note(&mut self, text: fmt::Arguments<'_>) {
        let text = text.to_string();
        let expected = [
            "never arrived",
            "rejected with code",
            "the venue cancelled order",
            "heard for",
            "logged out",
            "nothing received",
            "no Logon",
            "connected already",
            "missing: asked",
            "were not answered",
            "TestRequest",
        ];
        assert!(expected.iter().any(|word| text.contains(word)), "{text}");
    }
}

struct World {
    kind: Kind,
    rng: Rng,
    now: Nanos,
    entry: Entry,
    desk: Desk,
    venue: Venue,
    /// The connection, when there is one.
    line: Option<u64>,
    connects: bool,
    to_venue: Vec<u8>,
    connections: u64,
    /// Connections of which the venue has not heard that they are gone.
    half_open: Vec<u64>,
    next_id: u64,
    calm: bool,
    crashes: u32,
    losses: u32,
}

impl World {
    fn new(kind: Kind, seed: u64) -> Self {
        Self {
            kind,
            rng: Rng::new(seed),
            now: MIDNIGHT.plus(1_000_000_000),
            entry: kind.entry(),
            desk: Desk::default(),
            venue: Venue::new(kind),
            line: None,
            connects: false,
            to_venue: Vec::new(),
            connections: 0,
            half_open: Vec::new(),
            next_id: 1,
            calm: false,
            crashes: 0,
            losses: 0,
        }
    }

    /// Does what the entry asked for; the process may die at any point of it.
    fn carry_out(&mut self, acts: Acts) {
        let dies = !self.calm && self.rng.below(400) == 0;
        let last = if dies { self.rng.below(acts.0.len() as u64 + 1) as usize } else { acts.0.len() };
        for act in acts.0.into_iter().take(last) {
            match act {
                Act::Event(event) => self.desk.event(&event),
                Act::Connect => self.connects = true,
                Act::Write(bytes) => self.to_venue.extend_from_slice(&bytes),
                Act::Close => self.hang_up(),
            }
        }
        if dies {
            return self.restart();
        }
        let alive = self.crashes;
        for output in std::mem::take(&mut self.desk.fresh) {
            let mut acts = Acts::default();
            self.entry.send(&output, self.now, &mut acts);
            self.carry_out(acts);
            if self.crashes != alive {
                // The rest is in the journal, and was never sent.
                return;
            }
        }
    }

    fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            // Part of what is under way still arrives.
            let arrives = self.rng.below(self.to_venue.len() as u64 + 1) as usize;
            let bytes: Vec<u8> = self.to_venue.drain(..).take(arrives).collect();
            self.venue.on_bytes(line, &bytes, self.now, &mut self.rng);
            self.half_open.push(line);
        }
        self.to_venue.clear();
        self.connects = false;
    }

    fn restart(&mut self) {
        self.crashes += 1;
        self.hang_up();
        self.desk.fresh.clear();
        self.entry = self.kind.entry();
        for record in &self.desk.journal {
            self.entry.recover(&match record {
                Record::Input(event) => Recorded::Input(event),
                Record::Output(output) => Recorded::Output(output),
            });
        }
        (self.desk.up, self.desk.settled) = (false, false);
    }

    fn call(&mut self, act: impl FnOnce(&mut Entry, Nanos, &mut Acts)) {
        let mut acts = Acts::default();
        act(&mut self.entry, self.now, &mut acts);
        self.carry_out(acts);
    }

    fn step(&mut self) {
        self.now = self.now.plus(1 + self.rng.below(40_000_000));
        if self.entry.next_tick().is_some_and(|due| due <= self.now) || self.rng.below(10) == 0 {
            self.call(|entry, now, acts| entry.on_tick(now, acts));
        }
        self.venue.on_tick(self.now);
        match self.rng.below(if self.calm { 670 } else { 1_000 }) {
            0..300 => self.deliver_to_venue(),
            300..600 => self.deliver_to_us(),
            600..650 => self.connect(),
            650..670 => {
                if !self.half_open.is_empty() {
                    let gone = self.half_open.remove(0);
                    self.venue.on_closed(gone, self.now);
                }
            }
            670..674 => self.lose(),
            674..780 => {
                let at = self.rng.below(self.venue.resting.len().max(1) as u64) as usize;
                if let Some(reference) = self.venue.resting.keys().nth(at).copied() {
                    self.venue.trade(reference, self.now, &mut self.rng);
                }
            }
            _ => self.wish(),
        }
    }

    fn deliver_to_venue(&mut self) {
        let Some(line) = self.line else { return };
        let count = 1 + self.rng.below(self.to_venue.len() as u64 + 1) as usize;
        let bytes: Vec<u8> = self.to_venue.drain(..count.min(self.to_venue.len())).collect();
        self.venue.on_bytes(line, &bytes, self.now, &mut self.rng);
    }

    fn deliver_to_us(&mut self) {
        let Some(line) = self.line else { return };
        let waiting = self.venue.port.wrote.entry(line).or_default();
        let count = (1 + self.rng.below(waiting.len() as u64 + 1) as usize).min(waiting.len());
        let bytes: Vec<u8> = waiting.drain(..count).collect();
        let ends = waiting.is_empty() && self.venue.port.closed.contains(&line);
        if !bytes.is_empty() {
            self.call(|entry, now, acts| entry.on_bytes(&bytes, now, acts));
        }
        if ends && self.line == Some(line) {
            self.lose();
        }
    }

    fn connect(&mut self) {
        if !std::mem::take(&mut self.connects) {
            return;
        }
        if !self.calm && self.rng.below(4) == 0 {
            return self.call(|entry, now, acts| entry.on_closed(now, acts));
        }
        self.connections += 1;
        self.line = Some(self.connections);
        self.venue.on_connected(self.connections, self.now);
        self.call(|entry, now, acts| entry.on_connected(now, acts));
    }

    fn lose(&mut self) {
        if self.line.is_some() {
            self.losses += 1;
            self.hang_up();
            self.call(|entry, now, acts| entry.on_closed(now, acts));
        }
    }

    /// What strategies want, as far as the engine lets it through.
    fn wish(&mut self) {
        let working: Vec<u64> = self
            .desk
            .orders
            .iter()
            .filter(|(_, o)| matches!(o.state, OrderState::New | OrderState::Accepted | OrderState::PartlyFilled))
            .map(|(id, _)| *id)
            .collect();
        let pick = working.get(self.rng.below(working.len().max(1) as u64) as usize).copied();
        match (self.rng.below(4), pick) {
            (0, Some(id)) if self.desk.up => self.desk.cancel(id),
            (1, Some(id)) if self.desk.settled && self.desk.orders[&id].state != OrderState::New => {
                let shares = 1 + self.rng.below(300) as i64;
                self.desk.replace(id, shares);
            }
            // Also, though rarely, when the engine should not: it may not have heard yet.
            (2..4, _) if self.desk.settled || self.rng.below(200) == 0 => {
                let id = self.next_id;
                self.next_id += 1;
                let life = if self.rng.below(3) == 0 { TimeInForce::Ioc } else { TimeInForce::Day };
                let shares = 1 + self.rng.below(300) as i64;
                self.desk.submit(id, shares, life);
            }
            _ => return,
        }
        self.carry_out(Acts::default());
    }

    /// No more trouble and no more wishes: everything comes to rest.
    fn settle(&mut self) {
        self.calm = true;
        let mut quiet = 0;
        for _ in 0..20_000 {
            self.step();
            // For some seconds nothing but heartbeats.
            quiet = if self.desk.settled { quiet + 1 } else { 0 };
            if quiet == 500 {
                return;
            }
            let line = self.line;
            self.venue.port.wrote.retain(|connection, _| Some(*connection) == line);
        }
        panic!("it never came to rest: {:?}", self.entry.counters());
    }

    fn check(&self, seed: u64) {
        let open: BTreeMap<u64, i64> = self
            .venue
            .resting
            .values()
            .map(|resting| (resting.id, Quantity::whole(i64::from(resting.open)).0))
            .collect();
        for (id, order) in &self.desk.orders {
            let executed = self.venue.executed.get(id).copied().unwrap_or(0);
            assert_eq!(order.filled, executed, "seed {seed}: fills of order {id}: {order:?}");
            let ours = if order.state.is_done() { 0 } else { order.total - order.filled };
            assert_eq!(ours, open.get(id).copied().unwrap_or(0), "seed {seed}: open of order {id}: {order:?}");
            let pending =
                matches!(order.state, OrderState::New | OrderState::CancelPending | OrderState::ReplacePending);
            assert!(!pending, "seed {seed}: no answer is due any more: {id} {order:?}");
        }
    }
}

#[test]
fn whatever_is_lost_both_sides_know_the_same_in_the_end() {
    let (mut crashes, mut losses, mut orders, mut fills, mut never) = (0, 0, 0, 0, 0);
    for seed in 0..240 {
        let kind = [Kind::Ouch50, Kind::Ouch42, Kind::Fix][seed as usize % 3];
        let mut world = World::new(kind, seed);
        for _ in 0..4_000 {
            world.step();
        }
        world.settle();
        world.check(seed);
        crashes += world.crashes;
        losses += world.losses;
        orders += world.next_id - 1;
        fills += world.venue.executions;
        never += world.desk.never_arrived;
    }
    println!("{crashes} crashes, {losses} losses, {orders} orders, {fills} fills, {never} never arrived");
    assert!(crashes > 200 && losses > 500 && orders > 5_000 && fills > 3_000 && never > 300);
}
