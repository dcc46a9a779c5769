//! Paper trading: live data, and the simulated venues of a backtest in this process.
//!
//! As in a backtest the venue hears of a market event first, and what it answers comes back after its latency; here time
//! is the clock's. Orders that were working when a run was stopped are cancelled when it starts again: the simulated venue
//! has forgotten them.

use helios_execution::OpenOrder;
use helios_types::{CancelReason, Charge, Event, Link, Market, Nanos, Output, Report, ReportKind};
use helios_venue::Venues;

use super::core::Back;
use super::entries::{Outlet, Stamps};

/// Simulated venues.
pub(super) struct Paper {
    venues: Venues,
    sessions: u32,
    /// Working when the run begins.
    forgotten: Vec<OpenOrder>,
    reports: Vec<(Nanos, Report)>,
    charges: Vec<Charge>,
}

impl Paper {
    pub(super) fn new(venues: Venues, sessions: u32, forgotten: Vec<OpenOrder>) -> Self {
        Self { venues, sessions, forgotten, reports: Vec::new(), charges: Vec::new() }
    }
}

impl Outlet for Paper {
    const SIMULATED: bool = true;

    #[inline]
    fn send(&mut self, output: &Output, now: Nanos, _: Stamps, _: &mut Back) {
        if let Output::Submit(_) | Output::Cancel { .. } | Output::Replace { .. } | Output::State(_) = output {
            self.venues.submit(now, output);
        }
    }

    fn poll(&mut self, _: &mut Back) -> bool {
        false
    }

    #[inline]
    fn tick(&mut self, now: Nanos, back: &mut Back) {
        while let Some(due) = self.venues.next_due().filter(|due| *due <= now) {
            self.venues.advance(due, &mut self.reports);
            while let Some((_, charge)) = self.venues.charge(due) {
                self.charges.push(charge);
            }
            // A day's charges are for what was held before whatever is reported now.
            self.charges.drain(..).for_each(|charge| back.push(Event::Charge(charge)));
            self.reports.drain(..).for_each(|(_, report)| back.push(Event::Report(report)));
        }
    }

    #[inline]
    fn next_tick(&self) -> Option<Nanos> {
        self.venues.next_due()
    }

    #[inline]
    fn market(&mut self, now: Nanos, market: &mut Market) {
        let stamp = std::mem::replace(&mut market.ts_event, now);
        self.venues.market(market);
        market.ts_event = stamp;
        if self.venues.has_impact() {
            self.venues.show(market);
        }
    }

    fn start(&mut self, now: Nanos, back: &mut Back) {
        (0..self.sessions).for_each(|session| back.push(Event::Link(Link::Up { session })));
        for OpenOrder { order, .. } in self.forgotten.drain(..) {
            let (order, instrument) = (order.id, order.instrument);
            let kind = ReportKind::Cancelled { reason: CancelReason::Expired };
            back.push(Event::Report(Report { order, instrument, ts_event: now, kind }));
        }
        (0..self.sessions).for_each(|session| back.push(Event::Link(Link::Settled { session })));
    }

    fn stop(&mut self, _: Nanos) -> bool {
        true
    }
}
