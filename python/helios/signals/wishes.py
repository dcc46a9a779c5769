"""Wishes of compiled methods: `wishes.target(out, instrument, position)` and its like, inside a `@hx.compiled` method.

`out` is the method's last argument, an instrument its place in the strategy's universe. At most eight wishes a call;
more stop the run. Orders that a call makes have their identifiers at once. Needs numba.
"""

from __future__ import annotations

from typing import Any

from helios._core import compiled_layout
from helios.signals.compiling import numba_or_refuse

_numba = numba_or_refuse()
_NAN = float("nan")
_MOST = next(count for name, _, columns in compiled_layout() if name == "wishes" for *_, count in columns if count)


def _put(out: Any, kind: int, instrument: int, order: int, quantity: float, price: float) -> None:
    slot = out.count
    out.count = slot + 1  # beyond the last slot the core refuses
    if slot < _MOST:
        out.kind[slot] = kind
        out.instrument[slot] = instrument
        out.order[slot] = order
        out.quantity[slot] = quantity
        out.price[slot] = price


_put = _numba.njit(_put)


def _target(out: Any, instrument: int, position: float) -> None:
    _put(out, 1, instrument, 0, position, _NAN)


def _buy(
    out: Any, instrument: int, quantity: float, price: float = _NAN, ioc: bool = False, post_only: bool = False
) -> int:
    order = out.next_order
    out.next_order = order + 1
    _put(out, 8 if post_only else 3 if ioc else 2, instrument, order, quantity, price)
    return int(order)


def _sell(
    out: Any, instrument: int, quantity: float, price: float = _NAN, ioc: bool = False, post_only: bool = False
) -> int:
    order = out.next_order
    out.next_order = order + 1
    _put(out, 9 if post_only else 5 if ioc else 4, instrument, order, quantity, price)
    return int(order)


def _cancel(out: Any, instrument: int, order: int) -> None:
    _put(out, 6, instrument, order, 0.0, _NAN)


def _replace(out: Any, instrument: int, order: int, quantity: float, price: float) -> None:
    _put(out, 7, instrument, order, quantity, price)


#: Hold exactly this signed position.
target = _numba.njit(_target)
#: Buy; returns the order's identifier. Without a price it is a market order. Of the terms of orders there is post-only.
buy = _numba.njit(_buy)
#: Sell; returns the order's identifier. Without a price it is a market order.
sell = _numba.njit(_sell)
#: Cancel a working order.
cancel = _numba.njit(_cancel)
#: Another total quantity and price for a working order.
replace = _numba.njit(_replace)
