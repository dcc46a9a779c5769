//! What the exchange knows of a user: the other side of what a client believes of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use helios_types::{Liquidity, Side};

/// Most executions that a ledger lists; beyond it they are only summed.
pub const MAX_LISTED: usize = 1 << 20;

/// One execution of a user's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Index of the venue.
    pub venue: usize,
    /// Index of the symbol at the venue.
    pub symbol: usize,
    /// The client's reference: a number, a token or an identifier, as text.
    pub reference: String,
    /// What the client calls the order beside its reference; empty where the protocol has nothing of the kind.
    pub cl_ord_id: String,
    /// Buy or sell.
    pub side: Side,
    /// Shares.
    pub shares: u32,
    /// In units of 0.0001.
    pub price: u64,
    /// Number of the trade on the feed.
    pub match_number: u64,
    /// Whether the order rested.
    pub liquidity: Liquidity,
    /// Nanoseconds since midnight.
    pub at: u64,
}

/// What one user did over all venues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Orders and replacements that were received, refused ones included, repeated ones not.
    pub received: u64,
    /// Of them accepted.
    pub accepted: u64,
    /// Of them refused.
    pub rejected: u64,
    /// Orders that ended without being filled, in whole or in part.
    pub cancelled: u64,
    /// Orders that work now.
    pub open: u64,
    /// All executions in order, up to [`MAX_LISTED`].
    pub executions: Vec<Execution>,
    /// How many there were.
    pub executed: u64,
    /// Shares by venue and symbol, negative when short.
    pub positions: BTreeMap<(usize, usize), i64>,
    /// Money received minus money paid, in units of 0.0001.
    pub cash: i128,
}

impl Ledger {
    pub(crate) fn execute(&mut self, execution: Execution) {
        let signed = execution.side.sign() * i64::from(execution.shares);
        *self.positions.entry((execution.venue, execution.symbol)).or_default() += signed;
        self.cash -= i128::from(signed) * i128::from(execution.price);
        self.executed += 1;
        if self.executions.len() < MAX_LISTED {
            self.executions.push(execution);
        }
    }

    /// As a JSON object; `names` gives a venue's and a symbol's name.
    pub fn to_json(&self, names: impl Fn(usize, usize) -> (String, String)) -> String {
        let mut out = String::new();
        let Self { received, accepted, rejected, cancelled, open, executed, cash, .. } = self;
        let _ = write!(
            out,
            "{{\"received\":{received},\"accepted\":{accepted},\"rejected\":{rejected},\"cancelled\":{cancelled},\
             \"open\":{open},\"executed\":{executed},\"cash\":\"{}\",\"positions\":[",
            decimal(*cash)
        );
        for (at, ((venue, symbol), shares)) in self.positions.iter().enumerate() {
            let (venue, symbol) = names(*venue, *symbol);
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{{\"venue\":{venue:?},\"symbol\":{symbol:?},\"shares\":{shares}}}");
        }
        out.push_str("],\"executions\":[");
        for (at, execution) in self.executions.iter().enumerate() {
            let Execution { reference, cl_ord_id, side, shares, price, match_number, liquidity, at: ts, .. } =
                execution;
            let (venue, symbol) = names(execution.venue, execution.symbol);
            let (comma, side) = (if at > 0 { "," } else { "" }, if *side == Side::Buy { "buy" } else { "sell" });
            let liquidity = if *liquidity == Liquidity::Maker { "maker" } else { "taker" };
            let _ = write!(
                out,
                "{comma}{{\"venue\":{venue:?},\"symbol\":{symbol:?},\"reference\":{},\"cl_ord_id\":{},\
                 \"side\":\"{side}\",\"shares\":{shares},\"price\":\"{}\",\"match_number\":{match_number},\
                 \"liquidity\":\"{liquidity}\",\"ns_since_midnight\":{ts}}}",
                quoted(reference),
                quoted(cl_ord_id),
                decimal(i128::from(*price)),
            );
        }
        out.push_str("]}");
        out
    }
}

/// Four decimals.
fn decimal(raw: i128) -> String {
    let sign = if raw < 0 { "-" } else { "" };
    let raw = raw.unsigned_abs();
    format!("{sign}{}.{:04}", raw / 10_000, raw % 10_000)
}

/// A JSON string; a client may have chosen any bytes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
