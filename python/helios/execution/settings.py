"""Settings of execution and of the simulated venue. What each model assumes stands in docs/models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from helios.errors import ArgumentError
from helios.execution.account import Borrow, FeeTier, Financing, rows_of
from helios.execution.impact import Impact, ImpactSpec
from helios.execution.latency import Latency, length_ns
from helios.scales import CASH_SCALE, PRICE_SCALE, QUANTITY_SCALE, scaled

PPM_PER_BP = 100

#: How a queue position is estimated; see docs/models/depth.md.
_QUEUES = ("pessimistic", "optimistic", "proportional", "log")


@dataclass(frozen=True, kw_only=True)
class Fees:
    """What a fill costs: per share (money) and in basis points of the notional; negative is a rebate.

    `tiers` are other rates from a volume of ours on, counted in shares or in money (`volume`) over the last so many
    trading days, today's included ("30d"), or the calendar month. A sale costs `sell_bp` and `sell_per_share` more, the
    latter up to `sell_cap` per fill, as regulators of shares ask.
    """

    maker_per_share: float = 0.0
    taker_per_share: float = 0.0
    maker_bp: float = 0.0
    taker_bp: float = 0.0
    minimum_per_order: float = 0.0
    tiers: Sequence[FeeTier] = ()
    volume: Literal["shares", "notional"] = "shares"
    window: str = "30d"
    sell_bp: float = 0.0
    sell_per_share: float = 0.0
    sell_cap: float | None = None


def fees_spec(fees: Fees) -> dict[str, int]:
    """As the core takes them."""
    per_share = {
        name: scaled(getattr(fees, name), CASH_SCALE, f"fees.{name}") for name in ("maker_per_share", "taker_per_share")
    }
    ppm = {
        f"{side}_ppm": scaled(getattr(fees, f"{side}_bp"), PPM_PER_BP, f"fees.{side}_bp") for side in ("maker", "taker")
    }
    minimum = scaled(fees.minimum_per_order, CASH_SCALE, "fees.minimum_per_order", least=0)
    return {**per_share, **ppm, "minimum_per_order": minimum}


@dataclass(frozen=True, kw_only=True)
class HalfSpread:
    """Half of the spread that bars do not show: in basis points of the open, or a fixed amount of money."""

    bp: float = 1.0
    fixed: float = 0.0


@runtime_checkable
class Hours(Protocol):
    """Sessions: moments (ns since 1970 UTC) of opens and closes by turns. `hx.session(…)` makes them."""

    @property
    def hours(self) -> tuple[int, ...]:
        """Open, close, open, close, …"""


SelfTrade = Literal["cancel_newest", "cancel_oldest", "cancel_both", "decrement"]
_SELF_TRADE = get_args(SelfTrade)


@dataclass(frozen=True, kw_only=True)
class Venue:
    """The simulated exchange of a backtest."""

    latency: Latency = field(default_factory=Latency)
    fees: Fees = field(default_factory=Fees)
    half_spread: HalfSpread = field(default_factory=HalfSpread)
    borrow: Borrow = field(default_factory=Borrow)
    financing: Financing = field(default_factory=Financing)
    #: Length of time after 00:00 UTC at which a trading day begins and day orders have expired, like "5h".
    day_begins: str | timedelta | None = None
    #: Hours of trading, `hx.session("XNYS")`: outside them orders are rejected and nothing of ours trades, what rests
    #: expires at a close, and a cross at or after a close is a closing auction. None: always open. Bars look at the
    #: closes only.
    session: Hours | None = None
    #: What becomes of our order that meets another of ours; they never trade. "decrement": the smaller is cancelled,
    #: the larger made smaller by as much.
    self_trade: SelfTrade = "cancel_newest"
    #: Largest part of an auction's quantity that our orders in it get, 0 to 1.
    auction_share: float = 0.1
    #: How far from the last trade a limit may be, as a fraction of it; beyond it an order is rejected.
    price_band: float | None = None
    #: "exact": the venue keeps history's orders or price levels and our place among them. "fast": it fills against the
    #: best prices that the engine sees; `helios backtest --compare` tells what that costs.
    mode: Literal["exact", "fast"] = "exact"
    #: Where data has price levels only: how much of what others cancel stood behind our order. "pessimistic": all that
    #: can; "optimistic": none while something is before us; "proportional"; "log"; a number n: as x to the power of n.
    queue: Literal["pessimistic", "optimistic", "proportional", "log"] | float = "pessimistic"

    #: How our own trades move prices: one Impact for all instruments, or one for each of those named; None: not at all.
    #: With mode "exact" only.
    impact: Impact | Mapping[str, Impact] | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("exact", "fast"):
            raise ArgumentError(f"Venue: mode is {self.mode!r}: it must be 'exact' or 'fast'")
        if self.self_trade not in _SELF_TRADE:
            raise ArgumentError(f"Venue: self_trade is {self.self_trade!r}: it must be one of {', '.join(_SELF_TRADE)}")
        if self.session is not None and not isinstance(self.session, Hours):
            raise ArgumentError(f"Venue: session is {self.session!r}: give hx.session('XNYS') or hx.session(hours=…)")
        if scaled(self.auction_share, 10**6, "Venue: auction_share", least=0) > 10**6:
            raise ArgumentError(f"Venue: auction_share is {self.auction_share!r}: it must be from 0 to 1")
        if self.price_band is not None and scaled(self.price_band, 10**6, "Venue: price_band", least=0, bits=32) == 0:
            raise ArgumentError(f"Venue: price_band is {self.price_band!r}: it must be a fraction like 0.05, or None")
        given = self.impact.values() if isinstance(self.impact, Mapping) else [self.impact]
        if not all(one is None or isinstance(one, Impact) for one in given):
            raise ArgumentError(f"Venue: impact is {self.impact!r}: give hx.Impact(…), or one for each symbol")
        if self.impact and self.mode == "fast":
            raise ArgumentError("Venue: mode 'fast' has no books that impact could move: leave impact out")
        kinds = (Latency, Fees, HalfSpread, Borrow, Financing)
        for name, kind in zip(("latency", "fees", "half_spread", "borrow", "financing"), kinds, strict=True):
            if not isinstance(given := getattr(self, name), kind):
                raise ArgumentError(f"Venue: {name} is {given!r}: give hx.{kind.__name__}(…)")

    def spec(self, ids: Mapping[str, int] | None = None) -> dict[str, Any]:
        """As the core takes it; `ids` are the numbers of the run's symbols."""
        half = self.half_spread
        return {
            **self.latency.spec(),
            "impacts": self._impacts(),
            "fees": fees_spec(self.fees),
            "half_spread_fixed": scaled(half.fixed, PRICE_SCALE, "half_spread.fixed", least=0),
            "half_spread_ppm": scaled(half.bp, PPM_PER_BP, "half_spread.bp", least=0, bits=32),
            "day_begins_ns": length_ns(self.day_begins, "day_begins"),
            "account": self._account(ids or {}),
            "hours": [] if self.session is None else list(self.session.hours),
            "self_trade": self.self_trade,
            "auction_share_ppm": scaled(self.auction_share, 10**6, "auction_share"),
            "price_band_ppm": None if self.price_band is None else scaled(self.price_band, 10**6, "price_band"),
            "queue": self._queue(),
            "fast": self.mode == "fast",
        }

    def _account(self, ids: Mapping[str, int]) -> dict[str, Any]:
        """What depends on volume, side and time held."""
        borrow, begins = self.borrow, length_ns(self.day_begins, "day_begins")
        return {
            **_tariff(self.fees),
            "borrow": rows_of(borrow.rate, "borrow.rate", begins),
            # A rate of a symbol that the run does not trade is no error: lists of rates are long.
            "borrow_of": [
                (ids[symbol], rows_of(rate, f"borrow.rates[{symbol!r}]", begins))
                for symbol, rate in sorted(borrow.rates.items())
                if symbol in ids
            ],
            "debit": rows_of(self.financing.debit, "financing.debit", begins),
            "credit": rows_of(self.financing.credit, "financing.credit", begins),
            "not_shortable": sorted(ids[symbol] for symbol in borrow.not_shortable if symbol in ids),
            "days_per_year": borrow.days_per_year,
        }

    def _impacts(self) -> list[ImpactSpec]:
        if isinstance(self.impact, Mapping):
            return [impact.spec(symbol) for symbol, impact in self.impact.items()]
        return [] if self.impact is None else [self.impact.spec()]

    def _queue(self) -> tuple[str, int]:
        """Name and, for a power, the exponent in thousandths."""
        if isinstance(self.queue, str):
            if self.queue not in _QUEUES:
                raise ArgumentError(f"queue is {self.queue!r}: it must be a number or one of {', '.join(_QUEUES)}")
            return self.queue, 0
        exponent = scaled(self.queue, 1_000, "queue", least=0.001, bits=32)
        return "power", exponent


#: Billionths in a basis point.
_PPB_PER_BP = 100_000
_WINDOW = re.compile(r"([1-9]\d{0,3})d")


def _tariff(fees: Fees) -> dict[str, Any]:
    """Tiers and what sales cost, as the core takes them."""
    if fees.volume not in ("shares", "notional"):
        raise ArgumentError(f"fees.volume is {fees.volume!r}: 'shares' or 'notional'")
    days = _WINDOW.fullmatch(fees.window) if isinstance(fees.window, str) else None
    if days is None and fees.window != "month":
        raise ArgumentError(f"fees.window is {fees.window!r}: a number of days like '30d', or 'month'")
    scale = QUANTITY_SCALE if fees.volume == "shares" else CASH_SCALE
    tiers = []
    for at, tier in enumerate(fees.tiers):
        if not isinstance(tier, FeeTier):
            raise ArgumentError(f"fees.tiers[{at}] is {tier!r}: give hx.FeeTier(…)")
        what = f"fees.tiers[{at}]"
        tiers.append(
            (
                scaled(tier.volume, scale, f"{what}.volume", least=0),
                *(scaled(getattr(tier, f"{s}_per_share"), CASH_SCALE, f"{what}.{s}_per_share") for s in _SIDES),
                *(scaled(getattr(tier, f"{s}_bp"), PPM_PER_BP, f"{what}.{s}_bp") for s in _SIDES),
            )
        )
    if any(a[0] >= b[0] for a, b in pairwise(tiers)):
        raise ArgumentError("fees.tiers: each tier begins at a higher volume than the one before")
    sale = (
        scaled(fees.sell_bp, _PPB_PER_BP, "fees.sell_bp", least=0),
        scaled(fees.sell_per_share, CASH_SCALE, "fees.sell_per_share", least=0),
        0 if fees.sell_cap is None else scaled(fees.sell_cap, CASH_SCALE, "fees.sell_cap", least=1 / CASH_SCALE),
    )
    return {
        "tiers": tiers,
        "volume_is_notional": fees.volume == "notional",
        "window_days": int(days[1]) if days else 0,
        "sale": sale,
    }


_SIDES = ("maker", "taker")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a netted wish becomes an order.

    "touch": an immediate-or-cancel limit order `ticks` through the best opposite price; what is left is tried again at
    the next event. "market": a market order, the venue decides the price. "auto": market for bars, touch otherwise.
    """

    style: Literal["auto", "touch", "market"] = "auto"
    ticks: int = 0

    def __post_init__(self) -> None:
        if self.style not in ("auto", "touch", "market"):
            raise ArgumentError(f"execution style is {self.style!r}: it must be 'auto', 'touch' or 'market'")
        if not isinstance(self.ticks, int) or not 0 <= self.ticks < 2**16:
            raise ArgumentError(f"execution ticks is {self.ticks!r}: it must be 0 to 65535")
