//! The gate, and the running numbers it looks at.

use std::collections::{BTreeMap, VecDeque};

use helios_types::{
    Breach, Cash, Control, Damaged, Difference, Digest, Hasher, Instrument, InstrumentId, Load, NANOS_PER_DAY,
    NANOS_PER_SECOND, Nanos, Order, OrderId, Overflow, Persist, Price, Quantity, Refusal, Rule, Rules, Save, Side,
    StrategyId, Terms, TimeInForce, notional,
};

use crate::limits::{Feeds, Limits, ROWS, Unfed, prove};
use crate::positions::Position;

/// What somebody wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who wishes.
    pub strategy: StrategyId,
    /// What.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Positive.
    pub quantity: Quantity,
    /// Limit, or [`Price::UNDEFINED`] for a market order.
    pub price: Price,
    /// Life time.
    pub time_in_force: TimeInForce,
    /// How it is worked.
    pub terms: Terms,
}

/// Proof that a wish passed the gate. Only this module can make one, and it is used up by becoming an order.
#[must_use = "the gate has reserved room for this order: send it"]
#[derive(Debug)]
pub struct Approved(Wish);

impl Approved {
    /// The order, under its identifier.
    pub fn into_order(self, id: OrderId) -> Order {
        self.0.order(id)
    }
}

/// What passes the gate at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Everything within the limits.
    Normal,
    /// Only orders that make a position smaller.
    ReduceOnly,
    /// Nothing.
    Killed,
}

/// Accounts at once; the wish that would open one more is refused.
pub const MAX_ACCOUNTS: usize = 1 << 20;

/// One instrument: net position, what is on its way, and its price.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exposure {
    pub(crate) mark: Price,
    open_buy: i64,
    open_sell: i64,
    tick: Price,
    lot: Quantity,
    /// The instrument whose position its fills go to: itself, but for a listing at a further venue.
    holds: InstrumentId,
    /// Value of the net position at the mark.
    value: Cash,
    /// Largest absolute value that position and working orders can reach, at the mark.
    worst: Cash,
    pub(crate) net: Position,
}

impl Exposure {
    /// Largest absolute position when all working orders of one side fill.
    fn reach(&self) -> Result<Quantity, Overflow> {
        self.reach_with(self.open_buy, self.open_sell)
    }

    /// [`Exposure::reach`] if so much worked.
    #[inline]
    fn reach_with(&self, open_buy: i64, open_sell: i64) -> Result<Quantity, Overflow> {
        let buy = self.net.quantity.add(Quantity(open_buy))?;
        let sell = self.net.quantity.sub(Quantity(open_sell))?;
        // The one is never below the other, so these are the two that can be farthest from zero.
        Ok(buy.max(sell.neg()))
    }

    /// Largest absolute value, given what the position can reach.
    #[inline]
    fn worst(&self, mark: Price, reach: Quantity) -> Result<Cash, Overflow> {
        if mark.is_defined() { notional(mark, reach) } else { Ok(self.net.cost.abs()) }
    }

    /// Value of the net position and largest absolute value that it can reach, at a mark; at cost before the first one.
    #[inline]
    fn worth(&self, mark: Price) -> Result<(Cash, Cash), Overflow> {
        if !mark.is_defined() {
            return Ok((self.net.cost, self.net.cost.abs()));
        }
        let value = self.net.value(mark)?;
        Ok((value, self.worst(mark, self.reach()?)?))
    }

    fn open(&self, side: Side) -> i64 {
        match side {
            Side::Buy => self.open_buy,
            Side::Sell => self.open_sell,
        }
    }

    /// The same with `change` more working on one side.
    fn with_open(mut self, side: Side, change: i64) -> Result<Self, Overflow> {
        let open = self.open(side).checked_add(change).ok_or(Overflow)?;
        assert!(open >= 0, "more was released than reserved: execution and risk disagree about working orders");
        match side {
            Side::Buy => self.open_buy = open,
            Side::Sell => self.open_sell = open,
        }
        Ok(self)
    }
}

/// What an instrument's exposure becomes when a wish is sent; its position and the value of that stay as they are.
struct Reserved {
    open_buy: i64,
    open_sell: i64,
    worst: Cash,
    /// Sum of all instruments.
    gross: Cash,
}

/// One strategy's part of an execution, or of a transfer between strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose; from [`Risk::account`].
    pub account: u32,
    /// Bought or sold.
    pub side: Side,
    /// How much, positive.
    pub quantity: Quantity,
    /// Its part of the fee.
    pub fee: Cash,
    /// Once booked: the profit that it realised, before its fee.
    pub realised: Cash,
    /// Once booked: the account's position.
    pub after: Position,
}

impl Share {
    /// Not booked yet.
    pub fn new(account: u32, side: Side, quantity: Quantity) -> Self {
        Self { account, side, quantity, fee: Cash::ZERO, realised: Cash::ZERO, after: Position::default() }
    }
}

/// One strategy's position in one instrument; netted orders are shared out over these.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Whose.
    pub strategy: StrategyId,
    /// In what.
    pub instrument: InstrumentId,
    /// Its position and money.
    pub position: Position,
}

/// Positions, money and the gate.
pub struct Risk {
    limits: Limits,
    /// The limits by row of the table.
    pub(crate) ceilings: [i64; ROWS.len()],
    pub(crate) exposures: Vec<Exposure>,
    pub(crate) accounts: Vec<Account>,
    /// Account numbers of one instrument, by instrument.
    pub(crate) accounts_of: Vec<Vec<u32>>,
    /// By instrument; empty when none has any.
    rules: Vec<Rules>,
    /// Money in hand: start, less what was bought, plus what was sold, less fees.
    pub(crate) cash: Cash,
    /// Interest paid so far, by strategy.
    pub(crate) financing: BTreeMap<StrategyId, Cash>,
    pub(crate) financing_paid: Cash,
    /// Sum of the values of net positions.
    value: Cash,
    /// Sum of `worst`.
    gross: Cash,
    /// Stamps of the last orders, oldest first: those of the last second and some before them, at most as many as the
    /// rate limit.
    recent: VecDeque<Nanos>,
    day: u64,
    day_start: Cash,
    /// What the operator lets pass.
    allowed: Mode,
    /// The daily loss was exceeded today.
    breached: bool,
    /// Positions about which the venue does not agree: ours and theirs, when it was last said.
    differences: BTreeMap<InstrumentId, Difference>,
}

/// A wish and, when it changes a working order, what that order holds already.
#[derive(Clone, Copy)]
struct Asked<'a> {
    wish: &'a Wish,
    /// Room that is reserved for it.
    room: i64,
    /// What is filled of it.
    filled: i64,
}

impl Asked<'_> {
    /// What would be unfilled of it.
    fn left(&self) -> i64 {
        self.wish.quantity.0.saturating_sub(self.filled)
    }

    /// Room that it needs beyond what it has.
    fn more(&self) -> i64 {
        self.left().saturating_sub(self.room).max(0)
    }
}

/// Stands for "cannot be told" as a refusal's value: no reference price was seen, or the number does not fit.
const UNKNOWN: i64 = i64::MAX;

impl Risk {
    /// Flat, with `cash` in hand.
    pub fn new(instruments: &[Instrument], limits: Limits, cash: Cash) -> Self {
        let exposures = (0..)
            .map(InstrumentId)
            .zip(instruments)
            .map(|(holds, instrument)| Exposure {
                net: Position::default(),
                mark: Price::UNDEFINED,
                open_buy: 0,
                open_sell: 0,
                tick: instrument.tick,
                lot: instrument.lot,
                holds,
                value: Cash::ZERO,
                worst: Cash::ZERO,
            })
            .collect();
        let stamps = limits.orders_per_second.map_or(0, |n| usize::try_from(n).unwrap_or(0).min(1 << 16));
        // Filled and emptied: its pages are there before the first order.
        let mut recent = VecDeque::from(vec![Nanos(u64::MAX); stamps]);
        recent.clear();
        Self {
            limits,
            ceilings: ROWS.map(|row| ceiling(limits.get(row.rule))),
            exposures,
            accounts: Vec::new(),
            accounts_of: vec![Vec::new(); instruments.len()],
            rules: Vec::new(),
            cash,
            financing: BTreeMap::new(),
            financing_paid: Cash::ZERO,
            value: Cash::ZERO,
            gross: Cash::ZERO,
            recent,
            day: 0,
            day_start: cash,
            allowed: Mode::Normal,
            breached: false,
            differences: BTreeMap::new(),
        }
    }

    /// For each instrument the one whose position, mark and limits are its own too: a security that is listed at several
    /// venues is held once. Of a run that has not begun; each holder holds itself.
    pub fn holding(mut self, holds: &[InstrumentId]) -> Self {
        assert!(holds.len() == self.exposures.len(), "each instrument has a holder");
        for (exposure, &holder) in self.exposures.iter_mut().zip(holds) {
            assert!(holds.get(holder.index()) == Some(&holder), "a holder holds itself");
            exposure.holds = holder;
        }
        self
    }

    /// The instrument whose position an instrument's fills go to; itself for what is not listed.
    #[inline]
    pub fn holder(&self, instrument: InstrumentId) -> InstrumentId {
        self.exposures.get(instrument.index()).map_or(instrument, |exposure| exposure.holds)
    }

    /// The exposure that an instrument's orders and fills change.
    #[inline]
    fn held(&self, instrument: InstrumentId) -> &Exposure {
        &self.exposures[self.exposures[instrument.index()].holds.index()]
    }

    /// The instruments' rules, one for each.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Rules>) -> Self {
        assert!(rules.len() == self.exposures.len(), "rules are given for every instrument, or for none");
        self.rules = rules;
        self
    }

    /// The instruments' rules; empty when none has any.
    pub fn rules(&self) -> &[Rules] {
        &self.rules
    }

    /// Smallest step of a position.
    pub(crate) fn unit_of(&self, instrument: InstrumentId) -> Quantity {
        let unit = self.rules.get(instrument.index()).map_or(Quantity::ZERO, |rules| rules.unit);
        if unit.is_zero() { self.lot_of(instrument) } else { unit }
    }

    /// False for a limit between the steps of its price's band.
    #[inline]
    fn on_grid(&self, wish: &Wish) -> bool {
        match self.rules.get(wish.instrument.index()) {
            Some(Rules { ticks: Some(ticks), .. }) => ticks.allows(wish.price),
            _ => true,
        }
    }

    /// Dividends received so far, less those paid.
    pub fn dividends(&self) -> Cash {
        total(self.exposures.iter().map(|exposure| i128::from(exposure.net.dividends.0)))
    }

    /// Paid for borrowed shares so far.
    pub fn borrowed(&self) -> Cash {
        total(self.exposures.iter().map(|exposure| i128::from(exposure.net.borrow.0)))
    }

    /// Interest paid so far, less interest received.
    pub fn financing(&self) -> Cash {
        self.financing_paid
    }

    /// The same of one strategy.
    pub fn financing_of(&self, strategy: StrategyId) -> Cash {
        self.financing.get(&strategy).copied().unwrap_or_default()
    }

    /// Money in hand plus the value of positions, exactly; the lowest number when that does not fit.
    pub fn equity(&self) -> Cash {
        self.cash.add(self.value).unwrap_or(Cash(i64::MIN))
    }

    /// Money in hand.
    pub fn cash(&self) -> Cash {
        self.cash
    }

    /// Fees paid so far, less rebates.
    pub fn fees(&self) -> Cash {
        total(self.exposures.iter().map(|exposure| i128::from(exposure.net.fees.0)))
    }

    /// Value of the open positions less what they cost.
    pub fn unrealised(&self) -> Cash {
        total(self.exposures.iter().map(|exposure| i128::from(exposure.value.0) - i128::from(exposure.net.cost.0)))
    }

    /// Sum over instruments of the largest absolute value that position and working orders can reach.
    pub fn gross(&self) -> Cash {
        self.gross
    }

    /// Signed sum of the values of positions.
    pub fn net(&self) -> Cash {
        self.value
    }

    /// What passes the gate now.
    pub fn mode(&self) -> Mode {
        if self.breached { self.allowed.max(Mode::ReduceOnly) } else { self.allowed }
    }

    /// Net position of an instrument, wherever it was traded.
    pub fn position(&self, instrument: InstrumentId) -> &Position {
        &self.held(instrument).net
    }

    /// Last mark of an instrument.
    pub fn mark_of(&self, instrument: InstrumentId) -> Price {
        self.exposures[instrument.index()].mark
    }

    /// What is working of one side of an instrument at all venues, changes under way included.
    pub fn working(&self, instrument: InstrumentId, side: Side) -> Quantity {
        Quantity(self.held(instrument).open(side))
    }

    /// Smallest quantity step of an instrument's orders.
    pub fn lot_of(&self, instrument: InstrumentId) -> Quantity {
        self.exposures[instrument.index()].lot
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Numbers of the accounts in an instrument, in the order in which they were opened.
    pub fn accounts_in(&self, instrument: InstrumentId) -> &[u32] {
        &self.accounts_of[instrument.index()]
    }

    /// Every strategy's position in every instrument that it ever traded.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The engine's clock moves. A new day (UTC) starts with the equity as it is, and a breach of the day before is
    /// over; what the operator said stays.
    #[inline]
    pub fn clock(&mut self, now: Nanos) {
        let day = now.0 / NANOS_PER_DAY;
        if day != self.day {
            (self.day, self.day_start, self.breached) = (day, self.equity(), false);
        }
    }

    /// A new price of an instrument: revalues the position. On [`Overflow`] the price before it stands.
    #[inline]
    pub fn mark(&mut self, instrument: InstrumentId, price: Price) -> Result<(), Overflow> {
        let exposure = &mut self.exposures[instrument.index()];
        if exposure.mark == price || !price.is_defined() {
            return Ok(());
        }
        if exposure.net.quantity.is_zero() && exposure.open_buy == 0 && exposure.open_sell == 0 {
            exposure.mark = price;
            return Ok(());
        }
        let (value, worst) = exposure.worth(price)?;
        let sum = self.value.sub(exposure.value)?.add(value)?;
        let gross = self.gross.sub(exposure.worst)?.add(worst)?;
        (exposure.mark, exposure.value, exposure.worst) = (price, value, worst);
        (self.value, self.gross) = (sum, gross);
        Ok(())
    }

    /// Puts a changed exposure in its place, with its value and the sums. On [`Overflow`] nothing has changed.
    pub(crate) fn put(&mut self, instrument: InstrumentId, mut changed: Exposure) -> Result<(), Overflow> {
        let (value, gross) = self.sums_with(instrument, &mut changed)?;
        self.exposures[instrument.index()] = changed;
        (self.value, self.gross) = (value, gross);
        Ok(())
    }

    /// Values a changed exposure; returns the sums of value and gross as they would be with it.
    fn sums_with(&self, instrument: InstrumentId, changed: &mut Exposure) -> Result<(Cash, Cash), Overflow> {
        let before = &self.exposures[instrument.index()];
        (changed.value, changed.worst) = changed.worth(changed.mark)?;
        let value = self.value.sub(before.value)?.add(changed.value)?;
        Ok((value, self.gross.sub(before.worst)?.add(changed.worst)?))
    }

    /// Loss since the day began; negative for a gain. What cannot be told counts as the largest loss.
    fn loss(&self) -> Cash {
        let equity = self.cash.add(self.value);
        equity.and_then(|equity| self.day_start.sub(equity)).unwrap_or(Cash(UNKNOWN))
    }

    /// Looks at the limits that act without an order: a loss beyond the daily one leaves only reducing orders for the
    /// rest of the day.
    pub fn supervise(&mut self) -> Option<Breach> {
        let limit = self.limits.daily_loss?;
        if self.breached || self.loss() <= limit {
            return None;
        }
        self.breached = true;
        Some(Breach { rule: Rule::DailyLoss, limit: limit.0, value: self.loss().0 })
    }

    /// An operator's command. Resuming does not forget a breach of the same day, and it does not undo a kill: that
    /// takes a new run. A limit is set with [`Risk::set_limit`], which proves it; here it is taken as it is.
    pub fn control(&mut self, control: Control) {
        self.allowed = match control {
            Control::Pause | Control::Flatten => self.allowed.max(Mode::ReduceOnly),
            Control::Resume if self.allowed == Mode::Killed => Mode::Killed,
            Control::Resume => Mode::Normal,
            Control::Kill => Mode::Killed,
            Control::SetLimit { rule, limit } => {
                self.limits.set(rule, limit);
                self.ceilings = ROWS.map(|row| ceiling(self.limits.get(row.rule)));
                self.allowed
            }
        };
    }

    /// Gives a rule another limit from now on, if the run feeds it and it refuses what exceeds it; else nothing changes.
    /// A limit below what is reached already leaves reducing orders. A new daily loss is judged at once, and a breach of
    /// the one before it is over.
    pub fn set_limit(&mut self, rule: Rule, limit: i64, feeds: &Feeds) -> Result<(), Unfed> {
        let mut limits = self.limits;
        if !limits.set(rule, limit) {
            return Err(Unfed {
                rule,
                lacks: "it has no limit that could be set, or the limit is negative".to_owned(),
            });
        }
        prove(&limits.only(rule), feeds)?;
        self.control(Control::SetLimit { rule, limit });
        if rule == Rule::DailyLoss {
            self.breached = false;
        }
        Ok(())
    }

    /// The venue's books: its position in a security, at all venues together. One that is not ours leaves only reducing
    /// orders; it is said when it is new, or when the numbers are others. Once they agree the difference is withdrawn,
    /// but trading goes on only when an operator resumes.
    pub fn compare(&mut self, instrument: InstrumentId, theirs: Quantity) -> Option<Difference> {
        let instrument = self.holder(instrument);
        let ours = self.position(instrument).quantity;
        if ours == theirs {
            self.differences.remove(&instrument);
            return None;
        }
        self.allowed = self.allowed.max(Mode::ReduceOnly);
        let difference = Difference { instrument, ours, theirs };
        (self.differences.insert(instrument, difference) != Some(difference)).then_some(difference)
    }

    /// Positions about which the venue does not agree, by instrument.
    pub fn differences(&self) -> impl Iterator<Item = Difference> {
        self.differences.values().copied()
    }

    /// The part of a closing order that the gate lets pass: no more than is held and not closed by orders that work, nor
    /// than one order may have.
    pub fn closable(&self, wish: &Wish) -> Quantity {
        let (exposure, lot) = (self.held(wish.instrument), self.lot_of(wish.instrument));
        let held = i128::from(exposure.net.quantity.0) * -i128::from(wish.side.sign());
        let open = held - i128::from(exposure.open(wish.side));
        let mut most = i128::from(wish.quantity.0).min(open);
        if let Some(limit) = self.limits.order_quantity {
            most = most.min(i128::from(limit.0));
        }
        if let (Some(limit), Some(price)) = (self.limits.order_notional, dearest(wish, exposure.mark)) {
            // Cash 1e-6 is price 1e-9 times quantity 1e-8 over 1e11.
            most = most.min((i128::from(limit.0) * 100_000_000_000 / i128::from(price.0.max(1))).max(0));
        }
        Quantity(i64::try_from(most.max(0) / i128::from(lot.0) * i128::from(lot.0)).unwrap_or(0))
    }

    /// The gate: all limits, in their stated order; an approved wish reserves its room.
    #[inline]
    pub fn check(&mut self, now: Nanos, wish: Wish) -> Result<Approved, Refusal> {
        self.pass(now, &Asked { wish: &wish, room: 0, filled: 0 })?;
        Ok(Approved(wish))
    }

    /// The gate for a replace: `wish` is the order as it would be, `room` what is reserved for it and `filled` what is
    /// done of it. An approved replace reserves the room that it needs beyond `room` at once: the venue may put it in
    /// force before it says so. What it needs less is released with [`Risk::change_working`] when the venue answers.
    pub fn check_replace(
        &mut self,
        now: Nanos,
        wish: Wish,
        room: Quantity,
        filled: Quantity,
    ) -> Result<Approved, Refusal> {
        self.pass(now, &Asked { wish: &wish, room: room.0, filled: filled.0 })?;
        Ok(Approved(wish))
    }

    /// Judges and, when nothing is wrong, reserves.
    #[inline]
    fn pass(&mut self, now: Nanos, asked: &Asked<'_>) -> Result<(), Refusal> {
        let reserved = self.judge(now, asked)?;
        let holder = self.holder(asked.wish.instrument);
        let exposure = &mut self.exposures[holder.index()];
        (exposure.open_buy, exposure.open_sell) = (reserved.open_buy, reserved.open_sell);
        exposure.worst = reserved.worst;
        self.gross = reserved.gross;
        self.stamp(now);
        Ok(())
    }

    /// What is reserved if the wish passes.
    #[inline]
    fn judge(&self, now: Nanos, asked: &Asked<'_>) -> Result<Reserved, Refusal> {
        let wish = asked.wish;
        let Some(listing) = self.exposures.get(wish.instrument.index()) else {
            return refuse(wish, Rule::Invalid, 0, 0);
        };
        if asked.left() <= 0 || wish.quantity.0 % listing.lot.0 != 0 {
            return refuse(wish, Rule::Invalid, listing.lot.0, wish.quantity.0);
        }
        let tick = listing.tick.0;
        if wish.price.is_defined() && (wish.price.0 <= 0 || wish.price.0 % tick != 0 || !self.on_grid(wish)) {
            return refuse(wish, Rule::Invalid, tick, wish.price.0);
        }
        if !wish.terms.is_plain() {
            make_sense(wish, asked.room == 0, listing.lot, listing.tick)?;
        }
        let exposure = &self.exposures[listing.holds.index()];
        if self.mode() != Mode::Normal {
            self.while_restricted(exposure, asked)?;
        }
        // Sums and selections rather than cases: which side it is cannot be foretold.
        let (more_buy, more_sell) = if wish.side == Side::Buy { (asked.more(), 0) } else { (0, asked.more()) };
        let open_buy = exposure.open_buy.checked_add(more_buy).ok_or(Overflow);
        let open_sell = exposure.open_sell.checked_add(more_sell).ok_or(Overflow);
        let reach = open_buy.and_then(|open_buy| exposure.reach_with(open_buy, open_sell?));
        let reserved = reach.and_then(|reach| {
            let worst = exposure.worst(exposure.mark, reach)?;
            let gross = self.gross.sub(exposure.worst)?.add(worst)?;
            Ok(Reserved { open_buy: open_buy?, open_sell: open_sell?, worst, gross })
        });
        let order_notional = dearest(wish, exposure.mark).and_then(|price| notional(price, wish.quantity).ok());
        // In the order of the rows. All at once: to look at one is cheaper than to decide whether to look.
        let values = [
            wish.quantity.0,
            order_notional.map_or(UNKNOWN, |cash| cash.0),
            // A market order has no price to collar; `prove` refuses a collar that no order could feed.
            if wish.price.is_defined() { distance_ppm(wish.price, exposure.mark).unwrap_or(UNKNOWN) } else { 0 },
            reach.map_or(UNKNOWN, |reach| reach.0),
            match &reserved {
                Ok(reserved) if exposure.mark.is_defined() => reserved.gross.0,
                _ => UNKNOWN,
            },
            self.rate(now),
            self.loss().0,
        ];
        if values.iter().zip(&self.ceilings).fold(false, |beyond, (value, ceiling)| beyond | (value > ceiling)) {
            self.beyond(exposure, asked, &values)?;
        }
        reserved.or_else(|Overflow| refuse(wish, Rule::Invalid, 0, UNKNOWN))
    }

    /// What passes while not everything may.
    #[cold]
    fn while_restricted(&self, exposure: &Exposure, asked: &Asked<'_>) -> Result<(), Refusal> {
        let (mode, reduces) = (self.mode(), reduces(exposure, asked));
        if mode == Mode::ReduceOnly && self.breached && !reduces {
            // A breach is named as what it is.
            return refuse(asked.wish, Rule::DailyLoss, self.limits.get(Rule::DailyLoss).unwrap_or(0), self.loss().0);
        }
        if mode == Mode::Killed || (mode == Mode::ReduceOnly && !reduces) {
            return refuse(asked.wish, Rule::Stopped, 0, 0);
        }
        Ok(())
    }

    /// Names the first limit that is exceeded; three of them do not bind a wish that reduces.
    #[cold]
    fn beyond(&self, exposure: &Exposure, asked: &Asked<'_>, values: &[i64; ROWS.len()]) -> Result<(), Refusal> {
        let reduces = reduces(exposure, asked);
        for ((row, value), ceiling) in ROWS.iter().zip(values).zip(&self.ceilings) {
            let waived = reduces && matches!(row.rule, Rule::Position | Rule::GrossExposure | Rule::DailyLoss);
            if value > ceiling && !waived {
                return refuse(asked.wish, row.rule, self.limits.get(row.rule).unwrap_or(0), *value);
            }
        }
        Ok(())
    }

    /// Orders of the last second with one more; too many only if there are as many as the limit.
    #[inline]
    fn rate(&self, now: Nanos) -> i64 {
        let known = self.recent.len() as i64 + 1;
        if known <= self.limits.orders_per_second.unwrap_or(i64::MAX) { known } else { self.exact_rate(now) }
    }

    #[cold]
    fn exact_rate(&self, now: Nanos) -> i64 {
        let old = self.recent.partition_point(|ts| now.since(*ts) >= NANOS_PER_SECOND);
        (self.recent.len() - old) as i64 + 1
    }

    fn stamp(&mut self, now: Nanos) {
        if self.limits.orders_per_second.is_none() {
            return;
        }
        // Two old ones leave for each that comes, so no order pays for clearing up after many.
        for _ in 0..2 {
            if self.recent.front().is_some_and(|ts| now.since(*ts) >= NANOS_PER_SECOND) {
                self.recent.pop_front();
            }
        }
        self.recent.push_back(now);
    }

    /// The room of working orders changes by `quantity`: negative when one is cancelled, rejected or made smaller. On
    /// [`Overflow`], which only a venue's larger total can cause, nothing has changed.
    pub fn change_working(&mut self, instrument: InstrumentId, side: Side, quantity: Quantity) -> Result<(), Overflow> {
        let holder = self.holder(instrument);
        let changed = self.exposures[holder.index()].with_open(side, quantity.0)?;
        self.put(holder, changed)
    }

    /// Books an execution whole: net position, money, and the strategies' shares, which add up to it. `released` is the
    /// room that the order gives back. On [`Overflow`] nothing has changed.
    pub fn fill(
        &mut self,
        order: &Order,
        price: Price,
        quantity: Quantity,
        fee: Cash,
        released: Quantity,
        shares: &mut [Share],
    ) -> Result<(), Overflow> {
        assert!(shares.iter().all(|share| share.side == order.side), "shares of a fill are on the order's side");
        assert!(total(shares.iter().map(|share| i128::from(share.fee.0))) == fee, "shares of a fee add up to it");
        let holder = self.holder(order.instrument);
        let mut changed = self.exposures[holder.index()].with_open(order.side, -released.0)?;
        changed.net.book(order.side, price, quantity, fee)?;
        if !changed.mark.is_defined() {
            changed.mark = price;
        }
        let paid = notional(price, Quantity(order.side.sign() * quantity.0))?;
        let cash = self.cash.sub(paid)?.sub(fee)?;
        self.value_shares(order.side, price, quantity, shares)?;
        self.put(holder, changed)?;
        self.cash = cash;
        self.put_shares(shares);
        Ok(())
    }

    /// Books a transfer between strategies: what some sell, others buy, at one price and without a fee. On [`Overflow`]
    /// nothing has changed.
    pub fn transfer(&mut self, price: Price, quantity: Quantity, shares: &mut [Share]) -> Result<(), Overflow> {
        self.value_shares(Side::Buy, price, quantity, shares)?;
        self.value_shares(Side::Sell, price, quantity, shares)?;
        self.put_shares(shares);
        Ok(())
    }

    /// Works out the shares of one side, which add up to `quantity` and get its notional to the last unit between them.
    fn value_shares(&self, side: Side, price: Price, quantity: Quantity, shares: &mut [Share]) -> Result<(), Overflow> {
        let (mut left, mut value_left) = (quantity.0, notional(price, quantity)?);
        for share in shares.iter_mut().filter(|share| share.side == side) {
            left -= share.quantity.0;
            let value = if left == 0 { value_left } else { notional(price, share.quantity)? };
            value_left = value_left.sub(value)?;
            share.after = self.accounts[share.account as usize].position;
            share.realised = share.after.book_value(side, price, share.quantity, value, share.fee)?;
        }
        assert!(left == 0, "shares add up to what traded");
        Ok(())
    }

    fn put_shares(&mut self, shares: &[Share]) {
        for share in shares {
            let position = &mut self.accounts[share.account as usize].position;
            assert!(position.fills + 1 == share.after.fills, "an account has at most one share of a trade");
            *position = share.after;
        }
    }

    /// The account of a strategy in an instrument, opened at its first use; `None` when there are [`MAX_ACCOUNTS`]. It is
    /// one for all listings of a security, in the name of the one that holds it.
    pub fn account(&mut self, strategy: StrategyId, instrument: InstrumentId) -> Option<u32> {
        let instrument = self.holder(instrument);
        let known = &self.accounts_of[instrument.index()];
        if let Some(account) = known.iter().find(|at| self.accounts[**at as usize].strategy == strategy) {
            return Some(*account);
        }
        if self.accounts.len() >= MAX_ACCOUNTS {
            return None;
        }
        let account = self.accounts.len() as u32;
        self.accounts.push(Account { strategy, instrument, position: Position::default() });
        self.accounts_of[instrument.index()].push(account);
        Some(account)
    }
}

/// Sum of money; saturates at the scale's end.
fn total(amounts: impl Iterator<Item = i128>) -> Cash {
    Cash(amounts.sum::<i128>().clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

#[cold]
fn refuse<T>(wish: &Wish, rule: Rule, limit: i64, value: i64) -> Result<T, Refusal> {
    let Wish { strategy, instrument, side, quantity, price, .. } = *wish;
    Err(Refusal { strategy, instrument, rule, limit, value, side, quantity, price })
}

/// The largest value that passes: what cannot be told is beyond every limit, also beyond the largest one.
pub(crate) fn ceiling(limit: Option<i64>) -> i64 {
    limit.map_or(i64::MAX, |limit| limit.min(UNKNOWN - 1))
}

/// True when the wish can only bring the position closer to zero, working orders included.
fn reduces(exposure: &Exposure, asked: &Asked<'_>) -> bool {
    let held = match asked.wish.side {
        Side::Sell => exposure.net.quantity.0,
        Side::Buy => exposure.net.quantity.0.saturating_neg(),
    };
    let others = exposure.open(asked.wish.side).saturating_sub(asked.room);
    held > 0 && asked.left().saturating_add(others) <= held
}

/// Terms that no venue could work are refused, with what is wrong as the value: a stop off the tick, a displayed part
/// that is no part of the order, or terms that exclude one another (value and limit zero).
///
/// Post-only and display are for orders that rest: with a limit, or pegged, and neither immediate nor for an auction. A
/// pegged order is unseen and does not sleep; what sleeps is not for an auction.
#[cold]
fn make_sense(wish: &Wish, new: bool, lot: Quantity, tick: Price) -> Result<(), Refusal> {
    let Terms { post_only, midpoint, display, stop } = wish.terms;
    let (shows_part, stops) = (display != Terms::ALL, stop.is_defined());
    if stops && (stop.0 <= 0 || stop.0 % tick.0 != 0) {
        return refuse(wish, Rule::Invalid, tick.0, stop.0);
    }
    // A working order may become smaller than what it displays at once.
    if shows_part && (display.0 < 0 || new && display > wish.quantity || display.0 % lot.0 != 0) {
        return refuse(wish, Rule::Invalid, wish.quantity.0, display.0);
    }
    let auction = matches!(wish.time_in_force, TimeInForce::Open | TimeInForce::Close);
    let rests = wish.time_in_force == TimeInForce::Day && (wish.price.is_defined() || midpoint);
    let excluded = (post_only || midpoint || shows_part) && !rests
        || midpoint && (stops || shows_part && !display.is_zero())
        || stops && auction;
    if excluded { refuse(wish, Rule::Invalid, 0, 0) } else { Ok(()) }
}

/// The price at which an order counts: its limit, but a sale is at the mark or better, whatever its limit. Without one it
/// is the mark, or the stop where that is dearer.
fn dearest(wish: &Wish, mark: Price) -> Option<Price> {
    let stop = if wish.terms.stop.is_defined() && mark.is_defined() { wish.terms.stop } else { mark };
    let limit = if wish.price.is_defined() { wish.price } else { mark.max(stop) };
    let dearest = if wish.side == Side::Sell { limit.max(mark) } else { limit };
    dearest.is_defined().then_some(dearest)
}

/// Distance of a limit from the mark in parts per million, rounded up: more than the limit is more, however little.
fn distance_ppm(price: Price, mark: Price) -> Option<i64> {
    if !mark.is_defined() || mark.0 <= 0 {
        return None;
    }
    // Most distances fit 64 bits, where dividing is several times cheaper.
    let narrow = price.0.checked_sub(mark.0).and_then(|distance| distance.checked_abs()?.checked_mul(1_000_000));
    if let Some(rounded) = narrow.and_then(|distance| distance.checked_add(mark.0 - 1)) {
        return Some(rounded / mark.0);
    }
    let distance = (i128::from(price.0) - i128::from(mark.0)).abs() * 1_000_000;
    i64::try_from((distance + i128::from(mark.0) - 1) / i128::from(mark.0)).ok()
}

impl Digest for Risk {
    fn digest(&self, hasher: &mut Hasher) {
        for (own, exposure) in (0..).map(InstrumentId).zip(&self.exposures) {
            if exposure.holds != own {
                hasher.u64(u64::from(exposure.holds.0));
            }
            exposure.net.digest(hasher);
            for x in [exposure.mark.0, exposure.open_buy, exposure.open_sell, exposure.value.0, exposure.worst.0] {
                hasher.i64(x);
            }
        }
        hasher.u64(self.accounts.len() as u64);
        for account in &self.accounts {
            hasher.u64(u64::from(account.strategy.0));
            hasher.u64(u64::from(account.instrument.0));
            account.position.digest(hasher);
        }
        for x in [self.cash.0, self.value.0, self.gross.0, self.day_start.0] {
            hasher.i64(x);
        }
        for rule in ROWS.map(|row| row.rule) {
            hasher.u64(u64::from(self.limits.get(rule).is_some()));
            hasher.i64(self.limits.get(rule).unwrap_or(0));
        }
        hasher.u64(self.recent.len() as u64);
        for ts in &self.recent {
            hasher.u64(ts.0);
        }
        for (strategy, paid) in &self.financing {
            hasher.u64(u64::from(strategy.0));
            hasher.i64(paid.0);
        }
        hasher.u64(self.day);
        hasher.u64(self.allowed as u64 * 2 + u64::from(self.breached));
        for Difference { instrument, ours, theirs } in self.differences.values() {
            hasher.u64(u64::from(instrument.0));
            hasher.i64(ours.0);
            hasher.i64(theirs.0);
        }
    }
}

/// Snapshots: what instruments are is the configuration's to say.
impl Exposure {
    pub(crate) fn holder(&self) -> InstrumentId {
        self.holds
    }

    pub(crate) fn save(&self, save: &mut Save) {
        let Self { mark, open_buy, open_sell, tick: _, lot: _, holds: _, value, worst, net } = self;
        (*mark, *open_buy, *open_sell).save(save);
        (*value, *worst).save(save);
        net.save(save);
    }

    pub(crate) fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        (self.mark, self.open_buy, self.open_sell) = Persist::load(load)?;
        (self.value, self.worst) = Persist::load(load)?;
        self.net = Persist::load(load)?;
        Ok(())
    }
}

/// Snapshots.
impl Risk {
    /// Appends positions, money and what the gate looks at to a snapshot.
    pub fn save(&self, save: &mut Save) {
        // All fields by name: a new one does not compile until somebody has said whether it is remembered.
        let Self {
            limits,
            ceilings: _,
            exposures,
            accounts,
            accounts_of: _,
            rules: _,
            cash,
            financing,
            financing_paid,
            value,
            gross,
            recent,
            day,
            day_start,
            allowed,
            breached,
            differences,
        } = self;
        exposures.len().save(save);
        exposures.iter().for_each(|exposure| exposure.save(save));
        accounts.save(save);
        (*cash, *financing_paid).save(save);
        financing.save(save);
        limits.save(save);
        (*value, *gross).save(save);
        recent.save(save);
        (*day, *day_start).save(save);
        (*allowed, *breached).save(save);
        differences.save(save);
    }

    pub(crate) fn restore_gate(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.limits = Persist::load(load)?;
        (self.value, self.gross) = Persist::load(load)?;
        self.recent = Persist::load(load)?;
        (self.day, self.day_start) = Persist::load(load)?;
        (self.allowed, self.breached) = Persist::load(load)?;
        self.differences = Persist::load(load)?;
        Ok(())
    }
}
