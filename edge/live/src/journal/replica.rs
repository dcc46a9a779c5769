//! Journal bytes for a follower, over TCP.
//!
//! The follower connects and says from which byte it wants the journal: eight bytes, little-endian. It is sent the bytes
//! of the file from there on, as they are written, and answers with the place up to which it has kept them: eight bytes,
//! little-endian, as often as it likes. With [`Durability::Replica`](super::Durability) outputs leave when the follower
//! has acknowledged their inputs.
//!
//! One follower at a time: a new one takes the place of the old. While there is none, or it does not answer for
//! [`PATIENCE`], outputs that wait are let go and [`Replica::alone`] says so: the run's driver pauses trading (only orders
//! that reduce a position pass), because a run that can neither trade nor cancel would be the greater danger.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Durability;
use super::keeper::Shared;

/// Bytes of a position on the wire.
pub const ACK_LEN: usize = 8;
/// Bytes sent at once.
const PIECE: usize = 64 << 10;
/// How long outputs wait for a follower that is silent.
const PATIENCE: Duration = Duration::from_secs(1);
/// A thread without anything to send looks again so soon.
const NAP: Duration = Duration::from_micros(50);

/// The journal as a follower's thread sees it.
pub struct Replica {
    file: File,
    shared: Arc<Shared>,
    alone: Arc<AtomicBool>,
}

/// A follower's connection.
struct Session {
    stream: TcpStream,
    sent: u64,
    acknowledged: u64,
    ack: [u8; ACK_LEN],
    ack_len: usize,
    /// Since when it owes an answer.
    owed: Option<Instant>,
}

impl Replica {
    pub(super) fn new(file: File, shared: Arc<Shared>) -> Self {
        Self { file, shared, alone: Arc::new(AtomicBool::new(true)) }
    }

    /// Set while no follower keeps up.
    pub fn alone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.alone)
    }

    /// Serves followers that connect, until the journal ends.
    pub fn serve(self, listener: TcpListener) -> io::Result<JoinHandle<()>> {
        listener.set_nonblocking(true)?;
        thread::Builder::new().name("helios-replica".to_owned()).spawn(move || self.run(&listener))
    }

    fn run(self, listener: &TcpListener) {
        let mut session: Option<Session> = None;
        let mut piece = vec![0; PIECE];
        loop {
            let over = self.shared.is_over();
            if let Ok((stream, _)) = listener.accept()
                && let Ok(fresh) = Session::begin(stream)
            {
                session = Some(fresh);
            }
            let busy = match &mut session {
                Some(one) => match one.exchange(&self.file, &self.shared, &mut piece) {
                    Ok(busy) => busy,
                    Err(_) => {
                        session = None;
                        false
                    }
                },
                None => false,
            };
            self.commit(session.as_ref());
            if over {
                return self.last(session, &mut piece);
            }
            if !busy {
                thread::park_timeout(NAP);
            }
        }
    }

    /// Says up to where outputs may leave.
    fn commit(&self, session: Option<&Session>) {
        let kept = session.filter(|one| one.owed.is_none_or(|since| since.elapsed() < PATIENCE));
        self.alone.store(kept.is_none(), Release);
        if self.shared.durability == Durability::Replica {
            let to = kept.map_or_else(|| self.shared.written.load(Acquire), |one| one.acknowledged);
            self.shared.committed.fetch_max(to, Release);
        }
    }

    /// The journal has ended: the follower is given what it lacks, for as long as it takes it.
    fn last(&self, session: Option<Session>, piece: &mut [u8]) {
        let Some(mut session) = session else { return };
        let begun = Instant::now();
        while session.sent < self.shared.written.load(Acquire) && begun.elapsed() < PATIENCE {
            match session.exchange(&self.file, &self.shared, piece) {
                Ok(true) => {}
                Ok(false) => thread::park_timeout(NAP),
                Err(_) => return,
            }
        }
    }
}

impl Session {
    fn begin(mut stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut from = [0; ACK_LEN];
        stream.read_exact(&mut from)?;
        let from = u64::from_le_bytes(from);
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sent: from, acknowledged: from, ack: [0; ACK_LEN], ack_len: 0, owed: None })
    }

    /// Sends what there is and hears what was kept; true when anything moved.
    fn exchange(&mut self, file: &File, shared: &Shared, piece: &mut [u8]) -> io::Result<bool> {
        let mut busy = self.hear()?;
        let written = shared.written.load(Acquire);
        if self.sent > written || self.acknowledged > self.sent {
            return Err(io::Error::new(ErrorKind::InvalidData, "the follower names bytes that there are not"));
        }
        let count = (written - self.sent).min(piece.len() as u64) as usize;
        if count > 0 {
            file.read_exact_at(&mut piece[..count], self.sent)?;
            match self.stream.write(&piece[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.sent += sent as u64;
                    busy = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        match self.acknowledged < written {
            true => _ = self.owed.get_or_insert_with(Instant::now),
            false => self.owed = None,
        }
        Ok(busy)
    }

    fn hear(&mut self) -> io::Result<bool> {
        let mut heard = false;
        loop {
            match self.stream.read(&mut self.ack[self.ack_len..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.ack_len += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.ack_len == ACK_LEN {
                let acknowledged = u64::from_le_bytes(self.ack);
                // Who says again what it said before does not keep up.
                if acknowledged > self.acknowledged {
                    (self.acknowledged, self.owed) = (acknowledged, None);
                }
                (self.ack_len, heard) = (0, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Journal, Settings};
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use helios_types::{Control, Event, Input, Nanos};

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn outputs_wait_for_the_follower_and_it_gets_every_byte() {
        let scratch = crate::scratch::file("replica");
        let settings = Settings { durability: Durability::Replica, window: 8192, ..Settings::default() };
        let mut journal = Journal::create(&scratch.path(), b"{}", settings, Vec::new()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let replica = journal.replica().unwrap();
        let alone = replica.alone();
        let thread = replica.serve(listener).unwrap();

        let mut follower = TcpStream::connect(address).unwrap();
        follower.write_all(&0u64.to_le_bytes()).unwrap();
        until("the follower is known", || !alone.load(Relaxed));
        for seq in 0..1000 {
            journal.input(&Input { seq, ts: Nanos(seq), event: Event::Control(Control::Pause) }).unwrap();
        }
        let written = journal.written();
        let mut kept = vec![0; written as usize];
        follower.read_exact(&mut kept).unwrap();
        assert!(journal.committed() < written, "nobody has acknowledged anything");
        follower.write_all(&100u64.to_le_bytes()).unwrap();
        until("a part is acknowledged", || journal.committed() >= 100);
        assert_eq!(journal.committed(), 100);
        follower.write_all(&written.to_le_bytes()).unwrap();
        until("all is acknowledged", || journal.committed() == written);

        journal.end(7).unwrap();
        follower.read_to_end(&mut kept).unwrap();
        thread.join().unwrap();
        assert!(kept == std::fs::read(scratch.path()).unwrap(), "the follower has the file");
    }

    #[test]
    fn without_a_follower_nothing_hangs_and_it_is_said() {
        let scratch = crate::scratch::file("alone");
        let settings = Settings { durability: Durability::Replica, window: 8192, ..Settings::default() };
        let mut journal = Journal::create(&scratch.path(), b"{}", settings, Vec::new()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let replica = journal.replica().unwrap();
        let alone = replica.alone();
        let thread = replica.serve(listener).unwrap();
        journal.input(&Input { seq: 0, ts: Nanos(0), event: Event::Control(Control::Pause) }).unwrap();
        until("what waits is let go", || journal.committed() == journal.written());
        assert!(alone.load(Relaxed));

        // One that connects and then says nothing is no follower after a while, one that names the future never.
        let mut liar = TcpStream::connect(address).unwrap();
        liar.write_all(&(1u64 << 60).to_le_bytes()).unwrap();
        assert_eq!(liar.read(&mut [0]).unwrap_or(0), 0, "it is hung up on");
        let mut silent = TcpStream::connect(address).unwrap();
        silent.write_all(&journal.written().to_le_bytes()).unwrap();
        until("it is taken", || !alone.load(Relaxed));
        journal.input(&Input { seq: 1, ts: Nanos(0), event: Event::Control(Control::Pause) }).unwrap();
        until("it is given up", || alone.load(Relaxed) && journal.committed() == journal.written());
        // Nor is one that says the same again and again.
        let mut parrot = TcpStream::connect(address).unwrap();
        parrot.write_all(&journal.written().to_le_bytes()).unwrap();
        until("it is taken", || !alone.load(Relaxed));
        let kept = journal.written();
        journal.input(&Input { seq: 2, ts: Nanos(0), event: Event::Control(Control::Pause) }).unwrap();
        until("it is given up", || {
            _ = parrot.write_all(&kept.to_le_bytes());
            alone.load(Relaxed) && journal.committed() == journal.written()
        });
        journal.end(7).unwrap();
        thread.join().unwrap();
    }
}
