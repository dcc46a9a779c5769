"""Compiled methods: Numba makes machine code of them, the core calls it through a pointer. Needs `helios[compiled]`.

    from helios.signals import wishes

    class Cross(hx.Strategy):
        universe = ("KO", "PEP")
        ratio: float = 0.4                   # numbers among the parameters are p.ratio; other values do not change code
        memory = 1                           # how many float64 the methods keep, zero at first

        @staticmethod
        @hx.compiled
        def on_book(event, books, p, memory, out):
            spread = books[0].bid - p.ratio * books[1].ask
            if spread > memory[0]:
                wishes.target(out, 0, 100.0)
            memory[0] = 0.99 * memory[0] + 0.01 * spread

`on_book on_trade on_bar on_fill on_timer` can be compiled; methods in Python may stand beside them in the same class.
event: ts (ns), instrument (place in the universe; -1 for a timer) and what belongs to it: of a trade price quantity
side, of a bar open high low close volume span, of a fill price quantity side order fee realised. books: one row an
instrument of the universe, with bid ask bid_size ask_size last last_size position, NaN while not known. Wishes are
inputs in the journal: a replay needs neither the class nor Numba. An index out of bounds, a division by zero or an
exception stops the run. Absent: texts, access to `self`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from helios.errors import ArgumentError

#: Methods that can be compiled, in the core's order.
COMPILABLE: Final = ("on_book", "on_trade", "on_bar", "on_fill", "on_timer")


class CompiledMethod:
    """A method that is to be compiled; once for each layout of parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self._made: dict[tuple[tuple[str, str], ...], Any] = {}

    def make(self, fields: tuple[tuple[str, str], ...]) -> Any:
        """Numba's object with the machine code; its `address` is the pointer."""
        made = self._made.get(fields)
        if made is None:
            made = self._made[fields] = _compile(self.function, fields)
        return made


def compiled(function: Callable[..., Any]) -> Any:
    """Marks a method of a Strategy to be compiled: `def on_book(event, books, p, memory, out)`, without `self`."""
    import inspect

    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        raise ArgumentError(f"compiled takes a function, not {function!r}")
    names = list(inspect.signature(function).parameters)
    if len(names) != 5:
        raise ArgumentError(
            f"compiled {function.__name__}({', '.join(names)}): it takes five arguments: event, books, p, memory, out"
        )
    numba_or_refuse()
    return CompiledMethod(function)


def numba_or_refuse() -> Any:
    """Numba, or an error that says what to install."""
    try:
        import numba
    except ImportError:
        raise ArgumentError("compiled methods need numba: pip install helios[compiled]") from None
    return numba


def fields_and_bytes(params: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """The numbers among the parameters as a record of eight-byte numbers: its fields, and its content."""
    import numpy as np

    numbers = {name: value for name, value in params.items() if isinstance(value, bool | int | float)}
    fields = tuple((name, "f8" if isinstance(value, float) else "i8") for name, value in numbers.items())
    fields = fields or (("none_", "i8"),)
    try:
        return fields, np.array([tuple(numbers.values()) or (0,)], dtype=list(fields)).tobytes()
    except OverflowError:
        raise ArgumentError(f"compiled methods take whole numbers of 64 bits: {numbers}") from None


def _compile(function: Callable[..., Any], fields: tuple[tuple[str, str], ...]) -> Any:
    """A C function around the user's: pointers to records and arrays, exceptions to a flag."""
    import numpy as np

    from helios._core import compiled_layout

    numba = numba_or_refuse()
    carray, types = numba.carray, numba.types
    layout = {name: _dtype(size, columns) for name, size, columns in compiled_layout()}
    inner = numba.njit(boundscheck=True)(function)
    event, books, wishes = (types.CPointer(numba.from_dtype(layout[name])) for name in ("event", "book", "wishes"))
    params = types.CPointer(numba.from_dtype(np.dtype(list(fields))))
    signature = types.void(event, books, types.int64, params, types.CPointer(types.float64), types.int64, wishes)

    def entry(event, books, instruments, params, memory, length, out):  # type: ignore[no-untyped-def]
        wishes = carray(out, 1)[0]
        try:
            inner(
                carray(event, 1)[0],
                carray(books, instruments),
                carray(params, 1)[0],
                carray(memory, length),
                wishes,
            )
        except Exception:
            wishes.failed = 1

    try:
        return numba.cfunc(signature)(entry)
    except Exception as error:  # an unknown field is a KeyError, and there are others
        raise ArgumentError(f"numba cannot compile {function.__name__}: {_detail(error)}") from error


def _detail(error: Exception) -> str:
    """The lines of Numba's page-long message that name the fault and where it is."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Failed in", "During:", "File ", "- ", "<"))]
    where = [line for line in lines if line.startswith("File ")]
    return f"{type(error).__name__}: {' '.join(told[:2])}" + (f" ({where[-1].rstrip(':')})" if where else "")


def _dtype(size: int, columns: list[tuple[str, str, int, int]]) -> Any:
    import numpy as np

    return np.dtype(
        {
            "names": [name for name, *_ in columns],
            "formats": [(kind, (count,)) if count else kind for _, kind, _, count in columns],
            "offsets": [offset for *_, offset, _ in columns],
            "itemsize": size,
        }
    )
