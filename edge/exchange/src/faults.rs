//! Faults on demand: what networks and venues do to clients, by rule, with a seed.
//!
//! A rule says what goes wrong, where, how often and for how long. As text: the action, then `key=value` words.
//!
//! ```text
//! drop line=A p=0.1                  one of ten packets of line A is lost
//! delay line=B by=2ms                line B is late by two milliseconds
//! silent port=ouch50 for=5s          nothing is heard of OUCH 5.0 ports; afterwards what was held comes
//! refuse-logins venue=XNAS           no login succeeds at this venue
//! disconnect port=snapshot           connections to the snapshot ports end now; with p, at a message
//! ```
//!
//! Actions: `drop`, `duplicate`, `reorder`, `delay` (with `by`), `silent`, `disconnect`, `refuse-logins`,
//! `refuse-orders`. Places: `line=A`, `line=B`, `line=retransmission` (answers to requests), `port=` and a protocol's name; without a place
//! everywhere that the action makes sense: connections are streams, so only lines drop, duplicate and reorder.
//! At most [`MAX_RULES`] rules and [`MAX_HELD`] held packets; a packet that would be held beyond them goes out at once.

use std::collections::BTreeMap;

use helios_types::{Nanos, Rng};

use crate::config::Protocol;

/// Most rules at once.
pub const MAX_RULES: usize = 64;
/// Most packets that are held back at once.
pub const MAX_HELD: usize = 1 << 16;
/// Longest that a packet waits for another one to overtake it.
const REORDER_NS: u64 = 5_000_000;
/// Lines of a venue: A, B and the answers to requests.
const LINES: u64 = 3;
/// The line of answers to requests.
pub(crate) const RETRANSMISSION: u8 = 2;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A packet is lost.
    Drop,
    /// A packet comes twice.
    Duplicate,
    /// A packet comes after the next one.
    Reorder,
    /// Late by so many nanoseconds.
    Delay(u64),
    /// Nothing is heard.
    Silent,
    /// A connection ends.
    Disconnect,
    /// Logins are refused as not authorised.
    RefuseLogins,
    /// New orders are refused.
    RefuseOrders,
}

/// Where it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever the action makes sense.
    Anywhere,
    /// A line of market data: 0 for A, 1 for B, 2 for the answers to requests.
    Line(u8),
    /// The ports of a protocol.
    Port(Protocol),
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What.
    pub action: Action,
    /// Where.
    pub place: Place,
    /// At which venue, by name; all when not given.
    pub venue: Option<String>,
    /// How often, 0 to 1; not given for always.
    pub probability: Option<f64>,
    /// For how many nanoseconds; until it is cleared when not given.
    pub duration_ns: Option<u64>,
}

impl Fault {
    /// Reads a rule; says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("a fault begins with what goes wrong, as in: drop line=A p=0.1")?;
        let (mut place, mut venue, mut probability, mut duration_ns, mut by) =
            (Place::Anywhere, None, None, None, None);
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} in a fault: write key=value"))?;
            match key {
                "line" | "port" => place = place_of(key, value)?,
                "venue" => venue = Some(value.to_owned()),
                "p" => {
                    let p: f64 = value.parse().map_err(|_| format!("p={value}: a number from 0 to 1"))?;
                    if !(0.0..=1.0).contains(&p) {
                        return Err(format!("p={value}: a number from 0 to 1"));
                    }
                    probability = Some(p);
                }
                "for" => duration_ns = Some(duration(value)?),
                "by" => by = Some(duration(value)?),
                _ => return Err(format!("{key:?} in a fault: use line, port, venue, p, for, by")),
            }
        }
        let action = match (name, by) {
            ("delay", Some(ns)) => Action::Delay(ns),
            ("delay", None) => return Err("delay needs by=, as in: delay line=B by=2ms".to_owned()),
            (_, Some(_)) => return Err(format!("by= belongs to delay, not to {name}")),
            ("drop", _) => Action::Drop,
            ("duplicate", _) => Action::Duplicate,
            ("reorder", _) => Action::Reorder,
            ("silent", _) => Action::Silent,
            ("disconnect", _) => Action::Disconnect,
            ("refuse-logins", _) => Action::RefuseLogins,
            ("refuse-orders", _) => Action::RefuseOrders,
            _ => {
                return Err(format!(
                    "{name:?} is no fault: use drop, duplicate, reorder, delay, silent, disconnect, refuse-logins, \
                     refuse-orders"
                ));
            }
        };
        let of_lines = matches!(action, Action::Drop | Action::Duplicate | Action::Reorder);
        let of_ports = matches!(action, Action::Disconnect | Action::RefuseLogins | Action::RefuseOrders);
        match place {
            Place::Port(_) if of_lines => {
                Err(format!("{name} is for lines: a connection is a stream; use line=A or B"))
            }
            Place::Line(_) if of_ports => Err(format!("{name} is for ports: use port=ouch50 or another protocol")),
            _ => Ok(Self { action, place, venue, probability, duration_ns }),
        }
    }
}

fn place_of(key: &str, value: &str) -> Result<Place, String> {
    Ok(match (key, value) {
        ("line", "A") => Place::Line(0),
        ("line", "B") => Place::Line(1),
        ("line", "retransmission") => Place::Line(RETRANSMISSION),
        ("line", _) => return Err(format!("line={value}: use A, B or retransmission")),
        _ => {
            let found = Protocol::ALL.into_iter().find(|protocol| protocol.name() == value);
            Place::Port(found.ok_or_else(|| format!("port={value}: use ouch42, ouch50, fix44, drop_copy or snapshot"))?)
        }
    })
}

/// `5s`, `2ms`, `10us`, `100ns`.
fn duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no length of time: write it as 5s, 2ms, 10us or 100ns");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let number: u64 = text[..split].parse().map_err(|_| wrong())?;
    let unit = match &text[split..] {
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" => 1_000,
        "ns" => 1,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|ns| *ns <= 1 << 56).ok_or_else(wrong)
}

struct Active {
    fault: Fault,
    venue: Option<usize>,
    until: Option<Nanos>,
}

/// A packet that waits.
pub(crate) struct Held {
    pub(crate) venue: usize,
    pub(crate) line: u8,
    /// Of an answer to a request: to whom.
    pub(crate) to: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The rules that hold now.
pub(crate) struct Faults {
    rules: Vec<Active>,
    rng: Rng,
    held: BTreeMap<(Nanos, u64), Held>,
    count: u64,
    /// By venue and line, the packet that waits to be overtaken.
    waiting: BTreeMap<u64, (Nanos, u64)>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), rng: Rng::new(seed), held: BTreeMap::new(), count: 0, waiting: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, fault: Fault, venue: Option<usize>, now: Nanos) -> Result<(), String> {
        if self.rules.len() >= MAX_RULES {
            return Err(format!("there are {MAX_RULES} faults, the maximum: clear them first"));
        }
        let until = fault.duration_ns.map(|ns| now.plus(ns));
        self.rules.push(Active { fault, venue, until });
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Rules whose time is over are forgotten.
    pub(crate) fn expire(&mut self, now: Nanos) {
        self.rules.retain(|rule| rule.until.is_none_or(|until| now < until));
    }

    /// Draws whether a rule of this kind strikes at this place now; its action if it does.
    fn strikes(&mut self, venue: usize, place: Place, which: impl Fn(Action) -> bool) -> Option<Action> {
        if self.rules.is_empty() {
            return None;
        }
        let rng = &mut self.rng;
        let mut rules = self.rules.iter().filter(|rule| {
            which(rule.fault.action)
                && rule.venue.is_none_or(|named| named == venue)
                && (rule.fault.place == Place::Anywhere || rule.fault.place == place)
        });
        rules.find(|rule| rule.fault.probability.is_none_or(|p| rng.uniform() < p)).map(|rule| rule.fault.action)
    }

    /// Whether clients of a port hear nothing.
    pub(crate) fn is_silent(&mut self, venue: usize, protocol: Protocol) -> bool {
        self.strikes(venue, Place::Port(protocol), |action| action == Action::Silent).is_some()
    }

    /// By how much a client of a port hears later.
    pub(crate) fn delay(&mut self, venue: usize, protocol: Protocol) -> u64 {
        match self.strikes(venue, Place::Port(protocol), |action| matches!(action, Action::Delay(_))) {
            Some(Action::Delay(ns)) => ns,
            _ => 0,
        }
    }

    /// Whether something happens at a port now.
    pub(crate) fn happens(&mut self, venue: usize, protocol: Protocol, what: Action) -> bool {
        self.strikes(venue, Place::Port(protocol), |action| action == what).is_some()
    }

    /// A packet is to go out: what does, through `send`.
    pub(crate) fn datagram(
        &mut self,
        (venue, line, to): (usize, u8, u64),
        bytes: &[u8],
        now: Nanos,
        mut send: impl FnMut(&[u8]),
    ) {
        if self.rules.is_empty() && self.held.is_empty() {
            return send(bytes);
        }
        let place = Place::Line(line);
        if self.strikes(venue, place, |action| matches!(action, Action::Silent | Action::Drop)).is_some() {
            return;
        }
        let line_key = venue as u64 * LINES + u64::from(line);
        if self.held.len() < MAX_HELD {
            if let Some(Action::Delay(ns)) = self.strikes(venue, place, |action| matches!(action, Action::Delay(_))) {
                self.hold(now.plus(ns), Held { venue, line, to, bytes: bytes.to_vec() });
                return;
            }
            let overtaken = self.waiting.contains_key(&line_key);
            if !overtaken && self.strikes(venue, place, |action| action == Action::Reorder).is_some() {
                let key = self.hold(now.plus(REORDER_NS), Held { venue, line, to, bytes: bytes.to_vec() });
                self.waiting.insert(line_key, key);
                return;
            }
        }
        send(bytes);
        if self.strikes(venue, place, |action| action == Action::Duplicate).is_some() {
            send(bytes);
        }
        if let Some(key) = self.waiting.remove(&line_key)
            && let Some(held) = self.held.remove(&key)
        {
            send(&held.bytes);
        }
    }

    fn hold(&mut self, at: Nanos, held: Held) -> (Nanos, u64) {
        self.count += 1;
        self.held.insert((at, self.count), held);
        (at, self.count)
    }

    /// The next held packet that is due.
    pub(crate) fn release(&mut self, now: Nanos) -> Option<Held> {
        let (key, _) = self.held.first_key_value().filter(|((at, _), _)| *at <= now)?;
        let key = *key;
        self.waiting.retain(|_, waiting| *waiting != key);
        self.held.remove(&key)
    }

    pub(crate) fn next_tick(&self) -> Option<Nanos> {
        let held = self.held.first_key_value().map(|((at, _), _)| *at);
        let ends = self.rules.iter().filter_map(|rule| rule.until).min();
        [held, ends].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_nonsense_is_refused() {
        let fault = Fault::parse("drop line=A p=0.1 venue=XNAS for=5s").expect("a rule");
        assert_eq!(fault.action, Action::Drop);
        assert_eq!(
            (fault.place, fault.probability, fault.duration_ns),
            (Place::Line(0), Some(0.1), Some(5_000_000_000))
        );
        assert_eq!(fault.venue.as_deref(), Some("XNAS"));
        assert_eq!(Fault::parse("delay by=2ms").expect("a rule").action, Action::Delay(2_000_000));
        for (text, says) in [
            ("", "begins with"),
            ("explode", "is no fault"),
            ("drop line=C", "use A, B"),
            ("drop p=2", "0 to 1"),
            ("drop p=NaN", "0 to 1"),
            ("drop port=ouch50", "is for lines"),
            ("disconnect line=A", "is for ports"),
            ("delay", "needs by="),
            ("drop by=1s", "belongs to delay"),
            ("drop for=1", "no length of time"),
            ("drop for=99999999999s", "no length of time"),
            ("drop what", "key=value"),
            ("drop x=1", "use line"),
            ("silent port=telnet", "use ouch42"),
        ] {
            let error = Fault::parse(text).expect_err(text);
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn packets_are_dropped_doubled_delayed_and_overtaken() {
        let run = |rules: &[&str]| {
            let mut faults = Faults::new(3);
            for rule in rules {
                faults.add(Fault::parse(rule).expect("a rule"), None, Nanos(0)).expect("room");
            }
            let mut out = Vec::new();
            for n in 0..6_u8 {
                faults.datagram((0, 0, 0), &[n], Nanos(u64::from(n)), |bytes| out.push(bytes[0]));
            }
            while let Some(held) = faults.release(Nanos(1 << 40)) {
                out.push(held.bytes[0]);
            }
            out
        };
        assert_eq!(run(&[]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(run(&["drop line=A"]), []);
        assert_eq!(run(&["drop line=B"]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(run(&["duplicate"]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(run(&["reorder"]), [1, 0, 3, 2, 5, 4]);
        assert_eq!(run(&["delay by=1s"]), [0, 1, 2, 3, 4, 5]);
        let some = run(&["drop p=0.5"]);
        assert!(!some.is_empty() && some.len() < 6, "{some:?}");
    }
}
