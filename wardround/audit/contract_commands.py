"""``wardround contract ...``: prove what a contract is, with no trust in who deployed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wardround.audit.deployment import ProvenContract, fetch_deployment, prove, read_deployment
from wardround.chain.artifacts import standard_input
from wardround.chain.chain import connected
from wardround.chain.options import ChainIdOption
from wardround.host.commands import Commands
from wardround.host.screen import Screen
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import address_of

app = Commands(epilog="Start with: wardround contract verify 0x1234… --rpc http://127.0.0.1:8545")
_out = Screen(highlight=False, soft_wrap=True)


@app.command()
def verify(
    contract: Annotated[
        str,
        typer.Argument(help="Address of a WardRound, with --rpc; or a file that --keep wrote."),
    ],
    rpc: Annotated[
        str | None, typer.Option("--rpc", "--chain", help="JSON-RPC endpoint of the chain.")
    ] = None,
    chain_id: ChainIdOption = None,
    creation: Annotated[
        list[str] | None,
        typer.Option(help="Hash of the transaction that created it, and again of its court's."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="A file for code and transactions, to verify offline.")
    ] = None,
    standard_json: Annotated[
        Path | None,
        typer.Option("--standard-json", help="A folder for what Sourcify and Blockscout compile."),
    ] = None,
) -> None:
    """Prove that a contract is wardround's: its code, its immutables, and how it was created.

    So are its court and the escrow that those of its studies are clones of.

    Without --creation the contract's storage is not proven: another constructor may have filled it.
    From a file that --keep wrote, nothing is asked of any network.

    Examples:
      wardround contract verify 0x1234… --rpc http://127.0.0.1:8545
      --creation 0x9abc… --creation 0x5e1f…

      wardround contract verify 0x1234… --rpc … --creation 0x9abc… --creation 0x5e1f…
      --keep deployment.json

      wardround contract verify deployment.json --standard-json sources
    """
    if contract.startswith("0x"):
        if rpc is None:
            raise SpecificationError(contract, "a contract's address needs --rpc as well")
        with connected(rpc, chain_id) as chain:
            deployment = fetch_deployment(chain, address_of(contract), creation or ())
    else:
        if rpc is not None or creation is not None or chain_id is not None or keep is not None:
            raise SpecificationError(
                contract,
                "a file says all of it: leave --rpc, --chain-id, --creation and --keep out",
            )
        deployment = read_deployment(Path(contract))
    proven = prove(deployment)
    for one in proven:
        _show(one)
    if keep is not None:
        keep.write_text(deployment.file.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _out.show(f"kept in {keep}: wardround contract verify {keep}")
    if standard_json is not None:
        standard_json.mkdir(parents=True, exist_ok=True)
        for one in proven:
            _write_sources(one, standard_json / f"{one.artifact.name}.json")
    if not deployment.file.creations:
        _out.print(
            "The code is known. Its storage is not proven: name the creation with --creation.",
            style="yellow",
        )
        return
    _out.print(
        f"The code is known, and so is how it was created on chain {deployment.chain_id}.",
        style="bold green",
    )


def _show(proven: ProvenContract) -> None:
    release = f"release {proven.release}" if proven.release else "this release"
    _out.print(f"{proven.artifact.name} {proven.address}: code of {release}")
    _out.print(f"  code hash 0x{proven.code_hash.hex()}")
    if proven.creation is not None:
        sent = proven.creation
        _out.print(f"  created by {proven.creator} in transaction {sent.hash}")


def _write_sources(proven: ProvenContract, path: Path) -> None:
    artifact = proven.artifact
    document = standard_input(artifact, proven.release)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    arguments = f"0x{proven.arguments.hex()}" if proven.arguments else "none"
    _out.show(
        f"{path}: src/{artifact.name}.sol:{artifact.name}, solc v{artifact.compiler}, "
        f"constructor arguments {arguments}"
    )
