//! Sockets as the stations need them: none of them ever blocks, each has its maximum.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use helios_io::SourceError;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Longest datagram.
pub const MAX_DATAGRAM: usize = 65_535;
/// What is asked of the kernel for a line of market data: it gives at most `net.core.rmem_max`.
pub const RECEIVE_BUFFER: usize = 32 << 20;
/// Most bytes that wait for a connection to take them; one more, and it is closed.
pub const MAX_UNSENT: usize = 1 << 20;
/// Most bytes read from a connection at once.
pub const MAX_READ: usize = 64 << 10;
/// The kernel polls the card so long before it lets a reader wait, in microseconds; where the card can.
const BUSY_POLL_US: u32 = 50;

fn wrong(name: impl ToString, what: &str, error: &io::Error) -> SourceError {
    SourceError { source: name.to_string(), message: format!("{what}: {error}") }
}

/// One line of market data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// A multicast group and port, or an own address and port.
    pub address: SocketAddr,
    /// Where the group is joined; the kernel's choice else.
    pub interface: Option<Ipv4Addr>,
}

/// A socket that receives datagrams.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    inode: u64,
    port: u16,
}

impl Datagrams {
    /// Opens it, joins the group if it is one, and asks for room.
    pub fn open(line: Line) -> Result<Self, SourceError> {
        let (address, say) = (line.address, |what: &'static str| move |e: io::Error| wrong(line.address, what, &e));
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(say("cannot open"))?;
        let group = address.ip().is_multicast();
        // A group's packets come to all who joined. Those to an address of ours would come only to the last who asked, and
        // the others would not hear of it.
        if group {
            socket.set_reuse_address(true).map_err(say("SO_REUSEADDR"))?;
        }
        // Not bound to the group: answers to requests come to this socket too.
        let own = match address.ip() {
            IpAddr::V4(_) if group => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()),
            _ => address,
        };
        socket.bind(&own.into()).map_err(say("cannot bind"))?;
        match address.ip() {
            IpAddr::V4(ip) if group => {
                // Only what it has joined itself, whatever else comes to this port.
                let _ = socket.set_multicast_all_v4(false);
                let interface = line.interface.unwrap_or(Ipv4Addr::UNSPECIFIED);
                socket.join_multicast_v4(&ip, &interface).map_err(say("cannot join the group"))?;
            }
            IpAddr::V6(ip) if group => socket.join_multicast_v6(&ip, 0).map_err(say("cannot join the group"))?,
            _ => {}
        }
        // Both are wishes: what the kernel gives is told by `room`.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        #[cfg(target_os = "linux")]
        let _ = socket.set_busy_poll(BUSY_POLL_US);
        socket.set_nonblocking(true).map_err(say("cannot be made non-blocking"))?;
        let socket = UdpSocket::from(socket);
        let port = socket.local_addr().map_err(say("has no address"))?.port();
        Ok(Self { inode: inode(socket.as_raw_fd()), socket, port })
    }

    /// The next datagram, if there is one. An error of the network (a port that nobody listens to) is none.
    #[inline]
    pub fn receive(&self, buffer: &mut [u8; MAX_DATAGRAM]) -> Option<usize> {
        self.socket.recv(buffer).ok()
    }

    /// Sends a datagram from this socket; what the kernel does not take is lost, as on the network.
    pub fn send_to(&self, to: SocketAddr, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, to);
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Bytes that the kernel keeps for it, bookkeeping included.
    pub fn room(&self) -> usize {
        SockRef::from(&self.socket).recv_buffer_size().unwrap_or(0)
    }

    /// How its drops are found, from any thread.
    pub fn drops(&self) -> Drops {
        Drops { inode: self.inode, port: self.port }
    }
}

impl AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The number by which the kernel's tables know a socket.
fn inode(descriptor: RawFd) -> u64 {
    let link = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap_or_default();
    let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// How many datagrams the kernel has dropped because a socket had no room.
#[derive(Clone, Copy, Debug)]
pub struct Drops {
    inode: u64,
    port: u16,
}

impl Drops {
    /// Reads the kernel's table: not for the engine's thread. `None` where there is none.
    pub fn count(&self) -> Option<u64> {
        ["/proc/net/udp", "/proc/net/udp6"].into_iter().find_map(|path| self.find(&fs::read_to_string(path).ok()?))
    }

    /// sl, local address, remote, state, queues, timer, retransmits, uid, timeout, inode, references, pointer, drops.
    fn find(&self, table: &str) -> Option<u64> {
        let port = format!(":{:04X}", self.port);
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let own = fields.get(1)?.ends_with(&port) && fields.get(9)?.parse() == Ok(self.inode);
            own.then(|| fields.get(12)?.parse().ok())?
        })
    }
}

/// What a connection is.
#[derive(Debug, Default)]
enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// Under way.
    Connecting(TcpStream),
    /// Made.
    Open(TcpStream),
}

/// What became of a connection since it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    Connected,
    /// It could not be made, or is over.
    Closed,
}

/// A connection to a server, made anew as often as it is asked for.
#[derive(Debug)]
pub struct Connection {
    to: SocketAddr,
    stage: Stage,
    /// What the socket did not take.
    unsent: Vec<u8>,
    /// What its owner has not heard yet: it failed while something else was done.
    failed: bool,
    /// The descriptor is new: who sleeps has to watch it.
    fresh: bool,
}

impl Connection {
    /// To `to`; not made yet.
    pub fn new(to: SocketAddr) -> Self {
        Self { to, stage: Stage::Idle, unsent: Vec::with_capacity(MAX_UNSENT), failed: false, fresh: false }
    }

    /// Begins to connect; [`change`](Self::change) says what came of it.
    pub fn connect(&mut self) {
        self.close();
        match self.begin() {
            Ok(stream) => (self.stage, self.fresh) = (Stage::Connecting(stream), true),
            Err(_) => self.failed = true,
        }
    }

    fn begin(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        let _ = socket.set_busy_poll(BUSY_POLL_US);
        match socket.connect(&self.to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(socket.into())
    }

    /// What became of it since the last look, once.
    #[inline]
    pub fn change(&mut self) -> Option<Change> {
        match &self.stage {
            Stage::Open(_) | Stage::Idle if !self.failed => None,
            Stage::Open(_) | Stage::Idle => {
                self.failed = false;
                Some(Change::Closed)
            }
            Stage::Connecting(_) => self.progress(),
        }
    }

    #[cold]
    fn progress(&mut self) -> Option<Change> {
        let Stage::Connecting(stream) = &self.stage else { return None };
        if !matches!(stream.take_error(), Ok(None)) {
            self.close();
            return Some(Change::Closed);
        }
        // Without an error and without a peer it is still under way.
        stream.peer_addr().ok()?;
        let Stage::Connecting(stream) = std::mem::take(&mut self.stage) else { return None };
        self.stage = Stage::Open(stream);
        self.quick();
        Some(Change::Connected)
    }

    /// Acknowledge at once: the kernel forgets it now and then.
    fn quick(&self) {
        #[cfg(target_os = "linux")]
        if let Stage::Open(stream) = &self.stage {
            let _ = SockRef::from(stream).set_tcp_quickack(true);
        }
    }

    /// Reads what there is into `buffer`; none when there is nothing, or it has just ended (see [`change`](Self::change)).
    #[inline]
    pub fn read<'a>(&mut self, buffer: &'a mut [u8; MAX_READ]) -> Option<&'a [u8]> {
        let Stage::Open(stream) = &mut self.stage else { return None };
        match stream.read(buffer) {
            Ok(0) => self.fail(),
            Ok(count) => {
                self.quick();
                return Some(&buffer[..count]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.fail(),
        }
        None
    }

    /// Sends, or keeps what the socket does not take. Beyond [`MAX_UNSENT`] the connection is given up: a venue that
    /// does not read is not there. Without a connection nothing is kept.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        let Stage::Open(stream) = &mut self.stage else { return };
        let mut sent = 0;
        if self.unsent.is_empty() {
            match stream.write(bytes) {
                Ok(count) if count == bytes.len() => return,
                Ok(count) => sent = count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return self.fail(),
            }
        }
        self.keep(&bytes[sent..]);
    }

    /// Keeps it for the next [`flush`](Self::flush): what goes out together takes one system call. Bounded as
    /// [`write`](Self::write) is.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if matches!(self.stage, Stage::Open(_)) {
            self.keep(bytes);
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.unsent.len() + rest.len() > MAX_UNSENT {
            return self.fail();
        }
        self.unsent.extend_from_slice(rest);
    }

    /// Sends what was kept, as far as the socket takes it.
    #[inline]
    pub fn flush(&mut self) {
        if !self.unsent.is_empty() {
            self.flush_kept();
        }
    }

    fn flush_kept(&mut self) {
        let Stage::Open(stream) = &mut self.stage else { return };
        match stream.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.fail(),
        }
    }

    /// Bytes that wait.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    fn fail(&mut self) {
        self.close();
        self.failed = true;
    }

    /// Ends it without a word.
    pub fn close(&mut self) {
        (self.stage, self.failed) = (Stage::Idle, false);
        self.unsent.clear();
    }

    /// It is made.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// It is on its way: who sleeps must not sleep for long.
    pub fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting(_))
    }

    /// The descriptor, when it is a new one, once.
    pub fn fresh(&mut self) -> Option<RawFd> {
        if !std::mem::take(&mut self.fresh) {
            return None;
        }
        match &self.stage {
            Stage::Connecting(stream) | Stage::Open(stream) => Some(stream.as_raw_fd()),
            Stage::Idle => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain");
            std::thread::yield_now();
        }
    }

    fn loopback() -> Line {
        Line { address: "127.0.0.1:0".parse().unwrap(), interface: None }
    }

    #[test]
    fn an_address_belongs_to_one_process_and_a_group_to_all() {
        let first = Datagrams::open(loopback()).unwrap();
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), first.port);
        let said = Datagrams::open(Line { address, interface: None }).unwrap_err();
        assert!(said.message.contains("in use"), "{}", said.message);
        drop(first);
        Datagrams::open(Line { address, interface: None }).unwrap();

        let group = SocketAddr::new(Ipv4Addr::new(239, 255, 77, 1).into(), address.port());
        let line = Line { address: group, interface: Some(Ipv4Addr::LOCALHOST) };
        let _both = (Datagrams::open(line).unwrap(), Datagrams::open(line).unwrap());
    }

    #[test]
    fn datagrams_come_and_go_from_the_same_socket() {
        let (a, b) = (Datagrams::open(loopback()).unwrap(), Datagrams::open(loopback()).unwrap());
        let mut buffer = Box::new([0; MAX_DATAGRAM]);
        assert_eq!(a.receive(&mut buffer), None);
        b.send_to(a.address().unwrap(), b"hello");
        assert_eq!(until(|| a.receive(&mut buffer)), 5);
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(a.drops().count(), Some(0));
        assert!(a.room() > 0);
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let (a, b) = (Datagrams::open(loopback()).unwrap(), Datagrams::open(loopback()).unwrap());
        SockRef::from(&a.socket).set_recv_buffer_size(4096).unwrap();
        for _ in 0..100 {
            b.send_to(a.address().unwrap(), &[0; 1000]);
        }
        let mut buffer = Box::new([0; MAX_DATAGRAM]);
        let mut got = 0;
        while a.receive(&mut buffer).is_some() {
            got += 1;
        }
        assert_eq!(a.drops().count(), Some(100 - got));
        assert!(got < 100);
    }

    #[test]
    fn a_group_is_joined_on_the_loopback() {
        let group = Line { address: "239.255.77.1:0".parse().unwrap(), interface: Some(Ipv4Addr::LOCALHOST) };
        let Ok(socket) = Datagrams::open(group) else { return eprintln!("skipped: no multicast here") };
        let to = SocketAddr::new(group.address.ip(), socket.address().unwrap().port());
        let sender = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        if sender.send_to(b"group", &to.into()).is_err() {
            return eprintln!("skipped: no multicast here");
        }
        let mut buffer = Box::new([0; MAX_DATAGRAM]);
        assert_eq!(until(|| socket.receive(&mut buffer)), 5);
    }

    #[test]
    fn a_connection_is_made_used_closed_and_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::new(listener.local_addr().unwrap());
        let mut buffer = Box::new([0; MAX_READ]);
        for _ in 0..2 {
            connection.connect();
            assert_eq!(until(|| connection.change()), Change::Connected);
            let (mut peer, _) = listener.accept().unwrap();
            connection.write(b"question");
            let mut question = [0; 8];
            peer.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"question");
            peer.write_all(b"answer").unwrap();
            assert_eq!(until(|| connection.read(&mut buffer).map(<[u8]>::to_vec)), b"answer");
            drop(peer);
            let change = until(|| {
                assert_eq!(connection.read(&mut buffer), None);
                connection.change()
            });
            assert_eq!((change, connection.is_open(), connection.change()), (Change::Closed, false, None));
        }
        connection.write(b"nobody hears it");
        assert_eq!(connection.unsent(), 0);
    }

    #[test]
    fn nobody_listens() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut connection = Connection::new(address);
        connection.connect();
        assert_eq!(until(|| connection.change()), Change::Closed);
    }

    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::new(listener.local_addr().unwrap());
        connection.connect();
        assert_eq!(until(|| connection.change()), Change::Connected);
        let (mut peer, _) = listener.accept().unwrap();
        let piece = vec![7; 100_000];
        while connection.unsent() == 0 {
            connection.write(&piece);
        }
        // It reads after all: everything comes, in order.
        let before = connection.unsent();
        let mut some = vec![0; 10_000_000];
        let _ = peer.read(&mut some).unwrap();
        until(|| {
            connection.flush();
            peer.set_nonblocking(true).unwrap();
            let _ = peer.read(&mut some);
            (connection.unsent() < before).then_some(())
        });
        while connection.is_open() {
            connection.write(&piece);
        }
        assert_eq!((connection.change(), connection.unsent()), (Some(Change::Closed), 0));
    }
}
