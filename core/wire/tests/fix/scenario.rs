//! Acceptance scenarios against sessions in simulated time: the steps of a client, one per line.
//!
//! `iCONNECT`, `iDISCONNECT`: the client connects, closes; `eDISCONNECT`: we must close. `I<message>`: the client
//! sends; `E<message>`: the next message from us. `i2,CONNECT` and so on name another connection. A message without 9
//! or 10 gets them; `q5` is five seconds of our silence and `w5` five of anything; `<TIME>`, `<TIME-n>` and `<TIME+n>` are now and seconds from now. What is compared: the same tags in the
//! same order with the same values, but for 10, 42, 52, 60 and 122, which must only have their form.

use std::collections::BTreeMap;

use helios_types::{NANOS_PER_SECOND, Nanos};
use helios_wire::fix::{
    Builder, Closed, Echo, Framed, Handled, Message, Outside, Peek, Precision, Reply, Session, SessionEvent, Settings,
    Stored, frame, peek_logon,
};

const START: Nanos = Nanos(1_767_323_045_678_000_000);
const TICK_NS: u64 = 100_000_000;
const PATIENCE_S: u64 = 20;

/// One connection as the socket side sees it.
#[derive(Default)]
struct Connection {
    /// What came before the session was known.
    first: Vec<u8>,
    session: Option<usize>,
    closed: bool,
    /// What we wrote and the client has not looked at.
    written: Vec<u8>,
}

/// What a session does, and its store.
#[derive(Default)]
struct World {
    echo: Echo,
    stored: BTreeMap<u64, Vec<u8>>,
    written: Vec<u8>,
    closed: Option<Closed>,
    events: Vec<String>,
}

impl Outside for World {
    fn write(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.events.push(why.to_string());
        self.closed = Some(why.clone());
    }

    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        message.into_iter().for_each(|message| drop(self.stored.insert(seq, message.to_vec())));
    }

    fn received(&mut self, _: u64) {}

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        self.stored.range(from..=to).for_each(|(seq, message)| each(*seq, message));
    }

    fn reset(&mut self, _: Nanos) {
        self.stored.clear();
    }

    fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        self.echo.application(message, reply)
    }

    fn logged_out(&mut self) {
        self.echo.logged_out();
    }

    fn note(&mut self, event: &SessionEvent) {
        self.events.push(event.to_string());
    }
}

/// Sessions behind one port, and their clients.
pub struct Engine {
    now: Nanos,
    sessions: Vec<(Session, World)>,
    connections: BTreeMap<u8, Connection>,
}

impl Engine {
    pub fn new(sessions: Vec<Settings>) -> Self {
        let fresh = |settings| (Session::new(settings, Stored::fresh(START)), World::default());
        let sessions = sessions.into_iter().map(fresh).collect();
        Self { now: START, sessions, connections: BTreeMap::new() }
    }

    /// Runs a scenario; what went wrong, with the line.
    pub fn run(&mut self, text: &[u8]) -> Result<(), String> {
        let result = text.split(|byte| *byte == b'\n').enumerate().try_for_each(|(number, line)| {
            self.step(line.strip_suffix(b"\r").unwrap_or(line)).map_err(|why| format!("line {}: {why}", number + 1))
        });
        let open: Vec<u8> = self.connections.keys().copied().collect();
        open.into_iter().for_each(|id| self.hang_up(id));
        let events = |(_, world): &mut (Session, World)| std::mem::take(&mut world.events);
        let events: Vec<String> = self.sessions.iter_mut().flat_map(events).collect();
        result.map_err(|why| format!("{why}\n  events: {}", events.join("\n          ")))
    }

    fn step(&mut self, line: &[u8]) -> Result<(), String> {
        let Some((kind, rest)) = line.split_first() else { return Ok(()) };
        let (id, rest) = match rest {
            [id @ b'0'..=b'9', b',', rest @ ..] => (*id, rest),
            _ => (b'1', rest),
        };
        match (kind, rest) {
            (b'#', _) => {}
            (b'i', b"CONNECT") => {
                self.hang_up(id);
                self.connections.insert(id, Connection::default());
            }
            (b'i', b"DISCONNECT") => self.hang_up(id),
            (b'e', b"DISCONNECT") => return self.expect_close(id),
            (b'I', message) => self.receive(id, &self.message(message)),
            (b'E', message) => return self.expect(id, &self.message(message)),
            (b'q', seconds) => return self.wait(id, seconds, true),
            (b'w', seconds) => return self.wait(id, seconds, false),
            _ => return Err(format!("no such step: {}", line.escape_ascii())),
        }
        Ok(())
    }

    fn hang_up(&mut self, id: u8) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some((session, world)) = connection.session.map(|at| &mut self.sessions[at]) {
            session.on_closed(self.now, world);
        }
    }

    fn receive(&mut self, id: u8, bytes: &[u8]) {
        let connection = self.connections.get_mut(&id).expect("a connection that is open");
        if connection.closed {
            return;
        }
        let Some(at) = connection.session else { return self.choose(id, bytes) };
        let (session, world) = &mut self.sessions[at];
        session.on_bytes(bytes, self.now, world);
        self.collect();
    }

    /// The first message decides the session; one that is connected already keeps its connection.
    fn choose(&mut self, id: u8, bytes: &[u8]) {
        let connection = self.connections.get_mut(&id).expect("a connection that is open");
        connection.first.extend_from_slice(bytes);
        let found = match peek_logon(&connection.first) {
            Peek::Incomplete => return,
            Peek::Drop(_) => None,
            Peek::Logon(logon) => self.sessions.iter().position(|(session, _)| {
                let settings = session.settings();
                let begin_string = settings.version.begin_string();
                let known = (begin_string, settings.sender.as_str(), settings.target.as_str())
                    == (&logon.begin_string, &logon.sender, &logon.target);
                known && !session.is_connected()
            }),
        };
        connection.session = found;
        connection.closed = found.is_none();
        if let Some(at) = found {
            let first = std::mem::take(&mut connection.first);
            let (session, world) = &mut self.sessions[at];
            session.on_connected(self.now, world);
            session.on_bytes(&first, self.now, world);
            self.collect();
        }
    }

    /// Takes what the sessions wrote and closed to their connections.
    fn collect(&mut self) {
        for connection in self.connections.values_mut() {
            let Some((session, world)) = connection.session.map(|at| &mut self.sessions[at]) else { continue };
            connection.written.append(&mut world.written);
            if world.closed.take().is_some() {
                session.on_closed(self.now, world);
                connection.closed = true;
                connection.session = None;
            }
        }
    }

    fn tick(&mut self) {
        self.now = self.now.plus(TICK_NS);
        self.sessions.iter_mut().for_each(|(session, world)| session.on_tick(self.now, world));
        self.collect();
    }

    fn expect(&mut self, id: u8, expected: &[u8]) -> Result<(), String> {
        for _ in 0..PATIENCE_S * NANOS_PER_SECOND / TICK_NS {
            let connection = self.connections.get_mut(&id).ok_or("not connected")?;
            if let Framed::Message { bytes, used } = frame(&connection.written) {
                let found = bytes.to_vec();
                connection.written.drain(..used);
                return compare(expected, &found);
            }
            if connection.closed {
                return Err(format!("closed, expected {}", shown(expected)));
            }
            self.tick();
        }
        Err(format!("no message, expected {}", shown(expected)))
    }

    fn expect_close(&mut self, id: u8) -> Result<(), String> {
        for _ in 0..PATIENCE_S * NANOS_PER_SECOND / TICK_NS {
            let connection = self.connections.get_mut(&id).ok_or("not connected")?;
            if !connection.written.is_empty() {
                return Err(format!("expected a close, found {}", shown(&connection.written)));
            }
            if connection.closed {
                return Ok(());
            }
            self.tick();
        }
        Err("not closed".to_owned())
    }

    /// Lets time pass, in which we say nothing, or whatever we like.
    fn wait(&mut self, id: u8, seconds: &[u8], quiet: bool) -> Result<(), String> {
        let seconds: f64 = std::str::from_utf8(seconds).expect("ASCII").parse().map_err(|_| "no number of seconds")?;
        let ticks = (seconds * (NANOS_PER_SECOND / TICK_NS) as f64).round() as u64;
        for _ in 0..ticks {
            self.tick();
            let connection = self.connections.get_mut(&id).ok_or("not connected")?;
            if !quiet {
                connection.written.clear();
            } else if connection.closed || !connection.written.is_empty() {
                return Err(format!("expected silence, found {}", shown(&connection.written)));
            }
        }
        Ok(())
    }

    /// A message of a line: times filled in, length and checksum added where they are not there.
    fn message(&self, line: &[u8]) -> Vec<u8> {
        let text = self.with_times(line);
        let Some(rest) = text.strip_prefix(b"8=") else { return text };
        let head = 2 + rest.iter().position(|byte| *byte == 1).expect("a field that ends") + 1;
        let tail = find(&text, b"\x0110=").map_or(text.len(), |at| at + 1);
        let mut message = text[..head].to_vec();
        if find(&text, b"\x019=").is_none() {
            message.extend_from_slice(format!("9={}\x01", tail - head).as_bytes());
        }
        message.extend_from_slice(&text[head..tail]);
        if tail == text.len() {
            let sum = message.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            message.extend_from_slice(format!("10={sum:03}").as_bytes());
        }
        message.extend_from_slice(&text[tail..]);
        if message.last() != Some(&1) {
            message.push(1);
        }
        message
    }

    fn with_times(&self, line: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = line;
        while let Some(at) = find(rest, b"<TIME") {
            let end = at + rest[at..].iter().position(|byte| *byte == b'>').expect("a > behind <TIME");
            let shift = std::str::from_utf8(&rest[at + 5..end]).expect("ASCII");
            let shift: i64 = if shift.is_empty() { 0 } else { shift.parse().expect("seconds") };
            let moment = Nanos(self.now.0.saturating_add_signed(shift * NANOS_PER_SECOND as i64));
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(&stamp(moment));
            rest = &rest[end + 1..];
        }
        out.extend_from_slice(rest);
        out
    }
}

/// A time as clients write it, without decimals.
pub fn stamp(moment: Nanos) -> Vec<u8> {
    let mut builder = Builder::new();
    builder.begin(b"FIX.4.4", b"0");
    builder.timestamp(52, moment, Precision::Seconds);
    let message = builder.finish();
    let at = find(message, b"\x0152=").expect("the field just written") + 4;
    message[at..at + 17].to_vec()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

pub fn shown(message: &[u8]) -> String {
    String::from_utf8_lossy(message).replace('\x01', "|")
}

fn compare(expected: &[u8], found: &[u8]) -> Result<(), String> {
    let fields = |message: &[u8]| -> Vec<Vec<u8>> {
        message.split(|byte| *byte == 1).filter(|field| !field.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (left, right) = (fields(expected), fields(found));
    if left.len() == right.len() && left.iter().zip(&right).all(|(expected, found)| is_as(expected, found)) {
        return Ok(());
    }
    Err(format!("\n  expected {}\n  found    {}", shown(expected), shown(found)))
}

/// Whether a field is the expected one, or has the form that is asked of its tag.
fn is_as(expected: &[u8], found: &[u8]) -> bool {
    let tag = expected.split(|byte| *byte == b'=').next().unwrap_or_default();
    match (form(tag), found.strip_prefix(tag)) {
        (Some(form), Some([b'=', value @ ..])) => form(value),
        _ => expected == found,
    }
}

/// The form that is all that is asked of some fields.
fn form(tag: &[u8]) -> Option<fn(&[u8]) -> bool> {
    match tag {
        b"10" => Some(|value| value.len() == 3 && value.iter().all(u8::is_ascii_digit)),
        b"52" => Some(|value| helios_wire::fix::codec::timestamp(value).is_some()),
        b"42" | b"60" | b"122" => {
            Some(|value| value.get(..17).is_some_and(|value| helios_wire::fix::codec::timestamp(value).is_some()))
        }
        _ => None,
    }
}
