"""The page of a round, and the bytes from which a reader's browser checks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils import keccak

from wardround.explorer.events import EventFilter, event_data, list_events
from wardround.explorer.index.project import closing_of
from wardround.explorer.parameters import ROUND_MAX
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.rows import (
    ContributionRow,
    OpenRoundDetail,
    RoundDetail,
    StoredObject,
    shares,
)
from wardround.explorer.studies import read_study
from wardround.explorer.web.explorer import Explorer, NamedSite
from wardround.explorer.web.formats import span
from wardround.explorer.web.study import params_of
from wardround.explorer.web.words import REASONS
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import Root, address_of, bytes32, hex_of
from wardround.protocol.merkle import entries_root
from wardround.protocol.record import Recording, genesis_closing

_ENTRIES_SHOWN = 200
_EVENTS = 50
#: Events that are about proving a round wrong, or about data for it.
_ATTESTED = "Attested"
_PLAIN = frozenset({"Contributed", "RoundClosed", "StudyOpened", "TookOver", _ATTESTED})


@dataclass(frozen=True)
class TimelineStep:
    """A point of a round's timeline; `kind` is done, now, bad or empty."""

    kind: str
    title: str
    at: int | None = None
    words: str = ""
    until: int | None = None


@dataclass(frozen=True)
class MissingSite:
    """A member that is not in a round."""

    site: NamedSite
    reason: str
    meaning: str = ""
    evidence: str = ""


def round_of(explorer: Explorer, study: str, number: int, block: str | None) -> RoundDetail:
    """A closed round; with a block's hash, the closing in this block.

    Raises:
        NotIndexed: it is not closed in the indexed blocks, or not in that one.
    """
    found = read_round(explorer.reader, study, number)
    if block is None or found.summary.block_hash == block:
        return found
    for other in found.others:
        if other.block_hash == block:
            return read_round(explorer.reader, study, number, other.commitment)
    raise explorer.reader.missing(
        f"closing of round {number} in block {block}, which the chain may have given up,"
    )


def round_page(explorer: Explorer, study_id: str, number: int, block: str | None) -> bytes:
    """One round, closed or open.

    Raises:
        NotIndexed: there is no such study, or the round is neither closed nor open.
    """
    reader = explorer.reader
    with reader.look():
        study = read_study(reader, study_id)
        own = EventFilter(study=study_id, round=number)
        events = list_events(reader, own, limit=500).rows
        attested = EventFilter(study=study_id, name=_ATTESTED, round=number, round_to=ROUND_MAX)
        shared: dict[str, Any] = {
            "study": study.summary,
            "params": params_of(study.params),
            "number": number,
            "sites": explorer.sites([one.site for one in study.members], reader.names()),
            "extent": study.extent,
            "has_next": number < min(study.summary.head, study.summary.rounds),
            "events": events[:_EVENTS],
            "attestations": list_events(reader, attested, limit=20).rows,
            "challenges": [one for one in events if one.name not in _PLAIN],
        }
        if block is None and number == study.summary.head and study.summary.state == "open":
            return _open_page(explorer, shared, read_open_round(reader, study_id))
        found = round_of(explorer, study_id, number, block)
        return _closed_page(explorer, shared, found, block)


def _open_page(explorer: Explorer, shared: dict[str, Any], found: OpenRoundDetail) -> bytes:
    opened, deadline = found.opened_at, found.deadline
    late = found.extent.last_timestamp > deadline
    steps = [
        TimelineStep("done", "Opened", opened),
        TimelineStep(
            "bad" if late else "now",
            "Deadline",
            deadline,
            "to close it" if not late else "is over: a standby may take over soon",
            None if late else deadline,
        ),
        TimelineStep("", "A standby may take over", found.takeover_at),
        TimelineStep("", "Closed", None, "not yet"),
    ]
    registered = [one for one in shared["events"] if one.name == "Registered"]
    return explorer.page(
        "round.html",
        **shared,
        state="open",
        lead=f"Being worked on by its coordinator; {len(found.members)} sites may contribute.",
        steps=steps,
        closed=None,
        superseded=None,
        alerts=[],
        entries=[],
        members_count=len(found.members),
        missed=[],
        empty=(
            "Nothing yet",
            "Contributions reach the chain when the round is closed. "
            + (
                f"{len(registered)} sites have put theirs on chain themselves."
                if registered
                else "No site has put its own on chain."
            ),
        ),
    )


def _closed_page(
    explorer: Explorer, shared: dict[str, Any], found: RoundDetail, block: str | None
) -> bytes:
    summary, params = found.summary, shared["params"]
    sites: Mapping[str, NamedSite] = shared["sites"]
    accuracy = shares((summary.statement or {}).get("accuracy"))
    manifest, alerts = _checked(explorer, found, params.recording is Recording.FULL)
    missed = [
        MissingSite(_site(sites, one.site), one.reason, REASONS.get(one.reason, ""), one.evidence)
        for one in found.dropped
    ] + [
        MissingSite(_site(sites, one.site), "not mentioned", _why(found.manifest))
        for one in found.missed
    ]
    members = len(found.entries) + len(missed)
    return explorer.page(
        "round.html",
        **shared,
        state=summary.state,
        lead=_lead(found, members),
        steps=_steps(found, shared["extent"].last_timestamp),
        closed=found,
        superseded=found if block and summary.state == "overturned" else None,
        alerts=alerts,
        entries=found.entries[:_ENTRIES_SHOWN],
        entries_count=len(found.entries),
        members_count=members,
        accuracy=accuracy,
        full=params.recording is Recording.FULL,
        manifest=manifest,
        missed=missed,
        empty=("Not recorded here", f"The manifest is {found.manifest.status}."),
    )


def round_bytes(
    explorer: Explorer, study_id: str, number: int, block: str | None
) -> dict[str, Any]:
    """What a reader's browser recomputes a round from: bytes, as hexadecimal, and no verdicts.

    Raises:
        NotIndexed: the round is not closed in the indexed blocks.
    """
    reader = explorer.reader
    with reader.look():
        found = round_of(explorer, study_id, number, block)
        study = read_study(reader, study_id)
        summary = found.summary
        closing = event_data(reader, study_id, summary.block_hash, "RoundClosed", number)
        if found.previous is None:
            initial = bytes32(study.params["initialModel"], "initial model")
            previous = genesis_closing(Root(initial)).encode()
        else:
            before = found.previous.block_hash
            previous = event_data(reader, study_id, before, "RoundClosed", number - 1)
        created = event_data(reader, study_id, study.summary.block_hash, "StudyCreated", None)
        health = reader.health()
    answer = explorer.commitment(study_id, number)
    valid = summary.state != "overturned"
    entries = None
    if study.params["recording"] == Recording.FULL:
        entries = explorer.called(summary.transaction).value
    return {
        "study": study_id,
        "round": number,
        "chainId": health.chain_id,
        "contract": health.contract,
        "params": hex_of(created[:608]),
        "closing": hex_of(closing),
        "previous": hex_of(previous),
        "commitment": hex_of(answer.value) if answer.value and valid else None,
        "commitmentSource": answer.source if valid else "an overturned closing is not kept there",
        "entries": None if entries is None else hex_of(entries),
        "full": study.params["recording"] == Recording.FULL,
        "block": {"number": summary.block, "hash": summary.block_hash},
        "transaction": summary.transaction,
    }


# -------------------------------------------------------------------- inside


def _checked(
    explorer: Explorer, found: RoundDetail, full: bool
) -> tuple[Mapping[str, Any] | None, list[str]]:
    """The manifest, and what in index or store is not what was recorded.

    The page repeats the cheap checks each time it is shown; the button repeats all of them in the
    reader's browser.
    """
    summary, record = found.summary, found.record
    alerts = []
    raw = event_data(
        explorer.reader, summary.study, summary.block_hash, "RoundClosed", summary.round
    )
    stated = closing_of(record, address_of(summary.coordinator), summary.closed_at)
    if raw != stated.encode():
        alerts.append("The record in the index is not the one in the event’s own bytes.")
    if hex_of(keccak(raw)) != summary.commitment:
        alerts.append("The event’s bytes do not hash to the commitment in the index.")
    now = explorer.objects.altered(found.manifest.cid)
    if now or found.manifest.status in ("altered", "contradicts", "malformed", "too_large"):
        alerts.append(f"The manifest in the store is altered: {now or found.manifest.reason}")
    manifest = None
    if found.manifest.status == "verified":
        manifest = found.manifest.document
        if manifest is None or _digest(manifest) != record["manifest"]:
            alerts.append("The manifest in the index has not the digest in the record.")
    if manifest is not None and _root(found.entries, found) != record["contributions"]:
        alerts.append("The contributions in the index do not give the contributions root.")
    if full and any(not entry.on_chain for entry in found.entries):
        alerts.append("The index has contributions that no event of the chain speaks of.")
    return manifest, alerts


def _digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document's canonical form."""
    # Python's own writer, in C, gives the same bytes for all that manifests hold.
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hex_of(sha256_digest(plain.encode("utf-8", "replace")))


def _root(entries: list[ContributionRow], found: RoundDetail) -> str:
    """Contributions root of the entries as the index has them; empty where one is not complete."""
    document = found.manifest.document or {}
    try:
        reports = {row["site"]: row["report"]["sha256"] for row in document["contributions"]}
        packed = [
            bytes.fromhex(one.site[2:])
            + one.weight.to_bytes(8, "big")
            + bytes32(one.update, "update")
            + bytes32(reports[one.site], "report")
            + bytes.fromhex((one.signature or "")[2:])
            for one in entries
        ]
    except (KeyError, TypeError, ValueError, OverflowError, WardroundError):
        return ""
    return hex_of(entries_root(packed))


def _site(sites: Mapping[str, NamedSite], address: str) -> NamedSite:
    return sites.get(address, NamedSite(address))


def _why(manifest: StoredObject) -> str:
    if manifest.status != "verified":
        return "the manifest, which would give the reason, is not here"
    return "the manifest does not mention it: it was not asked, or was not admitted yet"


def _lead(found: RoundDetail, members: int) -> str:
    summary = found.summary
    words = f"{summary.contributors} of {members} members contributed"
    if found.opened_at is not None:
        words += f"; closed {span(summary.closed_at - found.opened_at)} after it opened"
    if summary.state == "overturned":
        return f"{words}. It was proven wrong, and is void."
    if summary.state == "final":
        return f"{words}. It is final: nothing can change it any more."
    return f"{words}. Until the challenge window is over, it can still be proved wrong."


def _steps(found: RoundDetail, now: int) -> list[TimelineStep]:
    summary = found.summary
    steps = []
    if found.opened_at is not None:
        steps.append(TimelineStep("done", "Opened", found.opened_at))
    spare = None if found.deadline is None else found.deadline - summary.closed_at
    words = ""
    if spare is not None:
        words = f"{span(abs(spare))} {'before' if spare >= 0 else 'after'} its deadline"
    steps.append(TimelineStep("done", "Closed", summary.closed_at, words))
    if summary.state == "overturned":
        proof = [
            one.timestamp
            for one in found.events
            if one.name == "Overturned" and one.transaction == summary.overturned_by
        ]
        at = proof[0] if proof else None
        return [
            *steps,
            TimelineStep("bad", "Overturned", at, "proven wrong before the court contract"),
        ]
    if summary.state == "final":
        attested = now < summary.challenge_until
        words = "by auditors, before the window was over" if attested else "the window is over"
        at = None if attested else summary.challenge_until
        return [*steps, TimelineStep("done", "Final", at, words)]
    return [
        *steps,
        TimelineStep(
            "now",
            "Challenge window",
            summary.challenge_until,
            "ends, unless a fault is proved",
            summary.challenge_until,
        ),
        TimelineStep("", "Final", None, "not yet"),
    ]
