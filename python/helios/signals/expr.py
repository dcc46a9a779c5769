"""Expressions: what a researcher writes. Building one computes nothing; the core evaluates it event by event.

Every value is a float64 or null. Null in gives null out; windows are null until they are full, and what is out of a
function's domain (log of zero, division by zero) is null. Truth is 1 and 0. Absent: wall-clock time, and anything that
looks ahead.

Units are checked as an expression is written: prices, shares and seconds are not added to or compared with one another.
A written number goes with anything. `unitless()` takes an expression out of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.signals.units import HALF, NUMBER, PRICE, SECONDS, SHARES, Unit

if TYPE_CHECKING:
    from helios.signals.time import Session

Number = float | int
Span = int | str | timedelta

#: Letters that are kept of an expression's text: it doubles with every `x + x`.
_TEXT_MAX = 200
#: Samples that a window or a lag holds at most (core/signals).
SAMPLES_MAX = 1 << 20
#: The instrument of an expression that is made of several.
MIXED = "*"


@dataclass(frozen=True, eq=False, repr=False)
class Expr:
    """One node of a graph: an operation, its inputs and its parameters. Immutable; operators make new ones."""

    op: str
    inputs: tuple[Expr, ...] = ()
    #: The instrument that a source reads.
    symbol: str | None = None
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    text: str = ""
    #: None goes with any unit.
    unit: Unit | None = None
    #: Name of the series from outside the market that a source reads.
    series: str | None = None
    #: The one instrument that all of this is about; None for none, MIXED for several.
    instrument: str | None = None

    def __post_init__(self) -> None:
        if len(self.text) > _TEXT_MAX:
            object.__setattr__(self, "text", self.text[: _TEXT_MAX - 1] + "…")
        if self.instrument is None:
            about = {x.instrument for x in self.inputs} - {None} | ({self.symbol} - {None})
            object.__setattr__(self, "instrument", MIXED if len(about) > 1 else next(iter(about), None))

    def __repr__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        raise ArgumentError(
            f"{self!r} is an expression, it has no truth value while it is being built: write & | ~ for and, or, not"
        )

    def _repr_svg_(self) -> str:
        from helios.signals.explain import svg

        return svg({"": self})

    def explain(self) -> str:
        """Every node once, in the order of evaluation: what it is made of, what makes it fire, when it is null."""
        from helios.signals.explain import explain

        return explain({"": self})

    def unitless(self) -> Expr:
        """The same, but its unit and instrument are no longer compared with those of others."""
        return replace(self, unit=None, instrument=MIXED)

    # Arithmetic -------------------------------------------------------------------------------------------------

    def __add__(self, other: Expr | Number) -> Expr:
        return _binary("add", "+", self, other)

    def __radd__(self, other: Number) -> Expr:
        return _binary("add", "+", other, self)

    def __sub__(self, other: Expr | Number) -> Expr:
        return _binary("sub", "-", self, other)

    def __rsub__(self, other: Number) -> Expr:
        return _binary("sub", "-", other, self)

    def __mul__(self, other: Expr | Number) -> Expr:
        return _binary("mul", "*", self, other)

    def __rmul__(self, other: Number) -> Expr:
        return _binary("mul", "*", other, self)

    def __truediv__(self, other: Expr | Number) -> Expr:
        return _binary("div", "/", self, other)

    def __rtruediv__(self, other: Number) -> Expr:
        return _binary("div", "/", other, self)

    def __neg__(self) -> Expr:
        return _unary("neg", self, self.unit, f"(-{self.text})")

    def __abs__(self) -> Expr:
        return self.abs()

    def log(self) -> Expr:
        """Natural logarithm; null at and below zero. A plain number, whatever the unit was."""
        return _unary("log", self, NUMBER)

    def exp(self) -> Expr:
        """Exponential; null where it overflows."""
        if self.unit not in (None, NUMBER):
            raise ArgumentError(f"{self!r}.exp(): a plain number has an exponential, {self.unit} has none")
        return _unary("exp", self, NUMBER)

    def sqrt(self) -> Expr:
        """Square root; null below zero."""
        return _unary("sqrt", self, None if self.unit is None else self.unit.power(HALF))

    def abs(self) -> Expr:
        """Absolute value."""
        return _unary("abs", self, self.unit)

    def sign(self) -> Expr:
        """-1, 0 or 1."""
        return _unary("sign", self, NUMBER)

    def clip(self, low: Expr | Number | None = None, high: Expr | Number | None = None) -> Expr:
        """Not below `low`, not above `high`."""
        if low is None and high is None:
            raise ArgumentError(f"{self!r}.clip(): give low, high or both")
        numbers = isinstance(low, int | float) and isinstance(high, int | float)
        if numbers and not low <= high:  # type: ignore[operator]
            raise ArgumentError(f"{self!r}.clip({low}, {high}): low must not be above high")
        for bound in (low, high):
            if bound is not None:
                _wrap(bound, f"{self!r}.clip")
        clipped = self if low is None else maximum(self, low)
        clipped = clipped if high is None else minimum(clipped, high)
        return replace(clipped, text=f"{self.text}.clip({low!r}, {high!r})")

    # Comparison and logic ---------------------------------------------------------------------------------------

    def __gt__(self, other: Expr | Number) -> Expr:
        return _binary("gt", ">", self, other)

    def __ge__(self, other: Expr | Number) -> Expr:
        return _binary("ge", ">=", self, other)

    def __lt__(self, other: Expr | Number) -> Expr:
        return _binary("lt", "<", self, other)

    def __le__(self, other: Expr | Number) -> Expr:
        return _binary("le", "<=", self, other)

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return _binary("eq", "==", self, other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return _binary("ne", "!=", self, other)

    __hash__ = object.__hash__

    def __and__(self, other: Expr | Number) -> Expr:
        return _binary("and", "&", self, other)

    def __rand__(self, other: Number) -> Expr:
        return _binary("and", "&", other, self)

    def __or__(self, other: Expr | Number) -> Expr:
        return _binary("or", "|", self, other)

    def __ror__(self, other: Number) -> Expr:
        return _binary("or", "|", other, self)

    def __invert__(self) -> Expr:
        return _unary("not", self, NUMBER, f"(~{self.text})")

    def is_null(self) -> Expr:
        """1 for a null, 0 for a number; the one function that is never null itself."""
        return _unary("is_null", self, NUMBER)

    def fill_null(self, value: Expr | Number) -> Expr:
        """The value, or this one where it is null."""
        filled = _binary("coalesce", "??", self, _wrap(value, f"{self!r}.fill_null"))
        return replace(filled, text=f"{self.text}.fill_null({value!r})")

    def only(self, condition: Expr) -> Expr:
        """The value where `condition` is true, null elsewhere."""
        # A division by zero is null.
        held = replace(_truth(condition), unit=NUMBER)
        return replace(self / held, text=f"{self.text}.only({condition.text})")

    # The past ---------------------------------------------------------------------------------------------------

    def lag(self, past: Span = 1) -> Expr:
        """The value so many samples ago (int), or what stood so long ago ("5s"). Nulls are no samples."""
        if isinstance(past, int):
            n = _count(past, f"{self!r}.lag", least=1)
            return self._as("lag:samples", ints=(n,), text=f"{self.text}.lag({n})")
        ns = nanoseconds(past, f"the lag of {self!r}")
        return self._as("lag:time", ints=(ns,), text=f"{self.text}.lag({past!r})")

    def diff(self, past: Span = 1) -> Expr:
        """The value less what it was so many samples, or so long, ago."""
        return replace(self - self.lag(past), text=f"{self.text}.diff({past!r})")

    def pct_change(self, past: Span = 1) -> Expr:
        """The change since so many samples, or so long, ago, as a fraction of what it was."""
        return replace(self / self.lag(past) - 1, text=f"{self.text}.pct_change({past!r})")

    def elapsed(self) -> Expr:
        """Seconds since this fired the time before; null at the first."""
        return self._as("elapsed", unit=SECONDS, text=f"{self.text}.elapsed()")

    def when(self, trigger: Expr) -> Expr:
        """The value as it stands whenever `trigger` fires, and only then."""
        _is_expression(trigger, f"{self!r}.when")
        text = f"{self.text}.when({trigger.text})"
        return Expr("when", (self, trigger), text=text, unit=self.unit, instrument=self.instrument)

    def changes(self) -> Expr:
        """The value, firing only when it is another than before."""
        return self._as("changes", text=f"{self.text}.changes()")

    # Windows ----------------------------------------------------------------------------------------------------

    def rolling(self, window: Span | Session, *, min_samples: int | None = None) -> Rolling:
        """The last `window` samples (int), those of the last `window` of time ("10m", (now - window, now]), or those of
        the present session.

        A sample is taken whenever this expression fires; nulls are none. Null until the window is full: until there are
        `window` samples, or the first sample is `window` old; in a session from the first sample on. `min_samples`
        makes it full from that many samples on instead.
        """
        least = 0 if min_samples is None else _count(min_samples, f"min_samples of a window of {self!r}", least=1)
        told = "" if min_samples is None else f", min_samples={min_samples}"
        text = f"{self.text}.rolling({window!r}{told})"
        if isinstance(window, bool) or not isinstance(window, int | str | timedelta):
            number = getattr(window, "number", None)
            if not isinstance(number, Expr):
                raise ArgumentError(
                    f"rolling window {window!r} of {self!r}: give a number of samples (100), a length of time ('10m'), "
                    "or a session"
                )
            return Rolling(self, "all", (0, least), text=text, by=number)
        if isinstance(window, int):
            n = _count(window, f"rolling window of {self!r}", least=1)
            if least > n:
                raise ArgumentError(f"{text}: there are never more than {n} samples in it")
            return Rolling(self, "count", (n, least), text=text)
        return Rolling(self, "time", (nanoseconds(window, f"the rolling window of {self!r}"), least), text=text)

    def expanding(self, *, min_samples: int = 1) -> Rolling:
        """All samples since the beginning, at most a million: beyond that the oldest leave."""
        least = _count(min_samples, f"min_samples of {self!r}.expanding", least=1)
        told = "" if min_samples == 1 else f"{min_samples=}"
        return Rolling(self, "all", (0, least), text=f"{self.text}.expanding({told})")

    def ewm(
        self,
        halflife: Number | str | timedelta | None = None,
        *,
        span: Number | None = None,
        alpha: Number | None = None,
        min_samples: int | None = None,
    ) -> Ewm:
        """Exponential weights: give one of `halflife`, `span` and `alpha`.

        They halve every `halflife` samples (number) or every `halflife` of time ("5m"); or the newest sample weighs
        `alpha`, where `alpha = 2 / (span + 1)`. The first sample weighs all that is left of the past (what others call
        adjust=False). Null until three half-lives of samples, or of time, have passed, or until `min_samples`.
        """
        least = 0 if min_samples is None else _count(min_samples, f"min_samples of {self!r}.ewm", least=1)
        told = "" if min_samples is None else f", {min_samples=}"
        if sum(given is not None for given in (halflife, span, alpha)) != 1:
            raise ArgumentError(f"{self!r}.ewm: give one of halflife, span and alpha")
        if isinstance(halflife, str | timedelta):
            ns = nanoseconds(halflife, f"the half-life of {self!r}")
            return Ewm(self, "ewm_time", (ns, least), text=f"{self.text}.ewm({halflife!r}{told})")
        if halflife is not None:
            given = _positive(halflife, f"half-life {halflife!r} of {self!r}: it must be a positive number of samples")
            keep, text = 2.0 ** (-1.0 / given), f"{halflife}"
        elif span is not None:
            given = _positive(span, f"span {span!r} of {self!r}: it must be a number above 1")
            keep, text = 1.0 - 2.0 / (given + 1.0), f"span={span}"
        else:
            given = _positive(alpha, f"alpha {alpha!r} of {self!r}: it must lie between 0 and 1")
            keep, text = 1.0 - given, f"{alpha=}"
        if not 0.0 < keep < 1.0:
            raise ArgumentError(f"{self!r}.ewm({text}): of a sample's weight a part between 0 and 1 must be left")
        if not least:
            least = ewm_full_from(keep)
        return Ewm(self, "ewm_count", (0, least), (keep,), text=f"{self.text}.ewm({text}{told})")

    def zscore(self, window: Span | Session | None = None, *, halflife: Number | str | timedelta | None = None) -> Expr:
        """(value - mean) / standard deviation, over a rolling window or with exponential weights: give one of them."""
        if (window is None) == (halflife is None):
            raise ArgumentError(f"zscore of {self!r} needs either a window or a halflife")
        if window is not None:
            return self.rolling(window).zscore()
        return self.ewm(halflife).zscore()

    # States -----------------------------------------------------------------------------------------------------

    def hysteresis(self, *, enter: float, exit: float) -> Expr:
        """-1, 0 or +1: becomes +1 at `enter` and stays until `exit`; -1 likewise below. Fires only when it changes."""
        numbers = all(isinstance(x, int | float) and math.isfinite(x) for x in (enter, exit))
        if not numbers or not enter > exit >= 0:
            raise ArgumentError(f"hysteresis of {self!r}: enter={enter} exit={exit}, but enter > exit >= 0 is needed")
        text = f"{self.text}.hysteresis(enter={enter:g}, exit={exit:g})"
        return self._as("hysteresis", floats=(float(enter), float(exit)), unit=NUMBER, text=text)

    def cooldown(self, span: str | timedelta) -> Expr:
        """1 when this is true and the last 1 is at least `span` ago; else 0."""
        ns = nanoseconds(span, f"the cooldown of {self!r}")
        return _truth(self)._as("cooldown", ints=(ns,), unit=NUMBER, text=f"{self.text}.cooldown({span!r})")

    def debounce(self, span: str | timedelta) -> Expr:
        """1 when this has been true for `span` without interruption; else 0. Looked at whenever this fires."""
        ns = nanoseconds(span, f"the debounce of {self!r}")
        return _truth(self)._as("debounce", ints=(ns,), unit=NUMBER, text=f"{self.text}.debounce({span!r})")

    def latch(self, reset: Expr) -> Expr:
        """1 from when this is true until `reset` is, which wins when both are; 0 before. Fires only when it changes."""
        _is_expression(reset, f"{self!r}.latch")
        text = f"{self.text}.latch({reset.text})"
        return Expr("latch", (_truth(self), _truth(reset)), text=text, unit=NUMBER)

    def _as(
        self,
        op: str,
        *,
        ints: tuple[int, ...] = (),
        floats: tuple[float, ...] = (),
        unit: Unit | None = None,
        text: str,
    ) -> Expr:
        """A node of this one input, in its unit if nothing else is said."""
        return Expr(op, (self,), ints=ints, floats=floats, text=text, unit=self.unit if unit is None else unit)


@dataclass(frozen=True, eq=False)
class _Window:
    """Statistics over the recent past of an expression."""

    expr: Expr
    kind: str
    ints: tuple[int, ...]
    floats: tuple[float, ...] = ()
    text: str = ""
    #: A window that begins afresh whenever this changes.
    by: Expr | None = None

    def __repr__(self) -> str:
        return self.text

    def _stat(self, stat: str, keeps: str, unit: Unit | None, floats: tuple[float, ...] = (), told: str = "") -> Expr:
        inputs = (self.expr,) if self.by is None else (self.expr, self.by)
        window = Expr(
            f"window:{self.kind}:{keeps}", inputs, ints=self.ints, floats=self.floats, text=self.text,
            instrument=self.expr.instrument,
        )  # fmt: skip
        text = f"{self.text}.{told or stat}" + ("" if told else "()")
        return Expr(f"read:{stat}", (window,), floats=floats, text=text, unit=unit)

    def _pair(self, stat: str, other: Expr, unit: Unit | None) -> Expr:
        _is_expression(other, f"{self.text}.{stat}")
        inputs = (self.expr, other) if self.by is None else (self.expr, other, self.by)
        pairs = Expr(
            f"pairs:{self.kind}", inputs, ints=self.ints, floats=self.floats, text=f"({self.text}, {other.text})",
        )  # fmt: skip
        return Expr(f"read:{stat}", (pairs,), text=f"{self.text}.{stat}({other.text})", unit=unit)

    def mean(self) -> Expr:
        """Mean."""
        return self._stat("mean", "moments", self.expr.unit)

    def var(self) -> Expr:
        """Variance: n - 1 in the denominator when rolling, weighted population variance when exponential."""
        return self._stat("var", "moments", _power(self.expr.unit, 2))

    def std(self) -> Expr:
        """Square root of the variance."""
        return self._stat("std", "moments", self.expr.unit)

    def zscore(self) -> Expr:
        """(last sample - mean) / standard deviation; null while the deviation is zero."""
        return self._stat("zscore", "moments", NUMBER)

    def cov(self, other: Expr) -> Expr:
        """Covariance with another expression. Of two, a sample is taken when either fires and both are numbers."""
        _is_expression(other, f"{self.text}.cov")
        both = self.expr.unit is not None and other.unit is not None
        return self._pair("cov", other, self.expr.unit * other.unit if both else None)  # type: ignore[operator]

    def corr(self, other: Expr) -> Expr:
        """Correlation with another expression; null while one of them does not vary."""
        return self._pair("corr", other, NUMBER)

    def beta(self, other: Expr) -> Expr:
        """Slope of this expression on another by least squares: cov / var of the other."""
        _is_expression(other, f"{self.text}.beta")
        both = self.expr.unit is not None and other.unit is not None
        return self._pair("beta", other, self.expr.unit / other.unit if both else None)  # type: ignore[operator]

    def alpha(self, other: Expr) -> Expr:
        """Intercept that belongs to `beta`."""
        return self._pair("alpha", other, self.expr.unit)

    def residual(self, other: Expr) -> Expr:
        """Last sample less `alpha + beta * other`: the residual of a rolling ordinary least squares."""
        return self._pair("residual", other, self.expr.unit)


class Rolling(_Window):
    """A plain window, by count, by time or by session."""

    def sum(self) -> Expr:
        """Sum."""
        return self._stat("sum", "moments", self.expr.unit)

    def min(self) -> Expr:
        """Least sample."""
        return self._stat("min", "least", self.expr.unit)

    def max(self) -> Expr:
        """Greatest sample."""
        return self._stat("max", "greatest", self.expr.unit)

    def quantile(self, q: float) -> Expr:
        """The sample below which the part `q` lies, linear between samples."""
        if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
            raise ArgumentError(f"{self.text}.quantile({q!r}): it must lie between 0 and 1")
        return self._stat("quantile", "order", self.expr.unit, (float(q),), f"quantile({q!r})")

    def median(self) -> Expr:
        """Half of the samples lie below."""
        return self._stat("quantile", "order", self.expr.unit, (0.5,), "median()")

    def skew(self) -> Expr:
        """Population skewness, m3 / m2^1.5."""
        return self._stat("skew", "skew", NUMBER)

    def half_life(self) -> Expr:
        """Samples in which half of a deviation of an Ornstein-Uhlenbeck process fades: ln 2 / -ln(phi).

        phi is the slope on the sample before. Null while it is not between 0 and 1: nothing reverts then.
        """
        phi = self.beta(self.expr.lag(1))
        reverts = (phi > 0) & (phi < 1)
        life = math.log(2) / -phi.only(reverts).log()
        return replace(life, text=f"{self.text}.half_life()", unit=NUMBER)


class Ewm(_Window):
    """An exponentially weighted window, by count or by time."""


def ewm_full_from(keep: float) -> int:
    """Samples in three half-lives, where each sample weighs `keep` of the next."""
    # What is a whole number of samples must not become one more by rounding.
    return min(max(1, math.ceil(3.0 * math.log(0.5) / math.log(keep) - 1e-9)), 2**32 - 1)


def together(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The same two sources, but firing only when both fire at the same moment.

    The bars of one minute arrive one after the other: without this, what is made of both is computed once in between,
    from one new bar and one old. Takes sources only, like `close("KO")`.
    """
    for expr in (a, b):
        if not isinstance(expr, Expr) or not expr.op.startswith("source:"):
            raise ArgumentError(f"together takes sources like close('KO'), not {expr!r}")
    text = f"together({a.text}, {b.text})"
    return (
        Expr("together", (a, b), text=f"{text}[0]", unit=a.unit, instrument=a.instrument),
        Expr("together", (b, a), text=f"{text}[1]", unit=b.unit, instrument=b.instrument),
    )


def constant(value: Number) -> Expr:
    """A number as an expression."""
    try:
        sound = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        sound = False
    if not sound:
        raise ArgumentError(f"{value!r} is not a finite number")
    return Expr("constant", floats=(float(value),), text=f"{value:g}")


def where(condition: Expr, x: Expr | Number, y: Expr | Number) -> Expr:
    """`x` where the condition is true, `y` where it is not, null where it is null."""
    a, b = _wrap(x, "where"), _wrap(y, "where")
    text = f"where({_truth(condition).text}, {a.text}, {b.text})"
    return Expr("where", (condition, a, b), text=text, unit=_same(a, b, text))


def minimum(x: Expr | Number, y: Expr | Number) -> Expr:
    """The smaller of two."""
    made = _binary("min", "min", _wrap(x, "minimum"), _wrap(y, "minimum"))
    return replace(made, text=f"minimum({made.inputs[0].text}, {made.inputs[1].text})")


def maximum(x: Expr | Number, y: Expr | Number) -> Expr:
    """The larger of two."""
    made = _binary("max", "max", _wrap(x, "maximum"), _wrap(y, "maximum"))
    return replace(made, text=f"maximum({made.inputs[0].text}, {made.inputs[1].text})")


# --- Building ------------------------------------------------------------------------------------------------------


def _wrap(value: object, where_: str) -> Expr:
    if isinstance(value, Expr):
        return value
    if not isinstance(value, int | float):
        raise ArgumentError(f"{where_}: {value!r} is neither an expression nor a number")
    return constant(value)


def _unary(op: str, x: Expr, unit: Unit | None, text: str | None = None) -> Expr:
    return Expr(f"unary:{op}", (x,), text=text or f"{x.text}.{op}()", unit=unit)


def _unit_of(op: str, a: Expr, b: Expr, text: str) -> Unit | None:
    if op in ("and", "or"):
        return NUMBER
    if op in ("mul", "div"):
        return _product(a, b, text, Unit.__mul__ if op == "mul" else Unit.__truediv__)
    unit = _same(a, b, text)
    return NUMBER if op in ("gt", "ge", "lt", "le", "eq", "ne") else unit


def _binary(op: str, sign: str, x: object, y: object) -> Expr:
    for value in (x, y):
        if not isinstance(value, Expr | int | float):
            return NotImplemented  # type: ignore[no-any-return]
    shown = [value.text if isinstance(value, Expr) else repr(value) for value in (x, y)]
    text = f"({shown[0]} {sign} {shown[1]})"
    a, b = _wrap(x, text), _wrap(y, text)
    return Expr(f"binary:{op}", (a, b), text=text, unit=_unit_of(op, a, b, text))


def _same(a: Expr, b: Expr, text: str) -> Unit | None:
    if a.unit is not None and b.unit is not None and a.unit != b.unit:
        raise ArgumentError(
            f"{text} mixes units: {a!r} is in {a.unit}, {b!r} in {b.unit}; .unitless() says that it is meant so"
        )
    return b.unit if a.unit is None else a.unit


def _product(a: Expr, b: Expr, text: str, combine: Callable[[Unit, Unit], Unit]) -> Unit | None:
    one, other = (NUMBER if x.op == "constant" else x.unit for x in (a, b))
    if one is None or other is None:
        return None
    money = {one, other} == {PRICE, SHARES}
    if money and MIXED not in (a.instrument, b.instrument) and a.instrument != b.instrument:
        raise ArgumentError(
            f"{text} mixes instruments: a price of {a.instrument or b.instrument} and shares of "
            f"{b.instrument or a.instrument}; .unitless() says that it is meant so"
        )
    return combine(one, other)


def _power(unit: Unit | None, power: int) -> Unit | None:
    return None if unit is None else unit.power(Fraction(power))


def _truth(condition: object) -> Expr:
    if not isinstance(condition, Expr):
        raise ArgumentError(f"{condition!r} is no condition: mid('KO') > 60 is one")
    return condition


def _is_expression(value: object, where_: str) -> None:
    if not isinstance(value, Expr):
        raise ArgumentError(f"{where_}: {value!r} is no expression; mid('KO') is one")


def _count(value: object, what: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= SAMPLES_MAX:
        raise ArgumentError(f"{what}: {value!r} samples, but it must be {least} to {SAMPLES_MAX}")
    return value


def _positive(value: object, message: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ArgumentError(message)
    return float(value)
