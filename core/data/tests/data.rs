//! ITCH bytes -> events, message type by message type; and what bad events do to the markets: they are counted, and
//! change nothing.

use helios_book::Capacity;
use helios_data::normalise::ItchNormaliser;
use helios_data::{Markets, Touched};
use helios_types::{
    Digest, Hasher, InstrumentId, Market, Nanos, Price, QualityKind, Quantity, Side, TradeKind, TradingStatus, Update,
};
use helios_wire::itch;
use proptest::prelude::*;

const MIDNIGHT: Nanos = Nanos(1_600_000_000_000_000_000);
const KO: InstrumentId = InstrumentId(1);
const LOCATE: u16 = 77;
const AT: u64 = 34_200_000_000_123;

/// PEP and KO; only KO is in the directory, as number 77.
fn normaliser() -> ItchNormaliser {
    let mut normaliser = ItchNormaliser::new(MIDNIGHT, &["PEP".to_owned(), "KO".to_owned()]);
    assert_eq!(event(&mut normaliser, &directory(LOCATE, *b"KO      ")), None);
    normaliser
}

fn directory(stock_locate: u16, stock: [u8; 8]) -> Vec<u8> {
    let directory = itch::StockDirectory {
        stock_locate,
        tracking_number: 0,
        timestamp: 1,
        stock,
        market_category: b'Q',
        financial_status_indicator: b'N',
        round_lot_size: 100,
        round_lots_only: b'N',
        issue_classification: b'C',
        issue_sub_type: *b"Z ",
        authenticity: b'P',
        short_sale_threshold_indicator: b'N',
        ipo_flag: b'N',
        luld_reference_price_tier: b'1',
        etp_flag: b'N',
        etp_leverage_factor: 0,
        inverse_indicator: b'N',
    };
    directory.encode().to_vec()
}

fn event(normaliser: &mut ItchNormaliser, bytes: &[u8]) -> Option<Market> {
    normaliser.normalise(&itch::decode(bytes).expect("a whole message"))
}

/// What a message about KO becomes.
fn update(bytes: &[u8]) -> Option<Update> {
    let market = event(&mut normaliser(), bytes)?;
    assert_eq!((market.instrument, market.ts_event), (KO, Nanos(MIDNIGHT.0 + AT)));
    Some(market.update)
}

macro_rules! message {
    ($name:ident { $($field:ident: $value:expr),* $(,)? }) => {
        itch::$name { stock_locate: LOCATE, tracking_number: 9, timestamp: AT, $($field: $value),* }.encode().to_vec()
    };
}

const STOCK: [u8; 8] = *b"KO      ";

/// 45.1234 at 1e-9.
const PRICE: Price = Price(45_123_400_000);

fn add(side: u8, shares: u32, price: u32) -> Vec<u8> {
    message!(AddOrder {
        order_reference_number: 5,
        buy_sell_indicator: side,
        shares: shares,
        stock: STOCK,
        price: price
    })
}

fn cross(shares: u64, price: u32) -> Vec<u8> {
    message!(CrossTrade { cross_shares: shares, stock: STOCK, cross_price: price, match_number: 8, cross_type: b'O' })
}

fn trading_action(state: u8) -> Vec<u8> {
    message!(StockTradingAction { stock: STOCK, trading_state: state, reserved: b' ', reason_code: *b"    " })
}

fn executed_at(printable: u8, price: u32) -> Vec<u8> {
    message!(OrderExecutedWithPrice {
        order_reference_number: 5,
        executed_shares: 60,
        match_number: 7,
        printable: printable,
        execution_price: price,
    })
}

#[test]
fn orders_and_what_happens_to_them() {
    let shares = Quantity::whole;
    let buy = Update::Add { order: 5, side: Side::Buy, price: PRICE, quantity: shares(300) };
    let sell = Update::Add { order: 5, side: Side::Sell, price: PRICE, quantity: shares(300) };
    let with_mpid = message!(AddOrderMpid {
        order_reference_number: 5,
        buy_sell_indicator: b'S',
        shares: 300,
        stock: STOCK,
        price: 451_234,
        attribution: *b"GSCO",
    });
    let executed = message!(OrderExecuted { order_reference_number: 5, executed_shares: 60, match_number: 7 });
    let cancelled = message!(OrderCancel { order_reference_number: 5, canceled_shares: 60 });
    let deleted = message!(OrderDelete { order_reference_number: 5 });
    let replaced = message!(OrderReplace {
        original_order_reference_number: 5,
        new_order_reference_number: 6,
        shares: 200,
        price: 451_234,
    });
    let at = |printable| Update::ExecuteAt { order: 5, quantity: shares(60), price: PRICE, printable, trade: 7 };
    for (bytes, expected) in [
        (add(b'B', 300, 451_234), buy),
        (add(b'S', 300, 451_234), sell),
        (with_mpid, sell),
        (executed, Update::Execute { order: 5, quantity: shares(60), trade: 7 }),
        (executed_at(b'Y', 451_234), at(true)),
        (executed_at(b'N', 451_234), at(false)),
        (cancelled, Update::Reduce { order: 5, quantity: shares(60) }),
        (deleted, Update::Delete { order: 5 }),
        (replaced, Update::Replace { order: 5, new_order: 6, price: PRICE, quantity: shares(200) }),
    ] {
        assert_eq!(update(&bytes), Some(expected));
    }
}

#[test]
fn trades_and_states() {
    let hidden = message!(TradeNonCross {
        order_reference_number: 0,
        buy_sell_indicator: b'B',
        shares: 60,
        stock: STOCK,
        price: 451_234,
        match_number: 8,
    });
    let trade = |kind, shares| Update::Trade {
        price: PRICE,
        quantity: Quantity::whole(shares),
        aggressor: None,
        kind,
        trade: 8,
    };
    assert_eq!(update(&hidden), Some(trade(TradeKind::Hidden, 60)));
    // More shares than 32 bits hold.
    assert_eq!(update(&cross(5_000_000_000, 451_234)), Some(trade(TradeKind::Cross, 5_000_000_000)));
    assert_eq!(update(&cross(0, 0)), None, "a cross without shares is an announcement");
    assert_eq!(update(&message!(BrokenTrade { match_number: 8 })), Some(Update::TradeBreak { trade: 8 }));
    for (letter, status) in [
        (b'H', TradingStatus::Halted),
        (b'P', TradingStatus::Paused),
        (b'Q', TradingStatus::QuoteOnly),
        (b'T', TradingStatus::Trading),
        // What nobody knows is not traded.
        (b'?', TradingStatus::Halted),
    ] {
        assert_eq!(update(&trading_action(letter)), Some(Update::Status(status)));
    }
}

#[test]
fn administration_is_no_event() {
    for bytes in [
        message!(SystemEvent { event_code: b'Q' }),
        message!(RegShoRestriction { stock: STOCK, reg_sho_action: b'0' }),
        message!(MarketParticipantPosition {
            mpid: *b"GSCO",
            stock: STOCK,
            primary_market_maker: b'Y',
            market_maker_mode: b'N',
            market_participant_state: b'A',
        }),
        message!(MwcbDeclineLevel { level_1: 1, level_2: 2, level_3: 3 }),
        message!(MwcbStatus { breached_level: b'1' }),
        message!(IpoQuotingPeriodUpdate {
            stock: STOCK,
            ipo_quotation_release_time: 1,
            ipo_quotation_release_qualifier: b'A',
            ipo_price: 1,
        }),
        message!(LuldAuctionCollar {
            stock: STOCK,
            auction_collar_reference_price: 1,
            upper_auction_collar_price: 1,
            lower_auction_collar_price: 1,
            auction_collar_extension: 1,
        }),
        message!(OperationalHalt { stock: STOCK, market_code: b'Q', operational_halt_action: b'H' }),
        message!(NetOrderImbalanceIndicator {
            paired_shares: 1,
            imbalance_shares: 1,
            imbalance_direction: b'B',
            stock: STOCK,
            far_price: 1,
            near_price: 1,
            current_reference_price: 1,
            cross_type: b'O',
            price_variation_indicator: b'L',
        }),
        message!(RetailPriceImprovementIndicator { stock: STOCK, interest_flag: b'A' }),
        message!(DirectListingCapitalRaise {
            stock: STOCK,
            open_eligibility_status: b'Y',
            minimum_allowable_price: 1,
            maximum_allowable_price: 1,
            near_execution_price: 1,
            near_execution_time: 1,
            lower_price_range_collar: 1,
            upper_price_range_collar: 1,
        }),
        directory(LOCATE, STOCK),
    ] {
        assert_eq!(update(&bytes), None);
    }
}

/// The directory says what a number means, today and from here on.
#[test]
fn the_directory_decides_whose_event_it_is() {
    let mut normaliser = normaliser();
    let mut elsewhere = add(b'B', 1, 1);
    elsewhere[2] = 78;
    assert_eq!(event(&mut normaliser, &elsewhere), None, "not in the directory");
    event(&mut normaliser, &directory(78, *b"PEP     "));
    assert_eq!(event(&mut normaliser, &elsewhere).map(|market| market.instrument), Some(InstrumentId(0)));
    event(&mut normaliser, &directory(78, *b"MSFT    "));
    assert_eq!(event(&mut normaliser, &elsewhere), None, "not wanted");
}

#[test]
fn placeholder_prices_are_no_prices() {
    let price = |raw| match update(&add(b'B', 1, raw)) {
        Some(Update::Add { price, .. }) => price,
        other => panic!("{other:?}"),
    };
    assert_eq!(price(1_999_999_999), Price(199_999_999_900_000));
    for raw in [2_000_000_000, 2_000_000_001, 0x7FFF_FFFF, u32::MAX] {
        assert_eq!(price(raw), Price::UNDEFINED, "{raw}");
    }
}

fn market(update: Update) -> Market {
    Market { instrument: KO, ts_event: Nanos(5), update }
}

fn markets() -> Markets {
    Markets::new(2, Capacity { orders: 8, levels: 8 })
}

/// The state without what is counted and told.
fn digest(markets: &Markets) -> (u128, String) {
    let mut hasher = Hasher::new();
    markets.books().digest(&mut hasher);
    (hasher.finish(), format!("{:?}", markets.view(KO)))
}

/// A message whose values mean nothing reaches the markets and is counted there: it is neither guessed at nor lost.
#[test]
fn values_that_mean_nothing_are_counted_and_change_nothing() {
    let too_many = u64::MAX / 2;
    for bytes in [
        add(b'X', 100, 451_234),
        add(b'B', 0, 451_234),
        add(b'B', 100, 0),
        cross(too_many, 451_234),
        cross(100, 0),
        cross(100, u32::MAX),
        executed_at(b'Y', 0),
        executed_at(b'Y', u32::MAX),
    ] {
        let mut markets = markets();
        let resting = Update::Add { order: 5, side: Side::Buy, price: Price::whole(45), quantity: Quantity::whole(90) };
        if bytes[0] == b'C' {
            markets.apply(&market(resting)).unwrap();
        }
        let before = digest(&markets);
        let quality = markets.apply(&market(update(&bytes).expect("an event"))).expect_err("a bad one");
        assert_eq!((quality.instrument, quality.kind), (KO, QualityKind::BadValue));
        assert_eq!(digest(&markets), before);
        assert_eq!(markets.faults()[QualityKind::BadValue as usize], 1);
    }
}

#[test]
fn an_order_without_a_price_prints_none() {
    let mut markets = markets();
    let trade = Update::Trade {
        price: Price::whole(45),
        quantity: Quantity::whole(1),
        aggressor: None,
        kind: TradeKind::Regular,
        trade: 1,
    };
    assert_eq!(markets.apply(&market(trade)), Ok(Touched::TRADE));
    let quantity = Quantity::whole(100);
    let resting = Update::Add { order: 5, side: Side::Buy, price: Price::UNDEFINED, quantity };
    markets.apply(&market(resting)).unwrap();
    let executed = markets.apply(&market(Update::Execute { order: 5, quantity: Quantity::whole(10), trade: 2 }));
    assert!(!executed.unwrap().has(Touched::TRADE));
    assert_eq!(markets.view(KO).mark(), Price::whole(45));
    assert_eq!(markets.books().order(5).map(|resting| resting.quantity), Some(Quantity::whole(90)));
}

#[test]
fn what_an_execution_touches() {
    let mut markets = markets();
    let quantity = Quantity::whole(100);
    for (order, side, cents) in [(1, Side::Buy, 4_499), (2, Side::Buy, 4_498), (3, Side::Sell, 4_501)] {
        markets.apply(&market(Update::Add { order, side, price: Price(cents * 10_000_000), quantity })).unwrap();
    }
    let ten = Quantity::whole(10);
    let (book, top) = (Touched::BOOK, Touched::BOOK.and(Touched::TOP));
    assert_eq!(
        markets.apply(&market(Update::Execute { order: 1, quantity: ten, trade: 0 })),
        Ok(top.and(Touched::TRADE))
    );
    assert_eq!(markets.view(KO).last_aggressor, Some(Side::Sell));
    assert_eq!(
        markets.apply(&market(Update::Execute { order: 2, quantity: ten, trade: 0 })),
        Ok(book.and(Touched::TRADE))
    );
    let hidden = Update::ExecuteAt { order: 3, quantity: ten, price: Price::whole(45), printable: false, trade: 0 };
    assert_eq!(markets.apply(&market(hidden)), Ok(top), "what is not printed is no trade");
    assert_eq!(markets.view(KO).last, Price(44_980_000_000));
    assert_eq!(markets.apply(&market(Update::Delete { order: 2 })), Ok(book), "below the best");
    assert_eq!(markets.apply(&market(Update::TradeBreak { trade: 0 })), Ok(Touched::NOTHING));
    assert_eq!(markets.apply(&market(Update::Clear)), Ok(top));
}

#[test]
fn a_trade_with_displayed_orders_takes_them_in_turn() {
    let mut markets = markets();
    let quantity = Quantity::whole(100);
    for (order, cents) in [(1, 4_499), (2, 4_499), (3, 4_498)] {
        let price = Price(cents * 10_000_000);
        markets.apply(&market(Update::Add { order, side: Side::Buy, price, quantity })).unwrap();
    }
    let trade = |cents: i64, shares, aggressor| Update::Trade {
        price: Price(cents * 10_000_000),
        quantity: Quantity::whole(shares),
        aggressor,
        kind: TradeKind::Displayed,
        trade: 0,
    };
    let (book, top) = (Touched::BOOK.and(Touched::TRADE), Touched::BOOK.and(Touched::TRADE).and(Touched::TOP));
    assert_ne!(book, top);
    assert_eq!(markets.apply(&market(trade(4_499, 130, Some(Side::Sell)))), Ok(top));
    let left = |markets: &Markets| [1, 2, 3].map(|order| markets.books().order(order).map(|resting| resting.quantity));
    assert_eq!(left(&markets), [None, Some(Quantity::whole(70)), Some(quantity)]);
    let view = markets.view(KO);
    assert_eq!((view.last, view.last_quantity), (Price(44_990_000_000), Quantity::whole(130)));
    assert_eq!(view.last_aggressor, Some(Side::Sell));
    // More than is there at that price, nothing there at all, nobody knows which side: refused whole, and counted.
    let before = left(&markets);
    for (event, kind) in [
        (trade(4_499, 71, Some(Side::Sell)), QualityKind::ExceedsQuantity),
        (trade(4_600, 1, Some(Side::Sell)), QualityKind::UnknownOrder),
        (trade(4_499, 1, Some(Side::Buy)), QualityKind::UnknownOrder),
        (trade(4_499, 1, None), QualityKind::BadValue),
        (trade(0, 1, Some(Side::Sell)), QualityKind::BadValue),
        (trade(4_499, 0, Some(Side::Sell)), QualityKind::BadValue),
    ] {
        assert_eq!(markets.apply(&market(event)).unwrap_err().kind, kind, "{event:?}");
        assert_eq!(left(&markets), before);
        assert_eq!(markets.view(KO).last_quantity, Quantity::whole(130), "what is refused is no trade");
    }
    assert_eq!(markets.apply(&market(trade(4_498, 170, Some(Side::Sell)))), Ok(top), "down to its limit");
    assert!(markets.books().is_empty());
}

fn full(markets: &Markets) -> u128 {
    let mut hasher = Hasher::new();
    markets.digest(&mut hasher);
    hasher.finish()
}

#[test]
fn the_fingerprint_shows_every_part_of_the_state() {
    let (price, quantity) = (Price::whole(45), Quantity::whole(1));
    let trade = |aggressor| Update::Trade { price, quantity, aggressor, kind: TradeKind::Regular, trade: 1 };
    let quote = |bid, ask| Update::Quote { bid, bid_quantity: quantity, ask, ask_quantity: quantity };
    let mut markets = markets();
    let mut seen = vec![full(&markets)];
    for update in [
        trade(None),
        trade(Some(Side::Buy)),
        Update::Bar { open: price, high: price, low: price, close: price, volume: quantity, span: 1 },
        Update::Bar { open: price, high: price, low: price, close: price, volume: Quantity::ZERO, span: 1 },
        Update::Add { order: 1, side: Side::Buy, price, quantity },
        // Behind the best: only the book changes.
        Update::Add { order: 2, side: Side::Buy, price: Price::whole(44), quantity },
        quote(price, price),
        quote(Price::whole(46), price),
        Update::Status(TradingStatus::Paused),
        // Refused: counted.
        Update::Delete { order: 77 },
    ] {
        let _ = markets.apply(&market(update));
        assert!(!seen.contains(&full(&markets)), "{update:?} is not in the fingerprint");
        seen.push(full(&markets));
    }
    // The same market with the same past, but for whether its last crossing was reported.
    let crossing = |uncrossed: bool| {
        let mut markets = self::markets();
        for (bid, judged) in [(46, true), (45, uncrossed), (46, false)] {
            let event = market(quote(Price::whole(bid), price));
            markets.apply(&event).unwrap();
            if judged {
                assert_eq!(markets.judge(&event).is_some(), bid == 46);
            }
        }
        markets
    };
    let (told, untold) = (crossing(false), crossing(true));
    assert_eq!((told.faults(), told.view(KO).top), (untold.faults(), untold.view(KO).top));
    assert_ne!(full(&told), full(&untold));
}

proptest! {
    /// Whatever bytes have the length of a message become an event or none, and the markets take or refuse it.
    #[test]
    fn no_message_panics(kind in prop::sample::select(&b"SRHYLVWKJhAFECXDUPQBINO"[..]), bytes in any::<[u8; 50]>()) {
        let mut normaliser = normaliser();
        let mut markets = markets();
        let mut message = bytes.to_vec();
        message[0] = kind;
        message[1..3].copy_from_slice(&LOCATE.to_be_bytes());
        message.truncate(itch::layout(kind).expect("a known type").length);
        if let Some(market) = event(&mut normaliser, &message) {
            let before = digest(&markets);
            if markets.apply(&market).is_err() {
                prop_assert_eq!(digest(&markets), before);
            }
            markets.judge(&market);
        }
    }
}
