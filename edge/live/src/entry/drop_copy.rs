//! The drop copy: the venue's or the broker's own account of our executions, over a FIX 4.4 session of its own.
//!
//! At each logon both numbers begin anew, so that the day is told from its beginning; an execution that was told counts
//! once. Positions are those of the executions told: what was held when the day began is the caller's to add.
//! Bounded by [`MAX_EXECUTIONS`]; what is beyond is told to the caller and not recognised when it is told again, which a
//! note says.

use std::collections::BTreeMap;
use std::fmt;

use helios_types::{InstrumentId, Nanos, PRICE_SCALE, Price, QUANTITY_SCALE, Quantity, Side};
use helios_wire::fix::{Closed, Handled, Message, Outside, Reply, Session, SessionEvent, Stored};

use super::fix::{TICK_NS, decimal, execution_number};
use super::reconnect::Reconnect;
use super::{EntryError, FixConfig};

/// Executions that are recognised when they are told again.
pub const MAX_EXECUTIONS: usize = 1 << 22;
/// Notes about reports that cannot be read, for each connection.
const MAX_NOTES: u32 = 16;

/// An execution of ours, as somebody else has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traded<'a> {
    /// What order entry called the order: see [`super::Entry::order`].
    pub order: &'a str,
    /// Its number, as order entry reports it.
    pub execution: u64,
    /// Of what.
    pub instrument: InstrumentId,
    /// Our side.
    pub side: Side,
    /// How much; zero for one that was declared void.
    pub quantity: Quantity,
    /// At which price.
    pub price: Price,
    /// The venue's stamp.
    pub ts_event: Nanos,
}

/// What a drop copy asks of the world.
pub trait DropCopyOut {
    /// An execution that was not told before, or was told otherwise.
    fn traded(&mut self, traded: &Traded<'_>);
    /// Connect; answered by `on_connected` or `on_closed`.
    fn connect(&mut self);
    /// To the counterparty.
    fn write(&mut self, bytes: &[u8]);
    /// End the connection; `on_closed` does not follow.
    fn close(&mut self);
    /// For the log. Without secrets.
    fn note(&mut self, text: fmt::Arguments<'_>);
}

/// One drop-copy session. Of its configuration `session`, `first_reference` and `prefix` are not looked at.
pub struct DropCopy {
    session: Session,
    tally: Tally,
}

struct Tally {
    config: FixConfig,
    reconnect: Reconnect,
    closing: bool,
    ticked: Nanos,
    /// Signed quantity of each execution, by order and number.
    executions: BTreeMap<(String, u64), i64>,
    /// Wider than a quantity: a sum of executions that passes the scale and comes back is exact.
    positions: Vec<i128>,
    full: bool,
    oddities: u32,
    foreign: u64,
    repeats: u64,
}

impl DropCopy {
    /// Not connected; the first tick asks for it.
    pub fn new(config: &FixConfig) -> Result<Self, EntryError> {
        super::fix::check_names(config)?;
        let session = Session::new(config.settings(), Stored::fresh(Nanos(0)));
        let tally = Tally {
            reconnect: Reconnect::new(config.seed),
            closing: false,
            ticked: Nanos(0),
            executions: BTreeMap::new(),
            positions: vec![0; config.symbols.len()],
            full: false,
            oddities: 0,
            foreign: 0,
            repeats: 0,
            config: config.clone(),
        };
        Ok(Self { session, tally })
    }

    /// The signed quantity that the executions told come to; the end of the scale where it is more.
    pub fn position(&self, instrument: InstrumentId) -> Quantity {
        let sum = self.tally.positions.get(instrument.index()).copied().unwrap_or(0);
        Quantity(i64::try_from(sum).unwrap_or(if sum < 0 { -i64::MAX } else { i64::MAX }))
    }

    /// Executions told, and executions of instruments that the run does not have.
    pub fn counts(&self) -> (u64, u64) {
        (self.tally.executions.len() as u64, self.tally.foreign)
    }

    /// Reports of executions that were known.
    pub fn repeats(&self) -> u64 {
        self.tally.repeats
    }

    /// The counterparty has taken the logon.
    pub fn is_logged_on(&self) -> bool {
        self.session.is_logged_on()
    }

    /// The logon was refused too often, or leave was taken: there will be no further attempt.
    pub fn is_given_up(&self) -> bool {
        self.tally.reconnect.is_stopped()
    }

    /// The connection that was asked for is there.
    pub fn on_connected(&mut self, now: Nanos, out: &mut impl DropCopyOut) {
        let mut settings = self.tally.config.settings();
        settings.reset_on_logon = true;
        self.session = Session::new(settings, Stored::fresh(now));
        self.tally.oddities = 0;
        self.call(now, out, |session, now, hearing| session.on_connected(now, hearing));
    }

    /// A piece of what came, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl DropCopyOut) {
        self.call(now, out, |session, now, hearing| session.on_bytes(bytes, now, hearing));
    }

    /// The connection is gone, or could not be made.
    pub fn on_closed(&mut self, now: Nanos, out: &mut impl DropCopyOut) {
        self.tally.closing = true;
        self.call(now, out, |_, _, _| {});
    }

    /// Heartbeats, timeouts, attempts to connect; wanted at [`DropCopy::next_tick`].
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl DropCopyOut) {
        self.tally.ticked = now;
        if self.tally.reconnect.begins(now) {
            out.connect();
        }
        self.call(now, out, |session, now, hearing| session.on_tick(now, hearing));
    }

    /// When it wants to be asked again.
    pub fn next_tick(&self) -> Option<Nanos> {
        let connected = self.session.is_connected().then(|| self.tally.ticked.plus(TICK_NS));
        self.tally.reconnect.due().into_iter().chain(connected).min()
    }

    /// Says goodbye; the Logout's answer is not waited for.
    pub fn stop(&mut self, now: Nanos, out: &mut impl DropCopyOut) {
        self.tally.reconnect.stop();
        if self.session.is_connected() {
            self.call(now, out, |session, now, hearing| session.logout("", now, hearing));
        }
        // A session that was not logged on has closed at once.
        if self.session.is_connected() {
            out.close();
            self.on_closed(now, out);
        }
    }

    fn call<O: DropCopyOut>(
        &mut self,
        now: Nanos,
        out: &mut O,
        act: impl FnOnce(&mut Session, Nanos, &mut Hearing<'_, O>),
    ) {
        act(&mut self.session, now, &mut Hearing { tally: &mut self.tally, now, out });
        if std::mem::take(&mut self.tally.closing) {
            self.session.on_closed(now, &mut Hearing { tally: &mut self.tally, now, out });
            self.tally.closing = false;
            self.tally.reconnect.failed(now);
        }
    }
}

impl Tally {
    fn report(&mut self, message: &Message<'_>, now: Nanos, out: &mut impl DropCopyOut) {
        let kind = message.get(150).and_then(|kind| kind.first()).copied().unwrap_or(0);
        if !matches!(kind, b'F' | b'1' | b'2' | b'G' | b'H') {
            return;
        }
        let symbol = message.text(55).unwrap_or_default();
        let named = |known: &Option<String>| known.as_deref() == Some(symbol.as_str());
        let Some(at) = self.config.symbols.iter().position(named) else {
            self.foreign += 1;
            return;
        };
        let Some(traded) = read(message, kind, now) else {
            self.oddities += 1;
            if self.oddities <= MAX_NOTES {
                out.note(format_args!("{}: an execution of {symbol} that cannot be read", self.config.name));
            }
            return;
        };
        let order = message.text(11).unwrap_or_default();
        let (execution, side, quantity, price, ts_event) = traded;
        let signed = side.sign() * quantity.0;
        let key = (order, execution);
        let before = self.executions.get(&key).copied();
        if before == Some(signed) {
            self.repeats += 1;
            return;
        }
        self.positions[at] += i128::from(signed) - i128::from(before.unwrap_or(0));
        let instrument = InstrumentId(at as u32);
        out.traded(&Traded { order: &key.0, execution, instrument, side, quantity, price, ts_event });
        if before.is_some() || self.executions.len() < MAX_EXECUTIONS {
            self.executions.insert(key, signed);
        } else if !std::mem::replace(&mut self.full, true) {
            out.note(format_args!(
                "{}: {MAX_EXECUTIONS} executions are kept, the maximum: further ones are not known when told again",
                self.config.name
            ));
        }
    }
}

/// Number, side, quantity, price and stamp of an execution; the quantity of a void one is zero.
fn read(message: &Message<'_>, kind: u8, now: Nanos) -> Option<(u64, Side, Quantity, Price, Nanos)> {
    // A bust and a correction name the execution that they are about (19); the match number (527) stays.
    let id = message.get(527).or_else(|| message.get(if matches!(kind, b'G' | b'H') { 19 } else { 17 }))?;
    let side = match message.get(54)? {
        b"1" => Side::Buy,
        b"2" | b"5" | b"6" => Side::Sell,
        _ => return None,
    };
    let decimal_of = |tag, scale| message.get(tag).and_then(|text| decimal(text, scale));
    let (quantity, price) = if kind == b'H' {
        (0, decimal_of(31, PRICE_SCALE).unwrap_or(0))
    } else {
        (decimal_of(32, QUANTITY_SCALE).filter(|quantity| *quantity > 0)?, decimal_of(31, PRICE_SCALE)?)
    };
    let ts_event = message.timestamp(60).or(message.timestamp(52)).unwrap_or(now);
    Some((execution_number(id), side, Quantity(quantity), Price(price), ts_event))
}

/// The session layer's view of the world.
struct Hearing<'a, O> {
    tally: &'a mut Tally,
    now: Nanos,
    out: &'a mut O,
}

impl<O: DropCopyOut> Outside for Hearing<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }

    fn close(&mut self, why: &Closed) {
        let Tally { config, reconnect, closing, .. } = &mut *self.tally;
        self.out.note(format_args!("{}: {why}", config.name));
        self.out.close();
        *closing = true;
        if let Some(given_up) = reconnect.ended(why.is_refusal(), self.now) {
            self.out.note(format_args!("{}: the logon was {given_up}", config.name));
        }
    }

    fn sent(&mut self, _: u64, _: Option<&[u8]>) {}

    fn received(&mut self, _: u64) {}

    fn resend(&mut self, _: u64, _: u64, _: &mut dyn FnMut(u64, &[u8])) {}

    fn reset(&mut self, _: Nanos) {}

    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        if message.msg_type() != b"8" {
            return Handled::Unsupported;
        }
        self.tally.report(message, self.now, self.out);
        Handled::Done
    }

    fn logged_on(&mut self) {
        self.tally.reconnect.logged_in();
        self.tally.reconnect.settled();
    }

    fn note(&mut self, event: &SessionEvent) {
        if matches!(event, SessionEvent::LoggedOn { .. } | SessionEvent::Reset) {
            return;
        }
        self.tally.oddities += 1;
        if self.tally.oddities <= MAX_NOTES {
            self.out.note(format_args!("{}: {event}", self.tally.config.name));
        }
    }
}
