//! How long a restart takes: `cargo run --release --example recovery [INPUTS] [FOLDER]`, with the graph of 300 pairs over
//! 200 instruments.

use std::path::PathBuf;

use helios_book::Capacity;
use helios_engine::{Config, State};
use helios_execution::Style;
use helios_io::SourceError;
use helios_live::bench_recovery;
use helios_risk::{Feeds, Limits};
use helios_signals::{Binary, Field, Node, NodeId, Sizing, Stat, Unary, Window};
use helios_types::{Cash, Instrument, InstrumentId, Nanos, Price, Quantity, StrategyId};

const INSTRUMENTS: u32 = 200;
const PAIRS: usize = 300;
/// Pairs are made within groups of neighbours.
const GROUP: u32 = 10;

fn pairs() -> impl Iterator<Item = (u32, u32)> {
    let firsts = || (0..INSTRUMENTS).step_by(GROUP as usize);
    (1..GROUP)
        .flat_map(move |gap| firsts().flat_map(move |first| (first..first + GROUP - gap).map(move |a| (a, a + gap))))
        .take(PAIRS)
}

fn nodes() -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut node = |node: Node| {
        nodes.push(node);
        NodeId(nodes.len() as u32 - 1)
    };
    let logs: Vec<NodeId> = (0..INSTRUMENTS)
        .map(|id| {
            let x = node(Node::Source { instrument: InstrumentId(id), field: Field::Mid });
            node(Node::Unary { op: Unary::Log, x })
        })
        .collect();
    for ((a, b), strategy) in pairs().zip((0..).map(StrategyId)) {
        let spread = node(Node::Binary { op: Binary::Sub, x: logs[a as usize], y: logs[b as usize] });
        let window = node(Node::window(spread, Window::EwmTime(500_000_000)));
        let z = node(Node::Read { of: window, stat: Stat::ZScore });
        let held = node(Node::Hysteresis { x: z, enter: 2.0, exit: 0.5 });
        let minus = node(Node::Unary { op: Unary::Neg, x: held });
        for (x, id) in [(minus, a), (held, b)] {
            let sizing = Sizing::Notional(Cash::whole(10_000));
            node(Node::Target { x, strategy, instrument: InstrumentId(id), sizing });
        }
        node(Node::Record { x: held, signal: strategy.0, input: z });
    }
    nodes
}

fn fresh() -> Result<State, SourceError> {
    let lot = Quantity::whole(1);
    let config = Config {
        instruments: (0..INSTRUMENTS)
            .map(|id| Instrument { symbol: format!("S{id:03}"), tick: Price(10_000_000), lot })
            .collect(),
        holds: Vec::new(),
        nodes: nodes(),
        series: Vec::new(),
        limits: Limits { position: Some(Quantity::whole(1_000_000)), ..Limits::default() },
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(100_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 0 },
        capacity: Capacity::default(),
    };
    State::new(config).map_err(|error| SourceError { source: "bench".to_owned(), message: error.to_string() })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let inputs = words.next().map_or(Ok(1_000_000), |word| word.parse())?;
    let folder = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("helios-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let times = bench_recovery(&folder, fresh, inputs);
    std::fs::remove_dir_all(&folder)?;
    println!("{:#?}", times?);
    Ok(())
}
