"""Graphs over columns: an expression's values as a Polars frame, by the evaluator that also runs backtests and live.

    z = (hx.close("KO").log() - hx.close("PEP").log()).zscore(100)
    hx.graph(z=z).over(bars_frame)         # one row an event: ts, symbol, z
    hx.Backtest(hx.bars(bars_frame), hx.graph(z=z).records())

What comes out of `over` is what a backtest would have seen after each event, bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from helios.data import AgentsSource, ColumnSource, ItchSource, bars, quotes, trades
from helios.data.external import ExternalSource, floats, plain_floats, plain_stamps, stamps
from helios.data.tables import find_column, frame_of
from helios.errors import ArgumentError, DataError
from helios.research.feeds import Source, core_source, refuse_unfed, refuse_unknown, series_of
from helios.signals import Expr, Record, record
from helios.signals.explain import explain, svg
from helios.signals.graph import Numbering, near, sources_in, walk

#: Columns that tell what a frame is, in this order.
_SCHEMAS = ((("bid", "ask"), quotes), (("close",), bars), (("price",), trades))


@dataclass(frozen=True)
class Graph:
    """Named expressions, evaluated together: what they share is computed once."""

    outputs: Mapping[str, Expr]

    def __repr__(self) -> str:
        return f"Graph({', '.join(self.outputs)})"

    def _repr_svg_(self) -> str:
        return svg(self.outputs)

    def svg(self) -> str:
        """The graph as a picture."""
        return svg(self.outputs)

    def explain(self) -> str:
        """Every node once, in the order of evaluation: what it is, its unit, and from when on it has a value."""
        return explain(self.outputs)

    def records(self) -> list[Record]:
        """The expressions as signals of a backtest, under their names."""
        return [record(name, expr) for name, expr in self.outputs.items()]

    def over(
        self,
        data: object,
        *,
        symbol: str = "symbol",
        ts: str = "ts",
        every_event: bool | None = None,
        max_orders: int = 1 << 20,
    ) -> pl.DataFrame:
        """The values of all expressions after each event: columns ts, symbol (where there is one), and one a name.

        `data` is a frame (Polars, pandas, Arrow), a source (`bars(…)`, `itch(…)`, `lobster(…)`, `external(…)`) or
        several sources, merged by time. A frame for `series(…)` has a column for each of them, all given at once, and
        the answer has its rows. A frame of market data has the columns of quotes (bid, ask), bars (close, …) or trades
        (price, …), in order of time; without a column `symbol` it is of the one instrument that the expressions read.

        One row an event, where nothing else is said, for frames; for sources of order-level data, and for several
        sources, one row whenever an expression fires, which `every_event` decides otherwise. A null is a value that is
        not there yet. Raises DataError for rows that cannot be used, ArgumentError for what cannot be.
        """
        if isinstance(max_orders, bool) or not isinstance(max_orders, int) or not 0 < max_orders < 2**32:
            raise ArgumentError(f"over: max_orders={max_orders!r} must be a positive whole number")
        roots = list(self.outputs.values())
        wanted = list(sources_in(roots))
        frame = _frame(data)
        if frame is not None and all(expr.series is not None for expr in wanted):
            return self._over_series(frame, ts)
        sources = self._sources(data if frame is None else frame, symbol, ts, wanted)
        known = {name for source in sources for name in source.symbols}
        symbols = sorted({str(expr.symbol) for expr in wanted if expr.symbol is not None})
        refuse_unknown(symbols, known)
        refuse_unfed(wanted, sources)
        if every_event is None:
            every_event = len(sources) == 1 and getattr(sources[0], "schema", "orders") != "orders"
        return self._over_sources(sources, symbols, every_event, max_orders)

    def _over_series(self, frame: pl.DataFrame, ts: str) -> pl.DataFrame:
        names = list(dict.fromkeys(str(expr.series) for expr in sources_in(self.outputs.values())))
        if ts not in frame.columns:
            raise DataError(f"there is no column {ts!r}; there are {', '.join(frame.columns)}", column=ts)
        for name in names:
            if name not in frame.columns:
                raise DataError(f"series({name!r}): there is no such column{near(name, frame.columns)}", column=name)
        numbers = {name: number for number, name in enumerate(names)}
        nodes, outputs, texts = self._compiled({}, numbers)
        # The core looks at every value while it has it at hand; here only what is plain is taken as it is.
        times = plain_stamps(frame[ts])
        times = stamps(frame, ts, "frame") if times is None else times
        plain = [plain_floats(frame[name]) for name in names]
        columns = [
            floats(frame, name, "frame") if column is None else column
            for name, column in zip(names, plain, strict=True)
        ]
        nullable = [column is None for column in plain]
        with _naming(texts):
            values, bad = _core().over_columns(nodes, times, columns, nullable, outputs)
        if bad is not None:
            # These name the row, and what is wrong with it.
            stamps(frame, ts, "frame")
            for name in names:
                floats(frame, name, "frame")
            raise DataError("this row cannot be used", row=bad)
        return pl.DataFrame([frame[ts], *self._columns(values)])

    def _over_sources(
        self, sources: Sequence[Source], symbols: Sequence[str], every_event: bool, max_orders: int
    ) -> pl.DataFrame:
        ids = {name: number for number, name in enumerate(symbols)}
        series, groups = series_of(sources)
        nodes, outputs, texts = self._compiled(ids, series)
        told = [core_source(source, ids, series) for source in sources]
        with _naming(texts):
            stamped, instrument, values, _ = _core().over_events(
                nodes, list(symbols), groups, told, outputs, every_event, max_orders
            )
        moments = pl.Series("ts", np.frombuffer(stamped, dtype="<i8")).cast(pl.Datetime("ns", "UTC"))
        frame = pl.DataFrame([moments, *self._columns(values)])
        if len(symbols) > 1 and not series:
            names = pl.Series("symbol", symbols, dtype=pl.Categorical)
            which = np.frombuffer(instrument, dtype="<u4")
            frame.insert_column(1, names.gather(which).cast(pl.String).alias("symbol"))
        return frame

    def _columns(self, values: Sequence[Any]) -> list[pl.Series]:
        return [pl.Series(column).alias(name) for name, column in zip(self.outputs, values, strict=True)]

    def _compiled(self, ids: Mapping[str, int], series: Mapping[str, int]) -> tuple[list[Any], list[int], list[str]]:
        numbering = Numbering(ids, series)
        outputs = [numbering.number_of(expr) for expr in self.outputs.values()]
        for expr in self.outputs.values():
            read = {x.op.partition(":")[0] for x in walk([expr])}
            if read & {"session", "local_time"} and not read & {"source", "series"}:
                raise ArgumentError(
                    f"{expr!r}: it depends on the time alone, and time makes nothing happen: look at it "
                    ".when(something fires)"
                )
        return numbering.nodes, outputs, numbering.texts

    def _sources(self, data: object, symbol: str, ts: str, wanted: Sequence[Expr]) -> list[Source]:
        if isinstance(data, ItchSource | ColumnSource | AgentsSource):
            return [data]
        if isinstance(data, Sequence) and not isinstance(data, str):
            parts = list(data)
            if not parts or not all(isinstance(part, ItchSource | ColumnSource | AgentsSource) for part in parts):
                raise ArgumentError("over: give a frame, a source, or a list of sources like bars(…) and external(…)")
            return parts
        if not isinstance(data, pl.DataFrame):
            raise ArgumentError(f"over: {type(data).__name__} is no frame and no source")
        if any(expr.series is not None for expr in wanted):
            raise ArgumentError(
                "over: these expressions read the market and series beside it: give sources, like "
                "[bars(frame), external(scores)]"
            )
        readers = [read for columns, read in _SCHEMAS if all(column in data.columns for column in columns)]
        if not readers:
            raise DataError(f"these columns are neither quotes, bars nor trades: {', '.join(data.columns)}")
        read = readers[0]
        if read is bars:
            # A graph does not look at a bar's length, which a frame of one bar does not tell.
            read = functools.partial(bars, span="1s")
        # As `bars` finds it, a column "ticker" too: rows of several symbols must not be taken for those of one.
        if find_column(symbol, "symbol", data.columns) is not None:
            return [read(data, symbol=symbol, ts=ts)]
        only = {str(expr.symbol) for expr in wanted}
        if len(only) != 1:
            raise DataError(f"there is no column {symbol!r}, and the expressions read {', '.join(sorted(only))}")
        if readers[0] is bars and ts in data.columns and data[ts].is_duplicated().any():
            row = int(data[ts].is_duplicated().arg_max() or 0)
            hint = f"If they are of several instruments, name the column: symbol=…; else keep one: unique([{ts!r}])."
            raise DataError(f"two bars end at {data[ts][row]}", source="frame", row=row, column=ts, hint=hint)
        return [read(data, symbol=None, symbol_is=only.pop(), ts=ts)]


def graph(outputs: Mapping[str, Expr] | Expr | None = None, /, **named: Expr) -> Graph:
    """Expressions under names: `graph(z=z, mean=m)`, `graph({"KO/PEP": z})`, or one alone, which is called "value"."""
    if not isinstance(outputs, Expr | Mapping | None):
        raise ArgumentError(f"graph: {outputs!r} is neither an expression nor a mapping of names to expressions")
    given: dict[str, Any] = {"value": outputs} if isinstance(outputs, Expr) else dict(outputs or {})
    twice = given.keys() & named.keys()
    if twice:
        raise ArgumentError(f"graph: {', '.join(sorted(twice))} is named twice")
    given |= named
    if not given:
        raise ArgumentError("graph: name at least one expression, like graph(z=mid('KO').zscore('10m'))")
    for name, expr in given.items():
        if not isinstance(expr, Expr):
            raise ArgumentError(f"graph: {name} is {expr!r}, which is no expression")
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"graph: {name!r} is no name for {expr!r}, a name is a text")
        if name in ("ts", "symbol"):
            raise ArgumentError(f"graph: {name!r} is the name of a column that every answer has; choose another")
    return Graph(given)


def _frame(data: object) -> pl.DataFrame | None:
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, ExternalSource):
        return None
    if type(data).__module__.partition(".")[0] == "pandas" or hasattr(data, "__arrow_c_stream__"):
        return frame_of(data)[1]
    return None


def _core() -> Any:
    from helios import _core as core

    return core


def _naming(texts: Sequence[str]) -> Any:
    from helios.research.backtest import core_errors

    return core_errors(texts)
