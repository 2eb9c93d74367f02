"""What a run's folder has beside journal and store, held against what an audit has recomputed.

Each file is derived again or compared value by value, and has the fields that a run leaves and no
others. What neither chain nor store can tell, such as what sites measured or how long a round took,
is named at the end as not checked.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.audit.audit import AuditedRound, StudyAudit
from wardround.audit.errors import FileMismatch
from wardround.audit.event_lines import event_line, event_name
from wardround.audit.figures import FIGURES, figures_of
from wardround.audit.finished import FinishedRun
from wardround.audit.model_file import (
    check_layout,
    read_layout,
    verify_model,
)
from wardround.audit.plain_json import read_json
from wardround.chain.events import RoundClosed
from wardround.protocol.cid import sha256_of_cid
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import hex_of
from wardround.protocol.messages import Measured
from wardround.store.study_store import INDEX_FOLDER

#: Of a line of a rounds file, or of a summary.
_TEXT_MAX_BYTES = 1 << 26
#: Names of files in the store that are no objects.
_SHOWN_NAMES = 10

#: What a report has besides what chain and store give: what sites sent, figures of it, and times.
_FIGURES = frozenset(name for one in FIGURES for name in (one, f"pooled_{one}"))
#: Of the figures, those that noise is drawn for: another NumPy may draw another.
_DRAWN = frozenset(name for name in _FIGURES if name.endswith("_interval"))
_REPORTED = _DRAWN | {"measures", "wall_seconds"}
#: What a summary has besides, and its part on the final model.
_SUMMED_UP = frozenset({"folder", "wall_seconds"})
_MEASURED = frozenset(
    {"accuracy", "average_accuracy", "pooled_accuracy", "pooled_auc", "pooled_log_loss"}
)
#: Figures are sums of fractions and logarithms, in whose last digits machines differ.
_PRECISION = 1e-9

#: Where chain and store are read from.
_REPLAYED = ("journal.jsonl", "store")
#: Why an entry of the folder is not compared with anything.
_NOT_COMPARED = {
    "plots": "pictures of the figures of rounds.jsonl",
    "scenario.toml": "what the run was started with; the specification in the store is checked",
}
#: Of the parties, or of the machine that ran them.
_PRIVATE = (
    "auditor", "chain", "coordinator", "logs", "passwords", "processes.json", "simulation.key",
    "sites", "sponsor-reading.key", "sponsor.key",
)  # fmt: skip


@dataclass(frozen=True)
class RoundReport:
    """A line of a rounds file, with its place."""

    path: Path
    line: int
    value: dict[str, Any]

    @property
    def place(self) -> str:
        """The line, for people."""
        return f"line {self.line}"


class RunFolderAudit:
    """An audit of a run's folder: first each recomputed round, then the files.

    Attributes:
        compared: the files that follow from chain and store.
        unchecked: what was not checked, a line each.
    """

    def __init__(self, run: FinishedRun, work: StudyAudit) -> None:
        """Take the run, and the audit that recomputes its rounds."""
        self.run, self.work = run, work
        self.compared: list[str] = []
        self.unchecked: list[str] = []
        self._addresses = {name: address.lower() for name, address in run.file.sites.items()}
        self._rounds: dict[int, dict[str, Any]] = {}
        self._earned: Counter[str] = Counter()

    def add(self, audited: AuditedRound) -> None:
        """Keep what a recomputed round gives for the files."""
        manifest = audited.manifest
        shares = {site.lower(): str(share) for site, share in audited.shares.items()}
        self._rounds[audited.closed.round] = {
            "round": audited.closed.round,
            "model": hex_of(audited.record.model),
            "gas": audited.closed.gas_used,
            "contributors": [row.site for row in manifest.contributions],
            "dropped": [{"site": row.site, "reason": row.reason} for row in manifest.dropped],
            "rewards": shares,
        }
        self._earned.update({site: int(share) for site, share in shares.items()})

    def check(self) -> None:
        """Compare the files; what is not compared is in `unchecked` then.

        Raises:
            FileMismatch: a file is not what chain and store give; names file and place.
            Malformed: a model or layout has not its form.
            LearningError: the model of the layout cannot be built.
        """
        self._check_network()
        reports = self._check_rounds()
        self._check_summary(reports)
        self._check_events()
        self._check_layout()
        self._check_model()
        self._name_others()

    # ---------------------------------------------------------------- one file each

    def _check_network(self) -> None:
        """Chain, contract and study led to what was recomputed; the rest is compared here."""
        path, file = self._noted(self.run.folders.network), self.run.file
        params, spec = self.work.facts.params, self.work.spec
        _require(path, "chain_id", file.chain_id, self.work.facts.domain.chain_id)
        _require(path, "format", file.format, "wardround-network/1")
        _require(path, "token", file.token, params.token.lower())
        _require(path, "scenario", file.scenario, spec.study.name)
        members = {site.lower() for site in self.work.facts.members}
        for name, address in self._addresses.items():
            if address not in members:
                raise FileMismatch(path, f"site {name!r}", address, "no member of this address")
        self._leave(path, "sites: which name is whose")
        rings = f"{INDEX_FOLDER}/rings-{hex_of(self.run.study)[2:]}"
        sealed = (self.run.folders.store / rings).exists()
        if sealed != (file.grants is not None):
            wanted = "one, since the store is encrypted" if sealed else "none: nothing is encrypted"
            raise FileMismatch(path, "grants", file.grants, wanted)
        if self.run.replayed is not None:
            self._leave(path, "chain: where it was; the journal has it")
            if file.journal is None:
                self._leave(path, "journal: it states none, as of a run that did not end")
            journal = self.run.folders.journal
            self._leave(journal, "timestamp, baseFee, hash, balances: the chain is the run's own")

    def _check_rounds(self) -> list[dict[str, Any]]:
        """Compare every rounds file, and return the reports that readers count, in order."""
        folders, counted = self.run.folders, dict[int, RoundReport]()
        found: list[RoundReport] = []
        for path in folders.all_rounds:
            if path.exists():
                reports = list(self._reports(path))
                found += reports
                counted = {**{one.value["round"]: one for one in reports}, **counted}
        for report in found:
            flaw = self._flaw(report) or self._flaw_of_figures(report)
            if flaw is None:
                continue
            if counted[report.value["round"]] is report:
                raise flaw
            else:
                self._leave(report.path, f"{report.place}, which a later report replaces")
        last = max(counted, default=0)
        for number in self._rounds:
            if number in counted:
                continue
            if number < last or folders.summary.exists():
                raise FileMismatch(
                    folders.rounds, f"the report on round {number}", "missing", "one"
                )
            self._leave(folders.rounds, f"round {number} is closed, and not reported yet")
        if found:
            self._leave(folders.rounds, f"{_listed(_REPORTED)}: what sites sent, and times")
        return [counted[number].value for number in sorted(counted)]

    def _reports(self, path: Path) -> Iterator[RoundReport]:
        self._noted(path)
        for number, line in _lines(path):
            try:
                value = read_json(line)
            except (ValueError, RecursionError):
                # A crash leaves half a line, and the round is reported again.
                self._leave(path, f"line {number}, which is not JSON")
                continue
            if isinstance(value, dict) and "failed" in value:
                self._leave(path, f"line {number}, on an attempt that closed no round")
                continue
            report = value.get("round") if isinstance(value, dict) else None
            if type(report) is not int or report not in self._rounds:
                closed = f"{len(self._rounds)} closed rounds"
                if self.run.replayed is not None:
                    closed += " (if more were closed, the journal lacks its last lines)"
                raise FileMismatch(path, f"the round of line {number}", report, closed)
            yield RoundReport(path, number, value)

    def _flaw(self, report: RoundReport) -> FileMismatch | None:
        expected, value = self._rounds[report.value["round"]], report.value
        try:
            found = {
                **value,
                "contributors": [self._address(name) for name in value["contributors"]],
                "dropped": [
                    {**row, "site": self._address(row["site"])} for row in value["dropped"]
                ],
                "rewards": {self._address(name): paid for name, paid in value["rewards"].items()},
            }
        except (KeyError, TypeError, AttributeError) as error:
            return FileMismatch(report.path, report.place, f"without {error}", "a round's report")
        for key, wanted in expected.items():
            if not _same(found.get(key), wanted):
                what = f"{key} of round {expected['round']} ({report.place})"
                return FileMismatch(
                    report.path, what, json.dumps(value.get(key)), self._named(wanted)
                )
        where = f"of round {expected['round']} ({report.place})"
        return _flaw_of_keys(report.path, value, expected.keys() | _FIGURES | _REPORTED, where)

    def _flaw_of_figures(self, report: RoundReport) -> FileMismatch | None:
        """Compare the figures with the counts that they are made of, which only sites know."""
        value, where = report.value, f"of round {report.value['round']} ({report.place})"
        try:
            measured = {site: Measured.parse(one) for site, one in value["measures"].items()}
        except (AttributeError, TypeError, Malformed) as error:
            return FileMismatch(report.path, f"measures {where}", error, "counts by site")
        for key, wanted in figures_of(measured).items():
            found = value[key]
            if key in _DRAWN:
                continue
            if not _close(found, wanted):
                given = json.dumps(found), json.dumps(wanted), "its counts give"
                return FileMismatch(report.path, f"{key} {where}", *given)
        return None

    def _check_summary(self, reports: list[dict[str, Any]]) -> None:
        path = self._noted(self.run.folders.summary)
        if not path.exists():
            self._leave(path, "not there: the run was not summed up")
            return
        try:
            summary = read_json(_whole(path))
            final = summary.get("final", {})
            final.keys()
        except (ValueError, RecursionError, AttributeError) as error:
            raise FileMismatch(
                path, "the whole", f"no summary ({error})", "a JSON object"
            ) from error
        params = self.work.facts.params
        expected = {
            "study": hex_of(self.run.study),
            "scenario": self.work.spec.study.name,
            "specification": hex_of(params.specification),
            "contract": self.run.contract.address,
            "chain_id": self.work.facts.domain.chain_id,
        }
        for key, wanted in expected.items():
            _require(path, key, summary.get(key), wanted)
        rounds = summary.get("rounds")
        if not isinstance(rounds, list) or len(rounds) != len(reports):
            count = len(rounds) if isinstance(rounds, list) else rounds
            raise FileMismatch(path, "rounds", count, f"{len(reports)} rounds")
        for number, (found, report) in enumerate(zip(rounds, reports, strict=True), 1):
            if not _same(found, report):
                key = _first_difference(found, report)
                what, given = f"{key} of rounds[{number - 1}]", _part(report, key)
                by = f"{self.run.folders.rounds.name} gives"
                raise FileMismatch(path, what, _part(found, key), given, by)
        checked = {"round", "model", "earned"} if reports else set()
        if checked:
            last = reports[-1]
            _require(path, "round of final", final.get("round"), last["round"])
            _require(path, "model of final", final.get("model"), last["model"])
            earned = {site: str(amount) for site, amount in sorted(self._earned.items())}
            _require(path, "earned of final", final.get("earned"), earned)
        known = expected.keys() | _SUMMED_UP | {"rounds"} | ({"final"} if reports else set())
        flaw = _flaw_of_keys(path, summary, known, "of the summary")
        flaw = flaw or _flaw_of_keys(path, final, checked and checked | _MEASURED, "of final")
        if flaw is not None:
            raise flaw
        taken = _SUMMED_UP | {f"final.{key}" for key in _MEASURED if reports}
        self._leave(path, f"{_listed(taken)}: what the simulation measured, and times")

    def _check_events(self) -> None:
        path = self._noted(self.run.folders.events)
        if not path.exists():
            self._leave(path, "not there: the run was not summed up")
            return
        events = self.run.contract.events(self.run.study)
        needed = max(
            (at for at, one in enumerate(events, 1) if isinstance(one, RoundClosed)), default=0
        )
        count = 0
        for number, line in _lines(path):
            if number > len(events):
                raise FileMismatch(path, f"line {number}", "there", f"{len(events)} events")
            wanted = event_line(events[number - 1])
            if line != wanted.encode() + b"\n":
                found = line.decode("utf-8", "replace").rstrip("\n")
                raise FileMismatch(path, f"line {number}", *_around(found, wanted))
            count = number
        if count < needed:
            name = event_name(events[count])
            raise FileMismatch(path, f"line {count + 1}", "missing", f"the event {name}")
        if later := sorted({event_name(one) for one in events[count:]}):
            self._leave(path, f"{len(events) - count} later events are not in it: {_listed(later)}")

    def _check_layout(self) -> None:
        path = self._noted(self.run.folders.layout)
        if not path.exists():
            self._leave(path, "not there")
            return
        try:
            value = read_json(_whole(path))
        except (ValueError, RecursionError) as error:
            raise FileMismatch(path, "the whole", f"not JSON ({error})", "a layout") from error
        check_layout(self.work.spec, read_layout(value, str(path)), path)

    def _check_model(self) -> None:
        path = self.run.folders.model(sealed=self.run.file.grants is not None)
        self._noted(path)
        if not path.exists():
            self._leave(path, "not there: the run was not summed up")
            return
        _, closed = verify_model(path, self.run.contract, self.run.study, self.run.store)
        _require(path, "metadata 'round'", closed.round, len(self._rounds))

    def _name_others(self) -> None:
        root, private = self.run.folders.root, []
        for entry in sorted(root.iterdir()):
            if entry.name in _NOT_COMPARED:
                self._leave(entry, _NOT_COMPARED[entry.name])
            elif entry.name in _PRIVATE or entry.name.startswith("standby-"):
                private.append(entry.name)
            elif entry.name not in (*self.compared, *_REPLAYED):
                self._leave(entry, "no file that a run is known to leave")
        index = self.run.folders.store / INDEX_FOLDER
        if index.is_dir():
            self._leave(index, "an index: encrypted objects name themselves")
        for path in self._no_objects():
            self._leave(path, "no object of the store")
        if private:
            self.unchecked.append(f"{', '.join(private)}: the parties' own keys, homes and logs")

    def _no_objects(self) -> list[Path]:
        store = self.run.folders.store
        found = []
        for path in sorted(store.iterdir()) if store.is_dir() else ():
            try:
                sha256_of_cid(path.name)
            except Malformed:
                if path.name != INDEX_FOLDER:
                    found.append(path)
        return found[:_SHOWN_NAMES]

    # ---------------------------------------------------------------- words

    def _noted(self, path: Path) -> Path:
        if path.exists():
            self.compared.append(path.relative_to(self.run.folders.root).as_posix())
        return path

    def _leave(self, path: Path, why: str) -> None:
        self.unchecked.append(f"{path.relative_to(self.run.folders.root)}: {why}")

    def _address(self, name: str) -> str:
        if name in self._addresses:
            return self._addresses[name]
        return name.lower()

    def _named(self, value: object) -> str:
        text = json.dumps(value)
        for name, address in self._addresses.items():
            text = text.replace(address, name)
        return text


# ---------------------------------------------------------------- files


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_TEXT_MAX_BYTES + 1):
            number += 1
            if len(line) > _TEXT_MAX_BYTES:
                raise FileMismatch(path, f"line {number}", "too long", "a short one")
            yield number, line


def _whole(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_TEXT_MAX_BYTES + 1)
    if len(data) > _TEXT_MAX_BYTES:
        raise FileMismatch(path, "the whole", "too long", f"{_TEXT_MAX_BYTES} bytes at most")
    return data


# ---------------------------------------------------------------- values


def _require(path: Path, what: str, found: object, expected: object) -> None:
    if not _same(found, expected):
        raise FileMismatch(path, what, json.dumps(found), json.dumps(expected))


def _same(one: object, other: object) -> bool:
    """As JSON: here 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _close(found: object, wanted: Any) -> bool:
    """Whether two figures, or two sites' figures, are equal but for their last digits."""
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(_close(found[site], one) for site, one in wanted.items())
        )
    if wanted is None or type(found) is not float:
        return found is wanted
    return math.isclose(found, float(wanted), rel_tol=_PRECISION, abs_tol=_PRECISION)


def _flaw_of_keys(
    path: Path, value: dict[str, Any], known: Collection[str], where: str
) -> FileMismatch | None:
    for key in sorted(value.keys() ^ set(known)):
        found, wanted = ("there", "no such field") if key in value else ("missing", "one")
        return FileMismatch(path, f"{key} {where}", found, wanted, "a run leaves")
    return None


def _first_difference(found: object, expected: dict[str, Any]) -> str:
    values = found if isinstance(found, dict) else {}
    return next(
        key
        for key in sorted(values.keys() | expected.keys())
        if (key in values) != (key in expected) or not _same(values.get(key), expected.get(key))
    )


def _part(value: object, key: str) -> str:
    return json.dumps(value[key]) if isinstance(value, dict) and key in value else "missing"


def _around(found: str, expected: str) -> tuple[str, str]:
    """The parts of two texts from a little before their first difference on."""
    at = next(
        (at for at, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]),
        min(len(found), len(expected)),
    )
    start = max(0, at - 40)
    return found[start:] or "nothing", expected[start:] or "nothing"


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))
