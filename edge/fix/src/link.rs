//! One connection: a non-blocking socket, TLS if it is wanted, and a bounded buffer of what the peer has not taken yet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use helios_types::Nanos;
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// What may wait for a slow reader while stored messages are resent to it, beyond the usual limit.
pub const MAX_RESEND_BYTES: usize = 64 << 20;
/// A peer that takes nothing for so long while something waits for it is gone.
pub const STALL: Nanos = Nanos(30_000_000_000);

/// What a read gave.
pub(crate) enum Got {
    Bytes(usize),
    /// Nothing for now.
    Later,
    Closed(String),
}

/// One connection.
pub(crate) struct Link {
    stream: TcpStream,
    tls: Option<Box<Connection>>,
    peer: SocketAddr,
    waiting: Vec<u8>,
    taken: usize,
    limit: usize,
    /// Bytes of `waiting` that do not count against the limit.
    resent: usize,
    resending: bool,
    /// The socket may have something to read.
    pub(crate) readable: bool,
    last_progress: Nanos,
    broken: Option<String>,
}

impl Link {
    /// Of an accepted or connected socket.
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr, limit: usize, now: Nanos) -> Self {
        // Small messages leave at once; where that cannot be set they leave a little later.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            tls: None,
            peer,
            waiting: Vec::new(),
            taken: 0,
            limit,
            resent: 0,
            resending: false,
            readable: true,
            last_progress: now,
            broken: None,
        }
    }

    pub(crate) fn accept_tls(mut self, config: Arc<ServerConfig>) -> Result<Self, String> {
        let connection = ServerConnection::new(config).map_err(|error| format!("TLS: {error}"))?;
        self.tls = Some(Box::new(connection.into()));
        Ok(self)
    }

    pub(crate) fn connect_tls(mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, String> {
        let connection = ClientConnection::new(config, name).map_err(|error| format!("TLS: {error}"))?;
        self.tls = Some(Box::new(connection.into()));
        Ok(self)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Why it can no longer be used.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> Got {
        let got = match &mut self.tls {
            None => self.stream.read(into),
            Some(tls) => read_tls(tls, &mut self.stream, into),
        };
        match got {
            Ok(0) => Got::Closed("the peer closed the connection".to_owned()),
            Ok(count) => Got::Bytes(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => Got::Bytes(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Got::Later
            }
            Err(error) => Got::Closed(lost(&error)),
        }
    }

    /// Begins or ends a resend: what is written meanwhile has a limit of its own.
    pub(crate) fn resending(&mut self, on: bool) {
        self.resending = on;
    }

    /// Writes what the socket takes and keeps the rest, up to the limit.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Nanos) {
        if self.broken.is_some() {
            return;
        }
        let idle = self.waiting.len() == self.taken;
        if idle {
            self.last_progress = now;
        }
        let direct = if idle && self.tls.is_none() { self.write_direct(bytes) } else { 0 };
        let rest = &bytes[direct..];
        if !rest.is_empty() {
            self.keep(rest);
        }
        if self.tls.is_some() {
            self.flush(now);
        }
    }

    fn write_direct(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => {
                self.broken = Some(lost(&error));
                0
            }
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.taken == self.waiting.len() {
            self.waiting.clear();
            (self.taken, self.resent) = (0, 0);
        }
        let size = self.waiting.len() - self.taken + rest.len();
        let resent = self.resent + if self.resending { rest.len() } else { 0 };
        if size - resent.min(size) > self.limit || resent > MAX_RESEND_BYTES {
            self.broken = Some(format!("the peer reads too slowly: {size} bytes wait for it"));
            return;
        }
        self.resent = resent;
        self.waiting.extend_from_slice(rest);
    }

    /// Moves what waits into the socket, as far as it goes.
    pub(crate) fn flush(&mut self, now: Nanos) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = self.try_flush(now) {
            self.broken = Some(lost(&error));
        }
        if self.waiting.len() == self.taken {
            self.waiting.clear();
            (self.taken, self.resent) = (0, 0);
            // A resend's buffer is not kept for ever.
            self.waiting.shrink_to(1 << 16);
        }
    }

    fn try_flush(&mut self, now: Nanos) -> io::Result<()> {
        loop {
            let rest = &self.waiting[self.taken..];
            let moved = match &mut self.tls {
                None if rest.is_empty() => return Ok(()),
                None => self.stream.write(rest),
                Some(tls) => write_tls(tls, &mut self.stream, rest),
            };
            match moved {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.taken = (self.taken + count).min(self.waiting.len());
                    self.last_progress = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Notices a peer that takes nothing.
    pub(crate) fn check_stall(&mut self, now: Nanos) {
        let waits = self.waiting.len() - self.taken;
        if waits > 0 && now.since(self.last_progress) > STALL.0 {
            self.broken.get_or_insert_with(|| format!("the peer takes nothing: {waits} bytes wait for it"));
        }
    }

    /// No more is written; the peer still has what was written before.
    pub(crate) fn finish(&mut self, now: Nanos) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush(now);
        // A socket that is gone already is finished too.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

fn lost(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        _ => format!("the connection was lost: {error}"),
    }
}

/// Plain bytes of a TLS stream.
fn read_tls(tls: &mut Connection, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return other,
        }
        if tls.read_tls(stream)? == 0 {
            return Ok(0);
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says why.
            let _ = tls.write_tls(stream);
            return Err(io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}")));
        }
        // Handshake messages and key updates answer at once.
        push_records(tls, stream)?;
    }
}

/// Moves plain bytes into TLS and TLS records into the socket; the count is of plain bytes.
fn write_tls(tls: &mut Connection, stream: &mut TcpStream, rest: &[u8]) -> io::Result<usize> {
    // Before the end of the handshake nothing is taken, so that what waits is counted in one place.
    let count = if tls.is_handshaking() || rest.is_empty() { 0 } else { tls.writer().write(rest)? };
    push_records(tls, stream)?;
    Ok(count)
}

fn push_records(tls: &mut Connection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
