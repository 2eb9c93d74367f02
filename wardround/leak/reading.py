"""What an attacker has of a run: chain, store, and what a coordinator keeps besides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wardround.audit.finished import FinishedRun
from wardround.audit.folders import Folders
from wardround.chain.events import RoundClosed
from wardround.leak.replay import Floats
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import Int32Vector, vector_from_bytes
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from wardround.protocol.messages import Measured
from wardround.protocol.replay import fetch_specification
from wardround.protocol.report import REPORT_MAX_BYTES, parse_report
from wardround.protocol.study import StudySpec
from wardround.store import Store
from wardround.store.errors import ObjectSealed

#: Who attacks: a reader of what is public, or the coordinator of the study.
Role = Literal["reader", "coordinator"]


@dataclass(frozen=True, eq=False)
class Sent:
    """What is published of one site in one round.

    Attributes:
        weight: in the average.
        examples: rows that its report states.
        update: int32, shape (P,); None where no single update can be read.
    """

    weight: int
    examples: int
    update: Int32Vector | None


@dataclass(frozen=True, eq=False)
class PublishedRound:
    """One closing of a round; one that was overturned is an attempt that stays readable.

    Attributes:
        round: its number.
        base: the model before, int32, shape (P,).
        model: the model after.
        sent: by the name of the site.
        counts: whether the study went on from it.
    """

    round: int
    base: Int32Vector
    model: Int32Vector
    sent: Mapping[str, Sent]
    counts: bool = True


@dataclass(frozen=True)
class SiteMeasures:
    """What one site let a coordinator know of the model of one round.

    Attributes:
        examples: its test rows, or what its counts add up to.
        correct: rows of its test table that the model predicts right; None where only counts leave.
        loss: sum over its test rows, in nats; None where only counts leave, as since version 2.
    """

    round: int
    site: str
    examples: int
    correct: int | None = None
    loss: float | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """All that the attacker has. The rows themselves are not in it.

    Attributes:
        spec: of the study.
        sites: their names, which everybody is given.
        rounds: every closing whose models can be read, in order.
        measures: what a coordinator was sent; empty for a reader.
        sealed: why something cannot be read; empty where all can be.
    """

    spec: StudySpec
    sites: Sequence[str]
    rounds: Sequence[PublishedRound]
    measures: Sequence[SiteMeasures] = ()
    sealed: str = ""

    @property
    def unit(self) -> float:
        """What one step of the fixed point is worth."""
        return float(2.0**-self.spec.aggregation.scale_bits)

    @property
    def standing(self) -> list[PublishedRound]:
        """The rounds from which the study went on."""
        return [one for one in self.rounds if one.counts]

    def rounds_of(self, site: str) -> list[PublishedRound]:
        """The rounds in which a site's update can be read, overturned ones too."""
        return [
            one for one in self.rounds if site in one.sent and one.sent[site].update is not None
        ]

    def bases_of(self, site: str) -> Floats:
        """Models that the site's readable rounds start from, (R, P)."""
        return np.array([one.base for one in self.rounds_of(site)], np.float64) * self.unit

    def updates_of(self, site: str) -> Floats:
        """The site's readable updates, (R, P)."""
        found = [one.sent[site].update for one in self.rounds_of(site)]
        return np.array(found, np.float64) * self.unit


def read_run(run: FinishedRun, role: Role) -> Reading:
    """Read what is public of a run, and for a coordinator what its folder has besides.

    Keys, passwords and tables of sites are not opened, and neither is a simulation's key.

    Raises:
        StoreError: an object is missing or altered.
        ProtocolError: one is malformed.
        StudyMismatch: the chain has no such study.
    """
    facts, store = run.contract.facts(run.study), run.store
    spec = fetch_specification(facts, store.map)
    names = {address.lower(): name for name, address in run.file.sites.items()}
    valid = {number: closing.commitment for number, closing in run.contract.closings(run.study)}
    rounds: list[PublishedRound] = []
    sealed = ""
    for event in run.contract.events(run.study):
        if not isinstance(event, RoundClosed):
            continue
        counts = valid.get(event.round) == event.closing.commitment
        name = cid_from_sha256(event.closing.record.manifest)
        manifest = parse_manifest(store.map(name, MANIFEST_MAX_BYTES))
        try:
            rounds.append(_round(facts, store, manifest, names, counts))
        except ObjectSealed:
            sealed = "models and updates are encrypted, and no key to them is here"
    measures = read_measures(run.folders) if role == "coordinator" else ()
    return Reading(spec, list(run.file.sites), rounds, measures, sealed)


def _round(
    facts: StudyFacts, store: Store, manifest: Manifest, names: Mapping[str, str], counts: bool
) -> PublishedRound:
    sent: dict[str, Sent] = {}
    for row in manifest.contributions:
        try:
            update: Int32Vector | None = _vector(facts, store, row.update.cid)
        except ObjectSealed:
            update = None
        examples = _examples(store.map(row.report.cid, REPORT_MAX_BYTES), row.weight)
        sent[names.get(row.site, row.site)] = Sent(row.weight, examples, update)
    base, model = (_vector(facts, store, one.cid) for one in (manifest.base, manifest.model))
    return PublishedRound(manifest.round, base, model, sent, counts)


def _vector(facts: StudyFacts, store: Store, cid: str) -> Int32Vector:
    count = facts.params.parameter_count
    return vector_from_bytes(store.map(cid, 4 * count), count)


def _examples(report: bytes | memoryview, weight: int) -> int:
    try:
        return parse_report(report).examples
    except ProtocolError:
        # A coordinator had to take it as it was registered.
        return weight


def read_measures(folders: Folders) -> list[SiteMeasures]:
    """Read the rounds files of all coordinators; the first line on a round counts.

    Raises:
        Malformed: a line names no round, or its measures are no counts; carries file and line.
    """
    found: dict[int, list[SiteMeasures]] = {}
    for path in folders.all_rounds:
        lines = path.read_bytes().splitlines() if path.exists() else []
        for place, line in enumerate(lines, start=1):
            try:
                reported = _reported(line)
            except Malformed as error:
                raise Malformed(f"{path}:{place}", error.reason) from None
            for number, measures in reported.items():
                found.setdefault(number, measures)
    return [one for measures in found.values() for one in measures]


def _reported(line: bytes) -> dict[int, list[SiteMeasures]]:
    """Read one line: the measures of its round, or of none where the round was not closed."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}  # half a line, from a crash or of a run that goes on
    except RecursionError:
        raise Malformed("line", "it is nested too deeply") from None
    if not isinstance(value, dict):
        raise Malformed("line", "it is no JSON object")
    if "failed" in value:
        return {}
    number, measures = value.get("round"), value.get("measures", {})
    if type(number) is not int:  # True is an int to isinstance
        raise Malformed("line", "it names no round")
    if not isinstance(measures, dict):
        raise Malformed("line", "its measures are not by site")
    return {number: [_counted(number, site, fields) for site, fields in measures.items()]}


def _counted(number: int, site: str, fields: object) -> SiteMeasures:
    if not isinstance(fields, dict):
        raise Malformed("line", f"the measures of {site[:63]!r} are no JSON object")
    return SiteMeasures(number, site, sum(Measured.parse(fields).counts))
