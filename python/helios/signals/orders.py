"""Terms of orders, as strategies say them: checked here, so that a wrong one is an error where it was written.

The risk gate and the venue check again what comes from elsewhere. Absent: what a venue or its data cannot do, which the
venue says when the order arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.signals.strategy import Strategy

Life = Literal["day", "ioc", "fok", "open", "close"]

#: In the order of the core's numbers.
LIVES: Final[tuple[Life, ...]] = ("day", "ioc", "fok", "open", "close")


class Queue(NamedTuple):
    """Where a resting order stands at the simulated venue."""

    #: Where it stands now; of a peg, the midpoint.
    price: float
    #: What an aggressor meets before it at that price: displayed orders, and our own unseen ones that are earlier.
    ahead: float
    #: What is left of it, an iceberg's reserve included.
    left: float


def raw_terms(
    strategy: Strategy,
    quantity: float,
    price: float | None,
    tif: Life | None,
    ioc: bool,
    post_only: bool,
    display: float | None,
    hidden: bool,
    peg: str | None,
    stop: float | None,
) -> tuple[int, bool, bool, int | None, int | None]:
    """Life time, post-only, midpoint, display and stop as the core takes them; ArgumentError for what is no order."""

    def refuse(text: str) -> ArgumentError:
        return ArgumentError(f"strategy {strategy.name!r}: {text}")

    life = _life(tif, ioc, price, peg, stop, refuse)
    if peg not in (None, "mid"):
        raise refuse(f"peg is {peg!r}: there is 'mid'")
    if hidden and display is not None:
        raise refuse(f"an order is hidden or displays {display!r} of itself, not both")
    if display is not None and not 0 < display <= quantity:
        raise refuse(f"display is {display!r}: it must be more than 0 and at most the quantity, {quantity!r}")
    if peg is not None and (stop is not None or display is not None):
        raise refuse("an order pegged to the midpoint is unseen and has no stop: leave display and stop out")
    resting = {"post_only": post_only, "hidden": hidden, "display": display is not None, "peg": peg is not None}
    asked = [name for name, given in resting.items() if given]
    if asked and life != "day":
        raise refuse(f"{asked[0]} is for orders that rest: tif must be 'day', not {life!r}")
    if asked and price is None and peg is None:
        raise refuse(f"{asked[0]} is for orders that rest: give a price")
    if stop is not None and life in ("open", "close"):
        raise refuse(f"an order for an auction (tif={life!r}) has no stop")
    shown = 0 if hidden else None if display is None else strategy._quantity(display)
    trigger = None if stop is None else strategy._scaled_price(stop, "stop")
    return LIVES.index(life), bool(post_only), peg is not None, shown, trigger


def _life(tif: Life | None, ioc: bool, price: float | None, peg: str | None, stop: float | None, refuse: Any) -> Life:
    if tif is not None and tif not in LIVES:
        raise refuse(f"tif is {tif!r}: there are {', '.join(map(repr, LIVES))}")
    if ioc and tif not in (None, "ioc"):
        raise refuse(f"ioc=True and tif={tif!r} exclude each other")
    if ioc:
        return "ioc"
    rests = price is not None or peg is not None or stop is not None
    if tif is None:
        return "day" if rests else "ioc"
    if tif == "day" and not rests:
        raise refuse("a market order does not rest: tif must be 'ioc', 'fok', 'open' or 'close'")
    return tif
