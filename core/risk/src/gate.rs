//! The gate, and the running numbers it looks at.

use std::collections::VecDeque;

use helios_types::{
    Breach, Cash, Control, Digest, Hasher, Instrument, InstrumentId, NANOS_PER_DAY, NANOS_PER_SECOND, Nanos, Order,
    OrderId, Overflow, Price, Quantity, Refusal, Rule, Side, StrategyId, TimeInForce, notional,
};

use crate::limits::{Limits, ROWS};
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

    /// What was approved.
    pub fn wish(&self) -> &Wish {
        &self.0
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

/// One instrument: net position, what is on its way, and its price.
#[derive(Clone, Copy, Debug)]
struct Exposure {
    net: Position,
    mark: Price,
    open_buy: i64,
    open_sell: i64,
    tick: Price,
    lot: Quantity,
    /// Value of the net position at the mark.
    value: Cash,
    /// Largest absolute value that position and working orders can reach, at the mark.
    worst: Cash,
}

impl Exposure {
    /// Largest absolute position when all working orders of one side fill.
    fn reach(&self, extra: Quantity) -> Result<Quantity, Overflow> {
        let buy = self.net.quantity.add(Quantity(self.open_buy))?.add(Quantity(extra.0.max(0)))?;
        let sell = self.net.quantity.sub(Quantity(self.open_sell))?.add(Quantity(extra.0.min(0)))?;
        Ok(buy.abs().max(sell.abs()))
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
    exposures: Vec<Exposure>,
    accounts: Vec<Account>,
    /// Account numbers of one instrument, by instrument.
    accounts_of: Vec<Vec<u32>>,
    /// Money in hand: start, less what was bought, plus what was sold, less fees.
    cash: Cash,
    /// Sum of the values of net positions.
    value: Cash,
    /// Sum of `worst`.
    gross: Cash,
    /// Stamps of the last orders, at most as many as the rate limit.
    recent: VecDeque<Nanos>,
    day: u64,
    day_start: Cash,
    mode: Mode,
    breached: bool,
}

/// Stands for "cannot be told" as a refusal's value: no reference price was seen, or the number does not fit.
const UNKNOWN: i64 = i64::MAX;

impl Risk {
    /// Flat, with `cash` in hand.
    pub fn new(instruments: &[Instrument], limits: Limits, cash: Cash) -> Self {
        let exposures = instruments
            .iter()
            .map(|instrument| Exposure {
                net: Position::default(),
                mark: Price::UNDEFINED,
                open_buy: 0,
                open_sell: 0,
                tick: instrument.tick,
                lot: instrument.lot,
                value: Cash::ZERO,
                worst: Cash::ZERO,
            })
            .collect();
        let room = limits.orders_per_second.map_or(0, |n| usize::try_from(n).unwrap_or(0).min(1 << 20));
        Self {
            limits,
            exposures,
            accounts: Vec::new(),
            accounts_of: vec![Vec::new(); instruments.len()],
            cash,
            value: Cash::ZERO,
            gross: Cash::ZERO,
            recent: VecDeque::with_capacity(room),
            day: 0,
            day_start: cash,
            mode: Mode::Normal,
            breached: false,
        }
    }

    /// Money in hand plus the value of positions, exactly.
    pub fn equity(&self) -> Cash {
        self.cash.add(self.value).unwrap_or(Cash(i64::MIN))
    }

    /// Money in hand.
    pub fn cash(&self) -> Cash {
        self.cash
    }

    /// Fees paid so far, less rebates.
    pub fn fees(&self) -> Cash {
        Cash(self.exposures.iter().map(|exposure| exposure.net.fees.0).sum())
    }

    /// Value of the open positions less what they cost.
    pub fn unrealised(&self) -> Cash {
        Cash(self.exposures.iter().map(|exposure| exposure.value.0 - exposure.net.cost.0).sum())
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
        self.mode
    }

    /// Net position of an instrument.
    pub fn position(&self, instrument: InstrumentId) -> &Position {
        &self.exposures[instrument.index()].net
    }

    /// Last mark of an instrument.
    pub fn mark_of(&self, instrument: InstrumentId) -> Price {
        self.exposures[instrument.index()].mark
    }

    /// Every strategy's position in every instrument that it ever traded.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// A new price of an instrument: revalues the position.
    #[inline]
    pub fn mark(&mut self, now: Nanos, instrument: InstrumentId, price: Price) -> Result<(), Overflow> {
        let day = now.0 / NANOS_PER_DAY;
        if day != self.day {
            (self.day, self.day_start) = (day, self.equity());
        }
        let exposure = &mut self.exposures[instrument.index()];
        if exposure.mark == price || !price.is_defined() {
            return Ok(());
        }
        exposure.mark = price;
        if exposure.net.quantity.is_zero() && exposure.open_buy == 0 && exposure.open_sell == 0 {
            return Ok(());
        }
        self.revalue(instrument)
    }

    fn revalue(&mut self, instrument: InstrumentId) -> Result<(), Overflow> {
        let exposure = &mut self.exposures[instrument.index()];
        let (value, worst) = if exposure.mark.is_defined() {
            (exposure.net.value(exposure.mark)?, notional(exposure.mark, exposure.reach(Quantity::ZERO)?)?)
        } else {
            (exposure.net.cost, exposure.net.cost.abs())
        };
        self.value = self.value.sub(exposure.value)?.add(value)?;
        self.gross = self.gross.sub(exposure.worst)?.add(worst)?;
        (exposure.value, exposure.worst) = (value, worst);
        Ok(())
    }

    /// Loss since the day began; negative for a gain.
    fn loss(&self) -> Cash {
        self.day_start.sub(self.equity()).unwrap_or(Cash(UNKNOWN))
    }

    /// Looks at the limits that act without an order: reaching the daily loss leaves only reducing orders.
    pub fn supervise(&mut self) -> Option<Breach> {
        let limit = self.limits.daily_loss?;
        if self.breached || self.loss() <= limit {
            return None;
        }
        self.breached = true;
        self.mode = self.mode.max(Mode::ReduceOnly);
        Some(Breach { rule: Rule::DailyLoss, limit: limit.0, value: self.loss().0 })
    }

    /// An operator's command. Resuming does not forget a breach of the same day.
    pub fn control(&mut self, control: Control) {
        self.mode = match control {
            Control::Pause => self.mode.max(Mode::ReduceOnly),
            Control::Resume if self.breached => Mode::ReduceOnly,
            Control::Resume => Mode::Normal,
            Control::Kill => Mode::Killed,
        };
    }

    /// The gate: all limits, in their stated order; an approved wish reserves its room.
    pub fn check(&mut self, now: Nanos, wish: Wish) -> Result<Approved, Refusal> {
        self.judge(now, &wish, Quantity::ZERO)?;
        self.reserve(now, &wish);
        Ok(Approved(wish))
    }

    /// The gate for a replace: `wish` is the order as it will be, `open` what is still unfilled of it now and `filled`
    /// what is done. Room changes only when the venue answers.
    pub fn check_replace(
        &mut self,
        now: Nanos,
        wish: Wish,
        open: Quantity,
        filled: Quantity,
    ) -> Result<Approved, Refusal> {
        let remaining = Wish { quantity: Quantity(wish.quantity.0.saturating_sub(filled.0)), ..wish };
        self.judge(now, &remaining, open)?;
        self.stamp(now);
        Ok(Approved(wish))
    }

    /// `open` of the wish's quantity is working already.
    fn judge(&mut self, now: Nanos, wish: &Wish, open: Quantity) -> Result<(), Refusal> {
        let refuse = |rule: Rule, limit: i64, value: i64| Refusal {
            strategy: wish.strategy,
            instrument: wish.instrument,
            rule,
            limit,
            value,
            side: wish.side,
            quantity: wish.quantity,
            price: wish.price,
        };
        let exposure = self.exposures.get(wish.instrument.index()).ok_or_else(|| refuse(Rule::Invalid, 0, 0))?;
        if wish.quantity.0 <= 0 || wish.quantity.0 % exposure.lot.0 != 0 {
            return Err(refuse(Rule::Invalid, exposure.lot.0, wish.quantity.0));
        }
        if wish.price.is_defined() && (wish.price.0 <= 0 || wish.price.0 % exposure.tick.0 != 0) {
            return Err(refuse(Rule::Invalid, exposure.tick.0, wish.price.0));
        }
        let reduces = self.reduces(wish, open);
        if self.mode == Mode::Killed || (self.mode == Mode::ReduceOnly && !reduces) {
            // A breach is named as what it is.
            let rule = if self.breached && self.mode != Mode::Killed { Rule::DailyLoss } else { Rule::Stopped };
            let limit = self.limits.get(rule).unwrap_or(0);
            let value = if rule == Rule::DailyLoss { self.loss().0 } else { 0 };
            return Err(refuse(rule, limit, value));
        }
        for row in &ROWS {
            let Some(limit) = self.limits.get(row.rule) else { continue };
            let value = self.reached(row.rule, now, wish, open);
            let waived = reduces && matches!(row.rule, Rule::Position | Rule::GrossExposure | Rule::DailyLoss);
            if value > limit && !waived {
                return Err(refuse(row.rule, limit, value));
            }
        }
        Ok(())
    }

    /// True when the wish can only bring the position closer to zero, working orders included.
    fn reduces(&self, wish: &Wish, open: Quantity) -> bool {
        let exposure = &self.exposures[wish.instrument.index()];
        let (held, working) = match wish.side {
            Side::Sell => (exposure.net.quantity.0, exposure.open_sell),
            Side::Buy => (exposure.net.quantity.0.saturating_neg(), exposure.open_buy),
        };
        held > 0 && wish.quantity.0.saturating_add(working).saturating_sub(open.0) <= held
    }

    /// The value that a rule compares with its limit, if this wish were sent.
    fn reached(&self, rule: Rule, now: Nanos, wish: &Wish, open: Quantity) -> i64 {
        let exposure = &self.exposures[wish.instrument.index()];
        let added = Quantity(wish.side.sign() * (wish.quantity.0 - open.0).max(0));
        let price = if wish.price.is_defined() { wish.price } else { exposure.mark };
        let value = match rule {
            Rule::OrderQuantity => Some(wish.quantity.0),
            Rule::OrderNotional if price.is_defined() => notional(price, wish.quantity).ok().map(|cash| cash.0),
            // A market order has no price to collar; `prove` refuses a collar that no order could feed.
            Rule::PriceCollar if !wish.price.is_defined() => Some(0),
            Rule::PriceCollar if exposure.mark.is_defined() && exposure.mark.0 > 0 => {
                let distance = i128::from(wish.price.0) - i128::from(exposure.mark.0);
                i64::try_from(distance.abs() * 1_000_000 / i128::from(exposure.mark.0)).ok()
            }
            Rule::Position => exposure.reach(added).ok().map(|quantity| quantity.0),
            Rule::GrossExposure if exposure.mark.is_defined() => (|| {
                let worst = notional(exposure.mark, exposure.reach(added)?)?;
                self.gross.sub(exposure.worst)?.add(worst)
            })()
            .ok()
            .map(|cash| cash.0),
            Rule::OrderRate => {
                let within = self.recent.iter().rev().take_while(|ts| now.since(**ts) < NANOS_PER_SECOND).count();
                i64::try_from(within + 1).ok()
            }
            Rule::DailyLoss => Some(self.loss().0),
            _ => None,
        };
        value.unwrap_or(UNKNOWN)
    }

    fn stamp(&mut self, now: Nanos) {
        let Some(limit) = self.limits.orders_per_second else { return };
        while self.recent.len() as i64 >= limit.max(1) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    fn reserve(&mut self, now: Nanos, wish: &Wish) {
        self.stamp(now);
        self.change_open(wish.instrument, wish.side, wish.quantity.0);
    }

    fn change_open(&mut self, instrument: InstrumentId, side: Side, quantity: i64) {
        let exposure = &mut self.exposures[instrument.index()];
        let open = match side {
            Side::Buy => &mut exposure.open_buy,
            Side::Sell => &mut exposure.open_sell,
        };
        *open = open.saturating_add(quantity);
        assert!(*open >= 0, "more was released than reserved: execution and risk disagree about working orders");
        // Sums were checked by the gate; a release only makes them smaller.
        let _ = self.revalue(instrument);
    }

    /// What is unfilled of a working order changes by `quantity`: negative when it is cancelled or rejected.
    pub fn change_working(&mut self, instrument: InstrumentId, side: Side, quantity: Quantity) {
        self.change_open(instrument, side, quantity.0);
    }

    /// Books a fill of a working order into the net position. On [`Overflow`] nothing has changed.
    pub fn fill(&mut self, order: &Order, price: Price, quantity: Quantity, fee: Cash) -> Result<(), Overflow> {
        let exposure = &mut self.exposures[order.instrument.index()];
        let mut net = exposure.net;
        net.book(order.side, price, quantity, fee)?;
        let paid = notional(price, Quantity(order.side.sign() * quantity.0))?;
        let cash = self.cash.sub(paid)?.sub(fee)?;
        (exposure.net, self.cash) = (net, cash);
        let open = match order.side {
            Side::Buy => &mut exposure.open_buy,
            Side::Sell => &mut exposure.open_sell,
        };
        *open = (*open - quantity.0).max(0);
        if !exposure.mark.is_defined() {
            exposure.mark = price;
        }
        self.revalue(order.instrument)
    }

    /// Books one strategy's share of a fill, or of a transfer between strategies; returns what it realised.
    pub fn book_share(
        &mut self,
        account: u32,
        side: Side,
        price: Price,
        quantity: Quantity,
        fee: Cash,
    ) -> Result<(Cash, Quantity), Overflow> {
        let position = &mut self.accounts[account as usize].position;
        let realised = position.book(side, price, quantity, fee)?;
        Ok((realised, position.quantity))
    }

    /// The account of a strategy in an instrument, opened at its first use.
    pub fn account(&mut self, strategy: StrategyId, instrument: InstrumentId) -> u32 {
        let known = &self.accounts_of[instrument.index()];
        if let Some(account) = known.iter().find(|at| self.accounts[**at as usize].strategy == strategy) {
            return *account;
        }
        let account = u32::try_from(self.accounts.len()).expect("fewer than 2^32 accounts");
        self.accounts.push(Account { strategy, instrument, position: Position::default() });
        self.accounts_of[instrument.index()].push(account);
        account
    }
}

impl Digest for Risk {
    fn digest(&self, hasher: &mut Hasher) {
        for exposure in &self.exposures {
            exposure.net.digest(hasher);
            for x in [exposure.mark.0, exposure.open_buy, exposure.open_sell, exposure.value.0, exposure.worst.0] {
                hasher.i64(x);
            }
        }
        for account in &self.accounts {
            hasher.u64(u64::from(account.strategy.0));
            hasher.u64(u64::from(account.instrument.0));
            account.position.digest(hasher);
        }
        for x in [self.cash.0, self.value.0, self.gross.0, self.day_start.0] {
            hasher.i64(x);
        }
        for ts in &self.recent {
            hasher.u64(ts.0);
        }
        hasher.u64(self.day);
        hasher.u64(self.mode as u64 * 2 + u64::from(self.breached));
    }
}
