//! The strategies of the graph: a pair that reverts, and a quote on each side of the third stock.

use helios_signals::{Binary, Field, Keeps, Node, NodeId, Sizing, Stat, Window};
use helios_types::{InstrumentId, Quantity, Side, StrategyId};

/// The strategy that trades the pair, and the one that quotes; those that wish at random have other numbers.
const PAIR: StrategyId = StrategyId(2);
const MAKER: StrategyId = StrategyId(3);

/// `hysteresis(zscore(mid(0) - mid(1), 50 samples))` sized both ways, and quotes at the third stock's best prices.
pub fn nodes() -> Vec<Node> {
    let mid = |instrument| Node::Source { instrument: InstrumentId(instrument), field: Field::Mid };
    let target = |x, instrument, shares| Node::Target {
        x: NodeId(x),
        strategy: PAIR,
        instrument: InstrumentId(instrument),
        sizing: Sizing::Quantity(Quantity::whole(shares)),
    };
    let quote = |x, side| Node::Quote {
        x: NodeId(x),
        strategy: MAKER,
        instrument: InstrumentId(2),
        side,
        quantity: Quantity::whole(100),
        limit: Quantity::whole(400),
        every: 0,
    };
    vec![
        mid(0),
        mid(1),
        Node::Binary { op: Binary::Sub, x: NodeId(0), y: NodeId(1) },
        Node::Window { x: NodeId(2), window: Window::Count(50), keeps: Keeps::Moments, least: 50, by: None },
        Node::Read { of: NodeId(3), stat: Stat::ZScore },
        Node::Hysteresis { x: NodeId(4), enter: 1.5, exit: 0.5 },
        target(5, 1, 200),
        Node::Constant(-1.0),
        Node::Binary { op: Binary::Mul, x: NodeId(5), y: NodeId(7) },
        target(8, 0, 200),
        Node::Source { instrument: InstrumentId(2), field: Field::Bid },
        Node::Source { instrument: InstrumentId(2), field: Field::Ask },
        quote(10, Side::Buy),
        quote(11, Side::Sell),
    ]
}
