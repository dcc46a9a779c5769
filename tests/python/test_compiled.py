"""Compiled methods: they do what the same methods in Python do, and their mistakes stop the run."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import helios as hx
import polars as pl
import pytest
from helios._core import CoreError, Session, compiled_layout
from helios.errors import ArgumentError, HeliosError
from helios.research.replay import replay
from test_strategy import KO, NS0, T0, at, quotes, trades, walk

# CI installs numba and must run these; elsewhere it is an extra.
if not os.environ.get("CI"):
    pytest.importorskip("numba")

from helios.signals import wishes
from helios.signals.compiling import CompiledMethod


def twin(name: str, **methods: Any) -> hx.Strategy:
    """A strategy of compiled methods."""
    settings = {key: methods.pop(key) for key in ("memory", "timer", "universe", "__annotations__") if key in methods}
    values = methods.pop("values", {})
    compiled = {key: hx.compiled(method) for key, method in methods.items()}
    return type(name, (hx.Strategy,), {**settings, **values, **compiled})()  # type: ignore[no-any-return]


def test_it_does_what_the_same_in_python_does(tmp_path: Path) -> None:
    class InPython(hx.Strategy):
        name = "cross"
        universe = ("PEP", "KO")
        enter: float = 0.05
        shares: int = 70

        def on_start(self) -> None:
            self.mean = 0.0
            self.n = 0

        def on_book(self, book: Any) -> None:
            spread = self.book("KO").mid - self.book("PEP").mid
            if math.isnan(spread):
                return
            self.n += 1
            self.mean += 0.05 * (spread - self.mean)
            if self.n > 20:
                gap = spread - self.mean
                if gap > self.enter:
                    self.target("KO", -self.shares)
                    self.target("PEP", self.shares)
                elif gap < -self.enter:
                    self.target("KO", self.shares)
                    self.target("PEP", -self.shares)

    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        pep = (books[0].bid + books[0].ask) * 0.5
        ko = (books[1].bid + books[1].ask) * 0.5
        spread = ko - pep
        if math.isnan(spread):
            return
        memory[1] += 1
        memory[0] += 0.05 * (spread - memory[0])
        if memory[1] > 20:
            gap = spread - memory[0]
            if gap > p.enter:
                wishes.target(out, 1, -p.shares)
                wishes.target(out, 0, p.shares)
            elif gap < -p.enter:
                wishes.target(out, 1, p.shares)
                wishes.target(out, 0, -p.shares)

    class Machine(hx.Strategy):
        name = "cross"
        universe = ("PEP", "KO")
        memory = 2
        enter: float = 0.05
        shares: int = 70

    Machine.on_book = hx.compiled(on_book)  # type: ignore[method-assign]
    data = walk()
    limits = hx.Limits(position=100, order_rate=1)
    slow = hx.Backtest(data=data, strategy=InPython(), limits=limits).run(tmp_path / "slow", report=False)
    machine = Machine()
    fast = hx.Backtest(data=data, strategy=machine, limits=limits).run(tmp_path / "fast", report=False)
    assert slow.fills.height > 10
    assert slow.refusals.height > 0
    assert fast.meta["digest"] == slow.meta["digest"]
    assert fast.fills.equals(slow.fills)
    assert fast.refusals.equals(slow.refusals)
    assert machine.recall()[1] == 799.0  # all quotes but the first: then one price is not known

    # Other parameters, the same machine code.
    made = Machine.__dict__["on_book"]._made
    assert len(made) == 1
    other = hx.Backtest(data=data, strategy=Machine(enter=0.01, shares=30), limits=limits).run()
    again = hx.Backtest(data=data, strategy=InPython(enter=0.01, shares=30), limits=limits).run()
    assert other.meta["digest"] == again.meta["digest"] != fast.meta["digest"]
    assert len(made) == 1


def test_a_replay_needs_neither_the_class_nor_numba(tmp_path: Path) -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[0] += 1
        if memory[0] == 1:
            wishes.buy(out, 0, 50.0)
            wishes.sell(out, 0, 20.0, 11.0)

    run = hx.Backtest(data=KO, strategy=twin("Two", on_book=on_book, memory=1)).run(tmp_path / "run", report=False)
    assert run.fills.height == 2
    code = f"""
        import sys
        sys.modules["numba"] = None
        from helios.research.replay import replay
        done = replay({str(tmp_path / "run")!r})
        assert done.identical and done.digest == {run.meta["digest"]!r}
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


def test_every_event_arrives_with_its_values() -> None:
    """Each method writes what it sees into memory; a row of sixteen numbers each."""

    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        row = memory[0:16]
        book = books[event.instrument]
        row[0] += 1
        row[1], row[2] = event.ts - 1767623400 * 10**9, event.instrument
        row[3], row[4], row[5], row[6] = book.bid, book.ask, book.bid_size, book.ask_size
        if row[0] == 1:
            wishes.buy(out, 0, 10.0)

    def on_trade(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        row = memory[16:32]
        row[0] += 1
        row[2], row[3], row[4], row[5] = event.instrument, event.price, event.quantity, event.side
        row[6], row[7] = books[event.instrument].last, books[event.instrument].last_size

    def on_bar(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        row = memory[32:48]
        row[0] += 1
        row[1], row[2], row[3], row[4] = event.open, event.high, event.low, event.close
        row[5], row[6] = event.volume, event.span

    def on_fill(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        row = memory[48:64]
        row[0] += 1
        row[1], row[2], row[3], row[4] = event.price, event.quantity, event.side, event.fee
        row[5], row[6] = books[event.instrument].position, event.order

    def on_timer(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        row = memory[64:80]
        row[0] += 1
        row[1] = event.ts - 1767623400 * 10**9
        row[2] = event.instrument

    bar = {"ts": [T0], "symbol": ["KO"], "open": [10.0], "high": [10.3], "low": [9.9], "close": [10.2], "volume": [7]}
    data = [KO, trades((0.5, "KO", 10, 3, "sell")), hx.bars(pl.DataFrame(bar), span="1m", label="start")]
    methods = {f.__name__: f for f in (on_book, on_trade, on_bar, on_fill, on_timer)}
    all_of = twin("AllOf", **methods, memory=80, timer="20s", universe=("KO",))
    hx.Backtest(data=data, strategy=all_of, venue=hx.Venue(fees=hx.Fees(taker_per_share=0.01))).run()
    seen = [all_of.recall()[i : i + 16] for i in range(0, 80, 16)]
    assert NS0 == 1767623400 * 10**9
    assert seen[0][:7] == [6, 61e9, 0, 10.40, 10.42, 100, 100]
    assert seen[1][:8] == [1, 0, 0, 10, 3, -1, 10, 3]
    assert seen[2][:7] == [1, 10.0, 10.3, 9.9, 10.2, 7, 60e9]
    assert seen[3][:6] == pytest.approx([1, 10.02, 10, 1, 0.1, 10])
    assert seen[4][:3] == [3, 60e9, -1]


def test_orders_cancels_and_replaces() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        step = memory[0]
        memory[0] += 1
        if step == 0:
            memory[1] = wishes.sell(out, 0, 20.0, 12.0)
        elif step == 1:
            wishes.replace(out, 0, memory[1], 25.0, 11.0)
        elif step == 3:
            memory[2] = wishes.buy(out, 0, 5.0, 9.0)
            wishes.buy(out, 0, 1.0, 10.0, True)
        elif step == 4:
            wishes.cancel(out, 0, memory[2])

    run = hx.Backtest(data=KO, strategy=twin("Orders", on_book=on_book, memory=3)).run()
    assert run.orders["state"].to_list() == ["filled", "cancelled", "cancelled"]
    assert run.fills.select("side", "price", "quantity").rows() == [("sell", 11.0, 25.0)]


def test_post_only_orders_are_rejected_rather_than_taking() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        if memory[0] == 0:
            wishes.buy(out, 0, 5.0, 10.02, False, True)
            wishes.sell(out, 0, 5.0, 10.02, False, True)
            wishes.sell(out, 0, 5.0, 10.00, False, True)
        memory[0] += 1

    run = hx.Backtest(data=KO, strategy=twin("Quiet", on_book=on_book, memory=1)).run()
    assert run.orders.select("side", "post_only", "state").rows() == [
        ("buy", True, "rejected"),
        ("sell", True, "filled"),
        ("sell", True, "rejected"),
    ]
    assert run.fills.select("price", "liquidity").rows() == [(10.02, "maker")]


def test_only_the_universe_is_heard_in_its_order_and_only_from_start() -> None:
    both = quotes((0, "KO", 10, 1, 11, 1), (1, "PEP", 20, 1, 21, 1), (2, "XOM", 30, 1, 31, 2), (3, "KO", 10, 1, 12, 1))

    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[event.instrument] += 1
        memory[2] = len(books)
        memory[3] = books[0].bid

    data = [both, trades((0.5, "XOM", 30, 1, None))]
    one = twin("One", on_book=on_book, memory=4, universe=("XOM", "KO"))
    hx.Backtest(data=data, strategy=one).run()
    assert one.recall() == [1, 2, 2, 30]
    hx.Backtest(data=data, strategy=one, start="2026-01-05T14:30:02.5").run()
    assert one.recall() == [0, 1, 2, 30]  # memory is fresh in each run; books are kept current before the start


def test_compiled_and_python_methods_in_one_class() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[0] += 1
        if memory[0] == 2:
            wishes.target(out, 0, 10.0)

    class Mixed(hx.Strategy):
        memory = 1

        def on_start(self) -> None:
            self.heard: list[float] = []

        def on_fill(self, fill: Any) -> None:
            self.heard.append(fill.position)
            self.buy("KO", 1)

    Mixed.on_book = hx.compiled(on_book)  # type: ignore[method-assign]
    mixed = Mixed(name="mixed")
    run = hx.Backtest(data=KO, strategy=mixed, venue=hx.Venue(latency=hx.Latency(order="1s", report="1s"))).run()
    assert mixed.heard[:2] == [10.0, 11.0]
    assert run.strategies["strategy"].to_list() == ["mixed"]
    assert run.refusals.height == 0  # the two number their orders apart


def wrong(event, books, p, memory, out):  # type: ignore[no-untyped-def]
    if p.which == 0:
        memory[event.ts % 7 + 2] = 1
    elif p.which == 1:
        memory[0] = 1 // int(memory[1])
    elif p.which == 2:
        raise ValueError("no")
    elif p.which == 3:
        wishes.target(out, 0, math.nan)
    elif p.which == 4:
        wishes.buy(out, 0, 1.0, 1e12)
    elif p.which == 5:
        wishes.target(out, 5, 1.0)
    elif p.which == 6:
        wishes.target(out, -1, 1.0)
    elif p.which == 7:
        for i in range(9):
            wishes.target(out, 0, i)
    elif p.which == 8:
        out.count = 1
        out.kind[0] = 99
    elif p.which == 9:
        out.count = -1


class Wrong(hx.Strategy):
    which: int
    memory = 2
    on_book = hx.compiled(wrong)


@pytest.mark.parametrize(
    ("which", "says"),
    [
        (0, "ended by an exception"),
        (1, "ended by an exception"),
        (2, "ended by an exception"),
        (3, "quantity NaN is no number"),
        (4, "price 1000000000000 is no number, or too large"),
        (5, "instrument 5 is none of the 1 of its universe"),
        (6, "instrument -1 is none of the 1"),
        (7, "9 wishes in one call, at most 8"),
        (8, "no wish of kind 99"),
        (9, "-1 wishes in one call"),
    ],
)
def test_a_mistake_stops_the_run_and_is_named(which: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(HeliosError) as caught:
        hx.Backtest(data=KO, strategy=Wrong(which=which)).run(tmp_path / "run")
    assert says in str(caught.value)
    assert 'compiled on_book of strategy "wrong"' in str(caught.value)
    assert replay(tmp_path / "run").difference is None


def test_eight_wishes_are_possible() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[0] += 1
        if memory[0] == 1:
            for _ in range(8):
                wishes.buy(out, 0, 1.0, 9.0)

    run = hx.Backtest(data=KO, strategy=twin("Eight", on_book=on_book, memory=1)).run()
    assert run.orders.height == 8


def test_parameters_arrive_whatever_their_kind() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[0], memory[1], memory[2] = p.a, p.n, p.flag

    class Params(hx.Strategy):
        a: float = 1.5
        word: str = "not for machines"
        n: int = -(2**53)
        flag: bool = True
        memory = 3

    Params.on_book = hx.compiled(on_book)  # type: ignore[method-assign]
    one = Params()
    hx.Backtest(data=KO, strategy=one).run()
    assert one.recall() == [1.5, -(2.0**53), 1.0]
    with pytest.raises(ArgumentError, match="64 bits"):
        hx.Backtest(data=KO, strategy=Params(n=2**70)).run()


def test_what_cannot_be_compiled_is_refused() -> None:
    def four(event, books, p, memory): ...  # type: ignore[no-untyped-def]

    def unknown(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[0] = event.nothing

    def five(event, books, p, memory, out): ...  # type: ignore[no-untyped-def]

    with pytest.raises(ArgumentError, match=r"four\(event, books, p, memory\): it takes five"):
        hx.compiled(four)
    with pytest.raises(ArgumentError, match="takes a function"):
        hx.compiled(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"numba cannot compile unknown: .*nothing"):
        hx.Backtest(data=KO, strategy=twin("Bad", on_book=unknown, memory=1)).run()
    with pytest.raises(ArgumentError, match="on_signal cannot be compiled"):
        hx.Backtest(data=KO, strategy=twin("Bad", on_signal=five)).run()
    with pytest.raises(ArgumentError, match="memory is -1"):
        hx.Backtest(data=KO, strategy=twin("Bad", on_book=five, memory=-1)).run()
    with pytest.raises(ArgumentError, match="twice in its universe"):
        hx.Backtest(data=KO, strategy=twin("Bad", on_book=five, universe=("KO", "KO"))).run()
    with pytest.raises(ArgumentError, match="a timer needs both"):
        hx.Backtest(data=KO, strategy=twin("Bad", on_timer=five)).run()


def test_without_numba_the_error_names_the_extra() -> None:
    code = """
        import sys
        sys.modules["numba"] = None
        import helios as hx
        for use in (lambda: hx.compiled(lambda a, b, c, d, e: 0), lambda: __import__("helios.signals.wishes")):
            try:
                use()
            except hx.ArgumentError as error:
                assert "pip install helios[compiled]" in str(error), error
            else:
                raise AssertionError("no error")
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


def test_the_core_checks_what_it_is_given() -> None:
    """The layout is the core's own; parameters are rows of eight bytes, instruments those of the run."""
    sizes = {name: (size, columns) for name, size, columns in compiled_layout()}
    for size, columns in sizes.values():
        assert size == 8 * sum(max(count, 1) for *_, count in columns)
        assert [offset for *_, offset, _ in columns] == sorted(offset for *_, offset, _ in columns)
    plan = hx.research.backtest.Plan.of(hx.Backtest(data=KO, strategy=hx.Strategy()))  # type: ignore[attr-defined]
    session = Session(plan.engine, plan.venue)
    for params, universe in ((b"1234567", [0]), (b"", [0]), (b"12345678", [7])):
        with pytest.raises(CoreError):
            session.compiled(([0], "x", [0] * 5, None, params, 0, 0, universe))


def test_time_of_the_first_call_is_the_compilers_not_the_runs() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[0] += 1

    method = hx.compiled(on_book)
    assert isinstance(method, CompiledMethod)
    first, again = method.make((("a", "f8"),)), method.make((("a", "f8"),))
    assert first is again
    assert method.make((("a", "i8"),)) is not first
    assert at(0) == NS0


def test_the_bench_runs() -> None:
    bench = Path(__file__).resolve().parents[2] / "benches" / "compiled.py"
    done = subprocess.run([sys.executable, bench, "--small"], capture_output=True, text=True, check=True)
    assert done.stdout.count("ns a call") == 6


def test_series_from_outside_are_no_instruments() -> None:
    def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]
        memory[event.instrument] += 1

    data = quotes(*[(s, "KO", 60.0, 900, 60.02, 900) for s in range(20)])
    times = [T0 + timedelta(seconds=s) for s in range(20)]
    scores = hx.external(pl.DataFrame({"ts": times, **{f"score{k}": [0.5] * 20 for k in range(5)}}))
    machine = twin("Alone", on_book=on_book, memory=2, universe=("KO",))
    hx.Backtest(data=[data, scores], strategy=machine).run()
    assert list(machine.recall()) == [20.0, 0.0]
