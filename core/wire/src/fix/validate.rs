//! One message against the dictionary.

use super::codec::Message;
use super::dictionary::Dictionary;

/// What is checked beyond types, enumerations and required fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Refuse `tag=` without a value.
    pub values: bool,
    /// Refuse header fields after body fields.
    pub order: bool,
    /// Refuse tags from 5000 on that the dictionary does not know.
    pub user_defined: bool,
    /// Refuse tags below 5000 that the dictionary or the message does not know.
    pub unknown: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { values: true, order: true, user_defined: true, unknown: true }
    }
}

/// A session-level Reject to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// SessionRejectReason.
    pub reason: u32,
    /// RefTagID.
    pub tag: Option<i32>,
    /// Text.
    pub text: &'static str,
}

/// Judges a message: the first fault in the order of the session rules.
pub fn validate(dictionary: &Dictionary, message: &Message<'_>, rules: &Rules) -> Result<(), Reject> {
    let _ = (dictionary, message, rules);
    todo!()
}
