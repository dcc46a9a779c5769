"""Protocol vectors of ../shared through Python: every message taken apart, compared, and put together byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helios import _core

NASDAQ = Path(__file__).resolve().parents[2].parent / "shared" / "conformance" / "nasdaq"
VECTORS = 240

pytestmark = pytest.mark.skipif(not NASDAQ.is_dir(), reason="needs ../shared/conformance/nasdaq, which is not there")

Field = tuple[str, int | str | bytes]


def vectors(file: str, key: str = "vectors") -> list[dict[str, Any]]:
    found = json.loads((NASDAQ / file).read_text(encoding="utf-8"))[key]
    assert isinstance(found, list)
    return found


def both_ways(protocol: str, data: bytes, kind: str) -> list[Field]:
    """The fields, after checking that they give the bytes again, in whatever order."""
    fields = _core.decode(protocol, data)
    assert _core.encode(protocol, kind, fields) == data
    # Only messages and options may occur more than once; their order says something.
    if not any(name in ("message", "option", "appendage_length") for name, _ in fields):
        assert _core.encode(protocol, kind, fields[::-1]) == data
    return fields


def has(fields: list[Field], expected: dict[str, Any]) -> None:
    found = dict(fields)
    for name, value in expected.items():
        assert found[name] == value, name


def itch(data: bytes, expected: dict[str, Any]) -> None:
    assert chr(data[0]) == expected["type"]
    assert len(data) == expected["length"]
    has(both_ways("itch50", data, expected["type"]), expected["fields"])


def packet(vector: dict[str, Any]) -> None:
    """One of the real packets."""
    data, expected = bytes.fromhex(vector["payload_hex"]), vector["expect"]
    if vector["stack"] == "moldudp64/itch50":
        fields = both_ways("moldudp64", data, "")
        header = dict(fields)
        assert str(header["session"]).rstrip(" \0") == expected["header"]["session"]
        assert header["sequence_number"] == expected["header"]["sequence_number"]
        assert header["message_count"] == expected["header"]["message_count"]
        messages = [value for name, value in fields if name == "message"]
        for message, want in zip(messages, expected["messages"], strict=True):
            assert isinstance(message, bytes)
            itch(message, want)
        return
    # A packet of SoupBinTCP: the direction follows from what it carries, or from its type.
    kind = expected["header"]["packet_type"]
    inbound = any(want["direction"] == "inbound" for want in expected["messages"]) or kind == "R"
    fields = both_ways("soupbintcp/client" if inbound else "soupbintcp/server", data, kind)
    payload = [value for _, value in fields if isinstance(value, bytes)]
    for want in expected["messages"]:
        (body,) = payload
        has(both_ways(f"ouch50/{want['direction']}", body, want["type"]), want["fields"])


def mold(vector: dict[str, Any]) -> None:
    expected = vector["expect"]
    request = expected["kind"] == "request"
    fields = both_ways("moldudp64/request" if request else "moldudp64", bytes.fromhex(vector["packet_hex"]), "")
    has(fields, {name: expected[name] for name in ("session", "sequence_number", "message_count")})
    assert [value.hex() for name, value in fields if name == "message" and isinstance(value, bytes)] == (
        expected["messages_hex"] or []
    )


def malformed(vector: dict[str, Any]) -> None:
    with pytest.raises(_core.CoreError) as caught:
        _core.decode("moldudp64", bytes.fromhex(vector["packet_hex"]))
    protocol, message = caught.value.args
    assert protocol == "moldudp64"
    assert any(character.isdigit() for character in message), "it says how many bytes, or which"


def soup(vector: dict[str, Any]) -> None:
    data, expected = bytes.fromhex(vector["packet_hex"]), dict(vector["expect"])
    kind = expected.pop("type")
    # Sequenced data, logins accepted or rejected, heartbeats and ends of session come from the server.
    protocols = ["soupbintcp/server"] if kind in "SAJHZ" else ["soupbintcp/client"] if kind in "ULRO" else []
    for protocol in protocols or ["soupbintcp/server", "soupbintcp/client"]:
        fields = _core.decode(protocol, data)
        found = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields}
        for name, value in expected.items():
            given = found.get(name, found.get(name.removesuffix("_hex")))
            # A padded name or number is compared without its padding.
            assert str(given).strip() == str(value).strip(), (name, found)
        again = _core.encode(protocol, kind, fields)
        if kind in "LA":  # the padding of logins is normalised, and then stays
            assert len(again) == len(data)
            assert _core.decode(protocol, again) == fields
            assert _core.encode(protocol, kind, _core.decode(protocol, again)) == again
        else:
            assert again == data


SUITES = [
    ("vectors.json", "vectors", packet),
    ("itch50_synthetic.json", "vectors", lambda v: itch(bytes.fromhex(v["message_hex"]), v["expect"])),
    ("moldudp64_vectors.json", "vectors", mold),
    ("moldudp64_vectors.json", "malformed", malformed),
    ("soupbintcp_vectors.json", "vectors", soup),
]


def test_there_are_as_many_as_the_readme_says() -> None:
    assert sum(len(vectors(file, key)) for file, key, _ in SUITES) == VECTORS


@pytest.mark.parametrize(("file", "key", "check"), SUITES, ids=[f"{file}-{key}" for file, key, _ in SUITES])
def test_every_vector(file: str, key: str, check: Any) -> None:
    failed = {}
    for vector in vectors(file, key):
        try:
            check(vector)
        except (AssertionError, _core.CoreError, KeyError, ValueError) as error:
            failed[vector["id"]] = f"{type(error).__name__}: {error}"
    assert not failed


def test_every_type_of_the_specification_is_covered() -> None:
    types = {vector["expect"]["type"] for vector in vectors("itch50_synthetic.json")}
    assert len(types) == 23


def test_changed_fields_change_the_bytes_and_wrong_ones_are_refused() -> None:
    vector = next(v for v in vectors("itch50_synthetic.json") if v["expect"]["type"] == "A")
    data = bytes.fromhex(vector["message_hex"])
    fields = dict(_core.decode("itch50", data))
    more = {**fields, "shares": int(str(fields["shares"])) + 1}
    assert _core.decode("itch50", _core.encode("itch50", "A", list(more.items()))) == list(more.items())
    for change, says in (
        ({"shares": 2**32}, "shares"),
        ({"stock": "TOOLONGNAME"}, "stock"),
        ({"shares": "many"}, "shares"),
        ({"colour": 1}, "colour"),
        ({"message_type": "D"}, "message_type"),
    ):
        with pytest.raises(_core.CoreError, match=says):
            _core.encode("itch50", "A", list({**fields, **change}.items()))
    del more["price"]
    with pytest.raises(_core.CoreError, match="price"):
        _core.encode("itch50", "A", list(more.items()))
    for protocol, kind in (("itch50", "z"), ("itch51", "A"), ("ouch50/outbound", "~")):
        with pytest.raises(_core.CoreError):
            _core.encode(protocol, kind, list(fields.items()))
    for cut in range(len(data)):
        with pytest.raises(_core.CoreError):
            _core.decode("itch50", data[:cut])
    with pytest.raises(_core.CoreError):
        _core.decode("itch50", data + b"\0")
