//! Strategies with a memory, whose process is killed at any byte: they remember what they remembered, go on as if nothing
//! had been, and who does not do again what it did is named.

mod folder;

use std::collections::BTreeMap;
use std::fs;

use folder::Folder;
use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::{CALLER_IDS, Style};
use helios_io::{Callbacks, SourceError};
use helios_journal::{Reader, Record, Writer};
use helios_live::{Recall, Recalled, Recorded, Witness, recover, write_snapshot};
use helios_risk::{Feeds, Limits};
use helios_types::{
    Cash, Event, Input, Instrument, InstrumentId, Intent, IntentKind, Link, Liquidity, Load, Market, Nanos, OrderId,
    Output, Persist, Price, Quantity, Report, ReportKind, Rng, Rule, Save, Side, StrategyId, Terms, TimeInForce, Timer,
    Update,
};
use helios_venue::Venues;

fn fresh() -> Result<State, SourceError> {
    let instrument = |symbol: &str| Instrument { symbol: symbol.to_owned(), tick: Price(1), lot: Quantity::whole(1) };
    let config = Config {
        instruments: vec![instrument("KO"), instrument("PEP")],
        holds: Vec::new(),
        nodes: Vec::new(),
        series: Vec::new(),
        limits: Limits { position: Some(Quantity::whole(60)), ..Limits::default() },
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 0 },
        capacity: Capacity { orders: 64, levels: 64 },
    };
    State::new(config).map_err(|error| SourceError { source: "test".to_owned(), message: error.to_string() })
}

/// One strategy, and all that it remembers.
#[derive(Clone, Debug, PartialEq)]
struct Mind {
    id: u32,
    heard: u64,
    ema: f64,
    timers: u64,
    refusals: u64,
    unlinked: u64,
    next_id: u64,
    /// State of each order, by number.
    orders: BTreeMap<u64, (u32, u64)>,
}

impl Mind {
    fn new(id: u32) -> Self {
        let (heard, ema, timers, refusals, unlinked) = (0, 50.0, 0, 0, 0);
        Self { id, heard, ema, timers, refusals, unlinked, next_id: u64::from(id) << 24, orders: BTreeMap::new() }
    }

    fn save(&self, save: &mut Save) {
        (self.id, self.heard, self.ema).save(save);
        (self.timers, self.refusals, self.unlinked).save(save);
        (self.next_id, self.orders.clone()).save(save);
    }

    fn load(load: &mut Load<'_>) -> Self {
        let (id, heard, ema) = Persist::load(load).unwrap();
        let (timers, refusals, unlinked) = Persist::load(load).unwrap();
        let (next_id, orders) = Persist::load(load).unwrap();
        Self { id, heard, ema, timers, refusals, unlinked, next_id, orders }
    }

    fn buy(&mut self, instrument: InstrumentId, quantity: i64, wishes: &mut Vec<Intent>) {
        self.next_id += 1;
        let id = OrderId(CALLER_IDS + self.next_id);
        self.orders.insert(id.0, (instrument.0, 0));
        let side = if self.heard.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let kind = IntentKind::Order {
            id,
            side,
            quantity: Quantity::whole(quantity),
            price: Price((self.ema * 1e9) as i64),
            time_in_force: if self.heard.is_multiple_of(3) { TimeInForce::Ioc } else { TimeInForce::Day },
            terms: Terms::PLAIN,
        };
        wishes.push(Intent { strategy: StrategyId(self.id), instrument, kind });
    }

    fn hear(&mut self, input: &Input, outputs: &[Output], salt: u64, wishes: &mut Vec<Intent>) {
        self.heard += 1;
        match &input.event {
            Event::Market(Market { instrument, update: Update::Quote { bid, .. }, .. }) => {
                self.ema += (bid.to_f64() - self.ema) * 0.1;
                let turn = (self.heard + salt) % 5;
                for quantity in 1..=(2_u64.saturating_sub(turn) as i64) {
                    self.buy(*instrument, quantity, wishes);
                }
            }
            Event::Timer(_) => {
                self.timers += 1;
                if let Some((order, (instrument, _))) = self.orders.iter().next() {
                    let (order, instrument) = (OrderId(*order), InstrumentId(*instrument));
                    let kind = IntentKind::Cancel { order };
                    wishes.push(Intent { strategy: StrategyId(self.id), instrument, kind });
                }
            }
            _ => {}
        }
        for output in outputs {
            match output {
                Output::State(change) if (change.order.0 - CALLER_IDS) >> 24 == u64::from(self.id) => {
                    if change.to.is_done() {
                        self.orders.remove(&change.order.0);
                    } else {
                        self.orders.insert(change.order.0, (change.instrument.0, change.to as u64));
                    }
                }
                Output::Refused(refusal) if refusal.strategy.0 == self.id => {
                    self.refusals += 1;
                    self.unlinked += u64::from(refusal.rule == Rule::Unlinked);
                    // A wish that answers a wish.
                    if self.refusals.is_multiple_of(3) {
                        self.buy(refusal.instrument, 1, wishes);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Two strategies.
#[derive(Clone, Debug, PartialEq)]
struct Minds {
    minds: [Mind; 2],
    saves: bool,
    /// The second is another one, or not itself.
    salt: u64,
    /// An exception of the first, when it has heard so much.
    fails_at: u64,
    replaying: bool,
}

impl Minds {
    fn new(saves: bool) -> Self {
        Self { minds: [Mind::new(1), Mind::new(2)], saves, salt: 0, fails_at: u64::MAX, replaying: false }
    }
}

impl Callbacks for Minds {
    fn after(
        &mut self,
        input: &Input,
        outputs: &[Output],
        _: &State,
        _: Option<&Venues>,
        wishes: &mut Vec<Intent>,
    ) -> Result<(), SourceError> {
        let [first, second] = &mut self.minds;
        first.hear(input, outputs, 0, wishes);
        if first.heard == self.fails_at {
            return Err(SourceError { source: "strategy".to_owned(), message: "division by zero".to_owned() });
        }
        second.hear(input, outputs, self.salt, wishes);
        Ok(())
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let mut save = Save::default();
        self.minds.iter().for_each(|mind| mind.save(&mut save));
        Ok(self.saves.then_some(save.0))
    }

    fn load(&mut self, saved: &[u8]) -> Result<bool, SourceError> {
        let mut load = Load(saved);
        if self.saves {
            self.minds = [Mind::load(&mut load), Mind::load(&mut load)];
        }
        Ok(self.saves)
    }

    fn replaying(&mut self, begins: bool) {
        self.replaying = begins;
    }
}

/// The market and the venue.
struct World {
    rng: Rng,
    answers: Vec<Event>,
    executions: u64,
}

impl World {
    fn next(&mut self) -> Event {
        if !self.answers.is_empty() && self.rng.below(2) == 0 {
            return self.answers.remove(0);
        }
        let bid = Price(50_000_000_000 + self.rng.below(9) as i64 * 10_000_000);
        let (ask, quantity) = (Price(bid.0 + 10_000_000), Quantity::whole(500));
        let update = Update::Quote { bid, bid_quantity: quantity, ask, ask_quantity: quantity };
        match self.rng.below(6) {
            0 => Event::Timer(Timer { id: 1 }),
            1 => Event::Link(Link::Heard { session: 0, name: 9, next: 1 }),
            _ => {
                Event::Market(Market { instrument: InstrumentId(self.rng.below(2) as u32), ts_event: Nanos(0), update })
            }
        }
    }

    fn hear(&mut self, output: &Output) {
        let report = |order, instrument, kind| Event::Report(Report { order, instrument, ts_event: Nanos(0), kind });
        match output {
            Output::Submit(order) => {
                self.executions += 1;
                let (execution, price, quantity) = (self.executions, order.price, order.quantity);
                let (liquidity, fee) = (Liquidity::Taker, Cash::ZERO);
                self.answers.push(report(order.id, order.instrument, ReportKind::Accepted { book_ref: order.id.0 }));
                if order.time_in_force == TimeInForce::Ioc {
                    let filled = ReportKind::Filled { execution, price, quantity, liquidity, fee };
                    self.answers.push(report(order.id, order.instrument, filled));
                }
            }
            Output::Cancel { order, instrument } => {
                let kind = ReportKind::Cancelled { reason: helios_types::CancelReason::Requested };
                self.answers.push(report(*order, *instrument, kind));
            }
            _ => {}
        }
    }
}

/// A process, as the driver makes one: journal, step, strategies, and their wishes as inputs, first come, first served.
struct Process {
    state: State,
    minds: Minds,
    writer: Writer,
    bytes: Vec<u8>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    mute: bool,
}

impl Process {
    fn first(minds: Minds) -> Self {
        let (state, writer) = (fresh().unwrap(), Writer::new(b"{}").unwrap());
        Self { state, minds, writer, bytes: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), mute: false }
    }

    fn one(&mut self, event: Event, wishes: &mut Vec<Intent>) {
        let seq = self.state.next_seq();
        let input = Input { seq, ts: Nanos(seq * 1_000), event };
        let first = self.outputs.len();
        self.writer.input(&input);
        step(&mut self.state, &input, &mut self.outputs);
        self.outputs[first..].iter().for_each(|output| self.writer.output(seq, output));
        self.inputs.push(input);
        if !self.mute {
            let mut fresh = Vec::new();
            match self.minds.after(&input, &self.outputs[first..], &self.state, None, &mut fresh) {
                Ok(()) => wishes.append(&mut fresh),
                Err(_) => self.mute = true,
            }
        }
        self.bytes.extend_from_slice(self.writer.pending());
        self.writer.clear_pending();
    }

    fn grant(&mut self, mut wishes: Vec<Intent>) {
        while !wishes.is_empty() {
            let wish = wishes.remove(0);
            self.one(Event::Intent(wish), &mut wishes);
        }
    }

    fn event(&mut self, event: Event) {
        let mut wishes = Vec::new();
        self.one(event, &mut wishes);
        self.grant(wishes);
    }

    fn snapshot(&mut self, folder: &Folder) {
        let saved: Vec<Vec<u8>> = self.minds.save().unwrap().into_iter().collect();
        write_snapshot(&folder.0, &self.state, &self.writer.position().unwrap(), &saved).unwrap();
    }
}

fn linked() -> [Event; 3] {
    let session = 0;
    [Link::Down { session }, Link::Up { session }, Link::Settled { session }].map(Event::Link)
}

/// A run of so many events from outside, with snapshots behind some of them.
fn lived(folder: &Folder, seed: u64, events: u64, saves: bool, fails_at: u64) -> Process {
    let mut world = World { rng: Rng::new(seed), answers: Vec::new(), executions: 0 };
    let mut process = Process::first(Minds { fails_at, ..Minds::new(saves) });
    linked().into_iter().for_each(|event| process.event(event));
    for at in 0..events {
        let (event, before) = (world.next(), process.outputs.len());
        process.event(event);
        process.outputs[before..].iter().for_each(|output| world.hear(output));
        if saves && at % 40 == 39 {
            process.snapshot(folder);
        }
    }
    process
}

struct Ears(Recall<Minds>);

impl Witness for Ears {
    fn resume(&mut self, stations: &[Vec<u8>], _: &State) -> Result<bool, SourceError> {
        self.0.resume(stations)
    }
    fn recorded(&mut self, _: &Recorded<'_>) {}
    fn stepped(&mut self, input: &Input, outputs: &[Output], state: &State) {
        self.0.hear(input, outputs, state);
    }
}

/// What a new process has of the folder's journal.
fn brought_back(folder: &Folder, minds: Minds) -> (helios_live::Recovered, Recalled<Minds>) {
    let mut ears = Ears(Recall::new(minds));
    let found = recover(&folder.journal(), fresh, &mut ears, false).expect("a sound journal");
    (found, ears.0.finish())
}

#[test]
fn whoever_is_killed_goes_on_as_if_nothing_had_been() {
    let (mut granted, mut shortened) = (0, 0);
    for seed in 0..24 {
        for saves in [false, true] {
            let folder = Folder::new(&format!("recall-killed-{seed}-{saves}"));
            let whole = lived(&folder, seed, 150, saves, u64::MAX);
            let mut rng = Rng::new(seed + 99);
            for _ in 0..6 {
                let cut = whole.bytes.len() / 8 + rng.below(whole.bytes.len() as u64 * 7 / 8) as usize;
                fs::write(folder.journal(), &whole.bytes[..cut]).unwrap();
                let (found, recalled) = brought_back(&folder, Minds::new(saves));
                assert_eq!(recalled.doubts, [""; 0]);
                assert!(!recalled.callbacks.replaying);
                shortened += u64::from(found.snapshot > 0);
                assert!(saves || found.snapshot == 0, "without the memory a snapshot is worth nothing");
                granted += recalled.wishes.len();
                let (state, minds) = (found.state, recalled.callbacks);
                let (begun, mut next) = (state.next_seq() as usize, state.next_seq() as usize);
                let (inputs, outputs, mute) = (Vec::new(), Vec::new(), false);
                let writer = Writer::resume(found.position);
                let mut process = Process { state, minds, writer, bytes: Vec::new(), inputs, outputs, mute };
                process.grant(recalled.wishes);
                // What comes from outside is the same, and so are the wishes.
                for input in &whole.inputs[begun..] {
                    if !matches!(input.event, Event::Intent(_)) {
                        assert_eq!(process.state.next_seq(), input.seq, "seed {seed}, cut at {cut}");
                        process.event(input.event);
                    }
                    next += 1;
                }
                assert_eq!(next, whole.inputs.len());
                assert_eq!(process.inputs, whole.inputs[begun..], "seed {seed}, cut at {cut}");
                assert!(whole.outputs.ends_with(&process.outputs));
                assert_eq!(process.state.digest(), whole.state.digest());
                assert_eq!(process.minds, whole.minds, "seed {seed}, cut at {cut}");
            }
        }
    }
    assert!(granted > 20 && shortened > 20, "{granted} wishes were under way, {shortened} snapshots used");
}

#[test]
fn what_was_wished_and_not_journaled_is_refused_after_the_restart_and_heard() {
    let mut refused = 0;
    for seed in 0..30 {
        let folder = Folder::new(&format!("recall-refused-{seed}"));
        let mut rng = Rng::new(seed);
        let mut process = lived(&folder, seed, 60, seed % 2 == 0, u64::MAX);
        for kill in 0..5 {
            let cut = process.bytes.len() - rng.below(process.bytes.len() as u64 / 6) as usize;
            process.bytes.truncate(cut);
            fs::write(folder.journal(), &process.bytes).unwrap();
            let (found, recalled) = brought_back(&folder, Minds::new(seed % 2 == 0));
            assert_eq!(recalled.doubts, [""; 0], "seed {seed}, kill {kill}");
            let (whole, alone) = {
                let other = Folder::new(&format!("recall-refused-alone-{seed}"));
                fs::write(other.journal(), &process.bytes).unwrap();
                brought_back(&other, Minds::new(false))
            };
            assert_eq!(
                (whole.snapshot, &alone.callbacks.minds),
                (0, &recalled.callbacks.minds),
                "from a snapshot or not"
            );
            assert_eq!(alone.wishes, recalled.wishes);
            process.bytes.truncate(found.position.offset() as usize);
            (process.state, process.minds) = (found.state, recalled.callbacks);
            process.writer = Writer::resume(found.position);
            let last = process.state.next_seq().saturating_sub(1);
            found.missing.iter().for_each(|output| process.writer.output(last, output));
            let unlinked = |minds: &Minds| minds.minds.iter().map(|mind| mind.unlinked).sum::<u64>();
            let before = unlinked(&process.minds);
            let orders =
                recalled.wishes.iter().filter(|wish| matches!(wish.kind, IntentKind::Order { .. })).count() as u64;
            let from = process.outputs.len();
            let mut wishes = recalled.wishes;
            let [down, up, settled] = linked();
            process.one(down, &mut wishes);
            process.grant(wishes);
            assert!(unlinked(&process.minds) >= before + orders, "each heard of it");
            assert!(!process.outputs[from..].iter().any(|output| matches!(output, Output::Submit(_))));
            refused += orders;
            process.event(up);
            process.event(settled);
            let mut world = World { rng: Rng::new(seed + 7), answers: Vec::new(), executions: 1_000 * (kill + 1) };
            for _ in 0..40 {
                let event = world.next();
                process.event(event);
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn who_does_not_do_again_what_it_did_is_named_and_the_others_are_not() {
    let folder = Folder::new("recall-other");
    let process = lived(&folder, 5, 120, false, u64::MAX);
    fs::write(folder.journal(), &process.bytes).unwrap();
    let (_, recalled) = brought_back(&folder, Minds { salt: 1, ..Minds::new(false) });
    let [doubt] = recalled.doubts.as_slice() else { panic!("{:?}", recalled.doubts) };
    assert!(doubt.starts_with("strategy 2 does not do again what it did: a"), "{doubt}");
    let first = process.inputs.iter().find_map(|input| match input.event {
        Event::Intent(wish) if wish.strategy == StrategyId(2) => Some(input.seq),
        _ => None,
    });
    let number = doubt.split_once("input ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    assert!(number.is_some_and(|number: u64| number <= first.unwrap()), "{doubt}");
    assert!(doubt.contains("more differ") && doubt.contains("Its code has changed"), "{doubt}");
    assert_eq!(recalled.callbacks.minds[0], process.minds.minds[0], "the other one's memory is right");
}

#[test]
fn as_many_wishes_that_are_others_are_told_with_the_input_of_the_first() {
    let folder = Folder::new("recall-price");
    let process = lived(&folder, 5, 120, false, u64::MAX);
    fs::write(folder.journal(), &process.bytes).unwrap();
    let mut other = Minds::new(false);
    other.minds[1].ema += 1.0;
    let (_, recalled) = brought_back(&folder, other);
    let [doubt] = recalled.doubts.as_slice() else { panic!("{:?}", recalled.doubts) };
    let first = process.inputs.iter().find_map(|input| match input.event {
        Event::Intent(wish) if wish.strategy == StrategyId(2) => Some(input.seq),
        _ => None,
    });
    let said = format!("strategy 2 does not do again what it did: at input {} it wished to ", first.unwrap());
    assert!(doubt.starts_with(&said) && doubt.contains(" then, and to "), "{doubt}");
    assert_eq!(recalled.callbacks.minds[0], process.minds.minds[0]);
}

#[test]
fn an_exception_is_told_and_the_strategies_are_called_again_when_sessions_go_down() {
    let folder = Folder::new("recall-fails");
    let mut process = lived(&folder, 6, 80, false, 70);
    assert!(process.mute);
    let failed = process.minds.clone();
    fs::write(folder.journal(), &process.bytes).unwrap();
    let (_, recalled) = brought_back(&folder, Minds { fails_at: 70, ..Minds::new(false) });
    let [doubt] = recalled.doubts.as_slice() else { panic!("{:?}", recalled.doubts) };
    assert!(doubt.contains("failed at input") && doubt.contains("division by zero"), "{doubt}");
    assert_eq!((recalled.callbacks, recalled.wishes), (failed, Vec::new()));
    // The next process: they are heard again, and all that they wish is found.
    process.mute = false;
    linked().into_iter().for_each(|event| process.event(event));
    let mut world = World { rng: Rng::new(3), answers: Vec::new(), executions: 5_000 };
    (0..40).for_each(|_| process.event(world.next()));
    fs::write(folder.journal(), &process.bytes).unwrap();
    let (_, recalled) = brought_back(&folder, Minds { fails_at: 70, ..Minds::new(false) });
    assert_eq!(recalled.doubts.len(), 1, "{:?}", recalled.doubts);
    assert_eq!(recalled.callbacks, process.minds);
}

#[test]
fn a_journal_is_read_no_further_than_it_is_whole() {
    let folder = Folder::new("recall-began");
    let process = lived(&folder, 1, 5, false, u64::MAX);
    let mut reader = Reader::new();
    reader.push(&process.bytes);
    let Ok(Some(Record::Config(_))) = reader.next_record() else { panic!("it begins with it") };
    fs::write(folder.journal(), &process.bytes[..30]).unwrap();
    assert_eq!(helios_live::began(&folder.journal()).unwrap(), None);
    fs::write(folder.journal(), &process.bytes).unwrap();
    assert_eq!(helios_live::began(&folder.journal()).unwrap(), Some(process.inputs[0].ts));
}
