"""Verify a reply before it is summed: either all of it is good, or it is dropped.

Checks run from cheap to expensive. Each refusal has a word that goes into the manifest, which is
public: it states why a site was left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import ProtocolError, SignatureInvalid
from wardround.protocol.fixed_point import IntVector, largest_magnitude
from wardround.protocol.identifiers import Root, SiteAddress, StudyId, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import COUNTS_DTYPE, VECTOR_DTYPE, VECTOR_FORMAT, TrainReply
from wardround.protocol.record import Closing, RuleId, StudyParams
from wardround.protocol.replay import Member
from wardround.protocol.report import parse_report
from wardround.protocol.study import StudySpec
from wardround_coordinator.errors import ReplyRefused


@dataclass(frozen=True)
class RawVector:
    """A vector as it came: nothing about it is believed yet."""

    dtype: str
    format: str
    data: bytes


@dataclass(frozen=True)
class Reply:
    """A reply as it came from a node."""

    fields: Mapping[str, object]
    vector: RawVector


@dataclass(frozen=True)
class Expectation:
    """What a good reply in this round looks like.

    Attributes:
        known_updates: updates of the rounds before, by root: where each was first seen.
    """

    domain: Domain
    params: StudyParams
    spec: StudySpec
    round: int
    previous: Closing
    members: Mapping[SiteAddress, Member]
    known_updates: Mapping[Root, str]

    @property
    def study(self) -> StudyId:
        """The study's identifier."""
        return self.params.study_id


def verify_reply(
    reply: Reply, asked: SiteAddress, expected: Expectation, this_round: Set[Root]
) -> tuple[TrainReply, IntVector]:
    """Check a reply completely.

    Args:
        reply: as it came.
        asked: the site that was asked at this node.
        expected: what the round expects.
        this_round: roots of the updates already accepted in this round.
    Returns:
        The delivery, and its update, int32, of a sum int64, shape (P,), read-only.
    Raises:
        ReplyRefused: anything at all is wrong; the first thing found.
    """
    try:
        delivery = TrainReply.parse(reply.fields)
    except ProtocolError as error:
        raise ReplyRefused("malformed", str(error)) from error
    entry = delivery.entry
    if entry.site != asked:
        raise ReplyRefused("impostor", f"speaks for {entry.site}")
    member = expected.members.get(asked)
    if member is None or not member.belongs(expected.round):
        raise ReplyRefused("not_member", "the contract does not admit this site to this round")
    if (delivery.study, delivery.round) != (expected.study, expected.round):
        raise ReplyRefused("wrong_round", f"study {hex_of(delivery.study)} round {delivery.round}")
    if not 1 <= entry.weight <= member.max_weight:
        raise ReplyRefused("weight", f"{entry.weight} is not in 1 .. {member.max_weight}")
    update = _vector(reply.vector, expected.params)
    statement = entry.contribution(delivery.study, delivery.round, expected.previous.record.model)
    try:
        statement.check_signature(expected.domain, entry.signature)
    except SignatureInvalid as error:
        raise ReplyRefused("signature", error.reason) from error
    limit = expected.spec.update_limit
    if largest_magnitude(update) > limit:
        raise ReplyRefused("range", f"a coordinate exceeds {limit} in fixed point")
    if vector_root(update.data) != entry.update:
        raise ReplyRefused("root", "the update's bytes do not have the signed root")
    _check_report(delivery, expected)
    # Two sites may both have nothing to change, or count the same; any other equal was copied.
    if np.any(update) and expected.params.rule is not RuleId.SUM:
        if entry.update in this_round:
            raise ReplyRefused("copied_update", "another site of this round sent the same")
        if entry.update in expected.known_updates:
            raise ReplyRefused("copied_update", expected.known_updates[entry.update])
    return delivery, update


def _vector(raw: RawVector, params: StudyParams) -> IntVector:
    dtype = COUNTS_DTYPE if params.rule is RuleId.SUM else VECTOR_DTYPE
    if raw.dtype != dtype or raw.format != VECTOR_FORMAT:
        raise ReplyRefused("malformed", f"the update is {raw.dtype[:20]}, not {dtype}")
    if len(raw.data) != params.vector_size:
        raise ReplyRefused("length", f"{len(raw.data)} bytes where {params.vector_size} belong")
    return params.read_vector(raw.data)


def _check_report(delivery: TrainReply, expected: Expectation) -> None:
    if sha256_digest(delivery.report) != delivery.entry.report:
        raise ReplyRefused("report", "its digest is not the one signed")
    try:
        report = parse_report(delivery.report)
    except ProtocolError as error:
        raise ReplyRefused("report", str(error)) from error
    stated = (report.study, report.round, report.site)
    if stated != (hex_of(expected.study), expected.round, delivery.entry.site.lower()):
        raise ReplyRefused("report", "it speaks of another study, round or site")
    if report.code != hex_of(expected.params.code):
        raise ReplyRefused("code", f"the site ran {report.code}")
    if report.examples < delivery.entry.weight:
        raise ReplyRefused("weight", f"{delivery.entry.weight} of {report.examples} examples")
