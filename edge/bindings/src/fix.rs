//! FIX sessions for Python: the engine in a thread of its own, an application of Python on it, stores to read.
//!
//! The engine's thread takes the GIL only while it calls the application.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use helios_fix::{
    Application, ClientTls, Config, Connect, Credentials, Durability, Echoes, Engine, Handle, Identity, Kind, Limits,
    Listen, MAX_COMMANDS, Note, Outgoing, Rate, Records, Schedule, SecretSource, ServerTls, SessionConfig, SessionId,
    files,
};
use helios_types::Nanos;
use helios_wire::fix::{Handled, Message, Precision, Reply, Role, Rules, Settings, Version};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::refuse;

/// Notes that wait to be read; further ones are lost.
const MAX_NOTES: usize = 4_096;

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ServerSpec {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ClientSpec {
    ca: PathBuf,
    server_name: Option<String>,
    identity: Option<(PathBuf, PathBuf)>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct SessionSpec {
    role: String,
    version: String,
    sender: String,
    target: String,
    heartbeat_s: u32,
    reset_on_logon: bool,
    reset_on_logout: bool,
    reset_on_disconnect: bool,
    check_latency_s: Option<u64>,
    check_comp_ids: bool,
    /// Values, order, user-defined, unknown.
    rules: Option<(bool, bool, bool, bool)>,
    resend_chunk: Option<u64>,
    send_next_expected: bool,
    send_last_processed: bool,
    username: Option<String>,
    password_env: Option<String>,
    password_file: Option<PathBuf>,
    logon_timeout_s: u64,
    logout_timeout_s: u64,
    max_queue: usize,
    precision: Option<String>,
    connect: Vec<String>,
    connect_timeout_ns: u64,
    reconnect_ns: (u64, u64),
    tls: Option<ClientSpec>,
    require_tls: bool,
    windows: Option<Vec<(u64, u64)>>,
    rate: Option<(u32, u32)>,
    send_buffer: usize,
    segment_bytes: u64,
    segments: usize,
    generations: usize,
    disk: bool,
}

/// All that an engine is told.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct FixSpec {
    listen: Vec<(String, Option<ServerSpec>)>,
    sessions: Vec<SessionSpec>,
    store: PathBuf,
    max_pending: usize,
    logon_timeout_ns: u64,
}

impl FixSpec {
    fn config(self) -> Result<Config, String> {
        let listen = self.listen.into_iter().map(|(address, tls)| {
            let address = address
                .parse()
                .map_err(|_| format!("{address:?} is no address to listen at: write it as 127.0.0.1:9880"))?;
            let tls = tls.map(|tls| ServerTls {
                identity: Identity { certificate: tls.certificate, key: tls.key },
                client_ca: tls.client_ca,
            });
            Ok(Listen { address, tls })
        });
        Ok(Config {
            listen: listen.collect::<Result<_, String>>()?,
            sessions: self.sessions.into_iter().map(SessionSpec::config).collect::<Result<_, String>>()?,
            store: self.store,
            max_pending: self.max_pending,
            logon_timeout: Nanos(self.logon_timeout_ns),
        })
    }
}

impl SessionSpec {
    fn secret(&self) -> Option<SecretSource> {
        let file = self.password_file.clone().map(SecretSource::File);
        self.password_env.clone().map(SecretSource::Environment).or(file)
    }

    fn config(self) -> Result<SessionConfig, String> {
        let initiator = self.role == "initiator";
        let secret = self.secret();
        let version =
            Version::parse(&self.version).ok_or_else(|| format!("there is no FIX version {:?}", self.version))?;
        let role = if initiator { Role::Initiator } else { Role::Acceptor };
        let usual = Settings::new(role, version, &self.sender, &self.target);
        let precision = match self.precision.as_deref() {
            Some("s") => Precision::Seconds,
            Some("us") => Precision::Micros,
            Some("ns") => Precision::Nanos,
            Some("ms") => Precision::Millis,
            _ => usual.precision,
        };
        let settings = Settings {
            heartbeat_s: self.heartbeat_s,
            reset_on_logon: self.reset_on_logon,
            reset_on_logout: self.reset_on_logout,
            reset_on_disconnect: self.reset_on_disconnect,
            check_latency_s: self.check_latency_s,
            check_comp_ids: self.check_comp_ids,
            rules: self.rules.map(|(values, order, user_defined, unknown)| Rules {
                values,
                order,
                user_defined,
                unknown,
            }),
            resend_chunk: self.resend_chunk,
            send_next_expected: self.send_next_expected,
            send_last_processed: self.send_last_processed,
            username: self.username.clone().filter(|_| initiator),
            logon_timeout_s: self.logon_timeout_s,
            logout_timeout_s: self.logout_timeout_s,
            max_queue: self.max_queue,
            precision,
            ..usual
        };
        let connect = initiator.then(|| Connect {
            addresses: self.connect,
            tls: self.tls.map(|tls| ClientTls {
                ca: tls.ca,
                server_name: tls.server_name,
                identity: tls.identity.map(|(certificate, key)| Identity { certificate, key }),
            }),
            pause_min: Nanos(self.reconnect_ns.0),
            pause_max: Nanos(self.reconnect_ns.1),
            timeout: Nanos(self.connect_timeout_ns),
        });
        let credentials = secret.clone().filter(|_| !initiator);
        Ok(SessionConfig {
            settings,
            connect,
            password: secret.filter(|_| initiator),
            credentials: credentials.map(|password| Credentials { username: self.username, password }),
            require_tls: self.require_tls,
            schedule: match self.windows {
                None => Schedule::Always,
                Some(windows) => {
                    Schedule::Windows(windows.into_iter().map(|(open, close)| (Nanos(open), Nanos(close))).collect())
                }
            },
            rate: self.rate.map(|(per_second, burst)| Rate { per_second, burst }),
            send_buffer: self.send_buffer,
            limits: Limits {
                segment_bytes: self.segment_bytes,
                segments: self.segments,
                generations: self.generations,
            },
            durability: if self.disk { Durability::Disk } else { Durability::Process },
        })
    }
}

type Outbox = Arc<Mutex<VecDeque<(SessionId, Outgoing)>>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside stays usable: nothing panics between two of its changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An application of Python. Its methods do not raise: the class around them sees to that.
struct Callbacks {
    object: Py<PyAny>,
    /// What callbacks sent, in order; it leaves when they return.
    outbox: Outbox,
    notes: SyncSender<Note>,
}

impl Callbacks {
    fn call(&self, name: &str, session: SessionId) {
        // An interpreter that is going down hears no more.
        Python::try_attach(|py| {
            if let Err(error) = self.object.call_method1(py, name, (session.0,)) {
                error.write_unraisable(py, None);
            }
        });
    }
}

impl Application for Callbacks {
    fn message(&mut self, session: SessionId, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        let taken = Python::try_attach(|py| -> PyResult<bool> {
            let fields =
                PyList::new(py, message.iter().map(|(tag, value)| (tag, PyBytes::new(py, value))).collect::<Vec<_>>())?;
            let raw = PyBytes::new(py, message.bytes());
            self.object.call_method1(py, "message", (session.0, fields, raw))?.extract(py)
        });
        let mut outbox = locked(&self.outbox);
        let (answers, others) = outbox.drain(..).partition(|(id, _)| *id == session);
        *outbox = others;
        drop(outbox);
        let answers: VecDeque<_> = answers;
        for (_, answer) in answers {
            if let Err(error) = answer.reply(reply) {
                let text = format!("message {}: {error}", String::from_utf8_lossy(&answer.msg_type));
                // Nobody reads them fast enough.
                let _ = self.notes.try_send(Note { ts: Nanos(0), session: Some(session), text });
            }
        }
        match taken {
            Some(Ok(false)) => Handled::Unsupported,
            Some(Err(error)) => {
                Python::try_attach(|py| error.write_unraisable(py, None));
                Handled::Done
            }
            _ => Handled::Done,
        }
    }

    fn logged_on(&mut self, session: SessionId) {
        self.call("logged_on", session);
    }

    fn logged_out(&mut self, session: SessionId) {
        self.call("logged_out", session);
    }

    fn note(&mut self, note: Note) {
        // Nobody reads them fast enough.
        let _ = self.notes.try_send(note);
    }

    fn outgoing(&mut self) -> Option<(SessionId, Outgoing)> {
        locked(&self.outbox).pop_front()
    }
}

enum Served {
    Echo(Echoes),
    Python(Callbacks),
}

impl Application for Served {
    fn message(&mut self, session: SessionId, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        match self {
            Self::Echo(echoes) => echoes.message(session, message, reply),
            Self::Python(callbacks) => callbacks.message(session, message, reply),
        }
    }

    fn logged_on(&mut self, session: SessionId) {
        match self {
            Self::Echo(echoes) => echoes.logged_on(session),
            Self::Python(callbacks) => callbacks.logged_on(session),
        }
    }

    fn logged_out(&mut self, session: SessionId) {
        match self {
            Self::Echo(echoes) => echoes.logged_out(session),
            Self::Python(callbacks) => callbacks.logged_out(session),
        }
    }

    fn note(&mut self, note: Note) {
        match self {
            Self::Echo(echoes) => echoes.note(note),
            Self::Python(callbacks) => callbacks.note(note),
        }
    }

    fn outgoing(&mut self) -> Option<(SessionId, Outgoing)> {
        match self {
            Self::Echo(echoes) => echoes.outgoing(),
            Self::Python(callbacks) => callbacks.outgoing(),
        }
    }
}

/// FIX sessions in a thread.
#[pyclass(frozen)]
pub(crate) struct FixEngine {
    handle: Handle,
    #[pyo3(get)]
    addresses: Vec<(String, u16)>,
    #[pyo3(get)]
    names: Vec<String>,
    engine: Mutex<Option<Engine<Served>>>,
    thread: Mutex<Option<JoinHandle<Result<(), String>>>>,
    thread_id: Arc<Mutex<Option<ThreadId>>>,
    outbox: Outbox,
    notes: Mutex<Receiver<Note>>,
}

type Fields = Vec<(u32, Vec<u8>)>;

/// Name, logged on, connected, next out, next in.
type StatusRow = (String, bool, bool, u64, u64);

fn failed(message: String) -> PyErr {
    refuse("fix", message)
}

#[pymethods]
impl FixEngine {
    /// Opens stores and listens; `None` is the echo application.
    #[new]
    fn new(spec: FixSpec, application: Option<Py<PyAny>>) -> PyResult<Self> {
        let config = spec.config().map_err(failed)?;
        let (sender, notes) = sync_channel(MAX_NOTES);
        let outbox = Outbox::default();
        let served = match application {
            None => Served::Echo(Echoes::new(config.sessions.len(), Some(sender))),
            Some(object) => Served::Python(Callbacks { object, outbox: outbox.clone(), notes: sender }),
        };
        let engine = Engine::new(config, served).map_err(failed)?;
        Ok(Self {
            handle: engine.handle(),
            addresses: engine.addresses().iter().map(|at| (at.ip().to_string(), at.port())).collect(),
            names: engine.names(),
            engine: Mutex::new(Some(engine)),
            thread: Mutex::default(),
            thread_id: Arc::default(),
            outbox,
            notes: Mutex::new(notes),
        })
    }

    /// Starts the thread.
    fn start(&self) -> PyResult<()> {
        let Some(mut engine) = locked(&self.engine).take() else {
            return Err(failed("it was started already".to_owned()));
        };
        let own = self.thread_id.clone();
        let run = move || {
            *locked(&own) = Some(std::thread::current().id());
            engine.run()
        };
        let thread = std::thread::Builder::new().name("helios-fix".to_owned()).spawn(run);
        *locked(&self.thread) = Some(thread.map_err(|error| failed(format!("cannot start a thread: {error}")))?);
        Ok(())
    }

    /// The message's number; `None` from within a callback, when it leaves as the callback returns.
    fn send(
        &self,
        py: Python<'_>,
        session: usize,
        msg_type: Vec<u8>,
        header: Fields,
        body: Fields,
    ) -> PyResult<Option<u64>> {
        let message = Outgoing { msg_type, header, body };
        if *locked(&self.thread_id) == Some(std::thread::current().id()) {
            let mut outbox = locked(&self.outbox);
            if outbox.len() >= MAX_COMMANDS {
                return Err(failed(format!("{MAX_COMMANDS} messages of this callback wait already")));
            }
            outbox.push_back((SessionId(session), message));
            return Ok(None);
        }
        self.running()?;
        py.detach(|| self.handle.send(SessionId(session), message)).map(Some).map_err(failed)
    }

    /// An operator's numbers.
    fn set_next(&self, py: Python<'_>, session: usize, out: Option<u64>, in_: Option<u64>) -> PyResult<()> {
        self.running()?;
        py.detach(|| self.handle.set_next(SessionId(session), out, in_)).map(|_| ()).map_err(failed)
    }

    fn logout(&self, session: usize, text: &str) -> PyResult<()> {
        self.handle.logout(SessionId(session), text).map_err(failed)
    }

    /// Where every session stands.
    fn status(&self, py: Python<'_>) -> PyResult<Vec<StatusRow>> {
        self.running()?;
        let all = py.detach(|| self.handle.status()).map_err(failed)?;
        Ok(all.into_iter().map(|s| (s.name, s.logged_on, s.connected, s.next_out, s.next_in)).collect())
    }

    /// Logs out; the thread ends when that is done.
    fn stop(&self, text: &str) {
        // It may have stopped by itself.
        let _ = self.handle.stop(text);
    }

    /// Whether the thread has ended; raises what it failed with.
    fn finished(&self) -> PyResult<bool> {
        let mut thread = locked(&self.thread);
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(false);
        }
        let ended = thread.take();
        // Nothing may wait for another thread while it holds a lock: that one may wait for this with the GIL.
        drop(thread);
        match ended.map(JoinHandle::join) {
            None => Ok(true),
            Some(Ok(result)) => result.map(|()| true).map_err(failed),
            Some(Err(_)) => Err(failed("the engine's thread panicked: this is a bug".to_owned())),
        }
    }

    /// Notes that came, (ns since 1970, session or `None`, text): waits for the first.
    fn take_notes(&self, py: Python<'_>, timeout_ms: u64) -> Vec<(u64, Option<usize>, String)> {
        let found: Vec<Note> = py.detach(|| {
            let notes = locked(&self.notes);
            match notes.recv_timeout(Duration::from_millis(timeout_ms)) {
                Ok(first) => std::iter::once(first).chain(notes.try_iter()).collect(),
                Err(_) => Vec::new(),
            }
        });
        found.into_iter().map(|note| (note.ts.0, note.session.map(|id| id.0), note.text)).collect()
    }
}

impl FixEngine {
    fn running(&self) -> PyResult<()> {
        if *locked(&self.thread_id) == Some(std::thread::current().id()) {
            return Err(failed("this would wait for itself within a callback".to_owned()));
        }
        match locked(&self.thread).as_ref() {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => Err(failed("the engine does not run".to_owned())),
        }
    }
}

/// Files of a session's store: (generation, segment, path).
#[pyfunction]
pub(crate) fn fix_files(folder: PathBuf) -> PyResult<Vec<(u32, u32, PathBuf)>> {
    files(&folder).map_err(|error| refuse(&error.path.display().to_string(), error.message))
}

/// Kind, sequence number, ns since 1970, message.
type StoredRow<'py> = (&'static str, u64, u64, Bound<'py, PyBytes>);

/// Records of one file of a store as far as they are whole.
#[pyfunction]
pub(crate) fn fix_records(py: Python<'_>, file: PathBuf) -> PyResult<Vec<StoredRow<'_>>> {
    let bytes = std::fs::read(&file).map_err(|error| refuse(&file.display().to_string(), error.to_string()))?;
    let rows = Records::new(&bytes).map(|entry| {
        let kind = match entry.kind {
            Kind::Start => "start",
            Kind::Message => "message",
            Kind::Number => "number",
            Kind::Received => "received",
        };
        (kind, entry.seq, entry.ts.0, PyBytes::new(py, entry.payload))
    });
    Ok(rows.collect())
}
