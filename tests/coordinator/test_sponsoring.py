"""What `study create` makes and pays, and what it tells the sponsor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.calling import Call, Ended
from tests.integration.networks import STUDY_TOML
from tests.odd_tokens import token_of
from wardround.audit.model_file import study_layout
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, balances_of
from wardround.host.key_file import write_private
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.model import layout_digest
from wardround.protocol.replay import fetch_specification
from wardround.protocol.study import parse_specification
from wardround.store import open_store

TOKEN = 10**18


@dataclass(frozen=True)
class Place:
    """A chain, and a sponsor at the command line with a study file."""

    chain: EmbeddedChain
    sponsor: LocalAccount
    coordinators: list[str]
    call: Call

    def create(self, *options: object, study: str = STUDY_TOML) -> Ended:
        Path("study.toml").write_text(study, "utf-8")
        named = [word for one in self.coordinators for word in ("--coordinator", one)]
        where = ["--chain", self.chain.url, "--key", "sponsor.key", "--store", "store"]
        return self.call("study", "create", "study.toml", *where, *named, *options)


@pytest.fixture
def place(tmp_path: Path, call: Call) -> Iterator[Place]:
    sponsor = Account.create()
    write_private(tmp_path / "sponsor.key", sponsor.key.hex())
    genesis = Genesis(DEV_CHAIN_ID, int(time.time()), balances_of([sponsor.address]))
    chain = EmbeddedChain(tmp_path.name, genesis)
    yield Place(chain, sponsor, [Account.create().address for _ in range(2)], call)
    chain.close()


def named(said: str, word: str) -> str:
    """What `study create` printed behind a word at the start of a line."""
    (line,) = [line for line in said.splitlines() if line.startswith(word + " ")]
    return line.removeprefix(word).strip()


def test_token_of_its_own_leaves_the_sponsor_deposits(place: Place) -> None:
    said = place.create().good
    token = StudyToken(place.chain, named(said, "token"))
    assert token.balance_of(place.sponsor.address) == 100 * TOKEN
    assert [token.balance_of(one) for one in place.coordinators] == [105 * TOKEN] * 2
    kept = f"100 tokens, 100 deposits, for {place.sponsor.address}"
    assert named(said, "kept").startswith(kept)
    ward = WardRound(place.chain, named(said, "contract"))
    study = StudyId(bytes.fromhex(named(said, "study")[2:]))
    assert token.balance_of(ward.escrow_of(study)) == ward.study(study).funded == 2 * TOKEN


def test_token_that_is_given_is_only_spent(place: Place) -> None:
    token = StudyToken.deploy(place.chain, place.sponsor, 7 * TOKEN)
    said = place.create("--token", token.address).good
    assert token.balance_of(place.sponsor.address) == 5 * TOKEN
    assert "kept" not in said


@pytest.mark.parametrize("decimals", [0, 6, 18, 24])
def test_amounts_that_the_file_leaves_out_are_whole_tokens(place: Place, decimals: int) -> None:
    bare = STUDY_TOML.replace('per_round = "1000000000000000000"', "")
    bare = bare.replace('bond = "5000000000000000000"', 'closing_fee = "7"')
    token = token_of(place.chain, place.sponsor, 10**30, decimals)
    said = place.create("--token", token.address, study=bare).good
    assert named(said, "amounts") == "1 tokens a round, bond 10, deposit 1"
    ward = WardRound(place.chain, named(said, "contract"))
    study = StudyId(bytes.fromhex(named(said, "study")[2:]))
    state, params = ward.study(study), ward.params(study)
    unit = 10**decimals
    assert (state.reward_per_round, state.bond, state.deposit) == (unit, 10 * unit, unit)
    # What the file sets stays as it is.
    assert state.closing_fee == 7
    # Sites compare the parameters with the specification in the store.
    data = open_store("store").get(cid_from_sha256(params.specification))
    assert parse_specification(data).expected(params) == params


def test_amounts_that_the_file_names_are_units_of_any_token(place: Place) -> None:
    token = token_of(place.chain, place.sponsor, 10**30, 6)
    said = place.create("--token", token.address).good
    amounts = "1,000,000,000,000 tokens a round, bond 5,000,000,000,000, deposit 1"
    assert named(said, "amounts") == amounts


def test_printed_command_proves_a_new_contract(place: Place) -> None:
    said = place.create().good
    # Who gets the command has an endpoint of their own, and the sponsor's may hold a secret.
    assert place.chain.url not in named(said, "to prove")
    proof = named(said, "to prove").replace(" URL ", f" {place.chain.url} ").split()
    assert proof[:4] == ["wardround", "contract", "verify", named(said, "contract")]
    proven = place.call(*proof[1:]).good
    assert "so is how it was created on chain" in " ".join(proven.split())
    assert proven.count("created by") == 3
    again = place.create("--contract", named(said, "contract"), "--token", named(said, "token"))
    assert "to prove" not in again.good


def test_what_no_study_can_have_is_refused_before_anything_is_deployed(place: Place) -> None:
    few = StudyToken.deploy(place.chain, place.sponsor, TOKEN)
    spent = place.chain.balance_wei(place.sponsor.address)
    quorum = STUDY_TOML.replace("[chain]", "[chain]\nauditor_quorum = 1")
    assert quorum != STUDY_TOML
    someone, zero = place.coordinators[0], "0x" + "0" * 40
    for options, study, words in [
        (["--token", someone], STUDY_TOML, "there is no ERC-20 token at this address"),
        (["--token", few.address], STUDY_TOML, "holds 1 tokens and needs 2"),
        (["--coordinator", someone], STUDY_TOML, f"--coordinator: {someone} is named twice"),
        (["--auditor", someone] * 2, STUDY_TOML, f"--auditor: {someone} is named twice"),
        (["--auditor", zero], STUDY_TOML, f"--auditor: {zero} is the zero address"),
        ([], quorum, "0 auditors are named: add them with --auditor"),
    ]:
        assert words in place.create(*options, study=study).error
    assert place.chain.balance_wei(place.sponsor.address) == spent


def test_study_that_is_paid_in_is_not_asked_for_its_tokens_again(place: Place) -> None:
    token = StudyToken.deploy(place.chain, place.sponsor, 2 * TOKEN)
    said = place.create("--token", token.address).good
    assert token.balance_of(place.sponsor.address) == 0
    again = place.create("--contract", named(said, "contract"), "--token", token.address).good
    assert named(again, "study") == named(said, "study")


def test_development_chain_gives_parts_of_a_token(place: Place) -> None:
    token = token_of(place.chain, place.sponsor, 2 * 10**6, 6)
    to = place.coordinators[0]
    options = [to, "--chain", place.chain.url, "--ether", "0"]
    paying = [*options, "--token", token.address, "--key", "sponsor.key", "--tokens"]
    assert f"{to} holds 0.5 tokens" in place.call("chain", "fund", *paying, "0.5").good
    assert "which has 6" in " ".join(place.call("chain", "fund", *paying, "0.0000005").err.split())
    assert "holds 1.5 tokens and needs 2" in place.call("chain", "fund", *paying, "2").error
    assert "nothing is to be given" in place.call("chain", "fund", *options).err


def test_auditor_is_told_where_nothing_is_closed_or_nothing_is(place: Place) -> None:
    said = place.create().good
    where = ["--chain", place.chain.url, "--contract", named(said, "contract")]
    where += ["--store", "store", "--key", "sponsor.key"]
    looked = place.call("court", "challenge", named(said, "study"), *where).good
    assert "no round is closed" in looked
    unknown = place.call("court", "challenge", "0x" + "12" * 32, *where).error
    assert "the chain has no such study: check its id and the contract" in unknown


def test_layout_of_an_own_model_is_stored_for_readers_who_run_none_of_it(place: Place) -> None:
    source = "from torch import nn\n\n\ndef build():\n    return nn.Linear(5, 1)\n"
    Path("model.py").write_text(source, "utf-8")
    _, _, after = STUDY_TOML.partition("[training]")
    table = 'file = "model.py"\nfactory = "build"\nrow_shape = [5]\nclasses = 2'
    study = f'[study]\nname = "lungs"\nrounds = 2\n[model]\n{table}\n[training]{after}'
    said = place.create(study=study).good
    ward = WardRound(place.chain, named(said, "contract"))
    facts = ward.facts(StudyId(bytes.fromhex(named(said, "study")[2:])))
    with closing(open_store("store")) as store:
        spec = fetch_specification(facts, store.map)
        layout = study_layout(spec, store)
    assert (layout.names, layout.shapes) == (("weight", "bias"), ((1, 5), (1,)))
    assert hex_of(layout_digest(layout)) == spec.model.layout


def test_study_that_ended_before_its_start_is_not_said_to_be_open(place: Place) -> None:
    said = place.create().good
    where = ["--chain", place.chain.url, "--contract", named(said, "contract")]
    where += ["--key", "sponsor.key"]
    study = named(said, "study")
    assert "ended after 0 rounds" in place.call("study", "end", study, *where).good
    assert "opened already, or ended" in place.call("study", "open", study, *where).error
    paid = place.call("study", "fund", study, "0.5", *where).good
    assert "it is over, and `wardround study refund` returns" in paid
    assert "returned 2.5 tokens" in place.call("study", "refund", study, *where).good
