"""Lies in a specification, under the digest that the chain has.

No round is needed: an audit reads it first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tests.lies.documents import CLIPPED, KRUM, PRIVATE, STUDIES
from tests.lies.lie import Dishonest, Lie, Named, Stated
from tests.lies.played import Played, first_model, parameters_of, specification
from tests.lies.schemas import DOCUMENTS, Path, document_fields, place_of, takes, value_at
from tests.lies.values import ABSENT, changed, odd_bytes, others
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.settlement import Vector
from wardround.protocol.study import StudySpec

_OWN_MODEL = {
    "name": None,
    "arguments": {"width": 3},
    "file": "model.py",
    "factory": "build",
    "files": {"model.py": "0x" + "12" * 32},
    "row_shape": [4],
    "classes": 2,
    "layout": "0x" + "34" * 32,
}
#: Together they have every field.
_STUDIES: Mapping[str, StudySpec] = {
    CLIPPED: STUDIES[CLIPPED],
    PRIVATE: specification(
        privacy={**STUDIES[PRIVATE].document()["privacy"], "unit": "patient"},
        training={"momentum": 0.5},
    ),
    "own": specification(model=_OWN_MODEL, training={"local_steps": None, "local_epochs": 2}),
    KRUM: STUDIES[KRUM],
    "trimmed": specification(aggregation={"rule": "trimmed_mean", "trim": 1, "min_sites": 3}),
}


@cache
def _documents() -> list[tuple[StudySpec, Any]]:
    return [(spec, spec.document()) for spec in _STUDIES.values()]


def lies() -> Iterator[Lie]:
    for how, data in odd_bytes(canonical_bytes(STUDIES[CLIPPED].document())):
        make = partial(_stored, STUDIES[CLIPPED], data)
        yield Lie("specification", how, Named("malformed", "specification is malformed: "), make)
    for path, field in document_fields(DOCUMENTS["specification"]):
        spec, document, place = _base_of(path)
        for how, value in others(value_at(document, place), path):
            lying = changed(document, place, value)
            expected = _expected(path, field, spec, lying, value)
            make = partial(_stored, spec, canonical_bytes(lying))
            yield Lie(f"specification.{path}", how, expected, make)
    gone = partial(_stored, STUDIES[CLIPPED], b"{}", is_kept=False)
    yield Lie("specification", "in no store", Named("object-missing", ""), gone)


def _stored(spec: StudySpec, data: bytes, *, is_kept: bool = True) -> Dishonest:
    """Create the study that a specification gives, with the digest of another one on chain."""
    params = replace(
        parameters_of(spec, Vector.of(first_model())), specification=sha256_digest(data)
    )
    played = Played.created(spec, params, data)
    if not is_kept:
        played.objects.clear()
    return Dishonest.of(played)


def _base_of(path: str) -> tuple[StudySpec, Any, Path]:
    """The first study that has a field, with a value where one of them has it."""
    found = [
        (spec, document, place)
        for spec, document in _documents()
        if (place := place_of(document, path)) is not None
    ]
    assert found, f"no honest specification has {path}"
    filled = [one for one in found if value_at(one[1], one[2]) not in (None, 0, {}, [])]
    return (filled or found)[0]


def _expected(
    path: str, field: FieldInfo, spec: StudySpec, lying: Any, value: Any
) -> Named | Stated:
    if (value is ABSENT and field.is_required()) or (
        value is not ABSENT and not takes(field, value)
    ):
        return Named("malformed", f"specification is malformed: {path}")
    try:
        read = StudySpec.model_validate(lying)
    except ValidationError:
        # Two fields contradict each other, so the error is their table's.
        return Named("malformed", f"specification is malformed: {path.split('.')[0]}")
    if read.document() != lying:
        return Named("replay-failed", "specification: its digest is not the one on chain")
    enforced = parameters_of(spec, Vector.of(first_model()))
    if replace(read.expected(enforced), specification=enforced.specification) != enforced:
        return Named("replay-failed", "specification: it does not give the parameters on chain")
    return Stated(f"specification.{path}")
