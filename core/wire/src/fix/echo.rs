//! The application that acceptance suites talk to: it sends orders and security definitions back.

use super::codec::Message;
use super::session::{Handled, Reply};

/// Sends NewOrderSingle (D), SecurityDefinition (d) and Email (C) back as they came; nothing else is supported.
/// A repeated order (97=Y) with a ClOrdID seen since the logon is dropped.
#[derive(Debug, Default)]
pub struct Echo {}

impl Echo {
    /// To be called from [`super::Outside::application`].
    pub fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        let _ = (message, reply);
        todo!()
    }

    /// To be called from [`super::Outside::logged_out`]: forgets the orders seen.
    pub fn logged_out(&mut self) {
        todo!()
    }
}
