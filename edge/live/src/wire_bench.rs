//! The other end of the wire, and the floor, for `helios bench wire`.
//!
//! [`probe`] is a process of its own: it sends ITCH in MoldUDP64 packets, of which some make a live run send an order, and
//! takes the order's bytes by SoupBinTCP and OUCH 5.0; it measures from before the packet's system call to the return of
//! the one that brought the first byte. [`floor`] stands in the run's place and does no work: it takes the same packets at
//! the same pace, and where the run would send an order it sends fifty bytes, over the same kinds of sockets; it is
//! answered as the run is. What lies between the two is ours.
//!
//! The market: stocks in pairs around a hundred, whose best prices move by a cent at random; a stimulus moves the first
//! of a pair by half a dollar and, after its orders were answered, back. Every order is accepted and executed whole.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use helios_io::SourceError;
use helios_types::Rng;
use helios_wire::moldudp64::PacketBuilder;
use helios_wire::ouch::{inbound, outbound};
use helios_wire::soupbintcp::{LoginAccepted, Packet, decode};
use helios_wire::{alpha, itch};

use crate::driver::pin;
use crate::latency::Ticks;
use crate::sockets::{Change, Connection, Datagrams, Line, MAX_DATAGRAM, MAX_READ};

/// Bytes of an order without options on the wire.
const ORDER: usize = 50;
/// Bytes of what says that it was accepted, and executed.
const ANSWERED: usize = (3 + 64) + (3 + 36);
/// Nobody answers for so long: the bench gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// A stimulus that brings no order in this time brings none.
const NO_ORDER: Duration = Duration::from_millis(5);
/// After a stimulus' first order others may follow; when nothing came for so long, none does.
const QUIET: Duration = Duration::from_micros(150);
/// Random ticks of a pair before each stimulus.
const NOISE: u64 = 16;
/// Random ticks of every pair before the first.
const WARM: u64 = 64;
/// Between two of these: nobody could ask again for what a socket without room has lost.
const WARM_GAP: Duration = Duration::from_micros(25);
/// Between two packets that make no order.
const GAP: Duration = Duration::from_micros(8);
const SESSION: [u8; 10] = *b"WIREBENCH1";
/// Instead of the session's first letter: what the floor answers to. A run would not take it.
const ANSWER: u8 = b'!';
/// Hundredths of a dollar in the wire's prices.
const CENT: i64 = 100;
const MIDDLE: i64 = 1_000_000;

/// What a probe is to do.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Where the run, or the floor, takes market data.
    pub to: SocketAddr,
    /// Where it connects to.
    pub listen: SocketAddr,
    /// Stocks, two for each pair.
    pub stocks: Vec<String>,
    /// Stimuli.
    pub count: u64,
    /// The first so many are not measured.
    pub warm: u64,
    /// The other end is [`floor`].
    pub floor: bool,
    /// Its core.
    pub core: Option<usize>,
}

/// What a probe saw.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Packet sent -> first order byte received, ns.
    pub whole: Histogram<u64>,
    /// Stimuli that brought no order.
    pub silent: u64,
    /// Orders taken.
    pub orders: u64,
    /// Packets sent.
    pub packets: u64,
}

fn wrong(message: impl ToString) -> SourceError {
    SourceError { source: "bench wire".to_owned(), message: message.to_string() }
}

/// Stays on a core, if one is asked for.
fn hold(core: Option<usize>) -> Result<(), SourceError> {
    match core.filter(|core| !pin(*core)) {
        Some(core) => Err(wrong(format!("this process may not use core {core}"))),
        None => Ok(()),
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("constant bounds are valid")
}

/// Packets in, an order's bytes out where one is wanted, nothing between, until a packet of one byte comes: packet received
/// -> order written.
pub fn floor(listen: SocketAddr, to: SocketAddr, core: Option<usize>) -> Result<Histogram<u64>, SourceError> {
    hold(core)?;
    let socket = Datagrams::open(Line { address: listen, interface: None })?;
    let mut connection = Connection::new(to);
    let begun = Instant::now();
    connection.connect();
    loop {
        match connection.change() {
            Some(Change::Connected) => break,
            Some(Change::Closed) => connection.connect(),
            None => {}
        }
        if begun.elapsed() > PATIENCE {
            return Err(wrong(format!("nobody listens at {to}")));
        }
    }
    let (mut whole, ticks) = (histogram(), Ticks::default());
    let (mut packet, order) = (Box::new([0; MAX_DATAGRAM]), [0; ORDER]);
    let mut answers = Box::new([0; MAX_READ]);
    let mut heard = Instant::now();
    loop {
        let Some(length) = socket.receive(&mut packet) else {
            connection.read(&mut answers);
            if heard.elapsed() > PATIENCE {
                return Err(wrong("the probe says nothing"));
            }
            continue;
        };
        let received = ticks.now();
        if length == 1 {
            return Ok(whole);
        }
        if packet[0] == ANSWER {
            connection.write(&order);
            whole.saturating_record(ticks.between(received, ticks.now()));
            heard = Instant::now();
        }
    }
}

/// Sends and takes; see the module.
pub fn probe(settings: &ProbeSettings) -> Result<Probed, SourceError> {
    hold(settings.core)?;
    if settings.stocks.len() < 2 || !settings.stocks.len().is_multiple_of(2) {
        return Err(wrong("stocks come in pairs"));
    }
    let socket = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect(settings.to).map(|()| socket));
    let mut market = Market::new(socket.map_err(wrong)?, &settings.stocks)?;
    let mut peer = Peer::accept(settings.listen, settings.floor)?;
    if !settings.floor {
        peer.log_in()?;
    }
    market.open()?;
    let mut probed = Probed { whole: histogram(), silent: 0, orders: 0, packets: 0 };
    let ticks = Ticks::default();
    let pairs = settings.stocks.len() / 2;
    for _ in 0..WARM {
        for pair in 0..pairs {
            market.noise(pair)?;
            peer.serve(WARM_GAP)?;
        }
    }
    for number in 0..settings.count {
        // Up, and at the next visit to the same pair down again.
        let (pair, up) = ((number / 2) as usize % pairs, number % 2 == 0);
        if up {
            for _ in 0..NOISE {
                market.noise(pair)?;
                peer.serve(GAP)?;
            }
        }
        market.stimulus(pair, up);
        let first = if settings.floor { ANSWER } else { SESSION[0] };
        let sent = ticks.now();
        market.send(first)?;
        let begun = Instant::now();
        let mut came = None;
        while came.is_none() && begun.elapsed() < NO_ORDER {
            came = peer.receive()?.then(|| ticks.between(sent, ticks.now()));
        }
        match came {
            Some(nanos) if number >= settings.warm => probed.whole.saturating_record(nanos),
            Some(_) => {}
            None => probed.silent += 1,
        }
        peer.serve(QUIET)?;
    }
    (probed.orders, probed.packets) = (peer.orders, market.packets);
    if settings.floor {
        market.end()?;
    }
    Ok(probed)
}

/// The best prices of one stock: its bid and ask orders.
struct Stock {
    name: [u8; 8],
    locate: u16,
    orders: [u64; 2],
    /// In cents above the middle.
    at: i64,
}

struct Market {
    socket: UdpSocket,
    packet: PacketBuilder,
    stocks: Vec<Stock>,
    rng: Rng,
    order: u64,
    stamp: u64,
    packets: u64,
}

impl Market {
    fn new(socket: UdpSocket, names: &[String]) -> Result<Self, SourceError> {
        let stock = |(number, name): (u16, &String)| {
            Ok(Stock {
                name: alpha(name).map_err(|error| wrong(format!("{error:?}")))?,
                locate: number,
                orders: [0; 2],
                at: 0,
            })
        };
        let stocks = (1..).zip(names).map(stock).collect::<Result<_, SourceError>>()?;
        let packet = PacketBuilder::new(SESSION, 1, 1400);
        Ok(Self { socket, packet, stocks, rng: Rng::new(5), order: 0, stamp: 0, packets: 0 })
    }

    fn push(&mut self, message: &[u8]) {
        self.packet.push(message).expect("a packet holds a few messages");
    }

    fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// All stocks are listed, trade, and have a bid and an ask.
    fn open(&mut self) -> Result<(), SourceError> {
        for at in 0..self.stocks.len() {
            let Stock { name: stock, locate: stock_locate, .. } = self.stocks[at];
            let (tracking_number, timestamp) = (0, self.stamp());
            let listed = itch::StockDirectory {
                stock_locate,
                tracking_number,
                timestamp,
                stock,
                market_category: b'Q',
                financial_status_indicator: b'N',
                round_lot_size: 100,
                round_lots_only: b'N',
                issue_classification: b'C',
                issue_sub_type: *b"Z ",
                authenticity: b'P',
                short_sale_threshold_indicator: b'N',
                ipo_flag: b'N',
                luld_reference_price_tier: b'1',
                etp_flag: b'N',
                etp_leverage_factor: 0,
                inverse_indicator: b'N',
            };
            self.push(&listed.encode());
            let trades = itch::StockTradingAction {
                stock_locate,
                tracking_number,
                timestamp,
                stock,
                trading_state: b'T',
                reserved: b' ',
                reason_code: *b"    ",
            };
            self.push(&trades.encode());
            for (side, letter) in [b'B', b'S'].into_iter().enumerate() {
                self.order += 1;
                self.stocks[at].orders[side] = self.order;
                let price = (MIDDLE + [-1, 1][side] * 2 * CENT) as u32;
                let order_reference_number = self.order;
                let resting = itch::AddOrder {
                    stock_locate,
                    tracking_number,
                    timestamp,
                    order_reference_number,
                    buy_sell_indicator: letter,
                    shares: 1000,
                    stock,
                    price,
                };
                self.push(&resting.encode());
            }
            self.send(SESSION[0])?;
            // A socket with room for little is not overrun.
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// Moves a stock's bid and ask; first the one in whose way the other would be.
    fn quote(&mut self, at: usize, cents: i64) {
        let up = cents > self.stocks[at].at;
        self.stocks[at].at = cents;
        for side in if up { [1, 0] } else { [0, 1] } {
            self.order += 1;
            let (timestamp, new) = (self.stamp(), self.order);
            let stock = &mut self.stocks[at];
            let message = itch::OrderReplace {
                stock_locate: stock.locate,
                tracking_number: 0,
                timestamp,
                original_order_reference_number: std::mem::replace(&mut stock.orders[side], new),
                new_order_reference_number: new,
                shares: 1000,
                price: (MIDDLE + (cents + [-2, 2][side]) * CENT) as u32,
            };
            self.push(&message.encode());
        }
    }

    /// A packet that makes no order.
    fn noise(&mut self, pair: usize) -> Result<(), SourceError> {
        let at = 2 * pair + self.rng.below(2) as usize;
        let cents = self.rng.below(5) as i64 - 2;
        self.quote(at, cents);
        self.send(SESSION[0])
    }

    fn stimulus(&mut self, pair: usize, up: bool) {
        self.quote(2 * pair, if up { 50 } else { 0 });
    }

    /// `first`: the packet's first letter.
    fn send(&mut self, first: u8) -> Result<(), SourceError> {
        self.packets += 1;
        let (mut packet, length) = ([0; 1400], self.packet.bytes().len());
        packet[..length].copy_from_slice(self.packet.bytes());
        packet[0] = first;
        self.socket.send(&packet[..length]).map_err(wrong)?;
        self.packet.next_packet();
        Ok(())
    }

    fn end(&self) -> Result<(), SourceError> {
        self.socket.send(&[0]).map(drop).map_err(wrong)
    }
}

/// The venue's end of the session.
struct Peer {
    stream: TcpStream,
    floor: bool,
    got: Vec<u8>,
    answer: Vec<u8>,
    executions: u64,
    orders: u64,
    beat: Instant,
}

impl Peer {
    fn accept(listen: SocketAddr, floor: bool) -> Result<Self, SourceError> {
        let listener = TcpListener::bind(listen).map_err(|error| wrong(format!("{listen}: {error}")))?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let begun = Instant::now();
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if begun.elapsed() > PATIENCE => return Err(wrong("nobody connects")),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(wrong)?;
        let (got, answer, beat) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 12), Instant::now());
        Ok(Self { stream, floor, got, answer, executions: 0, orders: 0, beat })
    }

    /// Takes what is there; true when bytes came.
    fn receive(&mut self) -> Result<bool, SourceError> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(wrong("the other end has gone")),
            Ok(count) => {
                self.got.extend_from_slice(&piece[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Answers until nothing has come for `quiet`.
    fn serve(&mut self, quiet: Duration) -> Result<(), SourceError> {
        let mut since = Instant::now();
        loop {
            self.answer()?;
            if self.receive()? {
                since = Instant::now();
            } else if since.elapsed() >= quiet {
                return Ok(());
            }
        }
    }

    /// Until the run has logged in and asked what it asks; two heartbeats later it is settled.
    fn log_in(&mut self) -> Result<(), SourceError> {
        let begun = Instant::now();
        let mut beats = 0;
        while beats < 3 {
            if begun.elapsed() > PATIENCE {
                return Err(wrong("the run does not log in"));
            }
            self.serve(Duration::from_millis(20))?;
            if self.executions > 0 {
                Packet::ServerHeartbeat.append_to(&mut self.answer);
                beats += 1;
            }
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<(), SourceError> {
        let mut taken = 0;
        while self.floor && self.got.len() >= taken + ORDER {
            self.orders += 1;
            self.answer.extend_from_slice(&[0; ANSWERED]);
            taken += ORDER;
        }
        while !self.floor {
            let next = decode(&self.got[taken..]).map_err(|error| wrong(format!("{error:?}")))?;
            let Some((packet, length)) = next else { break };
            match packet {
                Packet::LoginRequest(_) => {
                    let accepted = LoginAccepted::new("WIREBENCH1", 1).expect("the session's name fits");
                    Packet::LoginAccepted(accepted).append_to(&mut self.answer);
                    self.executions = 1;
                }
                Packet::UnsequencedData(message) => {
                    say(message, &mut self.executions, &mut self.orders, &mut self.answer)?;
                }
                _ => {}
            }
            taken += length;
        }
        self.got.drain(..taken);
        if !self.floor && self.beat.elapsed() > Duration::from_millis(900) {
            self.beat = Instant::now();
            Packet::ServerHeartbeat.append_to(&mut self.answer);
        }
        if !self.answer.is_empty() {
            self.stream.write_all(&self.answer).map_err(wrong)?;
            self.answer.clear();
        }
        Ok(())
    }
}

/// Accepts and executes an order; answers what is asked of the account.
fn say(message: &[u8], executions: &mut u64, orders: &mut u64, out: &mut Vec<u8>) -> Result<(), SourceError> {
    let mut sequenced = |bytes: &[u8]| Packet::SequencedData(bytes).append_to(out);
    match inbound::decode(message).map_err(wrong)?.message {
        inbound::Message::EnterOrder(order) => {
            (*executions, *orders) = (*executions + 1, *orders + 1);
            let accepted = outbound::OrderAccepted {
                timestamp: 1,
                user_ref_num: order.user_ref_num(),
                side: order.side(),
                quantity: order.quantity(),
                symbol: *order.symbol(),
                price: order.price(),
                time_in_force: order.time_in_force(),
                display: order.display(),
                order_reference_number: *executions,
                capacity: order.capacity(),
                intermarket_sweep_eligibility: order.intermarket_sweep_eligibility(),
                cross_type: order.cross_type(),
                order_state: b'L',
                cl_ord_id: *order.cl_ord_id(),
                appendage_length: 0,
            };
            sequenced(&accepted.encode());
            let executed = outbound::OrderExecuted {
                timestamp: 1,
                user_ref_num: order.user_ref_num(),
                quantity: order.quantity(),
                price: MIDDLE as u64,
                liquidity_flag: b'R',
                match_number: *executions,
                appendage_length: 0,
            };
            sequenced(&executed.encode());
        }
        inbound::Message::AccountQuery(_) => {
            sequenced(&outbound::AccountQueryResponse { timestamp: 1, next_user_ref_num: 1 }.encode());
        }
        _ => {}
    }
    Ok(())
}
