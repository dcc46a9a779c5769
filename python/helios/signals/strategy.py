"""Strategies: a class with parameters, signals that the core evaluates, and methods that the engine calls.

`signals` is asked once, when a run is planned: what it returns is evaluated natively. The `on_…` methods are called
during the run, and a wish that they send back is recorded as an input of its own, so a replay of the journal needs
neither this code nor Python. A strategy may have either, or both. A live run that goes on after a failure calls the
methods again with what its journal holds, so that attributes are what they were: see `on_save`, and docs/live.md.
Absent: limits of one strategy alone (the gate is the account's, see `limits`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol, runtime_checkable

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE
from helios.signals.compiling import COMPILABLE, CompiledMethod, fields_and_bytes
from helios.signals.expr import Expr
from helios.signals.memory import memory_of
from helios.signals.orders import Life, Queue, raw_terms
from helios.signals.outputs import Output, Quote, Record, Target
from helios.signals.parameters import Parametrised, fields_of
from helios.signals.sizing import Sizing

if TYPE_CHECKING:
    from helios._core import BarView, BookView, FeedView, FillView, OrderView, Port, RefusalView, SignalView, TradeView


CALLBACKS: Final = (*COMPILABLE, "on_signal", "on_refusal", "on_order", "on_feed")


#: What gives and takes back a strategy's memory.
MEMORY: Final = ("on_save", "on_load")

#: An order without terms: tif, ioc, post_only, display, hidden, peg, stop.
_PLAIN: Final = (None, False, False, None, False, None, None)

#: The strategy's name of targets that name none: `target(…)` says "main".
UNNAMED: Final = "main"


@runtime_checkable
class RiskRules(Protocol):
    """Limits; pillar 4 has them."""

    def rows(self) -> list[tuple[str, int]]:
        """Rule and limit."""


class Strategy(Parametrised):
    """Override what you need. Only overridden methods are called.

        class Reversion(hx.Strategy):
            enter: float = 2.0                      # parameters: annotated, by keyword, checked
            window: str = "10m"
            universe = ("KO", "PEP")
            sizing = hx.FixedNotional(10_000)
            limits = hx.Limits(order_notional=50_000)

            def signals(self):
                z = (hx.mid("KO").log() - hx.mid("PEP").log()).zscore(self.window)
                side = z.hysteresis(enter=self.enter, exit=0.5)
                return [self.hold("KO", -side), self.hold("PEP", side), hx.record("z", side, z)]

    `Reversion(enter=3)` has other parameters, `with_params(enter=3)` makes a fresh one from one that is there.
    A class with an `__init__` of its own has that one's arguments as parameters.

    The objects handed to `on_book`, `on_trade` and `on_bar` are views that the next event overwrites: copy what you
    keep.
    A wish (`buy`, `sell`, `target`, …) goes through the risk gate like any other; a refusal shows in the results.
    """

    #: Name in the results; without one, the class's name in lower case.
    name: str = "strategy"
    #: Symbols that this strategy needs; empty for those that its signals name, and without signals for all of the data.
    universe: Sequence[str] = ()
    #: Length of time between calls of `on_timer`, like "1s"; None for no timer.
    timer: str | timedelta | None = None
    #: How `hold` turns a side into a position.
    sizing: Sizing | None = None
    #: Risk rules that it asks for. The gate is the account's: with several strategies and the run's own limits, the
    #: strictest of each rule holds for all of them.
    limits: RiskRules | None = None
    #: How many float64 its compiled methods keep, zero at first.
    memory: int = 0

    _settings: ClassVar[frozenset[str]] = frozenset({"name", "universe", "timer", "sizing", "limits", "memory"})
    _named: ClassVar[bool] = False
    _recalled: Sequence[float] = ()

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if "name" in vars(cls):
            cls._named = True
        elif not cls._named:
            cls.name = cls.__name__.lower()
        for name in fields_of(cls):
            if callable(getattr(Strategy, name, None)) or name in ("params", "now", "replaying"):
                raise ArgumentError(f"{cls.__name__}: a parameter named {name} would hide the method of that name")

    def signals(self) -> Iterable[Any]:
        """Targets and records, or lists of them, made of expressions; asked once, evaluated natively."""
        return ()

    def hold(self, symbol: str, side: Expr, *, weight: float = 1.0) -> Target:
        """A target: `side` (-1 to 1) times `weight`, in the size that `sizing` gives. A negative weight turns it."""
        if self.sizing is None:
            raise ArgumentError(
                f"strategy {self.name!r}: hold({symbol!r}, …) needs a sizing, like `sizing = hx.FixedNotional(10_000)`"
            )
        return self.sizing.target(symbol, side, weight=weight, strategy=self.name)

    def on_start(self) -> None:
        """Called once, before the first event."""

    def on_book(self, book: BookView) -> None:
        """Best bid or ask changed, or a quote came.

        Not called while market data is missing (see `on_feed`).
        """

    def on_trade(self, trade: TradeView) -> None:
        """A trade was printed."""

    def on_bar(self, bar: BarView) -> None:
        """A bar ended."""

    def on_fill(self, fill: FillView) -> None:
        """One of this strategy's orders traded."""

    def on_timer(self, now: int) -> None:
        """The timer fired; `now` in nanoseconds since 1970 UTC."""

    def on_signal(self, signal: SignalView) -> None:
        """One of this strategy's recorded signals has a new value."""

    def on_refusal(self, refusal: RefusalView) -> None:
        """The risk gate refused one of this strategy's wishes."""

    def on_order(self, order: OrderView) -> None:
        """An order of `buy` or `sell` changed its state; orders that targets lead to are execution's own."""

    def on_feed(self, feed: FeedView) -> None:
        """Market data of an instrument is missing (`feed.complete` is False), or is whole again.

        In between `book.complete` is False, its prices are the last that were known to be right, `on_book` is not
        called, expressions see trades only, and neither targets nor quotes send anything new; `buy` and `sell` do.
        Live only: in a backtest all of the data is there.
        """

    def on_save(self) -> dict[str, Any]:
        """All that this strategy remembers, for a snapshot of a live run; called now and then, with `on_load` only.

        None, bool, int, float, str, bytes, and lists and dicts of these (keys str or int), at most 1 MiB as msgpack.
        The engine waits while it is made. A strategy that remembers nothing gives {}. Without this method a run that
        goes on replays its whole journal through the strategy's methods: the memory is then the same, and the start
        takes longer. Compiled methods' numbers are saved without it.
        """
        return {}

    def on_load(self, memory: dict[str, Any]) -> None:
        """Takes back what `on_save` gave, when a run goes on from a snapshot: after `on_start`, before any event.

        What raises here keeps the run from starting: with other keys than it expects it would trade on a wrong memory.
        """

    def recall(self) -> list[float]:
        """The numbers that its compiled methods kept, as they were at the end of the last run."""
        return list(self._recalled)

    # Wishes -----------------------------------------------------------------------------------------------------

    def buy(
        self,
        symbol: str | int,
        quantity: float,
        price: float | None = None,
        *,
        ioc: bool = False,
        tif: Life | None = None,
        post_only: bool = False,
        display: float | None = None,
        hidden: bool = False,
        peg: Literal["mid"] | None = None,
        stop: float | None = None,
    ) -> int:
        """Wishes to buy; returns the order's identifier. Without a price it is a market order; in a
        dark pool it waits for any midpoint.

        `tif`: "day" (rests; the default with a price), "ioc" (takes what it can at once; the default without one; also
        `ioc=True`), "fok" (all at once or nothing), "open" and "close" (the next opening or closing auction only).
        `post_only`: rejected rather than taking. `display`: how much is shown at once (an iceberg); `hidden`: nothing.
        `peg="mid"`: unseen at the midpoint, with `price` as the worst one. `stop`: sleeps until a trade at this price
        or beyond it, above the market for a buy and below it for a sale. What the data of a backtest can do of this
        stands in docs/models/orders.md; the rest is rejected by the simulated venue as "unsupported".
        """
        given = (tif, ioc, post_only, display, hidden, peg, stop)
        return self._order(symbol, True, quantity, price, *given)

    def sell(
        self,
        symbol: str | int,
        quantity: float,
        price: float | None = None,
        *,
        ioc: bool = False,
        tif: Life | None = None,
        post_only: bool = False,
        display: float | None = None,
        hidden: bool = False,
        peg: Literal["mid"] | None = None,
        stop: float | None = None,
    ) -> int:
        """Wishes to sell; returns the order's identifier. The terms are those of `buy`."""
        given = (tif, ioc, post_only, display, hidden, peg, stop)
        return self._order(symbol, False, quantity, price, *given)

    def _order(self, symbol: str | int, buy: bool, quantity: float, price: float | None, *given: Any) -> int:
        number, shares = self._id(symbol), self._quantity(quantity)
        limit = None if price is None else self._price(price)
        if given == _PLAIN:
            # A market order does not rest: it takes what is there. In a dark pool it waits for any midpoint.
            return self._port.order(number, buy, shares, limit, int(price is None and number not in self._dark))
        return self._port.order(number, buy, shares, limit, *raw_terms(self, quantity, price, *given))

    def queue(self, symbol: str | int, order: int) -> Queue | None:
        """Where an order stands at the simulated venue, exactly, latency left aside: its price, what an aggressor meets
        before it there, and what is left of it. On price levels what is before it is an estimate; None unless it rests
        in a book of single orders or levels.

        A backtest's truth, for research: no exchange tells it. Outside a backtest it is None, so a strategy that is to
        go live must do without.
        """
        told = self._port.queue(self._id(symbol), order)
        if told is None:
            return None
        price, ahead, left = told
        return Queue(price / PRICE_SCALE, ahead / QUANTITY_SCALE, left / QUANTITY_SCALE)

    def cancel(self, symbol: str | int, order: int) -> None:
        """Wishes to cancel a working order."""
        self._port.cancel(self._id(symbol), order)

    def replace(self, symbol: str | int, order: int, *, quantity: float, price: float) -> None:
        """Wishes another total quantity and price for a working order."""
        self._port.replace(self._id(symbol), order, self._quantity(quantity), self._price(price))

    def target(self, symbol: str | int, position: float) -> None:
        """Wishes to hold exactly this signed position; execution finds the way."""
        self._port.target(self._id(symbol), self._quantity(position))

    def _price(self, price: float) -> int:
        return self._scaled_price(price, "price")

    def _scaled_price(self, price: float, what: str) -> int:
        return self._scaled(price, PRICE_SCALE, what)

    def _quantity(self, quantity: float) -> int:
        return self._scaled(quantity, QUANTITY_SCALE, "quantity")

    def _scaled(self, value: float, scale: int, what: str) -> int:
        """As the core's integer. A NaN that came out of a calculation must not become an order."""
        try:
            fits = math.isfinite(value) and abs(value * scale) < 2**63 - 1
        except TypeError:
            fits = False
        if not fits:
            raise ArgumentError(f"strategy {self.name!r}: {what} {value!r} is no number, or too large for the core")
        return round(value * scale)

    # Views ------------------------------------------------------------------------------------------------------

    def position(self, symbol: str | int) -> float:
        """This strategy's signed position."""
        return self._port.position(self._id(symbol)) / QUANTITY_SCALE

    def book(self, symbol: str | int) -> BookView:
        """A live view of an instrument's best prices; it stays valid and current."""
        return self._port.book(self._id(symbol))

    @property
    def now(self) -> int:
        """Engine time, nanoseconds since 1970 UTC."""
        return self._port.now

    @property
    def replaying(self) -> bool:
        """True while a live run that goes on calls the methods again with what its journal holds, so that all is known.

        Wishes go nowhere then. What must not happen twice, like a message to a person, asks this; a decision may not.
        """
        return self._port.replaying

    def _id(self, symbol: str | int) -> int:
        if isinstance(symbol, int):
            if not 0 <= symbol < len(self._ids):
                raise ArgumentError(f"strategy {self.name!r}: instrument {symbol} is none of the {len(self._ids)} here")
            return symbol
        try:
            return self._ids[symbol]
        except KeyError:
            raise ArgumentError(f"strategy {self.name!r}: no data for {symbol!r} in this run") from None

    # Wiring -----------------------------------------------------------------------------------------------------

    def methods(self) -> tuple[list[Any], int]:
        """Bound methods in Python that are overridden (None for the others), and the timer's period in ns."""
        for name in dir(type(self)):
            if (
                name.startswith("on_")
                and name not in (*CALLBACKS, "on_start", *MEMORY)
                and name not in fields_of(type(self))
            ):
                near = difflib.get_close_matches(name, CALLBACKS, n=1, cutoff=0.6)
                hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(CALLBACKS)} and on_start"
                raise ArgumentError(f"strategy {self.name!r}: nothing calls a method named {name}{hint}")
        mine = called(self)
        for name in mine:
            if isinstance(getattr(self, name), CompiledMethod) and name not in COMPILABLE:
                raise ArgumentError(f"strategy {self.name!r}: {name} cannot be compiled; {', '.join(COMPILABLE)} can")
        period = 0 if self.timer is None else nanoseconds(self.timer, f"the timer of strategy {self.name!r}")
        if (period > 0) != ("on_timer" in mine):
            raise ArgumentError(f"strategy {self.name!r}: a timer needs both `timer = '1s'` and `on_timer`")
        return [getattr(self, name) if name in mine and not _is_compiled(self, name) else None for name in CALLBACKS], (
            0 if _is_compiled(self, "on_timer") else period
        )

    def memory_methods(self) -> tuple[Callable[[], bytes], Callable[[bytes], None]] | None:
        """What gives its memory as bytes and takes it back, where it has `on_save` and `on_load`."""
        mine = [name for name in MEMORY if _overrides(self, name)]
        if len(mine) == 1:
            raise ArgumentError(f"strategy {self.name!r}: it has {mine[0]}; saving needs both, on_save and on_load")
        return memory_of(self) if mine else None

    def machine_code(self, symbols: Sequence[str]) -> tuple[Any, ...] | None:
        """What the core needs to call the compiled methods: (addresses, owner, parameters, memory, timer, universe)."""
        made = {name: getattr(self, name) for name in COMPILABLE if _is_compiled(self, name)}
        if not made:
            return None
        if isinstance(self.memory, bool) or not isinstance(self.memory, int) or not 0 <= self.memory <= 1 << 24:
            raise ArgumentError(
                f"strategy {self.name!r}: memory is {self.memory!r}, but must be 0 to {1 << 24} numbers"
            )
        fields, content = fields_and_bytes(self.params)
        code = {name: method.make(fields) for name, method in made.items()}
        addresses = [int(code[name].address) if name in code else 0 for name in COMPILABLE]
        period = nanoseconds(self.timer) if self.timer is not None and "on_timer" in made else 0
        if len(set(self.universe)) != len(self.universe):
            raise ArgumentError(f"strategy {self.name!r}: a symbol is twice in its universe {list(self.universe)}")
        numbers = [symbols.index(symbol) for symbol in self.universe] or list(range(len(symbols)))
        return addresses, list(code.values()), content, self.memory, period, numbers

    def connect(self, port: Port, ids: Mapping[str, int], dark: Set[int] = frozenset()) -> None:
        """Called by the run: hands over the line to the engine, the instruments' numbers, and which are dark."""
        self._dark: Set[int] = dark
        self._port: Port = port
        self._ids: Mapping[str, int] = ids


def outputs_of(strategy: Strategy) -> list[Output]:
    """What `signals` returns, under the strategy's name.

    A target that names a strategy of its own, as those of `pair(…)` do, and every record, get this one's name and a
    stroke before theirs: "reversion/KO/PEP". `on_fill` hears of all of these accounts, `position` is their sum.
    """

    def own(name: str) -> str:
        return strategy.name if name in ("", strategy.name) else f"{strategy.name}/{name}"

    found = list(_flatten(strategy.signals(), strategy.name))
    if strategy.universe and not isinstance(strategy.universe, str):
        for output in found:
            if not isinstance(output, Record) and output.symbol not in strategy.universe:
                raise ArgumentError(
                    f"strategy {strategy.name!r} has a target or a quote for {output.symbol!r}, which its universe "
                    f"does not have: {', '.join(strategy.universe)}"
                )
    return [
        replace(output, name=own(output.name))
        if isinstance(output, Record)
        else replace(output, strategy=own("" if output.strategy == UNNAMED else output.strategy))
        for output in found
    ]


def called(strategy: Strategy) -> tuple[str, ...]:
    """The methods that the engine is to call."""
    return tuple(name for name in ("on_start", *CALLBACKS) if _overrides(strategy, name))


def declares(strategy: Strategy) -> bool:
    """True when it has signals."""
    return _overrides(strategy, "signals")


def in_python(strategy: Strategy) -> bool:
    """True when it has methods in Python, or nothing at all."""
    mine = called(strategy)
    return not mine or any(not _is_compiled(strategy, name) for name in mine)


def accounts_of(strategy: Strategy, strategies: Sequence[str]) -> list[tuple[int, str]]:
    """Numbers and names of its accounts in the run: its own first, then those that its targets name."""
    names = [output.strategy for output in outputs_of(strategy) if not isinstance(output, Record)]
    return [(strategies.index(name), name) for name in dict.fromkeys([strategy.name, *names])]


def own_signals(strategy: Strategy, signals: Iterable[str]) -> list[str | None]:
    """The run's signals by number: this strategy's as it named them, None for those of others."""
    mine = {output.name for output in outputs_of(strategy) if isinstance(output, Record)}
    return [name.removeprefix(f"{strategy.name}/") if name in mine else None for name in signals]


def _is_compiled(strategy: Strategy, name: str) -> bool:
    return isinstance(getattr(strategy, name), CompiledMethod)


def _overrides(strategy: Strategy, name: str) -> bool:
    return getattr(type(strategy), name) is not getattr(Strategy, name)


def _flatten(found: Any, name: str) -> Iterator[Output]:
    if isinstance(found, Target | Quote | Record):
        yield found
        return
    if isinstance(found, Expr | str | Mapping) or not isinstance(found, Iterable):
        raise ArgumentError(
            f"strategy {name!r}: signals gave {found!r}; it returns a list of self.hold(…), target(…), quote(…) and "
            "record(…)"
        )
    for inner in found:
        yield from _flatten(inner, name)
