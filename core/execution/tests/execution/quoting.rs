//! Quotes: one order a side follows the newest wish.

use helios_risk::Limits;
use helios_types::{
    CancelReason, IntentKind, Liquidity, OrderId, Output, Price, Quantity, RejectReason, ReportKind, Side,
};
use proptest::prelude::*;

use crate::{Floor, KO, fill};

const MM: u32 = 3;

fn floor() -> Floor {
    Floor::new(Limits::default(), Quantity::whole(1))
}

fn quote(floor: &mut Floor, side: Side, price: f64, shares: i64) -> Vec<Output> {
    let price = if price > 0.0 { Price::from_f64(price).unwrap() } else { Price::UNDEFINED };
    let (quantity, limit) = (Quantity::whole(shares), Quantity::whole(100));
    floor.wish(MM, KO, IntentKind::Quote { side, price, quantity, limit }).to_vec()
}

/// The one thing said to the venue, as words.
fn said(outputs: &[Output]) -> String {
    let words = outputs.iter().filter_map(|output| match *output {
        Output::Submit(o) => Some(format!("new {} {:?} {} @ {}{}", o.id.0, o.side, o.quantity, o.price, post(&o))),
        Output::Replace { order, quantity, price, .. } => Some(format!("replace {} {quantity} @ {price}", order.0)),
        Output::Cancel { order, .. } => Some(format!("cancel {}", order.0)),
        Output::Refused(refusal) => Some(format!("refused {:?}", refusal.rule)),
        _ => None,
    });
    words.collect::<Vec<_>>().join(", ")
}

fn post(order: &helios_types::Order) -> &'static str {
    if order.terms.post_only { " post" } else { "" }
}

fn accept(floor: &mut Floor, order: u64) -> String {
    said(floor.report(OrderId(order), ReportKind::Accepted { book_ref: 1 }))
}

#[test]
fn a_quote_is_sent_moved_and_taken_away() {
    let floor = &mut floor();
    assert_eq!(said(&quote(floor, Side::Buy, 49.987, 10)), "new 1 Buy 10 @ 49.98 post", "down to the tick");
    assert_eq!(said(&quote(floor, Side::Sell, 50.011, 10)), "new 2 Sell 10 @ 50.02 post", "up to the tick");
    accept(floor, 1);
    assert_eq!(said(&quote(floor, Side::Buy, 49.98, 10)), "", "the same price keeps its place");
    assert_eq!(said(&quote(floor, Side::Buy, 49.97, 10)), "replace 1 10 @ 49.97");
    let (quantity, price) = (Quantity::whole(10), Price::from_f64(49.97).unwrap());
    floor.report(OrderId(1), ReportKind::Replaced { quantity, price });
    assert_eq!(said(&quote(floor, Side::Buy, 0.0, 10)), "cancel 1", "no price, no quote");
    assert_eq!(said(floor.report(OrderId(1), ReportKind::Cancelled { reason: CancelReason::Requested })), "");
    assert_eq!(said(&quote(floor, Side::Buy, 49.97, 10)), "new 3 Buy 10 @ 49.97 post");
}

#[test]
fn the_newest_wish_waits_for_the_answer() {
    let floor = &mut floor();
    quote(floor, Side::Buy, 49.90, 10);
    assert_eq!(said(&quote(floor, Side::Buy, 49.91, 10)), "");
    assert_eq!(said(&quote(floor, Side::Buy, 49.92, 10)), "");
    assert_eq!(accept(floor, 1), "replace 1 10 @ 49.92");
    quote(floor, Side::Buy, 49.93, 10);
    let refused = ReportKind::ChangeRejected { reason: RejectReason::WouldTake };
    assert_eq!(said(floor.report(OrderId(1), refused)), "replace 1 10 @ 49.93");
    quote(floor, Side::Buy, 0.0, 10);
    let (quantity, price) = (Quantity::whole(10), Price::from_f64(49.93).unwrap());
    assert_eq!(said(floor.report(OrderId(1), ReportKind::Replaced { quantity, price })), "cancel 1");
}

#[test]
fn an_order_that_ended_comes_back_with_the_next_wish() {
    let floor = &mut floor();
    quote(floor, Side::Buy, 49.90, 10);
    accept(floor, 1);
    assert_eq!(said(floor.report(OrderId(1), fill(1, 4, 49.90))), "");
    assert_eq!(said(&quote(floor, Side::Buy, 49.90, 10)), "replace 1 14 @ 49.9", "ten more than the four that filled");
    let (quantity, price) = (Quantity::whole(14), Price::from_f64(49.90).unwrap());
    floor.report(OrderId(1), ReportKind::Replaced { quantity, price });
    assert_eq!(said(floor.report(OrderId(1), fill(2, 10, 49.90))), "");
    assert_eq!(said(&quote(floor, Side::Buy, 49.90, 10)), "new 2 Buy 10 @ 49.9 post");
    let rejected = ReportKind::Rejected { reason: RejectReason::WouldTake };
    assert_eq!(said(floor.report(OrderId(2), rejected)), "");
    assert_eq!(said(&quote(floor, Side::Buy, 49.89, 10)), "new 3 Buy 10 @ 49.89 post");
}

#[test]
fn the_position_stays_within_the_limit() {
    let floor = &mut floor();
    floor.target(MM, 95);
    let sent = floor.out.iter().find_map(|o| if let Output::Submit(o) = o { Some(o.id) } else { None }).unwrap();
    floor.report(sent, ReportKind::Accepted { book_ref: 1 });
    floor.report(sent, fill(1, 95, 50.0));
    assert!(said(&quote(floor, Side::Buy, 49.90, 10)).contains("Buy 5 @ 49.9"), "95 + 5 is the limit");
    assert!(said(&quote(floor, Side::Sell, 50.10, 10)).contains("Sell 10 @ 50.1"));
    floor.target(MM, 100);
    let sent = floor.out.iter().find_map(|o| if let Output::Submit(o) = o { Some(o.id) } else { None }).unwrap();
    floor.report(sent, ReportKind::Accepted { book_ref: 1 });
    floor.report(sent, fill(2, 5, 50.0));
    accept(floor, 2);
    assert_eq!(said(&quote(floor, Side::Buy, 49.90, 10)), "cancel 2", "no room is left");
}

/// What a venue that answers in any order and at any time could do, after each wish.
fn anything() -> impl Strategy<Value = Vec<(u8, bool, i64, i64)>> {
    prop::collection::vec((0..6u8, any::<bool>(), 4_980..5_020i64, 0..30i64), 1..80)
}

proptest! {
    /// Whatever happens, at most one order a side works, never more than the limit can fill, and when all answers are in
    /// the order is where the newest wish is.
    #[test]
    fn one_order_a_side_follows_the_newest_wish(steps in anything()) {
        let floor = &mut floor();
        let mut alive: [Option<(OrderId, i64, Price)>; 2] = [None, None];
        let (mut filled, mut wanted, mut execution) = ([0i64; 2], [None, None], 0);
        let mut pending: Vec<Output> = Vec::new();
        for (what, buy, cents, shares) in steps.into_iter().chain([(9, true, 0, 0)]) {
            let side = if buy { Side::Buy } else { Side::Sell };
            let s = side as usize;
            if what < 3 {
                let price = Price(cents * 10_000_000);
                let (quantity, limit) = (Quantity::whole(shares), Quantity::whole(40));
                pending.extend(floor.wish(MM, KO, IntentKind::Quote { side, price, quantity, limit }).iter().copied());
                wanted[s] = Some((price, shares));
            } else if what == 3 {
                // The venue fills some of what works.
                if let Some((id, total, price)) = alive[s] && total > filled[s] {
                    execution += 1;
                    let quantity = Quantity::whole((total - filled[s]).min(3));
                    filled[s] += quantity.0 / 100_000_000;
                    let kind = ReportKind::Filled { execution, price, quantity, liquidity: Liquidity::Maker, fee: helios_types::Cash(0) };
                    pending.extend(floor.report(id, kind).iter().copied());
                    if filled[s] == total {
                        (alive[s], filled[s]) = (None, 0);
                    }
                }
            }
            // Answers: all of them at the end and at every fourth step, else none.
            while what >= 4 && !pending.is_empty() {
                let output = pending.remove(0);
                let (id, kind) = match output {
                    Output::Submit(o) => {
                        let s = o.side as usize;
                        prop_assert!(alive[s].is_none(), "a second order on one side");
                        prop_assert!(o.terms.post_only);
                        (alive[s], filled[s]) = (Some((o.id, o.quantity.0 / 100_000_000, o.price)), 0);
                        (o.id, ReportKind::Accepted { book_ref: 1 })
                    }
                    Output::Replace { order, quantity, price, .. } => {
                        let Some(s) = (0..2).find(|s| alive[*s].is_some_and(|(id, ..)| id == order)) else { continue };
                        if quantity.0 / 100_000_000 <= filled[s] {
                            (alive[s], filled[s]) = (None, 0);
                            (order, ReportKind::Cancelled { reason: CancelReason::Requested })
                        } else {
                            alive[s] = Some((order, quantity.0 / 100_000_000, price));
                            (order, ReportKind::Replaced { quantity, price })
                        }
                    }
                    Output::Cancel { order, .. } => {
                        let Some(s) = (0..2).find(|s| alive[*s].is_some_and(|(id, ..)| id == order)) else { continue };
                        (alive[s], filled[s]) = (None, 0);
                        (order, ReportKind::Cancelled { reason: CancelReason::Requested })
                    }
                    _ => continue,
                };
                let more = floor.report(id, kind).to_vec();
                pending.extend(more);
            }
            prop_assert!(floor.held().abs() <= 40 * 100_000_000, "beyond the limit: {}", floor.held());
        }
        // A last wish each, answered: the book shows it, as far as the position allows.
        for side in [Side::Buy, Side::Sell] {
            let Some((price, shares)) = wanted[side as usize] else { continue };
            let (quantity, limit) = (Quantity::whole(shares), Quantity::whole(40));
            let mut pending = floor.wish(MM, KO, IntentKind::Quote { side, price, quantity, limit }).to_vec();
            while !pending.is_empty() {
                let (id, kind) = match pending.remove(0) {
                    Output::Submit(o) => (o.id, ReportKind::Accepted { book_ref: 1 }),
                    Output::Replace { order, quantity, price, .. } => (order, ReportKind::Replaced { quantity, price }),
                    Output::Cancel { order, .. } => (order, ReportKind::Cancelled { reason: CancelReason::Requested }),
                    _ => continue,
                };
                pending.extend(floor.report(id, kind).to_vec());
            }
            let room = (40 * 100_000_000 - side.sign() * floor.held()).max(0);
            prop_assert_eq!(floor.working()[side as usize], Quantity(quantity.0.min(room)));
        }
    }
}
