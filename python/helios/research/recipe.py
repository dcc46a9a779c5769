"""What a sweep runs over: something that makes a backtest from values of its parameters.

`FunctionRecipe` is a Python function; the run files are in `helios.config`. A recipe pickles and stays small: workers
get it with every point, and the data come to it from outside. Its `identity` and `files` are what a fingerprint of a
point is made of. Light on purpose: nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.research.backtest import Backtest
    from helios.research.feeds import Source

Value = str | int | float | bool | None
Params = dict[str, Value]


class Recipe(ABC):
    """Something that makes a backtest from values of its parameters. It pickles."""

    #: What the sweep is called.
    name: str

    @property
    @abstractmethod
    def data(self) -> list[Source]:
        """The sources, to be shared."""

    @abstractmethod
    def parameter(self, name: str) -> str:
        """The full name of a parameter. ArgumentError for one that is not there, naming the near ones."""

    @abstractmethod
    def check(self, parameter: str, value: Value) -> None:
        """Raises where a parameter, by its full name, cannot have this value whatever the others are."""

    @abstractmethod
    def identity(self, params: Params) -> dict[str, Any]:
        """What makes the point what it is, without its data and the content of its files; JSON values."""

    @abstractmethod
    def files(self, params: Params) -> list[Path]:
        """Files whose content the point depends on."""

    def symbols(self, points: Sequence[Params]) -> set[str] | None:  # noqa: ARG002
        """Symbols that the points can read; None for all of the data's."""
        return None

    def check_durable(self) -> None:  # noqa: B027
        """Raises where a change would go unseen, so that points kept in a folder could not be trusted later."""

    @abstractmethod
    def __call__(self, data: list[Source], params: Params) -> Backtest:
        """The backtest of one point on these sources."""


class FunctionRecipe(Recipe):
    """A function `build(data, **params) -> Backtest`. `data` is what was given, one source or a list of them."""

    def __init__(self, build: Callable[..., Backtest], data: Source | Sequence[Source] | None) -> None:
        if not callable(build):
            raise ArgumentError(f"a sweep takes a function that builds a Backtest, not {build!r}")
        self._build = build
        try:
            self._signature = inspect.signature(build).parameters
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"the parameters of {build!r} cannot be known: {error}") from None
        given = self._signature.get("data")
        if given is None:
            raise ArgumentError(f"{_name_of(build)} needs a parameter `data`: the sweep hands it the shared sources")
        data = given.default if data is None else data
        if data is inspect.Parameter.empty:
            raise ArgumentError(f"no data: pass sweep(…, data=…), or give `data` of {_name_of(build)} a default")
        self._alone = isinstance(data, str) or not isinstance(data, Sequence)
        self._data: list[Source] = [data] if self._alone else list(data)  # type: ignore[arg-type, list-item]
        self.name = _name_of(build)

    def __getstate__(self) -> dict[str, Any]:
        # The data given may be frames in memory; the workers read the shared files.
        return {"_build": self._build, "_alone": self._alone, "name": self.name}

    @property
    def data(self) -> list[Source]:
        """What was given."""
        return self._data

    def parameter(self, name: str) -> str:
        """A parameter of the function, other than `data`."""
        kinds = [p.kind for p in self._signature.values()]
        known = [n for n, p in self._signature.items() if p.kind in _BY_NAME and n != "data"]
        if name not in known and (inspect.Parameter.VAR_KEYWORD not in kinds or name == "data"):
            raise unknown_parameter(name, known, self.name)
        return name

    def check(self, parameter: str, value: Value) -> None:
        """Only the function knows."""

    def identity(self, params: Params) -> dict[str, Any]:
        """The function's name, its defaults, and what is bound to it; its code is in `files`."""
        function, bound = _unwrapped(self._build)
        cells = [repr(cell.cell_contents) for cell in getattr(function, "__closure__", None) or ()]
        defaults = {
            name: default if isinstance(default := parameter.default, str | int | float | None) else repr(default)
            for name, parameter in self._signature.items()
            if name != "data" and parameter.default is not inspect.Parameter.empty
        }
        return {"the function": self.name, "bound values": [bound, cells], **defaults, **params}

    def files(self, params: Params) -> list[Path]:  # noqa: ARG002
        """The file that defines the function, if there is one."""
        function, _ = _unwrapped(self._build)
        named = function if inspect.isfunction(function) or inspect.isclass(function) else type(function)
        try:
            source = inspect.getsourcefile(named)
        except TypeError:
            return []
        return [Path(source)] if source is not None and Path(source).is_file() else []

    def check_durable(self) -> None:
        """What a notebook or a shell defines has no file whose change would be seen."""
        if not self.files({}):
            hint = "Define it in a .py file, or leave `out` away."
            raise ArgumentError(f"{self.name} has no file, so that a change of it would go unseen. {hint}")

    def __call__(self, data: list[Source], params: Params) -> Backtest:
        """Calls the function."""
        return self._build(data=data[0] if self._alone else data, **params)


_BY_NAME: Final = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _unwrapped(build: Callable[..., Any]) -> tuple[Callable[..., Any], str]:
    """The function itself, and what `functools.partial` has bound to it."""
    bound = []
    while isinstance(build, partial):
        bound.append(repr((build.args, build.keywords)))
        build = build.func
    return inspect.unwrap(build), "".join(bound)


def _name_of(build: Callable[..., Any]) -> str:
    function, _ = _unwrapped(build)
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def unknown_parameter(name: str, known: Sequence[str], where: str) -> ArgumentError:
    """The error for a parameter that is not there; the nearest ones by their own names or their last parts."""
    ends = {one.rpartition(".")[2]: one for one in reversed(known)}
    near = [ends[end] for end in difflib.get_close_matches(name.rpartition(".")[2], ends, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"
    return ArgumentError(f"{where} has no parameter {name!r}: {hint}")
