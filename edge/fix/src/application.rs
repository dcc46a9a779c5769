//! What sits on an engine: an application, and the handle by which other threads speak to it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use helios_types::Nanos;
use helios_wire::fix::{Builder, Echo, Handled, Message, Reply};
use mio::Waker;

/// Most commands that wait for the engine.
pub const MAX_COMMANDS: usize = 1_024;

/// A session's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub usize);

/// A line for a log. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub ts: Nanos,
    /// The session it is about, if one is known.
    pub session: Option<SessionId>,
    /// What happened.
    pub text: String,
}

/// A message to be sent, by value: the path of Python. The order path writes into the session's buffer instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// MsgType.
    pub msg_type: Vec<u8>,
    /// Header fields beyond those of the session, as 97=Y.
    pub header: Vec<(u32, Vec<u8>)>,
    /// The fields after the header, in order.
    pub body: Vec<(u32, Vec<u8>)>,
}

impl Outgoing {
    /// The header fields as the session takes them.
    pub(crate) fn header(&self) -> Vec<(u32, &[u8])> {
        self.header.iter().map(|(tag, value)| (*tag, value.as_slice())).collect()
    }

    /// Writes the body. A data field stands behind the field with its length.
    pub(crate) fn write(&self, builder: &mut Builder) {
        let mut fields = self.body.iter().peekable();
        while let Some((tag, value)) = fields.next() {
            match fields.peek() {
                Some((data_tag, data)) if data.contains(&1) && *value == data.len().to_string().into_bytes() => {
                    builder.data(*tag, *data_tag, data);
                    fields.next();
                }
                _ => builder.field(*tag, value),
            }
        }
    }

    /// Sends it as an answer.
    pub fn reply(&self, reply: &mut Reply<'_>) -> Result<u64, String> {
        reply
            .send_with(&self.msg_type, &self.header(), |builder| self.write(builder))
            .map_err(|error| error.to_string())
    }
}

/// What handles application messages. All calls come from the engine's thread.
pub trait Application {
    /// A message in its turn. What is sent by `reply` is stored before the message counts as processed.
    fn message(&mut self, session: SessionId, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled;
    /// Messages can be sent now.
    fn logged_on(&mut self, session: SessionId) {
        let _ = session;
    }
    /// Messages cannot be sent any more.
    fn logged_out(&mut self, session: SessionId) {
        let _ = session;
    }
    /// What to log.
    fn note(&mut self, note: Note) {
        let _ = note;
    }
    /// What it wants to send besides answers: asked after each call, until there is none.
    fn outgoing(&mut self) -> Option<(SessionId, Outgoing)> {
        None
    }
}

/// The application that acceptance suites talk to, for each session.
#[derive(Default)]
pub struct Echoes {
    sessions: Vec<Echo>,
    notes: Option<SyncSender<Note>>,
}

impl Echoes {
    /// Of so many sessions; notes go to `notes`, and are lost while it is full.
    pub fn new(sessions: usize, notes: Option<SyncSender<Note>>) -> Self {
        Self { sessions: (0..sessions).map(|_| Echo::default()).collect(), notes }
    }
}

impl Application for Echoes {
    fn message(&mut self, session: SessionId, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        self.sessions[session.0].application(message, reply)
    }

    fn logged_out(&mut self, session: SessionId) {
        self.sessions[session.0].logged_out();
    }

    fn note(&mut self, note: Note) {
        if let Some(notes) = &self.notes {
            // Nobody reads them fast enough, or at all any more.
            let _ = notes.try_send(note);
        }
    }
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// As [`crate::SessionConfig::name`].
    pub name: String,
    /// Messages can be sent.
    pub logged_on: bool,
    /// A connection is up.
    pub connected: bool,
    /// Number of the next message to send.
    pub next_out: u64,
    /// Number expected next.
    pub next_in: u64,
}

/// What another thread asks for.
pub(crate) enum Command {
    Send(SessionId, Outgoing, SyncSender<Result<u64, String>>),
    SetNext(SessionId, Option<u64>, Option<u64>, SyncSender<Result<u64, String>>),
    Logout(SessionId, String),
    Status(SyncSender<Vec<Status>>),
    Stop(String),
}

/// Speaks to a running engine from other threads.
#[derive(Clone)]
pub struct Handle {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
}

/// Why a command was not carried out.
const GONE: &str = "the engine has stopped";

impl Handle {
    pub(crate) fn new(waker: Waker) -> (Self, Receiver<Command>) {
        let (commands, receiver) = sync_channel(MAX_COMMANDS);
        (Self { commands, waker: Arc::new(waker) }, receiver)
    }

    fn give(&self, command: Command) -> Result<(), String> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => format!("the engine is busy: {MAX_COMMANDS} commands wait"),
            TrySendError::Disconnected(_) => GONE.to_owned(),
        })?;
        self.wake().map_err(|error| format!("the engine cannot be woken: {error}"))
    }

    pub(crate) fn wake(&self) -> io::Result<()> {
        self.waker.wake()
    }

    /// Sends and waits until it is stored and written; its number.
    pub fn send(&self, session: SessionId, message: Outgoing) -> Result<u64, String> {
        let (answer, answered) = sync_channel(1);
        self.give(Command::Send(session, message, answer))?;
        answered.recv().map_err(|_| GONE.to_owned())?
    }

    /// An operator's numbers, taken while the session is not connected.
    pub fn set_next(&self, session: SessionId, out: Option<u64>, in_: Option<u64>) -> Result<u64, String> {
        let (answer, answered) = sync_channel(1);
        self.give(Command::SetNext(session, out, in_, answer))?;
        answered.recv().map_err(|_| GONE.to_owned())?
    }

    /// Logs a session out; an initiator connects again after its pause.
    pub fn logout(&self, session: SessionId, text: &str) -> Result<(), String> {
        self.give(Command::Logout(session, text.to_owned()))
    }

    /// Where every session stands.
    pub fn status(&self) -> Result<Vec<Status>, String> {
        let (answer, answered) = sync_channel(1);
        self.give(Command::Status(answer))?;
        answered.recv().map_err(|_| GONE.to_owned())
    }

    /// Logs all sessions out and ends the engine.
    pub fn stop(&self, text: &str) -> Result<(), String> {
        self.give(Command::Stop(text.to_owned()))
    }
}
