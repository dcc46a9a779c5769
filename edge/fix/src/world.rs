//! What a session sees of the world: its store, its connection, the application.

use helios_types::Nanos;
use helios_wire::fix::{Closed, Handled, Message, Outside, Reply, SessionEvent};

use crate::application::{Application, Note, SessionId};
use crate::limit::{Bucket, Rate};
use crate::link::Link;
use crate::secret::Secret;
use crate::store::{Store, StoreError};

const NOTE_RATE: Rate = Rate { per_second: 50, burst: 500 };

/// Lets through as many notes as a person can read, and counts the others: a flood of faults is not a flood of lines.
pub(crate) struct Notes {
    bucket: Bucket,
    held_back: u64,
}

impl Notes {
    pub(crate) fn new(now: Nanos) -> Self {
        Self { bucket: Bucket::new(NOTE_RATE, now), held_back: 0 }
    }

    pub(crate) fn give(
        &mut self,
        app: &mut impl Application,
        session: Option<SessionId>,
        now: Nanos,
        text: impl Into<String>,
    ) {
        if !self.bucket.has(now) {
            self.held_back += 1;
            return;
        }
        self.bucket.take(1, now);
        if self.held_back > 0 {
            let count = std::mem::take(&mut self.held_back);
            app.note(Note { ts: now, session: None, text: format!("{count} notes were held back: too many at once") });
        }
        app.note(Note { ts: now, session, text: text.into() });
    }
}

/// Username, if one is demanded, and password.
pub(crate) struct Demanded {
    pub(crate) username: Option<String>,
    pub(crate) password: Secret,
}

/// Parts of an engine that one call into a session may touch.
pub(crate) struct World<'a, A: Application> {
    pub(crate) id: SessionId,
    pub(crate) store: &'a mut Store,
    pub(crate) link: Option<&'a mut Link>,
    pub(crate) app: &'a mut A,
    pub(crate) notes: &'a mut Notes,
    pub(crate) demanded: Option<&'a Demanded>,
    pub(crate) now: Nanos,
    /// The session wants its connection closed.
    pub(crate) close: Option<String>,
    /// The store cannot keep what the session did: nothing more may leave.
    pub(crate) failed: Option<String>,
    pub(crate) came_up: bool,
}

impl<A: Application> World<'_, A> {
    fn keep(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        for text in self.store.take_notes() {
            self.notes.give(self.app, Some(self.id), self.now, text);
        }
    }
}

impl<A: Application> Outside for World<'_, A> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // What was not stored may not leave: after a crash the number would be used again.
        if self.failed.is_none()
            && let Some(link) = &mut self.link
        {
            link.write(bytes, self.now);
        }
    }

    fn close(&mut self, why: &Closed) {
        self.close.get_or_insert_with(|| why.to_string());
    }

    #[inline]
    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        if self.failed.is_none() {
            let result = self.store.sent(seq, message, self.now);
            self.keep(result);
        }
    }

    #[inline]
    fn received(&mut self, next_in: u64) {
        if self.failed.is_none() {
            let result = self.store.received(next_in, self.now);
            self.keep(result);
        }
    }

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        if let Some(link) = &mut self.link {
            link.resending(true);
        }
        let result = self.store.resend(from, to, each);
        self.keep(result);
    }

    fn reset(&mut self, created: Nanos) {
        if self.failed.is_none() {
            let result = self.store.reset(created);
            self.keep(result);
        }
    }

    fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        self.app.message(self.id, message, reply)
    }

    fn authenticate(&mut self, logon: &Message<'_>) -> Result<(), String> {
        let Some(demanded) = self.demanded else { return Ok(()) };
        let name = demanded.username.as_deref().is_none_or(|name| logon.get(553) == Some(name.as_bytes()));
        let password = demanded.password.matches(logon.get(554).unwrap_or_default());
        // One text for both, so that names cannot be tried out.
        if name && password { Ok(()) } else { Err("Username or password is wrong".to_owned()) }
    }

    fn logged_on(&mut self) {
        self.came_up = true;
        self.app.logged_on(self.id);
    }

    fn logged_out(&mut self) {
        self.app.logged_out(self.id);
    }

    fn note(&mut self, event: &SessionEvent) {
        self.notes.give(self.app, Some(self.id), self.now, event.to_string());
    }
}
