"""Solidity's own arithmetic on an EVM in this process, for comparison with Python's."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.chain.artifacts import load_artifact
from wardround.chain.contract import Contract, ErrorTable, deployment
from wardround.chain.errors import ContractReverted
from wardround.devchain.evm import CallRequest, Evm, Genesis, Reverted

HERE = Path(__file__).resolve().parent
CONTRACTS = HERE.parents[1] / "contracts"
_GAS_PRICE_WEI = 2 * 10**9


class Mirror:
    """The libraries of the contracts, deployed and ready to be called."""

    def __init__(self, abi: list[dict[str, Any]], bytecode: bytes) -> None:
        sender: LocalAccount = Account.create()
        self._evm = Evm(Genesis(31337, 1_760_000_000, {sender.address: 10**20}))
        fields = {
            "chainId": 31337,
            "nonce": 0,
            "gas": 16_000_000,
            "gasPrice": _GAS_PRICE_WEI,
            "value": 0,
            "data": deployment(abi, bytecode).data,
        }
        raw = bytes(sender.sign_transaction(fields).raw_transaction)
        created = self._evm.execute(raw, 1_760_000_001, keep_reverted=False)
        self._evm.seal(1_760_000_001)
        assert created.contract_address is not None
        self._errors = ErrorTable()
        for name in ("Court", "WardRound"):
            self._errors.learn(load_artifact(name).abi)
        self._contract = Contract(abi, created.contract_address)

    def refusal(self, function: str, *arguments: Any) -> ContractReverted | None:
        """The error that a call reverts with; None when it returns."""
        try:
            self(function, *arguments)
        except Reverted as error:
            return self._errors.reverted(function, error.data)
        return None

    def __call__(self, function: str, *arguments: Any) -> Any:
        call = self._contract.function(function, *arguments)
        return call.result(self._evm.call(CallRequest(call.to, call.data, None, 0), 1_760_000_002))


@cache
def mirror() -> Mirror:
    """Compile `Mirror.sol` against the contracts' sources; skip where there is no compiler."""
    compiler = CONTRACTS / "solc"
    if shutil.which("node") is None or not (CONTRACTS / "node_modules" / "solc").is_dir():
        pytest.skip("the Solidity compiler is not installed: run `make setup`")
    source = CONTRACTS / "src"
    sources = {
        f"src/{path.relative_to(source).as_posix()}": {"content": path.read_text("utf-8")}
        for folder in ("interfaces", "libraries")
        for path in (source / folder).glob("*.sol")
    }
    sources["Mirror.sol"] = {"content": (HERE / "Mirror.sol").read_text("utf-8")}
    request = {
        "language": "Solidity",
        "sources": sources,
        "settings": {
            "optimizer": {"enabled": True, "runs": 1_000},
            "viaIR": True,
            "evmVersion": "shanghai",
            "outputSelection": {"Mirror.sol": {"Mirror": ["abi", "evm.bytecode.object"]}},
        },
    }
    done = subprocess.run(
        [str(compiler), "--standard-json", "--include-path", str(CONTRACTS / "node_modules")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answer = json.loads(done.stdout)
    errors = [one for one in answer.get("errors", []) if one["severity"] == "error"]
    assert errors == [], errors[0]["formattedMessage"]
    built = answer["contracts"]["Mirror.sol"]["Mirror"]
    return Mirror(built["abi"], bytes.fromhex(built["evm"]["bytecode"]["object"]))
