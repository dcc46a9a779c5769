"""Strategies written in Python: methods that the engine calls, and wishes that they send back.

A wish is recorded as an input of its own, so a replay of the journal needs neither this code nor Python.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

if TYPE_CHECKING:
    from helios._core import BarView, BookView, FillView, Port, TradeView


CALLBACKS: Final = ("on_book", "on_trade", "on_bar", "on_fill", "on_timer")


class Strategy:
    """Override what you need. Only overridden methods are called.

    The objects handed to `on_book`, `on_trade` and `on_bar` are views that the next event overwrites: copy what you
    keep.
    A wish (`buy`, `sell`, `target`, …) goes through the risk gate like any other; a refusal shows in the results.
    """

    #: Name in the results.
    name: str = "python"
    #: Symbols that this strategy needs; empty for all of the data.
    universe: Sequence[str] = ()
    #: Length of time between calls of `on_timer`, like "1s"; None for no timer.
    timer: str | timedelta | None = None

    _port: Port
    _ids: Mapping[str, int]

    def on_start(self) -> None:
        """Called once, before the first event."""

    def on_book(self, book: BookView) -> None:
        """Best bid or ask changed, or a quote came."""

    def on_trade(self, trade: TradeView) -> None:
        """A trade was printed."""

    def on_bar(self, bar: BarView) -> None:
        """A bar ended."""

    def on_fill(self, fill: FillView) -> None:
        """One of this strategy's orders traded."""

    def on_timer(self, now: int) -> None:
        """The timer fired; `now` in nanoseconds since 1970 UTC."""

    # Wishes -----------------------------------------------------------------------------------------------------

    def buy(self, symbol: str | int, quantity: float, price: float | None = None, *, ioc: bool = False) -> int:
        """Wishes to buy; returns the order's identifier. Without a price it is a market order."""
        return self._order(symbol, True, quantity, price, ioc)

    def sell(self, symbol: str | int, quantity: float, price: float | None = None, *, ioc: bool = False) -> int:
        """Wishes to sell; returns the order's identifier. Without a price it is a market order."""
        return self._order(symbol, False, quantity, price, ioc)

    def _order(self, symbol: str | int, buy: bool, quantity: float, price: float | None, ioc: bool) -> int:
        raw = None if price is None else self._price(price)
        # A market order does not rest: it takes what is there.
        return self._port.order(self._id(symbol), buy, self._quantity(quantity), raw, ioc or price is None)

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
        return self._scaled(price, PRICE_SCALE, "price")

    def _quantity(self, quantity: float) -> int:
        return self._scaled(quantity, QUANTITY_SCALE, "quantity")

    def _scaled(self, value: float, scale: int, what: str) -> int:
        """As the core's integer. A NaN that came out of a calculation must not become an order."""
        if not math.isfinite(value) or abs(value * scale) >= 2**63 - 1:
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

    def methods(self) -> tuple[Any, ...]:
        """Bound methods that are overridden (None for the others), and the timer's period in ns."""
        for name in dir(type(self)):
            if name.startswith("on_") and name not in (*CALLBACKS, "on_start"):
                near = difflib.get_close_matches(name, CALLBACKS, n=1, cutoff=0.6)
                hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(CALLBACKS)} and on_start"
                raise ArgumentError(f"strategy {self.name!r}: nothing calls a method named {name}{hint}")
        bound = [getattr(self, name) if _overrides(self, name) else None for name in CALLBACKS]
        period = 0 if self.timer is None else nanoseconds(self.timer, f"the timer of strategy {self.name!r}")
        if (period > 0) != (bound[-1] is not None):
            raise ArgumentError(f"strategy {self.name!r}: a timer needs both `timer = '1s'` and `on_timer`")
        return (*bound, period)

    def connect(self, port: Port, ids: Mapping[str, int]) -> None:
        """Called by the run: hands over the line to the engine and the instruments' numbers."""
        self._port, self._ids = port, ids


def _overrides(strategy: Strategy, name: str) -> bool:
    return getattr(type(strategy), name) is not getattr(Strategy, name)
