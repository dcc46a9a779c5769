//! FIX 4.4 at the venue: requests to wishes, answers to reports, drop copies.
//!
//! An account's stream holds bodies of messages; they get their numbers when they are sent, so that what happens while
//! nobody is logged on comes after the next logon, and what was lost with a connection is sent again as FIX does.
//!
//! Requests: NewOrderSingle (D), OrderCancelRequest (F), OrderCancelReplaceRequest (G), OrderStatusRequest (H),
//! OrderMassCancelRequest (q). A ClOrdID that was used is refused (103=6). An order keeps its OrderID (37) over replaces; a
//! refused replace leaves the order as it was. ExecID (17) is unique; SecondaryExecID (527) of a trade is its match number
//! on the feed, which both sides share. Post-only is ExecInst 6, hidden MaxFloor 0.
//! A drop copy has the trades of its user, or of all: ClOrdID (11) is what the order-entry protocol calls the order (OUCH
//! 5.0: its `cl_ord_id`, or the number without one), Account (1) the user.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use helios_types::{Liquidity, Nanos};
use helios_wire::fix::{Message, Role, Session, Settings, Stored, Version};

use crate::order::{Change, Ended, Enter, Life, MARKET, Manner, Order, Reference, Refusal, Reply, Said, TIME_BYTES};
use crate::venue::{Filter, Users, Venue};

/// Longest ClOrdID.
const MAX_ID: usize = 64;
/// Most bytes of sent messages kept to be sent again; older ones are gap-filled.
const MAX_SENT: usize = 1 << 28;

/// A session of an account, over all its connections of the day.
pub(crate) struct FixSession {
    pub(crate) session: Session,
    pub(crate) kept: Kept,
}

/// What a session has sent, and where it is in the account's stream.
pub(crate) struct Kept {
    /// Number of the account's next message that it was not given yet.
    pub(crate) next: u64,
    sent: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl FixSession {
    pub(crate) fn new(venue: &str, user: &str, now: Nanos) -> Self {
        let settings = Settings::new(Role::Acceptor, Version::Fix44, venue, user);
        let kept = Kept { next: 1, sent: BTreeMap::new(), bytes: 0 };
        Self { session: Session::new(settings, Stored::fresh(now)), kept }
    }
}

impl Kept {
    pub(crate) fn keep(&mut self, seq: u64, message: &[u8]) {
        self.bytes += message.len();
        self.sent.insert(seq, message.to_vec());
        while self.bytes > MAX_SENT
            && let Some((_, old)) = self.sent.pop_first()
        {
            self.bytes -= old.len();
        }
    }

    pub(crate) fn again(&self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        for (seq, message) in self.sent.range(from..=to) {
            each(*seq, message);
        }
    }

    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }
}

// Requests.

/// Why a request was not understood: a number of BusinessRejectReason (380) and a text.
type Misunderstood = (u8, String);

fn required<'a>(message: &Message<'a>, tag: i32) -> Result<&'a [u8], Misunderstood> {
    message.get(tag).ok_or_else(|| (5, format!("tag {tag} is required")))
}

fn id(message: &Message<'_>, tag: i32) -> Result<Box<str>, Misunderstood> {
    let bytes = required(message, tag)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= MAX_ID && text.is_ascii() => Ok(text.into()),
        _ => Err((0, format!("tag {tag} is longer than {MAX_ID} characters or no ASCII"))),
    }
}

fn shares(message: &Message<'_>, tag: i32) -> Result<u32, Misunderstood> {
    let wrong = || (0, format!("tag {tag} is no whole number of shares"));
    let text = std::str::from_utf8(required(message, tag)?).map_err(|_| wrong())?;
    let whole = match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return Err(wrong()),
        None => text,
    };
    // What is too large for us is refused as a quantity.
    Ok(whole.parse::<u64>().map_err(|_| wrong())?.min(u64::from(u32::MAX)) as u32)
}

/// A price in units of 0.0001; one with more decimals is none of ours.
fn price(message: &Message<'_>) -> Result<u64, Misunderstood> {
    let wrong = || (0, "tag 44 is no price with up to four decimals".to_owned());
    let text = std::str::from_utf8(required(message, 44)?).map_err(|_| wrong())?;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let rest = rest.trim_end_matches('0');
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if rest.len() > 4 || !digits(whole) || !digits(rest) || whole.len() > 12 || (whole.is_empty() && rest.is_empty()) {
        return Err(wrong());
    }
    let number = format!("{whole}{rest:0<4}");
    number.parse().map_err(|_| wrong())
}

struct Terms {
    price: u64,
    shares: u32,
    manner: Manner,
    said: Said,
}

/// What new orders and replacements say alike: terms, or why they are refused.
fn terms(message: &Message<'_>, now: Nanos) -> Result<Result<Terms, Refusal>, Misunderstood> {
    let shares = shares(message, 38)?;
    let kind = required(message, 40)?;
    let price = match kind {
        b"1" => MARKET,
        b"2" => price(message)?,
        _ => return Ok(Err(Refusal::Restricted)),
    };
    let minimum = message.get(110).map_or(Ok(0), |_| self::shares(message, 110))?;
    let floor = message.get(111).map(|_| self::shares(message, 111)).transpose()?;
    Ok(judged(message, (price, shares), (minimum, floor), now))
}

/// The same, when all its numbers are some.
fn judged(
    message: &Message<'_>,
    (price, shares): (u64, u32),
    (minimum, floor): (u32, Option<u32>),
    now: Nanos,
) -> Result<Terms, Refusal> {
    let lives = message.get(59).unwrap_or(b"0");
    let life = match lives {
        b"0" => Life::Day,
        b"3" | b"4" => Life::Immediate,
        b"6" => match message.timestamp(126) {
            Some(at) if at > now => Life::For(at.since(now)),
            _ => return Err(Refusal::TimeInForce),
        },
        _ => return Err(Refusal::TimeInForce),
    };
    let words = message.get(18).unwrap_or_default();
    let mut instructions = words.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let post_only = match (instructions.next(), instructions.next()) {
        (None, _) => false,
        (Some(b"6"), None) => true,
        _ => return Err(Refusal::Restricted),
    };
    life.allows_post_only(post_only)?;
    let hidden = floor == Some(0);
    if floor.is_some_and(|floor| !hidden && floor < shares) {
        return Err(Refusal::MaxFloor);
    }
    let minimum = if lives == b"4" { shares } else { minimum };
    life.allows_minimum(minimum, shares)?;
    let manner = Manner { life, hidden, post_only, attributed: false };
    let time_in_force = u32::from(lives.first().copied().unwrap_or(b'0'));
    let said = Said { time_in_force, display: b'Y', minimum, firm: *b"    ", cl_ord_id: [b' '; 14], ..Said::default() };
    Ok(Terms { price, shares, manner, said })
}

fn side(message: &Message<'_>) -> u8 {
    match message.get(54) {
        Some(b"1") => b'B',
        Some(b"2") => b'S',
        Some(b"5") => b'T',
        Some(b"6") => b'E',
        _ => b'?',
    }
}

fn side_code(letter: u8) -> char {
    match letter {
        b'B' => '1',
        b'S' => '2',
        b'T' => '5',
        _ => '6',
    }
}

/// One application message of a client. False for a type that is not supported.
pub(crate) fn on_message(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    message: &Message<'_>,
    now: Nanos,
) -> bool {
    venue.set_time(now);
    let done = match message.msg_type() {
        b"D" => new_order(venue, users, account, message, now),
        b"F" => cancel(venue, users, account, message, now),
        b"G" => replace(venue, users, account, message, now),
        b"H" => status(venue, account, message),
        b"q" => mass_cancel(venue, users, account, message, now),
        _ => return false,
    };
    if let Err((reason, text)) = done {
        let kind = String::from_utf8_lossy(message.msg_type()).into_owned();
        let seq = message.seq_num().unwrap_or(0);
        venue.report_fix(account, b'j', |_, out| {
            field(out, 45, seq);
            field(out, 372, kind);
            field(out, 380, reason);
            field(out, 58, text);
        });
    }
    true
}

fn new_order(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    message: &Message<'_>,
    now: Nanos,
) -> Result<(), Misunderstood> {
    let reference = Reference::Text(id(message, 11)?);
    let symbol = String::from_utf8_lossy(required(message, 55)?).into_owned();
    let (side, terms, wanted) = (side(message), terms(message, now)?, shares(message, 38)?);
    if message.is_yes(97) && venue.knows(account, &reference) {
        return Ok(());
    }
    let enter = terms.and_then(|Terms { price, shares, manner, said }| {
        let stock = helios_wire::alpha::<8>(&symbol).map_err(|_| Refusal::Symbol)?;
        Ok(Enter { reference: reference.clone(), side, shares, stock, price, manner, said })
    });
    if let Err(why) = venue.try_enter(users, account, &reference, enter) {
        let (code, text) = reason(why);
        venue.report_fix(account, b'8', |exec, out| {
            field(out, 37, "NONE");
            field(out, 11, &reference);
            field(out, 17, exec);
            field(out, 150, '8');
            nothing_of_it(out, (code, text), &symbol, side_code(side), Some(wanted));
        });
    }
    Ok(())
}

/// What a report says of an order that never worked.
fn nothing_of_it(out: &mut Vec<u8>, (code, text): (u8, &str), symbol: &str, side: char, wanted: Option<u32>) {
    field(out, 39, '8');
    field(out, 103, code);
    field(out, 58, text);
    field(out, 55, symbol);
    field(out, 54, side);
    if let Some(shares) = wanted {
        field(out, 38, shares);
    }
    field(out, 151, 0);
    field(out, 14, 0);
    field(out, 6, 0);
}

fn cancel(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    message: &Message<'_>,
    now: Nanos,
) -> Result<(), Misunderstood> {
    let (old, asked) = (Reference::Text(id(message, 41)?), id(message, 11)?);
    if !venue.burn(account, &Reference::Text(asked.clone())) {
        return refuse_change(venue, account, (&old, &asked), ('1', 6, "ClOrdID was used"));
    }
    match venue.working(account, &old) {
        Some(number) => venue.cancel_asked(users, number, asked, now),
        None => return unknown(venue, account, (&old, &asked), '1'),
    }
    Ok(())
}

/// The order is not there, or not any more.
fn unknown(
    venue: &mut Venue,
    account: usize,
    references: (&Reference, &str),
    response: char,
) -> Result<(), Misunderstood> {
    let known = venue.done(account, references.0).is_some();
    let why = if known { (response, 0, "too late") } else { (response, 1, "unknown order") };
    refuse_change(venue, account, references, why)
}

/// OrderCancelReject: `response` is 1 for a cancel, 2 for a replace.
fn refuse_change(
    venue: &mut Venue,
    account: usize,
    (old, asked): (&Reference, &str),
    (response, code, text): (char, u8, &str),
) -> Result<(), Misunderstood> {
    let standing = venue.standing(account, old);
    venue.report_fix(account, b'9', |_, out| {
        match standing {
            Some((chain, _)) => field(out, 37, chain),
            None => field(out, 37, "NONE"),
        }
        field(out, 11, asked);
        field(out, 41, old);
        field(out, 39, standing.map_or('8', |(_, status)| status));
        field(out, 434, response);
        field(out, 102, code);
        field(out, 58, text);
    });
    Ok(())
}

fn replace(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    message: &Message<'_>,
    now: Nanos,
) -> Result<(), Misunderstood> {
    let (old, asked) = (Reference::Text(id(message, 41)?), id(message, 11)?);
    let terms = terms(message, now)?;
    let reference = Reference::Text(asked.clone());
    if !venue.burn(account, &reference) {
        return refuse_change(venue, account, (&old, &asked), ('2', 6, "ClOrdID was used"));
    }
    let Some(number) = venue.working(account, &old) else {
        return unknown(venue, account, (&old, &asked), '2');
    };
    let change = terms.map(|Terms { price, shares, manner, said }| Change { reference, shares, price, manner, said });
    if let Err(why) = change.and_then(|change| venue.try_replace(users, number, change)) {
        return refuse_change(venue, account, (&old, &asked), ('2', 99, reason(why).1));
    }
    Ok(())
}

fn status(venue: &mut Venue, account: usize, message: &Message<'_>) -> Result<(), Misunderstood> {
    let reference = Reference::Text(id(message, 11)?);
    let symbol = message.text(55).unwrap_or_default();
    let side = side_code(side(message));
    let request = message.text(790);
    let found = venue.working(account, &reference).and_then(|number| venue.order(number).cloned());
    let found = found.map(|order| {
        let status = if order.executed > 0 { '1' } else { '0' };
        Done::of(&order, status)
    });
    let found = found.or_else(|| venue.done(account, &reference).cloned());
    venue.report_fix(account, b'8', |exec, out| {
        field(out, 17, exec);
        field(out, 150, 'I');
        field(out, 11, &reference);
        request.iter().for_each(|request| field(out, 790, request));
        match found {
            Some(done) => done.write(out),
            None => {
                field(out, 37, "NONE");
                nothing_of_it(out, (5, "unknown order"), &symbol, side, None);
            }
        }
    });
    Ok(())
}

fn mass_cancel(
    venue: &mut Venue,
    users: &mut Users,
    account: usize,
    message: &Message<'_>,
    now: Nanos,
) -> Result<(), Misunderstood> {
    let asked = id(message, 11)?;
    let kind = required(message, 530)?.to_vec();
    let stock = message.text(55).and_then(|symbol| helios_wire::alpha::<8>(&symbol).ok());
    let stock = match (kind.as_slice(), stock) {
        (b"1", Some(stock)) => Some(Some(stock)),
        (b"7", _) => Some(None),
        _ => None,
    };
    if let Some(stock) = stock {
        venue.cancel_all(users, account, Filter { stock, ..Filter::default() }, Ended::User, now);
    }
    venue.report_fix(account, b'r', |exec, out| {
        field(out, 37, exec);
        field(out, 11, asked);
        field(out, 530, String::from_utf8_lossy(&kind));
        field(out, 531, if stock.is_some() { String::from_utf8_lossy(&kind) } else { "0".into() });
        if stock.is_none() {
            field(out, 532, 99);
        }
    });
    Ok(())
}

/// OrdRejReason (103) and a text.
fn reason(why: Refusal) -> (u8, &'static str) {
    match why {
        Refusal::Symbol => (1, "unknown symbol"),
        Refusal::Closed => (2, "closed"),
        Refusal::Halted => (2, "halted"),
        Refusal::Duplicate => (6, "ClOrdID was used"),
        Refusal::Quantity => (13, "quantity"),
        Refusal::Firm => (15, "not authorised"),
        Refusal::Price => (99, "price"),
        Refusal::Side => (99, "side"),
        Refusal::Processing => (99, "refused by the venue"),
        Refusal::TimeInForce => (11, "time in force"),
        Refusal::MinQuantity => (11, "minimum quantity"),
        Refusal::MaxFloor => (11, "reserve"),
        Refusal::Display | Refusal::Cross | Refusal::Peg | Refusal::Restricted | Refusal::Routing | Refusal::Retail => {
            (11, "unsupported order characteristic")
        }
    }
}

// Reports.

/// An order as a report tells it; kept of those that are over, for status requests.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) chain: u64,
    pub(crate) status: char,
    stock: [u8; 8],
    side: u8,
    price: u64,
    total: u32,
    open: u32,
    executed: u32,
    paid: u128,
}

impl Done {
    pub(crate) fn of(order: &Order, status: char) -> Self {
        let Order { chain, stock, side, price, total, open, executed, paid, .. } = *order;
        let open = if matches!(status, '4' | 'C' | '2') { 0 } else { open };
        Self { chain, status, stock, side, price, total, open, executed, paid }
    }

    fn write(&self, out: &mut Vec<u8>) {
        field(out, 37, self.chain);
        field(out, 39, self.status);
        field(out, 55, String::from_utf8_lossy(helios_wire::text(&self.stock)));
        field(out, 54, side_code(self.side));
        field(out, 38, self.total);
        if self.price < MARKET {
            field(out, 40, '2');
            field(out, 44, decimal(self.price));
        } else {
            field(out, 40, '1');
        }
        field(out, 151, self.open);
        field(out, 14, self.executed);
        field(out, 6, average(self.paid, self.executed));
    }
}

/// The report of a reply; `exec` is its ExecID, `user` the account's.
pub(crate) fn encode(reply: &Reply<'_>, exec: u64, out: &mut Vec<u8>) {
    match *reply {
        Reply::Accepted(order) => report(order, ('0', '0'), exec, out),
        Reply::Replaced { old, order } => {
            report(order, ('5', if order.executed > 0 { '1' } else { '0' }), exec, out);
            field(out, 41, old);
        }
        Reply::Canceled { order, ended, .. } => {
            let kind = if matches!(ended, Ended::Timeout | Ended::Closed) { 'C' } else { '4' };
            report(order, (kind, kind), exec, out);
            if ended == Ended::PostOnly {
                field(out, 58, "post-only: it would have taken");
            }
        }
        Reply::SelfTrade { order, .. } => {
            match order.open {
                0 => report(order, ('4', '4'), exec, out),
                _ => {
                    report(order, ('D', if order.executed > 0 { '1' } else { '0' }), exec, out);
                    // Partial decline of OrderQty.
                    field(out, 378, 5);
                }
            }
            field(out, 58, "self-trade prevented");
        }
        Reply::Executed { order, shares, price, flag, match_number } => {
            report(order, ('F', if order.open == 0 { '2' } else { '1' }), exec, out);
            trade(out, (shares, price, match_number, flag == b'R'));
        }
        // These are answers of OUCH, and the rejects of FIX are written where the request is at hand.
        Reply::Day(_) | Reply::Rejected { .. } | Reply::Modified(_) | Reply::Moved(_) | Reply::TradeNow(_) => {}
    }
}

fn report(order: &Order, (kind, status): (char, char), exec: u64, out: &mut Vec<u8>) {
    out.push(b'8');
    out.extend_from_slice(&[0; TIME_BYTES]);
    field(out, 17, exec);
    field(out, 150, kind);
    match &order.asked {
        Some(asked) => {
            field(out, 11, asked);
            field(out, 41, &order.reference);
        }
        None => field(out, 11, &order.reference),
    }
    Done::of(order, status).write(out);
    field(out, 59, char::from(order.said.time_in_force as u8));
}

fn trade(out: &mut Vec<u8>, (shares, price, match_number, taker): (u32, u64, u64, bool)) {
    field(out, 32, shares);
    field(out, 31, decimal(price));
    field(out, 527, match_number);
    field(out, 851, if taker { 2 } else { 1 });
}

/// A trade as a drop copy tells it.
pub(crate) fn copy(
    order: &Order,
    user: &str,
    (shares, price, match_number, liquidity): (u32, u64, u64, Liquidity),
    exec: u64,
    out: &mut Vec<u8>,
) {
    out.push(b'8');
    out.extend_from_slice(&[0; TIME_BYTES]);
    field(out, 17, exec);
    field(out, 150, 'F');
    let own = helios_wire::text(&order.said.cl_ord_id);
    if own.is_empty() || !own.iter().all(u8::is_ascii_graphic) {
        field(out, 11, &order.reference);
    } else {
        field(out, 11, String::from_utf8_lossy(own));
    }
    field(out, 1, user);
    Done::of(order, if order.open == 0 { '2' } else { '1' }).write(out);
    trade(out, (shares, price, match_number, liquidity == Liquidity::Taker));
}

/// `tag=value` and the delimiter. Values are ours or were in a message, so no delimiter is in them.
pub(crate) fn field(out: &mut Vec<u8>, tag: u32, value: impl std::fmt::Display) {
    let mut text = String::new();
    let _ = write!(text, "{tag}={value}\x01");
    out.extend_from_slice(text.as_bytes());
}

fn decimal(raw: u64) -> String {
    format!("{}.{:04}", raw / 10_000, raw % 10_000)
}

/// Eight decimals.
fn average(paid: u128, shares: u32) -> String {
    if shares == 0 {
        return "0".to_owned();
    }
    let raw = paid * 10_000 / u128::from(shares);
    format!("{}.{:08}", raw / 100_000_000, raw % 100_000_000)
}
