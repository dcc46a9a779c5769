use std::thread;
use std::time::Instant;

use helios_types::{InstrumentId, Market, Nanos, Price, Quantity};

use super::*;

fn item(number: u64, instrument: u32, update: Update) -> Item<Event> {
    let market = Market { instrument: InstrumentId(instrument), ts_event: Nanos(number), update };
    Item { now: number, received: number, decoded: number, what: Event::Market(market) }
}

fn quote(number: u64, instrument: u32) -> Item<Event> {
    let (bid, ask) = (Price(number as i64 + 1), Price(number as i64 + 2));
    item(number, instrument, Update::Quote { bid, ask, bid_quantity: Quantity(1), ask_quantity: Quantity(1) })
}

fn delete(number: u64, instrument: u32) -> Item<Event> {
    item(number, instrument, Update::Delete { order: number })
}

fn drain(receiver: &mut Receiver<Item<Event>>) -> Vec<u64> {
    std::iter::from_fn(|| receiver.receive()).map(|item| item.now).collect()
}

#[test]
fn newer_best_prices_take_the_place_of_older_ones_when_there_is_no_room() {
    let bed = Bed::new(true).unwrap();
    let (sender, mut receiver) = ring(2, &bed.alarm());
    let mut inlet = Inlet::new(sender, 3);
    let never = || -> bool { panic!("a best price never waits") };
    for (number, instrument) in [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (5, 2)] {
        assert!(inlet.send(quote(number, instrument), never));
    }
    assert_eq!(drain(&mut receiver), [0, 1]);
    inlet.flush();
    assert_eq!(drain(&mut receiver), [4, 3], "the newest, in the order in which their instruments began to wait");
    inlet.flush();
    assert_eq!((drain(&mut receiver), inlet.conflated(), inlet.waits()), (vec![5], 1, 0));
}

#[test]
fn what_changes_a_book_waits_behind_what_is_parked() {
    let bed = Bed::new(true).unwrap();
    let (sender, mut receiver) = ring(1, &bed.alarm());
    let mut inlet = Inlet::new(sender, 2);
    assert!(inlet.send(quote(0, 0), || false) && inlet.send(quote(1, 0), || false));
    let mut got = Vec::new();
    assert!(inlet.send(delete(2, 0), || {
        got.extend(drain(&mut receiver));
        true
    }));
    got.extend(drain(&mut receiver));
    assert_eq!((got, inlet.waits()), (vec![0, 1, 2], 1));
    // Nobody reads any more.
    drop(receiver);
    assert!(inlet.send(delete(3, 0), || false) || !inlet.send(delete(4, 0), || false));
}

/// A million messages a second in bursts of ten thousand, to a reader that is slower in each burst than the writer.
fn bursts(seconds: u64) {
    const BURST: u64 = 10_000;
    const GAP: Duration = Duration::from_millis(10);
    let bed = Bed::new(false).unwrap();
    let (sender, mut receiver) = ring::<Item<Event>>(4096, &bed.alarm());
    let writer = thread::spawn(move || {
        let mut inlet = Inlet::new(sender, 8);
        let begun = Instant::now();
        let mut number = 0;
        for burst in 0..seconds * 100 {
            for _ in 0..BURST {
                let instrument = (number % 8) as u32;
                let one = if number % 4 == 0 { quote(number, instrument) } else { delete(number, instrument) };
                assert!(inlet.send(one, || {
                    thread::yield_now();
                    true
                }));
                number += 1;
            }
            while begun.elapsed() < GAP * (burst as u32 + 1) {
                inlet.flush();
                thread::yield_now();
            }
        }
        let (mut waited, sent) = (inlet.waits(), number);
        while !inlet.order.is_empty() {
            inlet.flush();
            waited += 1;
            thread::yield_now();
        }
        (sent, inlet.conflated(), waited, begun.elapsed())
    });
    let (mut bed, mut got, mut most, mut last) = (bed, 0, 0, [None; 8]);
    loop {
        most = most.max(receiver.waiting());
        match receiver.receive() {
            Some(item) => {
                let Event::Market(market) = item.what else { panic!("only market data was sent") };
                let before = last[market.instrument.index()].replace(item.now);
                assert!(before < Some(item.now), "an instrument's events stay in order");
                got += 1;
            }
            None if receiver.ring.is_abandoned() && receiver.is_empty() => break,
            None => bed.sleep(Duration::from_millis(100), || !receiver.is_empty()).unwrap(),
        }
    }
    let (sent, conflated, waited, elapsed) = writer.join().unwrap();
    println!(
        "{sent} sent in {elapsed:?}, {got} received, {conflated} conflated, {waited} waited, at most {most} queued"
    );
    assert_eq!((sent, got + conflated), (seconds * 1_000_000, sent), "nothing is lost that was not counted");
    assert!(most <= 4096);
}

#[test]
fn bursts_of_a_million_a_second_lose_nothing_uncounted() {
    bursts(1);
}

#[test]
#[ignore = "ten seconds: cargo test -p helios-live --release -- --ignored bursts"]
fn bursts_of_a_million_a_second_for_ten_seconds() {
    bursts(10);
}

#[test]
fn a_sleeper_is_woken() {
    let mut bed = Bed::new(false).unwrap();
    let (mut sender, mut receiver) = ring::<u64>(4, &bed.alarm());
    let writer = thread::spawn(move || {
        for number in 0..1000 {
            while sender.send(number).is_err() {
                thread::yield_now();
            }
        }
        sender
    });
    let (begun, mut next) = (Instant::now(), 0);
    while next < 1000 {
        while let Some(number) = receiver.receive() {
            assert_eq!(number, next);
            next += 1;
        }
        bed.sleep(Duration::from_secs(20), || !receiver.is_empty() || next == 1000).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "no wake-up was lost");
    writer.join().unwrap();
}
