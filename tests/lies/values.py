"""Other values in place of one: of another form, at a boundary, or merely wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.lies.schemas import Path

#: Letters and digits that look like others.
_ALIKE = str.maketrans({"a": "а", "e": "е", "o": "о", "c": "с", "x": "х", "0": "０", "1": "１"})
ABSENT = object()


def others(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """Name other values: how each differs, and the value itself; `ABSENT` where the key goes.

    Of many that are alike, each field gets some, by its name.
    """
    turn = sum(field.encode())
    yield "absent", ABSENT
    yield from _some(_of_another_type(value), turn, 1)
    if value is not None:
        yield "null", None
    if isinstance(value, bool):
        yield "the other", not value
    elif isinstance(value, int | float):
        yield "more", value + 1
        yield from _some((("negative", -1), ("huge", 1e300), ("a fraction", value + 0.5)), turn, 1)
        if value:
            yield "zero", 0
    elif isinstance(value, str):
        yield from _texts(value, turn)
    elif isinstance(value, list):
        yield "none", []
        if value:
            yield "one less", value[1:]
            yield "one twice", [*value, value[0]]
        if len(value) > 1:
            yield "turned", value[::-1]
    elif isinstance(value, dict):
        yield "one key more", {**value, "more": 1}
        yield "no keys", {}


def _some(rows: Iterable[tuple[str, Any]], turn: int, count: int) -> Iterator[tuple[str, Any]]:
    known = list(rows)
    for place in range(min(count, len(known))):
        yield known[(turn + place) % len(known)]


def _of_another_type(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool):
        yield "a number", int(value)
    elif isinstance(value, int | float):
        yield "text", str(value)
        yield "true", True
        yield "NaN as text", "NaN"
    elif isinstance(value, str):
        yield "a number", 7
        yield "a list", [value]
    elif isinstance(value, list):
        yield "a table", {}
        yield "text", "[]"
    elif isinstance(value, dict):
        yield "a list", []
        yield "text", "{}"


def _texts(value: str, turn: int) -> Iterator[tuple[str, Any]]:
    if not value:
        return
    yield "last letter", value[:-1] + ("3" if value[-1] != "3" else "5")
    if value.startswith("0x"):
        yield "all zero", "0x" + "0" * (len(value) - 2)
    forms = [("empty", ""), ("longer", value + "0"), ("a space behind", value + " ")]
    if value.upper() != value:
        forms.append(("in capitals", value.upper()))
    if value.translate(_ALIKE) != value:
        forms.append(("letters that look alike", value.translate(_ALIKE)))
    if value.startswith("0x"):
        forms.append(("without 0x", value[2:]))
    yield from _some(forms, turn, 2)


def changed(document: Any, path: Path, value: Any) -> Any:
    """Copy a document with another value at a place."""
    copied = json.loads(json.dumps(document))
    here = copied
    for key in path[:-1]:
        here = here[key]
    if value is ABSENT:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return copied


def odd_bytes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name ways to write a JSON object that are not its canonical bytes."""
    text = data.decode()
    yield "a space", data.replace(b":", b": ", 1)
    yield "a line end", data + b"\n"
    yield "a byte order mark", b"\xef\xbb\xbf" + data
    yield "a key twice", b'{"a":1,"a":1,' + data[1:]
    yield "NaN", data[:-1] + b',"zzz":NaN}'
    yield "escaped letters", data.replace(b'"', b'"\\u0061', 1)
    yield "cut", data[:-1]
    yield "a space alone", b" "
    yield "a list around it", b"[" + data + b"]"
    yield "deeply nested", b"[" * 70 + b"]" * 70
    yield "UTF-16", text.encode("utf-16")
    yield "not UTF-8", data[:-1] + b'\xff"}'
