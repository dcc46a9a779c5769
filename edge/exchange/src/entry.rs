//! Messages of order-entry clients to the venue's wishes.

use helios_types::Nanos;
use helios_wire::ouch::{Options, OuchError, inbound as in50, outbound as out50, tag};
use helios_wire::ouch42::inbound as in42;

use crate::order::{Ended, Reference};
use crate::venue::{Filter, Users, Venue};
use crate::{ouch42, ouch50};

/// One message of OUCH 4.2; what is wrong with it if it is none.
pub(crate) fn on_ouch42(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    bytes: &[u8],
    now: Nanos,
) -> Result<(), OuchError> {
    use in42::Message;
    match in42::decode(bytes).map_err(OuchError::Message)? {
        Message::EnterOrder(message) => {
            let reference = Reference::Token(*message.order_token());
            let wish = ouch42::enter(message).map_err(|why| (reference, [b' '; 14], why));
            venue.enter(users, account, wish, now);
        }
        Message::ReplaceOrder(message) => {
            let old = Reference::Token(*message.existing_order_token());
            let new = Reference::Token(*message.replacement_order_token());
            venue.replace(users, account, (&old, &new), ouch42::replace(message), now);
        }
        Message::CancelOrder(message) => {
            venue.cancel(users, account, &Reference::Token(*message.order_token()), message.shares(), now);
        }
        Message::ModifyOrder(message) => {
            let reference = Reference::Token(*message.order_token());
            venue.modify(users, account, &reference, (message.buy_sell_indicator(), message.shares()), now);
        }
        Message::TradeNow(message) => venue.trade_now(account, &Reference::Token(*message.order_token()), now),
    }
    Ok(())
}

/// One message of OUCH 5.0; what is wrong with it if it is none.
pub(crate) fn on_ouch50(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    bytes: &[u8],
    now: Nanos,
) -> Result<(), OuchError> {
    use in50::Message;
    let decoded = in50::decode(bytes)?;
    let options = decoded.options.unwrap_or_default();
    match decoded.message {
        Message::EnterOrder(message) => {
            let reference = Reference::Number(message.user_ref_num());
            let wish = ouch50::enter(message, options).map_err(|why| (reference, *message.cl_ord_id(), why));
            venue.enter(users, account, wish, now);
        }
        Message::ReplaceOrder(message) => {
            let old = Reference::Number(message.orig_user_ref_num());
            let new = Reference::Number(message.user_ref_num());
            venue.replace(users, account, (&old, &new), ouch50::replace(message, options), now);
        }
        Message::CancelOrder(message) => {
            venue.cancel(users, account, &Reference::Number(message.user_ref_num()), message.quantity(), now);
        }
        Message::ModifyOrder(message) => {
            let reference = Reference::Number(message.user_ref_num());
            venue.modify(users, account, &reference, (message.side(), message.quantity()), now);
        }
        Message::MassCancel(message) => mass_cancel(venue, users, account, message, options, now),
        Message::DisableOrderEntry(message) => {
            let (number, firm) = (message.user_ref_num(), *message.firm());
            if set_disabled(venue, users, account, (number, firm, true), now) {
                venue.answer(account, |timestamp, out| {
                    let (user_ref_num, appendage_length) = (number, 0);
                    out50::DisableOrderEntryResponse { timestamp, user_ref_num, firm, appendage_length }.append_to(out);
                });
            }
        }
        Message::EnableOrderEntry(message) => {
            let (number, firm) = (message.user_ref_num(), *message.firm());
            if set_disabled(venue, users, account, (number, firm, false), now) {
                venue.answer(account, |timestamp, out| {
                    let (user_ref_num, appendage_length) = (number, 0);
                    out50::EnableOrderEntryResponse { timestamp, user_ref_num, firm, appendage_length }.append_to(out);
                });
            }
        }
        Message::AccountQuery(_) => venue.query(account, now),
    }
    Ok(())
}

/// Whether a firm that a message names is the account's.
fn is_firm(venue: &Venue, users: &Users, account: usize, firm: [u8; 4]) -> bool {
    firm == *b"    " || firm == users.list[venue.accounts[account].user].firm
}

fn set_disabled(
    venue: &mut Venue,
    users: &Users,
    account: usize,
    (number, firm, disabled): (u32, [u8; 4], bool),
    now: Nanos,
) -> bool {
    let heard = venue.consume(account, number, now) && is_firm(venue, users, account, firm);
    if heard {
        venue.set_disabled(account, disabled);
    }
    heard
}

/// Each order gets its own answer, then comes the one to the message.
fn mass_cancel(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    message: in50::view::MassCancel<'_>,
    options: Options<'_>,
    now: Nanos,
) {
    let (user_ref_num, firm, symbol) = (message.user_ref_num(), *message.firm(), *message.symbol());
    if !venue.consume(account, user_ref_num, now) {
        return;
    }
    if is_firm(venue, users, account, firm) {
        let filter = Filter {
            stock: (symbol != *b"        ").then_some(symbol),
            side: options.get(tag::SIDE).and_then(|value| value.first().copied()),
            group: options.get(tag::GROUP_ID).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes),
        };
        venue.cancel_all(users, account, filter, Ended::User, now);
    }
    venue.answer(account, |timestamp, out| {
        let message = out50::MassCancelResponse { timestamp, user_ref_num, firm, symbol, appendage_length: 0 };
        message.append_to(out);
    });
}
