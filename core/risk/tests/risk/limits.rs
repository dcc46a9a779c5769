//! Each limit: what reaches it passes, one unit more is refused with rule, limit and value.

use helios_risk::{Limits, MAX_ACCOUNTS, Mode, Risk, Share, Wish};
use helios_types::{
    Cash, Control, Instrument, InstrumentId, NANOS_PER_DAY, NANOS_PER_SECOND, Nanos, OrderId, Price, Quantity, Rule,
    Side, StrategyId, Terms, TimeInForce,
};

use crate::{KO, PEP, SECOND, digest, refused, risk, trade, wish};

fn market(side: Side, shares: i64) -> Wish {
    Wish { price: Price::UNDEFINED, ..wish(side, shares, 1.0) }
}

#[test]
fn order_quantity() {
    let limit = Quantity::whole(100);
    let mut risk = risk(Limits { order_quantity: Some(limit), ..Limits::default() });
    assert!(risk.check(SECOND, wish(Side::Buy, 100, 50.0)).is_ok());
    refused(risk.check(SECOND, wish(Side::Sell, 101, 50.0)), Rule::OrderQuantity, limit.0, Quantity::whole(101).0);
}

#[test]
fn a_replace_is_judged_by_its_whole_quantity() {
    let limit = Quantity::whole(100);
    let mut risk = risk(Limits { order_quantity: Some(limit), ..Limits::default() });
    let (room, filled) = (Quantity::whole(50), Quantity::whole(50));
    let mut replace = |shares: i64| risk.check_replace(SECOND, wish(Side::Buy, shares, 50.0), room, filled);
    assert!(replace(100).is_ok());
    refused(replace(101), Rule::OrderQuantity, limit.0, Quantity::whole(101).0);
    // Nothing would be left of it.
    refused(replace(50), Rule::Invalid, Quantity::whole(1).0, Quantity::whole(50).0);
}

#[test]
fn order_notional() {
    let limit = Cash::whole(5_000);
    let mut risk = risk(Limits { order_notional: Some(limit), ..Limits::default() });
    assert!(risk.check(SECOND, wish(Side::Buy, 100, 50.0)).is_ok());
    refused(risk.check(SECOND, wish(Side::Buy, 100, 50.01)), Rule::OrderNotional, limit.0, Cash::whole(5_001).0);
    assert!(risk.check(SECOND, market(Side::Buy, 100)).is_ok());
    refused(risk.check(SECOND, market(Side::Buy, 101)), Rule::OrderNotional, limit.0, Cash::whole(5_050).0);
}

#[test]
fn a_sale_far_below_the_market_counts_at_the_market() {
    let limit = Cash::whole(5_000);
    let mut risk = risk(Limits { order_notional: Some(limit), ..Limits::default() });
    refused(risk.check(SECOND, wish(Side::Sell, 101, 0.01)), Rule::OrderNotional, limit.0, Cash::whole(5_050).0);
    assert!(risk.check(SECOND, wish(Side::Sell, 100, 0.01)).is_ok());
}

#[test]
fn price_collar() {
    // 5 % of 50 is 2.5.
    let mut risk = risk(Limits { price_collar_ppm: Some(50_000), ..Limits::default() });
    for price in [47.5, 52.5] {
        assert!(risk.check(SECOND, wish(Side::Buy, 1, price)).is_ok());
    }
    for price in [47.49, 52.51] {
        refused(risk.check(SECOND, wish(Side::Buy, 1, price)), Rule::PriceCollar, 50_000, 50_200);
    }
    // 50,000.00002 parts per million are more than 50,000.
    risk.mark(KO, Price(49_999_999_999)).unwrap();
    refused(risk.check(SECOND, wish(Side::Buy, 1, 52.5)), Rule::PriceCollar, 50_000, 50_001);
}

#[test]
fn position_counts_what_works_on_either_side() {
    let limit = Quantity::whole(100);
    let mut risk = risk(Limits { position: Some(limit), ..Limits::default() });
    assert!(risk.check(SECOND, wish(Side::Buy, 60, 50.0)).is_ok());
    assert!(risk.check(SECOND, wish(Side::Sell, 100, 50.0)).is_ok(), "sales and purchases do not add up");
    refused(risk.check(SECOND, wish(Side::Sell, 1, 50.0)), Rule::Position, limit.0, Quantity::whole(101).0);
    assert!(risk.check(SECOND, wish(Side::Buy, 40, 50.0)).is_ok());
    refused(risk.check(SECOND, market(Side::Buy, 1)), Rule::Position, limit.0, Quantity::whole(101).0);
}

/// The venue may put a replace in force before it says so: the room is taken when it is asked for.
#[test]
fn a_replace_takes_its_room_at_once() {
    let limit = Quantity::whole(100);
    let mut risk = risk(Limits { position: Some(limit), ..Limits::default() });
    assert!(risk.check(SECOND, wish(Side::Buy, 50, 50.0)).is_ok());
    let larger = risk.check_replace(SECOND, wish(Side::Buy, 100, 50.0), Quantity::whole(50), Quantity::ZERO);
    assert!(larger.is_ok());
    refused(risk.check(SECOND, wish(Side::Buy, 1, 50.0)), Rule::Position, limit.0, Quantity::whole(101).0);
    // Refused by the venue: the room is free again.
    risk.change_working(KO, Side::Buy, Quantity::whole(-50)).unwrap();
    assert!(risk.check(SECOND, wish(Side::Buy, 50, 50.0)).is_ok());
    assert_eq!(risk.working(KO, Side::Buy), limit);
}

#[test]
fn gross_exposure_adds_instruments_up() {
    let limit = Cash::whole(10_000);
    let mut risk = risk(Limits { gross_exposure: Some(limit), ..Limits::default() });
    let pep = Wish { instrument: PEP, ..wish(Side::Sell, 50, 100.0) };
    // Without a price it cannot be told.
    refused(risk.check(SECOND, pep), Rule::GrossExposure, limit.0, i64::MAX);
    risk.mark(PEP, Price::whole(100)).unwrap();
    assert!(risk.check(SECOND, pep).is_ok());
    assert!(risk.check(SECOND, wish(Side::Buy, 100, 50.0)).is_ok());
    assert_eq!(risk.gross(), limit);
    refused(risk.check(SECOND, wish(Side::Buy, 1, 50.0)), Rule::GrossExposure, limit.0, Cash::whole(10_050).0);
    assert!(risk.check(SECOND, wish(Side::Sell, 100, 50.0)).is_ok(), "the other side reaches no further");
}

#[test]
fn order_rate_is_exact_to_the_nanosecond() {
    let mut risk = risk(Limits { orders_per_second: Some(3), ..Limits::default() });
    let mut at = |ns: u64| risk.check(Nanos(NANOS_PER_SECOND + ns), wish(Side::Buy, 1, 50.0)).map(drop);
    assert_eq!([at(0), at(5), at(5)], [Ok(()); 3]);
    let refusal = at(NANOS_PER_SECOND - 1).unwrap_err();
    assert_eq!((refusal.rule, refusal.limit, refusal.value), (Rule::OrderRate, 3, 4));
    assert_eq!(at(NANOS_PER_SECOND), Ok(()), "the first one is a second old");
    assert!(at(NANOS_PER_SECOND + 4).is_err());
    assert_eq!([at(NANOS_PER_SECOND + 5), at(NANOS_PER_SECOND + 5)], [Ok(()); 2]);
    assert!(at(NANOS_PER_SECOND + 5).is_err());
}

#[test]
fn a_rate_of_zero_lets_nothing_pass() {
    let mut risk = risk(Limits { orders_per_second: Some(0), ..Limits::default() });
    refused(risk.check(SECOND, wish(Side::Buy, 1, 50.0)), Rule::OrderRate, 0, 1);
}

#[test]
fn daily_loss() {
    let limit = Cash::whole(100);
    let mut risk = risk(Limits { daily_loss: Some(limit), ..Limits::default() });
    trade(&mut risk, wish(Side::Buy, 10, 50.0), 50.0);
    risk.mark(KO, Price::whole(40)).unwrap();
    assert_eq!(risk.supervise(), None, "100 is allowed");
    assert!(risk.check(SECOND, wish(Side::Buy, 1, 40.0)).is_ok());
    risk.mark(KO, Price(39_990_000_000)).unwrap();
    refused(risk.check(SECOND, wish(Side::Buy, 1, 40.0)), Rule::DailyLoss, limit.0, 100_100_000);
    let breach = risk.supervise().expect("100.1 is too much");
    assert_eq!((breach.rule, breach.limit, breach.value), (Rule::DailyLoss, limit.0, 100_100_000));
    assert_eq!((risk.supervise(), risk.mode()), (None, Mode::ReduceOnly));
    assert!(risk.check(SECOND, wish(Side::Sell, 10, 39.99)).is_ok(), "a reducing order passes");
    refused(risk.check(SECOND, wish(Side::Sell, 1, 39.99)), Rule::DailyLoss, limit.0, 100_100_000);
    // The price comes back, the breach stays.
    risk.mark(KO, Price::whole(50)).unwrap();
    risk.control(Control::Resume);
    assert_eq!(risk.mode(), Mode::ReduceOnly);
    refused(risk.check(SECOND, wish(Side::Buy, 1, 40.0)), Rule::DailyLoss, limit.0, 0);
}

#[test]
fn a_new_day_starts_a_new_loss_and_keeps_the_operators_word() {
    let mut risk = risk(Limits { daily_loss: Some(Cash::whole(100)), ..Limits::default() });
    trade(&mut risk, wish(Side::Buy, 10, 50.0), 50.0);
    risk.mark(KO, Price::whole(30)).unwrap();
    assert!(risk.supervise().is_some());
    risk.clock(Nanos(NANOS_PER_DAY - 1));
    assert_eq!(risk.mode(), Mode::ReduceOnly);
    risk.clock(Nanos(NANOS_PER_DAY));
    assert_eq!(risk.mode(), Mode::Normal);
    // What happened over night belongs to the new day.
    risk.mark(KO, Price::whole(20)).unwrap();
    assert_eq!(risk.supervise(), None, "a loss of 100 since midnight");
    risk.mark(KO, Price(19_990_000_000)).unwrap();
    assert_eq!(risk.supervise().map(|breach| breach.value), Some(100_100_000));
    risk.control(Control::Pause);
    risk.clock(Nanos(2 * NANOS_PER_DAY));
    assert_eq!(risk.mode(), Mode::ReduceOnly, "the operator has not resumed");
    risk.control(Control::Resume);
    assert_eq!(risk.mode(), Mode::Normal);
}

#[test]
fn a_pause_lets_reducing_orders_pass_and_a_kill_is_final() {
    let mut risk = risk(Limits::default());
    trade(&mut risk, wish(Side::Buy, 10, 50.0), 50.0);
    risk.control(Control::Pause);
    refused(risk.check(SECOND, wish(Side::Buy, 1, 50.0)), Rule::Stopped, 0, 0);
    assert!(risk.check(SECOND, wish(Side::Sell, 10, 50.0)).is_ok());
    for control in [Control::Kill, Control::Resume, Control::Pause, Control::Resume] {
        risk.control(control);
        assert_eq!(risk.mode(), Mode::Killed, "{control:?}");
        refused(risk.check(SECOND, wish(Side::Sell, 1, 50.0)), Rule::Stopped, 0, 0);
    }
}

#[test]
fn reducing_orders_pass_the_limits_on_positions() {
    let limits = Limits {
        position: Some(Quantity::whole(10)),
        gross_exposure: Some(Cash::whole(500)),
        daily_loss: Some(Cash::whole(1)),
        ..Limits::default()
    };
    let mut risk = risk(limits);
    trade(&mut risk, wish(Side::Buy, 10, 50.0), 50.0);
    risk.mark(KO, Price::whole(90)).unwrap();
    refused(risk.check(SECOND, wish(Side::Buy, 1, 90.0)), Rule::Position, 1_000_000_000, 1_100_000_000);
    risk.mark(KO, Price::whole(49)).unwrap();
    for _ in 0..2 {
        assert!(risk.check(SECOND, wish(Side::Sell, 5, 49.0)).is_ok());
    }
    // Both sales together bring it to zero; a third would go beyond.
    assert_eq!(risk.check(SECOND, wish(Side::Sell, 1, 49.0)).unwrap_err().rule, Rule::DailyLoss);
}

#[test]
fn a_wrong_wish_is_named_before_any_limit() {
    let mut risk = risk(Limits { order_quantity: Some(Quantity(1)), ..Limits::default() });
    let lot = Quantity::whole(1).0;
    let odd = Wish { quantity: Quantity(150_000_000), ..wish(Side::Buy, 1, 50.0) };
    refused(risk.check(SECOND, odd), Rule::Invalid, lot, 150_000_000);
    refused(risk.check(SECOND, wish(Side::Buy, 0, 50.0)), Rule::Invalid, lot, 0);
    refused(risk.check(SECOND, wish(Side::Buy, -1, 50.0)), Rule::Invalid, lot, -lot);
    let between = Wish { price: Price(50_001_000_000), ..wish(Side::Buy, 1, 50.0) };
    refused(risk.check(SECOND, between), Rule::Invalid, 10_000_000, 50_001_000_000);
    refused(risk.check(SECOND, wish(Side::Buy, 1, -50.0)), Rule::Invalid, 10_000_000, Price::whole(-50).0);
    let unknown = Wish { instrument: InstrumentId(2), ..wish(Side::Buy, 1, 50.0) };
    refused(risk.check(SECOND, unknown), Rule::Invalid, 0, 0);
}

/// Numbers that do not fit are refused although nobody set a limit, and nothing is reserved for them.
#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut risk = risk(Limits::default());
    let huge = wish(Side::Buy, 90_000_000_000, 50.0);
    assert!(risk.check(SECOND, huge).is_ok(), "4.5 trillion fit");
    let before = digest(&risk);
    refused(risk.check(SECOND, huge), Rule::Invalid, 0, i64::MAX);
    assert_eq!(digest(&risk), before);
    // A price at which positions do not fit is no price.
    assert!(risk.mark(KO, Price::whole(5_000_000_000)).is_err());
    assert_eq!((digest(&risk), risk.mark_of(KO)), (before, Price::whole(50)));
    // Everything can still be given back.
    risk.change_working(KO, Side::Buy, huge.quantity.neg()).unwrap();
    assert_eq!((risk.gross(), risk.working(KO, Side::Buy)), (Cash::ZERO, Quantity::ZERO));
}

#[test]
fn a_trade_that_does_not_fit_changes_nothing() {
    let mut risk = risk(Limits::default());
    let wish = wish(Side::Buy, 1_000, 50.0);
    let order = risk.check(SECOND, wish).unwrap().into_order(OrderId(1));
    let account = risk.account(wish.strategy, KO).unwrap();
    let fill = |risk: &mut Risk, price: Price, fee: Cash, released: Quantity| {
        let mut shares = [Share { fee, ..Share::new(account, Side::Buy, wish.quantity) }];
        risk.fill(&order, price, wish.quantity, fee, released, &mut shares)
    };
    let dear = Price::whole(9_000_000_000);
    assert!(fill(&mut risk, dear, Cash::ZERO, wish.quantity).is_ok(), "9.0 trillion fit");
    let before = digest(&risk);
    assert!(fill(&mut risk, dear, Cash::ZERO, Quantity::ZERO).is_err());
    assert!(fill(&mut risk, Price::whole(1), Cash(i64::MAX), Quantity::ZERO).is_err());
    let other = risk.account(StrategyId(9), KO).unwrap();
    let mut shares = [(account, Side::Buy), (other, Side::Sell)].map(|(a, s)| Share::new(a, s, wish.quantity));
    let with_account = digest(&risk);
    assert!(risk.transfer(dear, wish.quantity, &mut shares).is_err(), "the buyer's turnover does not fit");
    assert_eq!(digest(&risk), with_account);
    assert_ne!(before, with_account);
}

#[test]
fn accounts_are_bounded() {
    let symbol = String::new();
    let instrument = Instrument { symbol, tick: Price(1), lot: Quantity(1) };
    let mut risk = Risk::new(&vec![instrument; MAX_ACCOUNTS + 1], Limits::default(), Cash::ZERO);
    for n in 0..MAX_ACCOUNTS as u32 {
        assert_eq!(risk.account(StrategyId(0), InstrumentId(n)), Some(n));
    }
    assert_eq!(risk.account(StrategyId(0), InstrumentId(MAX_ACCOUNTS as u32)), None);
    assert_eq!(risk.account(StrategyId(0), InstrumentId(5)), Some(5), "a known one is still found");
}

#[test]
fn the_fingerprint_shows_every_part_of_the_state() {
    let limits = Limits { orders_per_second: Some(9), daily_loss: Some(Cash::whole(1)), ..Limits::default() };
    let mut risk = risk(limits);
    let mut seen = vec![digest(&risk), digest(&crate::risk(Limits::default()))];
    assert_ne!(seen[0], seen[1], "limits");
    type Change = (&'static str, fn(&mut Risk));
    let changes: [Change; 9] = [
        ("mark", |risk| risk.mark(KO, Price::whole(51)).unwrap()),
        ("order and its stamp", |risk| drop(risk.check(SECOND, wish(Side::Buy, 1, 50.0)).unwrap())),
        ("working", |risk| risk.change_working(KO, Side::Buy, Quantity::whole(-1)).unwrap()),
        ("trade", |risk| trade(risk, wish(Side::Buy, 10, 50.0), 50.0)),
        ("account", |risk| assert!(risk.account(StrategyId(99), KO).is_some())),
        ("day", |risk| risk.clock(Nanos(NANOS_PER_DAY))),
        ("breach", |risk| {
            risk.mark(KO, Price::whole(1)).unwrap();
            assert!(risk.supervise().is_some());
        }),
        ("pause", |risk| risk.control(Control::Pause)),
        ("kill", |risk| risk.control(Control::Kill)),
    ];
    for (what, change) in changes {
        change(&mut risk);
        assert!(!seen.contains(&digest(&risk)), "{what} is not in the fingerprint");
        seen.push(digest(&risk));
    }
}

#[test]
fn terms_must_make_sense() {
    let (plain, shown, cent) = (Terms::PLAIN, |shares: i64| Quantity::whole(shares), Price(10_000_000));
    let post_only = Terms { post_only: true, ..plain };
    let midpoint = Terms { midpoint: true, ..plain };
    let hidden = Terms { display: Quantity::ZERO, ..plain };
    let iceberg = Terms { display: shown(10), ..plain };
    let stop = Terms { stop: Price::whole(51), ..plain };
    let mut risk = risk(Limits::default());
    let mut ask = |terms, time_in_force, limit: bool| {
        let order = if limit { wish(Side::Buy, 100, 50.0) } else { market(Side::Buy, 100) };
        risk.check(SECOND, Wish { terms, time_in_force, ..order }).map(drop)
    };
    let (day, ioc, fok) = (TimeInForce::Day, TimeInForce::Ioc, TimeInForce::Fok);
    for terms in [post_only, midpoint, hidden, iceberg, stop, Terms { post_only: true, ..iceberg }] {
        assert_eq!(ask(terms, day, true), Ok(()), "{terms:?}");
    }
    for (terms, life) in [(midpoint, day), (stop, day), (stop, ioc), (stop, fok), (plain, TimeInForce::Open)] {
        assert_eq!(ask(terms, life, false), Ok(()), "{terms:?}");
    }
    for terms in [post_only, midpoint, hidden, iceberg] {
        for life in [ioc, fok, TimeInForce::Open, TimeInForce::Close] {
            assert_eq!(ask(terms, life, true).unwrap_err().rule, Rule::Invalid, "{terms:?} {life:?}");
        }
    }
    for terms in [post_only, hidden, iceberg] {
        assert_eq!(ask(terms, day, false).unwrap_err().rule, Rule::Invalid, "{terms:?} without a limit");
    }
    let pegged = |other: Terms| Terms { midpoint: true, ..other };
    for (terms, life) in [(pegged(iceberg), day), (pegged(stop), day), (stop, TimeInForce::Close)] {
        assert_eq!(ask(terms, life, true).unwrap_err().rule, Rule::Invalid, "{terms:?} {life:?}");
    }
    for (terms, limit, value) in [
        (Terms { display: shown(101), ..plain }, shown(100).0, shown(101).0),
        (Terms { display: Quantity(5), ..plain }, shown(100).0, 5),
        (Terms { display: shown(-1), ..plain }, shown(100).0, shown(-1).0),
        (Terms { stop: Price(10_000_001), ..plain }, cent.0, 10_000_001),
        (Terms { stop: Price::ZERO, ..plain }, cent.0, 0),
    ] {
        let refusal = ask(terms, day, true).unwrap_err();
        assert_eq!((refusal.rule, refusal.limit, refusal.value), (Rule::Invalid, limit, value));
    }
    // One that works may become smaller than what it displays at once.
    let smaller = Wish { terms: iceberg, ..wish(Side::Buy, 5, 50.0) };
    assert!(risk.check_replace(SECOND, smaller, shown(100), Quantity::ZERO).is_ok());
}

#[test]
fn a_stop_without_limit_counts_at_the_dearer_of_stop_and_mark() {
    let limit = Cash::whole(5_100);
    let mut risk = risk(Limits { order_notional: Some(limit), ..Limits::default() });
    let stop = |side, at: i64, shares| Wish {
        terms: Terms { stop: Price::whole(at), ..Terms::PLAIN },
        ..market(side, shares)
    };
    assert!(risk.check(SECOND, stop(Side::Buy, 51, 100)).is_ok());
    refused(risk.check(SECOND, stop(Side::Buy, 52, 100)), Rule::OrderNotional, limit.0, Cash::whole(5_200).0);
    assert!(risk.check(SECOND, stop(Side::Sell, 40, 102)).is_ok());
    refused(risk.check(SECOND, stop(Side::Sell, 40, 103)), Rule::OrderNotional, limit.0, Cash::whole(5_150).0);
}
