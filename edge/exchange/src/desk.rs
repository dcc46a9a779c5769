//! What stands between a client's session and the exchange: the way out, with faults on it, and who hears what is said.

use helios_types::Nanos;
use helios_wire::soupbintcp::{Closed, ConnectionOut, LoginRequest, NOT_AUTHORIZED, Stream};

use crate::config::{Port, Protocol};
use crate::entry;
use crate::exchange::{Exchange, Peer};
use crate::faults::{Action, Faults};
use crate::{Client, ExchangeOut};

/// Malformed messages of one client after which it is closed.
const MAX_MALFORMED: u32 = 100;
/// Most bytes that a delay or silence holds back from one client; beyond it the client is closed.
const MAX_HELD_BYTES: usize = 1 << 26;

/// Until a silence ends.
pub(crate) const FOREVER: Nanos = Nanos(u64::MAX);

/// The way to one client, with faults on it.
pub(crate) struct Wire<'a, O> {
    pub(crate) client: Client,
    pub(crate) peer: &'a mut Peer,
    pub(crate) faults: &'a mut Faults,
    pub(crate) now: Nanos,
    pub(crate) out: &'a mut O,
}

impl<O: ExchangeOut> Wire<'_, O> {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let Port { venue, protocol } = self.peer.port;
        let silent = self.faults.is_silent(venue, protocol);
        let at = if silent { FOREVER } else { self.now.plus(self.faults.delay(venue, protocol)) };
        let last = self.peer.held.back().map_or(Nanos(0), |(at, _)| *at);
        let at = at.max(last);
        if at <= self.now {
            return self.out.write(self.client, bytes);
        }
        self.peer.held_bytes += bytes.len();
        if self.peer.held_bytes > MAX_HELD_BYTES {
            self.out.note(format_args!("client {}: a fault holds more than {MAX_HELD_BYTES} bytes", self.client.0));
            return self.end();
        }
        self.peer.held.push_back((at, bytes.to_vec()));
    }

    /// What was held and is due goes out.
    pub(crate) fn release(&mut self) {
        let Port { venue, protocol } = self.peer.port;
        if self.peer.held.is_empty() || self.faults.is_silent(venue, protocol) {
            return;
        }
        while let Some((at, _)) = self.peer.held.front()
            && (*at <= self.now || *at == FOREVER)
            && let Some((_, bytes)) = self.peer.held.pop_front()
        {
            self.peer.held_bytes -= bytes.len();
            self.out.write(self.client, &bytes);
        }
    }

    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.peer.closed, true) {
            self.out.close(self.client);
        }
    }
}

impl<O: ExchangeOut> ConnectionOut for Wire<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.send(bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.out.note(format_args!("client {}: {why}", self.client.0));
        self.end();
    }

    fn login(&mut self, _: &LoginRequest) -> Result<Stream, u8> {
        Err(NOT_AUTHORIZED)
    }

    fn message(&mut self, _: &[u8]) {}

    fn room(&self) -> usize {
        self.out.room(self.client)
    }
}

/// A client that says something: its way out, and the exchange that hears it.
pub(crate) struct Desk<'a, O> {
    pub(crate) client: Client,
    pub(crate) peer: &'a mut Peer,
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) out: &'a mut O,
}

impl<O: ExchangeOut> Desk<'_, O> {
    fn wire(&mut self) -> Wire<'_, O> {
        let Exchange { faults, now, .. } = &mut *self.exchange;
        Wire { client: self.client, peer: self.peer, faults, now: *now, out: self.out }
    }
}

impl<O: ExchangeOut> ConnectionOut for Desk<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.wire().send(bytes);
    }

    fn close(&mut self, why: &Closed) {
        ConnectionOut::close(&mut self.wire(), why);
    }

    fn login(&mut self, request: &LoginRequest) -> Result<Stream, u8> {
        let stream = self.exchange.login(self.peer, request);
        if let Err(reason) = stream {
            self.exchange.counters.refused_logins += 1;
            let user = request.username.escape_ascii();
            self.out.note(format_args!(
                "client {}: login of {user} refused with {}",
                self.client.0,
                char::from(reason)
            ));
        }
        stream
    }

    fn logged_in(&mut self) {
        let Port { venue, protocol } = self.peer.port;
        self.exchange.counters.logins += 1;
        if let (Some(user), true) = (self.peer.user, protocol != Protocol::Snapshot) {
            self.peer.account = Some(self.exchange.venues[venue].account(user, protocol));
        }
        self.out.note(format_args!("client {}: logged in", self.client.0));
    }

    fn message(&mut self, payload: &[u8]) {
        let Port { venue, protocol } = self.peer.port;
        let Some(account) = self.peer.account.filter(|_| !self.peer.closed) else { return };
        let now = self.exchange.now;
        let refuses = self.exchange.faults.happens(venue, protocol, Action::RefuseOrders);
        let Exchange { venues, users, .. } = &mut *self.exchange;
        venues[venue].refuses_orders = refuses;
        let understood = match protocol {
            Protocol::Ouch42 => entry::on_ouch42(&mut venues[venue], users, account, payload, now),
            Protocol::Ouch50 => entry::on_ouch50(&mut venues[venue], users, account, payload, now),
            Protocol::Snapshot | Protocol::Fix | Protocol::DropCopy => Ok(()),
        };
        let Err(error) = understood else { return };
        self.exchange.counters.malformed += 1;
        self.peer.malformed += 1;
        self.out.note(format_args!("client {}: {error}; ignored", self.client.0));
        if self.peer.malformed >= MAX_MALFORMED {
            self.out.note(format_args!("client {}: closed after {MAX_MALFORMED} malformed messages", self.client.0));
            self.wire().end();
        }
    }

    fn room(&self) -> usize {
        self.out.room(self.client)
    }
}
