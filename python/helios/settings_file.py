"""Settings files: TOML whose keys are all known, and an error that names the nearest one where one is not."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from helios.errors import ConfigError


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of a file: every key is known."""


_T = TypeVar("_T")


def converted(raw: Mapping[str, Any], table: type[_T], file: Path, place: str = "") -> _T:
    """The table that a file has at a place. ConfigError names file and key."""
    try:
        return msgspec.convert(raw, table)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = ".".join(filter(None, [place, where.strip("`.")]))
        raise ConfigError(message, file=str(file), key=key or None) from None


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a file as they stand."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a TOML file: {error}", file=str(file)) from None


def refuse_unknown_keys(raw: Any, table: type, place: tuple[str, ...], file: Path) -> None:
    """msgspec finds unknown keys too, but does not say which known one is near."""
    known = keys_of(table)
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known)}."
            raise ConfigError("unknown key", file=str(file), key=".".join([*place, key]), hint=hint)
        inner = next((kind for kind in (known[key], *get_args(known[key])) if keys_of(kind)), None)
        if inner is not None:
            for number, part in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(part, dict):
                    where = f"{key}[{number}]" if isinstance(value, list) else key
                    refuse_unknown_keys(part, inner, (*place, where), file)


def keys_of(table: Any) -> dict[str, Any]:
    """The keys that a table may have, and what they hold; empty for what is no table."""
    if isinstance(table, type) and issubclass(table, msgspec.Struct):
        return {field.encode_name: field.type for field in msgspec.structs.fields(table)}
    return {field.name: field.type for field in dataclasses.fields(table)} if dataclasses.is_dataclass(table) else {}
