//! FIX connections of the exchange: whose session it is, what the session asks for, what waits to be sent.

use helios_types::Nanos;
use helios_wire::fix::{Closed, Handled, Message, Outside, Peek, Reply, SessionEvent, peek_logon};

use crate::config::{Port, Protocol};
use crate::desk::Wire;
use crate::exchange::{Exchange, Peer};
use crate::faults::Action;
use crate::fix::{self, FixSession, Kept};
use crate::order::TIME_BYTES;
use crate::{Client, ExchangeOut};

use helios_wire::soupbintcp::Store;

/// Most messages handed to a session at a time.
const BURST: usize = 1_000;

impl Exchange {
    /// A piece of what a FIX client says.
    pub(crate) fn fix_bytes(&mut self, client: Client, peer: &mut Peer, bytes: &[u8], out: &mut impl ExchangeOut) {
        if peer.account.is_some() {
            return self.with_session(client, peer, out, |session, now, desk| session.on_bytes(bytes, now, desk));
        }
        peer.logon.extend_from_slice(bytes);
        match peek_logon(&peer.logon) {
            Peek::Incomplete => {}
            Peek::Drop(why) => self.fix_drop(client, peer, &why.to_string(), out),
            Peek::Logon(logon) => self.fix_logon(client, peer, (&logon.sender, &logon.target), out),
        }
    }

    fn fix_drop(&mut self, client: Client, peer: &mut Peer, why: &str, out: &mut impl ExchangeOut) {
        out.note(format_args!("client {}: {why}", client.0));
        Wire { client, peer, faults: &mut self.faults, now: self.now, out }.end();
    }

    /// The first message is there: the session is known by its CompIDs, and judges it.
    fn fix_logon(
        &mut self,
        client: Client,
        peer: &mut Peer,
        (sender, target): (&str, &str),
        out: &mut impl ExchangeOut,
    ) {
        let (Port { venue, protocol }, now) = (peer.port, self.now);
        let user = self.users.list.iter().position(|user| user.name == target);
        let (Some(user), true) = (user, self.venues[venue].name == sender) else {
            self.counters.refused_logins += 1;
            return self.fix_drop(client, peer, "Logon with unknown CompIDs", out);
        };
        let account = self.venues[venue].account(user, protocol);
        if self.venues[venue].is_ended() {
            return self.fix_drop(client, peer, "Logon after the end of the day", out);
        }
        let Exchange { venues, users, .. } = &mut *self;
        let name = venues[venue].name.clone();
        let fix = venues[venue].accounts[account]
            .fix
            .get_or_insert_with(|| Box::new(FixSession::new(&name, &users.list[user].name, now)));
        if fix.session.is_connected() {
            // The session that is there is not touched by a second connection.
            return self.fix_drop(client, peer, "the session is connected already", out);
        }
        (peer.account, peer.user) = (Some(account), Some(user));
        let bytes = std::mem::take(&mut peer.logon);
        self.with_session(client, peer, out, |session, now, desk| {
            session.on_connected(now, desk);
            session.on_bytes(&bytes, now, desk);
        });
    }

    /// Runs the session of a connection, with the world around it.
    fn with_session<O: ExchangeOut>(
        &mut self,
        client: Client,
        peer: &mut Peer,
        out: &mut O,
        act: impl FnOnce(&mut helios_wire::fix::Session, Nanos, &mut Desk<'_, O>),
    ) {
        let (Some(account), venue, now) = (peer.account, peer.port.venue, self.now) else { return };
        let Some(mut fix) = self.venues[venue].accounts[account].fix.take() else { return };
        let FixSession { session, kept } = &mut *fix;
        act(session, now, &mut Desk { client, peer, exchange: self, kept, out });
        if peer.closed && session.is_connected() {
            session.on_closed(now, &mut Nobody);
        }
        self.venues[venue].accounts[account].fix = Some(fix);
    }

    /// The connection of a session is gone.
    pub(crate) fn fix_closed(&mut self, peer: &Peer) {
        let Some(account) = peer.account.filter(|_| peer.port.protocol.is_fix()) else { return };
        let now = self.now;
        if let Some(fix) = &mut self.venues[peer.port.venue].accounts[account].fix
            && fix.session.is_connected()
        {
            fix.session.on_closed(now, &mut Nobody);
        }
    }

    pub(crate) fn fix_tick(&mut self, client: Client, peer: &mut Peer, out: &mut impl ExchangeOut) {
        if peer.account.is_none() {
            if self.now.since(peer.since) >= self.config.limits.login_ns {
                self.fix_drop(client, peer, "no Logon in time", out);
            }
            return;
        }
        let ended = self.venues[peer.port.venue].is_ended();
        self.with_session(client, peer, out, |session, now, desk| {
            session.on_tick(now, desk);
            if ended && session.is_logged_on() {
                session.logout("end of the day", now, desk);
            }
        });
    }

    pub(crate) fn fix_is_behind(&self, peer: &Peer) -> bool {
        let Some(account) = peer.account else { return false };
        let account = &self.venues[peer.port.venue].accounts[account];
        let ready = |fix: &FixSession| fix.session.is_logged_on() && fix.kept.next < account.stream.next();
        account.fix.as_deref().is_some_and(ready)
    }

    /// What waits for the session is sent.
    pub(crate) fn fix_pump(&mut self, client: Client, peer: &mut Peer, out: &mut impl ExchangeOut) {
        let (Some(account), venue) = (peer.account, peer.port.venue) else { return };
        for _ in 0..BURST {
            let account = &self.venues[venue].accounts[account];
            let Some(number) = account.fix.as_ref().map(|fix| fix.kept.next) else { return };
            let Some(message) = account.stream.get(number).map(<[u8]>::to_vec) else { return };
            if out.room(client) < message.len() + 256 {
                return;
            }
            let Some((head, body)) = message.split_at_checked(1 + TIME_BYTES) else { return };
            let time = Nanos(u64::from_be_bytes(head[1..].try_into().unwrap_or_default()));
            let mut sent = false;
            self.with_session(client, peer, out, |session, now, desk| {
                let precision = session.settings().precision;
                let result = session.send(
                    &head[..1],
                    |builder| {
                        builder.raw(body);
                        // A BusinessMessageReject has no TransactTime.
                        if head[0] != b'j' {
                            builder.timestamp(60, time, precision);
                        }
                    },
                    now,
                    desk,
                );
                sent = result.is_ok();
                desk.kept.next += u64::from(sent);
            });
            if !sent {
                return;
            }
        }
    }
}

/// The world of a session whose connection is there.
pub(crate) struct Desk<'a, O> {
    client: Client,
    peer: &'a mut Peer,
    exchange: &'a mut Exchange,
    kept: &'a mut Kept,
    out: &'a mut O,
}

impl<O: ExchangeOut> Desk<'_, O> {
    fn wire(&mut self) -> Wire<'_, O> {
        let Exchange { faults, now, .. } = &mut *self.exchange;
        Wire { client: self.client, peer: self.peer, faults, now: *now, out: self.out }
    }
}

impl<O: ExchangeOut> Outside for Desk<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.wire().send(bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.out.note(format_args!("client {}: {why}", self.client.0));
        self.wire().end();
    }

    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        if let Some(message) = message {
            self.kept.keep(seq, message);
        }
    }

    fn received(&mut self, _: u64) {}

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        self.kept.again(from, to, each);
    }

    /// A drop copy is told again from the beginning of the day; of orders a client asks.
    fn reset(&mut self, _: Nanos) {
        self.kept.forget();
        if self.peer.port.protocol == Protocol::DropCopy {
            self.kept.next = 1;
        }
    }

    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        let Port { venue, protocol } = self.peer.port;
        let (Some(account), false, Protocol::Fix) = (self.peer.account, self.peer.closed, protocol) else {
            return Handled::Unsupported;
        };
        let now = self.exchange.now;
        let refuses = self.exchange.faults.happens(venue, protocol, Action::RefuseOrders);
        let Exchange { venues, users, .. } = &mut *self.exchange;
        venues[venue].refuses_orders = refuses;
        let understood = fix::on_message(&mut venues[venue], users, account, message, now);
        if understood { Handled::Done } else { Handled::Unsupported }
    }

    fn authenticate(&mut self, logon: &Message<'_>) -> Result<(), String> {
        let Port { venue, protocol } = self.peer.port;
        let user = self.peer.user.map(|user| &self.exchange.users.list[user]);
        let password = user.is_some_and(|user| logon.get(554).unwrap_or_default() == user.password.as_bytes());
        let named = logon.get(553).is_none_or(|name| user.is_some_and(|user| name == user.name.as_bytes()));
        if !(password && named) || self.exchange.faults.happens(venue, protocol, Action::RefuseLogins) {
            self.exchange.counters.refused_logins += 1;
            return Err("not authorised".to_owned());
        }
        Ok(())
    }

    fn logged_on(&mut self) {
        self.exchange.counters.logins += 1;
        self.out.note(format_args!("client {}: logged on", self.client.0));
    }

    fn note(&mut self, event: &SessionEvent) {
        self.out.note(format_args!("client {}: {event}", self.client.0));
    }
}

/// The world of a session whose connection is gone.
struct Nobody;

impl Outside for Nobody {
    fn write(&mut self, _: &[u8]) {}
    fn close(&mut self, _: &Closed) {}
    fn sent(&mut self, _: u64, _: Option<&[u8]>) {}
    fn received(&mut self, _: u64) {}
    fn resend(&mut self, _: u64, _: u64, _: &mut dyn FnMut(u64, &[u8])) {}
    fn reset(&mut self, _: Nanos) {}
    fn application(&mut self, _: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        Handled::Unsupported
    }
}
