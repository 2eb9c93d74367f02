"""Documents of the content store, checked against the chain.

A manifest is used only if it has the record's digest and agrees with the record and with earlier
ones. Signatures are checked one by one, so that a page can mark each.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from wardround.explorer.index.database import meta_of, transaction
from wardround.explorer.index.earned import add_earned
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import Domain, contributions_root, total_weight
from wardround.protocol.errors import ProtocolError, SignatureInvalid
from wardround.protocol.identifiers import Root, StudyId, address_of, bytes32, hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from wardround.protocol.report import REPORT_MAX_BYTES, parse_report
from wardround.protocol.rewards import shares_floor
from wardround.protocol.settlement import stored_scores
from wardround.protocol.study import parse_specification
from wardround.store import Store
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge, StoreError

Parsed = TypeVar("Parsed")
_SPECIFICATION_MAX_BYTES = 1 << 20


class ObjectReader:
    """Fetches the documents of closings and studies, and stores the results of their checks."""

    def __init__(self, connection: sqlite3.Connection, store: Store) -> None:
        """Begin.

        Args:
            connection: an index open to write.
            store: where objects are; every read of it is verified against the CID.
        """
        self._db = connection
        self._store = store
        meta = meta_of(connection)
        self._domain = Domain(int(meta["chain_id"]), address_of(meta["contract"]))

    def fetch(self, limit: int, again: bool = False) -> int:
        """Fetch objects for the first time, the newest first.

        Args:
            limit: how many closings and how many studies at most.
            again: retry those that were missing instead.

        Returns:
            How many closings and studies it looked at.
        """
        condition = "manifest.status = 'missing'" if again else "manifest.closing IS NULL"
        closings = self._db.execute(
            "SELECT closing.id FROM closing LEFT JOIN manifest ON manifest.closing = closing.id "
            f"WHERE {condition} ORDER BY closing.id DESC LIMIT ?",
            (limit,),
        ).fetchall()
        condition = "specification.status = 'missing'" if again else "specification.study IS NULL"
        studies = self._db.execute(
            "SELECT study.id, study.params FROM study "
            "LEFT JOIN specification ON specification.study = study.id "
            f"WHERE {condition} ORDER BY study.id DESC LIMIT ?",
            (limit,),
        ).fetchall()
        for key, params in studies:
            self._specification(key, json.loads(params)["specification"])
        for (key,) in closings:
            self._manifest(key)
        return len(studies) + len(closings)

    # ---------------------------------------------------------------- specification

    def _specification(self, key: int, digest: str) -> None:
        cid = cid_from_sha256(bytes32(digest, "specification"))
        status, reason, _, spec = self._parsed(cid, _SPECIFICATION_MAX_BYTES, parse_specification)
        document = None if spec is None else json.dumps(spec.document())
        if spec is not None and hex_of(spec.digest) != digest:
            status, reason = "contradicts", "its digest is not the one on chain"
        with transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO specification SELECT id, ?, ?, ?, ? FROM study "
                "WHERE id = ?",
                (cid, status, reason, document, key),
            )

    # ---------------------------------------------------------------- manifest

    def _manifest(self, key: int) -> None:
        row = self._db.execute(
            "SELECT study.study, closing.round, closing.contributions, closing.model, "
            "closing.manifest, closing.commitments, closing.count, closing.total_weight, "
            "closing.coordinator, json_extract(study.params, '$.parameterCount'), "
            "coalesce((SELECT before.model FROM closing AS before WHERE "
            "before.study = closing.study AND before.round = closing.round - 1 "
            "AND before.id < closing.id ORDER BY before.id DESC LIMIT 1), "
            "json_extract(study.params, '$.initialModel')), "
            "json_extract(study.params, '$.rewardPerRound') "
            "FROM closing JOIN study ON study.id = closing.study WHERE closing.id = ?",
            (key,),
        ).fetchone()
        if row is None:
            return
        cid = cid_from_sha256(bytes32(row[4], "manifest"))
        status, reason, data, manifest = self._parsed(cid, MANIFEST_MAX_BYTES, parse_manifest)
        if data is not None and manifest is not None:
            reason = self._contradiction(manifest, data, row)
            status = "contradicts" if reason else "verified"
        entries = self._entries(manifest, row) if manifest and status == "verified" else []
        document = None
        if manifest is not None:
            document = json.dumps(manifest.model_dump(mode="json", by_alias=True))
        with transaction(self._db):
            # A reorganisation may have removed it meanwhile.
            if not self._db.execute("SELECT 1 FROM closing WHERE id = ?", (key,)).fetchone():
                return
            self._db.execute("DELETE FROM manifest WHERE closing = ?", (key,))
            size = None if data is None else len(data)
            self._db.execute(
                "INSERT INTO manifest VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (key, cid, status, reason, size, document),
            )
            if manifest is None or status != "verified":
                return
            marks = ", ".join("?" * 12)
            shares = self._shares(manifest, int(row[11]))
            self._db.executemany(
                f"INSERT INTO entry VALUES ({marks})",
                [(key, *entry, shares.get(entry[0])) for entry in entries],
            )
            self._db.executemany(
                "INSERT INTO dropped VALUES (?, ?, ?, ?)",
                [(key, one.site, one.reason, one.evidence) for one in manifest.dropped],
            )
            add_earned(self._db, key)

    def _shares(self, manifest: Manifest, reward: int) -> dict[str, str]:
        """What each site earns of a round, in the token's smallest unit; none where unknown."""
        entries = [one.entry() for one in manifest.contributions]
        try:
            scores = stored_scores(manifest, self._store.get)
        except (StoreError, ProtocolError):
            return {}
        shares = shares_floor(reward, entries, total_weight(entries), scores)
        return {site.lower(): str(share) for site, share in shares.items()}

    def _contradiction(self, manifest: Manifest, data: bytes, row: Any) -> str:
        """How a manifest contradicts the chain; empty if it does not."""
        study, number, contributions, model, digest, commitments, count, weight = row[:8]
        coordinator, parameters, base = row[8:11]
        entries = [one.entry() for one in manifest.contributions]
        sites = [one.site for one in manifest.contributions]
        sites += [one.site for one in manifest.dropped]
        for site, times in Counter(sites).items():
            if times > 1:
                return f"it lists {site} more than once"
        stated = {
            "digest": (hex_of(sha256_digest(data)), digest),
            "chain": (manifest.chain_id, self._domain.chain_id),
            "contract": (manifest.contract, self._domain.contract.lower()),
            "study": (manifest.study, study),
            "round": (manifest.round, number),
            "coordinator": (manifest.coordinator, coordinator),
            "parameters": (manifest.parameters, parameters),
            "base model": (manifest.base.root, base),
            "model": (manifest.model.root, model),
            "commitments root": (hex_of(commitments_root(manifest.committed())), commitments),
            "number of contributions": (len(entries), count),
            "contributions root": (hex_of(contributions_root(entries)), contributions),
            "total weight": (total_weight(entries), weight),
        }
        for what, (found, expected) in stated.items():
            if found != expected:
                return f"its {what} is {found}, on chain it is {expected}"
        return ""

    def _entries(self, manifest: Manifest, row: Any) -> list[tuple[Any, ...]]:
        study, number = StudyId(bytes32(row[0], "study")), row[1]
        base = Root(bytes32(row[10], "base model"))
        found = []
        for one in manifest.contributions:
            entry = one.entry()
            try:
                statement = entry.contribution(study, number, base)
                statement.check_signature(self._domain, entry.signature)
                valid = 1
            except SignatureInvalid:
                valid = 0
            report_status, report = self._report(one.report.cid, one.report.sha256)
            found.append(
                (
                    one.site,
                    one.weight,
                    one.update.root,
                    one.update.cid,
                    one.report.sha256,
                    one.report.cid,
                    one.signature,
                    valid,
                    report_status,
                    report,
                )
            )
        return found

    def _report(self, cid: str, digest: str) -> tuple[str, str | None]:
        status, _, data, report = self._parsed(cid, REPORT_MAX_BYTES, parse_report)
        if data is not None and hex_of(sha256_digest(data)) != digest:
            return "contradicts", None
        return status, None if report is None else json.dumps(report.model_dump(mode="json"))

    def _parsed(
        self, cid: str, max_bytes: int, parse: Callable[[bytes], Parsed]
    ) -> tuple[str, str, bytes | None, Parsed | None]:
        """An object's status, the reason, its verified bytes, and what they are if well-formed."""
        status, reason, data = self._read(cid, max_bytes)
        if data is None:
            return status, reason, None, None
        try:
            return status, reason, data, parse(data)
        except ProtocolError as error:
            return "malformed", str(error), data, None

    def _read(self, cid: str, max_bytes: int) -> tuple[str, str, bytes | None]:
        """An object's status, the reason, and its bytes where they are verified."""
        try:
            return "verified", "", self._store.get(cid, max_bytes)
        except ObjectMissing:
            return "missing", "the store does not have it", None
        except ObjectAltered as error:
            return "altered", f"the bytes in the store give {error.found}", None
        except ObjectTooLarge as error:
            reason = f"{error.size_bytes} bytes where at most {error.max_bytes} belong"
            return "too_large", reason, None
        except (StoreError, ProtocolError, OSError) as error:
            return "missing", str(error), None
