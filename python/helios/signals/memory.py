"""What a strategy remembers, as bytes: what `on_save` gave, checked, and back for `on_load`.

Bytes are msgpack. Only what comes back as it was is taken: None, bool, int of 64 bits, float, str, bytes, and lists and
dicts of these, the keys str or int. A tuple, a set, a deque or a number of numpy is refused by name, not changed in
silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.signals.strategy import Strategy

#: The most that one strategy may save, in bytes: the engine stands still while it is made.
MAX_SAVED_BYTES: Final = 1 << 20
#: How deep lists and dicts may lie in one another.
MAX_DEPTH: Final = 32

_PLAIN: Final = frozenset({type(None), bool, float, str, bytes})


def memory_of(strategy: Strategy) -> tuple[Callable[[], bytes], Callable[[bytes], None]]:
    """What gives a strategy's memory as bytes, and what takes it back."""
    return lambda: saved(strategy), lambda content: load(strategy, content)


def saved(strategy: Strategy) -> bytes:
    """What `on_save` gives, as bytes. ArgumentError that names the key of what cannot be kept."""
    import msgspec

    try:
        memory = strategy.on_save()
    except Exception as error:
        raise _raised(strategy, "on_save", error) from error
    if type(memory) is not dict:
        raise ArgumentError(f"strategy {strategy.name!r}: on_save gave {_shown(memory)}, but must give a dict")
    _check(strategy, memory, "memory", 1)
    content = msgspec.msgpack.encode(memory)
    if len(content) > MAX_SAVED_BYTES:
        raise ArgumentError(
            f"strategy {strategy.name!r}: what on_save gave takes {len(content):,} bytes, at most {MAX_SAVED_BYTES:,} "
            "can be kept; save what cannot be had again, and less of the past"
        )
    return content


def load(strategy: Strategy, content: bytes) -> None:
    """Gives `on_load` what was saved. ArgumentError when it raises."""
    import msgspec

    try:
        strategy.on_load(msgspec.msgpack.decode(content))
    except Exception as error:
        raise _raised(strategy, "on_load", error, "mend it, or delete the run's state-*.snapshot") from error


def _raised(strategy: Strategy, method: str, error: Exception, hint: str = "") -> ArgumentError:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
    text = f"strategy {strategy.name!r}: {method} raised {type(error).__name__}: {error}{place}"
    return ArgumentError(f"{text}; {hint}" if hint else text)


def _check(strategy: Strategy, value: Any, place: str, depth: int) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise ArgumentError(
                f"strategy {strategy.name!r}: on_save gave {place} = {value}, which has more than 64 bits"
            )
        return
    if kind not in (list, dict):
        raise ArgumentError(
            f"strategy {strategy.name!r}: on_save gave {place} = {_shown(value)}; what can be kept is None, bool, int, "
            "float, str, bytes, list and dict"
        )
    if depth > MAX_DEPTH:
        raise ArgumentError(f"strategy {strategy.name!r}: on_save gave {place}, which lies deeper than {MAX_DEPTH}")
    if kind is list:
        for at, inner in enumerate(value):
            if type(inner) not in _PLAIN:
                _check(strategy, inner, f"{place}[{at}]", depth + 1)
        return
    for key, inner in value.items():
        if type(key) not in (str, int):
            raise ArgumentError(
                f"strategy {strategy.name!r}: on_save gave {place} a key {_shown(key)}; keys are str or int"
            )
        if type(inner) not in _PLAIN:
            _check(strategy, inner, f"{place}[{key!r}]", depth + 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:60] + '…'} ({type(value).__module__}.{type(value).__qualname__})"
