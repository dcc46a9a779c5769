//! What a snapshot holds of positions, money and the gate.

use helios_types::{Damaged, InstrumentId, Load, Persist, persist};

use crate::gate::{Account, Mode, Risk};
use crate::limits::{Limits, ROWS};
use crate::positions::Position;

persist!(Position { quantity, cost, realised, fees, turnover, fills, dividends, borrow });
persist!(Account { strategy, instrument, position });
persist!(Mode: Normal | ReduceOnly | Killed);
persist!(Limits {
    order_quantity,
    order_notional,
    price_collar_ppm,
    position,
    gross_exposure,
    orders_per_second,
    daily_loss
});

/// Snapshots.
impl Risk {
    /// Becomes what a snapshot says; of a run with the same instruments in which nothing has happened.
    pub fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        if load.count()? != self.exposures.len() || !self.accounts.is_empty() {
            return Err(Damaged("positions of other instruments"));
        }
        for exposure in &mut self.exposures {
            exposure.restore(load)?;
        }
        self.accounts = Persist::load(load)?;
        for (number, account) in (0..).zip(&self.accounts) {
            let at = account.instrument.index();
            if self.exposures.get(at).is_none_or(|exposure| exposure.holder() != account.instrument) {
                return Err(Damaged("an account in an instrument that holds nothing"));
            }
            self.accounts_of[at].push(number);
        }
        (self.cash, self.financing_paid) = Persist::load(load)?;
        self.financing = Persist::load(load)?;
        self.restore_gate(load)?;
        self.ceilings = ROWS.map(|row| crate::gate::ceiling(self.limits().get(row.rule)));
        Ok(())
    }

    /// True for an instrument and an account of it or of the one that holds its position.
    pub fn has_account(&self, instrument: InstrumentId, account: u32) -> bool {
        let known = self.accounts.get(account as usize);
        instrument.index() < self.exposures.len()
            && known.is_some_and(|account| account.instrument == self.holder(instrument))
    }
}
