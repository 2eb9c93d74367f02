"""Documents in canonical JSON of one form, and what is wrong with those of another."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from wardround.protocol.canonical import parse_canonical
from wardround.protocol.errors import Malformed

FormT = TypeVar("FormT", bound=BaseModel)
_SUBJECT = re.compile(r"^(?:Input|String|List|Dictionary|Tuple|Value|Data) should\b")


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
