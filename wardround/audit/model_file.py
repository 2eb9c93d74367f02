"""The model that a user takes away: written from a closed round, and bound to it again.

A safetensors file whose metadata name chain, contract, study, round, model root and layout. Its
tensors are float32, and the root is over integers; so a file is compared with the stored vector
that has the recorded root, and not with the root itself.

Source:
    safetensors format: length of the header (8 bytes, little-endian), JSON, tensors without gaps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from wardround.audit.audit import StudyRecords
from wardround.audit.errors import FileMismatch
from wardround.audit.plain_json import read_json
from wardround.chain.study_state import ClosedOnChain
from wardround.learning.export import export_model
from wardround.protocol.canonical import NESTING_MAX, canonical_bytes, parse_canonical
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.documents import Form, fault_of
from wardround.protocol.errors import (
    Malformed,
    ProtocolError,
    ReplayFailed,
    SpecificationError,
    shape_mismatch,
)
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import (
    Float32Vector,
    Int32Vector,
    dequantize,
    vector_from_bytes,
)
from wardround.protocol.identifiers import StudyId, bytes32, hex_of
from wardround.protocol.layout import Layout
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.model import layout_digest
from wardround.protocol.record import Record, RuleId
from wardround.protocol.replay import fetch_specification
from wardround.protocol.study import StudySpec
from wardround.store import Store

#: Of a header, which holds every parameter's name and shape twice.
HEADER_MAX_BYTES = 16 << 20
LAYOUT_MAX_BYTES = 1 << 20
METADATA = frozenset({"chain_id", "contract", "layout", "root", "round", "study"})

_LENGTH_BYTES, _NUMBER_BYTES = 8, 4
_DIMENSIONS_MAX = 64
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)

_Size = Annotated[int, Field(ge=1, lt=2**53)]
_Shape = Annotated[list[_Size], Field(max_length=_DIMENSIONS_MAX)]


class _Parameter(Form):
    name: str
    shape: _Shape


class _Tensor(Form):
    dtype: Literal["F32"]
    shape: _Shape
    data_offsets: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]


_LAYOUT: TypeAdapter[list[_Parameter]] = TypeAdapter(list[_Parameter])
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
_TENSORS: TypeAdapter[dict[str, _Tensor]] = TypeAdapter(dict[str, _Tensor])


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model's file as it was found; only its form was checked.

    Attributes:
        tensors: float32, by name, views of the file.
    """

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]

    def stated(self, key: str) -> str:
        """What the metadata state under a key.

        Raises:
            FileMismatch: nothing.
        """
        if key not in self.metadata:
            raise FileMismatch(self.path, f"metadata {key!r}", "missing", "one")
        return self.metadata[key]

    @property
    def layout(self) -> Layout:
        """The layout that the metadata state.

        Raises:
            Malformed: they state none.
        """
        what = f"{self.path}: layout"
        return read_layout(parse_canonical(self.stated("layout").encode(), what), what)

    @property
    def round(self) -> int:
        """The round that the metadata state.

        Raises:
            Malformed: it is no number.
        """
        text = self.stated("round")
        if not re.fullmatch(r"[1-9][0-9]{0,9}", text, re.ASCII):
            raise Malformed(f"{self.path}: round", "expected a number from 1 on")
        return int(text)


@dataclass(frozen=True, eq=False)
class RoundModel:
    """The model of a closed round, as chain and store give it.

    Attributes:
        values: int32, shape (P,), with the record's root.
    """

    facts: StudyFacts
    spec: StudySpec
    round: int
    record: Record
    values: Int32Vector

    def metadata(self, layout: Layout) -> dict[str, str]:
        """What the file states of itself."""
        return {
            "chain_id": str(self.facts.domain.chain_id),
            "contract": self.facts.domain.contract.lower(),
            "layout": canonical_bytes(layout.document()).decode(),
            "root": hex_of(self.record.model),
            "round": str(self.round),
            "study": hex_of(self.facts.study),
        }

    def weights(self) -> Float32Vector:
        """The model in real units, float32, shape (P,)."""
        return dequantize(self.values, self.spec.aggregation.scale_bits)

    def write(self, path: Path, layout: Layout) -> None:
        """Write the model; equal models give equal bytes.

        Raises:
            ProtocolError: the layout is not the study's.
        """
        self._require(layout)
        export_model(self.weights(), layout, path, self.metadata(layout))

    def check(self, file: ModelFile) -> None:
        """Compare a file with this model.

        Raises:
            FileMismatch: they differ; names the first place.
            Malformed: its layout is none.
        """
        for key in sorted(file.metadata.keys() - METADATA):
            raise FileMismatch(file.path, f"metadata {key!r}", "there", "none of that name")
        expected = self.metadata(layout := file.layout)
        for key in sorted(METADATA):
            if file.stated(key) != expected[key]:
                raise FileMismatch(
                    file.path, f"metadata {key!r}", file.metadata[key], expected[key]
                )
        check_layout(self.spec, layout, file.path)
        self._require(layout)
        weights, end = self.weights(), 0
        for name in sorted(file.tensors.keys() ^ set(layout.names)):
            found, wanted = ("there", "none") if name in file.tensors else ("missing", "one")
            raise FileMismatch(file.path, f"tensor {name!r}", found, wanted)
        for name, shape, size in zip(layout.names, layout.shapes, layout.sizes, strict=True):
            tensor, start, end = file.tensors[name], end, end + size
            if tensor.shape != shape:
                raise FileMismatch(
                    file.path, f"shape of tensor {name!r}", list(tensor.shape), list(shape)
                )
            # As bits, so that a negative zero is no zero.
            same = tensor.reshape(-1).view(np.uint32) == weights[start:end].view(np.uint32)
            if not same.all():
                at = int(np.flatnonzero(~same)[0])
                raise FileMismatch(
                    file.path,
                    f"tensor {name!r} at {at}",
                    repr(float(tensor.reshape(-1)[at])),
                    repr(float(weights[start + at])),
                )

    def _require(self, layout: Layout) -> None:
        if layout.parameter_count != self.values.size:
            raise shape_mismatch("the layout", self.values.size, layout.parameter_count)


def round_model(
    facts: StudyFacts, spec: StudySpec, round_number: int, record: Record, store: Store
) -> RoundModel:
    """Read a closed round's model from the store, by the root that is recorded.

    Raises:
        ProtocolError: the study adds numbers up, and has no model.
        ReplayFailed: the store's vector has another root.
        StoreError: an object is missing, altered or encrypted.
    """
    if spec.rule.id is RuleId.SUM:
        raise ProtocolError("the study adds numbers up and has no model: read its sum with show.")
    data = store.get(cid_from_sha256(record.manifest), MANIFEST_MAX_BYTES)
    stored = store.map(parse_manifest(data).model.cid, facts.params.vector_size)
    values = vector_from_bytes(stored, facts.params.parameter_count)
    if vector_root(values.data) != record.model:
        raise ReplayFailed(round_number, "model", "the stored one has not the recorded root")
    return RoundModel(facts, spec, round_number, record, values)


def verify_model(
    path: Path, contract: StudyRecords, study: StudyId, store: Store
) -> tuple[RoundModel, ClosedOnChain]:
    """Bind a file to a closed round of a study: its recorded root, and the vector that has it.

    Whether the round follows from its contributions is an audit's question.

    Returns:
        The model, and the round that the file names.

    Raises:
        FileMismatch: the file is not that round's model; names the first place.
        Malformed: it is no model's file.
        StudyMismatch: the chain has no such study.
        ReplayFailed: the store's vector has another root than the recorded one.
        StoreError: an object is missing, altered or encrypted.
    """
    file, facts = read_model_file(path), contract.facts(study)
    domain = facts.domain
    for key, expected in (
        ("chain_id", str(domain.chain_id)),
        ("contract", domain.contract.lower()),
        ("study", hex_of(study)),
    ):
        if file.stated(key) != expected:
            raise FileMismatch(path, f"metadata {key!r}", file.metadata[key], expected)
    rounds = {one.round: one for one in contract.closed_rounds(study)}
    closed = rounds.get(file.round)
    if closed is None:
        raise FileMismatch(path, "metadata 'round'", file.round, f"{len(rounds)} closed rounds")
    record = closed.closing.record
    if file.stated("root") != hex_of(record.model):
        raise FileMismatch(path, "metadata 'root'", file.metadata["root"], hex_of(record.model))
    spec = fetch_specification(facts, store.map)
    model = round_model(facts, spec, closed.round, record, store)
    model.check(file)
    return model, closed


# ---------------------------------------------------------------- layouts


def study_layout(spec: StudySpec, store: Store) -> Layout:
    """Find a study's layout without running its code.

    A model that comes with wardround is built for it. Of a study's own the specification pins the
    digest, under which the store may have the layout.

    Raises:
        StoreError: the store does not have it.
        LearningError: the model cannot be built.
    """
    if not spec.model.is_own:
        return _built(spec)
    pinned = cid_from_sha256(bytes32(spec.model.layout, "layout"))
    what = "the study's layout"
    return read_layout(parse_canonical(store.get(pinned, LAYOUT_MAX_BYTES), what), what)


def check_layout(spec: StudySpec, layout: Layout, path: Path) -> None:
    """Compare a layout that a file states with the study's; nothing of a study is run.

    Raises:
        FileMismatch: it is another than the specification pins, or, of a model that comes with
            wardround, than is built.
        LearningError: the model cannot be built.
    """
    if spec.model.is_own:
        found = hex_of(layout_digest(layout))
        if found != spec.model.layout:
            raise FileMismatch(path, "the layout's digest", found, spec.model.layout)
    elif layout != (built := _built(spec)):
        raise FileMismatch(path, "layout", layout.document(), built.document())


def read_layout(value: object, what: str) -> Layout:
    """Read the JSON value of `Layout.document`.

    Raises:
        Malformed: it is none, or names a parameter twice.
    """
    try:
        rows = _LAYOUT.validate_python(value)
    except ValidationError as error:
        raise Malformed(what, ": ".join(fault_of(error))) from error
    names = tuple(row.name for row in rows)
    if len(set(names)) < len(names):
        raise Malformed(what, "it names a parameter twice")
    return Layout(names, tuple(tuple(row.shape) for row in rows))


def _built(spec: StudySpec) -> Layout:
    # PyTorch takes seconds to import, and most audits do without.
    from wardround.learning.models import build_model, layout_of

    return layout_of(build_model(spec.model, {}, spec.study.seed))


# ---------------------------------------------------------------- reading


def read_model_file(path: Path) -> ModelFile:
    """Read a model's file: the header, up to its bound, and views of the tensors.

    Raises:
        Malformed: it is no safetensors file of float32 tensors, its header is longer than
            `HEADER_MAX_BYTES`, or bytes of it belong to no tensor.
        SpecificationError: there is no such file.
    """
    if not path.is_file():
        raise SpecificationError(path, "there is no such file")
    what, size = str(path), path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + length
        if size < _LENGTH_BYTES or length > min(HEADER_MAX_BYTES, size - _LENGTH_BYTES):
            most = min(HEADER_MAX_BYTES, max(0, size - _LENGTH_BYTES))
            raise Malformed(what, f"no safetensors file: its header is not within {most} bytes")
        header = _header(file.read(length), what)
    try:
        metadata = _METADATA.validate_python(header.pop("__metadata__", {}))
        tensors = _TENSORS.validate_python(header)
    except ValidationError as error:
        raise Malformed(f"{what}: header", ": ".join(fault_of(error))) from error
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda one: one[1].data_offsets):
        begin, after = tensor.data_offsets
        if begin != end or after - begin != _NUMBER_BYTES * prod(tensor.shape):
            raise Malformed(f"{what}: tensor {name!r}", "its bytes overlap others, or leave a gap")
        end = after
    if start + end != size:
        raise Malformed(what, f"{size} bytes, and its header describes {start + end}")
    data = np.memmap(path, np.uint8, "r", start) if end else np.empty(0, np.uint8)
    views = {
        name: data[slice(*tensor.data_offsets)].view("<f4").reshape(tensor.shape)
        for name, tensor in tensors.items()
    }
    return ModelFile(path, metadata, views)


def _header(data: bytes, what: str) -> dict[str, Any]:
    try:
        text, depth = data.decode("utf-8"), 0
        for match in _STRING_OR_BRACKET.finditer(text):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match.group(), 0)
            if depth > NESTING_MAX:
                raise ValueError(f"nested deeper than {NESTING_MAX} levels")
        value = read_json(text)
    except ValueError as error:
        raise Malformed(f"{what}: header", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed(f"{what}: header", "not a JSON object")
    return value
