from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.protocol.canonical import canonical_bytes, canonical_digest
from wardround.protocol.documents import parse_toml, validate_form
from wardround.protocol.errors import ProtocolError, SpecificationError
from wardround.protocol.record import Recording, RuleId, ScoringId
from wardround.protocol.rules import Rule
from wardround.protocol.study import StudySpec, load_study, parse_specification

MINIMAL = """
[study]
name = "tiny"
rounds = 3

[model]
name = "logistic"
arguments = { features = 4 }

[training]
learning_rate = 0.1
local_steps = 1
"""
COMPLETE = """# everything that a study may say
[study]
name = "complete"
rounds = 20
seed = 9

[model]
name = "mlp"
arguments = { features = 4, hidden = [8, 8] }

[training]
optimizer = "sgd"
learning_rate = 0.1
momentum = 0.9
weight_decay = 0.001
batch_size = 16
local_epochs = 2
threads = 1

[privacy]
noise_multiplier = 1.1
max_grad_norm = 2.5
delta = 1e-5
target_epsilon = 8.0

[aggregation]
rule = "trimmed_mean"
trim = 1
scale_bits = 18
update_bound = 4.0
min_sites = 3

[rewards]
per_round = "100"
scoring = "examples"

[chain]
recording = "root"
bond = 12
deposit = 3
closing_fee = 4
attesting_fee = 5
challenge_seconds = 3600
objection_seconds = 1200
round_seconds = 20
grace_seconds = 30
registration_seconds = 15
demand_seconds = 600
auditor_quorum = 2
"""
PRIVACY = """
[privacy]
noise_multiplier = 1
max_grad_norm = 1.0
delta = 1e-5
"""
ADDRESSES: dict[str, Any] = {"sponsor": "0x" + "51" * 20, "token": "0x" + "70" * 20}


def test_study_when_minimal_has_defaults_written_into_its_digest() -> None:
    spec = load_study(MINIMAL, "tiny.toml")
    document = spec.document()
    assert document["aggregation"]["scale_bits"] == 20
    assert document["rewards"]["per_round"] == "1000000000000000000"
    assert spec.digest == canonical_digest(document)
    written_out = load_study(MINIMAL + "\n[aggregation]\nscale_bits = 20\n", "tiny.toml")
    assert written_out.digest == spec.digest


def test_digest_when_comments_and_order_differ_is_equal() -> None:
    blocks = MINIMAL.strip().split("\n\n")
    turned = "# a comment\n" + "\n\n".join(reversed(blocks)).replace("tiny", "tiny")
    assert load_study(turned, "a").digest == load_study(MINIMAL, "b").digest
    assert load_study(MINIMAL.replace("0.1", "0.10"), "c").digest == load_study(MINIMAL, "b").digest


@pytest.mark.parametrize(
    ("rule", "hostile", "scoring"),
    [("mean", 0, 1), ("clipped_mean", 0, 0), ("clipped_mean", 0, 1), ("multi_krum", 2, 0)],
)
def test_rule_and_scoring_reach_the_parameters_of_the_study(
    rule: str, hostile: int, scoring: int
) -> None:
    tables = f'[aggregation]\nrule = "{rule}"\nmin_sites = 5\nhostile = {hostile}\n'
    text = f'{MINIMAL}\n{tables}[rewards]\nscoring = "{ScoringId(scoring).name.lower()}"\n'
    spec = load_study(text, "study.toml")
    assert spec.rule == Rule(RuleId[rule.upper()], hostile, spec.update_limit)
    assert (spec.scoring, spec.commits) == (ScoringId(scoring), True)
    # A study of before has the digest that it had.
    assert ("hostile" in spec.document()["aggregation"]) == (hostile > 0)
    assert not load_study(MINIMAL, "study.toml").commits


def leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, inner in value.items():
        found += leaves(inner, (*path, key)) if isinstance(inner, dict) else [(*path, key)]
    return found


# Each value in another way that is still a study.
OTHER: dict[str, Any] = {
    "locked_cohort": True,
    "name": "other", "optimizer": "sgd", "rule": "trimmed_mean", "scoring": "examples",
    "recording": "full", "per_round": "101", "bond": "13", "deposit": "14",
    "closing_fee": "15", "attesting_fee": "16", "hidden": [8, 9], "local_steps": None,
}  # fmt: skip


def test_digest_when_any_value_differs_is_another() -> None:
    before = load_study(COMPLETE, "complete.toml")
    for path in leaves(before.document()):
        document = before.document()
        table = document
        for key in path[:-1]:
            table = table[key]
        value = table[path[-1]]
        if path[-1] in OTHER:
            table[path[-1]] = OTHER[path[-1]]
        else:
            table[path[-1]] = value + 1 if isinstance(value, int) else value / 2
        if document == before.document():
            continue
        if path == ("aggregation", "trim"):
            document["aggregation"]["min_sites"] = 5
        assert StudySpec.model_validate(document).digest != before.digest, path


def test_document_when_without_privacy_is_that_of_a_study_before_there_was_any() -> None:
    spec = load_study(MINIMAL, "tiny.toml")
    assert spec.privacy is None
    assert "privacy" not in spec.document()
    private = load_study(MINIMAL + PRIVACY, "tiny.toml")
    assert private.document()["privacy"] == {
        "noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
        "delta": 1e-5,
        "target_epsilon": None,
    }
    assert private.digest != spec.digest


def test_document_when_a_unit_of_privacy_is_named_has_it_unless_it_is_the_row() -> None:
    """Studies that were made before there was a choice keep their digest."""
    plain = load_study(MINIMAL + PRIVACY, "tiny.toml")
    row = load_study(MINIMAL + PRIVACY + 'unit = "row"\n', "tiny.toml")
    assert row.document() == plain.document()
    assert row.digest == plain.digest
    patient = load_study(MINIMAL + PRIVACY + 'unit = "patient"\n', "tiny.toml")
    assert patient.document()["privacy"] == {**plain.document()["privacy"], "unit": "patient"}
    assert patient.digest != plain.digest
    assert parse_specification(canonical_bytes(patient.document())) == patient


def test_specification_when_stored_is_read_back() -> None:
    for text in (MINIMAL, MINIMAL + PRIVACY, COMPLETE):
        spec = load_study(text, "study.toml")
        assert parse_specification(canonical_bytes(spec.document())) == spec


def test_parameters_when_written_are_those_of_the_study() -> None:
    spec = load_study(COMPLETE, "complete.toml")
    params = spec.params(
        **ADDRESSES,
        parameter_count=99,
        initial_model=b"\x01" * 32,
        code=b"\x02" * 32,
        parties=b"\x03" * 32,
    )
    assert params.specification == spec.digest
    assert (params.reward_per_round, params.bond, params.rounds) == (100, 12, 20)
    assert (params.deposit, params.closing_fee, params.attesting_fee) == (3, 4, 5)
    assert spec.budget == (100 + 4 + 5) * 20
    assert (params.recording, params.rule, params.rule_argument) == (
        Recording.ROOT,
        RuleId.TRIMMED_MEAN,
        1,
    )
    times = (params.challenge_seconds, params.round_seconds, params.grace_seconds)
    assert (*times, params.demand_seconds) == (3600, 20, 30, 600)
    assert (params.min_sites, params.auditor_quorum, params.parameter_count) == (3, 2, 99)
    roots = (params.initial_model, params.code, params.parties)
    assert roots == (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)
    assert spec.rule == Rule(RuleId.TRIMMED_MEAN, 1, 4 * 2**18)
    assert spec.scoring is ScoringId.EXAMPLES
    assert params.scoring is ScoringId.EXAMPLES
    assert params.update_bound == spec.update_limit == 4 * 2**18


def test_update_limit_when_the_bound_is_huge_stays_in_int32() -> None:
    spec = load_study(MINIMAL + "\n[aggregation]\nupdate_bound = 1e308\n", "x")
    assert spec.update_limit == 2**31 - 1


def test_update_bound_when_below_a_step_of_the_fixed_point_is_refused() -> None:
    text = MINIMAL + "\n[aggregation]\nupdate_bound = "
    assert load_study(text + repr(2.0**-20), "x").update_limit == 1
    with pytest.raises(SpecificationError, match="less than one step of the fixed point"):
        load_study(text + repr(2.0**-21), "x")


WRONG = [
    ("rounds = 3", "rounds = 0", 4, "study.rounds"),
    ("rounds = 3", "rounds = 1000001", 4, "study.rounds"),
    ("rounds = 3", 'rounds = "3"', 4, "study.rounds"),
    ("rounds = 3", "rounds = 3.0", 4, "study.rounds"),
    ("rounds = 3", "rounds = true", 4, "study.rounds"),
    ("rounds = 3", "rounds = 3\nseed = -1", 5, "study.seed"),
    ("rounds = 3", "rounds = 3\nseeds = 1", 5, "study.seeds"),
    ('name = "tiny"', 'name = "Tiny Study"', 3, "study.name"),
    ('name = "tiny"', 'name = "../tiny"', 3, "study.name"),
    ("learning_rate = 0.1", "learning_rate = 0.0", 11, "training.learning_rate"),
    ("learning_rate = 0.1", "learning_rate = nan", 11, "training.learning_rate"),
    ("learning_rate = 0.1", "learning_rate = inf", 11, "training.learning_rate"),
    ("learning_rate = 0.1", "lr = 0.1", 11, "training.lr"),
    ("local_steps = 1", "local_steps = 1\nlocal_epochs = 1", 10, "training"),
    ("local_steps = 1", "", 10, "training"),
    ("local_steps = 1", 'local_steps = 1\noptimizer = "lion"', 13, "training.optimizer"),
    (
        "local_steps = 1",
        'local_steps = 1\noptimizer = "adam"\nmomentum = 0.5',
        10,
        "training",
    ),
    ("local_steps = 1", "local_steps = 1\n[aggregation]\ntrim = 1", 13, "aggregation"),
    (
        "local_steps = 1",
        'local_steps = 1\n[aggregation]\nrule = "trimmed_mean"\ntrim = 1',
        13,
        "aggregation",
    ),
    ("local_steps = 1", "local_steps = 1\n[aggregation]\nhostile = 1", 13, "aggregation"),
    (
        "local_steps = 1",
        'local_steps = 1\n[aggregation]\nrule = "multi_krum"\nmin_sites = 3',
        13,
        "aggregation",
    ),
    (
        "local_steps = 1",
        'local_steps = 1\n[aggregation]\nrule = "multi_krum"\nhostile = 1\nmin_sites = 2',
        13,
        "aggregation",
    ),
    (
        "local_steps = 1",
        'local_steps = 1\n[aggregation]\nrule = "multi_krum"\nhostile = 1\nmin_sites = 236',
        13,
        "aggregation",
    ),
    (
        "local_steps = 1",
        'local_steps = 1\n[aggregation]\nrule = "median"\n[rewards]\nscoring = "projection"',
        15,
        "rewards",
    ),
    (
        "local_steps = 1",
        'local_steps = 1\n[rewards]\nscoring = "alignment"',
        14,
        "rewards.scoring",
    ),
    ("local_steps = 1", "local_steps = 1\n[agregation]\ntrim = 1", 13, "agregation"),
    ("local_steps = 1", "local_steps = 1\n[rewards]\nper_round = 1.5", 14, "rewards.per_round"),
    ("local_steps = 1", 'local_steps = 1\n[rewards]\nper_round = "-1"', 14, "rewards.per_round"),
    (
        "local_steps = 1",
        "local_steps = 1\n[aggregation]\nupdate_bound = nan",
        14,
        "aggregation.update_bound",
    ),
    (
        "local_steps = 1",
        "local_steps = 1\n[aggregation]\nupdate_bound = inf",
        14,
        "aggregation.update_bound",
    ),
    ("local_steps = 1", "local_steps = 1\nweight_decay = inf", 13, "training.weight_decay"),
    ("arguments = { features = 4 }", "arguments = 4", 8, "model.arguments"),
    ('name = "logistic"', 'name = "a\\u009b2J"', 7, "model.name"),
    (
        "arguments = { features = 4 }",
        "arguments = { features = nan }",
        8,
        "model.arguments",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "key"), WRONG, ids=[f"{new!r}" for _, new, _, _ in WRONG]
)
def test_study_when_a_value_is_wrong_names_line_and_key(
    old: str, new: str, line: int, key: str
) -> None:
    text = MINIMAL.replace(old, new)
    assert text != MINIMAL
    with pytest.raises(SpecificationError) as refusal:
        load_study(text, "study.toml")
    assert (refusal.value.line, refusal.value.source) == (line, "study.toml")
    assert refusal.value.key.startswith(key)
    assert str(refusal.value).startswith(f"study.toml:{line}: {key}")
    assert "should" not in str(refusal.value)  # pydantic's own wording
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("noise_multiplier = 1", "noise_multiplier = 0.0", 15, "privacy.noise_multiplier"),
        ("noise_multiplier = 1", "noise_multiplier = nan", 15, "privacy.noise_multiplier"),
        ("noise_multiplier = 1", "", 14, "privacy.noise_multiplier"),
        ("max_grad_norm = 1.0", "max_grad_norm = inf", 16, "privacy.max_grad_norm"),
        ("max_grad_norm = 1.0", "max_grad_norm = 0", 16, "privacy.max_grad_norm"),
        ("delta = 1e-5", "delta = 0.0", 17, "privacy.delta"),
        ("delta = 1e-5", "delta = 0.5", 17, "privacy.delta"),
        ("delta = 1e-5", "delta = 1e-5\ntarget_epsilon = -1", 18, "privacy.target_epsilon"),
        ("delta = 1e-5", "delta = 1e-5\nepsilon = 1", 18, "privacy.epsilon"),
        ("delta = 1e-5", 'delta = 1e-5\nunit = "person"', 18, "privacy.unit"),
        ("delta = 1e-5", "delta = 1e-5\nunit = 1", 18, "privacy.unit"),
        ("delta = 1e-5", "delta = 1e-5\nunit = []", 18, "privacy.unit"),
    ],
)
def test_privacy_when_a_value_is_wrong_names_line_and_key(
    old: str, new: str, line: int, key: str
) -> None:
    with pytest.raises(SpecificationError) as refusal:
        load_study(MINIMAL + PRIVACY.replace(old, new), "study.toml")
    assert (refusal.value.line, refusal.value.key) == (line, key)


@pytest.mark.parametrize("window", ["challenge", "round", "grace", "demand"])
def test_window_when_longer_than_the_study_may_run_is_refused(window: str) -> None:
    chain = f"[chain]\n{window}_seconds = 90_000\nlifetime_seconds = "
    load_study(f"{MINIMAL}{chain}90_000\n", "study.toml")
    with pytest.raises(SpecificationError, match=f"at least {window}_seconds"):
        load_study(f"{MINIMAL}{chain}89_999\n", "study.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [("[study\nname = 1", 1), ("[study]\nname = \n", 2), ("a = 1\na = 2\n", 2), ("\x00", 1)],
)
def test_study_when_not_toml_names_the_line(text: str, line: int) -> None:
    with pytest.raises(SpecificationError, match="not TOML") as refusal:
        load_study(text, "study.toml")
    assert refusal.value.line == line


def test_study_when_empty_says_what_is_missing() -> None:
    with pytest.raises(SpecificationError, match="study: this key is missing") as refusal:
        load_study("", "study.toml")
    assert refusal.value.line is None


@given(st.text(max_size=200))
def test_text_when_hostile_gives_a_study_or_one_error(text: str) -> None:
    with pytest.raises(SpecificationError):
        load_study(text, "study.toml")


@given(st.data())
@settings(max_examples=200)
def test_study_when_a_letter_is_altered_gives_a_study_or_one_error(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(COMPLETE) - 1))
    letter = data.draw(st.characters(codec="utf-8"))
    text = COMPLETE[:at] + letter + COMPLETE[at + 1 :]
    try:
        spec = load_study(text, "study.toml")
    except SpecificationError:
        return
    # Whatever is accepted can be pinned and read again.
    assert parse_specification(canonical_bytes(spec.document())) == spec


@given(st.binary(max_size=200))
def test_specification_when_hostile_gives_one_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_specification(data)


@given(st.data())
@settings(max_examples=200)
def test_specification_when_a_byte_is_altered_is_another_or_none(data: st.DataObject) -> None:
    spec = load_study(COMPLETE, "complete.toml")
    altered = bytearray(canonical_bytes(spec.document()))
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = parse_specification(bytes(altered))
    except ProtocolError:
        return
    assert other.digest != spec.digest


def test_line_when_the_key_is_in_a_row_of_tables_is_that_rows() -> None:
    from wardround_simulations.scenario import Scenario

    text = MINIMAL + '\n[data]\nname = "generated"\n\n[[behaviour]]\nsite = "a"\nabsent = [1]\n'
    text += '\n[[behaviour]]\nsite = "b"\natack = "nan"\n'
    with pytest.raises(SpecificationError) as refusal:
        validate_form(Scenario, parse_toml(text, "s.toml"), text, "s.toml")
    line = text.splitlines().index('atack = "nan"') + 1
    assert (refusal.value.line, refusal.value.key) == (line, "behaviour.1.atack")


def test_documents_when_in_the_scenarios_folder_are_studies() -> None:
    folder = (
        Path(__file__).resolve().parents[2] / "simulations" / "wardround_simulations" / "scenarios"
    )
    for path in folder.glob("*.toml"):
        tables = {
            name: value
            for name, value in tomllib.loads(path.read_text("utf-8")).items()
            if name in StudySpec.model_fields
        }
        spec = validate_form(StudySpec, tables, path.read_text("utf-8"), str(path))
        assert spec.study.name == path.stem
        assert json.loads(canonical_bytes(spec.document())) == spec.document()
