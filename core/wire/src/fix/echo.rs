//! The application that acceptance suites talk to: it sends orders and security definitions back.
//!
//! Absent: an order book, prices, any meaning. An exchange is `core/venue`.

use std::collections::BTreeSet;

use super::codec::Message;
use super::dictionary::Dictionary;
use super::outside::Handled;
use super::sender::Reply;

/// ClOrdIDs remembered between two logons; the smallest are forgotten beyond it.
const MAX_SEEN: usize = 100_000;

/// Sends NewOrderSingle (D), SecurityDefinition (d) and Email (C) back as they came; nothing else is supported.
/// A repeated order (97=Y) with a ClOrdID seen since the logon is dropped.
#[derive(Debug, Default)]
pub struct Echo {
    seen: BTreeSet<Vec<u8>>,
}

impl Echo {
    /// To be called from [`super::Outside::application`].
    pub fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        match message.msg_type() {
            b"D" if self.is_repeated(message) => Handled::Done,
            b"D" | b"C" | b"d" => {
                send_back(message, reply);
                Handled::Done
            }
            _ => Handled::Unsupported,
        }
    }

    /// To be called from [`super::Outside::logged_out`]: forgets the orders seen.
    pub fn logged_out(&mut self) {
        self.seen.clear();
    }

    fn is_repeated(&mut self, message: &Message<'_>) -> bool {
        let Some(id) = message.get(11) else { return false };
        let seen = !self.seen.insert(id.to_vec());
        if self.seen.len() > MAX_SEEN {
            self.seen.pop_first();
        }
        seen && message.is_yes(97)
    }
}

/// The body again, its fields in ascending order with groups kept together; 97 is kept in the header.
fn send_back(message: &Message<'_>, reply: &mut Reply<'_>) {
    let dictionary = Dictionary::of(reply.version());
    let fields = dictionary.sorted_body(message);
    let header: &[(u32, &[u8])] = if message.is_yes(97) { &[(97, b"Y")] } else { &[] };
    // What came in was no longer than what may go out, but for the header: an echo that does not fit is no echo.
    let _ = reply.send_with(message.msg_type(), header, |builder| {
        fields.iter().for_each(|(tag, value)| builder.raw_field(*tag as u32, value));
    });
}
