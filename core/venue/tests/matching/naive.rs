//! The rules of the matching engine once more, slowly: every order in one list in the order of time, every decision by
//! looking at all of them. Shares no code with the engine but the types of commands and events.

use helios_types::{BookRef, CancelReason, InstrumentId, Price, Quantity, RejectReason, Side, Terms, TimeInForce};
use helios_venue::SelfTrade;
use helios_venue::matching::{
    Allocation, Amend, AuctionKind, Beyond, Command, Event, Indicative, NewOrder, Phase, Place, Request, Rules,
};

const NONE: Price = Price::UNDEFINED;
const ZERO: Quantity = Quantity::ZERO;

/// A working order. Quantities are plain numbers; `limit` is `None` without one.
#[derive(Clone, Debug)]
pub struct Held {
    pub place: Place,
    pub new: NewOrder,
    pub shown: i64,
    pub reserve: i64,
    pub filled: i64,
}

impl Held {
    pub fn open(&self) -> i64 {
        self.shown + self.reserve
    }

    fn limit(&self) -> Option<i64> {
        self.new.price.is_defined().then_some(self.new.price.0)
    }
}

#[derive(Clone)]
pub struct Market {
    pub phase: Phase,
    pub rules: Rules,
    pub last: Option<i64>,
    range: Option<(i64, i64)>,
    top: [Option<BookRef>; 2],
}

#[derive(Clone)]
pub struct Naive {
    pub held: Vec<Held>,
    pub markets: Vec<Market>,
    pub events: Vec<Event>,
}

/// An order that is coming in.
struct Coming {
    new: NewOrder,
    left: i64,
    filled: i64,
}

type Refused = Result<(), RejectReason>;

impl Naive {
    pub fn new(rules: &[Rules]) -> Self {
        let market =
            |rules: &Rules| Market { phase: Phase::Continuous, rules: *rules, last: None, range: None, top: [None; 2] };
        Self { held: Vec::new(), markets: rules.iter().map(market).collect(), events: Vec::new() }
    }

    pub fn apply(&mut self, command: &Command) {
        match *command {
            Command::Submit(new) => match self.admit(&new) {
                Err(reason) => self.reject(new.instrument, new.order, Request::Submit, reason),
                Ok(()) => {
                    self.forget_range(new.instrument);
                    let NewOrder { instrument, order, side, price, quantity, .. } = new;
                    self.events.push(Event::Accepted { instrument, order, side, price, quantity });
                    self.enter(&new, 0);
                    self.settle(instrument);
                }
            },
            Command::Cancel { instrument, order } => match self.position(instrument, order) {
                None => self.reject(instrument, order, Request::Cancel, RejectReason::UnknownOrder),
                Some(at) => {
                    self.forget_range(instrument);
                    self.drop_at(at, CancelReason::Requested);
                    self.settle(instrument);
                }
            },
            Command::Amend(amend) => {
                if let Err(reason) = self.amend(&amend) {
                    self.reject(amend.instrument, amend.order, Request::Amend, reason);
                }
            }
            Command::Phase { instrument, phase } => self.set_phase(instrument, phase),
            Command::Uncross { instrument, kind } => self.uncross(instrument, kind),
            Command::Indicate { instrument, kind } => match self.markets.get(instrument.index()) {
                None => self.reject(instrument, 0, Request::Auction, RejectReason::UnknownInstrument),
                Some(_) => {
                    let indicative = self.indicative(instrument, kind);
                    self.events.push(Event::Indicative { instrument, kind, indicative });
                }
            },
        }
    }

    fn reject(&mut self, instrument: InstrumentId, order: BookRef, request: Request, reason: RejectReason) {
        self.events.push(Event::Rejected { instrument, order, request, reason });
    }

    fn market(&mut self, instrument: InstrumentId) -> &mut Market {
        &mut self.markets[instrument.index()]
    }

    fn forget_range(&mut self, instrument: InstrumentId) {
        let market = self.market(instrument);
        market.range = market.last.map(|last| (last, last));
    }

    fn position(&self, instrument: InstrumentId, order: BookRef) -> Option<usize> {
        self.held.iter().position(|held| held.new.order == order && held.new.instrument == instrument)
    }

    fn cancelled(&mut self, new: &NewOrder, quantity: i64, left: i64, reason: CancelReason) {
        let NewOrder { instrument, order, .. } = *new;
        let (quantity, left) = (Quantity(quantity), Quantity(left));
        self.events.push(Event::Cancelled { instrument, order, quantity, left, reason });
    }

    /// Takes a working order out.
    fn take_out(&mut self, at: usize) -> Held {
        let held = self.held.remove(at);
        self.lose_top(&held);
        held
    }

    fn lose_top(&mut self, held: &Held) {
        let top = &mut self.market(held.new.instrument).top[held.new.side as usize];
        if held.place == Place::Shown && *top == Some(held.new.order) {
            *top = None;
        }
    }

    fn drop_at(&mut self, at: usize, reason: CancelReason) {
        let held = self.take_out(at);
        self.cancelled(&held.new, held.open(), 0, reason);
    }

    // Admission.

    fn admit(&self, new: &NewOrder) -> Refused {
        use TimeInForce::{Close, Day, Fok, Ioc, Open};
        self.check_numbers(new)?;
        let Terms { post_only, midpoint, display, stop } = new.terms;
        let (market, part, sleeps) = (!new.price.is_defined(), display != Terms::ALL, stop.is_defined());
        let nonsense = match new.time_in_force {
            Day => false,
            Ioc => post_only || part,
            Fok => post_only || part || midpoint,
            Open | Close => post_only || part || midpoint || sleeps,
        };
        if nonsense
            || (midpoint && (post_only || part || sleeps))
            || (post_only && (market || sleeps))
            || (part && market)
        {
            return Err(RejectReason::Unsupported);
        }
        let at_once = matches!(new.time_in_force, Ioc | Fok) || post_only;
        let trading = match self.markets[new.instrument.index()].phase {
            Phase::Closed | Phase::Halted => false,
            Phase::PreOpen => sleeps || !at_once,
            Phase::Auction => (sleeps || !at_once) && new.time_in_force != Open,
            Phase::Continuous => new.time_in_force != Open,
        };
        if !trading {
            return Err(RejectReason::NotTrading);
        }
        if self.held.iter().any(|held| held.new.order == new.order) {
            return Err(RejectReason::DuplicateOrder);
        }
        self.check_trading(new)
    }

    fn check_numbers(&self, new: &NewOrder) -> Refused {
        let market = self.markets.get(new.instrument.index()).ok_or(RejectReason::UnknownInstrument)?;
        let Rules { tick, lot, .. } = market.rules;
        let whole = |x: i64, step: i64| x > 0 && (step == 0 || x % step == 0);
        let display = new.terms.display;
        if !whole(new.quantity.0, lot.0) || !(display == Terms::ALL || display == ZERO || whole(display.0, lot.0)) {
            return Err(RejectReason::BadQuantity);
        }
        let fits = |price: Price| !price.is_defined() || whole(price.0, tick.0);
        if fits(new.price) && fits(new.terms.stop) { Ok(()) } else { Err(RejectReason::BadPrice) }
    }

    /// Price bands and post-only.
    fn check_trading(&self, new: &NewOrder) -> Refused {
        let market = &self.markets[new.instrument.index()];
        let waits = matches!(new.time_in_force, TimeInForce::Open | TimeInForce::Close) || new.terms.stop.is_defined();
        if market.phase != Phase::Continuous || waits {
            return Ok(());
        }
        let limit = self.reach(new);
        let rejects = market.rules.bands.is_some_and(|bands| bands.beyond == Beyond::Reject);
        if rejects && !new.terms.midpoint && new.price.is_defined() && limit != Some(new.price.0) {
            return Err(RejectReason::PriceBand);
        }
        if new.terms.post_only && self.best_against(new.instrument, new.side, limit).is_some() {
            return Err(RejectReason::WouldTake);
        }
        Ok(())
    }

    /// The worst price at which the order may trade; `None` for any.
    fn reach(&self, new: &NewOrder) -> Option<i64> {
        let market = &self.markets[new.instrument.index()];
        let own = new.price.is_defined().then_some(new.price.0);
        let Some(bands) = market.rules.bands else { return own };
        let tick = market.rules.tick.0.max(1);
        let mut limits: Vec<i64> = own.into_iter().collect();
        let mut within = |centre: i64, ppm: u32| {
            // Try every tick: the furthest that lies inside.
            let inside = |price: i64| (price - centre).abs() * 1_000_000 <= centre * i64::from(ppm);
            let ticks = (1..=4 * centre).filter(|price| price % tick == 0);
            let side = new.side;
            let outside = match side {
                Side::Buy => ticks.filter(|price| *price > centre && !inside(*price)).min().map(|first| first - tick),
                Side::Sell => ticks.filter(|price| *price < centre && !inside(*price)).max().map(|first| first + tick),
            };
            // Nothing outside below: the band reaches down to the smallest price.
            limits.push(outside.unwrap_or(if side == Side::Sell { tick } else { 4 * centre }));
        };
        if bands.reference.is_defined() {
            within(bands.reference.0, bands.static_ppm);
        }
        if let (Some(last), true) = (market.last, bands.dynamic_ppm > 0) {
            within(last, bands.dynamic_ppm);
        }
        if new.side == Side::Buy { limits.into_iter().min() } else { limits.into_iter().max() }
    }

    // Continuous trading.

    fn enter(&mut self, new: &NewOrder, filled: i64) {
        let phase = self.markets[new.instrument.index()].phase;
        if new.terms.stop.is_defined() {
            return self.hold(Place::Stopped, new, filled);
        }
        match new.time_in_force {
            TimeInForce::Close => return self.hold(Place::Closing, new, filled),
            TimeInForce::Open => return self.hold(Place::Opening, new, filled),
            _ => {}
        }
        if matches!(phase, Phase::PreOpen | Phase::Auction) {
            let market = !new.price.is_defined() && !new.terms.midpoint;
            return if market { self.hold(Place::Opening, new, filled) } else { self.rest(new, filled) };
        }
        self.trade_and_rest(new, filled);
    }

    fn trade_and_rest(&mut self, new: &NewOrder, filled: i64) {
        let own = new.price.is_defined().then_some(new.price.0);
        let peg = new.terms.midpoint;
        let mut limit = if peg { own } else { self.reach(new) };
        let clipped = !peg && limit != own;
        let bands = self.markets[new.instrument.index()].rules.bands;
        let moves = clipped && bands.is_some_and(|bands| bands.beyond == Beyond::Rest);
        let rests = new.time_in_force == TimeInForce::Day && (peg || (own.is_some() && (!clipped || moves)));
        let mut new = *new;
        if rests && moves {
            new.price = Price(limit.expect("a band clips to a price"));
            let NewOrder { instrument, order, quantity, price, .. } = new;
            self.events.push(Event::Amended { instrument, order, new_order: order, price, quantity, kept: false });
        }
        let mut coming = Coming { new, left: new.quantity.0, filled };
        let mut trades = new.time_in_force != TimeInForce::Fok || self.fills_whole(&coming, limit);
        if peg {
            let middle = self.midpoint(new.instrument);
            trades = middle.is_some_and(|middle| reaches(new.side, own, middle));
            limit = middle;
        }
        if trades {
            self.take(&mut coming, limit);
        }
        if coming.left > 0 && rests {
            self.rest(&NewOrder { quantity: Quantity(coming.left), ..new }, coming.filled);
        } else if coming.left > 0 {
            self.cancelled(&new, coming.left, 0, CancelReason::Unfilled);
        }
    }

    /// Tries it on a copy, with an order without end.
    fn fills_whole(&self, coming: &Coming, limit: Option<i64>) -> bool {
        let mut copy = self.clone();
        copy.events.clear();
        let endless = NewOrder { firm: 0, order: BookRef::MAX, ..coming.new };
        copy.take(&mut Coming { new: endless, left: i64::MAX / 4, filled: 0 }, limit);
        let mut sum = 0;
        for event in &copy.events {
            let Event::Traded { resting, quantity, .. } = event else { continue };
            let met = self.held.iter().find(|held| held.new.order == *resting).expect("it rested");
            if !avoids(&coming.new, &met.new) {
                sum += quantity.0;
            } else if coming.new.self_trade != Some(SelfTrade::CancelOldest) {
                return false;
            }
        }
        sum >= coming.left
    }

    fn rest(&mut self, new: &NewOrder, filled: i64) {
        let place = match new.terms {
            Terms { midpoint: true, .. } => Place::Pegged,
            Terms { display: ZERO, .. } => Place::Hidden,
            _ => Place::Shown,
        };
        self.hold(place, new, filled);
    }

    fn hold(&mut self, place: Place, new: &NewOrder, filled: i64) {
        let (side, best) = (new.side, self.best_shown(new.instrument, new.side));
        let quantity = new.quantity.0;
        let shown = if place == Place::Shown { quantity.min(new.terms.display.0) } else { quantity };
        self.held.push(Held { place, new: *new, shown, reserve: quantity - shown, filled });
        let market = self.market(new.instrument);
        if place == Place::Shown && best.is_none_or(|best| is_better(side, new.price.0, best)) {
            let keeps = market.rules.allocation == Allocation::ProRata { top_first: true };
            market.top[side as usize] = keeps.then_some(new.order);
        }
    }

    fn best_shown(&self, instrument: InstrumentId, side: Side) -> Option<i64> {
        let shown = self
            .held
            .iter()
            .filter(|held| held.place == Place::Shown && held.new.instrument == instrument && held.new.side == side);
        let prices = shown.filter_map(Held::limit);
        if side == Side::Buy { prices.max() } else { prices.min() }
    }

    fn midpoint(&self, instrument: InstrumentId) -> Option<i64> {
        let bid = self.best_shown(instrument, Side::Buy)?;
        let ask = self.best_shown(instrument, Side::Sell)?;
        (ask - bid > 1).then(|| (bid + ask).div_euclid(2))
    }

    /// Where the order is that would be met first, and at what price.
    fn best_against(&self, instrument: InstrumentId, side: Side, limit: Option<i64>) -> Option<(usize, i64)> {
        let middle = self.midpoint(instrument);
        let mut found: Vec<(i64, Place, usize)> = Vec::new();
        for (at, held) in self.held.iter().enumerate() {
            if held.new.instrument != instrument || held.new.side == side {
                continue;
            }
            let price = match held.place {
                Place::Shown | Place::Hidden => held.limit(),
                Place::Pegged => middle.filter(|middle| reaches(side.opposite(), held.limit(), *middle)),
                _ => None,
            };
            if let Some(price) = price.filter(|price| reaches(side, limit, *price)) {
                found.push((price * side.sign(), held.place, at));
            }
        }
        found.into_iter().min().map(|(rank, _, at)| (at, rank * side.sign()))
    }

    fn take(&mut self, coming: &mut Coming, limit: Option<i64>) {
        let NewOrder { instrument, side, .. } = coming.new;
        while coming.left > 0 {
            let Some((at, price)) = self.best_against(instrument, side, limit) else { break };
            let pro_rata = matches!(self.markets[instrument.index()].rules.allocation, Allocation::ProRata { .. });
            if pro_rata && self.held[at].place == Place::Shown {
                self.take_level(coming, price);
                continue;
            }
            let quantity = coming.left.min(self.held[at].shown);
            if avoids(&coming.new, &self.held[at].new) {
                self.prevent(coming, at, quantity);
            } else {
                self.trade(coming, at, price, quantity);
            }
        }
    }

    fn take_level(&mut self, coming: &mut Coming, price: i64) {
        let NewOrder { instrument, side, .. } = coming.new;
        let of_level = |held: &Held| {
            held.place == Place::Shown
                && held.new.instrument == instrument
                && held.new.side != side
                && held.new.price.0 == price
        };
        let own = self.held.iter().position(|held| of_level(held) && avoids(&coming.new, &held.new));
        if let Some(at) = own {
            let quantity = coming.left.min(self.held[at].shown);
            return self.prevent(coming, at, quantity);
        }
        let Market { rules, top, .. } = self.markets[instrument.index()].clone();
        let level: Vec<(BookRef, i64)> =
            self.held.iter().filter(|held| of_level(held)).map(|held| (held.new.order, held.shown)).collect();
        let mut left = coming.left;
        let first = |order: BookRef| {
            rules.allocation == Allocation::ProRata { top_first: true } && top[side.opposite() as usize] == Some(order)
        };
        let mut gets: Vec<i64> =
            level.iter().map(|(order, size)| if first(*order) { left.min(*size) } else { 0 }).collect();
        left -= gets.iter().sum::<i64>();
        let rest: Vec<i64> = level.iter().zip(&gets).map(|((_, size), got)| size - got).collect();
        let (total, shared) = (rest.iter().sum::<i64>(), left.min(rest.iter().sum()));
        for (got, size) in gets.iter_mut().zip(&rest) {
            let lots = (shared * size).checked_div(total).unwrap_or(0) / rules.lot.0.max(1);
            *got += lots * rules.lot.0.max(1);
            left -= lots * rules.lot.0.max(1);
        }
        for (got, (_, size)) in gets.iter_mut().zip(&level) {
            let more = left.min(size - *got);
            *got += more;
            left -= more;
        }
        for ((order, _), got) in level.into_iter().zip(gets).filter(|(_, got)| *got > 0) {
            let at = self.position(instrument, order).expect("it stands in the level");
            self.trade(coming, at, price, got);
        }
    }

    fn trade(&mut self, coming: &mut Coming, at: usize, price: i64, quantity: i64) {
        coming.left -= quantity;
        coming.filled += quantity;
        let NewOrder { instrument, side, order: incoming, .. } = coming.new;
        self.saw(instrument, price);
        let met = &self.held[at];
        let (resting, resting_left) = (met.new.order, Quantity(met.open() - quantity));
        let (price, traded) = (Price(price), Quantity(quantity));
        self.events.push(Event::Traded { instrument, side, incoming, resting, price, quantity: traded, resting_left });
        self.held[at].filled += quantity;
        self.lose(at, quantity);
    }

    fn saw(&mut self, instrument: InstrumentId, price: i64) {
        let market = self.market(instrument);
        market.last = Some(price);
        market.range = Some(market.range.map_or((price, price), |(low, high)| (low.min(price), high.max(price))));
    }

    /// What an order shows becomes less; the next part of an iceberg goes to the back.
    fn lose(&mut self, at: usize, quantity: i64) {
        self.held[at].shown -= quantity;
        if self.held[at].shown > 0 {
            return;
        }
        let mut held = self.take_out(at);
        if held.reserve == 0 {
            return;
        }
        held.shown = held.reserve.min(held.new.terms.display.0);
        held.reserve -= held.shown;
        let NewOrder { instrument, order, .. } = held.new;
        self.events.push(Event::Refreshed { instrument, order, quantity: Quantity(held.shown) });
        self.held.push(held);
    }

    fn prevent(&mut self, coming: &mut Coming, at: usize, quantity: i64) {
        let mode = coming.new.self_trade;
        let new = coming.new;
        match mode {
            Some(SelfTrade::CancelOldest | SelfTrade::CancelBoth) => self.drop_at(at, CancelReason::SelfTrade),
            Some(SelfTrade::Decrement) => {
                let met = self.held[at].clone();
                coming.left -= quantity;
                self.cancelled(&met.new, quantity, met.open() - quantity, CancelReason::SelfTrade);
                self.cancelled(&new, quantity, coming.left, CancelReason::SelfTrade);
                self.lose(at, quantity);
            }
            _ => {}
        }
        if matches!(mode, Some(SelfTrade::CancelNewest | SelfTrade::CancelBoth)) {
            self.cancelled(&new, coming.left, 0, CancelReason::SelfTrade);
            coming.left = 0;
        }
    }

    // Pegs and stops.

    fn settle(&mut self, instrument: InstrumentId) {
        if self.markets[instrument.index()].phase != Phase::Continuous {
            return;
        }
        loop {
            while self.work_a_peg(instrument) {}
            let Some(at) = self.next_stop(instrument) else { break };
            let held = self.take_out(at);
            self.events.push(Event::Triggered { instrument, order: held.new.order });
            let terms = Terms { stop: NONE, ..held.new.terms };
            self.trade_and_rest(&NewOrder { terms, quantity: Quantity(held.open()), ..held.new }, held.filled);
        }
    }

    /// Lets the first peg act that can trade; false when none can.
    fn work_a_peg(&mut self, instrument: InstrumentId) -> bool {
        let Some(middle) = self.midpoint(instrument) else { return false };
        for side in [Side::Buy, Side::Sell] {
            if self.best_against(instrument, side, Some(middle)).is_none() {
                continue;
            }
            let peg = self.held.iter().position(|held| {
                held.place == Place::Pegged
                    && held.new.instrument == instrument
                    && held.new.side == side
                    && reaches(side, held.limit(), middle)
            });
            let Some(at) = peg else { continue };
            let held = self.held[at].clone();
            let mut coming = Coming { new: held.new, left: held.shown, filled: held.filled };
            self.take(&mut coming, Some(middle));
            let at = self.position(instrument, held.new.order).expect("nobody meets it from its own side");
            self.held[at].shown = coming.left;
            self.held[at].filled = coming.filled;
            if coming.left == 0 {
                self.held.remove(at);
            }
            return true;
        }
        false
    }

    fn next_stop(&self, instrument: InstrumentId) -> Option<usize> {
        let (low, high) = self.markets[instrument.index()].range?;
        let stops = self.held.iter().enumerate().filter(|(_, held)| {
            let trigger = held.new.terms.stop.0;
            let reached = if held.new.side == Side::Buy { high >= trigger } else { low <= trigger };
            held.place == Place::Stopped && held.new.instrument == instrument && reached
        });
        let rank = |held: &Held| (held.new.side, held.new.terms.stop.0 * held.new.side.sign());
        stops.min_by_key(|(at, held)| (rank(held), *at)).map(|(at, _)| at)
    }

    // Changes.

    fn amend(&mut self, amend: &Amend) -> Refused {
        let phase = self.markets.get(amend.instrument.index()).ok_or(RejectReason::UnknownInstrument)?.phase;
        let at = self.position(amend.instrument, amend.order).ok_or(RejectReason::UnknownOrder)?;
        if matches!(phase, Phase::Halted | Phase::Closed) {
            return Err(RejectReason::NotTrading);
        }
        let held = self.held[at].clone();
        let left = amend.quantity.0 - held.filled;
        if left <= 0 {
            return Err(RejectReason::BadQuantity);
        }
        if !held.new.terms.midpoint && amend.price.is_defined() != held.new.price.is_defined() {
            return Err(RejectReason::BadPrice);
        }
        let mut new = NewOrder { order: amend.new_order, price: amend.price, quantity: Quantity(left), ..held.new };
        if let Some(display) = amend.display {
            if held.new.terms.display == Terms::ALL || held.new.terms.display == ZERO {
                return Err(RejectReason::Unsupported);
            }
            if display.0 <= 0 || display == Terms::ALL {
                return Err(RejectReason::BadQuantity);
            }
            new.terms.display = display;
        }
        self.check_numbers(&new)?;
        let (instrument, order) = (amend.instrument, amend.order);
        let (price, quantity) = (new.price, new.quantity);
        let larger_part = held.place == Place::Shown && new.terms.display > held.new.terms.display;
        if new.price == held.new.price && left <= held.open() && !larger_part {
            let held = &mut self.held[at];
            let off = held.open() - left;
            let from_reserve = off.min(held.reserve);
            held.reserve -= from_reserve;
            held.shown -= off - from_reserve;
            held.new.terms.display = new.terms.display;
            self.events.push(Event::Amended { instrument, order, new_order: order, price, quantity, kept: true });
            return Ok(());
        }
        if new.order != order && self.held.iter().any(|held| held.new.order == new.order) {
            return Err(RejectReason::DuplicateOrder);
        }
        // Whether it may come in is judged without it.
        let mut without = self.clone();
        without.held.remove(at);
        without.check_trading(&new)?;
        self.forget_range(instrument);
        self.take_out(at);
        self.events.push(Event::Amended { instrument, order, new_order: new.order, price, quantity, kept: false });
        self.enter(&new, held.filled);
        self.settle(instrument);
        Ok(())
    }

    // Sessions and auctions.

    fn set_phase(&mut self, instrument: InstrumentId, phase: Phase) {
        let Some(market) = self.markets.get(instrument.index()) else {
            return self.reject(instrument, 0, Request::Phase, RejectReason::UnknownInstrument);
        };
        if phase == Phase::Continuous && market.phase != phase {
            let price = self.indicative(instrument, AuctionKind::Reopen).price;
            if price.is_defined() {
                return self.reject(instrument, 0, Request::Phase, RejectReason::NotTrading);
            }
        }
        self.enter_phase(instrument, phase);
    }

    fn enter_phase(&mut self, instrument: InstrumentId, phase: Phase) {
        match phase {
            Phase::Continuous => self.end(instrument, Place::Opening, CancelReason::Unfilled),
            Phase::Closed => Place::ALL.iter().for_each(|place| self.end(instrument, *place, CancelReason::Expired)),
            _ => {}
        }
        self.market(instrument).phase = phase;
        self.events.push(Event::Phase { instrument, phase });
        self.forget_range(instrument);
        self.settle(instrument);
    }

    /// Ends the orders of one place: buys first, then the order in which they would be met.
    fn end(&mut self, instrument: InstrumentId, place: Place, reason: CancelReason) {
        for side in [Side::Buy, Side::Sell] {
            for order in self.queue(instrument, side, place) {
                let at = self.position(instrument, order).expect("it was in the queue");
                self.drop_at(at, reason);
            }
        }
    }

    /// Numbers of one place and side in the order in which they would be met.
    pub fn queue(&self, instrument: InstrumentId, side: Side, place: Place) -> Vec<BookRef> {
        let wanted = |held: &&Held| held.place == place && held.new.side == side && held.new.instrument == instrument;
        let mut queue: Vec<&Held> = self.held.iter().filter(wanted).collect();
        // A stable sort keeps the order of time among equals.
        queue.sort_by_key(|held| match place {
            Place::Pegged => 0,
            Place::Stopped => held.new.terms.stop.0 * side.sign(),
            _ => held.limit().map_or(i64::MAX, |limit| -limit * side.sign()),
        });
        queue.into_iter().map(|held| held.new.order).collect()
    }

    /// Those who take part, best first: market orders, then by price, then by place, then by time.
    fn in_auction(&self, instrument: InstrumentId, side: Side, kind: AuctionKind) -> Vec<&Held> {
        let takes_part = |held: &&Held| match held.place {
            Place::Pegged | Place::Stopped => false,
            Place::Closing => kind == AuctionKind::Close,
            _ => true,
        };
        let of_side = |held: &&Held| held.new.instrument == instrument && held.new.side == side;
        let mut found: Vec<&Held> = self.held.iter().filter(of_side).filter(takes_part).collect();
        found.sort_by_key(|held| (held.limit().map(|limit| -limit * side.sign()), held.place));
        found
    }

    fn indicative(&self, instrument: InstrumentId, kind: AuctionKind) -> Indicative {
        let buys = self.in_auction(instrument, Side::Buy, kind);
        let sells = self.in_auction(instrument, Side::Sell, kind);
        let demand = |price: i64| -> i64 {
            buys.iter().filter(|h| h.limit().is_none_or(|limit| limit >= price)).map(|h| h.open()).sum()
        };
        let supply = |price: i64| -> i64 {
            sells.iter().filter(|h| h.limit().is_none_or(|limit| limit <= price)).map(|h| h.open()).sum()
        };
        let volume = |price: i64| demand(price).min(supply(price));
        let surplus = |price: i64| demand(price) - supply(price);
        let mut limits: Vec<i64> = buys.iter().chain(&sells).filter_map(|held| held.limit()).collect();
        let market = &self.markets[instrument.index()];
        // Strike out what each rule does not like, one rule after another.
        let most = limits.iter().map(|price| volume(*price)).max().unwrap_or(0);
        limits.retain(|price| volume(*price) == most && most > 0);
        let least = limits.iter().map(|price| surplus(*price).abs()).min();
        limits.retain(|price| Some(surplus(*price).abs()) == least);
        let (lowest, highest) = (limits.iter().min().copied(), limits.iter().max().copied());
        let unpriced = buys.iter().chain(&sells).all(|held| held.limit().is_none());
        let price = match (lowest, highest) {
            (Some(_), Some(highest)) if limits.iter().all(|price| surplus(*price) > 0) => Some(highest),
            (Some(lowest), Some(_)) if limits.iter().all(|price| surplus(*price) < 0) => Some(lowest),
            (Some(lowest), Some(highest)) => {
                let reference = market.last.unwrap_or((lowest + highest).div_euclid(2));
                let tick = market.rules.tick.0.max(1);
                Some((reference - reference % tick).max(lowest).min(highest))
            }
            _ if unpriced => market.last.filter(|last| volume(*last) > 0),
            _ => None,
        };
        // No price at all, with a limit or without, would let more trade.
        let everywhere = (1..=20).map(volume).max().unwrap_or(0);
        assert!(unpriced || everywhere == price.map_or(0, volume), "{price:?} is not the best");
        let left = price.map_or_else(
            || {
                let unpriced = |side: &[&Held]| -> i64 {
                    side.iter().filter(|held| held.limit().is_none()).map(|held| held.open()).sum()
                };
                unpriced(&buys) - unpriced(&sells)
            },
            surplus,
        );
        Indicative {
            price: price.map_or(NONE, Price),
            paired: Quantity(price.map_or(0, volume)),
            imbalance: Quantity(left.abs()),
            side: if left == 0 { None } else { Some(Side::of(Quantity(left))) },
        }
    }

    fn uncross(&mut self, instrument: InstrumentId, kind: AuctionKind) {
        let Some(market) = self.markets.get(instrument.index()) else {
            return self.reject(instrument, 0, Request::Auction, RejectReason::UnknownInstrument);
        };
        let follows = match kind {
            AuctionKind::Open => market.phase == Phase::PreOpen,
            AuctionKind::Close => market.phase == Phase::Auction || market.phase == Phase::Continuous,
            AuctionKind::Reopen => market.phase == Phase::Auction,
        };
        if !follows {
            return self.reject(instrument, 0, Request::Auction, RejectReason::NotTrading);
        }
        let indicative = self.indicative(instrument, kind);
        self.events.push(Event::Auctioned { instrument, kind, indicative });
        let mut left = indicative.paired.0;
        while left > 0 {
            self.market(instrument).last = Some(indicative.price.0);
            let [buy, sell] = [Side::Buy, Side::Sell].map(|side| self.in_auction(instrument, side, kind)[0].clone());
            let quantity = left.min(buy.shown).min(sell.shown);
            left -= quantity;
            self.events.push(Event::AuctionTraded {
                instrument,
                buy: buy.new.order,
                sell: sell.new.order,
                price: indicative.price,
                quantity: Quantity(quantity),
            });
            for held in [buy, sell] {
                let at = self.position(instrument, held.new.order).expect("it was just found");
                self.held[at].filled += quantity;
                self.lose(at, quantity);
            }
        }
        self.end(instrument, Place::Opening, CancelReason::Unfilled);
        if kind == AuctionKind::Close {
            self.end(instrument, Place::Closing, CancelReason::Unfilled);
        }
        self.enter_phase(instrument, if kind == AuctionKind::Close { Phase::Closed } else { Phase::Continuous });
    }
}

fn is_better(side: Side, a: i64, b: i64) -> bool {
    if side == Side::Buy { a > b } else { a < b }
}

/// Whether an order of this side with this limit may trade at a price.
fn reaches(side: Side, limit: Option<i64>, price: i64) -> bool {
    limit.is_none_or(|limit| limit == price || is_better(side, limit, price))
}

fn avoids(incoming: &NewOrder, resting: &NewOrder) -> bool {
    incoming.self_trade.is_some() && incoming.firm != 0 && incoming.firm == resting.firm
}
