//! Functions without memory.

use crate::node::{Binary, Unary};
use crate::nodes::{is_true, null_unless_finite};

#[inline(always)]
pub(crate) fn unary(op: Unary, x: f64) -> f64 {
    let value = match op {
        Unary::Neg => -x,
        Unary::Log => libm::log(x),
        Unary::Exp => libm::exp(x),
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Sign => f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)),
        Unary::Not => f64::from(x == 0.0),
        Unary::IsNull => return f64::from(x.is_nan()),
    };
    // Comparisons know no null.
    if x.is_nan() { x } else { null_unless_finite(value) }
}

#[inline(always)]
pub(crate) fn binary(op: Binary, x: f64, y: f64) -> f64 {
    let value = match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Coalesce => return if x.is_nan() { y } else { x },
        _ if x.is_nan() || y.is_nan() => return f64::NAN,
        // `f64::min` may return either of two zeros.
        Binary::Min => return if y < x { y } else { x },
        Binary::Max => return if y > x { y } else { x },
        Binary::Gt => return f64::from(x > y),
        Binary::Ge => return f64::from(x >= y),
        Binary::Lt => return f64::from(x < y),
        Binary::Le => return f64::from(x <= y),
        Binary::Eq => return f64::from(x == y),
        Binary::Ne => return f64::from(x != y),
        Binary::And => return f64::from(is_true(x) && is_true(y)),
        Binary::Or => return f64::from(is_true(x) || is_true(y)),
    };
    null_unless_finite(value)
}

#[inline(always)]
pub(crate) fn select(condition: f64, x: f64, y: f64) -> f64 {
    if condition.is_nan() {
        f64::NAN
    } else if condition != 0.0 {
        x
    } else {
        y
    }
}
