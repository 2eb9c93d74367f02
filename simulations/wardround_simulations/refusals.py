"""The contracts as a party uses them that tries what it may not, and what a refusal costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.bound import BoundContract
from wardround.chain.chain import Chain
from wardround.chain.contract import Call
from wardround.chain.court import Court
from wardround.chain.errors import RpcRefused
from wardround.chain.reader import request_of
from wardround.chain.ward_round import WardRound
from wardround.protocol.contribution import Entry
from wardround.protocol.identifiers import StudyId
from wardround.protocol.record import Closing

_GAS_MAX = 1_000_000


class _Recorded(BoundContract):
    """A contract that remembers what was sent to it.

    Attributes:
        sent: by whom and what, in order; what was refused is in it too.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent: list[tuple[str, Call]] = []

    def _send(
        self, signer: LocalAccount, call: Call, label: str, unless: Callable[[], bool] | None
    ) -> Receipt | None:
        self.sent.append((signer.address, call))
        return super()._send(signer, call, label, unless)


class RecordedWard(_Recorded, WardRound):
    """A WardRound contract that remembers what was sent to it."""


class _Repeating(_Recorded):
    """Sends a call also where its effect is there already."""

    def _send(
        self, signer: LocalAccount, call: Call, label: str, unless: Callable[[], bool] | None
    ) -> Receipt | None:
        return super()._send(signer, call, label, None)


class RepeatingWard(_Repeating, WardRound):
    """A WardRound contract whose every entry point may be tried twice."""

    def register(
        self, signer: LocalAccount, study: StudyId, number: int, previous: Closing, entry: Entry
    ) -> None:
        """Register a contribution, against a deposit that the signer has approved."""
        call = self._call("contribute", study, number, previous.abi(), entry.pack())
        self._send(signer, call, f"register {entry.site} for round {number}", None)

    def attest_as_listed(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        closing: Closing,
        signatures: Sequence[tuple[str, bytes]],
    ) -> None:
        """Attest with signatures that are neither sorted nor of one auditor each."""
        call = self._call("attest", study, round_number, closing.abi(), list(signatures))
        self._send(signer, call, f"attest round {round_number}", None)

    def overturn(
        self, signer: LocalAccount, study: StudyId, round_number: int, closing: Closing
    ) -> None:
        """Overturn a round as only the court may, for half of the bond."""
        proof = (signer.address, True, b"totals".ljust(32, b"\0"))
        call = self._call("overturn", study, round_number, closing.abi(), *proof)
        self._send(signer, call, f"overturn round {round_number}", None)


class RepeatingCourt(_Repeating, Court):
    """A court whose every entry point may be tried twice."""


class RecordedEscrow(_Recorded):
    """A study's escrow, which any account may call and only its contract moves."""

    ARTIFACT = "Escrow"

    def pay(self, signer: LocalAccount, token: str) -> None:
        """Pay the signer one unit out of it."""
        call = self._call("pay", token, signer.address, 1)
        self._send(signer, call, "pay from the escrow", None)


def gas_of_refusal(chain: Chain, sender: str, call: Call, error: str) -> int:
    """The gas of a transaction that is refused now, to within one in a hundred.

    A node that estimates a transaction refuses it before it is sent. So it is tried with less and
    less gas until that runs out, which is another error.

    Args:
        error: the name of the contract's error.

    Returns:
        0 where it is not refused with this error.
    """

    def is_refused(gas: int) -> bool:
        try:
            chain.rpc("eth_call", request_of(call, sender) | {"gas": hex(gas)}, "latest")
        except RpcRefused as answer:
            return chain.errors.reverted(call.name, answer.data or b"").name == error
        return False

    if not is_refused(_GAS_MAX):
        return 0
    enough, too_little = _GAS_MAX, 20_999
    while enough - too_little > enough // 100:
        middle = (enough + too_little) // 2
        enough, too_little = (middle, too_little) if is_refused(middle) else (enough, middle)
    return enough
