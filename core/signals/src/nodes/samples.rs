//! Plain windows over samples: a ring of the samples in the window, and a summary that hears who enters and who leaves.

use std::cell::Cell;

use helios_types::{Damaged, Hasher, Load, Nanos, Persist, Save};

use crate::node::{Keeps, Stat, Window};
use crate::nodes::moments::{MAX_SAMPLES, Moments};
use crate::nodes::order::{Extreme, Order};
use crate::nodes::pairwise::Skew;
use crate::nodes::{Machine, Row, Steps};

/// Samples beyond this are no samples: their square does not fit a float.
const LARGEST: f64 = 1e150;

/// Is this a sample? Nulls are none.
#[inline(always)]
pub(crate) fn is_sound(x: f64) -> bool {
    x.abs() <= LARGEST
}

/// A queue with room for a power of two, which grows when it must.
#[derive(Clone, Debug)]
pub(crate) struct Ring<T> {
    slots: Vec<T>,
    /// Position of the oldest; positions count on and on, slots repeat.
    head: u64,
    len: usize,
}

impl<T: Copy + Default> Ring<T> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { slots: vec![T::default(); capacity.next_power_of_two()], head: 0, len: 0 }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn slot(&self, at: usize) -> usize {
        (self.head as usize).wrapping_add(at) & (self.slots.len() - 1)
    }

    #[inline(always)]
    pub(crate) fn front(&self) -> Option<T> {
        (self.len > 0).then(|| self.slots[self.slot(0)])
    }

    #[inline(always)]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let front = self.front()?;
        self.head += 1;
        self.len -= 1;
        Some(front)
    }

    #[inline(always)]
    pub(crate) fn push_back(&mut self, x: T) {
        debug_assert!(self.slots.len().is_power_of_two());
        if self.len == self.slots.len() {
            self.grow();
        }
        let slot = self.slot(self.len);
        self.slots[slot] = x;
        self.len += 1;
    }

    /// The oldest leaves, and another joins: what comes back and what goes in.
    #[inline(always)]
    pub(crate) fn exchange(&mut self, x: T) -> T {
        let (first, behind) = (self.slot(0), self.slot(self.len));
        let old = self.slots[first];
        self.slots[behind] = x;
        self.head += 1;
        old
    }

    /// The oldest samples, at most `most`, and the places behind the newest, one for each: what [`Ring::turn`] counts as
    /// having left and joined. They may be the same places, so each is read before it is written.
    #[inline(always)]
    pub(crate) fn turnover(&mut self, most: usize) -> (impl Iterator<Item = &Cell<T>>, impl Iterator<Item = &Cell<T>>) {
        let (first, behind) = (self.slot(0), self.slot(self.len));
        let run = most.min(self.slots.len() - first).min(self.slots.len() - behind);
        let slots = Cell::from_mut(self.slots.as_mut_slice()).as_slice_of_cells();
        (slots[first..first + run].iter(), slots[behind..behind + run].iter())
    }

    /// So many of the oldest have left, and as many have joined.
    #[inline(always)]
    pub(crate) fn turn(&mut self, count: usize) {
        self.head += count as u64;
    }

    #[cold]
    fn grow(&mut self) {
        let mut slots = Vec::with_capacity(self.slots.len() * 2);
        slots.extend(self.iter());
        slots.resize(self.slots.len() * 2, T::default());
        (self.slots, self.head) = (slots, 0);
    }

    /// Takes away from the newest what `is` true, and puts `x` in its place.
    #[inline(always)]
    pub(crate) fn displace(&mut self, x: T, is: impl Fn(T) -> bool) {
        let (mask, head) = (self.slots.len() - 1, self.head as usize);
        let mut len = self.len;
        while len > 0 && is(self.slots[head.wrapping_add(len - 1) & mask]) {
            len -= 1;
        }
        self.len = len;
        self.push_back(x);
    }

    pub(crate) fn clear(&mut self) {
        (self.head, self.len) = (0, 0);
    }

    pub(crate) fn back(&self) -> Option<T> {
        self.len.checked_sub(1).map(|last| self.slots[self.slot(last)])
    }

    /// The samples from the oldest to the newest, in two pieces.
    #[inline(always)]
    pub(crate) fn pieces(&self) -> [&[T]; 2] {
        let first = self.slot(0);
        let until_end = self.len.min(self.slots.len() - first);
        [&self.slots[first..first + until_end], &self.slots[..self.len - until_end]]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let [old, new] = self.pieces();
        old.iter().chain(new).copied()
    }
}

/// With its size and its place: what is computed from the samples in pieces depends on where a ring ends.
impl<T: Copy + Default + Persist> Persist for Ring<T> {
    fn save(&self, save: &mut Save) {
        (self.slots.len(), self.slot(0), self.len).save(save);
        self.iter().for_each(|x| x.save(save));
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        let (size, head, len): (usize, usize, usize) = Persist::load(load)?;
        // A ring doubles when it is full, and no window holds more samples.
        if !size.is_power_of_two() || size > 2 * MAX_SAMPLES || head >= size || len > size || len > load.0.len() {
            return Err(Damaged("a ring of samples that cannot be"));
        }
        let mut ring = Self { slots: vec![T::default(); size], head: head as u64, len: 0 };
        for _ in 0..len {
            ring.push_back(T::load(load)?);
        }
        Ok(ring)
    }
}

/// What a window keeps of the samples in it.
pub(crate) trait Summary: Clone {
    /// A sample: a number, or two.
    type Sample: Copy + Default + Persist;
    /// Inputs that a sample is made of.
    const INPUTS: usize = 1;
    /// Takes the sample out of the inputs' values.
    fn sample(value: impl Fn(usize) -> f64) -> Self::Sample;
    fn is_sound(sample: Self::Sample) -> bool;
    /// A sample joins; `n` counts it.
    fn enter(&mut self, x: Self::Sample, n: usize);
    /// The oldest sample leaves; `n` samples stay.
    fn leave(&mut self, x: Self::Sample, n: usize);
    /// The oldest sample leaves a window of `n` and another joins.
    #[inline(always)]
    fn exchange(&mut self, old: Self::Sample, new: Self::Sample, n: usize) {
        self.leave(old, n - 1);
        self.enter(new, n);
    }
    /// Do its numbers lose something with each sample?
    const WEARS: bool = true;
    /// Every so often, and whenever this says so, everything is computed afresh from the samples themselves.
    fn is_worn(&self) -> bool {
        false
    }
    fn afresh(&mut self, _samples: &Ring<Self::Sample>) {}
    fn tells(stat: Stat) -> bool;
    /// `n` samples, of which the last is `last`.
    fn read(&self, stat: Stat, n: usize, last: Self::Sample) -> f64;
    fn fingerprint(sample: Self::Sample, hasher: &mut Hasher);
    fn digest(&self, hasher: &mut Hasher);
    /// Appends what it remembers beside the samples to a snapshot.
    fn keep(&self, save: &mut Save);
    /// What a snapshot says, of a window with these samples.
    fn restored(&self, load: &mut Load<'_>, samples: &Ring<Self::Sample>) -> Result<Self, Damaged>;
}

/// A plain window.
#[derive(Clone, Debug)]
pub(crate) struct Rolling<S: Summary> {
    window: Window,
    least: usize,
    summary: S,
    fresh: S,
    samples: Ring<S::Sample>,
    /// When the samples came; empty where nobody asks.
    times: Ring<u64>,
    first: Option<Nanos>,
    last: Nanos,
    age: usize,
    truncated: u64,
}

impl<S: Summary> Rolling<S> {
    pub(crate) fn new(window: Window, least: u32, summary: S) -> Self {
        let capacity = if let Window::Count(n) = window { n as usize } else { 16 };
        Self {
            window,
            least: least as usize,
            fresh: summary.clone(),
            summary,
            samples: Ring::with_capacity(capacity),
            times: Ring::with_capacity(if matches!(window, Window::Time(_)) { 16 } else { 1 }),
            first: None,
            last: Nanos(0),
            age: 0,
            truncated: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, now: Nanos, x: S::Sample) {
        if !S::is_sound(x) {
            return;
        }
        self.first.get_or_insert(now);
        self.last = now;
        match self.window {
            Window::Count(n) if self.samples.len() == n as usize => {
                let old = self.samples.exchange(x);
                self.summary.exchange(old, x, n as usize);
                return self.refresh();
            }
            Window::Time(span) => {
                while self.times.front().is_some_and(|ts| now.0 - ts >= span) {
                    self.leave();
                    self.times.pop_front();
                }
                if self.samples.len() == MAX_SAMPLES {
                    self.leave();
                    self.times.pop_front();
                    self.truncated += 1;
                }
                self.times.push_back(now.0);
            }
            Window::All if self.samples.len() == MAX_SAMPLES => {
                self.leave();
                self.truncated += 1;
            }
            _ => {}
        }
        self.samples.push_back(x);
        self.summary.enter(x, self.samples.len());
        self.refresh();
    }

    #[inline(always)]
    fn refresh(&mut self) {
        if !S::WEARS {
            return;
        }
        self.age += 1;
        if self.age >= self.samples.len().max(64) || self.summary.is_worn() {
            self.summary.afresh(&self.samples);
            self.age = 0;
        }
    }

    #[inline]
    fn leave(&mut self) {
        let x = self.samples.pop_front().expect("only called on a window with samples");
        self.summary.leave(x, self.samples.len());
    }

    fn is_full(&self) -> bool {
        let n = self.samples.len();
        match self.window {
            _ if self.least > 0 => n >= self.least,
            Window::Count(full) => n == full as usize,
            Window::Time(span) => self.first.is_some_and(|first| self.last.since(first) >= span),
            _ => n > 0,
        }
    }

    fn clear(&mut self) {
        self.samples.clear();
        self.times.clear();
        (self.first, self.age) = (None, 0);
        self.summary = self.fresh.clone();
    }
}

impl<S: Summary> Steps for Rolling<S> {
    #[inline(always)]
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        if !row.any(S::INPUTS) {
            return None;
        }
        self.push(row.now(), S::sample(|k| row.value(k)));
        Some(row.value(0))
    }

    #[inline(always)]
    fn run(&mut self, ts: &[Nanos], inputs: &[&[f64]], stat: Stat, values: &mut [f64]) -> bool {
        for (row, (now, value)) in ts.iter().zip(values).enumerate() {
            self.push(*now, S::sample(|k| inputs[k][row]));
            *value = Steps::read(self, stat);
        }
        true
    }

    #[inline(always)]
    fn read(&self, stat: Stat) -> f64 {
        match self.samples.back() {
            Some(last) if self.is_full() => self.summary.read(stat, self.samples.len(), last),
            _ => f64::NAN,
        }
    }

    fn tells(&self, stat: Stat) -> bool {
        S::tells(stat)
    }

    fn truncated(&self) -> u64 {
        self.truncated
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.samples.len() as u64);
        self.samples.iter().for_each(|x| S::fingerprint(x, hasher));
        self.times.iter().for_each(|ts| hasher.u64(ts));
        for x in [self.first.map_or(0, |ts| ts.0), self.last.0, self.age as u64, self.truncated] {
            hasher.u64(x);
        }
        self.summary.digest(hasher);
    }

    fn save(&self, save: &mut Save) {
        let Self { window: _, least: _, fresh: _, summary, samples, times, first, last, age, truncated } = self;
        samples.save(save);
        times.save(save);
        (*first, *last).save(save);
        (*age, *truncated).save(save);
        summary.keep(save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.samples = Persist::load(load)?;
        self.times = Persist::load(load)?;
        (self.first, self.last) = Persist::load(load)?;
        (self.age, self.truncated) = Persist::load(load)?;
        self.summary = self.summary.restored(load, &self.samples)?;
        Ok(())
    }
}

/// A window that begins afresh with a sample at which its second input is another than at the sample before, and rests
/// while that is null. Between samples nobody looks: not every event that changes a key reaches the window.
#[derive(Clone, Debug)]
pub(crate) struct Keyed<W> {
    window: W,
    key: f64,
}

/// What [`Keyed`] needs of a window.
pub(crate) trait Restart: Steps {
    /// Inputs that a sample is made of; the key is the one behind them.
    const SAMPLED: usize;
    fn restart(&mut self);
}

impl<S: Summary> Restart for Rolling<S> {
    const SAMPLED: usize = S::INPUTS;

    fn restart(&mut self) {
        self.clear();
    }
}

impl<W: Restart> Keyed<W> {
    pub(crate) fn new(window: W) -> Self {
        Self { window, key: f64::NAN }
    }
}

impl<W: Restart> Steps for Keyed<W> {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        if !row.any(W::SAMPLED) {
            return None;
        }
        let key = row.value(W::SAMPLED);
        let same = key == self.key || (key.is_nan() && self.key.is_nan());
        if !same {
            self.window.restart();
            self.key = key;
        }
        if key.is_nan() { Some(f64::NAN) } else { self.window.step(row) }
    }

    fn read(&self, stat: Stat) -> f64 {
        self.window.read(stat)
    }

    fn tells(&self, stat: Stat) -> bool {
        self.window.tells(stat)
    }

    fn truncated(&self) -> u64 {
        self.window.truncated()
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.f64(self.key);
        self.window.digest(hasher);
    }

    fn save(&self, save: &mut Save) {
        self.key.save(save);
        self.window.save(save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.key = Persist::load(load)?;
        self.window.restore(load)
    }
}

/// The machine of a window; `None` for the plain moments that the graph keeps itself.
pub(crate) fn window(window: Window, keeps: Keeps, least: u32, keyed: bool) -> Result<Option<Machine>, String> {
    check(window, least)?;
    let exponential = matches!(window, Window::EwmCount(_) | Window::EwmTime(_));
    if exponential && keeps != Keeps::Moments {
        return Err(format!("exponential weights have no {keeps:?}: use a rolling window"));
    }
    Ok(match keeps {
        Keeps::Moments if keyed => Some(Machine::KeyedMoments(Keyed::new(Moments::new(window, least)))),
        Keeps::Moments => None,
        Keeps::Skew if keyed => Some(Machine::KeyedSkew(Keyed::new(Rolling::new(window, least, Skew::default())))),
        Keeps::Skew => Some(Machine::Skew(Rolling::new(window, least, Skew::default()))),
        Keeps::Least if keyed => Some(Machine::KeyedLeast(Keyed::new(Rolling::new(window, least, Extreme::default())))),
        Keeps::Least => Some(Machine::Least(Rolling::new(window, least, Extreme::default()))),
        Keeps::Greatest if keyed => {
            Some(Machine::KeyedGreatest(Keyed::new(Rolling::new(window, least, Extreme::default()))))
        }
        Keeps::Greatest => Some(Machine::Greatest(Rolling::new(window, least, Extreme::default()))),
        Keeps::Order if keyed => Some(Machine::KeyedOrder(Keyed::new(Rolling::new(window, least, Order::default())))),
        Keeps::Order => Some(Machine::Order(Rolling::new(window, least, Order::default()))),
    })
}

pub(crate) fn check(window: Window, least: u32) -> Result<(), String> {
    match window {
        Window::Count(n) if n == 0 || n as usize > MAX_SAMPLES => {
            Err(format!("a window by count needs 1 to {MAX_SAMPLES} samples, got {n}"))
        }
        Window::Count(n) if least > n => {
            Err(format!("a window of {n} samples never has the {least} from which on it is to count as full"))
        }
        Window::Time(0) | Window::EwmTime(0) => Err("a window by time must be longer than zero".to_owned()),
        Window::EwmCount(keep) if !(keep > 0.0 && keep < 1.0) => {
            Err(format!("of a sample's weight a part between 0 and 1 must be left by the next, got {keep}"))
        }
        _ => Ok(()),
    }
}
