//! What a session asks of the world, as lines that a person can read; and a venue's messages, from words.

use std::fmt;

use helios_live::{EntryConfig, EntryOut, Protocol, Secret};
use helios_types::{
    CancelReason, Event, InstrumentId, Link, Liquidity, Nanos, Order, OrderId, Price, Quantity, Report, ReportKind,
    Side, StrategyId, Terms, TimeInForce,
};
use helios_wire::soupbintcp::{LoginAccepted, Packet};
use helios_wire::{ouch, ouch42, soupbintcp, text};

/// Midnight of the tests' day.
pub const MIDNIGHT: Nanos = Nanos(1_700_000_000_000_000_000);

pub fn at(seconds: f64) -> Nanos {
    MIDNIGHT.plus((seconds * 1e9).round() as u64)
}

pub fn config(protocol: Protocol) -> EntryConfig {
    EntryConfig {
        name: "X".to_owned(),
        session: 3,
        protocol,
        user: "me".to_owned(),
        password: Secret::new("hunter2"),
        symbols: vec![Some("KO".to_owned()), None],
        midnight: MIDNIGHT,
        first_reference: 1,
        token_prefix: String::new(),
        timeout_ms: None,
        seed: None,
    }
}

/// What was asked for, a line each.
pub struct Log {
    pub protocol: Protocol,
    pub lines: Vec<String>,
}

impl Log {
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, lines: Vec::new() }
    }

    pub fn taken(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

impl EntryOut for Log {
    fn event(&mut self, event: Event) {
        self.lines.push(match event {
            Event::Link(link) => shown_link(&link),
            Event::Report(report) => shown_report(&report),
            other => format!("{other:?}"),
        });
    }

    fn connect(&mut self) {
        self.lines.push("connect".to_owned());
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((packet, length)) = soupbintcp::decode(rest).expect("we write packets") {
            self.lines.push(format!("write {}", shown_packet(self.protocol, packet)));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "whole packets: {}", rest.escape_ascii());
    }

    fn close(&mut self) {
        self.lines.push("close".to_owned());
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        let text = text.to_string();
        assert!(!text.contains("hunter2"), "a secret in a note");
        self.lines.push(format!("note {text}"));
    }
}

fn shown_link(link: &Link) -> String {
    match *link {
        Link::Down { session: 3 } => "down".to_owned(),
        Link::Up { session: 3 } => "up".to_owned(),
        Link::Settled { session: 3 } => "settled".to_owned(),
        Link::Heard { session: 3, name, next } => {
            let bytes = name.to_le_bytes();
            assert_eq!(bytes[10..], [0; 6]);
            format!("heard {} {next}", String::from_utf8_lossy(text(&bytes[..10])))
        }
        other => panic!("{other:?}"),
    }
}

fn shown_report(report: &Report) -> String {
    assert_eq!(report.instrument, InstrumentId(0));
    let kind = match report.kind {
        ReportKind::Accepted { book_ref } => format!("accepted book {book_ref}"),
        ReportKind::Filled { execution, price, quantity, liquidity, fee } => {
            assert_eq!(fee.0, 0);
            let maker = if liquidity == Liquidity::Maker { " maker" } else { "" };
            format!("filled {quantity} @ {price} execution {execution}{maker}")
        }
        ReportKind::Cancelled { reason } => format!("cancelled {}", reason_name(reason)),
        ReportKind::Replaced { quantity, price } => format!("replaced to {quantity} @ {price}"),
        ReportKind::Rejected { reason } => format!("rejected {reason:?}"),
        ReportKind::ChangeRejected { reason } => format!("change_rejected {reason:?}"),
    };
    format!("report {} {kind}", report.order.0)
}

fn reason_name(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Requested => "requested",
        CancelReason::Unfilled => "unfilled",
        CancelReason::Expired => "expired",
        CancelReason::SelfTrade => "self_trade",
    }
}

fn shown_packet(protocol: Protocol, packet: Packet<'_>) -> String {
    match packet {
        Packet::LoginRequest(login) => {
            let session = soupbintcp::strip(&login.requested_session);
            let session = if session.is_empty() { b"-" } else { session };
            format!("login {} {}", session.escape_ascii(), login.sequence_number().expect("digits"))
        }
        Packet::ClientHeartbeat => "heartbeat".to_owned(),
        Packet::LogoutRequest => "logout".to_owned(),
        Packet::UnsequencedData(body) if protocol == Protocol::Ouch50 => shown50(body),
        Packet::UnsequencedData(body) => shown42(body),
        other => panic!("{other:?}"),
    }
}

fn shown_side(side: u8) -> &'static str {
    if side == b'B' { "buy" } else { "sell" }
}

fn shown_price(raw: u64) -> Price {
    helios_wire::price4(raw).expect("a price")
}

fn shown50(body: &[u8]) -> String {
    use ouch::inbound::Message as M;
    let decoded = ouch::inbound::decode(body).expect("we write messages");
    match decoded.message {
        M::EnterOrder(m) => {
            let (side, price) = (shown_side(m.side()), shown_price(m.price()));
            let ioc = if m.time_in_force() == b'3' { " ioc" } else { "" };
            assert_eq!(m.symbol(), b"KO      ");
            format!("enter {} {side} {} @ {price}{ioc}", m.user_ref_num(), m.quantity())
        }
        M::ReplaceOrder(m) => {
            let (from, to, price) = (m.orig_user_ref_num(), m.user_ref_num(), shown_price(m.price()));
            format!("replace {from} by {to} to {} @ {price}", m.quantity())
        }
        M::CancelOrder(m) => {
            assert_eq!(m.quantity(), 0);
            format!("cancel {}", m.user_ref_num())
        }
        M::AccountQuery(_) => "query".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn shown42(body: &[u8]) -> String {
    use ouch42::inbound::Message as M;
    let number = |token: &[u8; 14]| text(token).escape_ascii().to_string();
    match ouch42::inbound::decode(body).expect("we write messages") {
        M::EnterOrder(m) => {
            let (side, price) = (shown_side(m.buy_sell_indicator()), shown_price(m.price().into()));
            let ioc = if m.time_in_force() == 0 { " ioc" } else { "" };
            assert_eq!(m.stock(), b"KO      ");
            format!("enter {} {side} {} @ {price}{ioc}", number(m.order_token()), m.shares())
        }
        M::ReplaceOrder(m) => {
            let (from, to) = (number(m.existing_order_token()), number(m.replacement_order_token()));
            format!("replace {from} by {to} to {} @ {}", m.shares(), shown_price(m.price().into()))
        }
        M::CancelOrder(m) => {
            assert_eq!(m.shares(), 0);
            format!("cancel {}", number(m.order_token()))
        }
        other => panic!("{other:?}"),
    }
}

/// An order of strategy 0 in instrument 0.
pub fn order(id: u64, side: Side, shares: i64, price: Price, time_in_force: TimeInForce) -> Order {
    Order {
        id: OrderId(id),
        strategy: StrategyId(0),
        instrument: InstrumentId(0),
        side,
        quantity: Quantity::whole(shares),
        price,
        time_in_force,
        terms: Terms::PLAIN,
    }
}

/// A message of a venue about one of our references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Accepted { shares: u32, book: u64, dead: bool },
    Replaced { open: u32, raw: u32, dead: bool },
    Cancelled { shares: u32, reason: u8 },
    Aiq { shares: u32 },
    Executed { shares: u32, raw: u32, execution: u64, flag: u8 },
    Rejected { code: u16 },
    CancelPending,
    CancelRejected,
    Modified { open: u32 },
    Broken { execution: u64 },
    Corrected { execution: u64, raw: u32 },
    Moved,
    Restated,
    Next,
    System,
    // Of FIX only.
    ReplaceRejected,
    Status { status: char },
}

/// The bytes of it, without the carrier. 5.0 has no correction, 4.2 no restatement and no account query: `None`.
pub fn said(protocol: Protocol, ts: u64, reference: u32, says: Says) -> Option<Vec<u8>> {
    match protocol {
        Protocol::Ouch50 => said50(ts, reference, says),
        Protocol::Ouch42 => said42(ts, reference, says),
    }
}

fn said50(timestamp: u64, user_ref_num: u32, says: Says) -> Option<Vec<u8>> {
    use ouch::outbound as o;
    let cl_ord_id = [b' '; 14];
    let bytes = match says {
        Says::Accepted { shares, book, dead } => o::OrderAccepted {
            timestamp,
            user_ref_num,
            side: b'B',
            quantity: shares,
            symbol: *b"KO      ",
            price: 1,
            time_in_force: b'0',
            display: b'Y',
            order_reference_number: book,
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            cross_type: b'N',
            order_state: if dead { b'D' } else { b'L' },
            cl_ord_id,
            appendage_length: 0,
        }
        .encode()
        .to_vec(),
        Says::Replaced { open, raw, dead } => o::OrderReplaced {
            timestamp,
            orig_user_ref_num: 0,
            user_ref_num,
            side: b'B',
            quantity: open,
            symbol: *b"KO      ",
            price: raw.into(),
            time_in_force: b'0',
            display: b'Y',
            order_reference_number: 5,
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            cross_type: b'N',
            order_state: if dead { b'D' } else { b'L' },
            cl_ord_id,
            appendage_length: 0,
        }
        .encode()
        .to_vec(),
        Says::Cancelled { shares, reason } => {
            o::OrderCanceled { timestamp, user_ref_num, quantity: shares, reason }.encode().to_vec()
        }
        Says::Aiq { shares } => o::AiqCanceled {
            timestamp,
            user_ref_num,
            decrement_shares: shares,
            reason: b'Q',
            quantity_prevented_from_trading: shares,
            execution_price: 1,
            liquidity_flag: b'R',
            aiq_strategy: b'D',
        }
        .encode()
        .to_vec(),
        Says::Executed { shares, raw, execution, flag } => o::OrderExecuted {
            timestamp,
            user_ref_num,
            quantity: shares,
            price: raw.into(),
            liquidity_flag: flag,
            match_number: execution,
            appendage_length: 0,
        }
        .encode()
        .to_vec(),
        Says::Rejected { code } => o::Rejected { timestamp, user_ref_num, reason: code, cl_ord_id }.encode().to_vec(),
        Says::CancelPending => o::CancelPending { timestamp, user_ref_num }.encode().to_vec(),
        Says::CancelRejected => o::CancelReject { timestamp, user_ref_num }.encode().to_vec(),
        Says::Modified { open } => {
            o::OrderModified { timestamp, user_ref_num, side: b'B', quantity: open }.encode().to_vec()
        }
        Says::Broken { execution } => {
            o::BrokenTrade { timestamp, user_ref_num, match_number: execution, reason: b'E', cl_ord_id }
                .encode()
                .to_vec()
        }
        Says::Corrected { .. } | Says::ReplaceRejected | Says::Status { .. } => return None,
        Says::Moved => {
            let (price, display, order_reference_number) = (1, b'Y', 6);
            o::OrderPriorityUpdate { timestamp, user_ref_num, price, display, order_reference_number }.encode().to_vec()
        }
        Says::Restated => {
            o::OrderRestated { timestamp, user_ref_num, reason: b'R', appendage_length: 0 }.encode().to_vec()
        }
        Says::Next => o::AccountQueryResponse { timestamp, next_user_ref_num: user_ref_num }.encode().to_vec(),
        Says::System => o::SystemEvent { timestamp, event_code: b'S' }.encode().to_vec(),
    };
    Some(bytes)
}

fn said42(timestamp: u64, reference: u32, says: Says) -> Option<Vec<u8>> {
    use ouch42::outbound as o;
    let order_token = helios_wire::alpha(&reference.to_string()).expect("ten digits");
    let bytes = match says {
        Says::Accepted { shares, book, dead } => o::Accepted {
            timestamp,
            order_token,
            buy_sell_indicator: b'B',
            shares,
            stock: *b"KO      ",
            price: 1,
            time_in_force: 99_998,
            firm: [b' '; 4],
            display: b'Y',
            order_reference_number: book,
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            minimum_quantity: 0,
            cross_type: b'N',
            order_state: if dead { b'D' } else { b'L' },
            bbo_weight_indicator: b' ',
        }
        .encode()
        .to_vec(),
        Says::Replaced { open, raw, dead } => o::Replaced {
            timestamp,
            replacement_order_token: order_token,
            buy_sell_indicator: b'B',
            shares: open,
            stock: *b"KO      ",
            price: raw,
            time_in_force: 99_998,
            firm: [b' '; 4],
            display: b'Y',
            order_reference_number: 5,
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            minimum_quantity: 0,
            cross_type: b'N',
            order_state: if dead { b'D' } else { b'L' },
            previous_order_token: [b' '; 14],
            bbo_weight_indicator: b' ',
        }
        .encode()
        .to_vec(),
        Says::Cancelled { shares, reason } => {
            let cancel_order_reason = reason;
            o::Canceled { timestamp, order_token, decrement_shares: shares, cancel_order_reason }.encode().to_vec()
        }
        Says::Aiq { shares } => o::AiqCancelled {
            timestamp,
            order_token,
            decrement_shares: shares,
            cancel_order_reason: b'Q',
            quantity_prevented_from_trading: shares,
            execution_price: 1,
            liquidity_flag: b'R',
        }
        .encode()
        .to_vec(),
        Says::Executed { shares, raw, execution, flag } => o::Executed {
            timestamp,
            order_token,
            executed_shares: shares,
            execution_price: raw,
            liquidity_flag: flag,
            match_number: execution,
        }
        .encode()
        .to_vec(),
        Says::Rejected { code } => {
            o::RejectedOrder { timestamp, order_token, rejected_order_reason: code as u8 }.encode().to_vec()
        }
        Says::CancelPending => o::CancelPending { timestamp, order_token }.encode().to_vec(),
        Says::CancelRejected => o::CancelReject { timestamp, order_token }.encode().to_vec(),
        Says::Modified { open } => {
            o::OrderModified { timestamp, order_token, buy_sell_indicator: b'B', shares: open }.encode().to_vec()
        }
        Says::Broken { execution } => {
            o::BrokenTrade { timestamp, order_token, match_number: execution, broken_trade_reason: b'E' }
                .encode()
                .to_vec()
        }
        Says::Corrected { execution, raw } => o::TradeCorrection {
            timestamp,
            order_token,
            executed_shares: 1,
            execution_price: raw,
            liquidity_flag: b'A',
            match_number: execution,
            reason: b'N',
        }
        .encode()
        .to_vec(),
        Says::Moved => {
            let (price, display, order_reference_number) = (1, b'Y', 6);
            o::OrderPriorityUpdate { timestamp, order_token, price, display, order_reference_number }.encode().to_vec()
        }
        Says::Restated | Says::Next | Says::ReplaceRejected | Says::Status { .. } => return None,
        Says::System => o::SystemEvent { timestamp, event_code: b'S' }.encode().to_vec(),
    };
    Some(bytes)
}

/// A message that counts, as its packet.
pub fn sequenced(message: &[u8]) -> Vec<u8> {
    bytes_of(Packet::SequencedData(message))
}

pub fn accepted(session: &str, next: u64) -> Vec<u8> {
    bytes_of(Packet::LoginAccepted(LoginAccepted::new(session, next).expect("a short name")))
}

pub fn bytes_of(packet: Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.append_to(&mut bytes);
    bytes
}
