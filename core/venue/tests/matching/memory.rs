//! A warm engine allocates nothing per order, whatever the order is.

use helios_book::Capacity;
use helios_types::{BookRef, InstrumentId, Price, Quantity, Side, Terms, TimeInForce};
use helios_venue::SelfTrade;
use helios_venue::matching::{Allocation, Amend, Event, Events, MatchingEngine, NewOrder, Phase, Rules};

/// Orders of every kind come, trade, change and go; at the end nothing rests.
fn day(engine: &mut MatchingEngine, orders: u64, out: &mut Events) -> (usize, usize) {
    let (mut trades, mut woken) = (0, 0);
    for n in 1..=orders {
        let instrument = InstrumentId((n % 3) as u32);
        let side = if n % 2 == 0 { Side::Buy } else { Side::Sell };
        let price = Price(1_000 + (n * 7919 % 23) as i64 - 11);
        let limit = NewOrder::limit(instrument, n, side, price, Quantity(1 + (n % 9) as i64));
        let mut new = match n % 11 {
            0 => NewOrder { terms: Terms { display: Quantity::ZERO, ..Terms::PLAIN }, ..limit },
            1 => NewOrder { terms: Terms { display: Quantity(2), ..Terms::PLAIN }, ..limit },
            2 => NewOrder { terms: Terms { midpoint: true, ..Terms::PLAIN }, ..limit },
            3 => NewOrder { terms: Terms { stop: price, ..Terms::PLAIN }, ..limit },
            4 => NewOrder { time_in_force: TimeInForce::Fok, ..limit },
            5 => NewOrder { time_in_force: TimeInForce::Close, ..limit },
            6 => NewOrder { firm: 1, self_trade: Some(SelfTrade::Decrement), ..limit },
            _ => limit,
        };
        // Sums of any size fit.
        new.quantity.0 += 1;
        engine.submit(&new, out);
        let order: BookRef = n.saturating_sub(40);
        engine.cancel(InstrumentId((order % 3) as u32), order, out);
        let (order, quantity) = (n.saturating_sub(7), Quantity(4 + (n % 5) as i64));
        let instrument = InstrumentId((order % 3) as u32);
        engine.amend(&Amend { instrument, order, new_order: order, price, quantity, display: None }, out);
        trades += out.iter().filter(|event| matches!(event, Event::Traded { .. })).count();
        woken += out.iter().filter(|event| matches!(event, Event::Triggered { .. })).count();
        out.clear();
    }
    for instrument in (0..3).map(InstrumentId) {
        for phase in [Phase::Closed, Phase::Continuous] {
            engine.set_phase(instrument, phase, out);
        }
    }
    out.clear();
    (trades, woken)
}

#[test]
fn a_warm_engine_allocates_nothing() {
    let mut engine = MatchingEngine::new(3, Capacity::default());
    let rules = Rules { allocation: Allocation::ProRata { top_first: true }, ..Rules::default() };
    engine.set_rules(InstrumentId(2), rules).expect("valid rules");
    let mut out = Vec::with_capacity(1 << 16);
    let warm = day(&mut engine, 20_000, &mut out);
    assert!(warm.0 > 5_000 && warm.1 > 500, "trades and stops that woke: {warm:?}");
    let mut again = (0, 0);
    let info = allocation_counter::measure(|| again = day(&mut engine, 20_000, &mut out));
    assert_eq!((info.count_total, again.0 > 5_000), (0, true), "60,000 commands on a warm engine");
}
