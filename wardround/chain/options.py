"""What commands that read or write a study on chain have in common: options, and how they report.

A command that sends prints what it did, then the transaction's hash and gas. When the chain has the
effect already, it sends nothing, prints that, and ends with status 0: each command may be repeated
after any interruption.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.host.screen import Screen
from wardround.protocol.identifiers import StudyId, bytes32

StudyArgument = Annotated[str, typer.Argument(help="The study's id, 0x and 64 digits.")]
ChainOption = Annotated[str, typer.Option("--chain", "--rpc", help="JSON-RPC endpoint.")]
ChainIdOption = Annotated[
    int | None, typer.Option(min=1, max=2**53 - 1, help="Accept this chain id only.")
]
ContractOption = Annotated[str, typer.Option(help="Address of the WardRound contract.")]
KeyOption = Annotated[Path, typer.Option(help="File with the key that signs and pays for gas.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

_out = Screen(highlight=False, soft_wrap=True)


def signature_of(text: str) -> bytes:
    """Read a signature of any length, which a contract (ERC-1271) may choose.

    Raises:
        typer.BadParameter: it is not hexadecimal.
    """
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise typer.BadParameter("--signature takes 0x and hexadecimal digits") from None


def study_of(text: str) -> StudyId:
    """Read a study's id.

    Raises:
        Malformed: not 0x and 64 lower-case digits.
    """
    return StudyId(bytes32(text, "the study's id"))


@dataclass(frozen=True, kw_only=True)
class StudyOnChain:
    """Which study, and where it is."""

    study: StudyArgument
    chain: ChainOption
    contract: ContractOption
    chain_id: ChainIdOption = None

    @contextmanager
    def opened(self) -> Iterator[tuple[WardRound, StudyId]]:
        """Open the contract that has the study."""
        study = study_of(self.study)
        with WardRound.at(self.chain, self.chain_id, self.contract) as ward:
            yield ward, study


@dataclass(frozen=True, kw_only=True)
class Sending(StudyOnChain):
    """Sends a transaction about a study, and prints what it did."""

    key: KeyOption
    as_json: JsonOption = False

    @contextmanager
    def signing(self) -> Iterator[tuple[WardRound, StudyId, LocalAccount]]:
        """Open the contract that has the study, and the key that signs and pays."""
        signer = read_key(self.key)
        with self.opened() as (ward, study):
            yield ward, study, signer

    def sent(self, receipt: Receipt | None, words: str, **facts: object) -> None:
        """Print what was done; see `print_sent`."""
        print_sent(receipt, words, as_json=self.as_json, **facts)


def print_sent(
    receipt: Receipt | None, words: str, *, as_json: bool = False, **facts: object
) -> None:
    """Print what a command did, and the transaction that did it.

    Args:
        receipt: of the transaction; None when its effect was on chain before.
        words: what holds now, one sentence.
        as_json: print one JSON object instead.
        facts: what else the object names.
    """
    sent = None if receipt is None else receipt.transaction_hash
    gas = None if receipt is None else receipt.gas_used
    if as_json:
        print(json.dumps({"done": words, **facts, "transaction": sent, "gas": gas}))
        return
    _out.show(words)
    if receipt is None:
        _out.print("  it was so before: nothing was sent")
    else:
        _out.print(f"  transaction {sent}, {gas:,} gas")
