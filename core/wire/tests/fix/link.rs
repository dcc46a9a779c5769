//! Two sessions on a bad line: bytes cut anywhere, damaged, lost with the connection, sides that crash. Each side keeps
//! what it was told to store. Every application message arrives exactly once and in order.

use std::collections::{BTreeMap, VecDeque};

use helios_types::{Nanos, Rng};
use helios_wire::fix::{
    Builder, Closed, Handled, Message, Outside, Reply, Role, Session, SessionEvent, Settings, Stored, Version,
};

const START: Nanos = Nanos(1_767_323_045_678_000_000);
const TICK_NS: u64 = 100_000_000;
const SEEDS: u64 = 200;
/// Ticks with chaos, and then at most as many without until all has arrived.
const CHAOS_TICKS: u64 = 400;
const CALM_TICKS: u64 = 3_000;

/// What survives a crash, and what came of it.
struct World {
    stored: Stored,
    messages: BTreeMap<u64, Vec<u8>>,
    wire: VecDeque<u8>,
    closed: Option<Closed>,
    delivered: Vec<u64>,
    events: Vec<String>,
}

impl Outside for World {
    fn write(&mut self, bytes: &[u8]) {
        self.wire.extend(bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.events.push(why.to_string());
        self.closed = Some(why.clone());
    }

    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        assert_eq!(seq, self.stored.next_out, "numbers are stored one by one");
        self.stored.next_out = seq + 1;
        message.into_iter().for_each(|message| drop(self.messages.insert(seq, message.to_vec())));
    }

    fn received(&mut self, next_in: u64) {
        assert!(next_in > self.stored.next_in, "the expected number only grows");
        self.stored.next_in = next_in;
    }

    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        self.messages.range(from..=to).for_each(|(seq, message)| each(*seq, message));
    }

    fn reset(&mut self, _: Nanos) {
        panic!("nobody asked for a reset");
    }

    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        self.delivered.push(message.get_u64(11).expect("our own numbers"));
        Handled::Done
    }

    fn note(&mut self, event: &SessionEvent) {
        self.events.push(event.to_string());
    }
}

struct Side {
    settings: Settings,
    session: Session,
    world: World,
    sent: u64,
}

impl Side {
    fn new(settings: Settings) -> Self {
        let stored = Stored::fresh(START);
        let world = World {
            stored,
            messages: BTreeMap::new(),
            wire: VecDeque::new(),
            closed: None,
            delivered: Vec::new(),
            events: Vec::new(),
        };
        Self { session: Session::new(settings.clone(), stored), settings, world, sent: 0 }
    }

    fn crash(&mut self) {
        self.session = Session::new(self.settings.clone(), self.world.stored);
    }

    fn send(&mut self, version: Version, now: Nanos) {
        let number = self.sent + 1;
        let body = |builder: &mut Builder| order(builder, version, number, now);
        if self.session.send(b"D", body, now, &mut self.world).is_ok() {
            self.sent = number;
        }
    }
}

/// An order that every version takes.
fn order(builder: &mut Builder, version: Version, number: u64, now: Nanos) {
    builder.number(11, number);
    builder.char(21, b'1');
    builder.number(38, 100);
    builder.char(40, b'1');
    builder.char(54, b'1');
    builder.field(55, b"X");
    if version >= Version::Fix42 {
        builder.timestamp(60, now, helios_wire::fix::Precision::Millis);
    }
}

/// A checksum finds one damaged byte of a message, not always two: damage keeps this distance.
const DAMAGE_DISTANCE: usize = 1_000;

struct Line {
    sides: [Side; 2],
    /// Bytes each side's line carried since the last damage.
    unharmed: [usize; 2],
    up: bool,
    now: Nanos,
    rng: Rng,
    version: Version,
}

impl Line {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let version = Version::ALL[rng.below(8) as usize];
        let chunk = [None, Some(1), Some(3)][rng.below(3) as usize];
        let (next_expected, last_processed) = (rng.below(3) == 0, rng.below(3) == 0);
        let settings = |role, sender, target| Settings {
            heartbeat_s: 2,
            resend_chunk: chunk,
            send_next_expected: next_expected && version >= Version::Fix44,
            send_last_processed: last_processed && version >= Version::Fix42,
            max_queue: 20,
            ..Settings::new(role, version, sender, target)
        };
        let sides = [Side::new(settings(Role::Initiator, "A", "B")), Side::new(settings(Role::Acceptor, "B", "A"))];
        Self { sides, unharmed: [0; 2], up: false, now: START, rng, version }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn hang_up(&mut self) {
        self.up = false;
        for side in &mut self.sides {
            side.session.on_closed(self.now, &mut side.world);
            side.world.wire.clear();
            side.world.closed = None;
        }
    }

    fn connect(&mut self) {
        self.up = true;
        for side in &mut self.sides {
            side.session.on_connected(self.now, &mut side.world);
        }
    }

    /// Some of what each side wrote reaches the other.
    fn carry(&mut self, chaos: bool) {
        for from in [0, 1] {
            let waiting = self.sides[from].world.wire.len();
            let most = if chaos { 1 + self.rng.below(600) as usize } else { waiting };
            let mut bytes: Vec<u8> = self.sides[from].world.wire.drain(..most.min(waiting)).collect();
            self.unharmed[from] += bytes.len();
            if chaos && !bytes.is_empty() && self.unharmed[from] > DAMAGE_DISTANCE && self.chance(5) {
                self.unharmed[from] = 0;
                let at = self.rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.rng.below(8);
            }
            let to = &mut self.sides[1 - from];
            to.session.on_bytes(&bytes, self.now, &mut to.world);
        }
    }

    fn tick(&mut self, chaos: bool) {
        self.now = self.now.plus(TICK_NS);
        if !self.up && (!chaos || self.chance(30)) {
            self.connect();
        }
        if chaos && self.up {
            for at in [0, 1] {
                if self.chance(40) {
                    self.sides[at].send(self.version, self.now);
                }
                if self.chance(1) {
                    let side = &mut self.sides[at];
                    side.session.logout("enough", self.now, &mut side.world);
                }
            }
        }
        self.carry(chaos);
        for side in &mut self.sides {
            side.session.on_tick(self.now, &mut side.world);
        }
        if chaos && self.chance(2) {
            self.hang_up();
            if self.chance(50) {
                let at = self.rng.below(2) as usize;
                self.sides[at].crash();
            }
        }
        // A close lets what was written before it arrive.
        if self.sides.iter().any(|side| side.world.closed.is_some()) {
            self.carry(false);
            self.hang_up();
        }
    }

    fn is_done(&self) -> bool {
        let [a, b] = &self.sides;
        let logged_on = a.session.is_logged_on() && b.session.is_logged_on();
        logged_on && a.world.delivered.len() as u64 == b.sent && b.world.delivered.len() as u64 == a.sent
    }
}

#[test]
fn every_message_arrives_once_and_in_order() {
    let mut arrived = 0;
    for seed in 0..SEEDS {
        let mut line = Line::new(seed);
        (0..CHAOS_TICKS).for_each(|_| line.tick(true));
        let mut calm = 0;
        while calm < CALM_TICKS && !line.is_done() {
            line.tick(false);
            calm += 1;
        }
        let [a, b] = &line.sides;
        for (from, to) in [(a, b), (b, a)] {
            let expected: Vec<u64> = (1..=from.sent).collect();
            let tail = to.world.events.iter().rev().take(20).rev().cloned().collect::<Vec<_>>().join("\n  ");
            assert_eq!(to.world.delivered, expected, "seed {seed}, {:?}\n  {tail}", line.version);
            assert!(calm < CALM_TICKS, "seed {seed}: not logged on in the end\n  {tail}");
            arrived += from.sent;
        }
    }
    println!("{arrived} messages over {SEEDS} seeds");
    assert!(arrived > SEEDS * 50, "the line carries messages: {arrived}");
}
