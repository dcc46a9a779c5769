//! OUCH 4.2 at the venue: messages to wishes, answers to messages.

use helios_types::NANOS_PER_SECOND;
use helios_wire::ouch42::{inbound, outbound, time_in_force};

use crate::order::{Change, Enter, Life, MARKET, Manner, Order, Reference, Refusal, Reply, Said, capacity};

/// A new order, or why it cannot be.
pub(crate) fn enter(message: inbound::view::EnterOrder<'_>) -> Result<Enter, Refusal> {
    if message.cross_type() != b'N' {
        return Err(Refusal::Cross);
    }
    let terms = (message.time_in_force(), message.display(), message.minimum_quantity(), message.shares());
    let (manner, said) = wanted(terms)?;
    Ok(Enter {
        reference: Reference::Token(*message.order_token()),
        side: message.buy_sell_indicator(),
        shares: message.shares(),
        stock: *message.stock(),
        price: u64::from(message.price()),
        manner,
        said: Said {
            firm: *message.firm(),
            capacity: capacity(message.capacity()),
            intermarket_sweep: message.intermarket_sweep_eligibility(),
            customer_type: message.customer_type(),
            ..said
        },
    })
}

/// A replacement, or why it cannot be.
pub(crate) fn replace(message: inbound::view::ReplaceOrder<'_>) -> Result<Change, Refusal> {
    let terms = (message.time_in_force(), message.display(), message.minimum_quantity(), message.shares());
    let (manner, said) = wanted(terms)?;
    Ok(Change {
        reference: Reference::Token(*message.replacement_order_token()),
        shares: message.shares(),
        price: u64::from(message.price()),
        manner,
        said: Said { intermarket_sweep: message.intermarket_sweep_eligibility(), ..said },
    })
}

fn wanted((lives, display, minimum, shares): (u32, u8, u32, u32)) -> Result<(Manner, Said), Refusal> {
    let life = match lives {
        time_in_force::IMMEDIATE => Life::Immediate,
        time_in_force::MARKET_HOURS | time_in_force::SYSTEM_HOURS => Life::Day,
        seconds if seconds < time_in_force::MARKET_HOURS => Life::For(u64::from(seconds) * NANOS_PER_SECOND),
        _ => return Err(Refusal::TimeInForce),
    };
    let (hidden, post_only, attributed) = match display {
        b'A' => (false, false, true),
        b'Y' => (false, false, false),
        b'N' => (true, false, false),
        b'P' => (false, true, false),
        b'L' => (false, true, true),
        b'M' | b'W' | b'm' | b'n' => return Err(Refusal::Peg),
        b'O' | b'T' | b'Q' => return Err(Refusal::Retail),
        b'I' => return Err(Refusal::Cross),
        _ => return Err(Refusal::Display),
    };
    life.allows_minimum(minimum, shares)?;
    life.allows_post_only(post_only)?;
    let said = Said { time_in_force: lives, display, minimum, ..Said::default() };
    Ok((Manner { life, hidden, post_only, attributed }, said))
}

fn token(reference: &Reference) -> [u8; 14] {
    match reference {
        Reference::Token(token) => *token,
        Reference::Number(_) | Reference::Text(_) => [b' '; 14],
    }
}

/// A price of 4 bytes; what does not fit stands for a market order.
fn price(price: u64) -> u32 {
    u32::try_from(price).unwrap_or(MARKET as u32)
}

fn accepted(timestamp: u64, order: &Order) -> outbound::Accepted {
    outbound::Accepted {
        timestamp,
        order_token: token(&order.reference),
        buy_sell_indicator: order.side,
        shares: order.open,
        stock: order.stock,
        price: price(order.price),
        time_in_force: order.said.time_in_force,
        firm: order.said.firm,
        display: order.said.display,
        order_reference_number: order.number,
        capacity: order.said.capacity,
        intermarket_sweep_eligibility: order.said.intermarket_sweep,
        minimum_quantity: order.said.minimum,
        cross_type: b'N',
        order_state: b'L',
        bbo_weight_indicator: b' ',
    }
}

/// One answer.
pub(crate) fn encode(reply: &Reply<'_>, timestamp: u64, out: &mut Vec<u8>) {
    match *reply {
        Reply::Day(event_code) => outbound::SystemEvent { timestamp, event_code }.append_to(out),
        Reply::Accepted(order) => accepted(timestamp, order).append_to(out),
        Reply::Replaced { old, order } => {
            let outbound::Accepted { shares, stock, price, time_in_force, firm, display, .. } =
                accepted(timestamp, order);
            let message = outbound::Replaced {
                timestamp,
                replacement_order_token: token(&order.reference),
                buy_sell_indicator: order.side,
                shares,
                stock,
                price,
                time_in_force,
                firm,
                display,
                order_reference_number: order.number,
                capacity: order.said.capacity,
                intermarket_sweep_eligibility: order.said.intermarket_sweep,
                minimum_quantity: order.said.minimum,
                cross_type: b'N',
                order_state: b'L',
                previous_order_token: token(old),
                bbo_weight_indicator: b' ',
            };
            message.append_to(out);
        }
        _ => encode_end(reply, timestamp, out),
    }
}

/// The answers that are not about a new order.
fn encode_end(reply: &Reply<'_>, timestamp: u64, out: &mut Vec<u8>) {
    match *reply {
        Reply::Canceled { order, shares: decrement_shares, ended } => {
            let (order_token, cancel_order_reason) = (token(&order.reference), ended as u8);
            outbound::Canceled { timestamp, order_token, decrement_shares, cancel_order_reason }.append_to(out);
        }
        Reply::SelfTrade { order, shares, price: at } => {
            let message = outbound::AiqCancelled {
                timestamp,
                order_token: token(&order.reference),
                decrement_shares: shares,
                cancel_order_reason: b'Q',
                quantity_prevented_from_trading: shares,
                execution_price: price(at),
                liquidity_flag: b'R',
            };
            message.append_to(out);
        }
        Reply::Executed { order, shares, price: at, flag, match_number } => {
            let message = outbound::Executed {
                timestamp,
                order_token: token(&order.reference),
                executed_shares: shares,
                execution_price: price(at),
                liquidity_flag: flag,
                match_number,
            };
            message.append_to(out);
        }
        Reply::Rejected { reference, why, .. } => {
            let (order_token, rejected_order_reason) = (token(reference), code(why));
            outbound::RejectedOrder { timestamp, order_token, rejected_order_reason }.append_to(out);
        }
        Reply::Modified(order) => {
            let (order_token, buy_sell_indicator, shares) = (token(&order.reference), order.side, order.open);
            outbound::OrderModified { timestamp, order_token, buy_sell_indicator, shares }.append_to(out);
        }
        Reply::Moved(order) => {
            let message = outbound::OrderPriorityUpdate {
                timestamp,
                order_token: token(&order.reference),
                price: price(order.price),
                display: order.said.display,
                order_reference_number: order.number,
            };
            message.append_to(out);
        }
        Reply::TradeNow(order) => {
            outbound::SequencedTradeNow { timestamp, order_token: token(&order.reference) }.append_to(out);
        }
        Reply::Day(_) | Reply::Accepted(_) | Reply::Replaced { .. } => {}
    }
}

/// Letters of the specification.
fn code(why: Refusal) -> u8 {
    match why {
        Refusal::Closed => b'C',
        Refusal::Display => b'D',
        Refusal::Halted => b'H',
        Refusal::Firm => b'L',
        Refusal::MinQuantity => b'N',
        Refusal::Cross => b'R',
        Refusal::Symbol => b'S',
        Refusal::Price => b'X',
        Refusal::Quantity => b'Z',
        Refusal::Side
        | Refusal::Processing
        | Refusal::Duplicate
        | Refusal::TimeInForce
        | Refusal::MaxFloor
        | Refusal::Peg
        | Refusal::Restricted
        | Refusal::Routing
        | Refusal::Retail => b'O',
    }
}
