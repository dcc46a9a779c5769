//! Sources that look into the book, against a book that is a list of orders; and memory on the way of an event.

use helios_book::Capacity;
use helios_data::{Markets, Touched};
use helios_signals::{BarKind, Field, Graph, Keeps, Node, NodeId, Past, Stat, Window};
use helios_types::{InstrumentId, Market, Nanos, Price, Quantity, Rng, Side, Update};
use proptest::prelude::*;

use crate::node;

/// Orders of two instruments, in whole prices and shares.
#[derive(Clone, Copy, Debug)]
struct Order {
    id: u64,
    instrument: u32,
    side: Side,
    price: i64,
    shares: i64,
}

/// Price and shares of each level, best first; orders without a price stand at none.
fn levels(orders: &[Order], instrument: u32, side: Side) -> Vec<(i64, i64)> {
    let own = orders.iter().filter(|order| order.instrument == instrument && order.side == side && order.price > 0);
    let mut prices: Vec<i64> = own.clone().map(|order| order.price).collect();
    prices.sort_unstable();
    prices.dedup();
    if side == Side::Buy {
        prices.reverse();
    }
    let shares = |price: i64| own.clone().filter(|order| order.price == price).map(|order| order.shares).sum();
    prices.into_iter().map(|price| (price, shares(price))).collect()
}

fn expected(orders: &[Order], instrument: u32, field: Field) -> f64 {
    let level = |side, at: u8| levels(orders, instrument, side).get(usize::from(at)).copied();
    let price = |side, at| level(side, at).map_or(f64::NAN, |(price, _)| price as f64);
    let size = |side, at| level(side, at).map_or(0.0, |(_, shares)| shares as f64);
    let depth = |side, n: u8| {
        levels(orders, instrument, side).iter().take(usize::from(n)).map(|(_, shares)| *shares).sum::<i64>() as f64
    };
    match field {
        Field::BidAt(at) => price(Side::Buy, at),
        Field::AskAt(at) => price(Side::Sell, at),
        Field::BidSizeAt(at) => size(Side::Buy, at),
        Field::AskSizeAt(at) => size(Side::Sell, at),
        Field::BidDepth(n) => depth(Side::Buy, n),
        Field::AskDepth(n) => depth(Side::Sell, n),
        _ => unreachable!("not asked for"),
    }
}

const FIELDS: [Field; 17] = [
    Field::BidAt(0),
    Field::BidAt(1),
    Field::BidAt(255),
    Field::AskAt(0),
    Field::AskAt(2),
    Field::BidSizeAt(0),
    Field::BidSizeAt(1),
    Field::BidSizeAt(255),
    Field::AskSizeAt(0),
    Field::AskSizeAt(2),
    Field::BidDepth(0),
    Field::BidDepth(1),
    Field::BidDepth(3),
    Field::BidDepth(255),
    Field::AskDepth(1),
    Field::AskDepth(2),
    Field::AskDepth(255),
];

fn any_update() -> impl Strategy<Value = (u32, Update)> {
    let id = || 0u64..10;
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let price = || prop_oneof![9 => (1i64..7).prop_map(Price::whole), 1 => Just(Price::UNDEFINED)];
    let size = || (1i64..5).prop_map(Quantity::whole);
    let add = (id(), side, price(), size()).prop_map(|(order, side, price, quantity)| Update::Add {
        order,
        side,
        price,
        quantity,
    });
    let replace = (id(), id(), price(), size()).prop_map(|(order, new_order, price, quantity)| Update::Replace {
        order,
        new_order,
        price,
        quantity,
    });
    let less = (id(), size(), 0u8..3).prop_map(|(order, quantity, how)| match how {
        0 => Update::Execute { order, quantity, trade: 1 },
        1 => Update::ExecuteAt { order, quantity, price: Price::whole(3), printable: false, trade: 1 },
        _ => Update::Reduce { order, quantity },
    });
    let delete = id().prop_map(|order| Update::Delete { order });
    let quote = size().prop_map(|quantity| {
        let price = Price::whole(2);
        Update::Quote { bid: price, bid_quantity: quantity, ask: price, ask_quantity: quantity }
    });
    let any = prop_oneof![12 => add, 3 => replace, 3 => less, 2 => delete, 1 => quote, 1 => Just(Update::Clear)];
    (0u32..2, any)
}

/// Does to the list what an accepted update does to the book; true when it is about the book.
fn hear(orders: &mut Vec<Order>, instrument: u32, update: Update) -> bool {
    let whole = |price: Price| if price.is_defined() { price.0 / Price::whole(1).0 } else { 0 };
    let shares = |quantity: Quantity| quantity.0 / Quantity::whole(1).0;
    match update {
        Update::Add { order, side, price, quantity } => {
            orders.push(Order { id: order, instrument, side, price: whole(price), shares: shares(quantity) });
        }
        Update::Execute { order, quantity, .. }
        | Update::ExecuteAt { order, quantity, .. }
        | Update::Reduce { order, quantity } => {
            orders.iter_mut().filter(|own| own.id == order).for_each(|own| own.shares -= shares(quantity));
            orders.retain(|own| own.shares > 0);
        }
        Update::Delete { order } => orders.retain(|own| own.id != order),
        Update::Replace { order, new_order, price, quantity } => {
            let own = orders.iter_mut().find(|own| own.id == order).expect("it was accepted");
            (own.id, own.price, own.shares) = (new_order, whole(price), shares(quantity));
        }
        Update::Clear => orders.retain(|own| own.instrument != instrument),
        _ => return false,
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn depth_is_that_of_the_orders(updates in prop::collection::vec(any_update(), 1..120)) {
        let all = |instrument| FIELDS.map(|field| Node::Source { instrument: InstrumentId(instrument), field });
        let mut nodes = [all(0), all(1)].concat();
        // Something that best prices alone make fire stands beside them.
        nodes.push(Node::Source { instrument: InstrumentId(0), field: Field::Mid });
        let mut graph = Graph::new(nodes.clone(), vec![Quantity::whole(1); 2], Vec::new()).expect("a sound graph");
        let mut markets = Markets::new(2, Capacity { orders: 64, levels: 64 });
        let mut orders: Vec<Order> = Vec::new();
        let mut last = vec![f64::NAN; 2 * FIELDS.len()];
        for (ts, (instrument, update)) in (0..).zip(updates) {
            let market = Market { instrument: InstrumentId(instrument), ts_event: Nanos(ts), update };
            let touched = markets.apply(&market).unwrap_or(Touched::NOTHING);
            let of_book = touched != Touched::NOTHING && hear(&mut orders, instrument, update);
            prop_assert_eq!(touched.has(Touched::BOOK), of_book);
            let before = graph.evaluations();
            graph.evaluate(Nanos(ts), InstrumentId(instrument), touched, &markets, &mut Vec::new(), &mut Vec::new());
            let reached = graph.evaluations() > before;
            for own in 0..2u32 {
                for (k, field) in FIELDS.iter().enumerate() {
                    let at = own as usize * FIELDS.len() + k;
                    let fires = of_book && own == instrument;
                    prop_assert_eq!(reached && graph.fired(node(at)), fires, "{:?} at {:?}", field, update);
                    if fires {
                        last[at] = expected(&orders, own, *field);
                    }
                    let found = graph.value(node(at));
                    let same = found == last[at] || (found.is_nan() && last[at].is_nan());
                    prop_assert!(same, "{field:?} of {own}: {found}, not {} of {orders:?}", last[at]);
                }
            }
        }
    }
}

/// What an event passes through allocates nothing once it is warm: every window has been full, every table has grown.
#[test]
fn nothing_is_allocated_once_warm() {
    const MEMBERS: u32 = 40;
    let mut nodes: Vec<Node> = (0..MEMBERS).map(|series| Node::Series { series }).collect();
    let read = |of: usize, stat| Node::Read { of: node(of), stat };
    for window in [Window::Count(700), Window::Time(700), Window::EwmCount(0.9), Window::EwmTime(9)] {
        let plain = matches!(window, Window::Count(_) | Window::Time(_));
        nodes.push(Node::window(NodeId(0), window));
        nodes.push(read(nodes.len() - 1, Stat::ZScore));
        nodes.push(Node::PairWindow { x: NodeId(0), y: NodeId(1), window, least: 0, by: None });
        nodes.push(read(nodes.len() - 1, Stat::Beta));
        for (keeps, stat) in [(Keeps::Skew, Stat::Skew), (Keeps::Greatest, Stat::Max)].into_iter().filter(|_| plain) {
            nodes.push(Node::Window { x: NodeId(0), window, keeps, least: 0, by: None });
            nodes.push(read(nodes.len() - 1, stat));
        }
    }
    nodes.push(Node::Cross { members: (0..MEMBERS).map(NodeId).collect(), quorum: 0 });
    nodes.push(read(nodes.len() - 1, Stat::Rank(7)));
    let x = NodeId(3);
    nodes.extend([
        Node::Lag { x, past: Past::Samples(500) },
        Node::Lag { x, past: Past::Time(500) },
        Node::Kalman { y: NodeId(4), x, drift: 0.1, noise: 0.1, least: 0 },
        Node::Bars { price: x, size: NodeId(4), kind: BarKind::Ticks(5) },
        Node::Occurrences { inputs: vec![x], span: 500 },
        Node::Cooldown { x, span: 9 },
        Node::Debounce { x, span: 9 },
        Node::Changes { x },
        Node::Hysteresis { x, enter: 0.9, exit: 0.1 },
    ]);
    let groups = vec![0; MEMBERS as usize];
    let mut graph = Graph::new(nodes, Vec::new(), groups).expect("a sound graph");
    let markets = Markets::new(0, Capacity { orders: 1, levels: 1 });
    let (mut intents, mut signals) = (Vec::new(), Vec::new());
    let mut rng = Rng::new(9);
    let mut run = |events: std::ops::Range<u64>| {
        for now in events {
            for series in 0..MEMBERS {
                graph.feed(Nanos(now), series, rng.uniform(), &markets, &mut intents, &mut signals);
            }
        }
    };
    run(0..5_000);
    let info = allocation_counter::measure(|| run(5_000..10_000));
    assert_eq!((info.count_total, info.bytes_max), (0, 0));
}
