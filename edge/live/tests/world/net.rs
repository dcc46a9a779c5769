//! A network that loses, repeats, delays and cuts, in simulated time, as a seed says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use helios_types::{Nanos, Rng};

/// What arrives, or comes due.
#[derive(Debug)]
pub enum Happening {
    /// A datagram of the feed at the trader.
    Line {
        line: u8,
        bytes: Vec<u8>,
    },
    /// A request for a retransmission at the venue.
    Request {
        bytes: Vec<u8>,
    },
    /// A connection's attempt reaches the venue.
    Connect {
        pipe: u64,
    },
    /// It was made, as the trader hears it.
    Connected {
        pipe: u64,
    },
    /// It could not be made, or is over, as the trader hears it.
    TraderClosed {
        pipe: u64,
    },
    /// It is over, as the venue hears it.
    VenueClosed {
        pipe: u64,
    },
    /// Bytes at the venue.
    ToVenue {
        pipe: u64,
        bytes: Vec<u8>,
    },
    /// Bytes at the trader.
    ToTrader {
        pipe: u64,
        bytes: Vec<u8>,
    },
    /// The trader's process dies where it stands, or begins again.
    Kill,
    Start,
    /// The trader's clock is set.
    Clock,
    /// Something the world does at random: a wish, an operator's command, a cut.
    Whim,
}

/// How badly things go.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Of a datagram, on each line.
    pub lost: f64,
    pub repeated: f64,
    /// Longest delay of a datagram beyond the shortest: reordering.
    pub jitter: u64,
    /// Longest delay of bytes on a connection.
    pub slow: u64,
    /// Connections that are refused.
    pub refused: f64,
}

impl Weather {
    pub const CALM: Self = Self { lost: 0.0, repeated: 0.0, jitter: 0, slow: 50_000, refused: 0.0 };

    pub fn of(rng: &mut Rng) -> Self {
        let part = |rng: &mut Rng, most: f64| if rng.below(3) == 0 { 0.0 } else { uniform(rng) * most };
        let slowest = if rng.below(4) == 0 { 400_000_000 } else { 2_000_000 };
        Self {
            lost: part(rng, 0.3),
            repeated: part(rng, 0.3),
            jitter: 1 + rng.below(5_000_000),
            slow: 10_000 + rng.below(slowest),
            refused: part(rng, 0.5),
        }
    }
}

pub fn uniform(rng: &mut Rng) -> f64 {
    rng.below(1 << 32) as f64 / (1u64 << 32) as f64
}

/// One TCP connection, or the attempt at one.
#[derive(Debug)]
struct Pipe {
    /// Bytes of one side arrive in their order.
    to_venue: Nanos,
    to_trader: Nanos,
    /// Nothing that is sent from here on arrives.
    cut: bool,
}

/// What is under way.
pub struct Net {
    pub now: Nanos,
    pub weather: Weather,
    rng: Rng,
    queue: BinaryHeap<Reverse<(Nanos, u64)>>,
    under_way: BTreeMap<u64, Happening>,
    count: u64,
    pipes: BTreeMap<u64, Pipe>,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Nanos(0),
            weather: Weather::CALM,
            rng: Rng::new(seed),
            queue: BinaryHeap::new(),
            under_way: BTreeMap::new(),
            count: 0,
            pipes: BTreeMap::new(),
        }
    }

    /// Comes due at that moment; what is put in first comes first.
    pub fn at(&mut self, at: Nanos, happening: Happening) {
        self.count += 1;
        self.queue.push(Reverse((at.max(self.now), self.count)));
        self.under_way.insert(self.count, happening);
    }

    /// The next moment at which something is due.
    pub fn next(&self) -> Option<Nanos> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// What is due by `until`, in order.
    pub fn due(&mut self, until: Nanos) -> Option<Happening> {
        let Reverse((at, number)) = *self.queue.peek()?;
        if at > until {
            return None;
        }
        self.queue.pop();
        self.now = at;
        self.under_way.remove(&number)
    }

    /// A datagram from the venue to the trader.
    pub fn datagram(&mut self, line: u8, bytes: &[u8]) {
        for _ in 0..self.copies() {
            let at = self.after(self.weather.jitter);
            self.at(at, Happening::Line { line, bytes: bytes.to_vec() });
        }
    }

    pub fn request(&mut self, bytes: &[u8]) {
        for _ in 0..self.copies() {
            let at = self.after(self.weather.jitter);
            self.at(at, Happening::Request { bytes: bytes.to_vec() });
        }
    }

    fn copies(&mut self) -> u32 {
        if uniform(&mut self.rng) < self.weather.lost {
            return 0;
        }
        1 + u32::from(uniform(&mut self.rng) < self.weather.repeated)
    }

    fn after(&mut self, most: u64) -> Nanos {
        self.now.plus(5_000 + self.rng.below(most + 1))
    }

    /// The trader wants a connection; the answer comes later.
    pub fn connect(&mut self, pipe: u64) {
        let at = self.after(self.weather.slow);
        self.pipes.insert(pipe, Pipe { to_venue: at, to_trader: at, cut: false });
        if uniform(&mut self.rng) < self.weather.refused {
            self.at(at, Happening::TraderClosed { pipe });
        } else {
            self.at(at, Happening::Connect { pipe });
            self.at(at, Happening::Connected { pipe });
        }
    }

    pub fn send_to_venue(&mut self, pipe: u64, bytes: &[u8]) {
        for piece in self.pieces(bytes) {
            let late = self.after(self.weather.slow);
            let Some(one) = self.pipes.get_mut(&pipe).filter(|one| !one.cut) else { return };
            one.to_venue = one.to_venue.max(late);
            let at = one.to_venue;
            self.at(at, Happening::ToVenue { pipe, bytes: piece });
        }
    }

    pub fn send_to_trader(&mut self, pipe: u64, bytes: &[u8]) {
        for piece in self.pieces(bytes) {
            let late = self.after(self.weather.slow);
            let Some(one) = self.pipes.get_mut(&pipe).filter(|one| !one.cut) else { return };
            one.to_trader = one.to_trader.max(late);
            let at = one.to_trader;
            self.at(at, Happening::ToTrader { pipe, bytes: piece });
        }
    }

    /// TCP keeps no message borders.
    fn pieces(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut rest, mut pieces) = (bytes, Vec::new());
        while rest.len() > 1 && self.rng.below(3) == 0 {
            let (piece, behind) = rest.split_at(1 + self.rng.below(rest.len() as u64 - 1) as usize);
            pieces.push(piece.to_vec());
            rest = behind;
        }
        pieces.push(rest.to_vec());
        pieces
    }

    /// The network cuts a connection: what is under way arrives in part, each side hears of it by itself.
    pub fn cut(&mut self, pipe: u64) {
        let (mine, theirs) = (self.after(self.weather.slow * 2), self.after(self.weather.slow * 2));
        let Some(one) = self.pipes.get_mut(&pipe).filter(|one| !one.cut) else { return };
        one.cut = true;
        // Of what is under way only the beginning arrives: a random number of pieces, the later ones are lost.
        let mut lost = [self.rng.below(2) == 0, self.rng.below(2) == 0];
        let numbers: Vec<u64> = self.under_way.keys().copied().collect();
        for number in numbers {
            let side = match self.under_way[&number] {
                Happening::ToVenue { pipe: of, .. } if of == pipe => 0,
                Happening::ToTrader { pipe: of, .. } if of == pipe => 1,
                _ => continue,
            };
            lost[side] |= self.rng.below(3) == 0;
            if lost[side] {
                self.under_way.insert(number, Happening::Whim);
            }
        }
        // Half open: one side hears nothing, and must find out by itself.
        if self.rng.below(4) > 0 {
            self.at(mine, Happening::TraderClosed { pipe });
        }
        if self.rng.below(4) > 0 {
            self.at(theirs, Happening::VenueClosed { pipe });
        }
    }

    /// The trader ends a connection: what it has written arrives.
    pub fn trader_closes(&mut self, pipe: u64) {
        let late = self.after(self.weather.slow);
        let Some(one) = self.pipes.get_mut(&pipe).filter(|one| !one.cut) else { return };
        one.cut = true;
        let at = one.to_venue.max(late);
        self.at(at, Happening::VenueClosed { pipe });
    }

    /// The venue does.
    pub fn venue_closes(&mut self, pipe: u64) {
        let late = self.after(self.weather.slow);
        let Some(one) = self.pipes.get_mut(&pipe).filter(|one| !one.cut) else { return };
        one.cut = true;
        let at = one.to_trader.max(late);
        self.at(at, Happening::TraderClosed { pipe });
    }
}
