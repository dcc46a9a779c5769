//! A real process is killed at random moments: whatever had left it is in its journal. And one whose disk is full stops
//! in order.
//!
//! The child is this test again, told by the environment what to do.

mod folder;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use folder::Folder;
use helios_engine::{Config, State};
use helios_journal::{Reader, Record};
use helios_live::{Durability, Engine, Journal, JournalSettings};
use helios_types::{
    Cash, Event, Instrument, InstrumentId, Intent, IntentKind, Market, Nanos, OrderId, Output, Price, Quantity, Rng,
    Side, StrategyId, Terms, TimeInForce, Update,
};

const CHILD: &str = "HELIOS_TEST_CHILD";
const DURABILITY: &str = "HELIOS_TEST_DURABILITY";
const CALLER_IDS: u64 = 1 << 31;

fn state() -> State {
    let instrument = Instrument { symbol: "A".to_owned(), tick: Price(10_000_000), lot: Quantity::whole(1) };
    State::new(Config {
        instruments: vec![instrument],
        holds: Vec::new(),
        nodes: Vec::new(),
        series: Vec::new(),
        limits: helios_risk::Limits::default(),
        feeds: helios_risk::Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: helios_execution::Style::Market,
        capacity: Default::default(),
    })
    .expect("a sound configuration")
}

fn quote(number: u64) -> Event {
    let (bid, ask) = (Price::whole(10 + (number % 7) as i64), Price::whole(20 + (number % 5) as i64));
    let quantity = Quantity::whole(1);
    let update = Update::Quote { bid, ask, bid_quantity: quantity, ask_quantity: quantity };
    Event::Market(Market { instrument: InstrumentId(0), ts_event: Nanos(number), update })
}

fn order(number: u64) -> Event {
    let kind = IntentKind::Order {
        id: OrderId(CALLER_IDS + number),
        side: Side::Buy,
        quantity: Quantity::whole(1),
        price: Price::whole(10),
        time_in_force: TimeInForce::Ioc,
        terms: Terms::PLAIN,
    };
    Event::Intent(Intent { strategy: StrategyId(0), instrument: InstrumentId(0), kind })
}

/// Quotes and orders for ever; every order that may leave is a line of standard output.
fn child(directory: &Path) {
    let durability = if env::var(DURABILITY).as_deref() == Ok("disk") { Durability::Disk } else { Durability::Process };
    let settings = JournalSettings { durability, window: 64 << 10, ..JournalSettings::default() };
    let journal = Journal::create(&directory.join("live.journal"), b"{}", settings, Vec::new()).unwrap();
    let mut engine = Engine::new(state(), Some(journal));
    let mut out = std::io::stdout().lock();
    for number in 0.. {
        let event = if number % 3 == 2 { order(number) } else { quote(number) };
        match engine.event(Nanos(number), event) {
            Ok(_) => {}
            Err(error) => {
                writeln!(out, "error {error}").unwrap();
                return;
            }
        }
        let journal = engine.journal().unwrap();
        let written = journal.written();
        if engine.outputs().iter().any(|output| matches!(output, Output::Submit(_))) {
            while journal.committed() < written {
                std::thread::yield_now();
            }
            writeln!(out, "sent {} {}", engine.input().seq, number).unwrap();
            out.flush().unwrap();
        }
        if let Some(trouble) = journal.trouble() {
            writeln!(out, "trouble {trouble}").unwrap();
            engine.end().unwrap();
            return;
        }
    }
}

fn spawn(place: &Folder, durability: &str, shell: Option<&str>) -> std::process::Child {
    let own = env::current_exe().unwrap();
    let arguments = ["--exact", "the_child", "--nocapture", "--quiet"];
    let mut command = match shell {
        None => Command::new(own),
        Some(before) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(own);
            command
        }
    };
    command.args(arguments).env(CHILD, &place.0).env(DURABILITY, durability).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Inputs and orders in the journal, as far as it is whole; a replay says the same.
fn read(place: &Folder) -> (u64, BTreeSet<u64>) {
    let bytes = fs::read(place.journal()).unwrap();
    let (mut reader, mut inputs, mut orders) = (Reader::new(), 0, BTreeSet::new());
    reader.push(&bytes);
    while let Ok(Some(record)) = reader.next_record() {
        match record {
            Record::Input(input) => {
                inputs += 1;
                if let Event::Intent(_) = input.event {
                    orders.insert(input.seq);
                }
            }
            Record::Output { .. } | Record::Config(_) | Record::End(_) => {}
        }
    }
    let replayed = helios_io::replay(&place.journal(), &mut state()).unwrap();
    assert_eq!((replayed.difference, replayed.inputs), (None, inputs));
    (inputs, orders)
}

/// What a child is when this file is run without a word of it: nothing.
#[test]
fn the_child() {
    if let Some(directory) = env::var_os(CHILD) {
        child(Path::new(&directory));
    }
}

fn kill_at_random_moments(durability: &str, rounds: u64, most: u64) {
    let mut rng = Rng::new(11);
    for round in 0..rounds {
        let place = Folder::new(&format!("killed-{durability}-{round}"));
        let mut child = spawn(&place, durability, None);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let after = rng.below(most);
        let (mut sent, mut killed) = (Vec::new(), false);
        for line in lines {
            let Ok(line) = line else { break };
            // The last line may be cut.
            let Some(seq) = line.strip_prefix("sent ").and_then(|rest| rest.split(' ').next()?.parse().ok()) else {
                continue;
            };
            sent.push(seq);
            if sent.len() as u64 > after && !killed {
                // SIGKILL, in the middle of whatever it does; what it had said comes still.
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(sent.len() as u64 > after, "round {round}: the child ended by itself");
        let (inputs, orders) = read(&place);
        let lost: Vec<&u64> = sent.iter().filter(|seq| !orders.contains(seq)).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {} orders left, of {inputs} inputs these are lost: {lost:?}",
            sent.len()
        );
    }
}

#[test]
fn a_killed_process_has_journaled_whatever_left_it() {
    kill_at_random_moments("process", 20, 4000);
}

#[test]
fn with_the_disk_too() {
    kill_at_random_moments("disk", 4, 60);
}

#[test]
fn a_full_disk_is_an_orderly_end_and_no_signal() {
    // A limit on the file's size is as good as a full disk: 512 blocks of 512 bytes, four windows.
    let place = Folder::new("killed-full");
    let mut child = spawn(&place, "process", Some("trap '' XFSZ; ulimit -f 512"));
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "it was not killed by a signal");
    let trouble = lines.iter().find_map(|line| line.strip_prefix("trouble ")).expect("it said why");
    assert!(trouble.contains("the disk has no room for the next 65536 bytes"), "{trouble}");
    assert!(!lines.iter().any(|line| line.starts_with("error ")), "there was room for the end");
    let replayed = helios_io::replay(&place.journal(), &mut state()).unwrap();
    assert_eq!((replayed.difference, replayed.damage), (None, None), "the journal is closed");
}
