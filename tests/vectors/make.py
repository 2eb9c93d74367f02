"""Write the vectors that Python and Solidity share, from slow and obvious code.

Run it as ``python -m tests.vectors.make``; it is seeded, so it writes the same files again.
The other files in this folder were made with other people's implementations.
"""

from __future__ import annotations

import json
import random
import sys
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from math import floor, isqrt
from pathlib import Path

from tests.vectors import masking, scores
from tests.vectors.trees import tree

FOLDER = Path(__file__).parent
LOW, HIGH = -(2**31), 2**31 - 1


def mean(values: list[int], weights: list[int]) -> int:
    return floor(Fraction(sum(w * v for w, v in zip(weights, values, strict=True)), sum(weights)))


def median(values: list[int]) -> int:
    ordered = sorted(values)
    count = len(ordered)
    return floor(Fraction(ordered[(count - 1) // 2] + ordered[count // 2], 2))


def trimmed_mean(values: list[int], trim: int) -> int:
    kept = sorted(values)[trim : len(values) - trim]
    return floor(Fraction(sum(kept), len(kept)))


def rules() -> list[dict[str, object]]:
    source = random.Random(20260101)
    cases = []
    pools = [
        lambda: source.randint(-5, 5),
        lambda: source.randint(LOW, HIGH),
        lambda: source.choice([LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH]),
    ]
    for number in range(120):
        count = source.choice([1, 2, 3, 4, 5, 8, 13])
        values = [pools[number % 3]() for _ in range(count)]
        share = (2**31 - 1) // count
        weights = [source.choice([1, source.randint(1, 1000), share]) for _ in values]
        trim = source.randint(0, (count - 1) // 2)
        cases.append(
            {
                "values": values,
                "weights": weights,
                "trim": trim,
                "mean": mean(values, weights),
                "median": median(values),
                "trimmed_mean": trimmed_mean(values, trim),
            }
        )
    return cases


def squared(vector: list[int]) -> int:
    return sum(value * value for value in vector)


def clip_factor(norm: int, median: int) -> int:
    """The largest c of at most 65536 with c / 65536 <= sqrt(median / norm)."""
    if norm <= median:
        return 65536
    factor = isqrt(2**32 * median // norm)
    assert factor**2 * norm <= 2**32 * median < (factor + 1) ** 2 * norm
    return factor


def clip_factors(norms: list[int]) -> list[int]:
    median = sorted(norms)[(len(norms) - 1) // 2]
    return [clip_factor(norm, median) for norm in norms]


def clipped_mean(updates: list[list[int]], weights: list[int]) -> list[int]:
    factors = clip_factors([squared(update) for update in updates])
    clipped = [
        [floor(Fraction(factor * value, 65536)) for value in update]
        for factor, update in zip(factors, updates, strict=True)
    ]
    return [mean(list(column), weights) for column in zip(*clipped, strict=True)]


def distance(one: list[int], other: list[int]) -> int:
    return squared([a - b for a, b in zip(one, other, strict=True)])


def ranks(updates: list[list[int]], hostile: int) -> list[int]:
    kept = len(updates) - hostile - 1
    return [
        sum(sorted(distance(one, other) for at, other in enumerate(updates) if at != place)[:kept])
        for place, one in enumerate(updates)
    ]


def multi_krum(updates: list[list[int]], hostile: int) -> list[int]:
    order = [
        place for _, place in sorted(zip(ranks(updates, hostile), range(len(updates)), strict=True))
    ]
    chosen = [updates[place] for place in order[: len(updates) - hostile]]
    return [floor(Fraction(sum(column), len(chosen))) for column in zip(*chosen, strict=True)]


def whole_vectors() -> list[dict[str, object]]:
    """Updates of several coordinates, for the rules that measure them; long numbers as text."""
    source = random.Random(20260103)
    cases: list[dict[str, object]] = []
    pools = [
        lambda: source.randint(-5, 5),
        lambda: source.randint(-(2**20), 2**20),
        lambda: source.choice([LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH]),
    ]
    for number in range(24):
        count, size = source.choice([1, 2, 3, 4, 5, 8, 13]), source.randint(1, 5)
        updates = [[pools[number % 3]() for _ in range(size)] for _ in range(count)]
        if count > 2 and number % 4 == 0:
            updates[1] = updates[2]  # a tie
        weights = [source.choice([1, source.randint(1, 1000)]) for _ in updates]
        hostile = source.randint(0, (count - 1) // 2)
        norms = [squared(update) for update in updates]
        pairs = [distance(one, other) for one, other in combinations(updates, 2)]
        cases.append(
            {
                "updates": updates,
                "weights": weights,
                "norms": [str(norm) for norm in norms],
                "clip_factors": clip_factors(norms),
                "clipped_mean": clipped_mean(updates, weights),
                "hostile": hostile,
                "distances": [str(pair) for pair in pairs],
                "ranks": [str(rank) for rank in ranks(updates, hostile)],
                "multi_krum": multi_krum(updates, hostile),
            }
        )
    return cases


def sums() -> list[dict[str, object]]:
    """Values, a bound of them, and the sum; none where a value exceeds the bound."""
    source = random.Random(20260102)
    cases: list[dict[str, object]] = []
    for number in range(60):
        bound = [1, source.randint(1, 1000), HIGH][number % 3]
        edges = [-bound, 1 - bound, 0, bound - 1, bound]
        if number % 4 == 3:
            edges += [bound + 1, -bound - 1, 2**63 - 1, -(2**63)]
        count = source.choice([1, 2, 3, 5, 13])
        values = [
            source.choice([source.choice(edges), source.randint(-bound, bound)])
            for _ in range(count)
        ]
        case: dict[str, object] = {"bound": bound, "values": values}
        if all(abs(value) <= bound for value in values):
            case["sum"] = sum(values)
        cases.append(case)
    return cases


def commitments() -> list[dict[str, object]]:
    names = ["unmaskings", "measures", "optimiser", "Zürich", "a", "quarantine", "ab"]
    cases: list[dict[str, object]] = []
    for count in range(len(names) + 1):
        named = {name: sha256(f"document {name}".encode()).digest() for name in names[:count]}
        ordered = sorted(named.items(), key=lambda row: row[0].encode())
        root = tree([sha256(name.encode()).digest() + digest for name, digest in ordered])
        written = {name: "0x" + digest.hex() for name, digest in named.items()}
        cases.append({"commitments": written, "root": "0x" + root.hex()})
    return cases


def main() -> None:
    vectors: dict[str, object] = {
        "rule": "floor toward minus infinity",
        "vectors": rules(),
        "sums": sums(),
    }
    vectors["whole"] = whole_vectors()
    text = json.dumps(vectors, indent=1)
    (FOLDER / "rules.json").write_text(text + "\n")
    text = json.dumps({"vectors": commitments()}, indent=1, ensure_ascii=False)
    (FOLDER / "commitments.json").write_text(text + "\n", encoding="utf-8")
    text = json.dumps({"rounds": scores.rounds(sys.modules[__name__])}, indent=1)
    (FOLDER / "scores.json").write_text(text + "\n")
    text = json.dumps(masking.document(), indent=1)
    (FOLDER / "masking.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
