//! Venues that lie, babble, or hang.

use helios_live::{Entry, Protocol, first_reference};
use helios_types::{InstrumentId, OrderId, Output, Price, Quantity, Side, TimeInForce};
use helios_wire::soupbintcp::{Packet, header, kind};
use helios_wire::{ouch, ouch42};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::world::{Log, Says, accepted, at, bytes_of, config, order, said, sequenced};

const BOTH: [Protocol; 2] = [Protocol::Ouch42, Protocol::Ouch50];

fn logged_in(protocol: Protocol) -> (Entry, Log) {
    let (mut entry, mut log) = (Entry::new(config(protocol)).expect("sound"), Log::new(protocol));
    entry.on_tick(at(0.0), &mut log);
    entry.on_connected(at(0.0), &mut log);
    entry.on_bytes(&accepted("S1", 1), at(0.0), &mut log);
    log.taken();
    (entry, log)
}

fn submit(id: u64) -> Output {
    Output::Submit(order(id, Side::Buy, 100, Price::whole(10), TimeInForce::Day))
}

#[test]
fn a_configuration_that_cannot_be_is_refused_without_its_secret() {
    let with = |change: fn(&mut helios_live::EntryConfig)| {
        let mut config = config(Protocol::Ouch50);
        change(&mut config);
        Entry::new(config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(with(|_| {}), "");
    let long = with(|config| config.password = helios_live::Secret::new("hunter2-hunter2"));
    assert!(long.contains("password") && !long.contains("hunter2"), "{long}");
    assert!(with(|config| config.user = "sevenup".to_owned()).contains("sevenup"));
    assert!(with(|config| config.symbols = vec![Some("TOO LONG A SYMBOL".to_owned())]).contains("TOO LONG"));
    assert!(with(|config| config.token_prefix = "H1".to_owned()).contains("H1"));
    assert!(with(|config| config.first_reference = 0).contains("begin at 1"));
    assert!(!format!("{:?}", config(Protocol::Ouch50)).contains("hunter2"));
}

#[test]
fn a_journal_that_begins_later_in_the_day_has_higher_references() {
    assert_eq!(first_reference(0), 1);
    assert!(first_reference(86_400_000_000_000) > first_reference(34_200_000_000_000) + 1_000_000_000);
    assert_eq!(first_reference(u64::MAX), first_reference(86_400_000_000_000));
}

#[test]
fn a_half_open_connection_is_given_up_and_made_again() {
    for protocol in BOTH {
        let (mut entry, mut log) = logged_in(protocol);
        let mut wakes = 0;
        let mut now = at(0.0);
        while !log.lines.contains(&"connect".to_owned()) {
            now = entry.next_tick().expect("it waits for something").max(now);
            entry.on_tick(now, &mut log);
            wakes += 1;
            assert!(wakes < 100, "{:?}", log.lines);
        }
        assert_eq!(log.lines.iter().filter(|line| *line == "write heartbeat").count(), 14);
        assert!(log.lines.contains(&"note X: nothing was heard for 15000 ms".to_owned()), "{:?}", log.lines);
        assert!(log.lines.contains(&"down".to_owned()));
        assert!(now.since(at(15.0)) <= 300_000_000);
    }
}

/// A server that accepts and drops again and again is asked more and more rarely.
#[test]
fn a_server_that_always_hangs_up_is_not_hammered() {
    let (mut entry, mut log) = (Entry::new(config(Protocol::Ouch50)).expect("sound"), Log::new(Protocol::Ouch50));
    let (mut now, mut attempts) = (at(0.0), 0);
    while now < at(120.0) {
        now = now.max(entry.next_tick().expect("it goes on"));
        entry.on_tick(now, &mut log);
        if log.taken().contains(&"connect".to_owned()) {
            attempts += 1;
            entry.on_connected(now, &mut log);
            entry.on_bytes(&accepted("S1", 1), now, &mut log);
            entry.on_bytes(b"\0\0", now, &mut log);
        }
    }
    assert!((15..25).contains(&attempts), "{attempts}");
}

#[test]
fn babble_is_counted_and_noted_a_few_times_only() {
    for protocol in BOTH {
        let (mut entry, mut log) = logged_in(protocol);
        for n in 0..10_000_u32 {
            let foreign = said(protocol, 1, 1_000 + n, Says::CancelPending).expect("both have it");
            entry.on_bytes(&sequenced(&foreign), at(0.1), &mut log);
            entry.on_bytes(&sequenced(b"?"), at(0.1), &mut log);
        }
        let notes = log.lines.iter().filter(|line| line.starts_with("note")).count();
        assert_eq!((notes, entry.counters().foreign, entry.counters().odd), (16, 10_000, 20_000));
        entry.send(&submit(1), at(0.2), &mut log);
        assert_eq!(log.lines.last().map(String::as_str), Some("write enter 1 buy 100 @ 10"), "it still works");
    }
}

#[test]
fn numbers_from_the_end_of_the_world() {
    for protocol in BOTH {
        let (mut entry, mut log) = (Entry::new(config(protocol)).expect("sound"), Log::new(protocol));
        entry.on_tick(at(0.0), &mut log);
        entry.on_connected(at(0.0), &mut log);
        entry.on_bytes(&accepted("S1", u64::MAX), at(0.0), &mut log);
        entry.send(&submit(1), at(0.0), &mut log);
        for says in [
            Says::Accepted { shares: u32::MAX, book: u64::MAX, dead: false },
            Says::Executed { shares: u32::MAX, raw: u32::MAX, execution: 0, flag: 0xFF },
            Says::Executed { shares: u32::MAX, raw: u32::MAX, execution: 0, flag: 0xFF },
            Says::Cancelled { shares: u32::MAX, reason: 0 },
            Says::Replaced { open: u32::MAX, raw: 0, dead: false },
        ] {
            for ts in [0, u64::MAX] {
                entry.on_bytes(&sequenced(&said(protocol, ts, 1, says).expect("both")), at(0.1), &mut log);
            }
        }
        assert!(!entry.is_settled(), "a venue that leaves so much out is not trusted");
    }
}

/// Found by fuzzing.
#[test]
fn an_execution_of_no_shares_is_no_fill() {
    for protocol in BOTH {
        let (mut entry, mut log) = logged_in(protocol);
        entry.send(&submit(1), at(0.1), &mut log);
        let nothing = Says::Executed { shares: 0, raw: 100_000, execution: 7, flag: b'A' };
        entry.on_bytes(&sequenced(&said(protocol, 1, 1, nothing).expect("both have it")), at(0.2), &mut log);
        assert!(!log.lines.iter().any(|line| line.contains("filled")), "{:?}", log.lines);
        assert_eq!(entry.counters().odd, 1);
    }
}

/// Messages of either version with arbitrary content, and other packets.
fn babble() -> impl Strategy<Value = Vec<u8>> {
    let of = |layouts: &'static [&'static helios_wire::Layout]| {
        (select(layouts), vec(any::<u8>(), 100), 0..4_u8).prop_map(|(layout, mut bytes, small)| {
            bytes.truncate(layout.length);
            bytes[0] = layout.kind;
            // Often about a reference that is ours.
            if small > 0 && layout.length > 23 {
                bytes[9..23].copy_from_slice(b"1             ");
                bytes[12] = small;
            }
            bytes
        })
    };
    let messages = prop_oneof![of(ouch::outbound::LAYOUTS), of(ouch42::outbound::LAYOUTS), vec(any::<u8>(), 0..60),];
    let framed = (messages, select(b"SSSSSSUHZAJ+".as_slice())).prop_map(|(message, kind)| match kind {
        kind::SEQUENCED_DATA => sequenced(&message),
        kind::UNSEQUENCED_DATA => bytes_of(Packet::UnsequencedData(&message)),
        kind::LOGIN_ACCEPTED => accepted("S2", u64::from(message.first().copied().unwrap_or(0))),
        kind::LOGIN_REJECTED => b"\0\x02JS".to_vec(),
        kind::DEBUG => bytes_of(Packet::Debug(&message)),
        kind => header(kind, 0).to_vec(),
    });
    vec(framed, 0..30).prop_map(|packets| packets.concat())
}

proptest! {
    /// Whatever comes, and however it is cut: no panic, and the same events.
    #[test]
    fn any_cut_of_any_babble_is_the_same(bytes in babble(), cuts in vec(1_usize..40, 1..10), second in babble()) {
        for protocol in BOTH {
            let mut logs = Vec::new();
            for lengths in [vec![bytes.len().max(1)], cuts.clone()] {
                let (mut entry, mut log) = logged_in(protocol);
                for id in 1..4 {
                    entry.send(&submit(id), at(0.1), &mut log);
                }
                let replace = Output::Replace {
                    order: OrderId(2),
                    instrument: InstrumentId(0),
                    quantity: Quantity::whole(50),
                    price: Price::whole(11),
                };
                entry.send(&replace, at(0.1), &mut log);
                for stream in [&bytes, &second] {
                    let (mut rest, mut turn) = (stream.as_slice(), lengths.iter().cycle());
                    while !rest.is_empty() {
                        let length = (*turn.next().expect("a cycle")).min(rest.len());
                        entry.on_bytes(&rest[..length], at(0.2), &mut log);
                        rest = &rest[length..];
                    }
                    entry.on_closed(at(0.3), &mut log);
                    entry.on_tick(at(9.0), &mut log);
                    entry.on_connected(at(9.0), &mut log);
                    entry.on_bytes(&accepted("S1", 1), at(9.0), &mut log);
                }
                // What was heard is told after each read: how often depends on the cut.
                log.lines.retain(|line| !line.starts_with("heard"));
                logs.push(log.lines);
            }
            prop_assert_eq!(&logs[0], &logs[1]);
        }
    }

    /// The same from the first byte on.
    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        for protocol in BOTH {
            let (mut entry, mut log) = (Entry::new(config(protocol)).expect("sound"), Log::new(protocol));
            entry.on_tick(at(0.0), &mut log);
            entry.on_connected(at(0.0), &mut log);
            entry.on_bytes(&bytes, at(0.1), &mut log);
            entry.on_tick(at(99.0), &mut log);
        }
    }
}
