//! The engine, its snapshots, and a follower of its journal.

use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::{CALLER_IDS, Style};
use helios_io::SourceError;
use helios_journal::Writer;
use helios_live::{Follower, Recorded};
use helios_risk::{Feeds, Limits};
use helios_signals::{Field, Node, NodeId, Sizing, Stat, Window};
use helios_types::{
    CancelReason, Cash, Control, Event, Feed, Input, Instrument, InstrumentId, Intent, IntentKind, Link, Liquidity,
    Market, Nanos, OrderId, Output, Price, Quantity, RejectReason, Report, ReportKind, Rule, Side, StrategyId, Terms,
    TimeInForce, Timer, TradeKind, TradingStatus, Update, notional,
};

use crate::scratch::Scratch;
use crate::script::Script;

const LARGEST: Quantity = Quantity::whole(60);
const CASH: Cash = Cash::whole(1_000_000);
/// KO is listed twice and held once.
const HOLDS: [InstrumentId; 3] = [InstrumentId(0), InstrumentId(1), InstrumentId(0)];

/// A run with a pair's graph, quotes, and limits.
fn fresh() -> State {
    let source = |id: u32| Node::Source { instrument: InstrumentId(id), field: Field::Mid };
    let [x, y, spread, window, z, held] = [0, 1, 2, 3, 4, 5].map(NodeId);
    let aim =
        |id: u32, sizing| Node::Target { x: held, strategy: StrategyId(id), instrument: InstrumentId(id), sizing };
    let nodes = vec![
        source(0),
        source(1),
        Node::Binary { op: helios_signals::Binary::Sub, x, y },
        Node::window(spread, Window::Count(3)),
        Node::Read { of: window, stat: Stat::ZScore },
        Node::Hysteresis { x: z, enter: 1.0, exit: 0.5 },
        aim(0, Sizing::Quantity(Quantity::whole(20))),
        aim(1, Sizing::Notional(Cash::whole(1_000))),
    ];
    let instrument =
        |symbol: &str| Instrument { symbol: symbol.to_owned(), tick: Price(10_000_000), lot: Quantity::whole(1) };
    let limits = Limits { order_quantity: Some(LARGEST), orders_per_second: Some(9), ..Limits::default() };
    let config = Config {
        instruments: vec![instrument("KO"), instrument("PEP"), instrument("KO@B")],
        holds: HOLDS.to_vec(),
        nodes,
        series: Vec::new(),
        limits,
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: CASH,
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 1 },
        capacity: Capacity { orders: 8, levels: 8 },
    };
    State::new(config).unwrap_or_else(|error| panic!("{error}"))
}

fn price(script: &mut Script<'_>) -> Price {
    match script.number() {
        few @ 0..=199 => Price((4_900 + few) * 10_000_000),
        other => Price(other),
    }
}

fn quantity(script: &mut Script<'_>) -> Quantity {
    Quantity(script.number().saturating_mul(100_000_000))
}

fn side(script: &mut Script<'_>) -> Side {
    [Side::Buy, Side::Sell][script.below(2)]
}

fn order(script: &mut Script<'_>) -> OrderId {
    match script.byte() {
        255 => OrderId(script.word()),
        caller @ 128.. => OrderId(CALLER_IDS + u64::from(caller) - 128),
        desk => OrderId(desk.into()),
    }
}

fn update(script: &mut Script<'_>) -> Update {
    let of = |script: &mut Script<'_>| script.below(8) as u64;
    match script.below(13) {
        0 => Update::Add { order: of(script), side: side(script), price: price(script), quantity: quantity(script) },
        1 => Update::Execute { order: of(script), quantity: quantity(script), trade: 0 },
        2 => {
            let (order, quantity, price) = (of(script), quantity(script), price(script));
            Update::ExecuteAt { order, quantity, price, printable: true, trade: 0 }
        }
        3 => {
            let (order, new_order) = (of(script), of(script));
            Update::Replace { order, new_order, price: price(script), quantity: quantity(script) }
        }
        4 => Update::Delete { order: of(script) },
        5 => {
            let (price, quantity) = (price(script), quantity(script));
            Update::Trade { price, quantity, aggressor: None, kind: TradeKind::Regular, trade: 0 }
        }
        6 => {
            let (a, b, volume) = (price(script), price(script), quantity(script));
            Update::Bar { open: a, high: a.max(b), low: a.min(b), close: b, volume, span: 1 }
        }
        7 => Update::Status([TradingStatus::Trading, TradingStatus::Halted][script.below(4) / 3]),
        8 => Update::Clear,
        _ => Update::Quote {
            bid: price(script),
            bid_quantity: quantity(script),
            ask: price(script),
            ask_quantity: quantity(script),
        },
    }
}

fn wish(script: &mut Script<'_>) -> IntentKind {
    match script.below(6) {
        0 => IntentKind::Cancel { order: order(script) },
        1 => IntentKind::Replace { order: order(script), quantity: quantity(script), price: price(script) },
        2 => {
            let time_in_force = [TimeInForce::Day, TimeInForce::Ioc][script.below(2)];
            let (id, side, quantity, price) = (order(script), side(script), quantity(script), price(script));
            IntentKind::Order { id, side, quantity, price, time_in_force, terms: Terms::PLAIN }
        }
        3 => {
            let (side, price, quantity) = (side(script), price(script), quantity(script));
            IntentKind::Quote { side, price, quantity, limit: LARGEST }
        }
        _ => IntentKind::Target { position: quantity(script) },
    }
}

fn report(script: &mut Script<'_>) -> ReportKind {
    match script.below(8) {
        0 => ReportKind::Accepted { book_ref: 1 },
        1 => ReportKind::Cancelled { reason: CancelReason::Unfilled },
        2 => ReportKind::Replaced { quantity: quantity(script), price: price(script) },
        3 => ReportKind::Rejected { reason: [RejectReason::NotTrading, RejectReason::NeverArrived][script.below(2)] },
        4 => ReportKind::ChangeRejected { reason: RejectReason::UnknownOrder },
        _ => {
            let (execution, price, quantity) = (1 + u64::from(script.byte()), price(script), quantity(script));
            ReportKind::Filled { execution, price, quantity, liquidity: Liquidity::Taker, fee: Cash(0) }
        }
    }
}

/// An event of any kind. The last instrument does not exist.
fn event(script: &mut Script<'_>) -> Event {
    let instrument = InstrumentId(script.below(255) as u32 * 4 / 255);
    let session = u32::from(script.below(16) == 15);
    match script.below(16) {
        0 => Event::Timer(Timer { id: 1 }),
        1 => Event::Control([Control::Resume, Control::Pause, Control::Kill, Control::Flatten][script.below(4)]),
        2 => Event::Feed(Feed::Incomplete { instrument, missed: 1 }),
        3 => Event::Feed(Feed::Complete { instrument }),
        4 => Event::Link(match script.below(5) {
            0 => Link::Down { session },
            1 => Link::Up { session },
            2 => Link::Heard { session, name: script.word().into(), next: script.word() },
            3 => Link::Position { instrument, quantity: quantity(script) },
            _ => Link::Settled { session },
        }),
        5 | 6 => {
            let (strategy, kind) = (StrategyId(script.below(3) as u32), wish(script));
            Event::Intent(Intent { strategy, instrument, kind })
        }
        7..10 => Event::Report(Report { order: order(script), instrument, ts_event: Nanos(0), kind: report(script) }),
        10 => Event::Control(Control::SetLimit { rule: Rule::Position, limit: script.number() }),
        _ => Event::Market(Market { instrument, ts_event: Nanos(script.byte().into()), update: update(script) }),
    }
}

/// What outputs say of money and of orders, against what the state says.
struct Auditor {
    flows: i128,
    killed: bool,
}

impl Auditor {
    fn take(&mut self, input: &Event, out: &[Output], state: &State) {
        match input {
            Event::Control(Control::Kill) => self.killed = true,
            Event::Control(Control::Resume) => self.killed = false,
            _ => {}
        }
        for output in out {
            match output {
                Output::Submit(order) => {
                    assert!(!self.killed, "an order leaves after a kill: {order:?}");
                    assert!(order.quantity.0 > 0 && order.quantity <= LARGEST, "an order passes its limit: {order:?}");
                }
                // A transfer between strategies moves nothing out of the account.
                Output::Fill(fill) if fill.execution != 0 => {
                    let signed = Quantity(fill.side.sign() * fill.quantity.0);
                    self.flows -= i128::from(notional(fill.price, signed).expect("it was booked").0);
                    self.flows -= i128::from(fill.fee.0);
                }
                Output::Booked(booking) => self.flows += i128::from(booking.cash.0),
                _ => {}
            }
        }
        let risk = state.risk();
        assert_eq!(i128::from(risk.cash().0), i128::from(CASH.0) + self.flows, "money is what trades brought");
        for id in [0, 1].map(InstrumentId) {
            let of = risk.accounts().iter().filter(|account| account.instrument == id);
            let held: i128 = of.map(|account| i128::from(account.position.quantity.0)).sum();
            assert_eq!(held, i128::from(risk.position(id).quantity.0), "strategies hold what the account holds");
        }
    }
}

/// A run of the script, and what it said.
fn run(script: &mut Script<'_>, mut each: impl FnMut(&State, &Input, &[Output])) -> State {
    let (mut state, mut now, mut out) = (fresh(), Nanos(1 << 60), Vec::new());
    let mut auditor = Auditor { flows: 0, killed: false };
    while !script.is_over() {
        if script.below(2) == 1 {
            now = now.plus(script.wait()).min(Nanos(1 << 61));
        }
        let input = Input { seq: state.next_seq(), ts: now, event: event(script) };
        out.clear();
        step(&mut state, &input, &mut out);
        auditor.take(&input.event, &out, &state);
        each(&state, &input, &out);
    }
    state
}

/// The engine: no order leaves after a kill or above its limit, money and shares are conserved, and a state that was
/// written and read goes on as the one that was not.
pub fn engine(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let cut = u64::from(script.byte());
    let mut other: Option<State> = None;
    let mut said = Vec::new();
    run(&mut script, |state, input, out| {
        if let Some(other) = &mut other {
            said.clear();
            step(other, input, &mut said);
            assert_eq!(format!("{said:?}"), format!("{out:?}"));
            assert_eq!(other.digest(), state.digest(), "after {input:?}");
        }
        if input.seq == cut {
            other = Some(fresh().restore(&state.snapshot()).expect("what was written can be read"));
        }
    });
}

/// Snapshots: bytes behind a right check are refused or come back, and nothing panics. The first byte says how many
/// events come first; then there are changes to the state's bytes, or other bytes altogether.
pub fn snapshot(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let events = script.below(32) * 8;
    let state = run(&mut Script::new(script.take(events)), |_, _, _| {});
    let whole = state.snapshot();
    // Magic, version, configuration and digest stay; the check is made anew.
    let (head, body) = whole[..whole.len() - 16].split_at(8 + 4 + 16 + 16);
    let mut body = body.to_vec();
    if script.below(8) == 7 {
        body = script.take(usize::MAX).to_vec();
    }
    while !script.is_over() {
        let at = script.word() as usize % body.len().max(1);
        let value = script.byte();
        if let Some(byte) = body.get_mut(at) {
            *byte = value;
        }
        if script.below(32) == 31 {
            body.truncate(at);
        }
    }
    let mut forged = [head, body.as_slice()].concat();
    let mut hasher = helios_types::Hasher::new();
    hasher.bytes(&forged);
    forged.extend_from_slice(&hasher.finish().to_le_bytes());
    match fresh().restore(&forged) {
        Ok(back) => assert_eq!(back.digest(), state.digest()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A follower of a journal that grows piece by piece comes to the state of the run; one whose bytes were changed is
/// refused, or cut where the change is.
pub fn follower(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let pieces: Vec<usize> = (0..4).map(|_| usize::from(script.byte()) * 8).collect();
    let damage = (script.below(2) == 1).then(|| (script.word(), script.byte()));
    let mut writer = Writer::new(b"{}").expect("a short configuration");
    let mut said = 0;
    let state = run(&mut script, |_, input, out| {
        writer.input(input);
        out.iter().for_each(|output| writer.output(input.seq, output));
        said += out.len() as u64;
    });
    let mut journal = writer.pending().to_vec();
    let changed = damage.is_some_and(|(at, value)| {
        let at = at as usize % journal.len();
        std::mem::replace(&mut journal[at], value) != value
    });
    let scratch = Scratch::new();
    let file = scratch.file("live.journal");
    std::fs::write(&file, &journal[..pieces[0].min(journal.len())]).expect("a file of ours");
    let mut heard = 0;
    let mut witness = |recorded: &Recorded<'_>| heard += u64::from(matches!(recorded, Recorded::Output(_)));
    let mut follower = Follower::open(&file, || Ok::<_, SourceError>(fresh()), &mut witness).expect("it is there");
    let mut written = 0;
    for piece in pieces {
        written = (written + piece).min(journal.len());
        std::fs::write(&file, &journal[..written]).expect("a file of ours");
        if follower.follow(u64::MAX, &mut witness).is_err() {
            return assert!(changed, "an honest journal cannot be followed");
        }
    }
    std::fs::write(&file, &journal).expect("a file of ours");
    match follower.finish(&mut witness, true) {
        Ok(recovered) if !changed => {
            assert_eq!(recovered.state.digest(), state.digest());
            assert_eq!((recovered.outputs, heard), (said, said));
            assert!(recovered.cut.is_none() && recovered.missing.is_empty());
        }
        Ok(recovered) => assert!(recovered.cut.is_some() && recovered.inputs <= state.next_seq()),
        Err(error) => assert!(changed, "an honest journal cannot be recovered: {error}"),
    }
}

fn scripts() -> Vec<Vec<u8>> {
    // Prices, a target, its fill; then every kind of event with a few contents.
    let quote = |instrument: u8, bid: u8| [0, instrument, 0, 15, 1, 12, bid, 10, bid + 2, 10];
    let target = [0, 0, 0, 5, 1, 5, 10];
    let fill = [0, 0, 0, 7, 0, 7, 1, 102, 10];
    let trade = [&quote(0, 100)[..], &quote(70, 100), &target, &fill, &quote(0, 110), &target].concat();
    let live = [[0, 0, 0, 4, 1].as_slice(), &[0, 0, 0, 4, 4], &trade, &[0, 0, 0, 4, 0], &[0, 0, 0, 4, 4]].concat();
    let kinds: Vec<u8> = (0..16).flat_map(|kind| [1, 40, 0, 0, kind, 1, 2, 3, 100, 5, 102, 5]).collect();
    vec![trade.clone(), live, [trade, kinds].concat()]
}

pub(crate) fn engine_seeds() -> Vec<Vec<u8>> {
    scripts().into_iter().map(|script| [[2].as_slice(), &script].concat()).collect()
}

pub(crate) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let with = |script: Vec<u8>| {
        let events = script.len() / 8;
        [&[events as u8], &script[..events * 8], &[0, 50, 0, 0, 0, 0, 0, 0, 0, 255, 0]].concat()
    };
    scripts().into_iter().map(with).chain([vec![0, 7]]).collect()
}

pub(crate) fn follower_seeds() -> Vec<Vec<u8>> {
    let honest = |script: &Vec<u8>| [[3, 40, 1, 0, 0].as_slice(), script].concat();
    let damaged = |script: &Vec<u8>| [[3, 255, 1, 0, 1, 200, 0, 0, 0, 0, 0, 0, 0, 9].as_slice(), script].concat();
    scripts().iter().flat_map(|script| [honest(script), damaged(script)]).collect()
}
