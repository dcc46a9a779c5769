//! Bars out of trades: by time, by number of trades, by volume, by money.

use helios_types::{Hasher, persist};

use crate::node::{BarKind, Stat};
use crate::nodes::{Row, Steps, null_unless_finite, remembers};

/// One bar.
#[derive(Clone, Copy, Debug)]
struct Bar {
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    money: f64,
    count: f64,
}

impl Bar {
    const NONE: Self = Self {
        open: f64::NAN,
        high: f64::NAN,
        low: f64::NAN,
        close: f64::NAN,
        volume: f64::NAN,
        money: f64::NAN,
        count: f64::NAN,
    };

    const fn of(price: f64, size: f64) -> Self {
        Self { open: price, high: price, low: price, close: price, volume: size, money: price * size, count: 1.0 }
    }

    fn add(&mut self, price: f64, size: f64) {
        self.high = if price > self.high { price } else { self.high };
        self.low = if price < self.low { price } else { self.low };
        self.close = price;
        self.volume += size;
        self.money += price * size;
        self.count += 1.0;
    }

    fn fields(&self) -> [f64; 7] {
        [self.open, self.high, self.low, self.close, self.volume, self.money, self.count]
    }
}

persist!(Bar { open, high, low, close, volume, money, count });

/// The bar that is being made, and the last whole one.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    kind: BarKind,
    making: Option<Bar>,
    /// Which span of time is being made.
    span: u64,
    whole: Bar,
}

impl Bars {
    pub(crate) fn new(kind: BarKind) -> Result<Self, String> {
        let sound = match kind {
            BarKind::Time(every) => every > 0,
            BarKind::Ticks(n) => n > 0,
            BarKind::Volume(amount) | BarKind::Money(amount) => amount.is_finite() && amount > 0.0,
        };
        if !sound {
            return Err(format!("bars must end at something larger than zero, got {kind:?}"));
        }
        Ok(Self { kind, making: None, span: 0, whole: Bar::NONE })
    }

    fn is_complete(&self, bar: &Bar) -> bool {
        match self.kind {
            BarKind::Time(_) => false,
            BarKind::Ticks(n) => bar.count >= f64::from(n),
            BarKind::Volume(volume) => bar.volume >= volume,
            BarKind::Money(money) => bar.money >= money,
        }
    }
}

impl Steps for Bars {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        let (price, size) = (row.value(0), row.value(1));
        if !row.fresh(0) || price.is_nan() || size.is_nan() {
            return None;
        }
        if let BarKind::Time(every) = self.kind {
            let span = row.now().0 / every;
            let ended = if span == self.span { None } else { self.making.take() };
            self.span = span;
            match &mut self.making {
                Some(bar) => bar.add(price, size),
                none => *none = Some(Bar::of(price, size)),
            }
            self.whole = ended?;
            return Some(self.whole.close);
        }
        let mut bar = Bar::of(price, size);
        if let Some(making) = self.making {
            bar = making;
            bar.add(price, size);
        }
        if !self.is_complete(&bar) {
            self.making = Some(bar);
            return None;
        }
        (self.making, self.whole) = (None, bar);
        Some(bar.close)
    }

    fn read(&self, stat: Stat) -> f64 {
        let bar = &self.whole;
        match stat {
            Stat::Open => bar.open,
            Stat::High => bar.high,
            Stat::Low => bar.low,
            Stat::Volume => bar.volume,
            Stat::Vwap => null_unless_finite(bar.money / bar.volume),
            Stat::Count => bar.count,
            _ => bar.close,
        }
    }

    fn tells(&self, stat: Stat) -> bool {
        matches!(stat, Stat::Open | Stat::High | Stat::Low | Stat::Close | Stat::Volume | Stat::Vwap | Stat::Count)
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.span);
        hasher.u64(u64::from(self.making.is_some()));
        for bar in [self.making.unwrap_or(Bar::NONE), self.whole] {
            bar.fields().into_iter().for_each(|x| hasher.f64(x));
        }
    }

    remembers!(making, span, whole; kind);
}
