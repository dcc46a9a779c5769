"""Parameters of a class: annotated names with defaults, a constructor by keyword, checked values.

A parameter is a public annotated name in the class body (`enter: float = 2.0`); without a default it must be given.
What is not annotated, is a ClassVar or begins with an underscore is none; state is best declared in `on_start`. Values
are checked by msgspec's rules: an int is a float too, a bool is no number, a list serves for a tuple. An annotation
that cannot be resolved, or that msgspec does not know, is documentation only. Absent: positional arguments.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import math
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Union, dataclass_transform

from helios.errors import ArgumentError

#: No default: the parameter must be given.
REQUIRED: Any = inspect.Parameter.empty


@dataclass_transform(kw_only_default=True)
class Parametrised:
    """Gives its subclasses a typed constructor by keyword, and remembers what it was called with."""

    #: Annotated names of these classes are settings of the machinery: the constructor takes them, `params` omits them.
    _settings: ClassVar[frozenset[str]] = frozenset()

    if not TYPE_CHECKING:  # a type checker makes the constructor from the annotations

        def __new__(cls, *positional, **named):
            """Keeps the arguments: a class with an `__init__` of its own can be made again too."""
            made = super().__new__(cls)
            made._given = (positional, named)
            return made

        def __init__(self, *positional, **given):
            fields, what = fields_of(type(self)), type(self).__name__
            if positional:
                raise ArgumentError(f"{what}: parameters are given by name, like {what}({_example(type(self))})")
            for name in given:
                if name not in fields:
                    raise ArgumentError(f"{what}: {_unknown(type(self), name)}")
            for name, annotation in fields.items():
                default = default_of(type(self), name)
                if name not in given and default is REQUIRED:
                    raise ArgumentError(
                        f"{what} needs a value for {name}: {what}({name}=…). (State is declared in on_start, "
                        "or is a ClassVar.)"
                    )
                value = given[name] if name in given else copy.copy(default)
                if name in self._settings and name not in given:
                    continue  # stays an attribute of the class
                setattr(self, name, checked(value, annotation, f"{what}: {name}"))
            after = getattr(self, "__post_init__", None)
            if after is not None:
                after()

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters and their values: what is declared, and what an `__init__` of its own was given."""
        cls = type(self)
        values = {
            name: getattr(self, name) for name in fields_of(cls) if name not in self._settings and hasattr(self, name)
        }
        if own_constructor(cls):
            bound = inspect.signature(cls).bind(*self._given[0], **self._given[1])
            bound.apply_defaults()
            values |= {name: value for name, value in bound.arguments.items() if name not in self._settings}
        return types.MappingProxyType(values)

    _given: ClassVar[tuple[tuple[Any, ...], dict[str, Any]]] = ((), {})

    def with_params(self, **changes: Any) -> typing.Self:
        """A fresh one with other parameters; what is not named is as it is here, state is not carried over."""
        cls = type(self)
        kept = {name: vars(self)[name] for name in self._settings if name in vars(self)}
        if own_constructor(cls):
            signature = inspect.signature(cls)
            bound = signature.bind(*self._given[0], **self._given[1])
            for name, value in changes.items():
                if name in self._settings and name not in signature.parameters:
                    kept[name] = value
                elif name in signature.parameters:
                    bound.arguments[name] = value
                else:
                    raise ArgumentError(f"{cls.__name__}: {_unknown(cls, name)}")
            fresh = cls(*bound.args, **bound.kwargs)
            for name, value in kept.items():
                setattr(fresh, name, value)
            return fresh
        return cls(**{**kept, **self.params, **changes})

    __replace__ = with_params

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{type(self).__name__}({inside})"


def own_constructor(cls: type[Parametrised]) -> bool:
    """True when the class has an `__init__` of its own."""
    return cls.__init__ is not Parametrised.__init__


def fields_of(cls: type) -> dict[str, Any]:
    """Names that the constructor takes, with their annotations, resolved where that is possible; parents' first."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Parametrised) and base is not Parametrised:
            for name, annotation in inspect.get_annotations(base).items():
                kind = _resolved(annotation, base)
                if name.startswith("_") or _is_classvar(kind):
                    continue
                found[name] = kind
    return found


def parameter_types(cls: type[Parametrised]) -> dict[str, Any]:
    """The parameters, settings left out, and their annotations."""
    types = fields_of(cls)
    if own_constructor(cls):
        types |= {name: _resolved(one.annotation, cls) for name, one in inspect.signature(cls).parameters.items()}
    return {name: Any if kind is REQUIRED else kind for name, kind in types.items() if name not in cls._settings}


def default_of(cls: type, name: str) -> Any:
    """The default, REQUIRED where there is none."""
    return getattr(cls, name, REQUIRED)


def checked(value: Any, annotation: Any, what: str) -> Any:
    """The value as its annotation wants it. ArgumentError names `what`."""
    import msgspec

    try:
        value = _converted(value, annotation)
    except msgspec.ValidationError as error:
        said = str(error).partition(" - at ")[0].replace("Expected", "expected").replace("`", "")
        raise ArgumentError(f"{what} is {value!r}: {said}") from None
    if isinstance(value, float) and math.isnan(value):
        raise ArgumentError(f"{what} is nan: that is no value")
    return value


def parsed(text: str, annotation: Any, what: str) -> Any:
    """A value written on a command line: `3`, `true`, `"10m"` or 10m, `["KO", "PEP"]`."""
    import tomllib

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        return checked(value, annotation, what)
    except ArgumentError:
        if isinstance(value, str):
            raise
        return checked(text, annotation, what)  # 10 for a parameter that is a text


def type_name(annotation: Any) -> str:
    """An annotation as people write it."""
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)


def _resolved(annotation: Any, base: type) -> Any:
    """`from __future__ import annotations` leaves texts; one that names what is not there stays a text."""
    if not isinstance(annotation, str):
        return annotation
    import sys

    names = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
    try:
        found = eval(annotation, dict(names), dict(vars(base)))
    except Exception:  # whatever the text does
        return annotation
    return _resolved(found, base) if isinstance(found, str) and found != annotation else found


def _is_classvar(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").startswith("ClassVar")
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _converted(value: Any, annotation: Any) -> Any:
    import msgspec

    if isinstance(annotation, str) or annotation is Any:
        return value
    if typing.get_origin(annotation) in (Union, types.UnionType):
        members = typing.get_args(annotation)
        if any(type(value) is member for member in members):
            return value
        said: msgspec.ValidationError | None = None
        for member in members:
            try:
                return _converted(value, member)
            except msgspec.ValidationError as error:
                said = said or error
        names = " | ".join(type_name(member) for member in members).replace("NoneType", "None")
        raise msgspec.ValidationError(f"Expected `{names}`, got `{type(value).__name__}`")
    if isinstance(annotation, type) and isinstance(value, annotation) and not isinstance(value, bool | int):
        return value
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        raise
    except TypeError:  # a type that msgspec does not know
        if isinstance(annotation, type) and not isinstance(value, annotation):
            raise msgspec.ValidationError(f"Expected `{annotation.__name__}`, got `{type(value).__name__}`") from None
        return value


def _example(cls: type) -> str:
    names = [name for name in fields_of(cls) if name not in getattr(cls, "_settings", ())]
    return f"{names[0]}=…" if names else "name='…'"


def _unknown(cls: type[Parametrised], name: str) -> str:
    """What to say of a name that is no parameter."""
    known = list(inspect.signature(cls).parameters) if own_constructor(cls) else list(fields_of(cls))
    if hasattr(cls, name) and not callable(getattr(cls, name)) and not own_constructor(cls):
        return f"{name} is no parameter because it has no annotation: write `{name}: type = …` in the class"
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    mine = [one for one in known if one not in cls._settings] or known
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(mine)}"
    return f"no parameter is named {name!r}: {hint}"
