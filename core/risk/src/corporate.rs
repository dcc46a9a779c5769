//! What moves shares and money without a trade: splits, dividends, borrowed shares, interest.
//!
//! The account as a whole is treated first, as a broker sees it; what it gets or pays is then divided among the
//! strategies' accounts so that their parts add up to it, to the last unit. On [`Overflow`] nothing has changed.

use helios_types::{Cash, InstrumentId, Overflow, Price, Quantity, Split, StrategyId, notional};

use crate::gate::Risk;
use crate::positions::Position;

/// One account's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Whose.
    pub strategy: StrategyId,
    /// Number of the account; `None` for interest, which is a strategy's and no account's.
    pub account: Option<u32>,
    /// Received when positive.
    pub cash: Cash,
    /// Profit realised.
    pub realised: Cash,
    /// The account's position afterwards; flat for interest.
    pub after: Position,
}

impl Risk {
    /// So many new shares for old ones. The net position keeps whole units of shares, the fraction is paid out at the
    /// mark; whole units are given to the accounts with the largest fractions, which pay the others for them.
    pub fn split(&mut self, instrument: InstrumentId, split: Split) -> Result<Vec<Moved>, Overflow> {
        let mut changed = self.exposures[instrument.index()];
        let unit = self.unit_of(instrument);
        let (before, mark) = (changed.net.quantity, changed.mark);
        let after = split.shares(before, unit)?;
        let quantities = self.divide(instrument, split, unit, after)?;
        let paid = if mark.is_defined() { split.in_lieu(before, after, mark)? } else { Cash::ZERO };
        let mut moved = Vec::new();
        let mut left = paid;
        for (account, quantity) in quantities {
            let position = self.accounts[account as usize].position;
            let cash = if mark.is_defined() { split.in_lieu(position.quantity, quantity, mark)? } else { Cash::ZERO };
            left = left.sub(cash)?;
            moved.push((account, quantity, cash));
        }
        // Each part is rounded by itself: what that makes or loses, some units of 1e-6, is the last account's.
        if let Some((_, _, cash)) = moved.last_mut() {
            *cash = cash.add(left)?;
        }
        let moved = moved
            .into_iter()
            .map(|(account, quantity, cash)| {
                let mut position = self.accounts[account as usize].position;
                let realised = position.split(split, quantity, cash)?;
                Ok(self.moved(account, cash, realised, position))
            })
            .collect::<Result<Vec<_>, Overflow>>()?;
        changed.net.split(split, after, paid)?;
        changed.mark = split.price(mark);
        let cash = self.cash.add(paid)?;
        self.put(instrument, changed)?;
        self.cash = cash;
        Ok(self.keep(moved))
    }

    /// The accounts' positions after a split: whole units, which add up to `net`. Accounts that hold nothing are left out.
    fn divide(
        &self,
        instrument: InstrumentId,
        split: Split,
        unit: Quantity,
        net: Quantity,
    ) -> Result<Vec<(u32, Quantity)>, Overflow> {
        let mut parts = Vec::new();
        let mut left = i128::from(net.0);
        for account in &self.accounts_of[instrument.index()] {
            let held = self.accounts[*account as usize].position.quantity;
            if !held.is_zero() {
                let whole = split.shares(held, unit)?;
                left -= i128::from(whole.0);
                parts.push((*account, whole, split.fraction(held, whole)));
            }
        }
        // Largest remainders first; of equal ones the older account.
        let (sign, units) = (left.signum(), left.abs() / i128::from(unit.0));
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|at| -parts[*at].2 * sign);
        for at in order.into_iter().take(usize::try_from(units).unwrap_or(0)) {
            parts[at].1 = parts[at].1.add(Quantity(sign as i64 * unit.0))?;
        }
        assert!(
            parts.iter().map(|(_, whole, _)| i128::from(whole.0)).sum::<i128>() == i128::from(net.0),
            "what the accounts hold adds up to the net position, before a split and after it"
        );
        Ok(parts.into_iter().map(|(account, whole, _)| (account, whole)).collect())
    }

    /// Money for each share: who is long receives, who is short pays. The mark falls by as much, as prices do on the
    /// ex-date, until the next price says where it is.
    pub fn dividend(&mut self, instrument: InstrumentId, cash: Price) -> Result<Vec<Moved>, Overflow> {
        let mut changed = self.exposures[instrument.index()];
        let paid = notional(cash, changed.net.quantity)?;
        let (mut moved, mut held, mut given) = (Vec::new(), Quantity::ZERO, Cash::ZERO);
        for account in &self.accounts_of[instrument.index()] {
            let mut position = self.accounts[*account as usize].position;
            if position.quantity.is_zero() {
                continue;
            }
            // Sums are rounded and parts are their differences, so the parts add up.
            held = held.add(position.quantity)?;
            let part = notional(cash, held)?.sub(given)?;
            given = given.add(part)?;
            position.dividends = position.dividends.add(part)?;
            moved.push(self.moved(*account, part, Cash::ZERO, position));
        }
        assert!(given == paid, "the accounts' dividends add up to the net position's");
        changed.net.dividends = changed.net.dividends.add(paid)?;
        if changed.mark.is_defined() && changed.mark > cash {
            changed.mark = Price(changed.mark.0 - cash.0);
        }
        let money = self.cash.add(paid)?;
        self.put(instrument, changed)?;
        self.cash = money;
        Ok(self.keep(moved))
    }

    /// What was paid for borrowed shares is the accounts' that are short, by their shares. When none is any more, the
    /// oldest account of the instrument pays; without any there is nobody, and it is an error.
    pub fn borrow(&mut self, instrument: InstrumentId, amount: Cash) -> Result<Vec<Moved>, Overflow> {
        let Some(exposure) = self.exposures.get(instrument.index()) else { return Err(Overflow) };
        let mut changed = *exposure;
        let short = |account: &u32| i128::from(self.accounts[*account as usize].position.quantity.0.min(0)).abs();
        let known = &self.accounts_of[instrument.index()];
        let total: i128 = known.iter().map(short).sum();
        let weights: Vec<(u32, i128)> = if total > 0 {
            known.iter().map(|account| (*account, short(account))).filter(|(_, weight)| *weight > 0).collect()
        } else {
            known.iter().take(1).map(|account| (*account, 1)).collect()
        };
        let total: i128 = weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return Err(Overflow);
        }
        let (mut moved, mut sum, mut given) = (Vec::new(), 0, 0);
        for (account, weight) in weights {
            sum += weight;
            // At most 2^63 * 2^83: it fits.
            let upto = (i128::from(amount.0).checked_mul(sum).ok_or(Overflow)? / total) as i64;
            let part = Cash(upto - given);
            given = upto;
            let mut position = self.accounts[account as usize].position;
            position.borrow = position.borrow.add(part)?;
            moved.push(self.moved(account, part.neg(), Cash::ZERO, position));
        }
        changed.net.borrow = changed.net.borrow.add(amount)?;
        let money = self.cash.sub(amount)?;
        self.put(instrument, changed)?;
        self.cash = money;
        Ok(self.keep(moved))
    }

    /// Interest is divided as the money is on which it was paid: each strategy has the part that its own money (what it
    /// sold for, less what it bought for and was charged) has of all money, and the rest belongs to the money that the
    /// run began with. A strategy that holds shares pays for the money in them, whatever the others do.
    pub fn finance(&mut self, amount: Cash) -> Result<Vec<Moved>, Overflow> {
        let money = self.cash.sub(amount)?;
        let mut parts = Vec::new();
        let mut left = amount;
        for (strategy, own) in self.money_of_strategies() {
            let all = i128::from(self.cash.0);
            let part = if all == 0 { 0 } else { i128::from(amount.0).checked_mul(own).ok_or(Overflow)? / all };
            let part = Cash(i64::try_from(part).map_err(|_| Overflow)?);
            left = left.sub(part)?;
            parts.push((strategy, part));
        }
        parts.push((StrategyId::HOUSE, left));
        let mut paid = self.financing.clone();
        for (strategy, part) in &parts {
            let sum = paid.entry(*strategy).or_default();
            *sum = sum.add(*part)?;
        }
        self.financing_paid = self.financing_paid.add(amount)?;
        (self.financing, self.cash) = (paid, money);
        let tell = |(strategy, part): (StrategyId, Cash)| {
            let (cash, realised, after) = (part.neg(), Cash::ZERO, Position::default());
            (!part.is_zero()).then_some(Moved { strategy, account: None, cash, realised, after })
        };
        Ok(parts.into_iter().filter_map(tell).collect())
    }

    /// What each strategy has put into the account's money, by strategy; positive for one that sold more than it bought.
    fn money_of_strategies(&self) -> Vec<(StrategyId, i128)> {
        let mut own = std::collections::BTreeMap::<StrategyId, i128>::new();
        for account in &self.accounts {
            let p = &account.position;
            let flows = [p.realised.0, p.dividends.0].map(i128::from).iter().sum::<i128>()
                - [p.cost.0, p.fees.0, p.borrow.0].map(i128::from).iter().sum::<i128>();
            *own.entry(account.strategy).or_default() += flows;
        }
        for (strategy, paid) in &self.financing {
            if let Some(own) = own.get_mut(strategy) {
                *own -= i128::from(paid.0);
            }
        }
        own.into_iter().collect()
    }

    fn moved(&self, account: u32, cash: Cash, realised: Cash, after: Position) -> Moved {
        Moved { strategy: self.accounts[account as usize].strategy, account: Some(account), cash, realised, after }
    }

    /// The accounts become what was worked out.
    fn keep(&mut self, moved: Vec<Moved>) -> Vec<Moved> {
        for one in &moved {
            if let Some(account) = one.account {
                self.accounts[account as usize].position = one.after;
            }
        }
        moved
    }
}
