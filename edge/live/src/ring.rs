//! Bounded queues between the threads of a run: one writer, one reader, items of one size, no lock.
//!
//! What happens when one is full is a matter of what it carries:
//!
//! | queue | carries | when full |
//! |---|---|---|
//! | feed -> engine, [`Inlet`] | market data | best prices ([`Update::Quote`]) give way to newer ones of their instrument, counted. All else waits, and with it the socket: the kernel's buffer is the last one, what it drops is counted by it, and shows as a gap in the feed, which the station has sent again |
//! | entries -> engine | reports | the sockets are not read until there is room: TCP holds the venue back. Nothing is dropped |
//! | engine -> entries | orders | the engine waits. The reader of this queue never waits for the engine, so it ends |
//! | operator -> engine | commands | the command is refused |
//!
//! A reader that sleeps is woken through its [`Alarm`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use helios_types::{Event, Update};
use mio::{Events, Interest, Poll, Token, Waker};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::present::present;

/// What travels between threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item<T> {
    /// When its packet was received: UTC, ns.
    pub now: u64,
    /// The same, and the moment at which it was decoded, in ticks of the processor.
    pub received: u64,
    /// See above.
    pub decoded: u64,
    /// What it is.
    pub what: T,
}

/// The writing end.
pub struct Sender<T> {
    ring: Producer<T>,
    alarm: Arc<Alarm>,
}

/// The reading end.
pub struct Receiver<T> {
    ring: Consumer<T>,
}

/// A ring of `capacity` items whose reader sleeps at `alarm`.
pub fn ring<T>(capacity: usize, alarm: &Arc<Alarm>) -> (Sender<T>, Receiver<T>) {
    let (mut producer, consumer) = RingBuffer::new(capacity);
    if let Ok(mut all) = producer.write_chunk_uninit(capacity) {
        let (places, rest) = all.as_mut_slices();
        present(places);
        present(rest);
    }
    (Sender { ring: producer, alarm: Arc::clone(alarm) }, Receiver { ring: consumer })
}

impl<T> Sender<T> {
    /// Adds an item, or gives it back when there is no room.
    #[inline]
    pub fn send(&mut self, item: T) -> Result<(), T> {
        let sent = self.ring.push(item).map_err(|rtrb::PushError::Full(item)| item);
        if sent.is_ok() {
            self.alarm.ring();
        }
        sent
    }

    /// Room now.
    #[inline]
    pub fn room(&self) -> usize {
        self.ring.slots()
    }

    /// Nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

impl<T> Receiver<T> {
    /// The oldest item.
    #[inline]
    pub fn receive(&mut self) -> Option<T> {
        self.ring.pop().ok()
    }

    /// Items that wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.ring.slots()
    }

    /// Nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// Market data on its way to the engine.
pub struct Inlet {
    ring: Sender<Item<Event>>,
    /// By instrument, a best price for which there was no room.
    parked: Vec<Option<Item<Event>>>,
    /// Instruments that have one, first come first served.
    order: std::collections::VecDeque<u32>,
    conflated: u64,
    waits: u64,
}

impl Inlet {
    /// For the run's instruments.
    pub fn new(ring: Sender<Item<Event>>, instruments: usize) -> Self {
        let order = std::collections::VecDeque::with_capacity(instruments);
        Self { ring, parked: vec![None; instruments], order, conflated: 0, waits: 0 }
    }

    /// Sends an event. `idle` is called while there is no room and the event must wait; when it answers false, the engine
    /// is gone and the event with it.
    #[inline]
    pub fn send(&mut self, item: Item<Event>, mut idle: impl FnMut() -> bool) -> bool {
        if self.order.is_empty() {
            match self.ring.send(item) {
                Ok(()) => true,
                Err(item) => self.wait(item, &mut idle),
            }
        } else {
            self.wait(item, &mut idle)
        }
    }

    #[cold]
    fn wait(&mut self, item: Item<Event>, idle: &mut dyn FnMut() -> bool) -> bool {
        self.flush();
        if let Event::Market(market) = &item.what
            && let Update::Quote { .. } = market.update
            && let Some(place) = self.parked.get_mut(market.instrument.index())
        {
            match place.replace(item) {
                Some(_) => self.conflated += 1,
                None => self.order.push_back(market.instrument.0),
            }
            self.flush();
            return true;
        }
        // It must not overtake what waits already.
        let mut item = item;
        let mut waited = false;
        loop {
            self.flush();
            if self.order.is_empty() {
                match self.ring.send(item) {
                    Ok(()) => break,
                    Err(back) => item = back,
                }
            }
            waited = true;
            if self.ring.is_abandoned() || !idle() {
                return false;
            }
        }
        self.waits += u64::from(waited);
        true
    }

    /// Sends what is parked, as far as there is room. To be called when there is nothing else to do.
    #[inline]
    pub fn flush(&mut self) {
        while let Some(&instrument) = self.order.front() {
            let place = &mut self.parked[instrument as usize];
            let item = place.take().expect("an instrument in the queue has one parked");
            if let Err(back) = self.ring.send(item) {
                *place = Some(back);
                return;
            }
            self.order.pop_front();
        }
    }

    /// Something is parked.
    pub fn is_waiting(&self) -> bool {
        !self.order.is_empty()
    }

    /// Best prices that gave way to newer ones.
    pub fn conflated(&self) -> u64 {
        self.conflated
    }

    /// Events that had to wait for room.
    pub fn waits(&self) -> u64 {
        self.waits
    }
}

/// Where a thread sleeps: until a socket has something, somebody rings, or time is over.
pub struct Alarm {
    waker: Waker,
    sleeping: AtomicBool,
    /// The thread never sleeps.
    spins: bool,
}

/// The sleeping half of an [`Alarm`].
pub struct Bed {
    poll: Poll,
    events: Events,
    alarm: Arc<Alarm>,
}

/// The token of the alarm itself.
const ALARM: Token = Token(usize::MAX);

impl Bed {
    /// A bed and its alarm. Who `spins` never lies down in it, and is never woken.
    pub fn new(spins: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), ALARM)?;
        let alarm = Arc::new(Alarm { waker, sleeping: AtomicBool::new(false), spins });
        Ok(Self { poll, events: Events::with_capacity(64), alarm })
    }

    /// For those who ring.
    pub fn alarm(&self) -> Arc<Alarm> {
        Arc::clone(&self.alarm)
    }

    /// Wakes when this descriptor can be read, or written once more after it could not.
    pub fn watch(&self, descriptor: std::os::fd::RawFd) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut mio::unix::SourceFd(&descriptor), Token(0), interest)
    }

    /// Sleeps for at most `limit`, unless `awake` says, once the alarm is set, that there is something to do.
    pub fn sleep(&mut self, limit: Duration, awake: impl FnOnce() -> bool) -> io::Result<()> {
        self.alarm.sleeping.store(true, SeqCst);
        let limit = if awake() { Duration::ZERO } else { limit };
        let slept = self.poll.poll(&mut self.events, Some(limit));
        self.alarm.sleeping.store(false, SeqCst);
        match slept {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}

impl Alarm {
    /// Wakes the sleeper, if there is one: a load when there is none.
    #[inline]
    pub fn ring(&self) {
        if self.spins {
            return;
        }
        // Orders the item before the look: a sleeper sets its flag, then looks for items.
        std::sync::atomic::fence(SeqCst);
        if self.sleeping.load(SeqCst) {
            self.wake();
        }
    }

    /// Wakes it in any case.
    #[cold]
    pub fn wake(&self) {
        // It cannot fail in a way that a writer could do anything about; the sleeper wakes by its limit.
        let _ = self.waker.wake();
    }
}

#[cfg(test)]
mod tests;
