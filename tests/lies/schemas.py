"""The fields of what a study publishes, read from the schemas themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields as dataclass_fields
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from wardround.chain.artifacts import load_artifact
from wardround.chain.events import CohortLocked
from wardround.protocol.commitments import ROW_BYTES
from wardround.protocol.contribution import Contribution, Domain, Entry
from wardround.protocol.errors import WardroundError
from wardround.protocol.manifest import Manifest
from wardround.protocol.record import Closing, Record, StudyParams, StudyParties
from wardround.protocol.report import MetricName, Report
from wardround.protocol.study import StudySpec

#: Documents in the store, by the name that their errors have.
DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "manifest": Manifest,
    "report": Report,
    "specification": StudySpec,
}
#: What is on chain, or signed.
STRUCTURES: Mapping[str, type] = {
    "entry": Entry,
    "contribution": Contribution,
    "domain": Domain,
    "record": Record,
    "closing": Closing,
    "parameters": StudyParams,
    "parties": StudyParties,
}
#: Whose code a WardRound runs or calls.
CONTRACTS = ("WardRound", "WardRoundAnnex", "Court", "CourtAnnex", "Escrow")

Path = tuple[str | int, ...]


def document_fields(form: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Name every field of a document, dotted: ``contributions[].update.root``."""
    for name, field in form.model_fields.items():
        path = before + (field.alias or name)
        yield path, field
        for suffix, inner in _inner(field.annotation):
            yield from document_fields(inner, f"{path}{suffix}.")


def _inner(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        for one in inside:
            yield from _inner(one)
    elif origin is list:
        yield from ((f"[]{suffix}", form) for suffix, form in _inner(inside[0]))
    elif origin is dict:
        yield from ((f".*{suffix}", form) for suffix, form in _inner(inside[1]))


def all_fields() -> set[str]:
    """Every field of every schema, with the schema's name before it."""
    found = {
        f"{name}.{path}" for name, form in DOCUMENTS.items() for path, _ in document_fields(form)
    }
    for name, kind in STRUCTURES.items():
        found |= {f"{name}.{field.name}" for field in dataclass_fields(kind)}
    # A registration is an entry, on chain by itself.
    found |= {*DOCUMENTS, "registration"} | {
        f"report.metrics.{name}" for name in get_args(MetricName)
    }
    found |= {f"commitments.{name}" for name in ROW_BYTES}
    locked = {one.name for one in dataclass_fields(CohortLocked)}
    found |= {f"lock.{one.name}" for one in dataclass_fields(Record) if one.name in locked}
    for name in CONTRACTS:
        immutables = load_artifact(name).runtime.immutables
        found |= {f"code.{name}", *(f"code.{name}.{one}" for one in immutables)}
    return found


def place_of(document: Any, field: str) -> Path | None:
    """Where a document has a field: the first of a list or table; None where it has it not."""
    path: list[str | int] = []
    here = document
    for part in field.replace("[]", ".[]").split("."):
        if part == "[]":
            key: str | int = 0
        elif part == "*":
            key = next(iter(here), "")
        else:
            key = part
        if not isinstance(here, dict | list) or (isinstance(here, dict) and key not in here):
            return None
        if isinstance(here, list) and not here:
            return None
        path.append(key)
        here = here[key]  # type: ignore[index]
    return tuple(path)


def value_at(document: Any, path: Path) -> Any:
    """The value at a place."""
    for key in path:
        document = document[key]
    return document


def takes(field: FieldInfo, value: Any) -> bool:
    """Whether a schema lets a field have a value."""
    annotation: Any = field.annotation
    for one in field.metadata:
        annotation = Annotated[annotation, one]
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except (ValidationError, WardroundError):
        return False
    return True
