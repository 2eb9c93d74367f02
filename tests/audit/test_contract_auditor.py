"""An auditor that is a contract: a Safe, from its published bytecode, and others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.calling import Call as Command
from tests.chain.staged import Theatre, theatre
from tests.odd_tokens import HOSTILE, contract_of
from wardround.audit.auditor import Auditor
from wardround.audit.notices import Powers
from wardround.audit.quorum import QuorumSender
from wardround.audit.signatures import SignatureFolder
from wardround.chain.contract import Call, Contract
from wardround.chain.errors import ContractReverted, TransactionRefused
from wardround.host.key_file import write_private
from wardround.protocol.attestation import Attestation
from wardround.protocol.contribution import Domain, sign_digest
from wardround.protocol.identifiers import StudyId, hex_of
from wardround_simulations.stage import OBJECTION_SECONDS, Stage

ARTIFACTS = (
    Path(__file__).resolve().parents[2]
    / "contracts/node_modules/@safe-global/safe-contracts/build/artifacts/contracts"
)
NO_ONE = "0x" + "00" * 20


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("contracts")) as opened:
        yield opened


@dataclass(frozen=True)
class Safe:
    """A Safe of two owners, who must both sign."""

    scene: Theatre
    owners: list[LocalAccount]
    address: str

    @classmethod
    def deploy(cls, scene: Theatre) -> Safe:
        owners = sorted((Account.create() for _ in range(2)), key=lambda one: one.address.lower())
        singleton, handler, factory = (
            published(scene, place)
            for place in (
                "Safe.sol",
                "handler/CompatibilityFallbackHandler.sol",
                "proxies/SafeProxyFactory.sol",
            )
        )
        setup = singleton.function(
            "setup", [one.address for one in owners], 2, NO_ONE, b"", handler.address, NO_ONE, 0,
            NO_ONE,
        )  # fmt: skip
        create = factory.function("createProxyWithNonce", singleton.address, setup.data, 1)
        receipt = scene.chain.send(scene.stranger, create, "create a Safe")
        assert receipt is not None
        made = [factory.event(log) for log in receipt.logs]
        (address,) = (event[1]["proxy"] for event in made if event is not None)
        return cls(scene, owners, address)

    def sign(self, digest: bytes, owners: int = 2) -> bytes:
        """The signature of 32 bytes as the Safe accepts it."""
        handler = Contract(abi("handler/CompatibilityFallbackHandler.sol"), self.address)
        message = self.scene.chain.call(handler.function("getMessageHash", digest))
        return b"".join(sign_digest(message, bytes(one.key)) for one in self.owners[:owners])


def abi(place: str) -> Any:
    name = Path(place).stem
    return json.loads((ARTIFACTS / place / f"{name}.json").read_text())["abi"]


def published(scene: Theatre, place: str) -> Contract:
    """Deploy a contract of Safe's."""
    artifact = json.loads((ARTIFACTS / place / f"{Path(place).stem}.json").read_text())
    code = bytes.fromhex(artifact["bytecode"][2:])
    receipt = scene.chain.send(scene.stranger, Call(None, code, "constructor"), f"deploy {place}")
    assert receipt is not None
    assert receipt.contract_address is not None
    return Contract(artifact["abi"], receipt.contract_address)


@dataclass(frozen=True)
class Case:
    """A study of one closed round, which waits for a Safe's attestation."""

    stage: Stage
    safe: Safe
    statement: Attestation

    @property
    def digest(self) -> bytes:
        return self.statement.signing_digest(self.stage.contract.domain)

    @property
    def words(self) -> list[str]:
        """The command's arguments but for the signature; any account pays."""
        where = ["--chain", self.stage.chain.url, "--contract", self.stage.contract.address]
        what = [
            "--store",
            str(self.safe.scene.folder / self.stage.spec.study.name),
            "--key",
            "any.key",
        ]
        return ["court", "attest", hex_of(self.stage.study), *where, *what, *self.auditor]

    @property
    def auditor(self) -> list[str]:
        return ["--auditor", self.safe.address.lower()]


def closed(scene: Theatre, quorum: int = 1) -> Case:
    safe = Safe.deploy(scene)
    named: Any = [SimpleNamespace(address=safe.address)]
    stage = scene.stage(rounds=1, quorum=quorum, auditors=named)
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    closing = scene.ward.closed_rounds(stage.study)[0].closing
    Path("any.key").unlink(missing_ok=True)
    write_private(Path("any.key"), scene.stranger.key.hex())
    return Case(stage, safe, Attestation(stage.study, 1, closing.commitment))


def test_safe_attests_by_a_command(scene: Theatre, call: Command) -> None:
    case = closed(scene)
    told = call(*case.words).good
    assert f"to attest it, {case.safe.address} signs {hex_of(case.digest)}" in told
    signature = ["--round", "1", "--signature", hex_of(case.safe.sign(case.digest))]
    assert "attested by 1; final from now on" in call(*case.words, *signature).good
    assert scene.ward.study(case.stage.study).final_through == 1


def test_signature_that_a_safe_does_not_accept_is_refused(scene: Theatre, call: Command) -> None:
    case = closed(scene)
    of_one, other = case.safe.sign(case.digest, owners=1), case.safe.sign(bytes(32))
    for signature in (of_one, other, b""):
        refused = call(*case.words, "--signature", hex_of(signature)).error
        assert f"it signs something else than {hex_of(case.digest)}" in refused
    assert scene.ward.study(case.stage.study).final_through == 0
    assert "hexadecimal" in call(*case.words, "--signature", "0xzz").err
    alone = [one for one in case.words if one not in case.auditor]
    assert "go with --auditor" in " ".join(call(*alone, "--signature", "0x12").err.split())
    stranger = call(*alone, "--auditor", scene.stranger.address).error
    assert "it is no auditor's of this study" in stranger


def test_safe_and_key_attest_together(scene: Theatre, call: Command) -> None:
    """The Safe's signature waits in the folder for the auditor with a key."""
    case = closed(scene, quorum=2)
    signature = ["--signature", hex_of(case.safe.sign(case.digest)), "--signatures", "shared"]
    assert "attested" not in call(*case.words, *signature).good
    Path("any.key").unlink()
    write_private(Path("any.key"), scene.parties.auditor.key.hex())
    own = [one for one in case.words if one not in case.auditor]
    assert "attested by 2" in call(*own, "--signatures", "shared").good


def test_contract_that_answers_otherwise_has_signed_nothing(scene: Theatre) -> None:
    """No contract, one that reverts, answers nothing, a byte, or another word."""
    digest, ward = bytes(range(32)), scene.ward
    assert not ward.is_signed(NO_ONE, digest, b"")
    valid = "631626ba7e60e01b5f52"  # PUSH4, PUSH1 224, SHL, PUSH0, MSTORE
    for runtime, answer in (
        ("5f5ffd", False),
        ("00", False),
        ("60015ff3", False),
        ("60015f5260205ff3", False),
        (f"{valid}60205ff3", True),
    ):
        size = len(runtime) // 2
        creation = bytes.fromhex(f"60{size:02x}600a5f3960{size:02x}5ff3" + runtime)
        receipt = scene.chain.send(scene.stranger, Call(None, creation, "constructor"), "deploy")
        assert receipt is not None
        assert receipt.contract_address is not None
        assert ward.is_signed(receipt.contract_address, digest, b"any") is answer


def test_contract_that_refuses_when_it_counts_stops_no_other_auditor(
    scene: Theatre, tmp_path: Path
) -> None:
    """Each accepts its signature when it is asked, but not when WardRound asks."""
    ward = scene.ward.address[2:].lower()
    asked_by_ward = f"3373{ward}14"  # CALLER, PUSH20, EQ
    accepts = "631626ba7e60e01b5f5260205ff3"
    refuses, burns = "5b5f5ffd", "5bfe"
    jumped = [
        bytes.fromhex(f"{asked_by_ward}60{0x19 + len(accepts) // 2:02x}57{accepts}{tail}")
        for tail in (refuses, burns)
    ]
    garbled = [HOSTILE[one] for one in ("an error of 2**255 bytes", "a text of 2**255 bytes")]
    others = [contract_of(scene.chain, scene.stranger, code) for code in (*jumped, *garbled)]
    named: Any = [scene.stranger, *(SimpleNamespace(address=one) for one in others)]
    stage = scene.stage(rounds=1, quorum=2, auditors=named)
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    closing = scene.ward.closed_rounds(stage.study)[0].closing
    statement = Attestation(stage.study, 1, closing.commitment)
    folder = SignatureFolder(tmp_path)
    for one in others:
        folder.leave(statement, one, b"\1" * 65)
    digest = statement.signing_digest(scene.ward.domain)
    assert [scene.ward.is_signed(one, digest, b"\1" * 65) for one in others] == [
        *(True, True),
        *(False, False),
    ]
    (folder.root / statement.study.hex() / f"1-{statement.record.hex()}" / "0xab.txt").mkdir()

    def auditor_of(key: LocalAccount) -> Auditor:
        powers = Powers(key, signatures=folder)
        return Auditor(scene.ward, stage.study, stage.store, powers, now=lambda: 0.0)

    alone = auditor_of(scene.parties.auditor)
    first, second = alone.step(), alone.step()
    # With contracts only there is a quorum in the folder that is none on chain.
    assert [(one.kind, one.round) for one in first] == [("holds", 1), ("refused", 1)]
    assert second == []
    told = auditor_of(scene.stranger).step()
    assert [(one.kind, one.round) for one in told] == [("holds", 1), ("attested", 1)]
    assert "attested by 2" in told[-1].words
    assert all(one in told[-1].words for one in others[:2])
    assert scene.ward.study(stage.study).final_through == 1


@pytest.mark.parametrize("liar", ["before", "behind", "both"])
def test_quorum_is_found_among_contracts(liar: str) -> None:
    """One of them uses up the gas, and then another one is named."""
    accounts = sorted((Account.create().address for _ in range(4)), key=str.lower)
    burners = {"before": accounts[:1], "behind": accounts[3:], "both": [accounts[0], accounts[3]]}[
        liar
    ]
    sent: list[tuple[str, ...]] = []

    class Ward:
        """All that a sender asks of a contract, since the embedded chain never runs out of gas."""

        domain = Domain(1, accounts[0])

        def attest(self, *arguments: Any) -> None:
            chosen = sorted(arguments[-1], key=str.lower)
            sent.append(tuple(chosen))
            for place, one in enumerate(chosen):
                if one in burners:
                    behind = chosen[place + 1 :]
                    if not behind:
                        raise TransactionRefused("attest", "needs more gas")
                    arguments_ = {"auditor": behind[0]}
                    name = "WardRound_AttestationInvalid"
                    raise ContractReverted("attest", name, arguments_, "0x")

    sender = QuorumSender(Ward())  # type: ignore[arg-type]
    statement = Attestation(StudyId(bytes(32)), 1, bytes(32))
    signatures = dict.fromkeys(accounts, b"any")
    closing: Any = None
    found = sender.send(Account.create(), statement, closing, signatures, 2)
    assert found is not None
    assert set(found[1]) == set(accounts) - set(burners)
    assert len(sent) == len(set(sent)) <= 12
