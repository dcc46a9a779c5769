"""Helios: Python says what to trade, a Rust core carries the path from market data to order.

    import helios as hx

    spread = hx.mid("KO").log() - 0.9 * hx.mid("PEP").log()
    side = spread.zscore("10m").hysteresis(enter=2.0, exit=0.5)
    run = hx.Backtest(
        data=hx.itch("day.itch"),
        strategy=[hx.target("KO", -side, notional=10_000), hx.target("PEP", side, notional=10_000)],
        limits=hx.Limits(order_notional=50_000, daily_loss=5_000),
    )
    print(run.run())

Names are loaded when they are first used, so that `import helios` costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helios.config import run_file
    from helios.data import Universe, at, bars, depth, external, lobster, quotes, trades
    from helios.data.itch import itch
    from helios.errors import ArgumentError, ConfigError, DataError, HeliosError, ReplayMismatch, RunError
    from helios.execution import (
        Arrivals,
        DarkPool,
        Execution,
        Fees,
        Gamma,
        HalfSpread,
        Impact,
        Latency,
        LogNormal,
        Measured,
        Venue,
    )
    from helios.execution.matching import Bands, MatchingEngine
    from helios.research.backtest import Backtest, Instrument
    from helios.research.compare import Comparison, compare
    from helios.research.describe import describe
    from helios.research.executors import Processes, Serial
    from helios.research.graph import Graph, graph
    from helios.research.impact import calibrate_impact
    from helios.research.results import Results
    from helios.research.sweep import Sweep, sweep
    from helios.research.tearsheet import tearsheet
    from helios.risk import Limits
    from helios.signals import (
        CappedKelly,
        Expr,
        FixedNotional,
        FixedQuantity,
        Pattern,
        Quote,
        Record,
        Session,
        Strategy,
        Target,
        VolatilityTarget,
        ask,
        ask_depth,
        ask_size,
        atr,
        bid,
        bid_depth,
        bid_size,
        bollinger,
        close,
        compiled,
        constant,
        cross,
        flow,
        high,
        imbalance,
        kalman,
        last,
        last_size,
        low,
        macd,
        maximum,
        microprice,
        mid,
        minimum,
        occurrences,
        open_,
        order_flow_imbalance,
        pair,
        partition,
        pattern,
        quote,
        realised_volatility,
        record,
        resample,
        rsi,
        series,
        session,
        target,
        time_of_day,
        together,
        twap,
        volume,
        vwap,
        weekday,
        where,
    )

_HOMES = {
    "helios.config": ("run_file",),
    "helios.data": ("Universe", "at", "bars", "depth", "external", "lobster", "quotes", "trades"),
    "helios.data.itch": ("itch",),
    "helios.errors": ("ArgumentError", "ConfigError", "DataError", "HeliosError", "ReplayMismatch", "RunError"),
    "helios.execution": (
        "Arrivals",
        "DarkPool",
        "Execution",
        "Fees",
        "Gamma",
        "HalfSpread",
        "Impact",
        "Latency",
        "LogNormal",
        "Measured",
        "Venue",
    ),
    "helios.execution.matching": ("Bands", "MatchingEngine"),
    "helios.research.backtest": ("Backtest", "Instrument"),
    "helios.research.compare": ("Comparison", "compare"),
    "helios.research.describe": ("describe",),
    "helios.research.executors": ("Processes", "Serial"),
    "helios.research.graph": ("Graph", "graph"),
    "helios.research.impact": ("calibrate_impact",),
    "helios.research.results": ("Results",),
    "helios.research.sweep": ("Sweep", "sweep"),
    "helios.research.tearsheet": ("tearsheet",),
    "helios.risk": ("Limits",),
    "helios.signals": (
        "CappedKelly",
        "Expr",
        "FixedNotional",
        "FixedQuantity",
        "Pattern",
        "Quote",
        "Record",
        "Session",
        "Strategy",
        "Target",
        "VolatilityTarget",
        "ask",
        "ask_depth",
        "ask_size",
        "atr",
        "bid",
        "bid_depth",
        "bid_size",
        "bollinger",
        "close",
        "compiled",
        "constant",
        "cross",
        "flow",
        "high",
        "imbalance",
        "kalman",
        "last",
        "last_size",
        "low",
        "macd",
        "maximum",
        "microprice",
        "mid",
        "minimum",
        "occurrences",
        "open_",
        "order_flow_imbalance",
        "pair",
        "partition",
        "pattern",
        "quote",
        "realised_volatility",
        "record",
        "resample",
        "rsi",
        "series",
        "session",
        "target",
        "time_of_day",
        "together",
        "twap",
        "volume",
        "vwap",
        "weekday",
        "where",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ArgumentError",
    "Arrivals",
    "Backtest",
    "Bands",
    "CappedKelly",
    "Comparison",
    "ConfigError",
    "DarkPool",
    "DataError",
    "Execution",
    "Expr",
    "Fees",
    "FixedNotional",
    "FixedQuantity",
    "Gamma",
    "Graph",
    "HalfSpread",
    "HeliosError",
    "Impact",
    "Instrument",
    "Latency",
    "Limits",
    "LogNormal",
    "MatchingEngine",
    "Measured",
    "Pattern",
    "Processes",
    "Quote",
    "Record",
    "ReplayMismatch",
    "Results",
    "RunError",
    "Serial",
    "Session",
    "Strategy",
    "Sweep",
    "Target",
    "Universe",
    "Venue",
    "VolatilityTarget",
    "ask",
    "ask_depth",
    "ask_size",
    "at",
    "atr",
    "bars",
    "bid",
    "bid_depth",
    "bid_size",
    "bollinger",
    "calibrate_impact",
    "close",
    "compare",
    "compiled",
    "constant",
    "cross",
    "depth",
    "describe",
    "external",
    "flow",
    "graph",
    "high",
    "imbalance",
    "itch",
    "kalman",
    "last",
    "last_size",
    "lobster",
    "low",
    "macd",
    "maximum",
    "microprice",
    "mid",
    "minimum",
    "occurrences",
    "open_",
    "order_flow_imbalance",
    "pair",
    "partition",
    "pattern",
    "quote",
    "quotes",
    "realised_volatility",
    "record",
    "resample",
    "rsi",
    "run_file",
    "series",
    "session",
    "sweep",
    "target",
    "tearsheet",
    "time_of_day",
    "together",
    "trades",
    "twap",
    "volume",
    "vwap",
    "weekday",
    "where",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("helios")
    if name not in _HOME:
        raise AttributeError(f"module 'helios' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
