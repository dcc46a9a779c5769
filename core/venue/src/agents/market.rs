//! One simulated day of many symbols, second by second, as ITCH frames.

use std::fmt;

use helios_book::{Books, Top};
use helios_types::{InstrumentId, NANOS_PER_SECOND, Price};

use super::config::{Config, ConfigError, MAX_SYMBOLS};
use super::draw::{Alias, Draw};
use super::emit::{Stock, time_of_day};
use super::exchange::{ACTION_NS, CAPACITY, Exchange, locate};
use super::fundamental::{Fundamentals, Member, STEP_NS};
use super::pit::{LEVELS, MAKERS, MPIDS, Moment, PASSIVE_MOST, Pit};

/// Symbols handled in one chunk where a phase of the day passes over all of them.
const BATCH: usize = 256;
const MESSAGES_START_NS: u64 = time_of_day(3, 5, 0);
const SYSTEM_START_NS: u64 = time_of_day(4, 0, 0);
/// Quoting begins.
const PREPARE_NS: u64 = time_of_day(9, 29, 0);
/// Market hours begin.
pub const OPEN_NS: u64 = time_of_day(9, 30, 0);
const PREPARE_S: u64 = 60;
/// Seconds over which first quotes are spread.
const FIRST_QUOTES_S: u64 = 50;
/// Seconds before a cross at which its imbalance is published.
const ANNOUNCE_S: [u64; 3] = [30, 20, 10];
/// What one agent's act is expected to write before there is experience, and over how many acts it is measured.
const FIRST_MESSAGES_PER_ACT: f64 = 2.0;
const MEASURED_ACTS: f64 = 200.0;
/// The stream of draws for [`Simulation::answer`].
const GUEST_STREAM: u64 = 4;
/// The measure is held above this, so that a quiet market cannot make a second endless.
const LEAST_MESSAGES_PER_ACT: f64 = 0.1;

const _: () = assert!(
    MAX_SYMBOLS as usize * (2 * LEVELS * MAKERS + PASSIVE_MOST) < CAPACITY.orders as usize,
    "the agents of all symbols must not have more orders than the books hold"
);

/// Where in the day the simulation stands; numbers are symbols or seconds already done.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Directory(usize),
    Participants(usize),
    Prepare(u64),
    Market(u64),
    /// The second has begun: agents act in it.
    Acting(u64),
    Close(usize),
    Done,
}

/// A seeded market of many symbols that writes its day as ITCH 5.0.
#[derive(Clone)]
pub struct Simulation {
    config: Config,
    fundamentals: Fundamentals,
    pub(super) exchange: Exchange,
    pub(super) pits: Vec<Pit>,
    draw: Draw,
    /// Of what agents do because of a guest's order: the draws of what they do anyway stay where they are.
    guest_draw: Draw,
    /// Which symbol is acted on: some are busier than others.
    activity: Alias,
    phase: Phase,
    /// When values move next, and when an agent acts next.
    next_step: u64,
    next_act: u64,
    /// How much an act writes follows from the market, so it is measured as the day goes.
    messages_per_act: f64,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("config", &self.config).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Simulation {
    /// A market before its first message, or the setting that cannot be.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let fundamentals = Fundamentals::new(&config);
        let mut draw = Draw::new(config.seed, 2);
        let symbols = config.symbols as usize;
        let names = fundamentals.members.iter().enumerate().map(|(i, m)| name(i as u32, *m, config.group_size));
        let exchange = Exchange::new(names.collect(), MESSAGES_START_NS);
        let pits = (0..symbols).map(|i| Pit::new(i, fundamentals.value_cents(i), &mut draw)).collect();
        let weights: Vec<f64> = (0..symbols).map(|_| libm::exp(0.5 * draw.normal())).collect();
        Ok(Self {
            fundamentals,
            exchange,
            pits,
            draw,
            guest_draw: Draw::new(config.seed, GUEST_STREAM),
            activity: Alias::new(&weights),
            phase: Phase::Directory(0),
            config,
            next_step: OPEN_NS,
            next_act: OPEN_NS,
            messages_per_act: FIRST_MESSAGES_PER_ACT,
        })
    }

    /// Appends the next piece of the day (a second of trading, or some hundred symbols' directory) to `out`.
    /// False, and nothing appended, once the day is complete.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> bool {
        let more = self.next_step(out);
        while let Phase::Acting(_) = self.phase {
            self.next_step(out);
        }
        more
    }

    /// Appends what happens next and cannot be divided: one act of an agent, the open, some symbols' directory. False, and
    /// nothing appended, once the day is complete.
    pub fn next_step(&mut self, out: &mut Vec<u8>) -> bool {
        self.phase = match self.phase {
            Phase::Directory(from) => self.directory(from, out),
            Phase::Participants(from) => self.participants(from, out),
            Phase::Prepare(second) => self.prepare(second, out),
            Phase::Market(second) => self.begin_second(second, out),
            Phase::Acting(second) => self.act_in(second, out),
            Phase::Close(from) => self.close(from, out),
            Phase::Done => return false,
        };
        true
    }

    /// When the next step begins, nanoseconds since midnight; `None` once the day is complete.
    pub fn next_at(&self) -> Option<u64> {
        let at = match self.phase {
            Phase::Directory(_) | Phase::Participants(_) | Phase::Close(_) => 0,
            Phase::Prepare(second) => PREPARE_NS + second * NANOS_PER_SECOND,
            Phase::Market(second) => OPEN_NS + second * NANOS_PER_SECOND,
            Phase::Acting(second) => self.next_act.min(end_of(second)),
            Phase::Done => return None,
        };
        Some(at.max(self.now()))
    }

    /// Stamp of the latest message, nanoseconds since midnight.
    pub fn now(&self) -> u64 {
        self.exchange.feed.now()
    }

    /// The earliest moment at which the exchange can turn to somebody else's request.
    pub(crate) fn free_at(&self) -> u64 {
        self.now() + ACTION_NS
    }

    /// Market hours are over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Close(_) | Phase::Done)
    }

    /// Part of the day that is written, 0 to 1.
    pub fn progress(&self) -> f64 {
        match self.phase {
            Phase::Directory(_) | Phase::Participants(_) | Phase::Prepare(_) => 0.0,
            Phase::Market(second) | Phase::Acting(second) => second as f64 / self.market_s() as f64,
            Phase::Close(_) | Phase::Done => 1.0,
        }
    }

    /// Names, in the order of their locates, which count from 1.
    pub fn symbols(&self) -> impl Iterator<Item = &str> + '_ {
        (0..self.pits.len()).map(|i| self.exchange.name_str(i))
    }

    /// Group and loading of each symbol, in the order of [`Simulation::symbols`].
    pub fn groups(&self) -> &[Member] {
        &self.fundamentals.members
    }

    /// What a symbol is worth now; its agents know it late or not at all.
    pub fn value(&self, symbol: usize) -> Price {
        let cents = self.fundamentals.value_cents(symbol);
        Price::from_f64(cents / 100.0).expect("values are bounded")
    }

    /// Best bid and ask of a symbol after the last chunk.
    pub fn top(&self, symbol: usize) -> Top {
        self.exchange.books().top(InstrumentId(symbol as u32))
    }

    /// All displayed books, by the order of [`Simulation::symbols`].
    pub fn books(&self) -> &Books {
        self.exchange.books()
    }

    /// First quotes have been made, of some symbols at least.
    pub(crate) fn is_quoting(&self) -> bool {
        !matches!(self.phase, Phase::Directory(_) | Phase::Participants(_) | Phase::Prepare(_))
    }

    /// Messages written so far.
    pub fn messages(&self) -> u64 {
        self.exchange.feed.messages
    }

    fn market_s(&self) -> u64 {
        u64::from(self.config.minutes) * 60
    }

    fn batch(&self, from: usize) -> std::ops::Range<usize> {
        from..(from + BATCH).min(self.pits.len())
    }

    fn directory(&mut self, from: usize, out: &mut Vec<u8>) -> Phase {
        if from == 0 {
            self.exchange.feed.system_event(b'O', out);
        }
        let batch = self.batch(from);
        for symbol in batch.clone() {
            self.exchange.feed.pass(1000);
            self.exchange.feed.directory(locate(symbol), self.exchange.name(symbol), out);
        }
        if batch.end == self.pits.len() { Phase::Participants(0) } else { Phase::Directory(batch.end) }
    }

    fn participants(&mut self, from: usize, out: &mut Vec<u8>) -> Phase {
        let batch = self.batch(from);
        for symbol in batch.clone() {
            self.exchange.feed.pass(1000);
            let mpid = MPIDS[symbol % MAKERS];
            self.exchange.feed.market_maker(locate(symbol), self.exchange.name(symbol), mpid, out);
        }
        if batch.end < self.pits.len() {
            return Phase::Participants(batch.end);
        }
        self.exchange.feed.at(SYSTEM_START_NS);
        self.exchange.feed.system_event(b'S', out);
        Phase::Prepare(0)
    }

    /// A second before the open: each symbol's first quotes come at one of them, imbalances at some.
    fn prepare(&mut self, second: u64, out: &mut Vec<u8>) -> Phase {
        self.exchange.feed.at(PREPARE_NS + second * NANOS_PER_SECOND);
        for symbol in (0..self.pits.len()).filter(|&i| i as u64 % FIRST_QUOTES_S == second) {
            self.exchange.feed.pass(100_000);
            self.with(symbol, out, Pit::prepare);
        }
        if ANNOUNCE_S.contains(&(PREPARE_S - second)) {
            self.with_all(out, |pit, m| pit.announce(b'O', m));
        }
        if second + 1 < PREPARE_S { Phase::Prepare(second + 1) } else { Phase::Market(0) }
    }

    /// What a second of market hours begins with.
    fn begin_second(&mut self, second: u64, out: &mut Vec<u8>) -> Phase {
        if second == 0 {
            self.open(out);
        }
        if ANNOUNCE_S.contains(&(self.market_s() - second)) {
            self.exchange.feed.at(OPEN_NS + second * NANOS_PER_SECOND);
            self.with_all(out, |pit, m| pit.announce(b'C', m));
        }
        Phase::Acting(second)
    }

    /// The next act of a second, or its end.
    fn act_in(&mut self, second: u64, out: &mut Vec<u8>) -> Phase {
        if self.next_act < end_of(second) {
            self.act(out);
            return Phase::Acting(second);
        }
        if second + 1 < self.market_s() {
            return Phase::Market(second + 1);
        }
        self.exchange.feed.at(end_of(second));
        self.exchange.feed.system_event(b'M', out);
        self.with_all(out, Pit::cross);
        Phase::Close(0)
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        self.exchange.feed.at(OPEN_NS);
        self.exchange.feed.system_event(b'Q', out);
        self.with_all(out, Pit::cross);
    }

    /// One agent of one symbol acts; then the common Poisson clock is drawn on.
    fn act(&mut self, out: &mut Vec<u8>) {
        while self.next_step <= self.next_act {
            self.fundamentals.step();
            self.next_step += STEP_NS;
        }
        self.exchange.feed.at(self.next_act);
        let before = self.messages();
        let symbol = self.activity.draw(&mut self.draw);
        self.with(symbol, out, Pit::act);
        let written = (self.messages() - before) as f64;
        self.messages_per_act += (written - self.messages_per_act) / MEASURED_ACTS;
        self.messages_per_act = self.messages_per_act.max(LEAST_MESSAGES_PER_ACT);
        let gap_ns = self.draw.exponential() * self.messages_per_act * self.mean_gap_ns();
        self.next_act += 1 + gap_ns as u64;
    }

    /// Mean time between messages.
    fn mean_gap_ns(&self) -> f64 {
        1e9 / (self.config.messages_per_symbol_second * f64::from(self.config.symbols))
    }

    fn close(&mut self, from: usize, out: &mut Vec<u8>) -> Phase {
        let batch = self.batch(from);
        for symbol in batch.clone() {
            self.with(symbol, out, Pit::clear);
        }
        if batch.end < self.pits.len() {
            return Phase::Close(batch.end);
        }
        assert!(self.exchange.books().is_empty(), "every order of the day belongs to an agent, and all have left");
        self.exchange.feed.pass(NANOS_PER_SECOND);
        self.exchange.feed.system_event(b'E', out);
        self.exchange.feed.pass(NANOS_PER_SECOND);
        self.exchange.feed.system_event(b'C', out);
        Phase::Done
    }

    /// Agents of a symbol do something because of what a guest did.
    pub(super) fn answer(&mut self, symbol: usize, out: &mut Vec<u8>, act: impl FnOnce(&mut Pit, &mut Moment)) {
        let value = self.fundamentals.value_cents(symbol);
        let mut moment = Moment { exchange: &mut self.exchange, draw: &mut self.guest_draw, out, value };
        act(&mut self.pits[symbol], &mut moment);
    }

    fn with(&mut self, symbol: usize, out: &mut Vec<u8>, act: impl FnOnce(&mut Pit, &mut Moment)) {
        let value = self.fundamentals.value_cents(symbol);
        let mut moment = Moment { exchange: &mut self.exchange, draw: &mut self.draw, out, value };
        act(&mut self.pits[symbol], &mut moment);
    }

    fn with_all(&mut self, out: &mut Vec<u8>, act: impl Fn(&mut Pit, &mut Moment)) {
        for symbol in 0..self.pits.len() {
            self.with(symbol, out, &act);
        }
    }
}

/// When a second of market hours ends.
const fn end_of(second: u64) -> u64 {
    OPEN_NS + (second + 1) * NANOS_PER_SECOND
}

/// Three letters for the group, one for the member, two when groups are larger than the alphabet.
fn name(symbol: u32, member: Member, group_size: u32) -> Stock {
    let letter = |n: u32| b'A' + (n % 26) as u8;
    let (group, rank) = (member.group, symbol - member.group * group_size);
    let mut name = *b"        ";
    name[0] = letter(group / 676);
    name[1] = letter(group / 26);
    name[2] = letter(group);
    if group_size > 26 {
        name[3] = letter(rank / 26);
        name[4] = letter(rank);
    } else {
        name[3] = letter(rank);
    }
    name
}
