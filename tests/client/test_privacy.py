"""What a site keeps for private training, and a study that asks for it from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.networks import small_scenario
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.learning.privacy.accountant import Mechanism, PrivacyAccount
from wardround.protocol.errors import ProtocolError, WardroundError
from wardround.protocol.report import parse_report
from wardround.protocol.study import PrivacySpec
from wardround_client.app.privacy import ACCOUNT_MAX_BYTES, PrivacyBook
from wardround_simulations.run import simulate


def book(folder: Path) -> PrivacyBook:
    return PrivacyBook(folder / "noise.secret", folder / "privacy.json")


def test_account_when_kept_is_read_again(tmp_path: Path) -> None:
    assert book(tmp_path).account() == PrivacyAccount()
    spent = PrivacyAccount(mechanisms=[Mechanism(noise_multiplier=1.0, sample_rate=0.1, steps=5)])
    book(tmp_path).keep(spent)
    assert book(tmp_path).account() == spent
    assert [path.name for path in tmp_path.iterdir()] == ["privacy.json"]


@pytest.mark.parametrize("data", [b"", b"{}x", b'{"mechanisms": []}', b" " * ACCOUNT_MAX_BYTES * 2])
def test_account_when_altered_is_an_error_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "privacy.json").write_bytes(data)
    with pytest.raises(ProtocolError):
        book(tmp_path).account()


@pytest.mark.parametrize("text", [None, "", "00", "zz" * 32])
def test_secret_when_missing_or_malformed_is_an_error_by_name(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "noise.secret").write_text(text)
    with pytest.raises(WardroundError):
        book(tmp_path).secret()


def test_study_when_private_states_what_it_spent_and_repeats(tmp_path: Path) -> None:
    privacy = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
    scenario = small_scenario(study={"rounds": 2}).model_copy(update={"privacy": privacy})
    roots = []
    for name in ("one", "two"):
        results = simulate(scenario, "", tmp_path / name)
        roots.append([row["model"] for row in results.rounds])
    assert roots[0] == roots[1]
    with open_run(tmp_path / "one") as run:
        rounds = list(StudyAudit(run.contract, run.study, run.store).rounds())
        epsilons: dict[str, list[float]] = {}
        for one in rounds:
            for row in one.settlement.manifest.contributions:
                report = parse_report(run.store.get(row.report.cid))
                assert report.privacy is not None
                assert report.metrics == {}
                epsilons.setdefault(row.site, []).append(report.privacy.epsilon)
    assert all(0 < first < second for first, second in epsilons.values())
