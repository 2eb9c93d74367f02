"""Everything that a site ever signed, from its own log, held against the chain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from wardround.audit.claims import earned_so_far
from wardround.chain.events import Overturned
from wardround.chain.study_state import ClosedOnChain
from wardround.chain.ward_round import WardRound
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.contribution import Entry, unpack_entries
from wardround.protocol.errors import SignatureInvalid
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, bytes32
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from wardround.store import Store
from wardround.store.errors import ObjectMissing
from wardround_client.guard.log import Line

Fate = Literal["included", "left out", "open", "overturned", "closed, sites not on chain", "forged"]


@dataclass(frozen=True)
class Signed:
    """One contribution and what became of it.

    Attributes:
        at: when it was signed, seconds since 1970.
        fate: ``overturned``: the chain went back, and the round starts from another model now.
            ``forged``: the site's key did not make the signature in the log.
    """

    study: StudyId
    round: int
    at: int
    weight: int
    update: str
    fate: Fate


@dataclass(frozen=True)
class Earnings:
    """What a study has paid a site, and what the site has earned by all closed rounds.

    Attributes:
        paid: by claims so far, in the token's smallest unit.
        earned: over all closed rounds; None when no store was given or a round's entries are
            neither there nor on chain.
    """

    study: StudyId
    paid: int
    earned: int | None


def history(
    lines: Iterable[Line], site: SiteAddress, ward: WardRound, store: Store | None
) -> tuple[list[Signed], list[Earnings]]:
    """Read a guard's log and ask the chain about every signature in it.

    The store has the manifests, which name who is in a round with root recording.
    """
    by_study: dict[StudyId, list[Line]] = {}
    for line in lines:
        if line["kind"] == "signed":
            by_study.setdefault(StudyId(bytes32(line["study"], "study")), []).append(line)
    signed: list[Signed] = []
    earned: list[Earnings] = []
    for study, own in by_study.items():
        closed = ward.closed_rounds(study)
        events = ward.events(study)
        undone = min((e.round for e in events if isinstance(e, Overturned)), default=None)
        for line in own:
            fate = _fate(line, site, ward, closed, store, undone)
            signed.append(
                Signed(study, line["round"], line["at"], line["weight"], line["update"], fate)
            )
        total = _earned(ward, study, store, site)
        earned.append(Earnings(study, ward.claimed(study, site), total))
    return signed, earned


def entry_of(line: Line, site: SiteAddress) -> Entry:
    """Rebuild the entry that was signed from a line of the log."""
    return Entry(
        site,
        line["weight"],
        Root(bytes32(line["update"], "update")),
        Digest(bytes32(line["report_sha256"], "report")),
        bytes.fromhex(line["signature"][2:]),
    )


def _earned(ward: WardRound, study: StudyId, store: Store | None, site: SiteAddress) -> int | None:
    if store is None:
        return None
    try:
        return earned_so_far(ward, study, store)[site]
    except ObjectMissing:
        return None


def _manifest(store: Store | None, closed: ClosedOnChain) -> Manifest | None:
    """Read a closed round's manifest; None when no store was given or it has none."""
    if store is None:
        return None
    try:
        data = store.get(cid_from_sha256(closed.closing.record.manifest), MANIFEST_MAX_BYTES)
    except ObjectMissing:
        return None
    return parse_manifest(data)


def _fate(
    line: Line,
    site: SiteAddress,
    ward: WardRound,
    closed: list[ClosedOnChain],
    store: Store | None,
    undone: int | None,
) -> Fate:
    number, entry = line["round"], entry_of(line, site)
    study, base = bytes32(line["study"], "study"), Root(bytes32(line["base"], "base"))
    try:
        statement = entry.contribution(StudyId(study), number, base)
        statement.check_signature(ward.domain, entry.signature)
    except SignatureInvalid:
        return "forged"
    if number > 1 and number - 2 < len(closed) and closed[number - 2].closing.record.model != base:
        return "overturned"
    if number > len(closed):
        return "overturned" if undone is not None and undone < number else "open"
    one = closed[number - 1]
    if one.entries is not None:
        return "included" if entry in unpack_entries(one.entries) else "left out"
    manifest = _manifest(store, one)
    if manifest is None:
        return "closed, sites not on chain"
    included = {row.signature for row in manifest.contributions}
    return "included" if line["signature"] in included else "left out"
