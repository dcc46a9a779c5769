//! One venue: its market, its market data, its accounts and their orders.
//!
//! Protocols bring wishes ([`Enter`], [`Change`], …); each is carried out at once in the market, what follows goes to the
//! accounts' streams and to the tape in the order in which it happened. Behaviour follows the OUCH specifications: a
//! replacement always loses its place and keeps the chain's executions, a reduction keeps it, superfluous cancels are
//! ignored.

use std::collections::{BTreeMap, BTreeSet};

use helios_book::Books;
use helios_types::{
    BookRef, CancelReason, InstrumentId, Liquidity, Nanos, Price, Quantity, RejectReason, ReportKind, TimeInForce,
};
use helios_venue::SelfTrade;
use helios_venue::agents::{Floor, OPEN_NS};
use helios_venue::matching::{Event, Events, NewOrder};
use helios_wire::ouch::outbound;
use helios_wire::soupbintcp::Store;
use helios_wire::{price4, to_price4};

use crate::account::{Account, MAX_REFERENCES, Moment};
use crate::config::{Pace, Protocol, Source, User, VenueConfig};
use crate::fix;
use crate::fix::Done;
use crate::ledger::{Execution, Ledger};
use crate::order::{
    Change, Ended, Enter, Life, MARKET, MAX_PRICE, MAX_SHARES, Manner, Order, Reference, Refusal, Reply, TIME_BYTES,
    side_of,
};
use crate::replay::Replay;
use crate::tape::Tape;

/// Most steps of a market that are made up for at once, so that a late call cannot take for ever.
const MAX_STEPS: usize = 100_000;

/// The exchange's users and what it knows of them.
pub(crate) struct Users {
    pub(crate) list: Vec<User>,
    pub(crate) ledgers: Vec<Ledger>,
}

/// Which orders of an account a mass cancel is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) stock: Option<[u8; 8]>,
    pub(crate) side: Option<u8>,
    pub(crate) group: Option<u16>,
}

pub(crate) struct Venue {
    pub(crate) name: String,
    index: usize,
    pub(crate) floor: Floor,
    /// A recorded day is the market, and the floor only numbers orders.
    pub(crate) replay: Option<Box<Replay>>,
    from_ns: Option<u64>,
    pub(crate) tape: Tape,
    pub(crate) accounts: Vec<Account>,
    orders: BTreeMap<BookRef, Order>,
    expiries: BTreeSet<(Nanos, BookRef)>,
    symbols: BTreeMap<[u8; 8], usize>,
    halted: Vec<bool>,
    events: Events,
    midnight: Nanos,
    /// When the market opened, and how many messages it had written then.
    opened: Option<(Nanos, u64)>,
    pace: Pace,
    self_trade: Option<SelfTrade>,
    max_open_orders: usize,
    /// New orders are refused, on demand.
    pub(crate) refuses_orders: bool,
    closed: bool,
    stamp: u64,
}

impl Venue {
    pub(crate) fn new(config: &VenueConfig, index: usize, users: usize, midnight: Nanos) -> Result<Self, String> {
        let (floor, pace) = config.source.floor(&config.symbols)?;
        let symbols: BTreeMap<[u8; 8], usize> =
            floor.stocks().iter().enumerate().map(|(at, stock)| (*stock, at)).collect();
        if symbols.len() != floor.stocks().len() {
            return Err("a symbol is listed twice".to_owned());
        }
        let mut venue = Self {
            name: config.name.clone(),
            index,
            halted: vec![false; floor.stocks().len()],
            floor,
            replay: None,
            from_ns: match config.source {
                Source::Replay { from_ns, .. } => Some(from_ns),
                _ => None,
            },
            tape: Tape::new(config.tape.clone())?,
            accounts: Vec::new(),
            orders: BTreeMap::new(),
            expiries: BTreeSet::new(),
            symbols,
            events: Events::new(),
            midnight,
            opened: None,
            pace,
            self_trade: config.self_trade,
            max_open_orders: config.max_open_orders,
            refuses_orders: false,
            closed: false,
            stamp: 0,
        };
        for user in (0..users).filter(|_| config.drop_copies) {
            venue.account(user, Protocol::DropCopy);
        }
        Ok(venue)
    }

    /// Time moves on: what the next messages are stamped with never goes back.
    pub(crate) fn set_time(&mut self, now: Nanos) {
        self.stamp = self.stamp.max(now.since(self.midnight)).min(MAX_STAMP);
        self.floor.set_stamp(self.stamp);
    }

    fn moment(&self) -> Moment {
        (self.midnight, self.stamp)
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    fn is_open(&self) -> bool {
        self.opened.is_some() && !self.closed
    }

    /// The day is over.
    pub(crate) fn is_ended(&self) -> bool {
        self.closed
    }

    /// The day begins.
    pub(crate) fn open(&mut self, now: Nanos) {
        self.set_time(now);
        if let Some(from) = self.from_ns {
            while self.replay.as_ref().and_then(|replay| replay.next_at()).is_some_and(|at| at < from) {
                self.step_replay();
            }
        } else {
            self.floor.open(self.tape.buffer());
        }
        self.tape.written();
        self.opened = Some((now, self.tape.next()));
    }

    /// The account of a user in a protocol, made at first use.
    pub(crate) fn account(&mut self, user: usize, protocol: Protocol) -> usize {
        let found = self.accounts.iter().position(|account| account.user == user && account.protocol == protocol);
        found.unwrap_or_else(|| {
            let mut account = Account::new(user, protocol, self.tape.session());
            account.say(&Reply::Day(b'S'), (self.midnight, self.stamp));
            self.accounts.push(account);
            self.accounts.len() - 1
        })
    }

    // Time.

    /// When something happens here without a message from outside.
    pub(crate) fn next_tick(&self) -> Option<Nanos> {
        let (opened, _) = self.opened?;
        let act = self.next_act().map(|at| match self.pace {
            Pace::Times(times) => opened.plus((at.saturating_sub(self.begins()) as f64 / times) as u64),
            Pace::Rate(_) => Nanos(0),
        });
        let expiry = self.expiries.first().map(|(at, _)| *at);
        [Some(self.tape.next_tick()), act, expiry].into_iter().flatten().min()
    }

    /// What is due by `now` happens.
    pub(crate) fn tick(&mut self, users: &mut Users, now: Nanos) {
        if !self.is_open() {
            return;
        }
        while let Some(&(at, number)) = self.expiries.first()
            && at <= now
        {
            self.expiries.pop_first();
            self.set_time(now);
            self.take_off(users, number, Ended::Timeout);
        }
        let Some((opened, before)) = self.opened else { return };
        for _ in 0..MAX_STEPS {
            let Some(at) = self.next_act() else { break };
            let due = match self.pace {
                Pace::Times(times) => opened.plus((at.saturating_sub(self.begins()) as f64 / times) as u64),
                Pace::Rate(rate) => {
                    let allowed = u128::from(now.since(opened)) * u128::from(rate) / 1_000_000_000;
                    if u128::from(self.tape.next() - before) >= allowed {
                        break;
                    }
                    now
                }
            };
            if due > now {
                break;
            }
            self.act(users, due);
        }
    }

    /// When the market takes a step by itself, nanoseconds since its midnight, and when it began to.
    fn next_act(&self) -> Option<u64> {
        self.replay.as_ref().map_or_else(|| self.floor.next_act(), |replay| replay.next_at())
    }

    fn begins(&self) -> u64 {
        self.from_ns.unwrap_or(OPEN_NS)
    }

    fn step_replay(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.step(self.stamp, self.tape.buffer());
            self.tape.written();
        }
    }

    /// The market takes one step by itself.
    fn act(&mut self, users: &mut Users, at: Nanos) {
        self.set_time(at);
        if self.replay.is_some() {
            self.step_replay();
            self.report_replay(users);
            if self.next_act().is_none() {
                self.end_orders(users, Ended::Closed, |_| true);
                self.say_end();
            }
            return;
        }
        let was_closed = self.floor.is_closed();
        self.floor.act(self.tape.buffer());
        self.tape.written();
        self.report_fills(users);
        if self.floor.is_closed() && !was_closed {
            self.end_orders(users, Ended::Closed, |_| true);
        }
        if self.floor.is_closed() && self.floor.next_act().is_none() {
            self.say_end();
        }
    }

    /// The day ends: orders leave, accounts and the feed are told.
    pub(crate) fn close(&mut self, users: &mut Users, now: Nanos) {
        if !self.is_open() {
            return;
        }
        self.set_time(now);
        self.end_orders(users, Ended::Closed, |_| true);
        if self.replay.is_none() {
            self.floor.close(self.tape.buffer());
            self.tape.written();
        }
        self.say_end();
    }

    fn say_end(&mut self) {
        self.closed = true;
        for account in &mut self.accounts {
            account.say(&Reply::Day(b'E'), (self.midnight, self.stamp));
        }
    }

    // Wishes.

    /// A new order. A reference that was used is ignored.
    pub(crate) fn enter(
        &mut self,
        users: &mut Users,
        account: usize,
        wish: Result<Enter, (Reference, [u8; 14], Refusal)>,
        now: Nanos,
    ) {
        self.set_time(now);
        let (reference, cl_ord_id) = match &wish {
            Ok(enter) => (enter.reference.clone(), enter.said.cl_ord_id),
            Err((reference, cl_ord_id, _)) => (reference.clone(), *cl_ord_id),
        };
        if self.accounts[account].is_used(&reference) {
            return;
        }
        if let Err(why) = self.try_enter(users, account, &reference, wish.map_err(|(.., why)| why)) {
            self.reject(account, &reference, &cl_ord_id, why);
        }
    }

    /// The same, with the refusal for the caller to tell; a reference that was used is one.
    pub(crate) fn try_enter(
        &mut self,
        users: &mut Users,
        account: usize,
        reference: &Reference,
        wish: Result<Enter, Refusal>,
    ) -> Result<(), Refusal> {
        let ledger = &mut users.ledgers[self.accounts[account].user];
        ledger.received += 1;
        let fresh = self.accounts[account].consume(reference);
        let checked =
            wish.and_then(|enter| if fresh { self.check(users, account, enter) } else { Err(Refusal::Duplicate) });
        match checked {
            Ok((order, new)) => self.submit(users, order, &new),
            Err(why) => {
                users.ledgers[self.accounts[account].user].rejected += 1;
                return Err(why);
            }
        }
        Ok(())
    }

    fn reject(&mut self, account: usize, reference: &Reference, cl_ord_id: &[u8; 14], why: Refusal) {
        let (moment, account) = (self.moment(), &mut self.accounts[account]);
        account.say(&Reply::Rejected { reference, cl_ord_id, why }, moment);
    }

    fn check(&mut self, users: &Users, at: usize, enter: Enter) -> Result<(Order, NewOrder), Refusal> {
        let account = &self.accounts[at];
        let user = &users.list[account.user];
        side_of(enter.side).ok_or(Refusal::Side)?;
        let symbol = *self.symbols.get(&enter.stock).ok_or(Refusal::Symbol)?;
        let firm = enter.said.firm;
        if account.disabled || !(firm == *b"    " || firm == user.firm) {
            return Err(Refusal::Firm);
        }
        if !(1..=MAX_SHARES).contains(&enter.shares) {
            return Err(Refusal::Quantity);
        }
        self.may_trade(symbol)?;
        let full = account.is_filling() || account.used.len() >= MAX_REFERENCES;
        if self.refuses_orders || full || self.orders.len() >= self.max_open_orders {
            return Err(Refusal::Processing);
        }
        let order = Order {
            account: at,
            reference: enter.reference,
            symbol,
            stock: enter.stock,
            side: enter.side,
            price: enter.price,
            open: enter.shares,
            executed: 0,
            number: 0,
            chain: 0,
            total: enter.shares,
            paid: 0,
            here: 0,
            asked: None,
            expires: None,
            manner: enter.manner,
            said: enter.said,
        };
        let new = self.new_order(&order, account.user)?;
        Ok((order, new))
    }

    fn may_trade(&self, symbol: usize) -> Result<(), Refusal> {
        if self.closed || self.floor.is_closed() {
            return Err(Refusal::Closed);
        }
        if self.halted[symbol] { Err(Refusal::Halted) } else { Ok(()) }
    }

    /// The order as the market takes it; without its number.
    fn new_order(&self, order: &Order, user: usize) -> Result<NewOrder, Refusal> {
        let Manner { life, hidden, post_only, .. } = order.manner;
        let market = order.price == MARKET || order.price > MAX_PRICE;
        let price = match price4(order.price) {
            _ if market => Price::UNDEFINED,
            Some(price) if price.0 > 0 && price <= self.floor.max_price() && order.price.is_multiple_of(100) => price,
            _ => return Err(Refusal::Price),
        };
        if market && (life != Life::Immediate || hidden) {
            return Err(Refusal::Price);
        }
        let quantity = Quantity::whole(i64::from(order.open));
        let plain = NewOrder::limit(InstrumentId(order.symbol as u32), 0, order.side(), price, quantity);
        let mut new = NewOrder { firm: user as u32 + 1, self_trade: self.self_trade, ..plain };
        new.terms.post_only = post_only;
        match life {
            Life::Immediate if order.said.minimum > 0 => new.time_in_force = TimeInForce::Fok,
            Life::Immediate => new.time_in_force = TimeInForce::Ioc,
            Life::Day | Life::For(_) if hidden => new.terms.display = Quantity::ZERO,
            Life::Day | Life::For(_) => {}
        }
        Ok(new)
    }

    /// Numbers an order, and notes it as working.
    fn place(&mut self, order: &mut Order, new: &mut NewOrder) {
        let hidden = order.manner.hidden && order.manner.life != Life::Immediate;
        order.number = self.floor.order_number(hidden);
        new.order = order.number;
        if order.chain == 0 {
            order.chain = order.number;
        }
        if let Life::For(ns) = order.manner.life {
            let at = self.midnight.plus(self.stamp).plus(ns);
            order.expires = Some(at);
            self.expiries.insert((at, order.number));
        }
        self.accounts[order.account].working.insert(order.reference.clone(), order.number);
        self.orders.insert(order.number, order.clone());
    }

    fn submit(&mut self, users: &mut Users, mut order: Order, new: &NewOrder) {
        let mut new = *new;
        self.place(&mut order, &mut new);
        let (moment, account) = (self.moment(), &mut self.accounts[order.account]);
        account.say(&Reply::Accepted(&order), moment);
        let ledger = &mut users.ledgers[account.user];
        (ledger.accepted, ledger.open) = (ledger.accepted + 1, ledger.open + 1);
        let mpid = order.manner.attributed.then(|| users.list[account.user].firm);
        self.bring(users, None, &new, mpid);
    }

    /// An order that was announced comes to the market, perhaps for another one.
    fn bring(&mut self, users: &mut Users, old: Option<BookRef>, new: &NewOrder, mpid: Option<[u8; 4]>) {
        if let Some(replay) = &mut self.replay {
            if let Some(old) = old {
                replay.cancel(new.instrument, old);
                replay.forget(old);
            }
            replay.submit(new);
            return self.report_replay(users);
        }
        self.events.clear();
        let (events, out) = (&mut self.events, self.tape.buffer());
        let first = match old {
            Some(old) => self.floor.replace(old, new, mpid, events, out),
            None => self.floor.submit(new, mpid, events, out),
        };
        self.tape.written();
        self.report(users, new.order, first);
    }

    /// A replacement. Ignored when the order is gone or the new reference was used; when what it asks for cannot be,
    /// the order is cancelled and the reference stays unused.
    pub(crate) fn replace(
        &mut self,
        users: &mut Users,
        at: usize,
        (old, reference): (&Reference, &Reference),
        wish: Result<Change, Refusal>,
        now: Nanos,
    ) {
        self.set_time(now);
        let account = &self.accounts[at];
        let Some(&number) = account.working.get(old) else { return };
        if account.is_used(reference) || self.closed {
            return;
        }
        users.ledgers[account.user].received += 1;
        match wish.and_then(|change| self.check_change(at, number, change)) {
            Ok((order, new)) => self.resubmit(users, number, order, &new),
            Err(_) => self.take_off(users, number, Ended::User),
        }
    }

    fn check_change(&self, at: usize, number: BookRef, change: Change) -> Result<(Order, NewOrder), Refusal> {
        let old = &self.orders[&number];
        let open = change.shares.checked_sub(old.executed).filter(|open| *open > 0).ok_or(Refusal::Quantity)?;
        if change.shares > MAX_SHARES {
            return Err(Refusal::Quantity);
        }
        self.may_trade(old.symbol)?;
        if self.refuses_orders || self.accounts[at].used.len() >= MAX_REFERENCES {
            return Err(Refusal::Processing);
        }
        let mut said = change.said;
        (said.firm, said.capacity, said.group) = (old.said.firm, old.said.capacity, old.said.group);
        (said.customer_type, said.minimum) = (old.said.customer_type, said.minimum);
        let order = Order {
            reference: change.reference,
            price: change.price,
            open,
            total: change.shares,
            here: 0,
            manner: change.manner,
            expires: None,
            said,
            ..old.clone()
        };
        let new = self.new_order(&order, self.accounts[at].user)?;
        Ok((order, new))
    }

    fn resubmit(&mut self, users: &mut Users, old: BookRef, mut order: Order, new: &NewOrder) {
        let mut new = *new;
        let Some(before) = self.forget(old) else { return };
        self.accounts[order.account].consume(&order.reference);
        self.place(&mut order, &mut new);
        let (moment, account) = (self.moment(), &mut self.accounts[order.account]);
        account.say(&Reply::Replaced { old: &before.reference, order: &order }, moment);
        users.ledgers[account.user].accepted += 1;
        let mpid = order.manner.attributed.then(|| users.list[account.user].firm);
        self.bring(users, Some(old), &new, mpid);
    }

    /// A cancel down to a total of `shares`, with what has executed; zero cancels all. A superfluous one is ignored.
    pub(crate) fn cancel(&mut self, users: &mut Users, account: usize, reference: &Reference, shares: u32, now: Nanos) {
        self.set_time(now);
        let Some(&number) = self.accounts[account].working.get(reference) else { return };
        let order = &self.orders[&number];
        let left = shares.saturating_sub(order.executed);
        if left == 0 {
            self.take_off(users, number, Ended::User);
        } else if left < order.open {
            let off = order.open - left;
            if self.shrink(number, left) {
                self.say(number, |order| Reply::Canceled { order, shares: off, ended: Ended::User });
            }
        }
    }

    /// A change of side among sells, or of the total of shares; a growing order loses its place. What cannot be is ignored.
    pub(crate) fn modify(
        &mut self,
        users: &mut Users,
        account: usize,
        reference: &Reference,
        (side, shares): (u8, u32),
        now: Nanos,
    ) {
        self.set_time(now);
        let at = account;
        let account = &self.accounts[at];
        let Some(&number) = account.working.get(reference) else { return };
        let order = &self.orders[&number];
        let may_grow = account.protocol == Protocol::Ouch42;
        let left = shares.saturating_sub(order.executed);
        let open = order.open;
        let same_side = side == order.side || (order.side != b'B' && matches!(side, b'S' | b'T' | b'E'));
        if !same_side || left == 0 || shares > MAX_SHARES || (left > open && !may_grow) {
            return;
        }
        if left > open {
            return self.grow(users, number, side, left);
        }
        if left == open || self.shrink(number, left) {
            self.orders.entry(number).and_modify(|order| order.side = side);
            self.say(number, |order| Reply::Modified(order));
        }
    }

    fn shrink(&mut self, number: BookRef, left: u32) -> bool {
        let Some(order) = self.orders.get_mut(&number) else { return false };
        let (instrument, quantity) = (InstrumentId(order.symbol as u32), Quantity::whole(i64::from(left)));
        if let Some(replay) = &mut self.replay {
            let total = Quantity::whole(i64::from(order.here) + i64::from(left));
            let done = replay.reduce(instrument, number, total, price4(order.price).unwrap_or(Price::UNDEFINED));
            if done {
                (order.open, order.total) = (left, order.executed + left);
            }
            return done;
        }
        self.events.clear();
        self.floor.reduce(instrument, number, quantity, &mut self.events, self.tape.buffer());
        self.tape.written();
        let done = matches!(self.events[..], [Event::Amended { .. }]);
        if done {
            order.open = left;
            order.total = order.executed + left;
        }
        done
    }

    /// An order gets more shares, a new place and a new number in the book, under its old reference.
    fn grow(&mut self, users: &mut Users, number: BookRef, side: u8, left: u32) {
        let old = &self.orders[&number];
        let order = Order { side, open: left, ..old.clone() };
        let user = self.accounts[order.account].user;
        let (Ok(()), Ok(mut new)) = (self.may_trade(order.symbol), self.new_order(&order, user)) else { return };
        let mut order = order;
        self.forget(number);
        self.place(&mut order, &mut new);
        self.say(order.number, |order| Reply::Modified(order));
        self.say(order.number, |order| Reply::Moved(order));
        let mpid = order.manner.attributed.then(|| users.list[user].firm);
        self.bring(users, Some(number), &new, mpid);
    }

    /// Cancels an account's orders that the filter lets through.
    pub(crate) fn cancel_all(&mut self, users: &mut Users, account: usize, filter: Filter, ended: Ended, now: Nanos) {
        self.set_time(now);
        let Filter { stock, side, group } = filter;
        self.end_orders(users, ended, |order| {
            order.account == account
                && stock.is_none_or(|stock| order.stock == stock)
                && side.is_none_or(|side| order.side == side)
                && group.is_none_or(|group| order.said.group == group)
        });
    }

    /// Whether new orders of the account are refused.
    pub(crate) fn set_disabled(&mut self, account: usize, disabled: bool) {
        self.accounts[account].disabled = disabled;
    }

    /// Marks the number of a message that is no order as used; false when it was before.
    pub(crate) fn consume(&mut self, account: usize, number: u32, now: Nanos) -> bool {
        self.set_time(now);
        self.accounts[account].consume(&Reference::Number(number))
    }

    /// Halts a stock or lets it trade again.
    pub(crate) fn set_halted(&mut self, symbol: &str, halted: bool, now: Nanos) -> Result<(), String> {
        let at = helios_wire::alpha::<8>(symbol).ok().and_then(|stock| self.symbols.get(&stock).copied());
        let at = at.ok_or_else(|| format!("{} does not list {symbol:?}", self.name))?;
        if self.replay.is_some() {
            return Err("a recorded day is not halted on demand".to_owned());
        }
        self.set_time(now);
        self.floor.set_halted(InstrumentId(at as u32), halted, self.tape.buffer())?;
        self.tape.written();
        self.halted[at] = halted;
        Ok(())
    }

    /// The next usable number of an account, as an answer (OUCH 5.0).
    pub(crate) fn query(&mut self, account: usize, now: Nanos) {
        self.set_time(now);
        let (account, timestamp) = (&mut self.accounts[account], self.stamp);
        let next_user_ref_num = account.next_number;
        account.message.clear();
        outbound::AccountQueryResponse { timestamp, next_user_ref_num }.append_to(&mut account.message);
        account.push();
    }

    /// Another answer of OUCH 5.0, encoded by the caller with the stamp that it is given.
    pub(crate) fn answer(&mut self, account: usize, write: impl FnOnce(u64, &mut Vec<u8>)) {
        let account = &mut self.accounts[account];
        account.message.clear();
        write(self.stamp, &mut account.message);
        account.push();
    }

    /// An order is to trade with what it may, as every order here does at once (OUCH 4.2).
    pub(crate) fn trade_now(&mut self, account: usize, reference: &Reference, now: Nanos) {
        self.set_time(now);
        if let Some(&number) = self.accounts[account].working.get(reference) {
            self.say(number, |order| Reply::TradeNow(order));
        }
    }

    // FIX.

    /// Adds a FIX message to an account's stream; `write` is given its ExecID.
    pub(crate) fn report_fix(&mut self, account: usize, kind: u8, write: impl FnOnce(u64, &mut Vec<u8>)) {
        let (moment, account) = (self.moment(), &mut self.accounts[account]);
        account.message.clear();
        account.message.push(kind);
        account.message.extend_from_slice(&[0; TIME_BYTES]);
        write(account.stream.next(), &mut account.message);
        account.push_fix(moment);
    }

    pub(crate) fn working(&self, account: usize, reference: &Reference) -> Option<BookRef> {
        self.accounts[account].working.get(reference).copied()
    }

    pub(crate) fn order(&self, number: BookRef) -> Option<&Order> {
        self.orders.get(&number)
    }

    pub(crate) fn done(&self, account: usize, reference: &Reference) -> Option<&Done> {
        self.accounts[account].done.get(reference)
    }

    /// Number of an order's chain and its status, whether it works or not.
    pub(crate) fn standing(&self, account: usize, reference: &Reference) -> Option<(BookRef, char)> {
        let working = self.working(account, reference).and_then(|number| self.order(number));
        let working = working.map(|order| (order.chain, if order.executed > 0 { '1' } else { '0' }));
        working.or_else(|| self.done(account, reference).map(|done| (done.chain, done.status)))
    }

    pub(crate) fn knows(&self, account: usize, reference: &Reference) -> bool {
        self.accounts[account].is_used(reference)
    }

    /// Marks a reference as used; false when it was before.
    pub(crate) fn burn(&mut self, account: usize, reference: &Reference) -> bool {
        let account = &mut self.accounts[account];
        account.used.len() < MAX_REFERENCES && account.consume(reference)
    }

    /// A cancel whose answer names its request.
    pub(crate) fn cancel_asked(&mut self, users: &mut Users, number: BookRef, asked: Box<str>, now: Nanos) {
        self.set_time(now);
        self.orders.entry(number).and_modify(|order| order.asked = Some(asked));
        self.take_off(users, number, Ended::User);
    }

    /// A replacement that leaves the order as it was when it cannot be.
    pub(crate) fn try_replace(&mut self, users: &mut Users, number: BookRef, change: Change) -> Result<(), Refusal> {
        let Some(old) = self.orders.get(&number) else { return Err(Refusal::Processing) };
        let (account, executed) = (old.account, old.executed);
        users.ledgers[self.accounts[account].user].received += 1;
        if executed > 0 && change.shares <= executed {
            // Nothing is left of it: it is what has executed.
            self.orders.entry(number).and_modify(|order| {
                order.total = executed;
                order.asked = Some(change.reference.to_string().into());
            });
            self.take_off(users, number, Ended::User);
            return Ok(());
        }
        let (order, new) = self.check_change(account, number, change)?;
        self.resubmit(users, number, order, &new);
        Ok(())
    }

    // What follows.

    fn say(&mut self, number: BookRef, reply: impl FnOnce(&Order) -> Reply<'_>) {
        if let Some(order) = self.orders.get(&number) {
            self.accounts[order.account].say(&reply(order), (self.midnight, self.stamp));
        }
    }

    /// The order is not working any more.
    fn forget(&mut self, number: BookRef) -> Option<Order> {
        let order = self.orders.remove(&number)?;
        self.accounts[order.account].working.remove(&order.reference);
        if let Some(at) = order.expires {
            self.expiries.remove(&(at, number));
        }
        Some(order)
    }

    /// Takes an order off the market.
    fn take_off(&mut self, users: &mut Users, number: BookRef, ended: Ended) {
        let Some(order) = self.orders.get(&number) else { return };
        let instrument = InstrumentId(order.symbol as u32);
        if let Some(replay) = &mut self.replay {
            replay.cancel(instrument, number);
            replay.forget(number);
        } else {
            self.events.clear();
            self.floor.cancel(instrument, number, &mut self.events, self.tape.buffer());
            self.tape.written();
        }
        self.off_market(users, number, ended);
    }

    fn end_orders(&mut self, users: &mut Users, ended: Ended, which: impl Fn(&Order) -> bool) {
        let numbers: Vec<BookRef> =
            self.orders.values().filter(|order| which(order)).map(|order| order.number).collect();
        for number in numbers {
            self.take_off(users, number, ended);
        }
    }

    /// Tells what an incoming order did; its trades have the match numbers from `first` on.
    fn report(&mut self, users: &mut Users, incoming: BookRef, first: u64) {
        let events = std::mem::take(&mut self.events);
        let mut match_number = first;
        for event in &events {
            match *event {
                Event::Traded { incoming, resting, price, quantity, .. } => {
                    self.execute(users, incoming, (price, quantity), match_number, Liquidity::Taker);
                    self.execute(users, resting, (price, quantity), match_number, Liquidity::Maker);
                    match_number += 1;
                }
                Event::Cancelled { order, quantity, reason, .. } => self.cancelled(users, order, quantity, reason),
                Event::Rejected { order, reason, .. } if order == incoming => {
                    let ended = if reason == RejectReason::WouldTake { Ended::PostOnly } else { Ended::System };
                    self.off_market(users, order, ended);
                }
                _ => {}
            }
        }
        self.events = events;
        self.report_fills(users);
    }

    /// Tells what happened in a recorded market.
    fn report_replay(&mut self, users: &mut Users) {
        let reports = self.replay.as_mut().map(|replay| replay.take_reports()).unwrap_or_default();
        for (number, report) in reports {
            match report.kind {
                ReportKind::Filled { execution, price, quantity, liquidity, .. } => {
                    self.execute(users, number, (price, quantity), execution, liquidity);
                }
                ReportKind::Cancelled { reason } => {
                    let open = self.orders.get(&number).map_or(0, |order| order.open);
                    self.cancelled(users, number, Quantity::whole(i64::from(open)), reason);
                }
                ReportKind::Rejected { reason } => {
                    let ended = if reason == RejectReason::WouldTake { Ended::PostOnly } else { Ended::System };
                    self.off_market(users, number, ended);
                }
                ReportKind::Accepted { .. } | ReportKind::Replaced { .. } | ReportKind::ChangeRejected { .. } => {}
            }
            if let (None, Some(replay)) = (self.orders.get(&number), &mut self.replay) {
                replay.forget(number);
            }
        }
    }

    /// An order is on the market no longer, or never came there after it was accepted.
    fn off_market(&mut self, users: &mut Users, number: BookRef, ended: Ended) {
        let Some(order) = self.forget(number) else { return };
        let (moment, account) = (self.moment(), &mut self.accounts[order.account]);
        account.say(&Reply::Canceled { order: &order, shares: order.open, ended }, moment);
        let ledger = &mut users.ledgers[account.user];
        (ledger.cancelled, ledger.open) = (ledger.cancelled + 1, ledger.open - 1);
    }

    /// Tells clients what agents took from them.
    fn report_fills(&mut self, users: &mut Users) {
        let fills: Vec<_> = self.floor.take_fills().collect();
        for fill in fills {
            let traded = (fill.price, fill.quantity);
            self.execute(users, fill.order, traded, fill.match_number, Liquidity::Maker);
        }
    }

    /// An order traded; nothing when it is no client's.
    fn execute(
        &mut self,
        users: &mut Users,
        number: BookRef,
        (price, quantity): (Price, Quantity),
        match_number: u64,
        liquidity: Liquidity,
    ) {
        let Some(order) = self.orders.get_mut(&number) else { return };
        let shares = (quantity.0 / helios_types::QUANTITY_SCALE) as u32;
        let price = to_price4(price).expect("orders trade at prices of the feed");
        order.open -= shares;
        order.here += shares;
        order.executed += shares;
        order.paid += u128::from(shares) * u128::from(price);
        let flag = match liquidity {
            Liquidity::Taker => b'R',
            Liquidity::Maker if order.manner.hidden => b'J',
            Liquidity::Maker => b'A',
        };
        let account = &mut self.accounts[order.account];
        account.say(&Reply::Executed { order, shares, price, flag, match_number }, (self.midnight, self.stamp));
        let user = account.user;
        let ledger = &mut users.ledgers[user];
        ledger.execute(Execution {
            venue: self.index,
            symbol: order.symbol,
            reference: order.reference.to_string(),
            cl_ord_id: helios_wire::text(&order.said.cl_ord_id).escape_ascii().to_string(),
            side: order.side(),
            shares,
            price,
            match_number,
            liquidity,
            at: self.stamp,
        });
        let (order, over) = (order.clone(), order.open == 0);
        if over {
            ledger.open -= 1;
            self.forget(number);
        }
        self.copy(users, user, &order, (shares, price, match_number, liquidity));
    }

    /// Drop copies tell a trade.
    fn copy(&mut self, users: &Users, user: usize, order: &Order, trade: (u32, u64, u64, Liquidity)) {
        let moment = self.moment();
        let copies = self.accounts.iter_mut().filter(|account| account.protocol == Protocol::DropCopy);
        for account in copies.filter(|account| account.user == user || users.list[account.user].sees_all) {
            account.message.clear();
            fix::copy(order, &users.list[user].name, trade, account.stream.next(), &mut account.message);
            account.push_fix(moment);
        }
    }

    /// The market took shares off an order by itself.
    fn cancelled(&mut self, users: &mut Users, number: BookRef, quantity: Quantity, reason: CancelReason) {
        let Some(order) = self.orders.get_mut(&number) else { return };
        let shares = (quantity.0 / helios_types::QUANTITY_SCALE) as u32;
        order.open -= shares;
        let account = &mut self.accounts[order.account];
        let price = if order.price > MAX_PRICE { 0 } else { order.price };
        let reply = match reason {
            CancelReason::SelfTrade => Reply::SelfTrade { order, shares, price },
            CancelReason::Unfilled => Reply::Canceled { order, shares, ended: Ended::Immediate },
            CancelReason::Requested => Reply::Canceled { order, shares, ended: Ended::User },
            CancelReason::Expired => Reply::Canceled { order, shares, ended: Ended::Closed },
        };
        account.say(&reply, (self.midnight, self.stamp));
        if order.open == 0 {
            let ledger = &mut users.ledgers[account.user];
            (ledger.cancelled, ledger.open) = (ledger.cancelled + 1, ledger.open - 1);
            self.forget(number);
        }
    }

    /// What the feed shows, and the locate of an instrument.
    pub(crate) fn shown(&self) -> &Books {
        self.replay.as_ref().map_or_else(|| self.floor.books(), |replay| replay.shown())
    }

    pub(crate) fn locate(&self, instrument: InstrumentId) -> u16 {
        self.replay.as_ref().map_or(instrument.0 as u16 + 1, |replay| replay.locate(instrument))
    }

    pub(crate) fn directory(&self) -> Vec<Vec<u8>> {
        let stamp = self.stamp;
        self.replay.as_ref().map_or_else(|| self.floor.directory(stamp), |replay| replay.directory(stamp))
    }

    /// Orders of all clients that work.
    pub(crate) fn open_orders(&self) -> usize {
        self.orders.len()
    }
}

/// The largest time of an ITCH message.
const MAX_STAMP: u64 = (1 << 48) - 1;
