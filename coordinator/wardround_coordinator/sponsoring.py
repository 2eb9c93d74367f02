"""What a sponsor does: create a study from its file, fund it, admit sites, open it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eth_account.signers.local import LocalAccount

from wardround.chain.amounts import tokens_of
from wardround.chain.chain import Chain
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.host.code import application_digest
from wardround.learning.initial import InitialModel
from wardround.learning.trial import try_model
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import StudyParams, StudyParties
from wardround.protocol.settlement import Vector
from wardround.protocol.study import StudySpec
from wardround.store import Store

#: What a sponsor keeps of a token that is made for its study: challengers need some.
SPARE_DEPOSITS = 100

_NO_ACCOUNT = "0x" + "0" * 40

#: Takes a line that reports what was done.
Say = Callable[[str], None]


def create_study(
    chain: Chain,
    sponsor: LocalAccount,
    spec: StudySpec,
    coordinators: Sequence[str],
    store: Store,
    *,
    contract: str | None,
    token: str | None,
    auditors: Sequence[str] = (),
    say: Say = lambda words: None,
) -> None:
    """Publish a study's specification and first model, create the study, and pay its rewards in.

    Every step asks the chain first, so the same call goes on where another was interrupted, once
    contract and token are named.

    Args:
        sponsor: pays rewards and gas.
        coordinators: addresses, the first active first; the others stand by in this order.
        store: gets the specification and the first model.
        contract: a WardRound contract; None creates one.
        token: the ERC-20 that the study pays in; None creates a plain one, worth nothing elsewhere,
            hands each coordinator its bond, and `SPARE_DEPOSITS` deposits to each and the sponsor.
            Amounts that the study's file leaves out are whole tokens of it.
        auditors: whose attestations count towards the quorum.
        say: reports each step.
    Raises:
        LearningError: the model cannot be built, or fails when it is tried on made-up rows.
        UnknownContract: the code of the contract is not known.
        ContractReverted: the contract refuses, under the name of its own error.
        SpecificationError: coordinators or auditors are none that a study can have.
        TransactionRefused: the sponsor cannot pay for gas, or does not hold the tokens.
    """
    _check_parties(spec, coordinators, auditors)
    if token is not None:
        given = StudyToken(chain, token)
        spec = spec.in_token(given.decimals())
        # Before anything is deployed for it. A contract that exists may have the study, paid in.
        given.require(sponsor.address, spec.budget if contract is None else 0)
    spec, initial = try_model(spec)
    publish(spec, initial, store)
    creations: list[str] = []
    if contract is None:
        ward = WardRound.deploy(chain, sponsor, creations.append)
    else:
        ward = WardRound.opened(chain, contract)
    say(f"contract     {ward.address}")
    total = spec.budget
    bond = int(spec.chain.bond)
    spare = int(spec.chain.deposit) * SPARE_DEPOSITS
    if token is None:
        # A coordinator demands what sites register, against deposits.
        stake = bond + spare
        money = StudyToken.deploy(chain, sponsor, total + stake * len(coordinators) + spare)
        for coordinator in coordinators:
            money.transfer(sponsor, coordinator, stake)
    else:
        money = StudyToken(chain, token)
    say(f"token        {money.address}")
    params = fund_new_study(ward, money, sponsor, spec, initial, coordinators, auditors)
    say(f"study        {hex_of(params.study_id)}")
    if creations:
        proof = " ".join(f"--creation {one}" for one in creations)
        say(f"to prove     wardround contract verify {ward.address} --rpc URL {proof}")

    def words(amount: int | str) -> str:
        return tokens_of(int(amount), money.decimals())

    say(f"funded       {words(total)} tokens for {spec.study.rounds} rounds")
    reward, deposit = words(spec.reward_per_round), words(spec.chain.deposit)
    say(f"amounts      {reward} tokens a round, bond {words(bond)}, deposit {deposit}")
    if token is None:
        kept = f"{words(spare)} tokens, {SPARE_DEPOSITS} deposits"
        say(f"kept         {kept}, for {sponsor.address} to challenge or to hand on")


def _check_parties(spec: StudySpec, coordinators: Sequence[str], auditors: Sequence[str]) -> None:
    """Check what the contract would refuse only after it was deployed."""
    for option, accounts in (("--coordinator", coordinators), ("--auditor", auditors)):
        if _NO_ACCOUNT in accounts:
            raise SpecificationError(
                option, f"{_NO_ACCOUNT} is the zero address, which no key controls: name an account"
            )
        twice = [one for one in accounts if accounts.count(one) > 1]
        if twice:
            raise SpecificationError(option, f"{twice[0]} is named twice: name each account once")
    if spec.chain.auditor_quorum > len(auditors):
        raise SpecificationError(
            "chain.auditor_quorum",
            f"{spec.chain.auditor_quorum} attestations make a round final, and {len(auditors)} "
            "auditors are named: add them with --auditor, or lower it",
        )


def publish(spec: StudySpec, initial: InitialModel, store: Store) -> None:
    """Store what a study begins with: first model, specification; of its own one files and layout.

    The layout lies under the digest that the specification pins, for readers who run no foreign
    code.
    """
    store.put(Vector.of(initial.values).data)
    store.put(canonical_bytes(spec.document()))
    for data in spec.files.values():
        store.put_public(data)
    if spec.model.is_own:
        store.put_public(canonical_bytes(initial.layout.document()))


def fund_new_study(
    ward: WardRound,
    token: StudyToken,
    sponsor: LocalAccount,
    spec: StudySpec,
    initial: InitialModel,
    coordinators: Sequence[str],
    auditors: Sequence[str] = (),
) -> StudyParams:
    """Create a study for the code that is installed here, and pay its rewards and fees in."""
    parties = StudyParties.of(coordinators, auditors)
    params = spec.params(
        sponsor=sponsor.address,
        token=token.address,
        parameter_count=initial.values.size,
        initial_model=Vector.of(initial.values).root,
        code=application_digest(),
        parties=parties.digest,
    )
    ward.create_study(sponsor, params, parties)
    study = params.study_id
    missing = spec.budget - ward.study(study).funded
    if missing > 0:
        token.require(sponsor.address, missing)
        token.approve(sponsor, ward.address, missing)
        ward.fund(sponsor, study, missing)
    return params
