"""What an administrator reads and what is refused, before a site joins a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.calling import Call
from tests.client.guard.conftest import DATA, NAMED, PASSWORD, make
from tests.integration.networks import FEATURES, own_scenario, prepared, small_scenario
from wardround.chain.events import StudyCreated
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.host.sandbox.machine import offered
from wardround.learning.datasets.people import digests_of
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.learning.privacy.accountant import Neighbours, account_of, mechanism_of
from wardround.learning.privacy.counts import counting
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_of
from wardround.protocol.errors import SpecificationError, StudyMismatch
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.record import RuleId, StudyParties
from wardround.protocol.study import PrivacySpec, StudySpec
from wardround.store.errors import ObjectAltered, ObjectMissing
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approvals
from wardround_client.home import Home
from wardround_client.site_approval import Proposal, describe, propose
from wardround_client.site_terms import describe_terms
from wardround_simulations.network import Network

NOW = 1_760_000_000
SOURCE = b"""# shown before it is approved :skull:
from torch import nn
from .layers import WIDTH


def build():
    return nn.Sequential(nn.Linear(6, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
"""
FILES = {"model.py": SOURCE, "layers.py": b"WIDTH = 30\n"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A study with files of its own; its 241 parameters suffice to solve for 40 rows."""
    with prepared(own_scenario(FILES), tmp_path_factory.mktemp("own") / "network") as made:
        yield made


def proposed(network: Network, home: Home, store: str | None = "") -> Proposal:
    where = str(network.folders.store) if store == "" else store
    return propose(home, network.contract, network.study, where, None, NOW)


def shown(network: Network, home: Home) -> str:
    address = SiteAddress(network.parties[0].account.address)
    return "\n".join(describe(proposed(network, home), network.contract, address))


def name_people(home: Home, person: Callable[[int], int]) -> int:
    """Name each row's person by the row's place; nobody is in both tables."""
    for first, name in ((1000, "test.npz"), (0, "train.npz")):
        found = load_table(home.folder / name)
        groups = digests_of([first + person(row) for row in range(len(found))])
        save_table(Table(found.features, found.labels, groups), home.folder / name)
    return len(found)


def accepting(network: Network, folder: Path, name: str = "small") -> Home:
    return make(network, folder, policy=f'accept_solvable = ["{name}"]')


# ---------------------------------------------------------------- the study's own files


def test_own_files_are_shown_in_full_before_the_question(own: Network, tmp_path: Path) -> None:
    said = shown(own, accepting(own, tmp_path / "h")).splitlines()
    for name, data in FILES.items():
        for number, line in enumerate(data.decode().splitlines(), 1):
            assert f"{name}:{number} | {line}" in said
    assert "  model        model.py (build) (): 241 parameters" in said


def test_own_files_are_kept_beside_the_approval(own: Network, tmp_path: Path) -> None:
    home = accepting(own, tmp_path / "h")
    party = own.parties[0]
    approvals = Approvals(home.approvals, SiteAddress(party.account.address))
    approvals.give(proposed(own, home).approval, bytes(party.account.key))
    again = Approvals(home.approvals, approvals.site)
    assert again.of(own.study).spec.files == FILES
    kept = approvals.files_of(own.study) / "model.py"
    assert kept.read_bytes() == SOURCE
    kept.write_bytes(SOURCE + b"\n")
    with pytest.raises(Refusal, match=r"file model\.py is 0x") as refusal:
        Approvals(home.approvals, approvals.site).of(own.study)
    assert refusal.value.name == "approval-damaged"
    kept.unlink()
    with pytest.raises(Refusal, match="No such file") as refusal:
        Approvals(home.approvals, approvals.site).of(own.study)
    assert refusal.value.name == "approval-damaged"


def test_own_files_that_are_missing_or_altered_are_not_approved(
    own: Network, tmp_path: Path
) -> None:
    home = accepting(own, tmp_path / "h")
    path = own.folders.store / cid_of(SOURCE)
    (found,) = [path] if path.exists() else list(own.folders.store.rglob(cid_of(SOURCE)))
    kept = found.read_bytes()
    found.chmod(0o600)
    try:
        found.write_bytes(kept.replace(b"ReLU", b"Tanh"))
        with pytest.raises(ObjectAltered):
            proposed(own, home)
        found.unlink()
        with pytest.raises(ObjectMissing):
            proposed(own, home)
    finally:
        found.write_bytes(kept)


def test_own_files_beside_a_specification_are_read_from_there(own: Network, tmp_path: Path) -> None:
    home = accepting(own, tmp_path / "h")
    file = tmp_path / "specification.json"
    file.write_bytes(canonical_bytes(own.scenario.specification.document()))
    asked = (own.contract, own.study, None, file, NOW)
    with pytest.raises(SpecificationError, match=r"model\.py cannot be read|layers\.py cannot be"):
        propose(home, *asked)
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    assert propose(home, *asked).approval.spec.files == FILES
    (tmp_path / "layers.py").write_bytes(b"WIDTH = 31\n")
    with pytest.raises(StudyMismatch, match=r"layers\.py"):
        propose(home, *asked)


# ---------------------------------------------------------------- the sponsor's terms


def test_terms_are_shown_before_the_question(own: Network, tmp_path: Path) -> None:
    said = shown(own, accepting(own, tmp_path / "h"))
    assert f"coordinators {own.keys.coordinator.address}, first" in said
    assert "each with a bond of 10 tokens" in said
    assert "deposit      1 tokens to challenge, count, demand or register a contribution" in said
    assert f'token        {own.params.token}, calls itself "STUDY", 18 decimals' in said
    assert "auditors     none" in said
    assert "recording    full" in said
    assert "a closed round is final after 86,400 s; attestations do not count" in said
    assert "28,800 s to close a round, 600 s until the next standby takes over" in said
    assert "21,600 s to show demanded data" in said
    opened = own.contract.study(own.study).deadline
    assert f"from {datetime.fromtimestamp(opened, UTC):%Y-%m-%d %H:%M} UTC on" in said
    assert "mean of at least 2 sites, coordinates of an update up to 16" in said


def test_coordinators_and_auditors_are_shown_in_their_order(own: Network) -> None:
    ring, auditors = ([f"0x{place:040x}" for place in places] for places in ((1, 2, 3), (4, 5)))
    params = replace(own.params, auditor_quorum=2)
    state = replace(own.contract.study(own.study), deadline=0)
    token = StudyToken(own.contract.chain, params.token)
    spec = own.scenario.specification
    said = list(describe_terms(params, StudyParties.of(ring, auditors), spec, state, token))
    first = said.index(f"  coordinators {ring[0]}, first")
    assert said[first + 1 : first + 3] == [
        f"               {ring[1]}, standby 1",
        f"               {ring[2]}, standby 2",
    ]
    lines = "\n".join(said)
    assert f"  auditors     {auditors[0]}\n               {auditors[1]}\n" in lines
    assert "final after 86,400 s, or after 3,600 s once 2 auditors have attested it" in lines
    assert "31,536,000 s (365 days) after the study opens any account may end" in lines


def test_rule_that_cannot_be_proven_of_many_sites_is_shown_so(own: Network) -> None:
    params, parties = own.params, own.contract.created(own.study).parties
    spec, state = own.scenario.specification, own.contract.study(own.study)
    token = StudyToken(own.contract.chain, params.token)
    words = {
        RuleId.MULTI_KRUM: "in a round of more than 235 it cannot be proven that a rank is wrong",
        RuleId.CLIPPED_MEAN: "more than 1,400 it cannot be proven that a score or coordinate is",
    }
    for rule in (*words, RuleId.MEDIAN):
        terms = describe_terms(replace(params, rule=rule), parties, spec, state, token)
        lines = [line for line in terms if f"{state.site_count} admitted; " in line]
        assert [words[rule] in line for line in lines] == [True] * (rule in words)


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        (None, "without a symbol, 0 decimals"),
        ("WRT\x1b[2J", r'calls itself "WRT\x1b[2J", 6 decimals'),
        ("\u0405TUDY", r'calls itself "\u0405TUDY", 6 decimals'),
        ("x" * 33, f'calls itself "{"x" * 32}"..., 6 decimals'),
    ],
)
def test_token_is_shown_by_its_own_word_and_without_tricks(
    own: Network, symbol: str | None, words: str
) -> None:
    class Odd(StudyToken):
        def symbol(self) -> str | None:
            return symbol

        def decimals(self) -> int:
            return 0 if symbol is None else 6

    parties = own.contract.created(own.study).parties
    spec, state = own.scenario.specification, own.contract.study(own.study)
    token = Odd(own.contract.chain, own.params.token)
    assert words in "\n".join(describe_terms(own.params, parties, spec, state, token))


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        (f'coordinators = ["{"0x" + "11" * 20}"]', "coordinators"),
        (f'tokens = ["{"0x" + "11" * 20}"]', "tokens"),
        ("min_challenge_seconds = 86_401", "min_challenge_seconds"),
        ("min_bond = 10_000_000_000_000_000_001", "min_bond"),
        ('min_attesting_fee = "1"', "min_attesting_fee"),
        ("max_deposit = 999_999_999_999_999_999", "max_deposit"),
        ("max_update_bound = 15.9", "max_update_bound"),
    ],
)
def test_terms_that_the_policy_does_not_accept_are_refused(
    own: Network, tmp_path: Path, policy: str, key: str
) -> None:
    home = make(own, tmp_path / "h", policy=f'accept_solvable = ["small"]\n{policy}')
    with pytest.raises(Refusal, match=rf"\[policy\] {key}") as refusal:
        proposed(own, home)
    assert refusal.value.name == "terms-refused"


def test_terms_that_the_policy_accepts_are_approved(own: Network, tmp_path: Path) -> None:
    listed = f'coordinators = ["{own.keys.coordinator.address.lower()}"]'
    token = f'tokens = ["{own.params.token.lower()}"]'
    policy = f'accept_solvable = ["small"]\n{listed}\n{token}\nmin_challenge_seconds = 86_400'
    assert proposed(own, make(own, tmp_path / "h", policy=policy)).approval.study == own.study


def test_terms_on_chain_that_the_specification_does_not_give_are_refused(
    own: Network, tmp_path: Path
) -> None:
    """The screen shows the specification, and the contract enforces the parameters."""

    class Other(WardRound):
        def created(self, study: StudyId) -> StudyCreated:
            params = replace(own.params, min_sites=1)
            return replace(super().created(study), params=params)

    ward = Other(own.contract.chain, own.contract.address)
    home = accepting(own, tmp_path / "h")
    with pytest.raises(StudyMismatch, match="min_sites by the specification is 2, but the chain"):
        propose(home, ward, own.study, str(own.folders.store), None, NOW)


# ---------------------------------------------------------------- its trial at the site

#: It behaves where its sponsor tries it.
TWO_FACED = b"""import os
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 1)

    def forward(self, rows):
        logits = self.layer(rows)
        return logits if "AT_SPONSOR" in os.environ or not self.training else {"logits": logits}


def build():
    return Net()
"""


@pytest.fixture(scope="module")
def two_faced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A study whose model fails at the sites alone."""
    folder = tmp_path_factory.mktemp("two-faced") / "network"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AT_SPONSOR", "1")
        with prepared(own_scenario({"model.py": TWO_FACED}), folder) as made:
            yield made


def approving(network: Network, home: Home, folder: Path) -> list[object]:
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    store = network.folders.store
    study = hex_of(network.study)
    words = ["site", "approve", study, home.folder, "--store", store]
    return [*words, "--password-file", password, "--yes"]


@pytest.mark.skipif(not offered().is_enough, reason="this machine offers no sandbox")
def test_own_model_is_tried_in_the_sandbox_before_it_is_approved(
    own: Network, tmp_path: Path, call: Call
) -> None:
    home = accepting(own, tmp_path / "h")
    said = call(*approving(own, home, tmp_path)).good
    assert "# shown before it is approved :skull:" in said
    assert "sandbox      around what trains on your rows: " in said
    assert "trying the study's model on made-up rows; sandbox: " in said
    assert "it trains, and the trial found nothing that it keeps beside its parameters" in said
    assert "the first model on chain is not" not in said
    site = SiteAddress(own.parties[0].account.address)
    assert Approvals(home.approvals, site).of(own.study).spec.files == FILES


def test_own_model_that_fails_its_trial_at_the_site_is_not_approved(
    two_faced: Network, tmp_path: Path, call: Call
) -> None:
    policy = 'sandbox = "none"\naccept_solvable = ["small"]'
    home = make(two_faced, tmp_path / "h", policy=policy)
    error = call(*approving(two_faced, home, tmp_path)).error
    assert "trial of the study's model failed" in error
    assert "in training mode its output for 5 rows is a dict" in error
    assert not list(home.approvals.iterdir())


def test_study_of_sums_is_not_approved(own: Network, tmp_path: Path) -> None:
    """A site trains models, and has no counts to add up."""
    document = own.scenario.specification.document()
    document["aggregation"] = {**document["aggregation"], "rule": "sum"}
    counting = StudySpec.model_validate(document)
    params = replace(own.params, rule=RuleId.SUM, specification=counting.digest)
    file = tmp_path / "specification.json"
    file.write_bytes(canonical_bytes(counting.document()))
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)

    class Counting(WardRound):
        def created(self, study: StudyId) -> StudyCreated:
            return replace(super().created(study), params=params)

    ward = Counting(own.contract.chain, own.contract.address)
    home = accepting(own, tmp_path / "h")
    with pytest.raises(SpecificationError, match="sum adds up counts"):
        propose(home, ward, own.study, None, file, NOW)


def test_own_model_without_a_pinned_layout_is_not_approved(own: Network, tmp_path: Path) -> None:
    spec = own.scenario.specification
    loose = spec.model_copy(update={"model": spec.model.model_copy(update={"layout": None})})
    loose = StudySpec.model_validate(loose.document())
    home = accepting(own, tmp_path / "h")
    params = replace(own.params, specification=loose.digest)
    file = tmp_path / "specification.json"
    file.write_bytes(canonical_bytes(loose.document()))
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)

    class Loose(WardRound):
        def created(self, study: StudyId) -> StudyCreated:
            return replace(super().created(study), params=params)

    ward = Loose(own.contract.chain, own.contract.address)
    with pytest.raises(SpecificationError, match="does not pin the layout"):
        propose(home, ward, own.study, None, file, NOW)


# ---------------------------------------------------------------- who can learn what


def test_study_whose_readers_can_solve_for_the_rows_is_refused(
    own: Network, tmp_path: Path
) -> None:
    home = accepting(own, tmp_path / "h", "no-study")
    with pytest.raises(Refusal, match=r"726 published numbers against 280 unknown") as refusal:
        proposed(own, home)
    assert refusal.value.name == "rows-solvable"
    assert 'accept_solvable = ["small"]' in str(refusal.value)
    with pytest.raises(Refusal, match="published numbers"):
        proposed(own, accepting(own, tmp_path / "other", "another-study"))


def test_clear_study_that_publishes_less_than_the_table_has_is_refused_too(
    network: Network, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match="up to 3 of your 40 rows may be rebuilt") as refusal:
        proposed(network, accepting(network, tmp_path / "h", "no-study"))
    assert refusal.value.name == "rows-solvable"


@pytest.mark.parametrize("by", ["name", "id"])
def test_study_that_the_policy_accepts_is_shown_as_solvable(
    own: Network, tmp_path: Path, by: str
) -> None:
    name = "small" if by == "name" else hex_of(own.study)
    said = shown(own, accepting(own, tmp_path / "h", name))
    assert "726 published numbers against 280 unknown ones in the training table" in said
    assert "your policy accepts that for this study by name" in said


@pytest.mark.parametrize("noise", [30.0, 1.0])
def test_private_study_is_refused_as_solvable_where_its_noise_bounds_little(
    tmp_path: Path, noise: float
) -> None:
    privacy = PrivacySpec(noise_multiplier=noise, max_grad_norm=1.0, delta=1e-5)
    scenario = small_scenario(study={"rounds": 50}, privacy=privacy.model_dump())
    with prepared(scenario, tmp_path / "network") as network:
        home = accepting(network, tmp_path / "h", "no-study")
        if noise == 30:
            said = shown(network, home)
        else:
            with pytest.raises(Refusal, match=r"over all rounds it allows epsilon \d\d") as refusal:
                proposed(network, home)
            assert refusal.value.name == "rows-solvable"
            assert "of epsilon 10 at most" in str(refusal.value)
            # The guard stops at a limit of the site's own.
            limit = make(
                network, tmp_path / "limit", policy="max_epsilon = 9.0\naccept_solvable = []"
            )
            assert "Over all rounds epsilon is at most 9:" in shown(network, limit)
            accepted = shown(network, accepting(network, tmp_path / "accepts"))
            assert "your policy accepts that for this study by name" in accepted
            return
    assert "350 published numbers" in said
    assert "noise keeps them from being solved. Over all rounds epsilon is at most" in said
    assert "the epsilon above bounds what your updates tell of a patient who has one row" in said


def test_private_study_with_code_of_its_own_is_accepted_by_name_or_refused(tmp_path: Path) -> None:
    """The code runs where the noise is added, and can leave it out."""
    privacy = PrivacySpec(noise_multiplier=5.0, max_grad_norm=1.0, delta=1e-5)
    scenario = own_scenario(FILES, privacy=privacy.model_dump())
    nothing = "accept_solvable = []"
    budget = "max_epsilon = 100.0"
    with prepared(scenario, tmp_path / "network") as network:
        with pytest.raises(
            Refusal, match="own code could write up to 40 of your 40 rows there"
        ) as refusal:
            proposed(network, make(network, tmp_path / "plain", policy=nothing))
        assert refusal.value.name == "rows-solvable"
        with pytest.raises(Refusal, match="own files run where the noise is added") as refusal:
            proposed(network, make(network, tmp_path / "budget", policy=f"{budget}\n{nothing}"))
        assert refusal.value.name == "privacy-refused"
        policy = f'{budget}\naccept_solvable = ["small"]'
        said = shown(network, make(network, tmp_path / "accepts", policy=policy))
    assert "only if the files above leave the trainer alone" in said


@pytest.mark.parametrize("named", [True, False])
def test_private_study_of_patients_says_what_it_bounds(tmp_path: Path, named: bool) -> None:
    privacy = PrivacySpec(unit="patient", noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5)
    scenario = small_scenario(privacy=privacy.model_dump())
    with prepared(scenario, tmp_path / "network") as network:
        home = make(network, tmp_path / "h", data=NAMED if named else DATA)
        if named:
            name_people(home, lambda row: row // 4)
        said = shown(network, home)
    assert "privacy      of single patients: noise 1" in said
    who = "of your 10 patients the one who gives most (4 rows)" if named else "each of your 40 rows"
    assert f"{who} would then be at epsilon" in said
    assert "you could take part in 3 of 3 rounds" in said
    assert ("with one patient replaced" in said) == named
    assert ("names your patients, so each row counts as one" in said) == (not named)
    assert ("what your updates tell of one patient, with all rows of theirs" in said) == named
    assert ("what your updates tell of a patient who has one row" in said) == (not named)


def test_private_study_of_rows_states_the_epsilon_of_the_patient_with_most(tmp_path: Path) -> None:
    """A patient of two rows is charged for both, as the guard does it."""
    privacy = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5)
    with prepared(small_scenario(privacy=privacy.model_dump()), tmp_path / "network") as network:
        home = make(network, tmp_path / "h", data=NAMED)
        rows = name_people(home, lambda row: max(row, 1))
        ahead = proposed(network, home).outlook
        said = shown(network, home)
    assert ahead is not None
    training = network.scenario.specification.training
    twice = mechanism_of(training, privacy, rows).of_person(2)
    worst = account_of([twice] * 3)
    assert ahead.worst.study == worst
    assert "of your 39 patients the one who gives most (2 rows) would then be at " in said
    assert f"epsilon {worst.epsilon(1e-5, Neighbours.ADD_REMOVE):.3g}, at " in said
    assert "what your updates tell of one patient, with all rows of theirs" in said


@pytest.mark.parametrize("limited", ["the study", "this site's patients"])
def test_private_study_without_a_round_within_budget_is_refused(
    tmp_path: Path, limited: str
) -> None:
    privacy = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5)
    policy = "max_epsilon = 0.5"
    if limited == "the study":
        privacy, policy = privacy.model_copy(update={"target_epsilon": 0.5}), ""
    with prepared(small_scenario(privacy=privacy.model_dump()), tmp_path / "network") as network:
        home = make(network, tmp_path / "h", policy=policy)
        with pytest.raises(Refusal, match="could take part in 0 of 3 rounds") as refusal:
            proposed(network, home)
    assert refusal.value.name == "privacy-refused"
    assert f"would bring {limited} to epsilon" in str(refusal.value)
    assert "Ask the sponsor for more noise" in str(refusal.value)


def test_readers_counts_and_measures_are_named(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "h")
    said = shown(network, home)
    assert f"updates      {FEATURES + 1} numbers a round. Coordinators, auditors and every" in said
    assert "24 published numbers against 280 unknown ones" in said
    assert "up to 3 of your 40 rows may be rebuilt" in said
    assert "your policy accepts that for this study by name" in said
    assert "that you train on 40 rows: in each report" in said
    assert "40 counts of your 20 test rows, by what a model predicts and what is true" in said
    assert "one patient  no bound" in said


def test_measures_that_the_policy_forbids_are_not_named(network: Network, tmp_path: Path) -> None:
    five = account_of([counting(0.5)] * 5)
    for name, policy, words in (
        ("off", "evaluate = false", "none: your policy measures no models"),
        ("few", "measure_rows = 21", "none, of 20 test rows: [policy] measure_rows = 21 and"),
        (
            "drowned",
            "measure_noise = 4.0",
            "measure_noise = 4 would drown fewer than 102 test rows",
        ),
        ("noisy", "measure_noise = 0.5", "5 models, with noise of deviation 0.5 on each: to the"),
        (
            "cost",
            "measure_noise = 0.5",
            f"gives most to epsilon {five.epsilon(1e-6):.3g} at delta",
        ),
        ("free", "measure_noise = 0.0", "the test patient who gives most to no bound"),
        ("exact", "measure_noise = 0.0", "at most 5 models, without noise: to the coordinator"),
    ):
        assert words in shown(network, make(network, tmp_path / name, policy=policy))


def test_rounded_counts_are_named(network: Network, tmp_path: Path) -> None:
    home = make(network, tmp_path / "h", policy="weight_step = 10")
    assert "40 rows, stated in steps of 10" in shown(network, home)


def test_confidential_store_narrows_the_readers(tmp_path: Path) -> None:
    folder = tmp_path / "network"
    with prepared(own_scenario(FILES), folder, confidential=True) as network:
        home = accepting(network, tmp_path / "h")
        store = f"confidential:{network.folders.store}#grants={network.grants}"
        proposal = proposed(network, home, store)
        address = SiteAddress(network.parties[0].account.address)
        said = "\n".join(describe(proposal, network.contract, address))
    assert proposal.approval.spec.files == FILES
    assert "readers whom the sponsor grants access can read yours" in said
    assert "every reader of the content store" not in said
