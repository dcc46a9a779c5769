//! A live run whose process is killed at any byte: what is recovered goes on to the same journal, with and without
//! snapshots, and a replay of the whole says the same.

mod folder;

use std::fs;
use std::path::Path;

use folder::Folder;
use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::{CALLER_IDS, Style};
use helios_io::{Ends, SourceError, replay};
use helios_journal::{Reader, Record, Writer};
use helios_live::{Follower, MAX_TORN, Recorded, Witness, recover, write_snapshot};
use helios_risk::{Feeds, Limits};
use helios_signals::{Binary, Field, Node, NodeId, Sizing, Stat, Window};
use helios_types::{
    Cash, Control, Event, Input, Instrument, InstrumentId, Intent, IntentKind, Link, Liquidity, Market, Nanos, OrderId,
    Output, Price, Quantity, Report, ReportKind, Rng, Side, StrategyId, Terms, TimeInForce, Update,
};

fn fresh() -> Result<State, SourceError> {
    Ok(made(1.0))
}

fn made(enter: f64) -> State {
    let source = |id: u32| Node::Source { instrument: InstrumentId(id), field: Field::Mid };
    let [x, y, spread, window, z, held] = [0, 1, 2, 3, 4, 5].map(NodeId);
    let instrument = |symbol: &str| Instrument { symbol: symbol.to_owned(), tick: Price(1), lot: Quantity::whole(1) };
    let config = Config {
        instruments: vec![instrument("KO"), instrument("PEP")],
        holds: Vec::new(),
        nodes: vec![
            source(0),
            source(1),
            Node::Binary { op: Binary::Sub, x, y },
            Node::window(spread, Window::Count(5)),
            Node::Read { of: window, stat: Stat::ZScore },
            Node::Hysteresis { x: z, enter, exit: 0.2 },
            Node::Record { x: held, signal: 0, input: z },
            Node::Target {
                x: held,
                strategy: StrategyId(0),
                instrument: InstrumentId(0),
                sizing: Sizing::Quantity(Quantity::whole(20)),
            },
        ],
        series: Vec::new(),
        limits: Limits { position: Some(Quantity::whole(100)), ..Limits::default() },
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 0 },
        capacity: Capacity { orders: 64, levels: 64 },
    };
    State::new(config).expect("a sound configuration")
}

/// What comes to the engine, and how the venue answers what it sends.
struct World {
    rng: Rng,
    /// Reports on their way, oldest first.
    answers: Vec<Event>,
    mine: u64,
}

impl World {
    fn next(&mut self, seq: u64) -> Event {
        if seq < 3 {
            let session = 0;
            return Event::Link(
                [Link::Down { session }, Link::Up { session }, Link::Settled { session }][seq as usize],
            );
        }
        if !self.answers.is_empty() && self.rng.below(2) == 0 {
            return self.answers.remove(0);
        }
        let instrument = InstrumentId(self.rng.below(2) as u32);
        match self.rng.below(12) {
            0 => {
                self.mine += 1;
                let (side, terms) = (Side::Buy, Terms::PLAIN);
                let (id, quantity, price) = (OrderId(CALLER_IDS + self.mine), Quantity::whole(3), Price::whole(49));
                let kind = IntentKind::Order { id, side, quantity, price, time_in_force: TimeInForce::Day, terms };
                Event::Intent(Intent { strategy: StrategyId(1), instrument, kind })
            }
            1 => Event::Link(Link::Heard { session: 0, name: 9, next: seq }),
            2 if seq.is_multiple_of(5) => Event::Control(Control::Flatten),
            3 => Event::Control(Control::Resume),
            _ => {
                let bid = Price(50_000_000_000 + self.rng.below(9) as i64 * 10_000_000);
                let (ask, quantity) = (Price(bid.0 + 10_000_000), Quantity::whole(500));
                let update = Update::Quote { bid, bid_quantity: quantity, ask, ask_quantity: quantity };
                Event::Market(Market { instrument, ts_event: Nanos(seq), update })
            }
        }
    }

    fn hear(&mut self, output: &Output, execution: u64) {
        let Output::Submit(order) = output else { return };
        let report =
            |kind| Event::Report(Report { order: order.id, instrument: order.instrument, ts_event: Nanos(0), kind });
        let (price, quantity, liquidity) = (order.price, order.quantity, Liquidity::Taker);
        self.answers.push(report(ReportKind::Accepted { book_ref: order.id.0 }));
        if order.time_in_force == TimeInForce::Ioc {
            let fee = Cash(5);
            self.answers.push(report(ReportKind::Filled { execution, price, quantity, liquidity, fee }));
        }
    }
}

/// A run of so many inputs as its process writes it: an input is there before its outputs, and these come with the next
/// input. Snapshots are written after the inputs of `at`.
fn written(folder: &Folder, seed: u64, inputs: u64, snapshots: &[u64], stations: &[Vec<u8>]) -> (Vec<u8>, Vec<Output>) {
    let mut world = World { rng: Rng::new(seed), answers: Vec::new(), mine: 0 };
    let (mut state, mut writer) = (fresh().unwrap(), Writer::new(b"{\"live\": true}").unwrap());
    let mut all = Vec::new();
    for seq in 0..inputs {
        let input = Input { seq, ts: Nanos(seq * 1_000_000), event: world.next(seq) };
        let mut out = Vec::new();
        writer.input(&input);
        step(&mut state, &input, &mut out);
        out.iter().for_each(|output| world.hear(output, seq + 1));
        out.iter().for_each(|output| writer.output(seq, output));
        all.extend(out);
        if snapshots.contains(&seq) {
            write_snapshot(&folder.0, &state, &writer.position().unwrap(), stations).expect("a snapshot");
        }
    }
    (writer.pending().to_vec(), all)
}

/// Everything that the stations are told.
#[derive(Default)]
struct Stations {
    knows: bool,
    found: Vec<Vec<u8>>,
    told: Vec<Output>,
}

impl Witness for Stations {
    fn begin(&mut self, stations: &[Vec<u8>]) -> bool {
        self.found = stations.to_vec();
        self.knows
    }

    fn recorded(&mut self, recorded: &Recorded<'_>) {
        self.told.extend(said(recorded));
    }
}

fn said(recorded: &Recorded<'_>) -> Option<Output> {
    if let Recorded::Output(output) = *recorded { Some(*output) } else { None }
}

/// The journal from its beginning, replayed by hand.
fn by_hand(journal: &[u8]) -> (State, Vec<Output>) {
    let (mut reader, mut state, mut all) = (Reader::new(), fresh().unwrap(), Vec::new());
    reader.push(journal);
    while let Ok(Some(record)) = reader.next_record() {
        if let Record::Input(input) = record {
            step(&mut state, &input, &mut all);
        }
    }
    (state, all)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn killed_at_every_byte_it_goes_on_as_if_nothing_had_happened() {
    let folder = Folder::new("recovery-bytes");
    let (bytes, _) = written(&folder, 3, 120, &[40, 80], &[]);
    let (mut with_snapshot, mut whole, mut missing) = (0, 0, 0);
    let header = bytes.len() - 1;
    for cut in (60..bytes.len()).step_by(17).chain([header]) {
        // A mapped file: what was not written is zeros.
        let mut file = bytes[..cut].to_vec();
        file.resize(cut + if cut % 2 == 0 { 4096 } else { 0 }, 0);
        fs::write(folder.journal(), &file).unwrap();
        let torn = replay(&folder.journal(), &mut fresh().unwrap()).unwrap();
        assert!(matches!(torn.ends, Ends::Open | Ends::Torn) && torn.difference.is_none(), "{torn:?}");
        let mut stations = Stations::default();
        let recovered = recover(&folder.journal(), fresh, &mut stations, false).expect("a torn end is no damage");
        // Where a record ends in zeros, fewer of its bytes make it whole.
        let (state, all) = by_hand(&file);
        assert_eq!(recovered.state.digest(), state.digest(), "cut at {cut}");
        assert_eq!(recovered.position.inputs(), state.next_seq());
        assert!(recovered.position.offset() <= cut as u64 + 128 && !recovered.was_closed);
        assert_eq!(stations.told, all, "cut at {cut}: stations are told all, also what is missing");
        // Outputs that are missing, appended, make the journal what it would have been.
        let mut writer = Writer::resume(recovered.position);
        let seq = state.next_seq().saturating_sub(1);
        recovered.missing.iter().for_each(|output| writer.output(seq, output));
        let mended = [&bytes[..recovered.position.offset() as usize], writer.pending()].concat();
        assert!(bytes.starts_with(&mended), "cut at {cut}");
        missing += recovered.missing.len();
        if recovered.snapshot > 0 {
            with_snapshot += 1
        } else {
            whole += 1
        }
        // The same outputs bit for bit, in a journal that nobody closed.
        fs::write(folder.journal(), &mended).unwrap();
        let replayed = replay(&folder.journal(), &mut fresh().unwrap()).unwrap();
        assert_eq!((replayed.difference, replayed.ends), (None, Ends::Open), "cut at {cut}");
        assert_eq!(replayed.outputs, all.len() as u64);
        assert_eq!(replayed.digest, state.digest());
    }
    assert!(with_snapshot > 100 && whole > 100 && missing > 10, "{with_snapshot} {whole} {missing}");
}

/// The file grows under it as a mapped one does: bytes in front of zeros, cut anywhere, also in a record.
#[test]
fn a_follower_stands_where_a_recovery_would() {
    let folder = Folder::new("recovery-follower");
    for snapshots in [&[][..], &[40]] {
        let (bytes, all) = written(&folder, 11, 150, snapshots, &[]);
        let config = 60;
        fs::write(folder.journal(), &bytes[..config]).unwrap();
        let mut told = Vec::new();
        if !snapshots.is_empty() {
            // It opens behind the snapshot.
            fs::write(folder.journal(), &bytes).unwrap();
        }
        let mut follower =
            Follower::open(&folder.journal(), fresh, &mut |recorded: &Recorded<'_>| told.extend(said(recorded)))
                .unwrap();
        let begins = bytes.len().min(if snapshots.is_empty() { config } else { bytes.len() - 3_000 });
        let (mut at, mut rng, mut moved) = (begins, Rng::new(1), 0);
        while at < bytes.len() {
            let mut file = bytes[..at].to_vec();
            file.resize(at + if at % 2 == 0 { 4096 } else { 0 }, 0);
            fs::write(folder.journal(), &file).unwrap();
            moved += follower
                .follow(u64::MAX, &mut |recorded: &Recorded<'_>| told.extend(said(recorded)))
                .expect("no damage");
            let (by_hand, known) = by_hand(&file);
            assert_eq!(follower.state().digest(), by_hand.digest(), "at {at}");
            assert_eq!(told, known, "at {at}");
            at += 1 + rng.below(90) as usize;
        }
        assert!(moved > 20);
        fs::write(folder.journal(), &bytes).unwrap();
        let recovered = follower.finish(&mut |recorded: &Recorded<'_>| told.extend(said(recorded)), false).unwrap();
        let other = recover(&folder.journal(), fresh, &mut |_: &Recorded<'_>| {}, false).unwrap();
        assert_eq!((recovered.state.digest(), recovered.position), (other.state.digest(), other.position));
        assert_eq!((recovered.missing, told.len()), (other.missing, all.len()));
    }
}

#[test]
fn a_follower_passes_an_end_that_is_written_over_and_refuses_another_run() {
    let folder = Folder::new("recovery-follower-end");
    let (bytes, _) = written(&folder, 13, 60, &[], &[]);
    let (state, _) = by_hand(&bytes);
    let mut none = |_: &Recorded<'_>| {};
    fs::write(folder.journal(), &bytes).unwrap();
    let position = recover(&folder.journal(), fresh, &mut none, false).unwrap().position;
    let closed = |digest: u128| {
        let mut writer = Writer::resume(position);
        writer.end(digest);
        [&bytes[..], writer.pending()].concat()
    };
    fs::write(folder.journal(), closed(state.digest())).unwrap();
    let mut follower = Follower::open(&folder.journal(), fresh, &mut none).unwrap();
    assert_eq!(follower.follow(u64::MAX, &mut none).unwrap(), 60);
    // The primary was started again: where the end was, the journal goes on.
    let mut writer = Writer::resume(position);
    writer.input(&Input { seq: 60, ts: state.now(), event: Event::Control(Control::Pause) });
    fs::write(folder.journal(), [&bytes[..], writer.pending()].concat()).unwrap();
    assert_eq!(follower.follow(u64::MAX, &mut none).unwrap(), 1);
    assert!(!follower.finish(&mut none, false).unwrap().was_closed);

    fs::write(folder.journal(), closed(1)).unwrap();
    let follower = Follower::open(&folder.journal(), fresh, &mut none).unwrap();
    assert!(follower.finish(&mut none, false).is_err(), "its end is of another state");
    fs::write(folder.journal(), &bytes).unwrap();
    let mut other = Follower::open(&folder.journal(), || Ok(made(0.3)), &mut none).unwrap();
    assert!(other.follow(u64::MAX, &mut none).is_err(), "another configuration says other things");
}

#[test]
fn stations_that_know_by_the_snapshot_are_told_what_came_after_it() {
    let folder = Folder::new("recovery-stations");
    let blobs = [b"venue one".to_vec(), Vec::new()];
    let (bytes, all) = written(&folder, 5, 200, &[50, 90, 120], &blobs);
    fs::write(folder.journal(), &bytes).unwrap();
    assert_eq!(files(&folder.0).len(), 3, "the journal and the last two snapshots");
    let mut knowing = Stations { knows: true, ..Stations::default() };
    let recovered = recover(&folder.journal(), fresh, &mut knowing, false).unwrap();
    assert_eq!((recovered.snapshot, recovered.inputs), (121, 79));
    assert_eq!(knowing.found, blobs);
    let mut telling = Vec::new();
    recover(&folder.journal(), fresh, &mut |recorded: &Recorded<'_>| telling.extend(said(recorded)), false).unwrap();
    assert_eq!(telling, all);
    assert!(knowing.told.len() < all.len() && all.ends_with(&knowing.told));
}

#[test]
fn a_snapshot_that_is_not_sound_is_passed_over() {
    let folder = Folder::new("recovery-unsound");
    let (bytes, _) = written(&folder, 7, 150, &[40, 100], &[]);
    fs::write(folder.journal(), &bytes).unwrap();
    let [older, newer] = [41, 101].map(|inputs| folder.0.join(format!("state-{inputs:020}.snapshot")));
    let used = |cuts: &[&Path]| {
        for path in cuts {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }
        let recovered = recover(&folder.journal(), fresh, &mut |_: &Recorded<'_>| {}, false).unwrap();
        assert_eq!(recovered.state.digest(), by_hand(&bytes).0.digest());
        (recovered.snapshot, recovered.notes.len())
    };
    assert_eq!(used(&[]), (101, 0));
    assert_eq!(used(&[&newer]), (41, 1));
    assert_eq!(used(&[&older]), (0, 2));
    // Sound, but of another journal.
    let other = Folder::new("recovery-other");
    let (theirs, _) = written(&other, 8, 150, &[40], &[]);
    fs::write(other.journal(), &theirs).unwrap();
    fs::copy(other.0.join(format!("state-{:020}.snapshot", 41)), &older).unwrap();
    fs::remove_file(&newer).unwrap();
    assert_eq!(used(&[]), (0, 1));
    // Ahead of a journal that lost its end with the power.
    let (bytes, _) = written(&folder, 7, 150, &[100], &[]);
    fs::write(folder.journal(), &bytes[..bytes.len() / 3]).unwrap();
    let recovered = recover(&folder.journal(), fresh, &mut |_: &Recorded<'_>| {}, false).unwrap();
    assert_eq!((recovered.snapshot, recovered.notes.len()), (0, 2));
}

#[test]
fn a_journal_of_another_run_or_with_damage_is_refused() {
    let folder = Folder::new("recovery-refused");
    let (bytes, _) = written(&folder, 11, 2_500, &[], &[]);
    let said = |bytes: &[u8], enter: f64, cut_more: bool| {
        fs::write(folder.journal(), bytes).unwrap();
        recover(&folder.journal(), || Ok(made(enter)), &mut |_: &Recorded<'_>| {}, cut_more)
    };
    let message = |bytes: &[u8], enter: f64| said(bytes, enter, false).err().expect("a refusal").message;
    assert!(message(&bytes, 0.9).contains("another configuration"));
    assert!(message(b"", 1.0).contains("bytes"), "{}", message(b"", 1.0));
    assert!(message(b"not a journal, but a text that is long enough", 1.0).contains("journal"));
    // Damage in the middle: what is behind it is more than a failure leaves.
    assert!(bytes.len() as u64 > MAX_TORN + 60_000, "{}", bytes.len());
    let mut bad = bytes.clone();
    bad[50_000] ^= 1;
    let refusal = message(&bad, 1.0);
    assert!(refusal.contains("restore the file"), "{refusal}");
    let mut hole = bytes.clone();
    hole[49_000..50_000].fill(0);
    assert!(message(&hole, 1.0).contains("restore the file"));
    let cut = said(&bad, 1.0, true).expect("it was asked for").cut.expect("a cut");
    assert!(cut.offset < 50_000 && cut.offset + cut.bytes + 8 > bytes.len() as u64, "{cut}");
}

#[test]
fn a_run_that_was_closed_goes_on_before_its_end_record() {
    let folder = Folder::new("recovery-closed");
    let (bytes, _) = written(&folder, 13, 100, &[], &[]);
    let (state, _) = by_hand(&bytes);
    let mut reader = Reader::new();
    reader.push(&bytes);
    assert_eq!(reader.finish(), Ok(helios_journal::Closing::NotClosed));
    let closed = |digest| {
        let mut writer = Writer::resume(reader.position().unwrap());
        writer.end(digest);
        [&bytes[..], writer.pending()].concat()
    };
    fs::write(folder.journal(), closed(state.digest())).unwrap();
    let recovered = recover(&folder.journal(), fresh, &mut |_: &Recorded<'_>| {}, false).unwrap();
    assert_eq!((recovered.was_closed, recovered.position.offset()), (true, bytes.len() as u64));
    assert_eq!((recovered.missing, recovered.cut), (vec![], None));
    fs::write(folder.journal(), closed(state.digest() ^ 1)).unwrap();
    let refusal = recover(&folder.journal(), fresh, &mut |_: &Recorded<'_>| {}, false).err().expect("a refusal");
    assert!(refusal.message.contains("its end is of another state"), "{refusal}");
}
