"""Code that trains hides a patient in what the guard signs or releases, or breaks a reader's page.

The code runs at the site, sees the rows, and speaks to the guard over its socket as honest code
does. What the guard lets through is public afterwards.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.integration.networks import prepared, small_scenario
from wardround.explorer.rows import ChartRow
from wardround.explorer.web.explorer import NamedSite
from wardround.explorer.web.study import charts
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.contribution import Entry
from wardround.protocol.identifiers import hex_of
from wardround.protocol.merkle import vector_root
from wardround_client.errors import Refusal
from wardround_client.guard.requests import Released, SignedAnswer
from wardround_simulations.network import Network

#: Numbers of a report that code may choose, and how many bytes of a row fit into each.
NUMBERS = ("seconds", "train_loss", "accuracy", "auc", "log_loss")
HIDDEN_BYTES = 6
LOW_BITS = 12


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with prepared(small_scenario(), tmp_path_factory.mktemp("reports") / "network") as made:
        yield made


@pytest.fixture
def ward(network: Network, tmp_path: Path) -> Iterator[Ward]:
    home = make(network, tmp_path / "home", policy="max_update_norm = 10.0")
    approve(network, home)
    with guarded(network, home) as guard:
        yield Ward(network, home, guard)


def secret_of(ward: Ward) -> bytes:
    """The first patient: every feature as float32, and the label."""
    rows = ward.network.parties[0].data.train
    return rows.features[0].astype("<f4").tobytes() + bytes([int(rows.labels[0])])


def number_with(data: bytes) -> float:
    """A finite, positive number whose last six bytes are some of the caller's."""
    return float(struct.unpack("<d", data.ljust(HIDDEN_BYTES, b"\0") + b"\x00\x40")[0])


def hidden_in(number: float) -> bytes:
    return struct.pack("<d", number)[:HIDDEN_BYTES]


def report_with(secret: bytes, report: str) -> str:
    parts = [secret[at : at + HIDDEN_BYTES] for at in range(0, len(secret), HIDDEN_BYTES)]
    numbers = dict(zip(NUMBERS, map(number_with, parts), strict=True))
    seconds = numbers.pop("seconds")
    value = {**json.loads(report), "seconds": seconds, "metrics": numbers}
    return canonical_bytes(value).decode()


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="seconds and metrics of a report are whatever the code that trains says",
)
def test_report_when_code_hides_a_patient_in_its_numbers_does_not_carry_it(ward: Ward) -> None:
    secret = secret_of(ward)
    request, parts = ward.drafted()
    request["report"] = report_with(secret, request["report"])
    try:
        signed = ward.client.ask(SignedAnswer, request, parts)
    except Refusal:
        return
    told = json.loads(signed.report)
    numbers = {"seconds": told.get("seconds"), **(told.get("metrics") or {})}
    carried = b"".join(hidden_in(float(numbers.get(name) or 0)) for name in NUMBERS)
    assert not carried.startswith(secret), "the signed report carries a patient's row"


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the guard signs the clear update, whatever its low bits say",
)
def test_update_when_code_hides_a_patient_in_its_low_bits_does_not_leave_as_it_is(
    ward: Ward,
) -> None:
    secret = int.from_bytes(secret_of(ward), "little")
    request, (base, honest) = ward.drafted()
    update = np.frombuffer(honest, "<i4").copy()
    for place in range(len(update)):
        part = secret >> LOW_BITS * place & (1 << LOW_BITS) - 1
        update[place] = update[place] & -(1 << LOW_BITS) | part
    chosen = update.astype("<i4").tobytes()
    try:
        signed = ward.client.ask(SignedAnswer, request, (base, chosen))
    except Refusal:
        return
    entry = Entry.unpack(bytes.fromhex(signed.entry[2:]))
    assert entry.update != vector_root(chosen), "the signed vector is the one that the code chose"


def release(ward: Ward, **measures: float) -> Released:
    """Ask the guard to let some numbers out, as measures of the model of round 1."""
    request: dict[str, Any] = {
        "ask": "release",
        "study": hex_of(ward.network.study),
        "round": 1,
        "previous": hex_of(ward.task.previous.encode()),
        "model": hex_of(ward.network.params.initial_model),
        "measures": {"examples": len(ward.network.parties[0].data.test), **measures},
    }
    return ward.client.ask(Released, request)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the guard releases measures that it did not take"
)
@pytest.mark.parametrize(
    "measures",
    [{"accuracy": -1e300}, {"auc": -7.5}, {"correct": 2**50}, {"log_loss": -1.0}],
    ids=["accuracy", "auc", "correct", "log_loss"],
)
def test_measures_when_no_rows_could_give_them_do_not_leave(
    ward: Ward, measures: dict[str, float]
) -> None:
    try:
        released = release(ward, **measures).measures
    except Refusal:
        return
    left = {name: released.get(name) for name in measures}
    assert left != measures, "an impossible number left the site"


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the guard does not count what it released"
)
def test_measures_of_one_model_when_asked_fifty_times_leave_once(ward: Ward) -> None:
    released = set()
    for number in range(50):
        try:
            told = release(ward, accuracy=0.5, log_loss=number_with(bytes([number]))).measures
        except Refusal:
            continue
        released.add(canonical_bytes(told))
    assert len(released) <= 1, f"{len(released)} different answers left for one model"


@pytest.mark.parametrize("losses", [(1.7e308, -1.7e308), (0.0, 5e-324)], ids=["huge", "tiny"])
def test_study_page_when_a_report_has_an_extreme_loss_is_drawn(losses: tuple[float, ...]) -> None:
    site = NamedSite("0x" + "ab" * 20, "mercy", 0)
    sampled = [
        ChartRow(
            round=number,
            closed_at=number,
            model="0x" + "00" * 32,
            gas=None,
            weights={},
            scores={},
            rewards={},
            metrics={"train_loss": {site.address: loss}},
            statement=None,
            cumulative={},
        )
        for number, loss in enumerate(losses, 1)
    ]
    drawn = str(charts(sampled, [site]).loss)
    assert drawn.startswith("<svg")
    assert "nan" not in drawn
    assert "inf" not in drawn
