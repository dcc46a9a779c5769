//! The graph, node by node: many events at a time, for research over columns.
//!
//! Every row is an event. A node's column holds its value after each row, as [`Graph::value`] would tell it, and whether
//! it fired there. The nodes are those of the other driver, with the same memory, and see the same rows in the same
//! order; so the numbers are the same, bit for bit.
//! Assumes that rows come in the order of time. Absent: targets and records, which are for a run.

use helios_types::{InstrumentId, Nanos};

use crate::graph::{Graph, Memory, Op, hysteresis};
use crate::node::{Field, NodeId, Stat};
use crate::nodes::arithmetic::{binary, select, unary};
use crate::nodes::{Machine, Row, Steps, each};

/// At which rows a node fired.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fired {
    /// At none.
    #[default]
    Never,
    /// At every one.
    Always,
    /// Where true.
    At(Vec<bool>),
}

impl Fired {
    /// Did it fire at this row?
    #[inline(always)]
    pub fn at(&self, row: usize) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::At(rows) => rows[row],
        }
    }

    /// Where either of two fires.
    fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Always, _) | (_, Self::Always) => Self::Always,
            (Self::Never, fired) | (fired, Self::Never) => fired.clone(),
            (Self::At(a), Self::At(b)) => Self::At(a.iter().zip(b).map(|(a, b)| *a || *b).collect()),
        }
    }
}

/// A node's values after each row, and where it fired.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// NaN for null. A source's values need not mean anything where it did not fire.
    pub values: Vec<f64>,
    /// At which rows.
    pub fired: Fired,
}

impl Column {
    /// Computes the rows at which something fired; at all others the value stays what it was.
    #[inline(always)]
    fn fill(&mut self, fired: Fired, rows: usize, mut value: f64, mut f: impl FnMut(usize) -> f64) {
        self.values.clear();
        match &fired {
            Fired::Always => self.values.extend((0..rows).map(f)),
            Fired::Never => self.values.resize(rows, value),
            Fired::At(at) => self.values.extend(at.iter().enumerate().map(|(row, fired)| {
                if *fired {
                    value = f(row);
                }
                value
            })),
        }
        self.fired = fired;
    }

    /// Asks at each row whether something fires.
    fn scan(&mut self, rows: usize, mut value: f64, mut f: impl FnMut(usize) -> Option<f64>) {
        self.values.clear();
        let mut fired = match std::mem::take(&mut self.fired) {
            Fired::At(fired) => fired,
            _ => Vec::new(),
        };
        fired.clear();
        for row in 0..rows {
            let new = f(row);
            value = new.unwrap_or(value);
            self.values.push(value);
            fired.push(new.is_some());
        }
        self.fired = Fired::At(fired);
    }
}

/// The columns of a graph: of every node, for a number of rows.
pub struct Sheet {
    columns: Vec<Column>,
    /// The statistics of each node that has some.
    readers: Vec<Vec<(NodeId, Stat)>>,
    /// Windows whose own value nobody wants: only their statistics are looked at.
    bare: Vec<bool>,
}

impl Sheet {
    /// For a graph of which the caller will look at `outputs`.
    pub fn new(graph: &Graph, outputs: &[NodeId]) -> Self {
        let n = graph.cells.len();
        let mut sheet = Self { columns: vec![Column::default(); n], readers: vec![Vec::new(); n], bare: vec![true; n] };
        for (cell, at) in graph.cells.iter().zip(0u32..) {
            match cell.op {
                Op::Moment { window: of, stat } | Op::Read { of, stat, .. } => {
                    sheet.readers[of.0 as usize].push((NodeId(at), stat));
                }
                op => graph.inputs(op).for_each(|x| sheet.bare[x.0 as usize] = false),
            }
        }
        outputs.iter().for_each(|x| sheet.bare[x.0 as usize] = false);
        // What looks at a clock does not fire whenever the clock does.
        sheet
    }

    /// A node's column; for a source, to be filled before [`Graph::columns`].
    pub fn column(&mut self, node: NodeId) -> &mut Column {
        &mut self.columns[node.0 as usize]
    }

    fn of(&self, node: NodeId) -> &Column {
        &self.columns[node.0 as usize]
    }

    /// The columns of a node's statistics, to be written and given back.
    fn lend(&mut self, at: usize) -> Vec<(NodeId, Stat, Column)> {
        let lent = |(node, stat): &(NodeId, Stat)| (*node, *stat, std::mem::take(&mut self.columns[node.0 as usize]));
        self.readers[at].iter().map(lent).collect()
    }

    fn give_back(&mut self, lent: Vec<(NodeId, Stat, Column)>) {
        for (node, _, column) in lent {
            self.columns[node.0 as usize] = column;
        }
    }
}

/// A row of columns, as a machine sees it.
struct Across<'a> {
    now: Nanos,
    row: usize,
    inputs: &'a [&'a Column],
}

impl Row for Across<'_> {
    #[inline(always)]
    fn now(&self) -> Nanos {
        self.now
    }

    #[inline(always)]
    fn value(&self, k: usize) -> f64 {
        self.inputs[k].values[self.row]
    }

    #[inline(always)]
    fn fresh(&self, k: usize) -> bool {
        self.inputs[k].fired.at(self.row)
    }

    #[inline(always)]
    fn inputs(&self) -> usize {
        self.inputs.len()
    }
}

impl Graph {
    /// The sources: node, instrument, field.
    pub fn sources(&self) -> impl Iterator<Item = (NodeId, InstrumentId, Field)> + '_ {
        self.cells.iter().zip(0u32..).filter_map(|(cell, at)| match cell.op {
            Op::Source { instrument, field } => Some((NodeId(at), instrument, field)),
            _ => None,
        })
    }

    /// The series from outside the market: node and number.
    pub fn series(&self) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.cells.iter().zip(0u32..).filter_map(|(cell, at)| match cell.op {
            Op::Series { series } => Some((NodeId(at), series)),
            _ => None,
        })
    }

    /// Runs rows stamped `ts` through the graph; the columns of the sources have been filled. A row at which none of
    /// them fires is one that reaches nothing.
    pub fn columns(&mut self, ts: &[Nanos], sheet: &mut Sheet) {
        let Some(last) = ts.len().checked_sub(1) else { return };
        for at in 0..self.cells.len() {
            self.column(at, ts, sheet);
        }
        for (cell, (column, bare)) in self.cells.iter_mut().zip(sheet.columns.iter().zip(&sheet.bare)) {
            if matches!(cell.op, Op::Source { .. })
                && let Some(row) = (0..ts.len()).rev().find(|row| column.fired.at(*row))
            {
                cell.memory = Memory::Stamp(ts[row]);
            }
            if let Memory::Input(_) = cell.memory {
                cell.memory = Memory::None;
            }
            cell.value = match cell.op {
                Op::Target { .. } | Op::Quote { .. } | Op::Record { .. } => cell.value,
                // A window's value is its input's, since both fire together.
                Op::Window { x } if *bare => sheet.of(x).values[last],
                _ => column.values.last().copied().unwrap_or(cell.value),
            };
        }
        self.event += ts.len() as u64;
    }

    fn column(&mut self, at: usize, ts: &[Nanos], sheet: &mut Sheet) {
        let (op, carried, rows) = (self.cells[at].op, self.cells[at].value, ts.len());
        let mut own = std::mem::take(&mut sheet.columns[at]);
        // What looks at the time among other things fires with those other things.
        let guard = self.guards[at].iter().map(|x| sheet.of(*x).fired.clone()).reduce(|a, b| a.or(&b));
        match op {
            Op::Source { .. } | Op::Series { .. } => {
                assert!(own.values.len() == rows, "the columns of the sources are filled by the caller");
                let mut value = carried;
                if let Fired::At(fired) = &own.fired {
                    for (x, fired) in own.values.iter_mut().zip(fired) {
                        value = if *fired { *x } else { value };
                        *x = value;
                    }
                } else if own.fired == Fired::Never {
                    own.values.fill(value);
                }
            }
            Op::Constant => own.fill(Fired::Never, rows, carried, |_| carried),
            Op::Unary { op, x } => {
                let x = sheet.of(x);
                own.fill(x.fired.clone(), rows, carried, |row| unary(op, x.values[row]));
            }
            Op::Binary { op, x, y } => {
                let (x, y) = (sheet.of(x), sheet.of(y));
                let fired = guard.unwrap_or_else(|| x.fired.or(&y.fired));
                own.fill(fired, rows, carried, |row| binary(op, x.values[row], y.values[row]));
            }
            Op::Where { condition, x, y } => {
                let (c, x, y) = (sheet.of(condition), sheet.of(x), sheet.of(y));
                let fired = guard.unwrap_or_else(|| c.fired.or(&x.fired).or(&y.fired));
                own.fill(fired, rows, carried, |row| select(c.values[row], x.values[row], y.values[row]));
            }
            Op::When { x, trigger } => {
                let x = sheet.of(x);
                own.fill(sheet.of(trigger).fired.clone(), rows, carried, |row| x.values[row]);
            }
            Op::Together { x, y } => self.together(&mut own, [x, y], carried, ts, sheet),
            Op::Window { x } => self.moments(&mut own, at, x, ts, sheet),
            Op::Machine { machine, from, inputs } => {
                let inputs = from as usize..(from + inputs) as usize;
                self.machine(&mut own, at, machine as usize, inputs, &guard.unwrap_or(Fired::Always), ts, sheet);
            }
            // A statistic was written together with what it is a statistic of.
            Op::Moment { .. } | Op::Read { .. } | Op::Target { .. } | Op::Quote { .. } | Op::Record { .. } => {}
            Op::Hysteresis { x, enter, exit } => {
                let (x, mut state) = (sheet.of(x), carried);
                own.scan(rows, carried, |row| {
                    if !x.fired.at(row) || x.values[row].is_nan() {
                        return None;
                    }
                    let before = state;
                    state = hysteresis(before, x.values[row], enter, exit);
                    (before.to_bits() != state.to_bits()).then_some(state)
                });
            }
        }
        sheet.columns[at] = own;
    }

    fn together(&self, own: &mut Column, pair: [NodeId; 2], carried: f64, ts: &[Nanos], sheet: &Sheet) {
        let mut stamps = pair.map(|node| match self.cells[node.0 as usize].memory {
            Memory::Stamp(at) => at,
            _ => unreachable!("together takes two sources"),
        });
        let [x, y] = pair.map(|node| sheet.of(node));
        own.scan(ts.len(), carried, |row| {
            let fresh = [x.fired.at(row), y.fired.at(row)];
            for (stamp, fresh) in stamps.iter_mut().zip(fresh) {
                *stamp = if fresh { ts[row] } else { *stamp };
            }
            let both = stamps == [ts[row]; 2];
            (both && (fresh[0] || fresh[1])).then(|| x.values[row])
        });
    }

    /// The commonest window and its statistics.
    fn moments(&mut self, own: &mut Column, at: usize, x: NodeId, ts: &[Nanos], sheet: &mut Sheet) {
        let mut lent = sheet.lend(at);
        let x = sheet.of(x);
        let Memory::Moments(mut moments) = std::mem::replace(&mut self.cells[at].memory, Memory::None) else {
            unreachable!("windows have moments")
        };
        if let (Fired::Always, [(_, stat, column)]) = (&x.fired, &mut lent[..]) {
            column.values.resize(ts.len(), f64::NAN);
            moments.push_all(ts, &x.values, *stat, &mut column.values);
            column.fired = Fired::Always;
        } else {
            let mut values: Vec<f64> = lent.iter().map(|(node, ..)| self.cells[node.0 as usize].value).collect();
            lent.iter_mut().for_each(|(_, _, column)| column.values.clear());
            for (row, now) in ts.iter().enumerate() {
                let fired = x.fired.at(row);
                if fired {
                    moments.push(*now, x.values[row]);
                }
                for ((_, stat, column), value) in lent.iter_mut().zip(&mut values) {
                    *value = if fired { moments.stat(*stat) } else { *value };
                    column.values.push(*value);
                }
            }
            lent.iter_mut().for_each(|(_, _, column)| column.fired = x.fired.clone());
        }
        self.cells[at].memory = Memory::Moments(moments);
        if !sheet.bare[at] {
            own.fill(x.fired.clone(), ts.len(), self.cells[at].value, |row| x.values[row]);
        }
        sheet.give_back(lent);
    }

    /// Everything else that remembers, and its statistics.
    #[allow(clippy::too_many_arguments)]
    fn machine(
        &mut self,
        own: &mut Column,
        at: usize,
        machine: usize,
        inputs: std::ops::Range<usize>,
        guard: &Fired,
        ts: &[Nanos],
        sheet: &mut Sheet,
    ) {
        let mut lent = sheet.lend(at);
        let bare = sheet.bare[at];
        let inputs: Vec<&Column> = self.edges[inputs].iter().map(|x| sheet.of(*x)).collect();
        let held = |node: &NodeId| self.cells[node.0 as usize].value;
        let mut values: Vec<f64> = lent.iter().map(|(node, ..)| held(node)).collect();
        let carried = self.cells[at].value;
        // One loop for each kind of machine, in which it is not asked again which one it is.
        each!(&mut self.machines[machine], inner => {
            each_row(inner, own, (carried, bare), guard, ts, &inputs, (&mut lent, &mut values));
        });
        sheet.give_back(lent);
    }
}

/// Lets a machine see every row, and writes down what it and its statistics say.
#[inline(always)]
fn each_row<M: Steps>(
    machine: &mut M,
    own: &mut Column,
    (mut value, bare): (f64, bool),
    guard: &Fired,
    ts: &[Nanos],
    inputs: &[&Column],
    (lent, values): (&mut [(NodeId, Stat, Column)], &mut [f64]),
) {
    let mut fired = match std::mem::take(&mut own.fired) {
        Fired::At(fired) => fired,
        _ => Vec::new(),
    };
    fired.clear();
    own.values.clear();
    lent.iter_mut().for_each(|(_, _, column)| column.values.clear());
    if let ([(_, stat, column)], true, true) =
        (&mut *lent, bare, inputs.iter().all(|input| input.fired == Fired::Always) && *guard == Fired::Always)
    {
        column.values.resize(ts.len(), f64::NAN);
        let plain: Vec<&[f64]> = inputs.iter().map(|input| input.values.as_slice()).collect();
        if machine.run(ts, &plain, *stat, &mut column.values) {
            (own.fired, column.fired) = (Fired::Always, Fired::Always);
            own.values.push(inputs[0].values[ts.len() - 1]);
            return;
        }
        column.values.clear();
    }
    let mut fires = 0;
    for (row, now) in ts.iter().enumerate() {
        let new = if guard.at(row) { machine.step(&Across { now: *now, row, inputs }) } else { None };
        fired.push(new.is_some());
        if let Some(new) = new {
            fires += 1;
            value = new;
            for ((_, stat, _), value) in lent.iter().zip(values.iter_mut()) {
                *value = machine.read(*stat);
            }
        }
        for ((_, _, column), value) in lent.iter_mut().zip(values.iter()) {
            column.values.push(*value);
        }
        // The last value is what the cell keeps.
        if !bare || row + 1 == ts.len() {
            own.values.push(value);
        }
    }
    own.fired = if fires == ts.len() { Fired::Always } else { Fired::At(fired) };
    lent.iter_mut().for_each(|(_, _, column)| column.fired = own.fired.clone());
}
