"""Write the vectors that Python and Solidity share, from slow and obvious code.

Run it as ``python -m tests.vectors.make``; it is seeded, so it writes the same files again.
The other files in this folder were made with other people's implementations.
"""

from __future__ import annotations

import json
import random
from fractions import Fraction
from math import floor
from pathlib import Path

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


def main() -> None:
    text = json.dumps({"rule": "floor toward minus infinity", "vectors": rules()}, indent=1)
    (FOLDER / "rules.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
