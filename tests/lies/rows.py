"""Lies in the rows that a round commits to by name: consistent up to the record's root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from tests.lies.documents import CLIPPED, KRUM, before_the_last
from tests.lies.lie import Dishonest, Lie, Named
from tests.lies.played import Played
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.commitments import (
    DISTANCES,
    NORMS,
    RANKS,
    ROW_BYTES,
    SCORES,
    commitments_root,
)
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import RowsRef
from wardround.protocol.merkle import entries_root

_STUDY_OF = {NORMS: CLIPPED, SCORES: CLIPPED, DISTANCES: KRUM, RANKS: KRUM}
Rows = tuple[bytes, ...]


def _word(rows: Rows, row: int, word: int, change: int) -> Rows:
    """Add to one word of a row."""
    start = 32 * word
    value = int.from_bytes(rows[row][start : start + 32], "big") + change
    written = (value % 2**256).to_bytes(32, "big")
    bent = rows[row][:start] + written + rows[row][start + 32 :]
    return (*rows[:row], bent, *rows[row + 1 :])


def _committing(name: str, bend: Callable[[Rows], Rows]) -> Dishonest:
    """Store other rows under a name, with their root in the manifest and the record."""
    played = before_the_last(_STUDY_OF[name]).forked()
    settled, _ = played.settle(played.cohort(), [played.left_out])
    rows = bend(settled.commitments.rows[name])
    root, cid = hex_of(entries_root(rows)), played.put(b"".join(rows))
    named = {**settled.manifest.commitments, name: RowsRef(root=root, cid=cid)}
    return _closed(played, named)


def _named(kind: str, change: Callable[[Mapping[str, RowsRef]], dict[str, RowsRef]]) -> Dishonest:
    """Commit to other names, in the manifest and the record."""
    played = before_the_last(kind).forked()
    settled, _ = played.settle(played.cohort(), [played.left_out])
    return _closed(played, change(settled.manifest.commitments))


def _closed(played: Played, named: dict[str, RowsRef]) -> Dishonest:
    settled, _ = played.settle(played.cohort(), [played.left_out])
    manifest = settled.manifest.model_copy(update={"commitments": named})
    data = manifest.encode()
    played.put(data)
    committed = commitments_root(manifest.committed())
    played.close(replace(settled.record, manifest=sha256_digest(data), commitments=committed))
    return Dishonest.of(played)


def _without(name: str, named: Mapping[str, RowsRef]) -> dict[str, RowsRef]:
    return {one: rows for one, rows in named.items() if one != name}


def _with_one_more(name: str, named: Mapping[str, RowsRef]) -> dict[str, RowsRef]:
    return {**named, name: next(iter(named.values()))}


def lies() -> Iterator[Lie]:
    for name, size in ROW_BYTES.items():
        field = f"commitments.{name}"
        row = Named("replay-failed", f"{name}: the row of")
        for word in range(size // 32):
            for change in (1, -1):
                make = partial(_committing, name, partial(_word, row=1, word=word, change=change))
                yield Lie(field, f"word {word} of a row is {change:+d}", row, make)
        for how, bend, expected in (
            ("two rows exchanged", lambda rows: (rows[1], rows[0], *rows[2:]), row),
            ("a row less", lambda rows: rows[:-1],
             Named("replay-failed", f"{name}: the stored rows are not those")),
            ("a row more", lambda rows: (*rows, rows[0]), Named("object-too-large", "")),
            ("half a row more", lambda rows: (*rows[:-1], rows[-1][:16]),
             Named("malformed", f"{name} is malformed")),
        ):  # fmt: skip
            yield Lie(field, how, expected, partial(_committing, name, bend))
        kind = _STUDY_OF[name]
        missing = Named("replay-failed", f"commitments: {name} is missing")
        yield Lie(
            field, "not committed to", missing, partial(_named, kind, partial(_without, name))
        )
        other = KRUM if kind == CLIPPED else CLIPPED
        unknown = Named("replay-failed", f"commitments: unknown commitment '{name}'")
        more = partial(_named, other, partial(_with_one_more, name))
        yield Lie(field, "where the rule has none", unknown, more)
    for strange in ("Scores", "scores ", "sc\u043eres", "rewards"):
        unknown = Named("replay-failed", "commitments: unknown commitment")
        more = partial(_named, CLIPPED, partial(_with_one_more, strange))
        yield Lie("manifest.commitments", f"one more, {strange!r}", unknown, more)
