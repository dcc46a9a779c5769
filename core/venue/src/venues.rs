//! All the venues of a run: exchanges and dark pools, each with its own latency, fees, ticks and rules.
//!
//! A *listing* is an instrument at one venue: it has its own number, market data, book and orders. [`Venues`] leads each
//! order and each market event to the venue of its instrument, and brings the answers back in time order; at one moment
//! those of the exchanges come first, in their order, then those of the pools. The venues know nothing of one another,
//! but that a pool looks at the best prices of the listing that is its reference.
//!
//! That the listings of one security are one position is the engine's business, not the venues'. See
//! `docs/models/venues.md`. Absent: routing, trade-through rules between venues, fees that depend on all of them.

use crate::agents::Simulation;
use crate::pool::DarkPool;
use crate::{Standing, Venue};
use helios_types::{Charge, Instrument, InstrumentId, Market, Nanos, OrderId, Output, Report, Update};

/// Which venue an instrument is listed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The exchange of this number.
    Lit(u32),
    /// The pool of this number.
    Dark(u32),
}

/// The simulated venues of a run. A clone goes its own way.
#[derive(Clone)]
pub struct Venues {
    lit: Vec<Venue>,
    dark: Vec<DarkPool>,
    /// By instrument.
    of: Vec<Exchange>,
    /// The exchange of each instrument, as the pools ask for it; of a pool's own listings the first.
    lit_of: Vec<u32>,
    /// Pools that look at an instrument, by instrument.
    pools_of: Vec<Vec<u32>>,
    /// There is one exchange and nothing else.
    alone: bool,
}

impl From<Venue> for Venues {
    fn from(venue: Venue) -> Self {
        let (of, lit_of, pools_of) = (Vec::new(), Vec::new(), Vec::new());
        Self { lit: vec![venue], dark: Vec::new(), of, lit_of, pools_of, alone: true }
    }
}

impl Venues {
    /// Exchanges and pools, and where each instrument is listed. Each exchange has been given all instruments; an order
    /// or event of one that is listed elsewhere never reaches it. Panics when a pool's listing or its reference is not
    /// listed as it says.
    pub fn new(lit: Vec<Venue>, dark: Vec<DarkPool>, of: Vec<Exchange>) -> Self {
        assert!(!lit.is_empty(), "a run has at least one exchange");
        let lit_of = |at: &Exchange| match *at {
            Exchange::Lit(at) => at,
            Exchange::Dark(_) => 0,
        };
        let mut pools_of = vec![Vec::new(); of.len()];
        for (number, pool) in (0u32..).zip(&dark) {
            for listing in pool.listings() {
                let symbol = &listing.symbol;
                assert!(of.get(listing.instrument.index()) == Some(&Exchange::Dark(number)), "{symbol} is elsewhere");
                let reference = of.get(listing.reference.index());
                assert!(matches!(reference, Some(Exchange::Lit(_))), "{symbol}: its reference is at no exchange");
                let pools: &mut Vec<u32> = &mut pools_of[listing.reference.index()];
                if pools.last() != Some(&number) {
                    pools.push(number);
                }
            }
        }
        for at in &of {
            let listed = match *at {
                Exchange::Lit(at) => (at as usize) < lit.len(),
                Exchange::Dark(at) => (at as usize) < dark.len(),
            };
            assert!(listed, "{at:?} is no venue");
        }
        let alone = lit.len() == 1 && dark.is_empty();
        Self { lit_of: of.iter().map(lit_of).collect(), lit, dark, of, pools_of, alone }
    }

    /// Puts a market of agents into the one exchange: see [`Venue::go_live`].
    pub fn go_live(
        &mut self,
        simulation: Simulation,
        midnight: Nanos,
        instruments: &[Instrument],
    ) -> Result<(), String> {
        if !self.alone {
            return Err("agents trade at one exchange: a run on them has no other venue".to_owned());
        }
        self.lit[0].go_live(simulation, midnight, instruments)
    }

    /// When agents act next: see [`Venue::next_act`].
    pub fn next_act(&self) -> Option<Nanos> {
        self.lit[0].next_act()
    }

    /// The agents act: see [`Venue::act`].
    pub fn act(&mut self) {
        self.lit[0].act();
    }

    /// What the agents' market has written: see [`Venue::feed`].
    pub fn feed(&mut self) -> Option<&mut Vec<u8>> {
        self.lit[0].feed()
    }

    /// How much of the agents' day is done: see [`Venue::live_progress`].
    pub fn live_progress(&self) -> Option<f64> {
        self.lit[0].live_progress()
    }

    /// Takes the engine's messages on their way to the venue of their instrument. One about an instrument that no venue
    /// lists goes to the first exchange, which says so.
    pub fn submit(&mut self, now: Nanos, output: &Output) {
        if self.alone {
            return self.lit[0].submit(now, output);
        }
        let instrument = match *output {
            Output::Submit(order) => order.instrument,
            Output::Cancel { instrument, .. } | Output::Replace { instrument, .. } => instrument,
            _ => return,
        };
        match self.of.get(instrument.index()) {
            Some(Exchange::Dark(at)) => self.dark[*at as usize].submit(now, output),
            Some(Exchange::Lit(at)) => self.lit[*at as usize].submit(now, output),
            None => self.lit[0].submit(now, output),
        }
    }

    /// The next moment at which something happens at a venue without a market event.
    #[inline]
    pub fn next_due(&self) -> Option<Nanos> {
        if self.alone { self.lit[0].next_due() } else { self.next().map(|(at, _)| at) }
    }

    /// The venue at which something happens next; at one moment the first of them.
    fn next(&self) -> Option<(Nanos, usize)> {
        let lit = self.lit.iter().map(Venue::next_due);
        let all = lit.chain(self.dark.iter().map(DarkPool::next_due)).enumerate();
        all.filter_map(|(index, due)| due.map(|at| (at, index))).min()
    }

    /// Lets time pass: what is due at or before `to` happens at its venue, and reports due by then come out in the order
    /// of their arrival at the engine.
    pub fn advance(&mut self, to: Nanos, reports: &mut Vec<(Nanos, Report)>) {
        if self.alone {
            return self.lit[0].advance(to, reports);
        }
        while let Some((at, index)) = self.next().filter(|(at, _)| *at <= to) {
            match index.checked_sub(self.lit.len()) {
                None => self.lit[index].advance(at, reports),
                Some(pool) => self.dark[pool].advance(at, (&self.lit, &self.lit_of), reports),
            }
        }
    }

    /// Applies one event of history at its `ts_event`, before the engine sees it. Messages due by then act first.
    #[inline]
    pub fn market(&mut self, market: &Market) {
        if self.alone { self.lit[0].market(market) } else { self.market_of_one(market) }
    }

    fn market_of_one(&mut self, market: &Market) {
        let Market { instrument, ts_event, ref update } = *market;
        // A series is none of the venues' business, and its number no instrument's.
        if let Update::Value(_) = update {
            return;
        }
        let at = match self.of.get(instrument.index()) {
            Some(Exchange::Dark(at)) => return self.dark[*at as usize].refuse_market(),
            Some(Exchange::Lit(at)) => *at as usize,
            None => return self.lit[0].market(market),
        };
        let pools = &self.pools_of[instrument.index()];
        for pool in pools {
            self.dark[*pool as usize].before(market, (&self.lit, &self.lit_of));
        }
        self.lit[at].market(market);
        for pool in pools {
            self.dark[*pool as usize].after(ts_event, instrument, (&self.lit, &self.lit_of));
        }
    }

    /// The next charge of the broker that was made by `to`; where there are several venues none has a broker.
    pub fn charge(&mut self, to: Nanos) -> Option<(Nanos, Charge)> {
        if self.alone { self.lit[0].charge(to) } else { None }
    }

    /// True when trades of ours move prices: what the engine is to see of an event then comes from [`Venues::show`].
    pub fn has_impact(&self) -> bool {
        self.lit.iter().any(Venue::has_impact)
    }

    /// Moves the prices of the event that [`Venues::market`] was given last to where our impact has put them.
    pub fn show(&self, market: &mut Market) {
        match self.of.get(market.instrument.index()) {
            _ if self.alone => self.lit[0].show(market),
            Some(Exchange::Lit(_)) if matches!(market.update, Update::Value(_)) => {}
            Some(Exchange::Lit(at)) => self.lit[*at as usize].show(market),
            _ => {}
        }
    }

    /// The exchange of each instrument; of a pool's own listings, and where there is only one, the first.
    pub fn exchange_of(&self, instrument: InstrumentId) -> usize {
        self.lit_of.get(instrument.index()).map_or(0, |at| *at as usize)
    }

    /// The exchanges, in their order.
    pub fn exchanges(&self) -> &[Venue] {
        &self.lit
    }

    /// The pools, in their order.
    pub fn pools(&self) -> &[DarkPool] {
        &self.dark
    }

    /// Orders that work at all venues now.
    pub fn open_orders(&self) -> usize {
        let lit: usize = self.lit.iter().map(Venue::open_orders).sum();
        lit + self.dark.iter().map(DarkPool::open_orders).sum::<usize>()
    }

    /// Where a resting order stands in its queue; `None` unless it rests in an order-level book.
    pub fn standing(&self, order: OrderId, instrument: InstrumentId) -> Option<Standing> {
        match self.of.get(instrument.index()) {
            _ if self.alone => self.lit[0].standing(order, instrument),
            Some(Exchange::Lit(at)) => self.lit[*at as usize].standing(order, instrument),
            _ => None,
        }
    }
}
