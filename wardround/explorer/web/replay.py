"""Recomputes one round on the server and streams the progress, for a button on its page.

It takes the chain's facts as the index has them and everything else from the store, like an audit
(`wardround.protocol.replay`), but for one round: its base model is the one that the round
before committed to, checked against that commitment and not recomputed in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from wardround.chain.study_state import STILL_MEMBER
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.studies import read_study
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.round import encoded_closings, round_of
from wardround.explorer.web.study import params_of
from wardround.protocol.checks import History
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import ReplayFailed, WardroundError
from wardround.protocol.facts import Member, StudyFacts
from wardround.protocol.identifiers import address_of, hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.record import Closing, Recording
from wardround.protocol.replay import ClosedRound, fetch_specification, fetch_vector, replay_round
from wardround.protocol.settlement import Vector
from wardround.store import Store
from wardround.store.errors import ObjectSealed

_NOT_CHECKED = [
    (
        "that sites trained honestly on honest rows",
        "no replay can: it starts from what they signed",
    ),
    ("why a site was left out", "that is the coordinator’s word"),
    (
        "the rounds before",
        "their models are taken as committed, and no update is compared with theirs; wardround "
        "audit replays them all",
    ),
]


@dataclass(frozen=True)
class Replay:
    """One round to be recomputed, with the closing of the round before."""

    facts: StudyFacts
    previous: Closing
    closed: ClosedRound
    store: Store

    def steps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Recompute; yield named messages as work goes on, ``done`` last.

        The work runs in a thread of its own, which reports its progress.
        """
        reported: SimpleQueue[tuple[str, dict[str, Any]]] = SimpleQueue()
        Thread(target=self._work, args=(reported.put,), daemon=True).start()
        while True:
            message = reported.get()
            yield message
            if message[0] == "done":
                return

    def _work(self, report: Callable[[tuple[str, dict[str, Any]]], None]) -> None:
        def holds(title: str, detail: str) -> None:
            report(("step", {"kind": "holds", "title": title, "detail": detail}))

        read = 0

        def fetch(cid: str, limit: int) -> memoryview:
            nonlocal read
            data = self.store.map(cid, limit)
            read += 1
            words = f"The server is recomputing: {read} objects read and verified …"
            report(("progress", {"words": words}))
            return data

        number = self.closed.round
        try:
            spec = fetch_specification(self.facts, fetch)
            holds("Specification", "its digest is on chain, and it gives the study’s parameters")
            base = self._base(fetch)
            replayed = replay_round(self.facts, spec, base, self.closed, fetch, History())
        except ReplayFailed as error:
            report(("step", {"kind": "fails", "title": error.what, "detail": str(error)}))
            report(("done", {"holds": False, "words": f"It does not follow: {error}"}))
            return
        except ObjectSealed as error:
            report(
                ("step", {"kind": "skipped", "title": "Updates and models", "detail": str(error)})
            )
            words = (
                "It cannot be replayed here: updates and models are encrypted. The other button "
                "checks what is public."
            )
            report(("done", {"holds": None, "words": words}))
            return
        except (WardroundError, OSError) as error:
            report(("step", {"kind": "fails", "title": "Reading", "detail": str(error)}))
            report(("done", {"holds": False, "words": f"It cannot be replayed: {error}"}))
            return
        settled = replayed.settlement
        record = settled.record
        holds(f"{record.count} signatures", "each made by its site for this round and base model")
        holds(
            f"{record.count} updates and reports",
            "each has its signed digest, is within the study’s bound, and speaks of this round",
        )
        holds(
            f"Model by {settled.manifest.rule.name.replace('_', ' ')}",
            f"recomputed in integers, every byte equal: {hex_of(record.model)}",
        )
        for one in replayed.exemptions:
            detail = f"it had to be taken, {one.words}"
            report(("step", {"kind": "skipped", "title": f"Of {one.site}", "detail": detail}))
        holds("Manifest and record", "written again from all of the above, every byte equal")
        for title, detail in _NOT_CHECKED:
            report(("step", {"kind": "skipped", "title": title, "detail": detail}))
        words = f"Round {number} follows from its inputs, byte for byte ({read} objects read)."
        report(("done", {"holds": True, "words": words}))

    def _base(self, fetch: Callable[[str, int], memoryview]) -> Vector:
        """The base model, as the round before committed to it."""
        own = self.closed.closing.record.manifest
        manifest = parse_manifest(fetch(cid_from_sha256(own), MANIFEST_MAX_BYTES))
        base = Vector.of(fetch_vector(self.facts, fetch, manifest.base.cid))
        if base.root != self.previous.record.model:
            raise ReplayFailed(self.closed.round, "base model", "it is not the round before's")
        return base


def replay_of(explorer: Explorer, study: str, number: int, block: str | None) -> Replay:
    """Gather what a replay starts from.

    Raises:
        NotIndexed: the round is not closed in the indexed blocks.
        StoreError: there is no store.
    """
    store = explorer.objects.opened()
    reader = explorer.reader
    with reader.look():
        found = round_of(explorer, study, number, block)
        whole = read_study(reader, study)
        params = params_of(whole.params)
        closing, previous = encoded_closings(reader, found, whole.params["initialModel"])
        health = reader.health()
        chosen = EventFilter(study=study, round=number, name="Registered")
        registered = list_events(reader, chosen, limit=500).rows
        chosen = EventFilter(
            study=study, round=number, name="CohortLocked", to_block=found.summary.block
        )
        locks = list_events(reader, chosen, limit=1).rows
    members = {
        address_of(one.site): Member(one.max_weight, one.since, one.until or STILL_MEMBER)
        for one in whole.members
    }
    facts = StudyFacts(Domain(health.chain_id, health.contract), params, members)
    full = params.recording is Recording.FULL
    entries = explorer.entries(found.entries_transaction) if full else None
    closed = ClosedRound(
        number,
        Closing.decode(closing),
        entries,
        registered=lambda: {
            address_of(one.site): bytes.fromhex(one.args["entry"][2:])
            for one in registered
            if one.site
        },
        locked_by=lambda: locks[0].args["coordinator"] if locks else None,
    )
    return Replay(facts, Closing.decode(previous), closed, store)
