"""What is wrong with norms, distances, ranks and scores, and what proves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.audit.test_examination import Scene, breach_of
from tests.protocol.rounds import Memory
from wardround.audit.shown_leaves import ShownLeaves
from wardround.protocol.commitments import DISTANCES, NORMS, RANKS, SCORES, Commitments
from wardround.protocol.evidence import CoordinateEvidence, Demand, Hidden, What
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import Root, hex_of
from wardround.protocol.inspection import chunk_leaf
from wardround.protocol.manifest import RowsRef
from wardround.protocol.merkle import CHUNK_BYTES, is_included, leaf_hash, vector_root
from wardround.protocol.replay import ClosedRound
from wardround.protocol.settlement import Settlement, Vector
from wardround.protocol.sum_tree import SumTree
from wardround.protocol.whole_evidence import (
    Below,
    NodeEvidence,
    RankEvidence,
    ScoreEvidence,
    page_count,
)
from wardround.protocol.whole_inspection import WholeRound, answer_of, owners_of, tree_of

CLIPPED: dict[str, Any] = {
    "aggregation": {"rule": "clipped_mean", "min_sites": 2},
    "rewards": {"scoring": "projection"},
}
KRUM: dict[str, Any] = {"aggregation": {"rule": "multi_krum", "hostile": 1, "min_sites": 3}}


def tables(name: str) -> dict[str, Any]:
    return KRUM if name in (DISTANCES, RANKS) else CLIPPED


def with_word(row: bytes, word: int, value: bytes) -> bytes:
    return row[: 32 * word] + value + row[32 * word + 32 :]


def forged(
    scene: Scene, name: str, index: int, word: int, value: bytes, *, stored: bool = True
) -> tuple[Settlement, ClosedRound]:
    """A round that is right but for one word of one row."""
    settled, _ = scene.memory.settle()
    rows = list(settled.commitments.rows[name])
    rows[index] = with_word(rows[index], word, value)
    committed = Commitments({**settled.commitments.rows, name: tuple(rows)})
    made = scene.memory.contributions()
    commitments = dict(settled.manifest.commitments)
    cid = scene.memory.put(committed.data(name)) if stored else settled.model.cid
    commitments[name] = RowsRef(root=hex_of(committed.roots[name]), cid=cid)
    manifest = settled.manifest.model_copy(update={"commitments": commitments})
    entries = [entry for entry, _, _ in made]
    closed = scene.forged(settled, entries, manifest, commitments=committed.root)
    return replace(settled, commitments=committed), closed


@pytest.mark.parametrize("name", [NORMS, DISTANCES, SCORES])
def test_wrong_total_is_proven_by_the_last_page(name: str) -> None:
    scene = Scene.of(**tables(name))
    _, closed = forged(scene, name, 1, 0, bytes(31) + b"\x07")
    what, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, NodeEvidence)
    assert (evidence.what.name.lower(), evidence.row, evidence.page) == (name, 1, 1)
    assert what.startswith(f"{name}: the row of 0x")


@pytest.mark.parametrize("word", [2, 3])
def test_wrong_score_or_sum_is_proven(word: int) -> None:
    scene = Scene.of(**CLIPPED)
    _, closed = forged(scene, SCORES, 2, word, bytes(32))
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, ScoreEvidence)
    assert evidence.index == 2


def test_wrong_rank_is_proven() -> None:
    scene = Scene.of(**KRUM)
    _, closed = forged(scene, RANKS, 3, 0, bytes(32))
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, RankEvidence)
    assert evidence.index == 3


@pytest.mark.parametrize("name", [NORMS, DISTANCES, SCORES])
def test_hidden_tree_is_demanded_from_the_top_until_a_number_differs(name: str) -> None:
    scene = Scene.of(**tables(name))
    settled, _ = scene.memory.settle()
    updates, change = vectors(scene.memory, settled)
    tree = tree_of(name, 1, updates, change)
    # Of two chunks one number is another.
    data = (int.from_bytes(tree.data[:32], signed=True) + 5).to_bytes(32, signed=True)
    pages = data + tree.data[32:]
    assert len(pages) == CHUNK_BYTES
    lie, closed = forged(scene, name, 1, 1, vector_root(pages))
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, Demand)
    kind = What[name.upper()]
    assert (evidence.what, evidence.row, evidence.index) == (kind, 1, 0)
    # The page that is shown does not add up to the total, which was left as it was.
    opening = answer_of(lie.commitments, evidence, updates, change)[:-CHUNK_BYTES] + pages
    found = scene.examine(closed, shown=ShownLeaves({}, {(kind, 1, 0): opening}))
    shown = breach_of(found)[1]
    assert isinstance(shown, NodeEvidence)
    assert (shown.page, shown.place) == (1, 0)


def test_pages_are_demanded_down_to_the_chunk_that_is_wrong() -> None:
    scene, chunks = Scene.of(**CLIPPED), 40
    entries = [entry.pack() for entry, _, _ in scene.memory.contributions()]
    random = np.random.default_rng(5)
    base, model, *updates = (
        random.integers(-1000, 1000, 256 * chunks, dtype=np.int32) for _ in range(6)
    )
    whole = WholeRound(
        rule=scene.memory.spec.rule,
        scoring=scene.memory.spec.scoring,
        entries=entries,
        updates=updates,
        base=base,
        model=model,
        committed=bytes(32),
        named={},
        find=lambda root, leaves, size: None,
        openings={},
    )
    right = whole.expected
    # Chunk 35 counts for one more, and so do the page above and the total.
    tree = tree_of(SCORES, 2, updates, whole.change)
    words = [int.from_bytes(tree.data[at : at + 32], signed=True) for at in range(0, 3072, 32)]
    for place in (35, 64 + 1):
        words[place] += 1
    pages = b"".join(word.to_bytes(32, signed=True) for word in words)
    row = right.rows[SCORES][2]
    row = (tree.total + 1).to_bytes(32, signed=True) + vector_root(pages) + row[64:]
    rows = tuple(row if at == 2 else one for at, one in enumerate(right.rows[SCORES]))
    lie = Commitments({**right.rows, SCORES: rows})
    stored = {lie.roots[SCORES]: lie.data(SCORES)}
    openings: dict[tuple[What, int, int], bytes] = {}
    asked: list[int] = []
    while True:
        told = replace(
            whole,
            committed=lie.root,
            named=lie.roots,
            find=lambda root, leaves, size: stored.get(Root(root)),
            openings=openings,
        )
        ((_, evidence),) = told.wrong()
        if not isinstance(evidence, Hidden):
            break
        (demand,) = evidence.demands()
        asked.append(demand.index)
        head = answer_of(lie, demand, updates, whole.change)
        page = chunk_leaf(pages, demand.index).opening
        openings[What.SCORES, 2, demand.index] = head[: -len(page)] + page
    assert asked == [2, 1]
    assert isinstance(evidence, NodeEvidence)
    assert (evidence.row, evidence.page, evidence.place) == (2, 1, 3)


def test_wrong_number_of_a_stored_tree_is_proven_where_it_is() -> None:
    scene = Scene.of(**CLIPPED)
    settled, _ = scene.memory.settle()
    updates, change = vectors(scene.memory, settled)
    tree = tree_of(SCORES, 0, updates, change)
    # One more in the first chunk, one less in the second: the total stays.
    words = [int.from_bytes(tree.data[at : at + 32], signed=True) for at in (0, 32)]
    pages = b"".join(
        (word + step).to_bytes(32, signed=True) for word, step in zip(words, (1, -1), strict=True)
    )
    pages += tree.data[64:]
    scene.memory.put(pages)
    _, closed = forged(scene, SCORES, 0, 1, vector_root(pages))
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, NodeEvidence)
    assert (evidence.what, evidence.row, evidence.page, evidence.place) == (What.SCORES, 0, 0, 0)


@pytest.mark.parametrize(("name", "tables"), [(SCORES, CLIPPED), (NORMS, CLIPPED), (RANKS, KRUM)])
def test_hidden_rows_are_demanded_together_and_read_from_the_answers(
    name: str, tables: dict[str, Any]
) -> None:
    scene, wrong = Scene.of(**tables), 2
    word = 2 if name == SCORES else 0
    lie, closed = forged(scene, name, wrong, word, bytes(32), stored=False)
    settled, _ = scene.memory.settle()
    updates, change = vectors(scene.memory, settled)
    breach = scene.examine(closed).breach
    assert breach is not None
    (withheld,) = breach.withheld
    demands = list(withheld.demands())
    assert [(one.what, one.row) for one in demands] == [
        (What[name.upper()], row) for row in (3, 2, 1, 0)
    ]
    assert breach.evidence == demands[0]
    openings: dict[tuple[What, int, int], bytes] = {}
    for demand in demands:
        assert isinstance(
            breach_of(scene.examine(closed, shown=ShownLeaves({}, openings)))[1], Demand
        )
        key = (demand.what, demand.row, demand.index)
        openings[key] = answer_of(lie.commitments, demand, updates, change)
        # A score is proven with the sum before it.
        if demand.row == wrong - (name == SCORES):
            break
    _, evidence = breach_of(scene.examine(closed, shown=ShownLeaves({}, openings)))
    kind = {SCORES: ScoreEvidence, NORMS: NodeEvidence, RANKS: RankEvidence}[name]
    assert isinstance(evidence, kind)
    # The same openings as from the rows in a store.
    scene.memory.put(lie.commitments.data(name))
    assert breach_of(scene.examine(closed))[1] == evidence


def test_names_that_the_manifest_hides_are_demanded() -> None:
    scene = Scene.of(**KRUM)
    made = scene.memory.contributions()
    settled, _ = scene.memory.settle(made)
    manifest = settled.manifest.model_copy(update={"commitments": {}})
    entries = [entry for entry, _, _ in made]
    closed = scene.forged(settled, entries, manifest, commitments=b"\x05" * 32)
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, Demand)
    assert evidence.what is What.DISTANCES


@pytest.mark.parametrize("study", [CLIPPED, KRUM], ids=["clipped_mean", "multi_krum"])
def test_wrong_coordinate_is_proven_with_all_rows_that_its_rule_takes(
    study: dict[str, Any],
) -> None:
    scene = Scene.of(**{**study, "rewards": {}})
    made = scene.memory.contributions()
    settled, _ = scene.memory.settle(made)
    values = settled.model.values.copy()
    values[299] += 1
    model = Vector.of(values)
    scene.memory.put(model.data)
    manifest = settled.manifest.model_copy(update={"model": model.ref()})
    closed = scene.forged(settled, [one for one, _, _ in made], manifest, model=model.root)
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, CoordinateEvidence)
    name = RANKS if study is KRUM else NORMS
    assert evidence.rows == settled.commitments.data(name)
    left_out = [leaf is None for leaf in evidence.updates]
    assert sum(left_out) == (1 if study is KRUM else 0)
    root = settled.commitments.root
    leaf, path = evidence.named[:64], evidence.named[64:]
    siblings = [path[at : at + 32] for at in range(0, len(path), 32)]
    assert any(is_included(root, leaf_hash(leaf), at, len(siblings) + 1, siblings) for at in (0, 1))


@pytest.mark.parametrize("chunks", [1, 2, 31, 32, 33, 1024, 1025, 3907])
def test_every_number_of_a_tree_is_made_of_one_thing(chunks: int) -> None:
    values = np.arange(1, chunks + 1)
    tree = SumTree.of_products(np.repeat(values, 256), np.ones(256 * chunks, np.int64))
    pages = page_count(chunks)
    assert pages * CHUNK_BYTES == len(tree.data)

    def number(page: int, place: int) -> int:
        start = CHUNK_BYTES * page + 32 * place
        return int.from_bytes(tree.data[start : start + 32], signed=True)

    for page in range(pages):
        for place in range(32):
            below = Below.of(page, place, chunks)
            if not below.exists:
                right = 0
            elif below.is_chunk:
                right = 256 * int(values[below.index])
            else:
                right = sum(number(below.index, one) for one in range(32))
            assert number(page, place) == right
    assert Below.of(pages, 0, chunks) == Below(False, pages - 1, True)


def test_rows_of_distances_are_in_lexicographic_order() -> None:
    pairs = [owners_of(DISTANCES, row, 4) for row in range(6)]
    assert pairs == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def vectors(memory: Memory, settled: Settlement) -> tuple[Sequence[IntVector], IntVector]:
    updates = [memory.update(row.update.cid) for row in settled.manifest.contributions]
    return updates, settled.model.values.astype(np.int64) - memory.base.values
