"""The messages between coordinator and site, apart from their transport.

A message is a set of named scalars and at most one vector. Everything in it is checked against
the chain by its receiver, so the transport needs no trust.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form, fault_of
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, address_of
from wardround.protocol.record import Closing, StudyParams
from wardround.protocol.report import REPORT_MAX_BYTES

#: Names of the record with the scalars and of the one with the vector.
FIELDS, VECTOR = "fields", "vector"
#: How a vector travels: raw little-endian int32, read without unpickling anything.
VECTOR_DTYPE, VECTOR_FORMAT = "<i4", "wardround.raw"
#: In a study of sums.
COUNTS_DTYPE = "<i8"
#: Intervals of predicted probability by which a site counts its test rows: of equal width, closed
#: above; an even number, so that one ends at a half.
BINS = 20
#: Largest standard deviation of the noise on a count.
NOISE_MAX = 1e6
#: Noise is never so many standard deviations below zero.
_DEVIATIONS = 10
_SPECIFICATION_MAX_BYTES = 1 << 20
_NAME = re.compile("[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class TrainTask:
    """Coordinator to site: train from this model in this round. The vector is the base model.

    Attributes:
        measure: whether the answer shall tell, beside the update, what the site measures of the
            base model (`Measured`); a site that does not measure it trains all the same.
    """

    params: StudyParams
    previous: Closing
    round: int
    specification: bytes
    measure: bool = False

    @property
    def study(self) -> StudyId:
        """The study, which follows from its parameters."""
        return self.params.study_id

    def fields(self) -> dict[str, Any]:
        """Scalars to send."""
        return {
            "params": self.params.encode(),
            "previous": self.previous.encode(),
            "round": self.round,
            "specification": self.specification,
            "measure": self.measure,
        }

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> TrainTask:
        """Read what a coordinator sent.

        Raises:
            Malformed: a field is missing, strange or of another type.
        """
        values = _exactly(
            fields,
            {
                "params": bytes,
                "previous": bytes,
                "round": int,
                "specification": bytes,
                "measure": bool,
            },
        )
        if len(values["specification"]) > _SPECIFICATION_MAX_BYTES:
            raise Malformed("train task", "the specification is too long")
        return cls(
            params=StudyParams.decode(values["params"]),
            previous=Closing.decode(values["previous"]),
            round=values["round"],
            specification=values["specification"],
            measure=values["measure"],
        )


@dataclass(frozen=True)
class TrainReply:
    """Site to coordinator: a signed contribution and its report. The vector is the update."""

    study: StudyId
    round: int
    entry: Entry
    report: bytes

    def fields(self) -> dict[str, Any]:
        """Scalars to send."""
        return {
            "study": self.study,
            "round": self.round,
            "site": self.entry.site,
            "weight": self.entry.weight,
            "update": self.entry.update,
            "digest": self.entry.report,
            "signature": self.entry.signature,
            "report": self.report,
        }

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> TrainReply:
        """Read what a site sent.

        Raises:
            Malformed: a field is missing, strange, of another type or of another length.
        """
        values = _exactly(
            fields,
            {
                "study": bytes,
                "round": int,
                "site": str,
                "weight": int,
                "update": bytes,
                "digest": bytes,
                "signature": bytes,
                "report": bytes,
            },
        )
        for name, length in (("study", 32), ("update", 32), ("digest", 32), ("signature", 65)):
            if len(values[name]) != length:
                raise Malformed(name, f"{len(values[name])} bytes where {length} belong")
        if len(values["report"]) > REPORT_MAX_BYTES:
            raise Malformed("report", f"{len(values['report'])} bytes are too many")
        if not 0 <= values["weight"] < 2**64:
            raise Malformed("weight", f"{values['weight']} is not a weight")
        return cls(
            study=StudyId(values["study"]),
            round=values["round"],
            entry=Entry(
                site=address_of(values["site"]),
                weight=values["weight"],
                update=Root(values["update"]),
                report=Digest(values["digest"]),
                signature=values["signature"],
            ),
            report=values["report"],
        )


_RowCount = Annotated[int, Field(gt=-(2**53), lt=2**53)]


class Measured(Form):
    """Site to coordinator: test rows counted by what a model predicts and by what is true.

    The guard's log and the coordinator's rounds file have the same.

    Attributes:
        counts: two for each of `BINS` intervals, from the lowest probability on. With two classes
            of the probability of class 1, rows of class 0 and of class 1; with more, of the
            probability of the true class, wrong rows and right ones.
        two_classes: whether there are two.
        noise: standard deviation of the noise on each count; 0 where they are exact.
    """

    counts: Annotated[list[_RowCount], Field(min_length=2 * BINS, max_length=2 * BINS)]
    two_classes: bool
    noise: Annotated[FiniteFloat, Field(ge=0, le=NOISE_MAX)]

    @model_validator(mode="after")
    def _possible(self) -> Measured:
        if min(self.counts) < -_DEVIATIONS * self.noise:
            raise ValueError("a count is below zero by more than noise can do")
        return self

    def fields(self) -> dict[str, Any]:
        """Scalars and counts to send."""
        return self.model_dump()

    @classmethod
    def part(cls, fields: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Part the fields of a train reply from those of what was measured beside it.

        Returns:
            Both, unchecked.
        """
        names = cls.model_fields.keys()
        others = {name: value for name, value in fields.items() if name not in names}
        return others, {name: fields[name] for name in names & fields.keys()}

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> Measured:
        """Read what a site sent.

        Raises:
            Malformed: a field is missing, strange, of another type or out of range.
        """
        values = _exactly(fields, {"counts": list, "two_classes": bool, "noise": float})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            path, reason = fault_of(error)
            raise Malformed("measures", f"{path}: {reason}" if path else reason) from None


@dataclass(frozen=True)
class Introduction:
    """Site to coordinator: which address answers at this node."""

    site: SiteAddress
    name: str

    def fields(self) -> dict[str, Any]:
        """Scalars to send."""
        return {"site": self.site, "name": self.name}

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> Introduction:
        """Read what a site sent.

        Raises:
            Malformed: a field is missing, strange or of another type.
        """
        values = _exactly(fields, {"site": str, "name": str})
        # It is shown in tables and used as a key: a stranger's choice must stay harmless.
        if not _NAME.fullmatch(values["name"]):
            raise Malformed("name", "expected up to 63 lower-case letters, digits and hyphens")
        return cls(site=address_of(values["site"]), name=values["name"])


def _exactly(fields: Mapping[str, object], types: Mapping[str, type]) -> dict[str, Any]:
    for name in types:
        if name not in fields:
            raise Malformed("message", f"{name} is missing")
    for name, value in fields.items():
        if name not in types:
            raise Malformed("message", f"{str(name)[:40]!r} does not belong there")
        # type() and not isinstance(): True is an int to isinstance, and not to us.
        if type(value) is not types[name]:
            raise Malformed("message", f"{name} is not {types[name].__name__}")
    return dict(fields)
