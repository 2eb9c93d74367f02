"""The API's operations as data: routes, checks of parameters and the description follow from it.

Source:
    OpenAPI 3.1.0. Schemas of answers are made from the dataclasses of `wardround.explorer.views`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from wardround.explorer.errors import QueryInvalid
from wardround.explorer.reader import PAGE_ROWS, Reader

#: Blocks, rounds and the like: what JSON keeps exactly.
LARGEST = 2**53 - 1

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """Something that a request states.

    Attributes:
        place: ``path`` or ``query``.
        schema: JSON schema of it: a string with ``pattern`` or ``enum`` and ``maxLength``, or an
            integer with ``minimum`` and ``maximum``.
    """

    name: str
    place: str
    words: str
    schema: Mapping[str, Any]
    required: bool = False

    def read(self, text: str) -> Any:
        """Read it, strictly by its schema.

        Raises:
            QueryInvalid: it is not such a value.
        """
        schema = self.schema
        if schema["type"] == "integer":
            if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII):
                raise QueryInvalid(self.name, "a whole number")
            value = int(text)
            if not schema["minimum"] <= value <= schema["maximum"]:
                reason = f"from {schema['minimum']} to {schema['maximum']}"
                raise QueryInvalid(self.name, reason)
            return value
        if len(text) > schema.get("maxLength", len(text)):
            raise QueryInvalid(self.name, f"at most {schema['maxLength']} characters")
        if "pattern" in schema and not re.search(schema["pattern"], text, re.ASCII):
            raise QueryInvalid(self.name, f"it must match {schema['pattern']}")
        if "enum" in schema and text not in schema["enum"]:
            raise QueryInvalid(self.name, f"one of {', '.join(schema['enum'])}")
        # Hexadecimal is kept in lower case.
        return text.lower() if text.startswith("0x") else text

    def document(self) -> dict[str, Any]:
        """It as a JSON value."""
        return {
            "name": self.name,
            "in": self.place,
            "description": self.words,
            "required": self.required,
            "schema": dict(self.schema),
        }


def hexadecimal(name: str, place: str, words: str, count: int) -> Parameter:
    """A hash or an address; either letter case."""
    pattern = f"^0x[0-9a-fA-F]{{{2 * count}}}$"
    schema = {"type": "string", "pattern": pattern, "maxLength": 2 + 2 * count}
    return Parameter(name, place, words, schema, place == "path")


def whole(name: str, place: str, words: str, low: int = 0, high: int = LARGEST) -> Parameter:
    """A whole number."""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Parameter(name, place, words, schema, place == "path")


CURSOR = Parameter(
    "cursor",
    "query",
    "`next` of the page before.",
    {"type": "string", "pattern": "^[0-9]{1,18}$", "maxLength": 18},
)
LIMIT = Parameter(
    "limit",
    "query",
    "Rows of a page.",
    {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS, "default": 50},
)


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        path: with its path parameters in braces.
        name: its operationId.
        returns: the type of the answer.
        read: asks the index.
        lasts: whether an answer can never be another one; asked of the answer.
    """

    path: str
    name: str
    words: str
    returns: Any
    read: Callable[[Reader, Arguments], Any]
    parameters: tuple[Parameter, ...] = ()
    lasts: Callable[[Any], bool] = field(default=lambda _: False)

    @cached_property
    def answers(self) -> TypeAdapter[Any]:
        """Writes answers, and describes them."""
        return TypeAdapter(self.returns)

    def document(self, schemas: dict[str, Any]) -> dict[str, Any]:
        """It as a JSON value; what it refers to is added to the schemas."""
        schema = self.answers.json_schema(
            mode="serialization", ref_template="#/components/schemas/{model}"
        )
        schemas.update(schema.pop("$defs", {}))
        responses: dict[str, Any] = {
            "200": {"description": "The answer.", "content": _json(schema)},
            "304": {"description": "It is what If-None-Match names."},
            "400": {"description": "A parameter means nothing.", "content": _json(_ERROR)},
        }
        if any(one.place == "path" for one in self.parameters):
            responses["404"] = {
                "description": "Not in the indexed blocks, which the answer names.",
                "content": _json(_ERROR),
            }
        return {
            "operationId": self.name,
            "summary": self.words,
            "parameters": [one.document() for one in self.parameters],
            "responses": responses,
        }


def describe(operations: tuple[Operation, ...], others: Mapping[str, Any]) -> dict[str, Any]:
    """The whole description.

    Args:
        operations: what is asked of the index.
        others: paths that are not, as OpenAPI has them.
    """
    schemas: dict[str, Any] = {"Error": _ERROR_SCHEMA}
    paths = {one.path: {"get": one.document(schemas)} for one in operations}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wardround explorer",
            "version": "1",
            "summary": "What happened in the studies of one WardRound contract.",
            "description": (
                "Read-only. Hashes, roots and addresses are lower-case hexadecimal with 0x, "
                "amounts decimal text in the token's smallest unit, times seconds since 1970. "
                "`extent` says which blocks an answer speaks of: what it does not list may have "
                "happened outside of them."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**paths, **others},
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": dict(schema)}}


_ERROR = {"$ref": "#/components/schemas/Error"}
_ERROR_SCHEMA = {
    "title": "Error",
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "What kind it is."},
        "message": {"type": "string", "description": "One sentence."},
        "first_block": {"type": "integer"},
        "last_block": {"type": "integer"},
    },
    "required": ["error", "message"],
}
