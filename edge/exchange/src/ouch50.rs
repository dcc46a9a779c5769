//! OUCH 5.0 at the venue: messages to wishes, answers to messages.

use helios_types::NANOS_PER_SECOND;
use helios_wire::ouch::{Options, append_option, inbound, outbound, tag};

use crate::order::{Change, Enter, Life, Manner, Reference, Refusal, Reply, Said, capacity};

/// Longest life of an order with an expiry time, seconds.
const MAX_EXPIRE_S: u32 = 86_400;
/// Options that an accepted order repeats.
const ON_ACCEPTED: [u8; 17] = [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 24, 25];
/// Options that a replaced order repeats.
const ON_REPLACED: [u8; 8] = [2, 3, 5, 6, 12, 15, 16, 17];

/// A new order, or why it cannot be.
pub(crate) fn enter(message: inbound::view::EnterOrder<'_>, options: Options<'_>) -> Result<Enter, Refusal> {
    let wanted = wanted(
        options,
        (message.time_in_force(), message.display(), message.quantity()),
        options.get(tag::FIRM).and_then(|value| value.try_into().ok()).unwrap_or(*b"    "),
    )?;
    if message.cross_type() != b'N' {
        return Err(Refusal::Cross);
    }
    let said = Said {
        capacity: capacity(message.capacity()),
        intermarket_sweep: message.intermarket_sweep_eligibility(),
        cl_ord_id: *message.cl_ord_id(),
        options: only(options, &ON_ACCEPTED),
        ..wanted.said
    };
    Ok(Enter {
        reference: Reference::Number(message.user_ref_num()),
        side: message.side(),
        shares: message.quantity(),
        stock: *message.symbol(),
        price: message.price(),
        manner: wanted.manner,
        said,
    })
}

/// A replacement, or why it cannot be.
pub(crate) fn replace(message: inbound::view::ReplaceOrder<'_>, options: Options<'_>) -> Result<Change, Refusal> {
    let terms = (message.time_in_force(), message.display(), message.quantity());
    let wanted = wanted(options, terms, *b"    ")?;
    Ok(Change {
        reference: Reference::Number(message.user_ref_num()),
        shares: message.quantity(),
        price: message.price(),
        manner: wanted.manner,
        said: Said {
            intermarket_sweep: message.intermarket_sweep_eligibility(),
            cl_ord_id: *message.cl_ord_id(),
            options: only(options, &ON_REPLACED),
            ..wanted.said
        },
    })
}

struct Wanted {
    manner: Manner,
    said: Said,
}

/// What new orders and replacements say alike.
fn wanted(
    options: Options<'_>,
    (time_in_force, display, quantity): (u8, u8, u32),
    firm: [u8; 4],
) -> Result<Wanted, Refusal> {
    let number = |tag| options.get(tag).map_or(Some(0), |value| value.try_into().ok().map(u32::from_be_bytes));
    let letter = |tag, usual: u8| options.get(tag).map_or(usual, |value| value.first().copied().unwrap_or(0));
    let expire = number(tag::EXPIRE_TIME).ok_or(Refusal::TimeInForce)?;
    let life = match time_in_force {
        b'0' | b'5' | b'E' => Life::Day,
        b'3' => Life::Immediate,
        b'6' if (1..MAX_EXPIRE_S).contains(&expire) => Life::For(u64::from(expire) * NANOS_PER_SECOND),
        _ => return Err(Refusal::TimeInForce),
    };
    let minimum = number(tag::MIN_QTY).ok_or(Refusal::MinQuantity)?;
    life.allows_minimum(minimum, quantity)?;
    if number(tag::MAX_FLOOR) != Some(0) || number(tag::RANDOM_RESERVES) != Some(0) {
        return Err(Refusal::MaxFloor);
    }
    if !matches!(letter(tag::PRICE_TYPE, b'L'), b'L' | b' ') || number(tag::PEG_OFFSET) != Some(0) {
        return Err(Refusal::Peg);
    }
    let discretion = options.get(tag::DISCRETION_PRICE).is_some_and(|value| value.iter().any(|byte| *byte != 0));
    if discretion || number(tag::DISCRETION_PEG_OFFSET) != Some(0) {
        return Err(Refusal::Restricted);
    }
    if options.get(tag::ROUTE).is_some_and(|route| route.iter().any(|byte| *byte != b' ')) {
        return Err(Refusal::Routing);
    }
    if letter(tag::HANDLE_INST, b' ') != b' ' {
        return Err(Refusal::Retail);
    }
    let hidden = match display {
        b'Y' | b'A' => false,
        b'N' => true,
        _ => return Err(Refusal::Display),
    };
    let post_only = match letter(tag::POST_ONLY, b'N') {
        b'P' => true,
        b'N' | b' ' => false,
        _ => return Err(Refusal::Restricted),
    };
    life.allows_post_only(post_only)?;
    let group = options.get(tag::GROUP_ID).and_then(|value| value.try_into().ok()).map_or(0, u16::from_be_bytes);
    Ok(Wanted {
        manner: Manner { life, hidden, post_only, attributed: display == b'A' },
        said: Said { time_in_force: u32::from(time_in_force), display, minimum, firm, group, ..Said::default() },
    })
}

/// The options with these tags, as they came.
fn only(options: Options<'_>, tags: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for option in options.into_iter().filter(|option| tags.contains(&option.tag)) {
        append_option(option.tag, option.value, &mut kept);
    }
    kept
}

fn number(reference: &Reference) -> u32 {
    match reference {
        Reference::Number(number) => *number,
        Reference::Token(_) | Reference::Text(_) => 0,
    }
}

/// One answer.
pub(crate) fn encode(reply: &Reply<'_>, timestamp: u64, out: &mut Vec<u8>) {
    match *reply {
        Reply::Day(event_code) => outbound::SystemEvent { timestamp, event_code }.append_to(out),
        Reply::Accepted(order) => {
            let message = outbound::OrderAccepted {
                timestamp,
                user_ref_num: number(&order.reference),
                side: order.side,
                quantity: order.open,
                symbol: order.stock,
                price: order.price,
                time_in_force: order.said.time_in_force as u8,
                display: order.said.display,
                order_reference_number: order.number,
                capacity: order.said.capacity,
                intermarket_sweep_eligibility: order.said.intermarket_sweep,
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: order.said.cl_ord_id,
                appendage_length: 0,
            };
            outbound::append(&message.encode(), &order.said.options, out);
        }
        Reply::Replaced { old, order } => {
            let message = outbound::OrderReplaced {
                timestamp,
                orig_user_ref_num: number(old),
                user_ref_num: number(&order.reference),
                side: order.side,
                quantity: order.open,
                symbol: order.stock,
                price: order.price,
                time_in_force: order.said.time_in_force as u8,
                display: order.said.display,
                order_reference_number: order.number,
                capacity: order.said.capacity,
                intermarket_sweep_eligibility: order.said.intermarket_sweep,
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: order.said.cl_ord_id,
                appendage_length: 0,
            };
            outbound::append(&message.encode(), &order.said.options, out);
        }
        _ => encode_end(reply, timestamp, out),
    }
}

/// The answers that are not about a new order.
fn encode_end(reply: &Reply<'_>, timestamp: u64, out: &mut Vec<u8>) {
    match *reply {
        Reply::Canceled { order, shares: quantity, ended } => {
            let user_ref_num = number(&order.reference);
            outbound::OrderCanceled { timestamp, user_ref_num, quantity, reason: ended as u8 }.append_to(out);
        }
        Reply::SelfTrade { order, shares, price } => {
            let message = outbound::AiqCanceled {
                timestamp,
                user_ref_num: number(&order.reference),
                decrement_shares: shares,
                reason: b'Q',
                quantity_prevented_from_trading: shares,
                execution_price: price,
                liquidity_flag: b'R',
                aiq_strategy: b' ',
            };
            message.append_to(out);
        }
        Reply::Executed { order, shares: quantity, price, flag: liquidity_flag, match_number } => {
            let message = outbound::OrderExecuted {
                timestamp,
                user_ref_num: number(&order.reference),
                quantity,
                price,
                liquidity_flag,
                match_number,
                appendage_length: 0,
            };
            message.append_to(out);
        }
        Reply::Rejected { reference, cl_ord_id, why } => {
            let (user_ref_num, reason) = (number(reference), code(why));
            outbound::Rejected { timestamp, user_ref_num, reason, cl_ord_id: *cl_ord_id }.append_to(out);
        }
        Reply::Modified(order) => {
            let (user_ref_num, side, quantity) = (number(&order.reference), order.side, order.open);
            outbound::OrderModified { timestamp, user_ref_num, side, quantity }.append_to(out);
        }
        Reply::Moved(order) => {
            let message = outbound::OrderPriorityUpdate {
                timestamp,
                user_ref_num: number(&order.reference),
                price: order.price,
                display: order.said.display,
                order_reference_number: order.number,
            };
            message.append_to(out);
        }
        Reply::Day(_) | Reply::Accepted(_) | Reply::Replaced { .. } | Reply::TradeNow(_) => {}
    }
}

/// Codes of the specification.
fn code(why: Refusal) -> u16 {
    match why {
        Refusal::Closed => 2,
        Refusal::Display => 3,
        Refusal::MaxFloor => 4,
        Refusal::Halted => 7,
        Refusal::Side => 9,
        Refusal::Processing | Refusal::Duplicate => 10,
        Refusal::Firm => 12,
        Refusal::MinQuantity => 13,
        Refusal::TimeInForce => 15,
        Refusal::Peg => 17,
        Refusal::Quantity => 19,
        Refusal::Cross => 20,
        Refusal::Routing => 22,
        Refusal::Symbol => 23,
        Refusal::Retail => 26,
        Refusal::Price => 29,
        Refusal::Restricted => 36,
    }
}
