"""Epsilon by dp-accounting; run by a Python that has it, and not wardround.

Reads a list of settings from standard input as JSON, and writes one pair of figures for each: for
tables with a person more or less, and for tables in which one is replaced.
"""

import json
import sys

from dp_accounting.dp_event import (
    ComposedDpEvent,
    GaussianDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation

RELATIONS = (NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE)


def figures(mechanisms, delta):
    """Compose sampled Gaussian mechanisms: (noise multiplier, sample rate, steps) each."""
    event = ComposedDpEvent(
        [
            SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps)
            for noise, rate, steps in mechanisms
        ]
    )
    return [PLDAccountant(relation).compose(event).get_epsilon(delta) for relation in RELATIONS]


json.dump([figures(*setting) for setting in json.load(sys.stdin)], sys.stdout)
