//! How many messages a second a venue of agents writes, packs and hands out, without sockets; and through them.
//!
//! `cargo bench -p helios-exchange`, on a quiet machine.

use std::fmt;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use helios_exchange::serve::{Server, Sockets, VenueSockets};
use helios_exchange::{Client, Config, Exchange, ExchangeOut, Pace, Source, VenueConfig};
use helios_types::{NANOS_PER_SECOND, Nanos};
use helios_venue::agents::Config as Agents;

#[derive(Default)]
struct Sink {
    packets: u64,
    bytes: u64,
}

impl ExchangeOut for Sink {
    fn send(&mut self, _venue: usize, line: u8, bytes: &[u8]) {
        if line == 0 {
            self.packets += 1;
            self.bytes += bytes.len() as u64;
        }
    }
    fn answer(&mut self, _venue: usize, _to: u64, _bytes: &[u8]) {}
    fn write(&mut self, _client: Client, _bytes: &[u8]) {}
    fn close(&mut self, _client: Client) {}
    fn note(&mut self, _text: fmt::Arguments<'_>) {}
}

fn config(midnight: Nanos) -> Config {
    let day = Agents { symbols: 200, minutes: 390, ..Agents::default() };
    let source = Source::Agents { day, pace: Pace::Rate(100_000_000) };
    Config::new(vec![VenueConfig { source, ..VenueConfig::quiet("XNAS", &[]) }], midnight)
}

fn without_sockets() {
    let midnight = Nanos(1_700_006_400_000_000_000);
    let mut exchange = Exchange::new(config(midnight)).expect("settings that can be");
    let (mut sink, mut now) = (Sink::default(), midnight.plus(1));
    exchange.on_tick(now, &mut sink);
    let (began, before) = (Instant::now(), exchange.next_message(0));
    while began.elapsed() < Duration::from_secs(3) {
        now = now.plus(NANOS_PER_SECOND / 1_000);
        exchange.on_tick(now, &mut sink);
    }
    let messages = exchange.next_message(0) - before;
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    println!(
        "agents, matched and packed: {rate:>12.0} messages/s, {} bytes a packet",
        sink.bytes / sink.packets.max(1)
    );
}

fn with_sockets() {
    let line = || UdpSocket::bind("127.0.0.1:0").expect("a port");
    let lines = [line(), line()];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let midnight = Nanos(now.as_nanos() as u64 / 86_400_000_000_000 * 86_400_000_000_000);
    let addresses = [lines[0].local_addr().expect("bound"), lines[1].local_addr().expect("bound")];
    let venue = VenueSockets { lines: addresses, requests: None, ports: Vec::new() };
    let sockets = Sockets { venues: vec![venue], bind: None, max_output: 1 << 20, ledger: None };
    let mut server = Server::bind(config(midnight), sockets).expect("loopback");
    let began = Instant::now();
    server.run(Duration::from_secs(3)).expect("sockets that work");
    let messages = server.exchange().next_message(0);
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    println!("the same, sent on two lines:  {rate:>12.0} messages/s");
}

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    without_sockets();
    with_sockets();
}
