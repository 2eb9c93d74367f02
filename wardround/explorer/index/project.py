"""Derives studies, members and closings from events, and stores them beside the events.

Each event must be able to follow the ones before it. This detects events that a node left out:
a closing whose contributions do not add up, a round that was never opened, a payment that does
not continue the last one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from eth_utils import keccak

from wardround.explorer.errors import NodeUnreliable
from wardround.explorer.index.database import PLACES
from wardround.explorer.index.decode import Decoded
from wardround.explorer.index.earned import recount_earned
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording, RuleId, ScoringId, StudyParties

_NOBODY = "0x" + "00" * 20
_FULL_RECORDING = 0
#: Parameters that are one of a few numbers, which no contract of ours lets pass otherwise.
_KINDS = {"recording": Recording, "rule": RuleId, "scoring": ScoringId}
#: Events that change nothing but counters, of which there may be a million.
_COUNTED = "Contributed"

_EVENT_COLUMNS = (
    "id, block, tx, log_index, contract, name, study, round, site, weight, root, reference, "
    "args, topics, data"
)


@dataclass
class _Study:
    """A study while its events are read."""

    id: int
    study: str
    params: Mapping[str, Any]
    coordinators: list[str]
    auditors: list[str]
    rounds: int
    head: int = 0
    coordinator: str | None = None
    opened_at: int | None = None
    final_through: int = 0
    hold_round: int = 0
    hold_until: int = 0
    ended: int = 0
    seats: dict[str, dict[str, Any]] = field(default_factory=dict)
    funded: int = 0
    paid: int = 0
    refunded: int = 0
    fees: int = 0
    deposits: int = 0
    collected: int = 0
    bonds_posted: int = 0
    bonds_released: int = 0
    slashed: int = 0
    burnt: int = 0


_FIXED = ("id", "study", "params", "coordinators", "auditors")
_DOCUMENTS = ("params", "coordinators", "auditors", "seats")
_AMOUNTS = (
    "funded", "paid", "refunded", "fees", "deposits", "collected", "bonds_posted",
    "bonds_released", "slashed", "burnt",
)  # fmt: skip
#: Events of Court that pay a deposit in.
_DEPOSITED = ("Demanded", "TallyOpened", "Committed")
#: A record by the contract's names, in the order of a closing's columns.
_RECORD = ("contributions", "model", "manifest", "commitments", "count", "totalWeight")


class Projector:
    """Writes events and what follows from them, inside the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._studies: dict[str, _Study] = {}
        self._counted: dict[tuple[int, str], list[int]] = {}
        #: Of the transaction being read: entries and their weight, since the last closing.
        self._entries: tuple[str, int, int] = ("", 0, 0)

    def forget(self) -> None:
        """Drop cached state, after a rollback or a failed transaction."""
        self._studies.clear()
        self._counted.clear()
        self._entries = ("", 0, 0)

    def add(self, events: Iterable[Decoded]) -> None:
        """Write events in chain order.

        Raises:
            NodeUnreliable: one cannot follow what is indexed.
        """
        # A study hangs on the event that it is named in.
        self._db.execute("PRAGMA defer_foreign_keys = ON")
        rows: list[tuple[Any, ...]] = []
        mentions: list[tuple[str, int]] = []
        touched: dict[str, _Study] = {}
        study: _Study | None
        for event in events:
            if event.name == _COUNTED:
                study = self._study(event)
                self._count(event, study)
            else:
                # What follows from an event may look for the events before it.
                self._write(rows, mentions)
                study = self._apply(event)
                if study is not None:
                    touched[study.study] = study
            rows.append(_row(event, None if study is None else study.id))
            key = rows[-1][0]
            mentions += [(address, key) for address in event.addresses]
            if event.name == "StudyCreated":
                self._write(rows, mentions)
            if event.name == "RoundClosed":
                assert study is not None
                self._close(event, study)
            if event.name == "Overturned":
                assert study is not None
                self._write(rows, mentions)
                self._overturn(event, study, key)
        self._write(rows, mentions)
        self._save(touched.values())
        self._flush_counters()

    def rebuild(self, studies: Iterable[int]) -> None:
        """Derive studies again from the remaining events, after a rollback."""
        self.forget()
        for key in studies:
            found = self._db.execute("SELECT study FROM study WHERE id = ?", (key,)).fetchone()
            if found is None:
                continue
            self._db.execute("DELETE FROM member WHERE study = ?", (key,))
            study: _Study | None = None
            query = (
                f"SELECT name, args, id FROM event WHERE study = ? AND name <> '{_COUNTED}' "
                f"AND (contract = 'WardRound' OR name IN {_DEPOSITED}) ORDER BY id"
            )
            for name, text, event in self._db.execute(query, (key,)).fetchall():
                args = json.loads(text)
                if name == "StudyCreated":
                    study = _created(event, args)
                    continue
                assert study is not None
                _change(study, name, args)
                self._member(study.id, name, args)
            assert study is not None
            self._studies[study.study] = study
            self._save([study])
            self._recount(study.id)

    # ---------------------------------------------------------------- one event

    def _study(self, event: Decoded) -> _Study:
        name = event.args["study"]
        found = self._studies.get(name) or self._load(name)
        if found is None:
            raise _out_of_place(event, f"its study {name} is not indexed")
        self._studies[name] = found
        return found

    def _count(self, event: Decoded, study: _Study) -> None:
        args = event.args
        if args["round"] != study.head:
            raise _out_of_place(event, f"round {args['round']} is not open, {study.head} is")
        counted = self._counted.setdefault((study.id, args["site"]), [0, 0])
        counted[0] += 1
        counted[1] += args["weight"]
        transaction, count, weight = self._entries
        if transaction != event.log.transaction_hash:
            transaction, count, weight = event.log.transaction_hash, 0, 0
        self._entries = (transaction, count + 1, weight + args["weight"])

    def _apply(self, event: Decoded) -> _Study | None:
        name, args = event.name, event.args
        if event.contract != "WardRound":
            found = self._court_study(event)
            if found is not None:
                _change(found, name, args)
            return found
        if name == "StudyCreated":
            parties = StudyParties.of(args["coordinators"], args["auditors"])
            if hex_of(parties.digest) != args["params"]["parties"]:
                raise _out_of_place(event, "its id names other coordinators or auditors")
            for kind, form in _KINDS.items():
                if args["params"][kind] not in list(form):
                    raise _out_of_place(event, f"no {kind} has the number {args['params'][kind]}")
            study = _created(_key(event), args)
            self._studies[study.study] = study
            accounts = {name: study.params[name] for name in ("sponsor", "token")}
            values = _columns(study) | accounts
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            query = f"INSERT INTO study ({names}) VALUES ({marks})"
            self._db.execute(query, list(values.values()))
            return study
        study = self._study(event)
        self._check(event, study)
        _change(study, name, args)
        self._member(study.id, name, args)
        return study

    def _check(self, event: Decoded, study: _Study) -> None:
        name, args = event.name, event.args
        number = args.get("round", 0)
        if (
            name in ("RoundClosed", "CohortLocked", "Registered", "TookOver")
            and number != study.head
        ):
            raise _out_of_place(event, f"round {number} is not open, {study.head} is")
        # A lock of the open round is overturned like a closing.
        locks = name == "Overturned" and study.params["lockedCohort"]
        last = study.head if locks else study.head - 1
        if name in ("Overturned", "Attested") and not 0 < number <= last:
            raise _out_of_place(event, f"round {number} is not closed")
        if name == "StudyOpened" and study.head != 0:
            raise _out_of_place(event, "the study is open")
        fixes = "CohortLocked" if study.params["lockedCohort"] else "RoundClosed"
        if name == fixes and study.params["recording"] == _FULL_RECORDING:
            transaction, count, weight = self._entries
            if transaction != event.log.transaction_hash:
                count = weight = 0
            record = args if name == "CohortLocked" else args["record"]
            if (count, weight) != (record["count"], record["totalWeight"]):
                reason = (
                    f"its record has {record['count']} entries of weight "
                    f"{record['totalWeight']}, there are {count} of {weight}"
                )
                raise _out_of_place(event, reason)
            self._entries = ("", 0, 0)
        if name == "Claimed":
            if not 0 < number < study.head:
                raise _out_of_place(event, f"round {number} is not closed")
            if self._paid(study.id, args["site"]) is None:
                raise _out_of_place(event, f"site {args['site']} was never admitted")

    def _paid(self, study: int, site: str) -> int | None:
        """What a member was paid so far; None where there is no such member."""
        row = self._db.execute(
            "SELECT paid FROM member WHERE study = ? AND site = ?", (study, site)
        ).fetchone()
        return None if row is None else int(row[0])

    def _court_study(self, event: Decoded) -> _Study | None:
        args = event.args
        if "study" in args:
            return self._study(event)
        reference = _reference(args)
        found = self._db.execute(
            "SELECT study.study, event.round, event.args FROM event "
            "JOIN study ON study.id = event.study "
            "WHERE reference = ? ORDER BY event.id LIMIT 1",
            (reference,),
        ).fetchone()
        if found is None:
            raise _out_of_place(event, f"what it is about, {reference}, is not indexed")
        # Stored with the event, so that the round's page finds it, and shows whose it is.
        args["study"], args["round"] = found[:2]
        begun = json.loads(found[2])
        args.update({one: begun[one] for one in ("challenger", "demander") if one in begun})
        return self._studies.get(found[0]) or self._load(found[0])

    # ---------------------------------------------------------------- rows

    def _write(self, rows: list[tuple[Any, ...]], mentions: list[tuple[str, int]]) -> None:
        if not rows:
            return
        marks = ", ".join("?" * len(rows[0]))
        self._db.executemany(f"INSERT INTO event ({_EVENT_COLUMNS}) VALUES ({marks})", rows)
        self._db.executemany("INSERT OR IGNORE INTO mention VALUES (?, ?)", mentions)
        rows.clear()
        mentions.clear()

    def _close(self, event: Decoded, study: _Study) -> None:
        args, record = event.args, event.args["record"]
        # The event's data are the closing as the contract encodes and hashes it.
        commitment = hex_of(keccak(event.log.data))
        values = [
            _key(event),
            study.id,
            args["round"],
            commitment,
            *(record[one] for one in _RECORD),
        ]
        self._db.execute(
            "INSERT INTO closing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce("
            "(SELECT tx FROM event WHERE study = ?2 AND round = ?3 AND name = 'CohortLocked' "
            "ORDER BY id DESC LIMIT 1), ?13), NULL)",
            [*values, args["coordinator"], args["closedAt"], _row(event, None)[2]],
        )

    def _overturn(self, event: Decoded, study: _Study, key: int) -> None:
        self._db.execute(
            "UPDATE closing SET overturned = ? "
            "WHERE study = ? AND round >= ? AND overturned IS NULL",
            (key, study.id, event.args["round"]),
        )
        self._flush_counters()
        self._recount(study.id)

    def _member(self, study: int, name: str, args: Mapping[str, Any]) -> None:
        if name == "SiteAdmitted":
            self._db.execute(
                "INSERT INTO member VALUES (?, ?, ?, ?, ?, NULL, 0, 0, '0')",
                (study, args["site"], args["payout"], args["maxWeight"], args["since"]),
            )
        elif name == "SiteRemoved":
            self._db.execute(
                "UPDATE member SET until = ? WHERE study = ? AND site = ?",
                (args["until"], study, args["site"]),
            )
        elif name == "PayoutChanged":
            self._db.execute(
                "UPDATE member SET payout = ? WHERE study = ? AND site = ?",
                (args["payout"], study, args["site"]),
            )
        elif name == "Claimed":
            paid = (self._paid(study, args["site"]) or 0) + int(args["amount"])
            self._db.execute(
                "UPDATE member SET paid = ? WHERE study = ? AND site = ?",
                (str(paid), study, args["site"]),
            )

    def _flush_counters(self) -> None:
        self._db.executemany(
            "UPDATE member SET contributions = contributions + ?, weight = weight + ? "
            "WHERE study = ? AND site = ?",
            [(count, weight, *key) for key, (count, weight) in self._counted.items()],
        )
        self._counted.clear()

    def _recount(self, study: int) -> None:
        """Count contributions of rounds that are not overturned, with the one being closed."""
        recount_earned(self._db, study)
        self._db.execute(
            "UPDATE member SET contributions = 0, weight = 0 WHERE study = ?", (study,)
        )
        rows = self._db.execute(
            "SELECT count(*), sum(event.weight), event.study, event.site FROM closing "
            "JOIN event ON event.study = closing.study AND event.round = closing.round "
            "AND event.name = 'Contributed' AND event.tx = closing.entries_tx "
            "WHERE closing.study = ? AND closing.overturned IS NULL GROUP BY event.site",
            (study,),
        ).fetchall()
        self._db.executemany(
            "UPDATE member SET contributions = ?, weight = ? WHERE study = ? AND site = ?", rows
        )

    def _save(self, studies: Iterable[_Study]) -> None:
        for study in studies:
            values = _columns(study)
            changing = {name: values[name] for name in values if name not in _FIXED}
            self._db.execute(
                f"UPDATE study SET {', '.join(f'{name} = ?' for name in changing)} WHERE id = ?",
                [*changing.values(), study.id],
            )

    def _load(self, name: str) -> _Study | None:
        names = [one.name for one in fields(_Study)]
        query = f"SELECT {', '.join(names)} FROM study WHERE study = ?"
        row = self._db.execute(query, (name,)).fetchone()
        if row is None:
            return None
        values = dict(zip(names, row, strict=True))
        values |= {name: json.loads(values[name]) for name in _DOCUMENTS}
        values |= {name: int(values[name]) for name in _AMOUNTS}
        return _Study(**values)


def _columns(study: _Study) -> dict[str, Any]:
    """A study as the index stores it."""
    values = dict(vars(study))
    values |= {name: json.dumps(values[name]) for name in _DOCUMENTS}
    return values | {name: str(values[name]) for name in _AMOUNTS}


def _created(key: int, args: Mapping[str, Any]) -> _Study:
    seats = {
        address: {"place": place, "bond": "0", "bonded": False, "barred": False}
        for place, address in enumerate(args["coordinators"], start=1)
    }
    params = args["params"]
    return _Study(
        key,
        args["study"],
        params,
        list(args["coordinators"]),
        list(args["auditors"]),
        params["rounds"],
        seats=seats,
    )


def _change(study: _Study, name: str, args: Mapping[str, Any]) -> None:
    """Apply an event to a study, without its members."""
    match name:
        case "Funded":
            study.funded += int(args["amount"])
        case "BondPosted":
            study.bonds_posted += int(args["amount"])
            seat = study.seats[args["coordinator"]]
            seat["bond"], seat["bonded"] = args["amount"], True
        case "BondReleased":
            study.bonds_released += int(args["amount"])
            seat = study.seats[args["coordinator"]]
            seat["bond"], seat["bonded"] = "0", False
        case "StudyOpened":
            study.head, study.coordinator = 1, args["coordinator"]
            study.opened_at = args["openedAt"]
        case "RoundClosed":
            study.head = args["round"] + 1
            study.opened_at = args["closedAt"]
        case "TookOver":
            study.coordinator, study.opened_at = args["to"], args["openedAt"]
        case "Overturned":
            study.head, study.opened_at = args["round"], args["openedAt"]
            study.coordinator = None if args["next"] == _NOBODY else args["next"]
            if study.hold_round >= args["round"]:
                study.hold_until = 0
        case "Slashed":
            lost = int(args["reward"]) + int(args["burnt"])
            study.slashed += lost
            study.burnt += int(args["burnt"])
            seat = study.seats[args["coordinator"]]
            seat["bond"], seat["bonded"], seat["barred"] = "0", False, True
        case "Held":
            study.hold_round, study.hold_until = args["round"], args["until"]
        case "Attested":
            study.final_through = max(study.final_through, args["round"])
        case "Claimed":
            study.paid += int(args["amount"])
        case "ClosingFeePaid":
            study.fees += int(args["amount"])
        case "Demanded" | "TallyOpened" | "Committed":
            study.deposits += int(study.params["deposit"])
        case "Collected":
            study.collected += int(args["amount"])
        case "Refunded":
            study.refunded += int(args["amount"])
        case "StudyEnded":
            study.rounds, study.ended = args["rounds"], 1
            study.head = max(study.head, 1)
        case _:
            pass  # it changes nothing of the study itself


def _row(event: Decoded, study: int | None) -> tuple[Any, ...]:
    args, log = event.args, event.log
    return (
        log.block * PLACES + log.log_index,
        log.block,
        log.block * PLACES + log.position,
        log.log_index,
        event.contract,
        event.name,
        study,
        args.get("round"),
        args.get("site"),
        args.get("weight"),
        args.get("update"),
        _reference(args),
        json.dumps(args, separators=(",", ":")),
        b"".join(log.topics),
        log.data,
    )


def _reference(args: Mapping[str, Any]) -> str | None:
    found = args.get("demand", args.get("tally"))
    return None if found is None else str(found)


def _key(event: Decoded) -> int:
    return event.log.block * PLACES + event.log.log_index


def _out_of_place(event: Decoded, reason: str) -> NodeUnreliable:
    return NodeUnreliable(
        f"block {event.log.block}, log {event.log.log_index}: {event.name} cannot follow what is "
        f"indexed ({reason}): an event before it is missing; ask another node, or begin at an "
        "earlier block."
    )
