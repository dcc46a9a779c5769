//! What a snapshot holds of wishes and orders.

use helios_risk::Risk;
use helios_types::{Damaged, InstrumentId, Load, OrderId, Persist, Save, persist};

use crate::links::{MAX_SESSIONS, Session};
use crate::open::{Identified, Open};
use crate::orders::{Booked, Claim, Counts, Desk, Orders, Working};
use crate::quoting::Quote;
use crate::used::Used;

persist!(Session { up, settled, was_lost, name, next });
persist!(Working { order, state, filled, netted, account, asked, executions, asked_at });
persist!(Booked { order, executions });
persist!(Claim { strategy, account, want, held });
persist!(Quote { strategy, account, side, price, quantity, limit, order, waits });
persist!(Used(ranges));
persist!(Counts { sent, refused, fills, transfers, rejected, unbooked, repeated, lost });

impl Desk {
    fn save(&self, save: &mut Save) {
        let Self { tick: _, not_before, busy, hungry, claims } = self;
        (*not_before, *busy, *hungry).save(save);
        claims.save(save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        (self.not_before, self.busy, self.hungry) = Persist::load(load)?;
        self.claims = Persist::load(load)?;
        Ok(())
    }
}

/// Appends the things of a table, by identifier.
fn save_open<T: Identified + Persist>(open: &Open<T>, save: &mut Save) {
    open.len().save(save);
    for id in open.sorted() {
        open.get(id).expect("it was listed a moment ago").save(save);
    }
}

/// Fills an empty table. No thing may come twice.
fn load_open<T: Identified + Persist>(open: &mut Open<T>, load: &mut Load<'_>) -> Result<(), Damaged> {
    for _ in 0..load.count()? {
        let thing = T::load(load)?;
        if thing.id() == OrderId(0) || open.get(thing.id()).is_some() {
            return Err(Damaged("an order that is there twice, or has no number"));
        }
        open.insert(thing);
    }
    Ok(())
}

/// Snapshots.
impl Orders {
    /// Appends wishes, orders and what is known of the sessions. Between steps.
    pub fn save(&self, save: &mut Save) {
        // All fields by name: a new one does not compile until somebody has said whether it is remembered.
        let Self {
            working,
            desks,
            quotes,
            due,
            ended,
            booked,
            booked_order,
            past,
            links,
            blind,
            flat,
            strangers,
            used,
            shares: _,
            next_id,
            style: _,
            rules: _,
            counts,
        } = self;
        assert!(due.is_empty(), "a snapshot is taken between steps");
        desks.len().save(save);
        desks.iter().for_each(|desk| desk.save(save));
        quotes.save(save);
        save_open(working, save);
        ended.save(save);
        save_open(booked, save);
        booked_order.save(save);
        past.save(save);
        links.save(save);
        blind.save(save);
        flat.save(save);
        strangers.save(save);
        used.save(save);
        next_id.save(save);
        counts.save(save);
    }

    /// Becomes what a snapshot says; of a run with the same instruments in which nothing has happened. `risk` is restored
    /// already.
    pub fn restore(&mut self, load: &mut Load<'_>, risk: &Risk) -> Result<(), Damaged> {
        if load.count()? != self.desks.len() || self.working.len() > 0 {
            return Err(Damaged("wishes of other instruments"));
        }
        for desk in &mut self.desks {
            desk.restore(load)?;
        }
        self.quotes = load.same(&self.quotes)?;
        load_open(&mut self.working, load)?;
        self.ended = Persist::load(load)?;
        load_open(&mut self.booked, load)?;
        self.booked_order = Persist::load(load)?;
        self.past = Persist::load(load)?;
        self.links.restore(load)?;
        self.blind = Persist::load(load)?;
        self.flat = Persist::load(load)?;
        self.strangers = Persist::load(load)?;
        self.used = Persist::load(load)?;
        self.next_id = Persist::load(load)?;
        self.counts = Persist::load(load)?;
        if self.is_consistent(risk) { Ok(()) } else { Err(Damaged("an order or a wish that belongs to nobody")) }
    }

    /// Every number names something that is there.
    fn is_consistent(&self, risk: &Risk) -> bool {
        let instruments = || (0..).map(InstrumentId);
        let order = |one: &Working| risk.has_account(one.order.instrument, one.account);
        let claims = instruments()
            .zip(&self.desks)
            .all(|(instrument, desk)| desk.claims.iter().all(|claim| risk.has_account(instrument, claim.account)));
        let quotes = instruments()
            .zip(&self.quotes)
            .all(|(instrument, quotes)| quotes.iter().all(|quote| risk.has_account(instrument, quote.account)));
        let working = self.working.sorted().into_iter().filter_map(|id| self.working.get(id)).all(order);
        let booked = self.booked.len() == self.booked_order.len()
            && self.booked_order.iter().all(|id| self.booked.get(*id).is_some());
        let cancels = self.links.cancels.iter().all(|id| self.working.get(*id).is_some());
        let strangers = self.strangers.iter().all(|(instrument, account)| risk.has_account(*instrument, *account));
        claims && quotes && working && self.ended.iter().all(order) && booked && cancels && strangers
    }
}

impl crate::links::Links {
    fn save(&self, save: &mut Save) {
        self.sessions().to_vec().save(save);
        self.cancels.save(save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        let sessions = Vec::load(load)?;
        if sessions.len() > MAX_SESSIONS {
            return Err(Damaged("more sessions than there may be"));
        }
        self.cancels = Persist::load(load)?;
        self.put(sessions);
        Ok(())
    }
}
