"""Whole rounds with all that their records commit to, from slow and obvious code.

`tests.vectors.make` writes them to ``scores.json``. A round of up to 1000 coordinates has its
vectors, a longer one the openings of some chunks and pages alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from itertools import combinations
from typing import Any

from tests.vectors.trees import path, tree

CHUNK, PAGE = 256, 32
REWARD = 10**20
#: In the order of the contract's enums.
MEAN, CLIPPED_MEAN, MULTI_KRUM = 0, 4, 5
EXAMPLES, PROJECTION = 0, 1

Vector = list[int]


def written(data: bytes) -> str:
    return "0x" + data.hex()


def vector_bytes(vector: Vector) -> bytes:
    return b"".join(value.to_bytes(4, "little", signed=True) for value in vector)


def pieces(data: bytes) -> list[bytes]:
    return [data[start : start + 1024] for start in range(0, len(data), 1024)]


def word(value: int) -> bytes:
    return value.to_bytes(32, "big", signed=True)


class SumTree:
    """Sums over chunks, level by level, in pages of 32."""

    def __init__(self, products: Vector) -> None:
        level = [sum(products[start : start + CHUNK]) for start in range(0, len(products), CHUNK)]
        self.levels = [level]
        while len(level) > PAGE:
            level = [sum(level[start : start + PAGE]) for start in range(0, len(level), PAGE)]
            self.levels.append(level)
        self.total = sum(products)
        self.places: list[tuple[int, int]] = []
        self.pages: list[bytes] = []
        for number, values in enumerate(self.levels):
            for page in range(0, len(values), PAGE):
                words = values[page : page + PAGE]
                words += [0] * (PAGE - len(words))
                self.places.append((number, page // PAGE))
                self.pages.append(b"".join(map(word, words)))
        self.root = tree(self.pages)

    def opening(self, index: int) -> dict[str, Any]:
        level, page = self.places[index]
        return {"level": level, "page": page, **opened(self.pages, index)}


def opened(leaves: list[bytes], index: int) -> dict[str, Any]:
    """A leaf with its place, the leaves of its tree, and the siblings up to the root."""
    return {
        "index": index,
        "size": len(leaves),
        "data": written(leaves[index]),
        "path": [written(node) for node in path(leaves, index)],
    }


def committed(
    rule: int,
    hostile: int,
    scoring: int,
    weights: list[int],
    updates: list[Vector],
    aggregate: Vector,
    factors: list[int],
    ranks: list[int],
) -> tuple[dict[str, list[bytes]], dict[str, list[SumTree]], list[int]]:
    """Rows and sum trees by name, and by what the round's reward is split."""
    rows: dict[str, list[bytes]] = {}
    trees: dict[str, list[SumTree]] = {}
    if rule == CLIPPED_MEAN:
        trees["norms"] = [SumTree([value * value for value in update]) for update in updates]
    if rule == MULTI_KRUM:
        trees["distances"] = [
            SumTree([(a - b) ** 2 for a, b in zip(one, other, strict=True)])
            for one, other in combinations(updates, 2)
        ]
        rows["ranks"] = [word(rank) for rank in ranks]
    for name, found in trees.items():
        rows[name] = [word(one.total) + one.root for one in found]
    if scoring == EXAMPLES:
        return rows, trees, weights
    trees["scores"] = [
        SumTree([a * b for a, b in zip(update, aggregate, strict=True)]) for update in updates
    ]
    scores, rows["scores"] = [], []
    for weight, factor, one in zip(weights, factors, trees["scores"], strict=True):
        scores.append(max(0, weight * factor * one.total) // 65536)
        rows["scores"].append(word(one.total) + one.root + word(scores[-1]) + word(sum(scores)))
    return rows, trees, scores if sum(scores) else weights


def a_round(
    name: str,
    rules: Any,
    rule: int,
    scoring: int,
    updates: list[Vector],
    weights: list[int],
    hostile: int = 0,
) -> dict[str, Any]:
    """One round as a test reads it; numbers that may be long are text."""
    size, count = len(updates[0]), len(updates)
    norms = [rules.squared(update) for update in updates]
    factors = rules.clip_factors(norms) if rule == CLIPPED_MEAN else [65536] * count
    ranks: list[int] = []
    if rule == MULTI_KRUM:
        aggregate, ranks = rules.multi_krum(updates, hostile), rules.ranks(updates, hostile)
    elif rule == CLIPPED_MEAN:
        aggregate = rules.clipped_mean(updates, weights)
    else:
        columns = zip(*updates, strict=True)
        aggregate = [rules.mean(list(column), weights) for column in columns]
    base = [(at * 7919) % 1999 - 999 for at in range(size)]
    base = [b if -(2**31) <= b + a < 2**31 else 0 for b, a in zip(base, aggregate, strict=True)]
    model = [b + a for b, a in zip(base, aggregate, strict=True)]
    rows, trees, parts = committed(
        rule, hostile, scoring, weights, updates, aggregate, factors, ranks
    )
    roots = {name: tree(found) for name, found in rows.items()}
    named = sorted(roots)
    leaves = [sha256(name.encode()).digest() + roots[name] for name in named]
    vectors = [vector_bytes(vector) for vector in (base, model, *updates)]
    case: dict[str, Any] = {
        "name": name,
        "rule": rule,
        "rule_argument": hostile,
        "scoring": scoring,
        "parameters": size,
        "weights": weights,
        "base_root": written(tree(pieces(vectors[0]))),
        "model_root": written(tree(pieces(vectors[1]))),
        "update_roots": [written(tree(pieces(data))) for data in vectors[2:]],
        "clip_factors": factors,
        "reward": str(REWARD),
        "shares": [str(REWARD * part // sum(parts)) for part in parts],
        "names": named,
        "roots": [written(roots[name]) for name in named],
        "commitments": written(tree(leaves)),
        "paths": [opened(leaves, place)["path"] for place in range(len(named))],
        "rows": {name: [written(row) for row in rows[name]] for name in named},
    }
    if size <= 1000:
        case["base"], case["model"], *case["updates"] = map(written, vectors)
    # The last chunk, the page of its value, and each page above up to the last.
    chunks = len(pieces(vectors[0]))
    case["chunk"] = chunks - 1
    case["openings"] = {
        "base": opened(pieces(vectors[0]), chunks - 1),
        "model": opened(pieces(vectors[1]), chunks - 1),
        "updates": [opened(pieces(data), chunks - 1) for data in vectors[2:]],
    }
    case["pages"] = {
        name: [
            [
                one.opening(index)
                for index, (level, page) in enumerate(one.places)
                if page == (chunks - 1) // PAGE ** (level + 1)
            ]
            for one in found
        ]
        for name, found in trees.items()
    }
    return case


def rounds(rules: Any) -> list[dict[str, Any]]:
    """All cases; ``rules`` is the module that has the slow rules."""
    source = random.Random(20260104)

    def drawn(count: int, size: int, value: Callable[[], int]) -> list[Vector]:
        common = [value() for _ in range(size)]
        return [
            [(2 * c + value()) // 3 if abs(c) < 2**30 else c for c in common] for _ in range(count)
        ]

    def near() -> int:
        return source.randint(-(2**20), 2**20)

    def edge() -> int:
        return source.choice([-(2**31), 2**31 - 1, 0, -1, 1])

    short = drawn(4, 300, near)
    short[1] = [9 * value for value in short[1]]
    short[2] = [-value for value in short[2]]
    wide = [[edge() for _ in range(300)] for _ in range(5)]
    middle = drawn(3, 8_300, near)
    middle[0] = [5 * value for value in middle[0]]
    three = drawn(3, 262_400, near)
    weights = [10, 200, 31, 4]
    return [
        a_round("mean, two chunks", rules, MEAN, PROJECTION, short, weights),
        a_round("clipped, two chunks", rules, CLIPPED_MEAN, PROJECTION, short, weights),
        a_round("clipped, by examples", rules, CLIPPED_MEAN, EXAMPLES, short, weights),
        a_round("krum, two chunks", rules, MULTI_KRUM, EXAMPLES, short, weights, 1),
        a_round("clipped, edges", rules, CLIPPED_MEAN, PROJECTION, wide, [2**28] * 5),
        a_round("mean, edges", rules, MEAN, PROJECTION, wide, [1, 2**28, 3, 4, 5]),
        a_round("krum, edges", rules, MULTI_KRUM, EXAMPLES, wide, [1] * 5, 2),
        a_round("nothing moved", rules, CLIPPED_MEAN, PROJECTION, [[0] * 256] * 2, [3, 4]),
        a_round("clipped, two levels", rules, CLIPPED_MEAN, PROJECTION, middle, [1, 2, 3]),
        a_round("krum, two levels", rules, MULTI_KRUM, EXAMPLES, middle, [1, 2, 3], 1),
        a_round("clipped, three levels", rules, CLIPPED_MEAN, PROJECTION, three, [5, 7, 9]),
    ]
