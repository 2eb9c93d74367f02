"""The page of a round, and the bytes from which a reader's browser checks it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eth_utils import keccak

from wardround.explorer.events import EventFilter, event_data, list_events
from wardround.explorer.parameters import ROUND_MAX
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.rows import (
    ContributionRow,
    EventRow,
    RoundDetail,
    intervals,
    shares,
)
from wardround.explorer.studies import read_study
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.study import params_of
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import Root, bytes32, hex_of
from wardround.protocol.merkle import entries_root
from wardround.protocol.record import PARAMS_BYTES, Closing, Recording, genesis_closing

_ENTRIES_SHOWN = 200
_EVENTS = 50
#: Events that are about proving a round wrong, or about data for it.
_ATTESTED = "Attested"
# One a chunk, and one for many.
_DATA = ("ContributionDemanded", "ContributionAnswered")
_LOCKED = "CohortLocked"
_PLAIN = frozenset(
    {"Contributed", "RoundClosed", "StudyOpened", "TookOver", _ATTESTED, _LOCKED, *_DATA}
)


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


def round_page(explorer: Explorer, study: str, number: int, block: str | None) -> bytes:
    """One round, closed or open.

    Raises:
        NotIndexed: there is no such study, or the round is neither closed nor open.
    """
    reader = explorer.reader
    with reader.look():
        whole = read_study(reader, study)
        summary, params = whole.summary, params_of(whole.params)
        own = EventFilter(study=study, round=number)
        events = list_events(reader, own, limit=500).rows
        attested = EventFilter(study=study, name=_ATTESTED, round=number, round_to=ROUND_MAX)
        values: dict[str, Any] = {
            "study": summary,
            "params": params,
            "number": number,
            "sites": explorer.sites([one.site for one in whole.members], reader.names()),
            "extent": whole.extent,
            "has_next": number < min(summary.head, summary.rounds),
            "events": events[:_EVENTS],
            "attestations": list_events(reader, attested, limit=20).rows,
            "challenges": [one for one in events if one.name not in _PLAIN],
            "locked": _lock(events),
            "full": params.recording is Recording.FULL,
            "alerts": [],
            "entries": [],
        }
        if block is None and number == summary.head and summary.state == "open":
            values |= {
                "state": "open",
                "opened": read_open_round(reader, study),
                "closed": None,
                "registered": sum(one.name == "Registered" for one in values["events"]),
            }
        else:
            found = round_of(explorer, study, number, block)
            manifest, alerts = _checked(explorer, found, values["full"])
            statement = found.summary.statement or {}
            values |= {
                "state": found.summary.state,
                "closed": found,
                "superseded": block and found.summary.state == "overturned",
                "alerts": alerts,
                "entries": found.entries[:_ENTRIES_SHOWN],
                "members_count": len(found.entries) + len(found.dropped) + len(found.missed),
                "accuracy": shares(statement.get("accuracy")),
                "accuracy_interval": intervals(statement.get("accuracy_interval")),
                "manifest": manifest,
            }
        return explorer.page("round.html", **values)


def _lock(events: Sequence[EventRow]) -> EventRow | None:
    """The lock that a round was closed with; events are newest first."""
    last = next((one for one in events if one.name in (_LOCKED, "Overturned")), None)
    return last if last is not None and last.name == _LOCKED else None


def encoded_closings(reader: Reader, found: RoundDetail, initial_model: str) -> tuple[bytes, bytes]:
    """The closing of a round and the one of the round before, as the contract encodes them."""
    study, number = found.summary.study, found.summary.round
    closing = event_data(reader, study, found.summary.block_hash, "RoundClosed", number)
    if found.previous is None:
        return closing, genesis_closing(Root(bytes32(initial_model, "initial model"))).encode()
    before = found.previous.block_hash
    return closing, event_data(reader, study, before, "RoundClosed", number - 1)


def round_bytes(explorer: Explorer, study: str, number: int, block: str | None) -> dict[str, Any]:
    """What a reader's browser recomputes a round from: bytes, as hexadecimal, and no verdicts.

    Raises:
        NotIndexed: the round is not closed in the indexed blocks.
    """
    reader = explorer.reader
    with reader.look():
        found = round_of(explorer, study, number, block)
        whole = read_study(reader, study)
        summary = found.summary
        closing, previous = encoded_closings(reader, found, whole.params["initialModel"])
        created = event_data(reader, study, whole.summary.block_hash, "StudyCreated", None)
        health = reader.health()
    commitment, source = explorer.commitment(study, number)
    valid = summary.state != "overturned"
    full = whole.params["recording"] == Recording.FULL
    entries = explorer.entries(found.entries_transaction) if full else None
    return {
        "study": study,
        "round": number,
        "chainId": health.chain_id,
        "contract": health.contract,
        "params": hex_of(created[:PARAMS_BYTES]),
        "closing": hex_of(closing),
        "previous": hex_of(previous),
        "commitment": hex_of(commitment) if commitment and valid else None,
        "commitmentSource": source if valid else "an overturned closing is not kept there",
        "entries": None if entries is None else hex_of(entries),
        "full": full,
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
    roots = [
        bytes32(record[one], one) for one in ("contributions", "model", "manifest", "commitments")
    ]
    sums = (record["count"], record["totalWeight"])
    stated = Closing.from_abi(((*roots, *sums), summary.coordinator, summary.closed_at))
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
