"""Verify a reply before it is summed: either all of it is good, or it is dropped.

Each refusal has a word that goes into the manifest, which is public: it states why a site was left
out (`wardround.protocol.reasons`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from wardround.protocol.checks import (
    Asked,
    CheckFailed,
    check_copies,
    check_entry,
    check_report,
    check_update,
)
from wardround.protocol.errors import ProtocolError
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import Root, SiteAddress, hex_of
from wardround.protocol.messages import COUNTS_DTYPE, VECTOR_DTYPE, VECTOR_FORMAT, TrainReply
from wardround.protocol.record import RuleId, StudyParams
from wardround.protocol.settlement import Vector
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


def verify_reply(
    reply: Reply, site: SiteAddress, asked: Asked, base: Vector, this_round: Set[Root]
) -> tuple[TrainReply, IntVector]:
    """Check a reply completely.

    Args:
        reply: as it came.
        site: that was asked at this node.
        asked: what the round asks for.
        base: the model that it was asked to train.
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
    entry, study = delivery.entry, asked.facts.study
    if entry.site != site:
        raise ReplyRefused("impostor", f"speaks for {entry.site}")
    if (delivery.study, delivery.round) != (study, asked.round):
        raise ReplyRefused("wrong_round", f"study {hex_of(delivery.study)} round {delivery.round}")
    update = _vector(reply.vector, asked.facts.params)
    try:
        check_entry(asked.facts, asked.round, base.root, entry)
        check_update(asked, entry, update, base.values)
        check_report(asked, entry, delivery.report)
        check_copies(asked, update, entry.update, this_round)
    except CheckFailed as error:
        raise ReplyRefused(error.check, error.seen) from error
    return delivery, update


def _vector(raw: RawVector, params: StudyParams) -> IntVector:
    dtype = COUNTS_DTYPE if params.rule is RuleId.SUM else VECTOR_DTYPE
    if raw.dtype != dtype or raw.format != VECTOR_FORMAT:
        raise ReplyRefused("malformed", f"the update is {raw.dtype[:20]}, not {dtype}")
    if len(raw.data) != params.vector_size:
        raise ReplyRefused("length", f"{len(raw.data)} bytes where {params.vector_size} belong")
    return params.read_vector(raw.data)
