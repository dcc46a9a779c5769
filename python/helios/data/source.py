"""What a data source is: batches of integer columns in time order.

A `Batch` maps column names to C-contiguous NumPy arrays of one length. Every batch has `ts` (int64, nanoseconds since
the Unix epoch, UTC, never going back over the whole stream; equal times keep the order of the source) and `instrument`
(uint32, a dense number that the caller chose). All other columns are int64:

| schema | columns |
|---|---|
| bars   | `open` `high` `low` `close` (1e-9), `volume` (1e-8), `span` (ns); `ts` is the END of the bar |
| quotes | `bid` `ask` (1e-9; `UNDEFINED_PRICE` on an empty side), `bid_size` `ask_size` (1e-8) |
| trades | `price` (1e-9), `size` (1e-8), `aggressor` (0 none, 1 buy, 2 sell) |
| series | `value` (the bits of a float64, NaN for null); `instrument` is the number of the series |
| depth  | `kind` `side` (0 buy, 1 sell, -1 none) `price` (1e-9) `size` (1e-8) |
| actions | `kind` (0 split, 1 dividend), `a` (new shares; cash per share, 1e-9), `b` (for so many old ones; 0) |
| orders | `kind` `order` `new_order` `side` (0 buy, 1 sell, -1 none) `price` (1e-9) `size` (1e-8) |

Any of them may have `ts_recv` (ns) beside `ts`: when the row reached whoever recorded it. Kinds of depth events: 0 a
level's new total (zero: it is gone), 1 clear, 2 trade (`side` is the aggressor's). Kinds of order events: 0 add, 1
execute, 2 reduce, 3 delete, 4 replace, 5 trade against a hidden order (`side` is the aggressor's), 6 cross, 7 halted, 8
trading, 9 clear, 10 trade against displayed orders that the feed does not name (`side` is the aggressor's; the orders
in front lose that much, first in first out), 11 execute at another price than the order's (`price`), 12 the same but
not counted as volume, 13 paused for volatility, 14 quotes only. Absent: floats, strings, nulls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from helios.errors import ArgumentError

Batch = dict[str, npt.NDArray[Any]]
Schema = Literal["bars", "quotes", "trades", "depth", "orders", "series", "actions"]

UNDEFINED_PRICE = 2**63 - 1
BATCH_ROWS = 262_144


@dataclass(frozen=True)
class Skipped:
    """Rows left out for one reason: how many, and where the first of them stands."""

    count: int
    source: str
    first_row: int


class ColumnSource(ABC):
    """A stream of market data of one schema. It can be read any number of times."""

    #: Which columns the batches have.
    schema: Schema
    #: What the latest reading left out, by reason; empty unless `on_error="skip"`.
    skipped: dict[str, Skipped]

    @property
    @abstractmethod
    def symbols(self) -> list[str]:
        """All symbols, sorted. May read the source once; the answer is kept."""

    @property
    def stamped(self) -> bool:
        """Whether its batches have receive stamps, `ts_recv`."""
        return False

    @property
    @abstractmethod
    def rows(self) -> int | None:
        """Number of rows in the source, or None where only reading it would tell."""

    @abstractmethod
    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """Batches of at most `size` rows. Symbols that are not in `ids` are left out, unchecked and uncounted.

        Raises DataError at the first row that cannot be used; what was good before it has been yielded by then.
        """


def check_request(ids: Mapping[str, int], size: int) -> None:
    """Refuses ids that are not uint32 and sizes that are not positive."""
    if size < 1:
        raise ArgumentError(f"size={size}: a batch has at least one row")
    for symbol, number in ids.items():
        if not 0 <= number < 2**32:
            raise ArgumentError(f"ids[{symbol!r}] = {number}: an instrument number is in 0 .. 2**32 - 1")
