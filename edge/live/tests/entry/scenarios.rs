//! The scenarios of `tests/scenarios/entry` at the root of the repository. How to write one stands in its `README.md`.

use helios_live::{Entry, Protocol, Recorded};
use helios_types::{
    CancelReason, Cash, Event, InstrumentId, Link, Liquidity, Nanos, OrderId, Output, Price, Quantity, RejectReason,
    Report, ReportKind, Side, TimeInForce,
};
use helios_wire::soupbintcp::Packet;

use crate::world::{Log, Says, accepted, at, bytes_of, config, order, said, sequenced};

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let text = include_str!(concat!("../../../../tests/scenarios/entry/", stringify!($name), ".txt"));
            check(stringify!($name), text);
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    answers
    broken_trades
    cancel_races
    cancel_refused_first
    happy
    journal_removed
    left_out
    login
    lost_and_found
    new_session
    old_answers
    old_answers_again
    other_terms
    rejects
    replace
    replaced_for_fewer
    restart
    taken_off_again
    torn_answers
    unsayable
}

#[test]
fn every_file_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios/entry");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|file| file.expect("a file").file_name().into_string().expect("an ASCII name"))
        .filter_map(|name| name.strip_suffix(".txt").map(str::to_owned))
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
}

fn check(name: &str, text: &str) {
    let only = text.lines().find_map(|line| line.strip_prefix("only "));
    for (version, protocol) in [("50", Protocol::Ouch50), ("42", Protocol::Ouch42)] {
        if only.is_none_or(|only| only == version) {
            for piece in [usize::MAX, 1, 7] {
                run(name, text, version, protocol, piece);
            }
        }
    }
}

/// One run; what the venue sends comes in pieces of this length.
fn run(name: &str, text: &str, version: &str, protocol: Protocol, piece: usize) {
    let mut settings = config(protocol);
    let mut entry: Option<Entry> = None;
    let mut log = Log::new(protocol);
    let mut waiting: Vec<String> = Vec::new();
    let mut where_from = String::new();
    let other = if version == "50" { "42" } else { "50" };
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() || line.starts_with("only ") || line.starts_with(&format!("{other} ")) {
            continue;
        }
        let line = line.strip_prefix(&format!("{version} ")).unwrap_or(line);
        if let Some(first) = line.strip_prefix("first_reference ") {
            settings.first_reference = first.parse().expect("a number");
            continue;
        }
        if let Some(expected) = line.strip_prefix("-> ") {
            let expected = expected.trim();
            let found = if waiting.is_empty() { "nothing".to_owned() } else { waiting.remove(0) };
            let short = expected.strip_suffix("…").is_some_and(|start| found.starts_with(start));
            assert!(short || found == expected, "{name} ({version}) line {}: {found:?}", number + 1);
            continue;
        }
        assert!(waiting.is_empty(), "{name} ({version}) {where_from}: also {waiting:?}");
        where_from = format!("line {}: {line}", number + 1);
        let entry = entry.get_or_insert_with(|| Entry::new(settings.clone()).expect("a sound configuration"));
        step(entry, line, protocol, piece, &mut log);
        waiting = log.taken();
    }
    assert!(waiting.is_empty(), "{name} ({version}) {where_from}: also {waiting:?}");
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("a number: {word}"))
}

fn price(word: &str) -> Price {
    Price((number::<f64>(word) * 1e9).round() as i64)
}

fn raw(word: &str) -> u32 {
    (number::<f64>(word) * 1e4).round() as u32
}

fn step(entry: &mut Entry, line: &str, protocol: Protocol, piece: usize, log: &mut Log) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[0] {
        "recover" if ["report", "heard"].contains(&words[1]) => {
            return entry.recover(&Recorded::Input(&input(&words[1..])));
        }
        "recover" => return entry.recover(&Recorded::Output(&output(&words[1..]))),
        _ => {}
    }
    let seconds: f64 = number(words[0]);
    let now = at(seconds);
    let ts = (seconds * 1e9).round() as u64;
    let mut hear = |bytes: &[u8]| bytes.chunks(piece).for_each(|piece| entry.on_bytes(piece, now, log));
    match &words[1..] {
        ["login", session, next] => hear(&accepted(session, number(next))),
        ["denied", reason] => hear(&bytes_of(Packet::LoginRejected(reason.as_bytes()[0]))),
        ["heartbeat"] => hear(&bytes_of(Packet::ServerHeartbeat)),
        ["end"] => hear(&bytes_of(Packet::EndOfSession)),
        ["garbage"] => hear(b"\0\x08?garbage"),
        ["odd"] => hear(&sequenced(b"?odd")),
        ["says", reference, rest @ ..] => {
            if let Some(message) = said(protocol, ts, number(reference), says(rest, protocol)) {
                hear(&sequenced(&message));
            }
        }
        ["tick"] => entry.on_tick(now, log),
        ["connected"] => entry.on_connected(now, log),
        ["closed"] => entry.on_closed(now, log),
        ["stop"] => entry.stop(now, log),
        rest => entry.send(&output(rest), now, log),
    }
}

fn says(words: &[&str], protocol: Protocol) -> Says {
    match words {
        ["accepted", shares, "book", book] => {
            Says::Accepted { shares: number(shares), book: number(book), dead: false }
        }
        ["dead", shares, "book", book] => Says::Accepted { shares: number(shares), book: number(book), dead: true },
        ["replaced", "open", open, "@", price] => Says::Replaced { open: number(open), raw: raw(price), dead: false },
        ["replaced_dead", "open", open, "@", price] => {
            Says::Replaced { open: number(open), raw: raw(price), dead: true }
        }
        ["cancelled", shares, reason] => Says::Cancelled { shares: number(shares), reason: reason.as_bytes()[0] },
        ["aiq", shares] => Says::Aiq { shares: number(shares) },
        ["executed", shares, "@", price, "match", execution, flag] => Says::Executed {
            shares: number(shares),
            raw: raw(price),
            execution: number(execution),
            flag: flag.as_bytes()[0],
        },
        // Both versions' codes: a number, and a letter.
        ["rejected", code, letter] => {
            let letter = u16::from(letter.as_bytes()[0]);
            Says::Rejected { code: if protocol == Protocol::Ouch50 { number(code) } else { letter } }
        }
        ["cancel_pending"] => Says::CancelPending,
        ["cancel_rejected"] => Says::CancelRejected,
        ["modified", "open", open] => Says::Modified { open: number(open) },
        ["broken", "match", execution] => Says::Broken { execution: number(execution) },
        ["corrected", "match", execution, "@", price] => {
            Says::Corrected { execution: number(execution), raw: raw(price) }
        }
        ["moved"] => Says::Moved,
        ["restated"] => Says::Restated,
        ["next"] => Says::Next,
        ["system"] => Says::System,
        other => panic!("a venue does not say {other:?}"),
    }
}

fn output(words: &[&str]) -> Output {
    let instrument = InstrumentId(0);
    match words {
        ["submit", id, side, shares, "@", limit, rest @ ..] => {
            let side = if *side == "buy" { Side::Buy } else { Side::Sell };
            let life = if rest.contains(&"ioc") { TimeInForce::Ioc } else { TimeInForce::Day };
            let mut order = order(number(id), side, 0, price(limit), life);
            order.quantity = Quantity((number::<f64>(shares) * 1e8).round() as i64);
            if rest.contains(&"elsewhere") {
                order.instrument = InstrumentId(1);
            }
            if rest.contains(&"stop") {
                order.terms.stop = Price::whole(9);
            }
            Output::Submit(order)
        }
        ["cancel", id] => Output::Cancel { order: OrderId(number(id)), instrument },
        ["replace", id, "to", shares, "@", limit] => {
            let quantity = Quantity((number::<f64>(shares) * 1e8).round() as i64);
            Output::Replace { order: OrderId(number(id)), instrument, quantity, price: price(limit) }
        }
        other => panic!("no output of the engine: {other:?}"),
    }
}

/// An input of a journal.
fn input(words: &[&str]) -> Event {
    let quantity = |word: &str| Quantity::whole(number(word));
    let (order, kind) = match words {
        ["heard", session, next] => {
            let mut name = [0; 16];
            name[..10].copy_from_slice(&helios_wire::alpha::<10>(session).expect("a short name"));
            let (name, next) = (u128::from_le_bytes(name), number(next));
            return Event::Link(Link::Heard { session: 3, name, next });
        }
        ["report", order, "accepted"] => (order, ReportKind::Accepted { book_ref: 7 }),
        ["report", order, "filled", shares, "execution", execution] => {
            let (execution, quantity, price) = (number(execution), quantity(shares), Price::whole(10));
            let (liquidity, fee) = (Liquidity::Maker, Cash::ZERO);
            (order, ReportKind::Filled { execution, price, quantity, liquidity, fee })
        }
        ["report", order, "replaced", "to", shares, "@", limit] => {
            (order, ReportKind::Replaced { quantity: quantity(shares), price: price(limit) })
        }
        ["report", order, "cancelled"] => (order, ReportKind::Cancelled { reason: CancelReason::Requested }),
        ["report", order, "rejected"] => (order, ReportKind::Rejected { reason: RejectReason::Other }),
        ["report", order, "never_arrived"] => (order, ReportKind::Rejected { reason: RejectReason::NeverArrived }),
        ["report", order, "change_rejected"] => (order, ReportKind::ChangeRejected { reason: RejectReason::Other }),
        other => panic!("no input of the engine: {other:?}"),
    };
    let (order, instrument, ts_event) = (OrderId(number(order)), InstrumentId(0), Nanos(0));
    Event::Report(Report { order, instrument, ts_event, kind })
}
