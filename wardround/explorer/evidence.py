"""Write a study, or one of its rounds, into an archive that proves it."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wardround.audit.archive import BLOCKS, DESCRIPTION, FORMAT, INSTRUCTIONS, JOURNAL, TRANSACTIONS
from wardround.chain.artifacts import load_artifact
from wardround.chain.headers import read_header, receipts_root
from wardround.explorer.errors import ExplorerError
from wardround.explorer.index.database import PLACES, meta_of
from wardround.explorer.index.node import block_receipts
from wardround.explorer.reader import Reader
from wardround.explorer.rows import Extent
from wardround.explorer.source import Source
from wardround.host.durable import replacing
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.identifiers import bytes32
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.study import parse_specification
from wardround.protocol.version import PROTOCOL
from wardround.store import Store
from wardround.store.errors import ObjectMissing

#: What belongs to a study as a whole; of other events, those of the rounds that are asked for.
_WHOLE = (
    "StudyCreated",
    "Funded",
    "SiteAdmitted",
    "SiteRemoved",
    "PayoutChanged",
    "BondPosted",
    "StudyOpened",
    "StudyEnded",
)
_SPECIFICATION_MAX_BYTES = 1 << 20
_RECEIPT_FIELDS = ("type", "status", "cumulativeGasUsed", "logsBloom", "logs")
#: A fixed time in every entry, so that the same evidence is the same file.
_TIME = (1980, 1, 1, 0, 0, 0)


def export(
    source: Source, reader: Reader, study: str, round_number: int | None, path: Path
) -> list[str]:
    """Write an archive.

    Args:
        source: where the chain and the store are.
        reader: an index of it, taken in up to its tip.
        study: which.
        round_number: only this round, with what it takes to check it; by default all of them.
        path: the file to write; whole or not at all.

    Returns:
        What is missing, in words; such an archive proves less, and its audit lists what.

    Raises:
        NotIndexed: there is no such study or round.
        ExplorerError: there is no store, or the chain has changed meanwhile.
    """
    if source.store is None:
        raise ExplorerError(
            "an archive needs the documents of a content store: name it with --store."
        )
    with reader.look() as db:
        key = reader.study_key(study)
        (text,) = db.execute("SELECT params FROM study WHERE id = ?", (key,)).fetchone()
        params = json.loads(text)
        closings = db.execute(
            "SELECT round, manifest, overturned FROM closing WHERE study = ? "
            "AND (?2 IS NULL OR round IN (?2, ?2 - 1)) ORDER BY id",
            (key, round_number),
        ).fetchall()
        if round_number is not None and round_number not in {one[0] for one in closings}:
            raise reader.missing(f"closing of round {round_number} of study {study}")
        transactions = _transactions(db, key, round_number)
        extent = reader.extent()
    description = _description(source, study, round_number, closings, extent)
    missing: list[str] = []
    unsigned = sum(one["raw"] is None for one in transactions)
    if unsigned:
        missing.append(f"{unsigned} transactions as they were signed: the node does not give them")
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, DESCRIPTION, json.dumps(description, indent=1).encode())
        _add(archive, TRANSACTIONS, _lines(transactions))
        if source.journal is None:
            _add(archive, BLOCKS, _lines(_blocks(source, transactions)))
        else:
            _add(archive, JOURNAL, source.journal.read_bytes())
        for name in ("WardRound", "Court"):
            _add(archive, f"abi/{name}.json", json.dumps(load_artifact(name).abi).encode())
        for cid in _objects(source.store, params, closings, round_number, missing):
            _add(archive, f"objects/{cid}", source.store.map(cid))
        words = _instructions(source, study, round_number, extent, missing)
        _add(archive, INSTRUCTIONS, words.encode())
    return missing


def _description(
    source: Source, study: str, round_number: int | None, closings: list[Any], extent: Extent
) -> dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "format": FORMAT,
        **{key: source.identity[key] for key in ("contract", "court")},
        "chain_id": source.chain.chain_id,
        "study": study,
        "first_round": round_number or 1,
        "last_round": round_number or max((one[0] for one in closings), default=0),
        "first_block": extent.first_block,
        "last_block": extent.last_block,
        "last_hash": extent.last_hash,
    }


def _transactions(
    db: sqlite3.Connection, key: int, round_number: int | None
) -> list[dict[str, Any]]:
    marks = ", ".join("?" * len(_WHOLE))
    rows = db.execute(
        "SELECT tx.id, tx.hash, tx.block, block.hash AS block_hash, tx.gas_used, tx.raw FROM tx "
        "JOIN block ON block.number = tx.block WHERE tx.id IN (SELECT event.tx FROM event "
        "WHERE event.study = ?1 AND (?2 IS NULL OR event.round IN (?2, ?2 - 1) "
        f"OR event.name IN ({marks}))) ORDER BY tx.id",
        (key, round_number, *_WHOLE),
    ).fetchall()
    addresses = meta_of(db)
    address_of = {"WardRound": addresses["contract"], "Court": addresses["court"]}
    return [
        {
            "hash": one["hash"],
            "block": one["block"],
            "blockHash": one["block_hash"],
            "position": one["id"] % PLACES,
            "gasUsed": one["gas_used"] or 0,
            "raw": None if one["raw"] is None else "0x" + one["raw"].hex(),
            "logs": [
                {
                    "address": address_of[contract],
                    "topics": [
                        "0x" + topics[at : at + 32].hex() for at in range(0, len(topics), 32)
                    ],
                    "data": "0x" + data.hex(),
                    "index": index,
                }
                for contract, topics, data, index in db.execute(
                    "SELECT contract, topics, data, log_index FROM event WHERE tx = ? ORDER BY id",
                    (one["id"],),
                )
            ],
        }
        for one in rows
    ]


def _blocks(source: Source, transactions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Headers and receipts of the transactions' blocks, as the node gives them, checked."""
    wanted = {one["block"]: one["blockHash"] for one in transactions}
    for number, block_hash in wanted.items():
        block = source.chain.rpc("eth_getBlockByNumber", hex(number), False)
        if block is None or block["hash"].lower() != block_hash:
            raise ExplorerError(
                f"no archive was made: block {number} is no longer the chain's; try again."
            )
        receipts = block_receipts(source.chain.rpc, number)
        kept = [{name: one.get(name) for name in _RECEIPT_FIELDS} for one in receipts]
        for one in kept:
            one["type"] = one["type"] or "0x0"
            one["logs"] = [
                {name: log[name] for name in ("address", "topics", "data")} for log in one["logs"]
            ]
        header = {
            name: value
            for name, value in block.items()
            if name not in ("transactions", "uncles", "withdrawals", "size", "totalDifficulty")
        }
        if read_header(header).recomputed != block_hash or receipts_root(kept) != header.get(
            "receiptsRoot"
        ):
            raise ExplorerError(
                f"no archive was made: block {number}: header and receipts of this chain are not "
                "hashed as Ethereum's."
            )
        yield {"header": header, "receipts": kept}


def _objects(
    store: Store,
    params: dict[str, Any],
    closings: list[Any],
    round_number: int | None,
    missing: list[str],
) -> list[str]:
    """CIDs of everything that recomputing takes, each once."""
    found: dict[str, None] = {}

    def want(cid: str, words: str) -> bool:
        if cid in found:
            return True
        if not store.has(cid):
            missing.append(f"{words} ({cid})")
            return False
        found[cid] = None
        return True

    if want(_cid(params["specification"]), "the specification"):
        data = store.get(_cid(params["specification"]), _SPECIFICATION_MAX_BYTES)
        for name, cid in parse_specification(data).model.cids().items():
            want(cid, f"the study's own file {name}")
    for number, digest, overturned in closings:
        words = f"round {number}"
        if number != (round_number or number):
            continue  # of the round before, its closing is enough
        if not want(_cid(digest), f"the manifest of {words}"):
            continue
        if overturned is not None:
            continue  # it is not recomputed
        try:
            manifest = parse_manifest(store.get(_cid(digest), MANIFEST_MAX_BYTES))
        except ObjectMissing:
            continue
        want(manifest.base.cid, f"the model before {words}")
        want(manifest.model.cid, f"the model of {words}")
        for entry in manifest.contributions:
            want(entry.update.cid, f"an update of {words}")
            want(entry.report.cid, f"a report of {words}")
        for name, rows in manifest.commitments.items():
            want(rows.cid, f"{name} of {words}")
    return list(found)


def _cid(digest: str) -> str:
    return cid_from_sha256(bytes32(digest, "digest"))


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    # Vectors do not compress, text does; and a high ratio would be refused as a zip bomb.
    info.compress_type = zipfile.ZIP_STORED if name.startswith("objects/") else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, bytes(data))


def _lines(values: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values)


def _instructions(
    source: Source, study: str, round_number: int | None, extent: Extent, missing: list[str]
) -> str:
    what = "all its rounds" if round_number is None else f"its round {round_number}"
    lacking = "".join(f"  - {one}\n" for one in missing) or "  nothing\n"
    chain = (
        "The chain was a development chain: journal.jsonl has every transaction from its first\n"
        "block on, and verifying executes all of them again.\n"
        if source.journal is not None
        else "To be sure that these blocks are the chain's, ask any node of the chain for the\n"
        "hashes in chain/blocks.jsonl. Nothing in this file can tell.\n"
    )
    return f"""Evidence of a wardround study

study     {study}, {what}
contract  {source.ward.address} on chain {source.chain.chain_id}
blocks    {extent.first_block} to {extent.last_block} were looked at; the last is {extent.last_hash}

Verify it with no network:

  pip install wardround
  wardround audit THIS-FILE.zip

What that proves: every transaction was signed by its sender; every log is in its block, whose hash
follows from its header; every record is the one its transaction carried; every contribution was
signed by its site; models and manifests follow from the contributions, byte for byte.

What it cannot prove: that sites trained honestly, and that nothing was left out of this file
between the transactions that are in it.
{chain}
Missing here:
{lacking}"""
