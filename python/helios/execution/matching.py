"""The matching engine of an exchange, one command at a time: for teaching, for tests and for trying rules out.

    engine = hx.MatchingEngine(["KO"], tick=0.01)
    engine.submit("KO", "sell", 100, 62.15, order=1)
    engine.submit("KO", "buy", 60, 62.15, order=2)     # [Accepted(...), Traded(incoming=2, resting=1, ...)]

It is the engine under the simulated market (`core/venue/src/matching`), with all of its rules: order types, pro rata,
price bands, self-trade prevention, phases and auctions; each is stated in `docs/models/matching.md` and `auctions.md`.
A call takes some ten microseconds, which is Python's; the core itself carries out millions of commands a second
(`helios bench matching`).

Prices are money, quantities shares; both are kept as exact decimals in the core. Absent: time, fees, accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from helios.errors import ArgumentError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE, scaled

if TYPE_CHECKING:
    from helios import _core

__all__ = [
    "Accepted",
    "Amended",
    "AuctionTraded",
    "Auctioned",
    "Bands",
    "Cancelled",
    "Indicative",
    "MatchingEngine",
    "MatchingEvent",
    "PhaseChanged",
    "Refreshed",
    "Rejected",
    "Traded",
    "Triggered",
    "WorkingOrder",
]

Side: TypeAlias = Literal["buy", "sell"]
TimeInForce: TypeAlias = Literal["day", "ioc", "fok", "open", "close"]
SelfTrade: TypeAlias = Literal["allow", "cancel_newest", "cancel_oldest", "cancel_both", "decrement"]
Phase: TypeAlias = Literal["closed", "pre_open", "auction", "continuous", "halted"]
Auction: TypeAlias = Literal["open", "close", "reopen"]
Place: TypeAlias = Literal["shown", "hidden", "pegged", "stopped", "opening", "closing"]
Beyond: TypeAlias = Literal["reject", "cancel", "rest"]

_MAX_INSTRUMENTS: Final = 100_000
_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order works, or traded at once: see what follows. A price of None is a market order."""

    symbol: str
    order: int
    side: Side
    price: float | None
    quantity: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """The command changed nothing. `request` is submit, cancel, amend, phase or auction (order 0 for the last two)."""

    symbol: str
    order: int
    request: str
    reason: str


@dataclass(frozen=True, slots=True)
class Traded:
    """An incoming order of `side` met a resting one; `resting_left` is all that the resting order has left."""

    symbol: str
    incoming: int
    resting: int
    side: Side
    price: float
    quantity: float
    resting_left: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`quantity` is gone without a trade; `left` is still there, only after a decrement."""

    symbol: str
    order: int
    quantity: float
    left: float
    reason: str


@dataclass(frozen=True, slots=True)
class Amended:
    """New price and open quantity; `kept` says whether the order kept its place, and then its number."""

    symbol: str
    order: int
    new_order: int
    price: float | None
    quantity: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Refreshed:
    """An iceberg shows its next part, at the back of its price."""

    symbol: str
    order: int
    quantity: float


@dataclass(frozen=True, slots=True)
class Triggered:
    """A stop was reached; what it does follows."""

    symbol: str
    order: int


@dataclass(frozen=True, slots=True)
class Indicative:
    """What an auction would give: price (None: nothing trades), what is paired, what is left over and on which side."""

    symbol: str
    auction: Auction
    price: float | None
    paired: float
    imbalance: float
    side: Side | None


@dataclass(frozen=True, slots=True)
class Auctioned:
    """The auction was held; its trades follow."""

    symbol: str
    auction: Auction
    price: float | None
    paired: float
    imbalance: float
    side: Side | None


@dataclass(frozen=True, slots=True)
class AuctionTraded:
    """A trade of the auction between two orders."""

    symbol: str
    buy: int
    sell: int
    price: float
    quantity: float


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """The session went on."""

    symbol: str
    phase: Phase


MatchingEvent: TypeAlias = (
    Accepted
    | Rejected
    | Traded
    | Cancelled
    | Amended
    | Refreshed
    | Triggered
    | Indicative
    | Auctioned
    | AuctionTraded
    | PhaseChanged
)

_EVENTS: Final[dict[str, type[Any]]] = {
    "accepted": Accepted,
    "rejected": Rejected,
    "traded": Traded,
    "cancelled": Cancelled,
    "amended": Amended,
    "refreshed": Refreshed,
    "triggered": Triggered,
    "indicative": Indicative,
    "auctioned": Auctioned,
    "auction_traded": AuctionTraded,
    "phase": PhaseChanged,
}
_PRICES: Final = frozenset({"price"})
_QUANTITIES: Final = frozenset({"quantity", "left", "resting_left", "paired", "imbalance"})


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order that works: where it stands, all that is open, what others see of it, and what has traded."""

    order: int
    symbol: str
    side: Side
    price: float | None
    open: float
    shown: float
    filled: float
    place: Place


@dataclass(frozen=True, kw_only=True)
class Bands:
    """Price bands: no buy above and no sell below, in continuous trading.

    `static` is a fraction around `reference` (0.05: 5 %), `dynamic` one around the last trade; the narrower counts on
    each side. Beyond: "reject" a limit order, "cancel" what is left after trading up to the band, or let it "rest".
    """

    reference: float | None = None
    static: float = 0.0
    dynamic: float = 0.0
    beyond: Beyond = "reject"

    def __post_init__(self) -> None:
        for name in ("static", "dynamic"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ArgumentError(f"{name} is {value!r}: it is a fraction from 0 to below 1, 0.05 for 5 %")
        _one_of(self.beyond, Beyond, "beyond")
        if self.reference is None and self.static > 0:
            raise ArgumentError("static is set without a reference: say around which price the band lies")
        if self.reference is None and self.dynamic == 0:
            raise ArgumentError("these bands limit nothing: set reference and static, or dynamic")

    def _core(self) -> tuple[int | None, int, int, str]:
        reference = None if self.reference is None else _price(self.reference, "the reference")
        return reference, round(self.static * _PPM), round(self.dynamic * _PPM), self.beyond


class MatchingEngine:
    """The matching engine of a venue: each method is one command and returns the events that it caused, in their order.

    A command that is refused returns one `Rejected` and changes nothing; an argument that makes no sense raises
    `ArgumentError`. `allocation` is "price_time", "pro_rata" or "pro_rata_top_first"; `tick` and `lot` are the steps of
    prices and quantities, None for any.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        tick: float | None = None,
        lot: float | None = None,
        allocation: Literal["price_time", "pro_rata", "pro_rata_top_first"] = "price_time",
        bands: Bands | None = None,
    ) -> None:
        from helios._core import MatchingEngine as Core

        if isinstance(symbols, str) or not symbols or len(set(symbols)) != len(symbols):
            raise ArgumentError(f'symbols is {symbols!r}: it must be a list of distinct symbols, like ["KO", "PEP"]')
        if len(symbols) > _MAX_INSTRUMENTS:
            raise ArgumentError(f"{len(symbols)} symbols are too many: at most {_MAX_INSTRUMENTS:,}")
        self._symbols = tuple(symbols)
        self._ids = {symbol: number for number, symbol in enumerate(self._symbols)}
        self._core: _core.MatchingEngine = Core(len(self._symbols))
        self._next = 1
        for symbol in self._symbols:
            self.set_rules(symbol, tick=tick, lot=lot, allocation=allocation, bands=bands)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is listed."""
        return self._symbols

    def set_rules(
        self,
        symbol: str,
        *,
        tick: float | None = None,
        lot: float | None = None,
        allocation: Literal["price_time", "pro_rata", "pro_rata_top_first"] = "price_time",
        bands: Bands | None = None,
    ) -> None:
        """Sets the rules of one instrument for what comes; orders that rest are not looked at again."""
        if allocation not in ("price_time", "pro_rata", "pro_rata_top_first"):
            raise ArgumentError(f"allocation is {allocation!r}: price_time, pro_rata or pro_rata_top_first")
        if bands is not None and not isinstance(bands, Bands):
            raise ArgumentError(f"bands is {bands!r}: it must be a Bands(...)")
        self._core.set_rules(
            self._id(symbol),
            allocation != "price_time",
            allocation == "pro_rata_top_first",
            0 if tick is None else _price(tick, "the tick"),
            0 if lot is None else _quantity(lot, "the lot"),
            None if bands is None else bands._core(),
        )

    def set_last(self, symbol: str, price: float) -> None:
        """The price that stands for the last trade, as yesterday's close: reference of auctions and dynamic bands."""
        self._core.set_last(self._id(symbol), _price(price, "the last price"))

    def submit(
        self,
        symbol: str,
        side: Side,
        quantity: float,
        price: float | None = None,
        *,
        order: int | None = None,
        time_in_force: TimeInForce = "day",
        post_only: bool = False,
        hidden: bool = False,
        display: float | None = None,
        midpoint: bool = False,
        stop: float | None = None,
        firm: int = 0,
        self_trade: SelfTrade = "allow",
    ) -> list[MatchingEvent]:
        """A new order; without a price a market order, without a number the next free one.

        `display` shows only so much at once (an iceberg), `hidden` nothing; `midpoint` pegs to the middle of the best
        prices, with `price` as its limit; `stop` sleeps until a trade at that price. When an order would meet another
        of its `firm` (0 is nobody's), `self_trade` of the incoming one says what happens.
        """
        _one_of(side, Side, "side")
        _one_of(time_in_force, TimeInForce, "time_in_force")
        _one_of(self_trade, SelfTrade, "self_trade")
        if hidden and display is not None:
            raise ArgumentError("hidden shows nothing and display shows something: give one of them")
        number = self._next if order is None else _number(order)
        shows = 0 if hidden else None if display is None else _quantity(display, "display")
        answer = self._core.submit(
            self._id(symbol),
            number,
            side,
            _quantity(quantity, "the quantity"),
            None if price is None else _price(price, "the price"),
            time_in_force,
            bool(post_only),
            bool(midpoint),
            shows,
            None if stop is None else _price(stop, "stop"),
            _number(firm, "firm", 2**32, least=0),
            self_trade,
        )
        self._next = max(self._next, number + 1)
        return self._events(answer)

    def cancel(self, symbol: str, order: int) -> list[MatchingEvent]:
        """An order shall go."""
        return self._events(self._core.cancel(self._id(symbol), _number(order)))

    def amend(
        self,
        symbol: str,
        order: int,
        quantity: float,
        price: float | None = None,
        *,
        display: float | None = None,
        new_order: int | None = None,
    ) -> list[MatchingEvent]:
        """An order shall change to this total quantity, with what has traded already, and this price.

        It keeps its place when the price stays and neither quantity nor displayed size grows; else it comes in anew, as
        `new_order` if that is given.
        """
        number = _number(order)
        answer = self._core.amend(
            self._id(symbol),
            number,
            number if new_order is None else _number(new_order, "new_order"),
            None if price is None else _price(price, "the price"),
            _quantity(quantity, "the quantity"),
            None if display is None else _quantity(display, "display"),
        )
        self._next = max(self._next, (new_order or 0) + 1)
        return self._events(answer)

    def set_phase(self, symbol: str, phase: Phase) -> list[MatchingEvent]:
        """The session goes on: closed, pre_open and auction (orders are collected), continuous, halted."""
        _one_of(phase, Phase, "phase")
        return self._events(self._core.set_phase(self._id(symbol), phase))

    def uncross(self, symbol: str, auction: Auction) -> list[MatchingEvent]:
        """Holds the auction; continuous trading follows, or after "close" the end of the session."""
        _one_of(auction, Auction, "auction")
        return self._events(self._core.uncross(self._id(symbol), auction))

    def indicative(self, symbol: str, auction: Auction) -> Indicative:
        """What the auction would give now."""
        _one_of(auction, Auction, "auction")
        (event,) = self._events(self._core.indicate(self._id(symbol), auction))
        assert isinstance(event, Indicative)
        return event

    def phase(self, symbol: str) -> Phase:
        """The phase of an instrument."""
        found: Phase = self._core.phase(self._id(symbol))  # type: ignore[assignment]
        return found

    def last(self, symbol: str) -> float | None:
        """Price of the last trade or auction."""
        last = self._core.last(self._id(symbol))
        return None if last is None else last / PRICE_SCALE

    def depth(self, symbol: str, side: Side, levels: int = 10) -> list[tuple[float, float, int]]:
        """Displayed levels, best first: price, quantity, orders."""
        _one_of(side, Side, "side")
        rows = self._core.depth(self._id(symbol), side, _number(levels, "levels", least=0))
        return [(price / PRICE_SCALE, quantity / QUANTITY_SCALE, orders) for price, quantity, orders in rows]

    def order(self, order: int) -> WorkingOrder | None:
        """An order, if it works."""
        found = self._core.order(_number(order))
        if found is None:
            return None
        place, instrument, side, price, left, shown, filled = found
        return WorkingOrder(
            order=order,
            symbol=self._symbols[instrument],
            side=side,  # type: ignore[arg-type]
            price=None if price is None else price / PRICE_SCALE,
            open=left / QUANTITY_SCALE,
            shown=shown / QUANTITY_SCALE,
            filled=filled / QUANTITY_SCALE,
            place=place,  # type: ignore[arg-type]
        )

    def queue(self, symbol: str, side: Side, place: Place = "shown") -> list[int]:
        """Numbers of the orders of one place, in the order in which they would be met."""
        _one_of(side, Side, "side")
        _one_of(place, Place, "place")
        return self._core.queue(self._id(symbol), side, place)

    def _id(self, symbol: str) -> int:
        try:
            return self._ids[symbol]
        except (KeyError, TypeError):
            listed = ", ".join(self._symbols[:10])
            raise ArgumentError(f"{symbol!r} is not listed here: there are {listed}") from None

    def _events(self, answer: list[tuple[Any, ...]]) -> list[MatchingEvent]:
        return [self._event(*event) for event in answer]

    def _event(self, kind: str, instrument: int, *values: Any) -> MatchingEvent:
        shape = _EVENTS[kind]
        names = shape.__slots__[1:]
        shown = (_shown(name, value) for name, value in zip(names, values, strict=True))
        event: MatchingEvent = shape(self._symbols[instrument], *shown)
        return event


def _shown(name: str, value: Any) -> Any:
    """A value of the core as Python shows it."""
    if value is None:
        return None
    if name in _PRICES:
        return value / PRICE_SCALE
    return value / QUANTITY_SCALE if name in _QUANTITIES else value


def _price(value: float, what: str) -> int:
    return scaled(value, PRICE_SCALE, what)


def _quantity(value: float, what: str) -> int:
    return scaled(value, QUANTITY_SCALE, what)


def _number(value: int, what: str = "order", below: int = 2**63, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < below:
        raise ArgumentError(f"{what} is {value!r}: it must be a whole number from {least} to below {below}")
    return value


def _one_of(value: str, names: Any, what: str) -> None:
    if value not in get_args(names):
        raise ArgumentError(f"{what} is {value!r}: one of {', '.join(get_args(names))}")
