//! How long an order takes from the engine's output to the bytes at the socket's door. `cargo test --release -p helios-live
//! --test entry speed -- --nocapture` prints it; here it only must not rot.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use helios_live::{Entry, EntryOut, Protocol};
use helios_types::{Event, InstrumentId, Nanos, OrderId, Output, Price, Side, TimeInForce};

use crate::fix::{fix_config, logged_on};
use crate::world::{accepted, at, config, order};

struct Nowhere(usize);

impl EntryOut for Nowhere {
    fn event(&mut self, event: Event) {
        black_box(&event);
    }
    fn connect(&mut self) {}
    fn write(&mut self, bytes: &[u8]) {
        self.0 += black_box(bytes).len();
    }
    fn close(&mut self) {}
    fn note(&mut self, _: fmt::Arguments<'_>) {}
}

const ROUNDS: u64 = 50;
const ORDERS: u64 = 1_000;

/// Medians over the rounds, in nanoseconds: an order, its cancel.
fn measured(entry: &mut Entry) -> [f64; 2] {
    let mut out = Nowhere(0);
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let ids = 1 + round * ORDERS..1 + (round + 1) * ORDERS;
        let orders: Vec<Output> = ids
            .clone()
            .map(|id| Output::Submit(order(id, Side::Buy, 100, Price::whole(10), TimeInForce::Day)))
            .collect();
        let cancels: Vec<Output> =
            ids.map(|id| Output::Cancel { order: OrderId(id), instrument: InstrumentId(0) }).collect();
        for (outputs, times) in [orders, cancels].iter().zip(&mut times) {
            let begun = Instant::now();
            outputs.iter().for_each(|output| entry.send(black_box(output), Nanos(1), &mut out));
            times.push(begun.elapsed().as_nanos() as f64 / ORDERS as f64);
            // As a driver does between its turns.
            entry.on_tick(at(0.2), &mut out);
        }
    }
    assert!(out.0 as u64 > ROUNDS * ORDERS * 20, "orders went out");
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

#[test]
fn speed_of_send() {
    for protocol in [Protocol::Ouch50, Protocol::Ouch42] {
        let (mut entry, mut out) = (Entry::new(config(protocol)).expect("sound"), Nowhere(0));
        entry.on_tick(at(0.0), &mut out);
        entry.on_connected(at(0.0), &mut out);
        entry.on_bytes(&accepted("S1", 1), at(0.0), &mut out);
        let [submit, cancel] = measured(&mut entry);
        println!("{protocol:?}: order {submit:.0} ns, cancel {cancel:.0} ns");
    }
    let mut entry = logged_on(Entry::fix(&fix_config()).expect("sound"));
    let [submit, cancel] = measured(&mut entry);
    println!("FIX 4.4: order {submit:.0} ns, cancel {cancel:.0} ns");
}
