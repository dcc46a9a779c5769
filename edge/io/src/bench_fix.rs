//! The FIX codec and session timed, for `helios bench`: one order out, one execution report in. Medians of passes over
//! messages that differ in number, time and identifiers.

use std::hint::black_box;
use std::time::Instant;

use helios_types::{Nanos, Price, Quantity};
use helios_wire::fix::{
    Builder, Closed, Dictionary, Fields, Framed, Handled, Message, Outside, Precision, Reply, Role, Rules, Session,
    Settings, Stored, Version, frame, validate,
};

/// Many short passes: a busy machine spoils some of them, not their median.
const PASSES: usize = 301;
/// Messages of one pass: enough to be no cached answer, few enough to stay in the cache.
const MESSAGES: u64 = 1_000;
const START: Nanos = Nanos(1_767_323_045_678_901_234);
const PRICE: Price = Price(187_250_000_000);

/// Nanoseconds per message, medians of the passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixTimes {
    /// Frame (length, checksum), fields, and all checks of the FIX 4.4 dictionary, of an execution report.
    pub parse_check_ns: f64,
    /// A new order with header, time, length and checksum through the session, without store and socket.
    pub build_ns: f64,
    /// An execution report through the session to the application.
    pub receive_ns: f64,
}

/// Times the three.
pub fn bench_fix() -> FixTimes {
    FixTimes { parse_check_ns: parse_check(), build_ns: build(), receive_ns: receive() }
}

fn median(mut pass: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..PASSES)
        .map(|_| {
            let begun = Instant::now();
            pass();
            begun.elapsed().as_secs_f64() * 1e9 / MESSAGES as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[PASSES / 2]
}

fn parse_check() -> f64 {
    let dictionary = Dictionary::of(Version::Fix44);
    let rules = Rules::default();
    let stream: Vec<u8> = (1..=MESSAGES).flat_map(report).collect();
    let mut fields = Fields::new();
    median(|| {
        let mut rest = stream.as_slice();
        while let Framed::Message { bytes, used } = frame(rest) {
            let message = fields.parse(bytes, dictionary).expect("our own report");
            validate(dictionary, &message, &rules).expect("our own report");
            black_box(&message);
            rest = &rest[used..];
        }
        assert!(rest.is_empty());
    })
}

fn build() -> f64 {
    let mut session = Session::new(settings(Role::Acceptor, "SENDER", "TARGET"), Stored::fresh(START));
    let mut outside = Nowhere::default();
    session.on_connected(START, &mut outside);
    session.on_bytes(&logon(), START, &mut outside);
    let mut now = START;
    median(|| {
        for number in 0..MESSAGES {
            now = now.plus(1_000_003);
            let body = |builder: &mut Builder| order(builder, number, now);
            session.send(b"D", body, now, &mut outside).expect("a session that is logged on");
        }
    })
}

fn receive() -> f64 {
    let stream: Vec<u8> = (2..MESSAGES + 2).flat_map(report).collect();
    let mut session = Session::new(settings(Role::Acceptor, "SENDER", "TARGET"), Stored::fresh(START));
    let mut outside = Nowhere::default();
    session.on_connected(START, &mut outside);
    session.on_bytes(&logon(), START, &mut outside);
    median(|| {
        session.set_next(None, Some(2));
        session.on_bytes(&stream, START, &mut outside);
        assert_eq!(session.next_in(), MESSAGES + 2);
    })
}

fn settings(role: Role, sender: &str, target: &str) -> Settings {
    Settings { precision: Precision::Micros, ..Settings::new(role, Version::Fix44, sender, target) }
}

fn header(builder: &mut Builder, msg_type: &[u8], number: u64, now: Nanos) {
    builder.begin(b"FIX.4.4", msg_type);
    builder.number(34, number);
    builder.field(49, b"TARGET");
    builder.timestamp(52, now, Precision::Micros);
    builder.field(56, b"SENDER");
}

fn logon() -> Vec<u8> {
    let mut builder = Builder::new();
    header(&mut builder, b"A", 1, START);
    builder.char(98, b'0');
    builder.number(108, 0);
    builder.finish().to_vec()
}

/// The ten fields of a plain limit order.
fn order(builder: &mut Builder, number: u64, now: Nanos) {
    builder.field(1, b"ACC1");
    builder.number(11, 123_456_789 + number);
    builder.char(21, b'1');
    builder.quantity(38, Quantity::whole(100));
    builder.char(40, b'2');
    builder.price(44, PRICE);
    builder.char(54, b'1');
    builder.field(55, b"AAPL");
    builder.char(59, b'0');
    builder.timestamp(60, now, Precision::Micros);
}

/// A partial fill: 23 fields.
fn report(number: u64) -> Vec<u8> {
    let mut builder = Builder::new();
    let now = START.plus(number * 1_003);
    header(&mut builder, b"8", number, now);
    builder.price(6, PRICE);
    builder.number(11, 123_456_789 + number);
    builder.number(14, 50);
    builder.number(17, 9_876_543 + number);
    builder.price(31, PRICE);
    builder.number(32, 50);
    builder.field(37, b"X1234567");
    builder.number(38, 100);
    builder.char(39, b'1');
    builder.price(44, PRICE);
    builder.char(54, b'1');
    builder.field(55, b"AAPL");
    builder.timestamp(60, now, Precision::Micros);
    builder.char(150, b'F');
    builder.number(151, 50);
    builder.finish().to_vec()
}

/// Counts bytes, so that they are made.
#[derive(Default)]
struct Nowhere {
    bytes: usize,
}

impl Outside for Nowhere {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes += black_box(bytes).len();
    }

    fn close(&mut self, why: &Closed) {
        panic!("the bench's own session was closed: {why}");
    }

    fn sent(&mut self, _: u64, _: Option<&[u8]>) {}

    fn received(&mut self, _: u64) {}

    fn resend(&mut self, _: u64, _: u64, _: &mut dyn FnMut(u64, &[u8])) {}

    fn reset(&mut self, _: Nanos) {}

    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        self.bytes += black_box(message).bytes().len();
        Handled::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_runs() {
        let times = bench_fix();
        assert!(times.parse_check_ns > 0.0 && times.build_ns > 0.0 && times.receive_ns > 0.0);
    }
}
