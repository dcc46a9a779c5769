"""What a row of each schema must be like, and its numbers at our scales.

Each `admit_…` function takes a block with canonical column names and returns the integer columns and, beside them, the
rows that cannot be used and why. Absent: time, order, symbols; `frames` looks after those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from helios.data.columns import Integers, Mask, aggressors, codes, fixed_point
from helios.data.source import UNDEFINED_PRICE
from helios.scales import QUANTITY_SCALE


class Fault(NamedTuple):
    """Rows that cannot be used, why, and the column to show."""

    reason: str
    column: str
    rows: Mask


def _numbers(block: pl.DataFrame, fields: Mapping[str, int]) -> tuple[dict[str, Integers], list[Fault]]:
    values: dict[str, Integers] = {}
    faults: list[Fault] = []
    for name, factor in fields.items():
        values[name], missing, unfit = fixed_point(block[name], factor)
        faults.append(Fault("missing or not a number", name, missing))
        faults.append(Fault("too large for 64 bits: wrong unit?", name, unfit))
    return values, faults


def admit_bars(block: pl.DataFrame, price_factor: int) -> tuple[dict[str, Integers], list[Fault]]:
    """Integer columns of a block of bars, and what is wrong with which rows."""
    prices = ("open", "high", "low", "close")
    v, faults = _numbers(block, dict.fromkeys(prices, price_factor) | {"volume": QUANTITY_SCALE})
    faults += [Fault("price is not positive", name, v[name] <= 0) for name in prices]
    faults.append(Fault("volume is negative", "volume", v["volume"] < 0))
    faults.append(Fault("high is below low", "high", v["high"] < v["low"]))
    for name in ("open", "close"):
        faults.append(Fault(f"{name} is outside low .. high", name, (v[name] < v["low"]) | (v[name] > v["high"])))
    return v, faults


def admit_quotes(block: pl.DataFrame, price_factor: int) -> tuple[dict[str, Integers], list[Fault]]:
    """Integer columns of a block of quotes, and what is wrong with which rows."""
    v: dict[str, Integers] = {}
    faults: list[Fault] = []
    for side in ("bid", "ask"):
        price, no_price, unfit = fixed_point(block[side], price_factor)
        size, no_size, size_unfit = fixed_point(block[f"{side}_size"], QUANTITY_SCALE)
        empty = (no_price | (price == 0)) & (no_size | (size == 0)) & ~unfit & ~size_unfit
        faults += [
            Fault("too large for 64 bits: wrong unit?", side, unfit),
            Fault("too large for 64 bits: wrong unit?", f"{side}_size", size_unfit),
            Fault("missing or not a number, but its size is not zero", side, no_price & ~empty),
            Fault("missing or not a number, but its price is not", f"{side}_size", no_size & ~empty),
            Fault("price is not positive", side, (price <= 0) & ~empty),
            Fault("size is not positive", f"{side}_size", (size <= 0) & ~empty),
        ]
        v[side], v[f"{side}_size"] = np.where(empty, UNDEFINED_PRICE, price), np.where(empty, 0, size)
    both = (v["bid"] != UNDEFINED_PRICE) & (v["ask"] != UNDEFINED_PRICE)
    faults.append(Fault("bid is above ask", "bid", both & (v["bid"] > v["ask"])))
    return v, faults


def admit_trades(block: pl.DataFrame, price_factor: int) -> tuple[dict[str, Integers], list[Fault]]:
    """Integer columns of a block of trades, and what is wrong with which rows."""
    v, faults = _numbers(block, {"price": price_factor, "size": QUANTITY_SCALE})
    faults.append(Fault("price is not positive", "price", v["price"] <= 0))
    faults.append(Fault("size is not positive", "size", v["size"] <= 0))
    if "aggressor" in block.columns:
        v["aggressor"], unknown = aggressors(block["aggressor"])
        faults.append(Fault("is neither buy, sell nor none", "aggressor", unknown))
    else:
        v["aggressor"] = np.zeros(block.height, dtype=np.int64)
    return v, faults


_DEPTH_KINDS = {"level": 0, "depth": 0, "clear": 1, "trade": 2}
_DEPTH_KINDS |= {str(kind): kind for kind in range(3)}


def admit_depth(block: pl.DataFrame, price_factor: int) -> tuple[dict[str, Integers], list[Fault]]:
    """Integer columns of a block of changes of price levels, and what is wrong with which rows."""
    faults: list[Fault] = []
    kind = np.zeros(block.height, dtype=np.int64)
    if "kind" in block.columns:
        kind, unknown = codes(block["kind"], _DEPTH_KINDS)
        faults.append(Fault("is neither level, clear nor trade", "kind", unknown))
    clear, trade = kind == 1, kind == 2
    aggressor, no_side = aggressors(block["side"])
    faults.append(Fault("is neither buy, bid, sell nor ask", "side", ~clear & (no_side | (~trade & (aggressor == 0)))))
    v: dict[str, Integers] = {"kind": kind, "side": aggressor - 1}
    for name, factor in {"price": price_factor, "size": QUANTITY_SCALE}.items():
        number, missing, unfit = fixed_point(block[name], factor)
        v[name] = np.where(clear, 0, number)
        faults.append(Fault("missing or not a number", name, missing & ~clear))
        faults.append(Fault("too large for 64 bits: wrong unit?", name, unfit & ~clear))
    faults.append(Fault("price is not positive", "price", ~clear & (v["price"] <= 0)))
    faults.append(Fault("size is negative", "size", v["size"] < 0))
    faults.append(Fault("size is not positive", "size", trade & (v["size"] == 0)))
    return v, faults


ADMIT = {"bars": admit_bars, "quotes": admit_quotes, "trades": admit_trades, "depth": admit_depth}
