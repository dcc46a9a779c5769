//! Auctions: one price at which as much as possible trades.
//!
//! The price, by rules that are tried in this order until one price is left (as Deutsche Börse's T7 and Euronext determine
//! theirs, and Nasdaq but for the last step; sources and differences in `docs/models/auctions.md`):
//! 1. the largest executable volume, among all limits in the book;
//! 2. of those, the smallest imbalance between demand and supply;
//! 3. of those, if only demand is left over at all of them the highest, if only supply the lowest (market pressure);
//! 4. else the reference price, moved to the nearest of them if it is outside their range. The reference is the last
//!    trade; without one, the middle of the range. It is rounded down to a tick.
//!
//! Market orders alone trade at the reference. Who trades: market orders first, then the best limit; at one price displayed,
//! hidden, on-open and on-close orders, each the oldest first. Icebergs take part with all they have, part by part. Pegs and
//! stops take no part; bands and the prevention of self-trades do not apply.

use helios_types::{BookRef, CancelReason, InstrumentId, Price, Quantity, RejectReason, Side, round_down_to_tick};

use super::shelf::{Met, Place};
use super::{Event, Events, MatchingEngine, Phase, Request, is_better};

/// Which auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AuctionKind {
    /// From [`Phase::PreOpen`]; continuous trading follows.
    Open = 0,
    /// From [`Phase::Auction`], with on-close orders; the session ends. Also straight from continuous trading, as on Nasdaq.
    Close = 1,
    /// From [`Phase::Auction`] after a halt; continuous trading follows.
    Reopen = 2,
}

impl AuctionKind {
    fn can_follow(self, phase: Phase) -> bool {
        match self {
            Self::Open => phase == Phase::PreOpen,
            Self::Close => matches!(phase, Phase::Auction | Phase::Continuous),
            Self::Reopen => phase == Phase::Auction,
        }
    }

    /// Places whose orders take part, in the order in which they trade at one price.
    fn places(self) -> &'static [Place] {
        const ALL: [Place; 4] = [Place::Shown, Place::Hidden, Place::Opening, Place::Closing];
        if self == Self::Close { &ALL } else { &ALL[..3] }
    }
}

/// What an auction gives, or would give now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indicative {
    /// The price, or [`Price::UNDEFINED`] when nothing can trade.
    pub price: Price,
    /// What trades at it.
    pub paired: Quantity,
    /// What would trade at this price too, had it a counterparty. Without a price: of market orders.
    pub imbalance: Quantity,
    /// On which side that is.
    pub side: Option<Side>,
}

/// Demand and supply of one instrument.
struct Curve {
    /// Of market orders, by side.
    market: [i128; 2],
    /// Limits and quantities by side, the lowest price first.
    limits: [Vec<(Price, i128)>; 2],
}

/// One price that was tried.
#[derive(Clone, Copy)]
struct Trial {
    price: Price,
    volume: i128,
    /// Demand less supply.
    surplus: i128,
}

impl MatchingEngine {
    /// What the auction would give now; `None` for an unknown instrument.
    pub fn indicative(&self, instrument: InstrumentId, kind: AuctionKind) -> Option<Indicative> {
        let state = self.states.get(instrument.index())?;
        let curve = self.curve(instrument, kind);
        let trial = curve.best(state.last, state.rules.tick);
        let surplus = trial.map_or(curve.market[0] - curve.market[1], |trial| trial.surplus);
        Some(Indicative {
            price: trial.map_or(Price::UNDEFINED, |trial| trial.price),
            paired: quantity(trial.map_or(0, |trial| trial.volume)),
            imbalance: quantity(surplus.abs()),
            side: match surplus.signum() {
                1 => Some(Side::Buy),
                -1 => Some(Side::Sell),
                _ => None,
            },
        })
    }

    /// Says what the auction would give now.
    pub fn indicate(&mut self, instrument: InstrumentId, kind: AuctionKind, out: &mut Events) {
        match self.indicative(instrument, kind) {
            Some(indicative) => out.push(Event::Indicative { instrument, kind, indicative }),
            None => Self::reject(instrument, 0, Request::Auction, RejectReason::UnknownInstrument, out),
        }
    }

    /// Holds the auction: trades at its price, cancels what was for it alone, and moves to the phase that follows.
    pub fn uncross(&mut self, instrument: InstrumentId, kind: AuctionKind, out: &mut Events) {
        let Some(indicative) = self.indicative(instrument, kind) else {
            return Self::reject(instrument, 0, Request::Auction, RejectReason::UnknownInstrument, out);
        };
        if !kind.can_follow(self.states[instrument.index()].phase) {
            return Self::reject(instrument, 0, Request::Auction, RejectReason::NotTrading, out);
        }
        out.push(Event::Auctioned { instrument, kind, indicative });
        self.pair(instrument, kind, &indicative, out);
        let next = if kind == AuctionKind::Close { Phase::Closed } else { Phase::Continuous };
        self.end_orders(Place::Opening, instrument, CancelReason::Unfilled, out);
        if kind == AuctionKind::Close {
            self.end_orders(Place::Closing, instrument, CancelReason::Unfilled, out);
        }
        self.enter_phase(instrument, next, out);
    }

    fn pair(&mut self, instrument: InstrumentId, kind: AuctionKind, at: &Indicative, out: &mut Events) {
        let mut left = at.paired;
        if left.is_zero() {
            return;
        }
        self.state(instrument).last = at.price;
        while !left.is_zero() {
            let [buy, sell] = [Side::Buy, Side::Sell].map(|side| {
                self.next_in_auction(instrument, side, kind).expect("what was paired stands in the books: a bug if not")
            });
            let quantity = left.min(buy.resting.quantity).min(sell.resting.quantity);
            left.0 -= quantity.0;
            let numbers: [BookRef; 2] = [buy.resting.order, sell.resting.order];
            let [buyer, seller] = numbers;
            out.push(Event::AuctionTraded { instrument, buy: buyer, sell: seller, price: at.price, quantity });
            self.consume(&buy, quantity, true, out);
            self.consume(&sell, quantity, true, out);
        }
    }

    /// Who trades next on a side.
    fn next_in_auction(&self, instrument: InstrumentId, side: Side, kind: AuctionKind) -> Option<Met> {
        let places = kind.places();
        let met = |place: Place, (resting, detail)| Met { place, resting, detail };
        let market = places[2..].iter().find_map(|place| {
            let mut queue = self.shelves[*place as usize].queue(instrument, side, Price::UNDEFINED);
            queue.next().map(|found| met(*place, found))
        });
        if market.is_some() {
            return market;
        }
        let fronts = places.iter().filter_map(|place| {
            let front = self.shelves[*place as usize].front(instrument, side)?;
            front.0.price.is_defined().then(|| met(*place, front))
        });
        fronts.reduce(|best, next| if is_better(side, next.resting.price, best.resting.price) { next } else { best })
    }

    fn curve(&self, instrument: InstrumentId, kind: AuctionKind) -> Curve {
        let mut curve = Curve { market: [0; 2], limits: [Vec::new(), Vec::new()] };
        for side in [Side::Buy, Side::Sell] {
            for place in kind.places() {
                for (resting, detail) in self.shelves[*place as usize].orders(instrument, side) {
                    let quantity = i128::from(resting.quantity.0) + i128::from(detail.reserve.0);
                    match resting.price.is_defined() {
                        true => curve.limits[side as usize].push((resting.price, quantity)),
                        false => curve.market[side as usize] += quantity,
                    }
                }
            }
            curve.limits[side as usize].sort_unstable();
        }
        curve
    }
}

impl Curve {
    /// The price of the auction, if anything trades.
    fn best(&self, reference: Price, tick: Price) -> Option<Trial> {
        let trials = self.trials();
        let largest = trials.iter().map(|trial| trial.volume).max().unwrap_or(0);
        let smallest = trials.iter().filter(|trial| trial.volume == largest).map(|trial| trial.surplus.abs()).min();
        let mut tied = trials.iter().filter(|t| t.volume == largest && Some(t.surplus.abs()) == smallest);
        let Some(lowest) = tied.next() else {
            // No limit at all: market orders trade at the reference, if there is one.
            return reference.is_defined().then(|| self.at(reference)).filter(|trial| trial.volume > 0);
        };
        let highest = tied.next_back().unwrap_or(lowest);
        if largest == 0 {
            return None;
        }
        // The surplus falls as the price rises: its signs at both ends are those of all between.
        match (lowest.surplus.signum(), highest.surplus.signum()) {
            (1, 1) => Some(*highest),
            (-1, -1) => Some(*lowest),
            _ => Some(self.at(referred(lowest.price, highest.price, reference, tick))),
        }
    }

    /// Every limit of the book, the lowest first.
    fn trials(&self) -> Vec<Trial> {
        let [bids, asks] = &self.limits;
        let mut demand = self.market[0] + bids.iter().map(|(_, quantity)| quantity).sum::<i128>();
        let mut supply = self.market[1];
        let (mut bids, mut asks) = (bids.iter().peekable(), asks.iter().peekable());
        let mut trials = Vec::new();
        while let Some(price) = [bids.peek(), asks.peek()].into_iter().flatten().map(|(price, _)| *price).min() {
            while let Some((_, quantity)) = asks.next_if(|(ask, _)| *ask == price) {
                supply += quantity;
            }
            trials.push(Trial { price, volume: demand.min(supply), surplus: demand - supply });
            while let Some((_, quantity)) = bids.next_if(|(bid, _)| *bid == price) {
                demand -= quantity;
            }
        }
        trials
    }

    /// Demand and supply at any price.
    fn at(&self, price: Price) -> Trial {
        let [bids, asks] = &self.limits;
        let demand: i128 = bids.iter().filter(|(bid, _)| *bid >= price).map(|(_, quantity)| quantity).sum();
        let supply: i128 = asks.iter().filter(|(ask, _)| *ask <= price).map(|(_, quantity)| quantity).sum();
        let (demand, supply) = (demand + self.market[0], supply + self.market[1]);
        Trial { price, volume: demand.min(supply), surplus: demand - supply }
    }
}

/// The reference, within the range.
fn referred(lowest: Price, highest: Price, reference: Price, tick: Price) -> Price {
    let wanted = if reference.is_defined() { reference } else { Price(lowest.0 + (highest.0 - lowest.0) / 2) };
    let stepped = if tick.0 > 0 { round_down_to_tick(wanted, tick) } else { wanted };
    stepped.clamp(lowest, highest)
}

/// Sums beyond 64 bits are shown as the largest quantity.
fn quantity(sum: i128) -> Quantity {
    Quantity(i64::try_from(sum).unwrap_or(i64::MAX))
}
