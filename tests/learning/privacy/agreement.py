"""Compare epsilon with dp-accounting's, for both kinds of neighbouring tables.

    python -m tests.learning.privacy.agreement PYTHON

`PYTHON` is that of an environment which has dp-accounting. The exit status is 1 when a figure is
more than 0.02 from its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from wardround.learning.privacy.accountant import Mechanism, Neighbours, PrivacyAccount

TOLERANCE = 0.02
#: Noise multiplier, sample rate and steps of each mechanism; then delta.
SETTINGS: list[tuple[list[tuple[float, float, int]], float]] = [
    ([(1.0, 32 / 300, 100)], 1e-5),
    ([(2.0, 32 / 300, 100)], 1e-5),
    ([(1.0, 32 / 3000, 100)], 1e-5),
    ([(1.0, 32 / 3000, 1000)], 1e-5),
    ([(1.0, 64 / 30_000, 1000)], 1e-5),
    ([(1.12, 256 / 60_000, 14_063)], 1e-5),
    ([(0.6, 256 / 60_000, 7_032)], 1e-5),
    ([(4.0, 0.01, 10_000)], 1e-5),
    ([(4.0, 1.0, 16)], 1e-5),
    ([(20.0, 1.0, 100)], 1e-6),
    ([(1.0, 0.2, 20)], 1e-3),
    ([(0.8, 0.1, 20), (1.5, 0.05, 300), (3.0, 1.0, 2)], 1e-6),
]


def main(arguments: list[str]) -> int:
    """Run the command line; the result is its exit status."""
    if len(arguments) != 1:
        print("Name the Python: python -m tests.learning.privacy.agreement PYTHON", file=sys.stderr)
        return 2
    figures = Path(__file__).with_name("dp_accounting_figures.py")
    done = subprocess.run(
        [arguments[0], str(figures)],
        input=json.dumps(SETTINGS), capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    worst = 0.0
    for (mechanisms, delta), theirs in zip(SETTINGS, json.loads(done.stdout), strict=True):
        account = PrivacyAccount(
            mechanisms=[
                Mechanism(noise_multiplier=noise, sample_rate=rate, steps=steps)
                for noise, rate, steps in mechanisms
            ]
        )
        for neighbours, theirs_one in zip(Neighbours, theirs, strict=True):
            ours = account.epsilon(delta, neighbours)
            worst = max(worst, abs(ours - theirs_one))
            if abs(ours - theirs_one) > TOLERANCE:
                print(f"{neighbours} {mechanisms} {delta}: {ours:.4f}, theirs {theirs_one:.4f}")
    print(f"{2 * len(SETTINGS)} figures, at most {worst:.4f} from dp-accounting's.")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
