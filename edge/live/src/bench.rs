//! A long journal, and how long a restart takes from it: for the bench of recovery.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use helios_engine::{State, step};
use helios_io::SourceError;
use helios_journal::Writer;
use helios_types::{
    Cash, Event, Input, InstrumentId, Link, Liquidity, Market, Nanos, Output, Price, Quantity, Report, ReportKind, Rng,
    Side, Update,
};

use crate::entry::Recorded;
use crate::recovery::{recover, snapshot_bytes, store_snapshot};

/// What a restart took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecoveryTimes {
    /// Inputs of the journal.
    pub inputs: u64,
    /// Outputs of the journal.
    pub outputs: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Orders resting in the books at its end.
    pub resting: usize,
    /// Seconds to replay all of it.
    pub whole: f64,
    /// Seconds from a snapshot nine tenths of the way.
    pub from_snapshot: f64,
    /// Seconds to make the bytes of that snapshot; the engine stands still meanwhile.
    pub snapshot: f64,
    /// Seconds to bring them to the disk; the engine goes on meanwhile.
    pub stored: f64,
    /// Bytes of that snapshot.
    pub snapshot_bytes: u64,
}

const CENT: i64 = 10_000_000;
/// Orders that rest in each book.
const RESTING: u64 = 40;
/// Inputs after which what was gathered goes to the file.
const PIECE: usize = 1 << 20;

/// Writes a journal of so many inputs into an empty folder, recovers from it, and from the snapshot beside it. The market
/// is of single orders that come and go around prices that walk, 10 us apart; the venue fills every order.
pub fn bench_recovery(
    dir: &Path,
    mut fresh: impl FnMut() -> Result<State, SourceError>,
    inputs: u64,
) -> Result<RecoveryTimes, SourceError> {
    let journal = dir.join("live.journal");
    let (resting, outputs, bytes, (snapshot, stored, snapshot_bytes)) = write(dir, &journal, fresh()?, inputs)?;
    let mut timed = || {
        let begun = Instant::now();
        let recovered = recover(&journal, &mut fresh, &mut |_: &Recorded<'_>| {}, false)?;
        Ok((begun.elapsed().as_secs_f64(), recovered.state.digest(), recovered.snapshot))
    };
    let (from_snapshot, digest, saved) = timed()?;
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
        let path = entry.map_err(|error| failed(dir, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        }
    }
    let (whole, again, none) = timed()?;
    assert!(digest == again && saved > 0 && none == 0, "both ways lead to the same state");
    Ok(RecoveryTimes { inputs, outputs, bytes, resting, whole, from_snapshot, snapshot, stored, snapshot_bytes })
}

fn failed(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError { source: path.display().to_string(), message: error.to_string() }
}

type Written = (usize, u64, u64, (f64, f64, u64));

fn write(dir: &Path, journal: &Path, mut state: State, inputs: u64) -> Result<Written, SourceError> {
    let io = |error: std::io::Error| failed(journal, &error);
    let mut file = File::create_new(journal).map_err(io)?;
    let mut writer = Writer::new(b"{}").expect("a short configuration fits");
    let mut flow = Flow::new(state.markets().len() as u64);
    let (mut out, mut outputs, mut snapshot) = (Vec::new(), 0, (0.0, 0.0, 0));
    for seq in 0..inputs {
        let input = Input { seq, ts: Nanos(seq * 10_000), event: flow.next(seq) };
        writer.input(&input);
        step(&mut state, &input, &mut out);
        outputs += out.len() as u64;
        for output in out.drain(..) {
            writer.output(seq, &output);
            flow.answer(&output);
        }
        let due = seq == inputs / 10 * 9;
        if writer.pending().len() > PIECE || due || seq + 1 == inputs {
            file.write_all(writer.pending()).map_err(io)?;
            writer.clear_pending();
        }
        if due {
            let (position, begun) = (writer.position().expect("it has no end"), Instant::now());
            let bytes = snapshot_bytes(&state, &position, &[]);
            let (made, begun) = (begun.elapsed().as_secs_f64(), Instant::now());
            store_snapshot(dir, position.inputs(), &bytes)?;
            snapshot = (made, begun.elapsed().as_secs_f64(), bytes.len() as u64);
        }
    }
    file.sync_all().map_err(io)?;
    Ok((state.markets().books().len(), outputs, writer.bytes_written(), snapshot))
}

/// The market, and the venue's answers to what the engine sends.
struct Flow {
    rng: Rng,
    mids: Vec<i64>,
    /// Number of the last order of each book; numbers of a book are `instruments` apart.
    last: Vec<u64>,
    answers: Vec<Event>,
    executions: u64,
}

impl Flow {
    fn new(instruments: u64) -> Self {
        let mids = vec![5_000 * CENT; instruments as usize];
        Self { rng: Rng::new(7), mids, last: vec![0; instruments as usize], answers: Vec::new(), executions: 0 }
    }

    fn next(&mut self, seq: u64) -> Event {
        if seq < 3 {
            let session = 0;
            return Event::Link(
                [Link::Down { session }, Link::Up { session }, Link::Settled { session }][seq as usize],
            );
        }
        if let Some(answer) = self.answers.pop() {
            return answer;
        }
        let instruments = self.mids.len() as u64;
        let at = self.rng.below(instruments);
        let number = self.last[at as usize];
        let name = |number: u64| number * instruments + at;
        // Each order is deleted when so many came after it, and every other event is a deletion.
        let update = if number.is_multiple_of(2) || number < 2 * RESTING {
            self.mids[at as usize] += [-1, 0, 0, 1][self.rng.below(4) as usize] * CENT;
            let side = if self.rng.below(2) == 0 { Side::Buy } else { Side::Sell };
            let price = Price(self.mids[at as usize] - side.sign() * (1 + self.rng.below(8) as i64) * CENT);
            Update::Add { order: name(number), side, price, quantity: Quantity::whole(100) }
        } else {
            let gone = number - 2 * RESTING;
            // The first ones are all orders, later every other number is one.
            Update::Delete { order: name(if gone < 2 * RESTING { gone } else { gone - 1 }) }
        };
        self.last[at as usize] += 1;
        Event::Market(Market { instrument: InstrumentId(at as u32), ts_event: Nanos(seq * 10_000), update })
    }

    fn answer(&mut self, output: &Output) {
        let Output::Submit(order) = output else { return };
        self.executions += 1;
        let (price, quantity) = (order.price, order.quantity);
        let (liquidity, fee) = (Liquidity::Taker, Cash::ZERO);
        let filled = ReportKind::Filled { execution: self.executions, price, quantity, liquidity, fee };
        for kind in [filled, ReportKind::Accepted { book_ref: order.id.0 }] {
            self.answers.push(Event::Report(Report {
                order: order.id,
                instrument: order.instrument,
                ts_event: Nanos(0),
                kind,
            }));
        }
    }
}
