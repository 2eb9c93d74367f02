"""Documents of a fixed form: TOML files by line, canonical JSON as it is hashed."""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from wardround.protocol.canonical import parse_canonical
from wardround.protocol.errors import Malformed, SpecificationError

FormT = TypeVar("FormT", bound=BaseModel)
_SUBJECT = re.compile(r"^(?:Input|String|List|Dictionary|Tuple|Value|Data) should\b")


class Form(BaseModel):
    """The form of a document or TOML table: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def parse_document(
    form: type[FormT], data: bytes | memoryview, what: str, max_bytes: int | None = None
) -> FormT:
    """Read a document in RFC 8785 form.

    Args:
        form: what it must be; a field has one spelling, its alias where it has one.
        data: the document's bytes.
        what: the document's name, for the error.
        max_bytes: how long it may be; None where the caller has bounded it.

    Raises:
        Malformed: too long, not in RFC 8785 form, an unknown or missing key, or a value out of
            range; names the key.
    """
    if max_bytes is not None and len(data) > max_bytes:
        raise Malformed(what, f"{len(data)} bytes exceed {max_bytes}")
    value = parse_canonical(data, what)
    try:
        return form.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        path, reason = fault_of(error)
        raise Malformed(what, f"{path}: {reason}") from error


def fault_of(error: ValidationError) -> tuple[str, str]:
    """The first key that is wrong, dotted, and what is wrong with it.

    A misspelt key is unknown, and the right one missing: the one that is written comes first.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    path = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    if first["type"] == "extra_forbidden":
        return path, "no such key"
    if first["type"] == "missing":
        return path, "this key is missing"
    return path, _SUBJECT.sub("must", first["msg"].removeprefix("Value error, "))


def decode_text(data: bytes, source: str) -> str:
    """Read a file's bytes as text, without the mark that Windows' editors write first.

    Raises:
        SpecificationError: not UTF-8.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SpecificationError(source, "not UTF-8 text but UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 text, from byte {error.start} on"
        raise SpecificationError(source, reason) from error


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        SpecificationError: not TOML; with its line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*?)(?: \(at line (\d+), column \d+\))?", str(error), re.DOTALL)
        assert found is not None  # the second part may be missing
        number = int(found[2]) if found[2] else None
        raise SpecificationError(source, f"not TOML: {found[1]}", line=number) from error


def toml_of(tables: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Write flat tables of strings, numbers and lists, whose JSON form is also their TOML form."""
    lines = []
    for name, table in tables:
        rows = (f"{key} = {json.dumps(value)}" for key, value in table.items())
        lines += [f"[{name}]", *rows, ""]
    return "".join(line + "\n" for line in lines)


def validate_form(form: type[FormT], value: object, text: str, source: str) -> FormT:
    """Check a parsed document against its form; name the first thing wrong and its line.

    Raises:
        SpecificationError: an unknown or missing key, or a value out of range.
    """
    try:
        return form.model_validate(value)
    except ValidationError as error:
        path, reason = fault_of(error)
        line = line_of(text, path.split(".") if path else [])
        raise SpecificationError(source, reason, key=path, line=line) from error


def line_of(text: str, path: list[str]) -> int | None:
    """Find the line of a key by its path; the nearest enclosing table when it is not written."""
    best, depth = None, 0
    table: list[str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := re.fullmatch(r"(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?", stripped):
            table = [part.strip().strip("\"'") for part in header.group(2).split(".")]
            if header.group(1) == "[[":
                place = counts.get(header.group(2), -1) + 1
                counts[header.group(2)] = place
                table = [*table, str(place)]
            here = table
        elif key := re.match(r"([\w\-\"'.]+)\s*=", stripped):
            here = table + [part.strip("\"'") for part in key.group(1).split(".")]
        else:
            continue
        if here == path[: len(here)] and len(here) > depth:
            best, depth = number, len(here)
    return best
