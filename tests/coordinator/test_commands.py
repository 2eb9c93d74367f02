"""``wardround study`` and ``wardround coordinator``: from keys to a study with an open round."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.calling import Call, Ended
from tests.integration.networks import STUDY_TOML
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.host.key_file import read_key
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.protocol.record import RuleId
from wardround.protocol.whole_evidence import PROVABLE_SITES
from wardround.store import open_store
from wardround.transport.certificates import issue_server
from wardround.transport.enrolment import ENROLMENT, enrol
from wardround.transport.ports import free_port
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.session import Session
from wardround_coordinator.settings import load_coordinator_settings
from wardround_coordinator.standby import Tenure

CHAIN_ID, ETHER = 31_337_002, 10**18
PAYOUT = "0x" + "77" * 20


@dataclass(frozen=True)
class Place:
    """A chain on which sponsor and coordinator have money, and the study's file."""

    chain: EmbeddedChain
    sponsor: str
    coordinator: str

    @property
    def on_chain(self) -> list[object]:
        return ["--chain", self.chain.url, "--chain-id", CHAIN_ID]


@pytest.fixture
def place(call: Call, tmp_path: Path) -> Iterator[Place]:
    addresses = [
        re.findall(r"0x[0-9a-fA-F]{40}", call("study", "keygen", f"{name}.key").good)[0]
        for name in ("sponsor", "coordinator")
    ]
    balances = dict.fromkeys(addresses, 10 * ETHER)
    chain = EmbeddedChain(tmp_path.name, Genesis(CHAIN_ID, 1_790_000_000, balances))
    (tmp_path / "study.toml").write_text(STUDY_TOML, encoding="utf-8")
    yield Place(chain, *addresses)
    chain.close()


@dataclass(frozen=True)
class Created:
    """A study that was created by the command."""

    contract: str
    token: str
    study: str


def create(call: Call, place: Place, *more: object) -> Created:
    said = call(
        *("study", "create", "study.toml", *place.on_chain, "--key", "sponsor.key"),
        *("--coordinator", place.coordinator, "--store", "store", *more),
    ).good
    values = dict(line.split()[:2] for line in said.splitlines()[:3])
    return Created(values["contract"], values["token"], values["study"])


def admit(call: Call, place: Place, study: Created, site: str, *more: object) -> Ended:
    return call(
        *("study", "admit", study.study, site, *place.on_chain, "--contract", study.contract),
        *("--key", "sponsor.key", "--payout", PAYOUT, "--max-weight", 500, *more),
    )


def init(call: Call, place: Place, study: Created, *more: object) -> Ended:
    return call(
        *("coordinator", "init", "fl", *place.on_chain, "--contract", study.contract),
        *("--study", study.study, "--host", "fl.example.org", "--store", "../store", *more),
    )


def test_from_keys_to_an_open_round(call: Call, place: Place, tmp_path: Path) -> None:
    study = create(call, place)
    said = init(call, place, study, "--key", "coordinator.key").good
    assert place.coordinator in said
    assert "bond of 5 tokens posted" in call("coordinator", "bond", "fl").good
    assert "nothing was sent" in call("coordinator", "bond", "fl").good

    site_key = bytes.fromhex("31" * 32)
    (tmp_path / "site").mkdir()
    site = enrol(tmp_path / "site", "st-mary", site_key).address
    said = call("coordinator", "add-site", "fl", tmp_path / "site" / ENROLMENT).good
    assert "it is enrolled" in said
    assert "once the study's sponsor has admitted it" in said
    assert "admitted: at most 500 examples" in admit(call, place, study, site).good
    assert "nothing was sent" in admit(call, place, study, site).good
    said = call("coordinator", "add-site", "fl", tmp_path / "site" / ENROLMENT).good
    assert "is replaced" in said
    assert "sponsor has admitted it" not in said

    on_contract = [*place.on_chain, "--contract", study.contract, "--key", "sponsor.key"]
    assert "round 1 is open" in call("study", "open", study.study, *on_contract).good
    assert "is removed" in call("study", "remove", study.study, site, *on_contract).good
    assert "nothing was sent" in call("study", "remove", study.study, site, *on_contract).good

    # A coordinator that starts now finds all it needs.
    settings = load_coordinator_settings(tmp_path / "fl")
    ward = WardRound(place.chain, settings.study.contract)
    facts = ward.facts(settings.study_id)
    assert (facts.members[site].max_weight, ward.site(settings.study_id, site).payout) == (
        500,
        "0x" + "77" * 20,
    )
    session = Session(
        ward,
        read_key(tmp_path / "fl" / settings.coordinator.key_file),
        open_store(tmp_path / "fl" / settings.coordinator.store),
        facts,
    )
    assert session.position().round == 1
    assert ward.study(settings.study_id).funded == 2 * ETHER


def test_study_that_is_ended_gives_bond_and_money_back(call: Call, place: Place) -> None:
    study = create(call, place)
    init(call, place, study, "--key", "coordinator.key")
    call("coordinator", "bond", "fl")
    on_contract = [*place.on_chain, "--contract", study.contract, "--key", "sponsor.key"]
    token = StudyToken(place.chain, study.token)
    token.transfer(read_key(Path("coordinator.key")), place.sponsor, 0)
    said = call("study", "fund", study.study, "100.5", *on_contract).error
    assert "holds 100 tokens and needs 100.5" in said  # the sponsor has kept a hundred
    for amount in ("0", "-1", "much", "1e-19", "nan"):
        assert call("study", "fund", study.study, amount, *on_contract).status == 2

    assert "WardRound_NotFinal" in call("study", "refund", study.study, *on_contract).error
    assert "ended after 0 rounds" in call("study", "end", study.study, *on_contract).good
    assert "nothing was sent" in call("study", "end", study.study, *on_contract).good
    done = json.loads(call("study", "refund", study.study, *on_contract, "--json").good)
    assert (done["amount"], done["sponsor"]) == (str(2 * ETHER), place.sponsor)
    assert token.balance_of(place.sponsor) == 102 * ETHER
    assert "nothing is due" in call("study", "refund", study.study, *on_contract).error
    assert "bond of 5 tokens returned" in call("coordinator", "release", "fl").good
    assert token.balance_of(place.coordinator) == 105 * ETHER  # with a hundred deposits
    assert "nothing was sent" in call("coordinator", "release", "fl").good

    # What the sponsor pays in now comes back as before.
    said = call("study", "fund", study.study, "0.5", *on_contract).good
    assert "paid in 0.5 tokens; the study has been paid 2.5" in said
    assert "returned 0.5 tokens" in call("study", "refund", study.study, *on_contract).good


def test_addresses_are_taken_as_they_were_printed(call: Call, place: Place) -> None:
    study = create(call, place)
    assert study.contract != study.contract.lower()
    site = "0x" + "AB" * 20
    assert f"paid at {PAYOUT}" in admit(call, place, study, site).good
    init(call, place, study, "--key", "coordinator.key")
    file = Path("fl/coordinator.toml")
    file.write_text(file.read_text().replace(study.contract.lower(), study.contract))
    assert "posted" in call("coordinator", "bond", "fl").good
    assert "its checksum is wrong" in admit(call, place, study, "0x" + "aB" * 20).error


def test_create_when_repeated_goes_on(call: Call, place: Place) -> None:
    first = create(call, place)
    again = create(call, place, "--contract", first.contract, "--token", first.token)
    assert again == first
    ward = WardRound(place.chain, first.contract)
    study = StudyId(bytes32(first.study, "study"))
    assert ward.study(study).funded == 2 * ETHER
    assert StudyToken(place.chain, first.token).balance_of(place.coordinator) == 105 * ETHER


def test_bad_input_is_one_line(call: Call, place: Place, tmp_path: Path) -> None:
    assert "already" in call("study", "keygen", "sponsor.key").error
    study = create(call, place)
    (tmp_path / "study.toml").write_text(STUDY_TOML + "more = 1\n", encoding="utf-8")
    said = call(
        *("study", "create", "study.toml", *place.on_chain, "--key", "sponsor.key"),
        *("--coordinator", place.coordinator, "--store", "store"),
    ).error
    assert "study.toml:22" in said
    wrong = [*place.on_chain[:3], CHAIN_ID + 1, "--contract", study.contract, "--key"]
    said = call("study", "open", study.study, *wrong, "sponsor.key").error
    assert str(CHAIN_ID + 1) in said
    on_contract = [*place.on_chain, "--contract", study.contract, "--key"]
    assert "NotSponsor" in call("study", "open", study.study, *on_contract, "coordinator.key").error
    assert "no.key" in call("study", "open", study.study, *on_contract, "no.key").error
    assert call("study", "open", "0x12", *on_contract, "sponsor.key").error
    assert admit(call, place, study, "0x1234").error
    other = "0x" + "12" * 32
    said = init(call, place, Created(study.contract, study.token, other)).error
    assert other in said
    assert not (tmp_path / "fl").exists()
    init(call, place, study, "--key", "coordinator.key")
    assert "not empty" in init(call, place, study).error


def test_enrolment_that_the_site_did_not_sign_is_refused(
    call: Call, place: Place, tmp_path: Path
) -> None:
    study = create(call, place)
    init(call, place, study)
    enrol(tmp_path, "st-mary", bytes.fromhex("31" * 32))
    file = tmp_path / ENROLMENT
    file.write_text(file.read_text().replace("st-mary", "st-john"), encoding="utf-8")
    assert call("coordinator", "add-site", "fl", file).error
    assert list((tmp_path / "fl" / "sites").iterdir()) == []


def test_renewed_certificate_is_the_authoritys(call: Call, place: Place, tmp_path: Path) -> None:
    study = create(call, place)
    init(call, place, study)
    home = CoordinatorHome(tmp_path / "fl")
    authority = x509.load_pem_x509_certificate(home.authority.read_bytes())
    before = x509.load_pem_x509_certificates(home.certificate.read_bytes())[0]
    assert "valid until" in call("coordinator", "renew", "fl", "--days", 30).good
    after = x509.load_pem_x509_certificates(home.certificate.read_bytes())[0]
    assert after.serial_number != before.serial_number
    after.verify_directly_issued_by(authority)
    assert x509.load_pem_x509_certificate(home.authority.read_bytes()) == authority
    assert (after.not_valid_after_utc - after.not_valid_before_utc).days in (30, 31)


def test_run_when_its_certificate_has_expired_starts_nothing(
    call: Call, place: Place, tmp_path: Path
) -> None:
    init(call, place, create(call, place))
    home = CoordinatorHome(tmp_path / "fl")
    issue_server(home.tls, ["fl.example.org"], datetime.now(UTC) - timedelta(days=10), 1)
    error = call("coordinator", "run", "fl").error
    assert "server.pem (valid from " in error
    assert " has expired" in error
    assert "make another with `wardround coordinator renew`." in error
    assert not home.logs.exists()


def test_run_by_who_may_not_act_is_refused_before_anything_starts(
    call: Call, place: Place, tmp_path: Path
) -> None:
    (second,) = re.findall(r"0x[0-9a-fA-F]{40}", call("study", "keygen", "second.key").good)
    place.chain.transfer(read_key(tmp_path / "sponsor.key"), second, ETHER)
    study = create(call, place, "--coordinator", second)
    for folder, key in (("fl", "coordinator.key"), ("fl-b", "second.key"), ("fl-c", "sponsor.key")):
        call(
            *("coordinator", "init", folder, *place.on_chain, "--contract", study.contract),
            *("--study", study.study, "--host", "127.0.0.1", "--key", key, "--port", free_port()),
        )
    assert "it is not listed" in call("coordinator", "run", "fl-c").error
    assert "its bond is not posted" in call("coordinator", "run", "fl-b", "--standby").error
    for folder in ("fl", "fl-b"):
        assert "posted" in call("coordinator", "bond", folder).good
    admit(call, place, study, "0x" + "ab" * 20)
    on_contract = ["--contract", study.contract, "--key", "sponsor.key"]
    call("study", "open", study.study, *place.on_chain, *on_contract)
    refused = call("coordinator", "run", "fl-b").error
    assert f"round 1 belongs to coordinator {place.coordinator}" in refused
    (tmp_path / "fl-b" / "coordinator.key").unlink()
    assert "coordinator.key" in call("coordinator", "run", "fl-b", "--standby").error
    logs = {path.name for path in (tmp_path / "fl-b" / "logs").iterdir()}
    assert logs == {"events.jsonl"}, "no program was started"


def test_coordinator_that_comes_before_the_study_is_opened_waits_for_it(
    call: Call, place: Place, tmp_path: Path
) -> None:
    study = create(call, place)
    init(call, place, study, "--key", "coordinator.key")
    call("coordinator", "bond", "fl")
    admit(call, place, study, "0x" + "ab" * 20)
    on_contract = ["--contract", study.contract, "--key", "sponsor.key"]
    said: list[str] = []

    def wait(seconds: float) -> None:
        call("study", "open", study.study, *place.on_chain, *on_contract)

    class Worked(Exception):
        """It came to work."""

    def work() -> None:
        raise Worked

    tenure = Tenure(
        WardRound(place.chain, study.contract),
        read_key(tmp_path / "coordinator.key"),
        StudyId(bytes32(study.study, "study")),
        standby=False,
        clock=place.chain.timestamp,
        wait=wait,
        say=said.append,
    )
    with pytest.raises(Worked):
        tenure.serve(work)
    assert said == ["waiting for the sponsor to open the study", "going on with round 1 of 2"]


def test_site_beyond_those_that_can_be_ranked_is_not_admitted(
    call: Call, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = 'min_sites = 3\nrule = "multi_krum"\nhostile = 1'
    (tmp_path / "study.toml").write_text(STUDY_TOML.replace("min_sites = 1", rule), "utf-8")
    study = create(call, place)
    monkeypatch.setitem(PROVABLE_SITES, RuleId.MULTI_KRUM, 3)
    first, second, third, fourth = (f"0x{place:040x}" for place in range(1, 5))
    for site in (first, second, third, first):
        assert admit(call, place, study, site).good
    assert "4 sites are too many for multi_krum" in admit(call, place, study, fourth).error


def test_study_whose_turns_are_shorter_than_a_demand_is_refused(
    call: Call, place: Place, tmp_path: Path
) -> None:
    def asked(round_seconds: int) -> Ended:
        times = (
            f"round_seconds = {round_seconds}\nregistration_seconds = 60\ndemand_seconds = 700\n"
        )
        (tmp_path / "study.toml").write_text(STUDY_TOML + times, "utf-8")
        options = ["--coordinator", place.coordinator, "--store", "store", "--key", "sponsor.key"]
        return call("study", "create", "study.toml", *place.on_chain, *options)

    said = asked(759).error
    assert "study.toml: chain.round_seconds: it is 759" in said
    assert "wait 760 s, for registration_seconds and demand_seconds: raise it to that" in said
    assert place.chain.block().number == 0
    assert asked(760).good
