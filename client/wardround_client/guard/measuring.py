"""Whether a site's test rows are enough to measure a model on, and what that costs a patient."""

from __future__ import annotations

import math

import numpy as np

from wardround.learning.datasets.table import Table
from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.learning.privacy.counts import counting
from wardround.protocol.messages import BINS
from wardround_client.settings import PolicyTable


def too_few(tests: Table, policy: PolicyTable) -> str | None:
    """Say which rule of the policy forbids counts that would be about single patients, or noise.

    Returns:
        What the rule asks for, without a count of the table; None where nothing is measured anyway,
        or there are enough rows.
    """
    if not policy.evaluate:
        return None
    rows, rarest = policy.measure_rows, policy.measure_class_rows
    if tests.person_count < rows or tests.class_counts.min() < rarest:
        return (
            f"[policy] measure_rows = {rows} and measure_class_rows = {rarest} ask for more test "
            "rows, of more patients"
        )
    # Four standard deviations of the noise in all counts together.
    noise = policy.measure_noise
    if len(tests) < (least := math.ceil(4 * noise * math.sqrt(2 * BINS))):
        return (
            f"the noise of [policy] measure_noise = {noise:g} would drown fewer than {least:,} "
            "test rows: write less noise, or evaluate = false"
        )
    return None


def cost_of(tests: Table, policy: PolicyTable, models: int) -> PrivacyAccount:
    """Give what so many measured models cost the patient with most test rows.

    Returns:
        An empty account where measures have no noise, and so no bound.
    """
    if not policy.measure_noise:
        return PrivacyAccount()
    most = 1
    if tests.groups is not None:
        most = int(np.unique(tests.persons, return_counts=True)[1].max())
    each = counting(policy.measure_noise).of_person(most)
    return PrivacyAccount(mechanisms=[each.model_copy(update={"steps": models})])
