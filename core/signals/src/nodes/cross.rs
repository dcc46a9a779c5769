//! A cross-section: many instruments at one moment, and where each stands among the others.

use helios_types::{Damaged, Hasher, Load, Nanos, Persist, Save};

use crate::node::Stat;
use crate::nodes::moments::NOISE;
use crate::nodes::{Row, Steps};

/// The members' values; null ones take no part.
#[derive(Clone, Debug)]
pub(crate) struct Cross {
    quorum: usize,
    values: Vec<f64>,
    /// When each fired last.
    stamps: Vec<Option<Nanos>>,
    /// As of the last time the cross-section fired.
    standing: Vec<f64>,
    /// Members that are not null, from the least.
    order: Vec<u32>,
    mean: f64,
    deviation: f64,
}

impl Cross {
    pub(crate) fn new(members: usize, quorum: u32) -> Result<Self, String> {
        if members < 2 {
            return Err(format!("a cross-section needs two members or more, got {members}"));
        }
        if quorum as usize > members {
            return Err(format!("a quorum of {quorum} is never reached by {members} members"));
        }
        Ok(Self {
            quorum: quorum as usize,
            values: vec![f64::NAN; members],
            stamps: vec![None; members],
            standing: vec![f64::NAN; members],
            order: Vec::with_capacity(members),
            mean: f64::NAN,
            deviation: f64::NAN,
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.values.len()
    }

    fn line_up(&mut self) {
        self.standing.copy_from_slice(&self.values);
        self.order.clear();
        self.order.extend((0u32..).zip(&self.standing).filter(|(_, x)| !x.is_nan()).map(|(member, _)| member));
        let value = |member: u32| self.standing[member as usize];
        // No two are equal, and a stable sort would allocate.
        self.order.sort_unstable_by(|a, b| value(*a).total_cmp(&value(*b)).then(a.cmp(b)));
        let n = self.order.len() as f64;
        self.mean = self.order.iter().map(|member| self.standing[*member as usize]).sum::<f64>() / n;
        let deviation = |member: &u32| self.standing[*member as usize] - self.mean;
        let squares: f64 = self.order.iter().map(|member| deviation(member) * deviation(member)).sum();
        self.deviation = (squares / (n - 1.0)).sqrt();
    }

    /// Mean rank of all members with this value.
    fn rank(&self, member: u32) -> f64 {
        let x = self.standing[member as usize];
        let below = self.order.partition_point(|other| self.standing[*other as usize] < x);
        let until = self.order.partition_point(|other| self.standing[*other as usize] <= x);
        (below + 1 + until) as f64 / 2.0
    }
}

impl Steps for Cross {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        let mut fired = false;
        for member in 0..self.values.len() {
            if row.fresh(member) {
                fired = true;
                self.values[member] = row.value(member);
                self.stamps[member] = Some(row.now());
            }
        }
        if !fired {
            return None;
        }
        if self.quorum > 0 {
            let present = self.stamps.iter().filter(|stamp| **stamp == Some(row.now())).count();
            if present < self.quorum {
                return None;
            }
        }
        self.line_up();
        Some(self.order.len() as f64)
    }

    fn read(&self, stat: Stat) -> f64 {
        let value = |member: u32| self.standing[member as usize];
        match stat {
            Stat::Rank(member) if !value(member).is_nan() => self.rank(member),
            Stat::Demean(member) => value(member) - self.mean,
            // A deviation of rounding is none.
            Stat::CrossZScore(member) if self.deviation > self.mean.abs() * NOISE => {
                (value(member) - self.mean) / self.deviation
            }
            Stat::Top { member, k } if !value(member).is_nan() => {
                // Equal values: the member that is named first is let in first.
                let x = value(member);
                let above = self.order.len() - self.order.partition_point(|other| value(*other) <= x);
                let before = (0..member).filter(|other| value(*other) == x).count();
                f64::from(above + before < k as usize)
            }
            _ => f64::NAN,
        }
    }

    fn tells(&self, stat: Stat) -> bool {
        match stat {
            Stat::Rank(member) | Stat::Demean(member) | Stat::CrossZScore(member) => (member as usize) < self.len(),
            Stat::Top { member, k } => (member as usize) < self.len() && k > 0 && (k as usize) < self.len(),
            _ => false,
        }
    }

    fn digest(&self, hasher: &mut Hasher) {
        self.values.iter().chain(&self.standing).for_each(|x| hasher.f64(*x));
        self.stamps.iter().for_each(|stamp| hasher.u64(stamp.map_or(u64::MAX, |ts| ts.0)));
    }

    fn save(&self, save: &mut Save) {
        let Self { quorum: _, values, stamps, standing, order, mean, deviation } = self;
        values.save(save);
        stamps.save(save);
        standing.save(save);
        order.save(save);
        (*mean, *deviation).save(save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.values = load.same(&self.values)?;
        self.stamps = load.same(&self.stamps)?;
        self.standing = load.same(&self.standing)?;
        self.order = Persist::load(load)?;
        (self.mean, self.deviation) = Persist::load(load)?;
        let member = |member: &u32| (*member as usize) < self.values.len();
        if self.order.len() <= self.values.len() && self.order.iter().all(member) {
            Ok(())
        } else {
            Err(Damaged("a cross-section names a member that it does not have"))
        }
    }
}
