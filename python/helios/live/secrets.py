"""Passwords and the like: from the environment or from a file of ours alone, and shown nowhere.

A `Secret` prints as stars; its text is asked for where it is handed to the core, and nowhere else. `Redaction` takes
the texts out of whatever is logged, should one come into it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from helios.errors import ConfigError

_LONGEST: Final = 4_096
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]+")
HIDDEN: Final = "***"


class Secret:
    """A text that is not to be seen."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for the one who must send it."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


def revealed(password: Secret | None) -> str:
    """The text as the core is told it; empty for none."""
    return "" if password is None else password.reveal()


def secret(
    env: str | None, path: str | None, *, what: str, file: Path, key: str, environ: Mapping[str, str] = os.environ
) -> Secret | None:
    """The secret that `KEY_env` names or `KEY_file` holds; None where neither is given. ConfigError for both, or none.

    A file must belong to us or to root, and be closed to everybody else. `what` is the key without its ending.
    """
    if env is not None and path is not None:
        raise ConfigError(f"give {what}_env or {what}_file, not both", file=str(file), key=key)
    if env is not None:
        if not _NAME.fullmatch(env):  # perhaps the secret itself: it is not repeated
            message = "no name of an environment variable: letters, digits and _"
            raise ConfigError(message, file=str(file), key=f"{key}.{what}_env")
        if not (text := environ.get(env, "")):
            hint = f"Set it in the environment of the run, or give {what}_file."
            raise ConfigError(
                f"there is no environment variable {env}", file=str(file), key=f"{key}.{what}_env", hint=hint
            )
        if not _LINE.fullmatch(text):
            message = f"the environment variable {env} has a line end or a control character in it"
            raise ConfigError(message, file=str(file), key=f"{key}.{what}_env")
        return Secret(text)
    return None if path is None else _from_file(file.parent / path, file, f"{key}.{what}_file")


def _from_file(path: Path, file: Path, key: str) -> Secret:
    """The first line of a file, if nobody else can read it. Checked on the open file: a name can change hands."""

    def refused(message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{path}: {message}", file=str(file), key=key, hint=hint)

    try:
        # Without waiting: a pipe has perhaps no other end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise refused("not a file")
            if found.st_uid not in (os.getuid(), 0):
                raise refused("it belongs to somebody else", f"chown it to user {os.getuid()}.")
            if found.st_mode & 0o077:
                raise refused(f"others can read it (mode {found.st_mode & 0o777:o})", f"Run: chmod 600 {path}")
            text = opened.read(_LONGEST + 1)
    except OSError as error:
        raise refused(error.strerror or "it cannot be read") from None
    if len(text) > _LONGEST:
        raise refused(f"longer than {_LONGEST} bytes: not a password")
    try:
        line = text.decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise refused("not UTF-8 text") from None
    if not line:
        raise refused("its first line is empty")
    if not _LINE.fullmatch(line):
        raise refused("its first line has a control character in it")
    return Secret(line)


class Redaction:
    """Takes secrets out of texts."""

    def __init__(self, secrets: Iterable[Secret | None]) -> None:
        # Longest first: one may be part of another.
        self._texts = sorted({each.reveal() for each in secrets if each is not None}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text with stars in their place."""
        for hidden in self._texts:
            text = text.replace(hidden, HIDDEN)
        return text
