//! What one user has at one venue in one protocol: references, orders that work, and all that he is told.

use std::collections::{BTreeMap, BTreeSet};

use helios_types::{BookRef, Nanos};
use helios_wire::soupbintcp::{MemoryStore, Store};

use crate::config::Protocol;
use crate::fix::{self, Done, FixSession};
use crate::order::{Ended, Reference, Reply, TIME_BYTES};
use crate::{ouch42, ouch50};

/// Most references that one account may use in a day.
pub(crate) const MAX_REFERENCES: usize = 1 << 22;
/// Most bytes of messages to one account; new orders are refused when the reserve for those that work is reached.
const MAX_STREAM: usize = 1 << 29;
const STREAM_RESERVE: usize = 1 << 25;

/// Beginning of the day, and nanoseconds since then.
pub(crate) type Moment = (Nanos, u64);

/// What one user has at one venue in one protocol.
pub(crate) struct Account {
    pub(crate) user: usize,
    pub(crate) protocol: Protocol,
    /// The sequenced messages of the day, kept so that a client that returns can hear them again.
    pub(crate) stream: MemoryStore,
    /// Bytes of them, and the message being written.
    said: usize,
    pub(crate) message: Vec<u8>,
    pub(crate) working: BTreeMap<Reference, BookRef>,
    /// References that were used, where they do not grow.
    pub(crate) used: BTreeSet<Reference>,
    /// FIX: the session, and orders that are over.
    pub(crate) fix: Option<Box<FixSession>>,
    pub(crate) done: BTreeMap<Reference, Done>,
    /// The next usable number (OUCH 5.0).
    pub(crate) next_number: u32,
    pub(crate) disabled: bool,
}

impl Account {
    pub(crate) fn new(user: usize, protocol: Protocol, session: [u8; 10]) -> Self {
        Self {
            user,
            protocol,
            stream: MemoryStore::new(session, MAX_STREAM),
            said: 0,
            message: Vec::new(),
            working: BTreeMap::new(),
            used: BTreeSet::new(),
            fix: None,
            done: BTreeMap::new(),
            next_number: 1,
            disabled: false,
        }
    }

    /// Marks a reference as used; false when it was before.
    pub(crate) fn consume(&mut self, reference: &Reference) -> bool {
        match reference {
            Reference::Number(number) => {
                let fresh = *number >= self.next_number && *number < u32::MAX;
                if fresh {
                    self.next_number = number + 1;
                }
                fresh
            }
            Reference::Token(_) | Reference::Text(_) => self.used.insert(reference.clone()),
        }
    }

    pub(crate) fn is_used(&self, reference: &Reference) -> bool {
        match reference {
            Reference::Number(number) => *number < self.next_number || *number == u32::MAX,
            Reference::Token(_) | Reference::Text(_) => self.used.contains(reference),
        }
    }

    pub(crate) fn say(&mut self, reply: &Reply<'_>, (midnight, stamp): Moment) {
        self.message.clear();
        match self.protocol {
            Protocol::Ouch42 => ouch42::encode(reply, stamp, &mut self.message),
            Protocol::Ouch50 => ouch50::encode(reply, stamp, &mut self.message),
            Protocol::Fix => {
                fix::encode(reply, self.stream.next(), &mut self.message);
                self.note_end(reply);
                return self.push_fix((midnight, stamp));
            }
            Protocol::Snapshot | Protocol::DropCopy => return,
        }
        self.push();
    }

    /// Adds the body of a FIX message, with its time behind the type; an empty one is none.
    pub(crate) fn push_fix(&mut self, (midnight, stamp): Moment) {
        if let Some(time) = self.message.get_mut(1..=TIME_BYTES) {
            time.copy_from_slice(&midnight.plus(stamp).0.to_be_bytes());
            self.push();
        }
    }

    /// FIX: what became of an order, for status requests and changes that come too late.
    pub(crate) fn note_end(&mut self, reply: &Reply<'_>) {
        let (order, status) = match *reply {
            Reply::Canceled { order, ended: Ended::Timeout | Ended::Closed, .. } => (order, 'C'),
            Reply::Canceled { order, .. } => (order, '4'),
            Reply::SelfTrade { order, .. } if order.open == 0 => (order, '4'),
            Reply::Executed { order, .. } if order.open == 0 => (order, '2'),
            _ => return,
        };
        self.done.insert(order.reference.clone(), Done::of(order, status));
    }

    /// Adds the message. Orders are refused long before the store is full, so that what happens to them still fits.
    pub(crate) fn push(&mut self) {
        if self.stream.push(&self.message).is_ok() {
            self.said += self.message.len();
        }
    }

    pub(crate) fn is_filling(&self) -> bool {
        self.said > MAX_STREAM - STREAM_RESERVE
    }
}
