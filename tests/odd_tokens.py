"""StudyToken with another number of decimals, and contracts that answer anything, for tests."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from wardround.chain.artifacts import load_artifact
from wardround.chain.chain import Chain
from wardround.chain.contract import Call
from wardround.chain.study_token import StudyToken

#: PUSH1 18, which is only in the code of `decimals`.
_EIGHTEEN = bytes.fromhex("6012")


def token_of(chain: Chain, signer: LocalAccount, supply: int, decimals: int) -> StudyToken:
    """Deploy a token of so many decimals, 0 to 255."""
    artifact = load_artifact("StudyToken")
    assert artifact.bytecode.count(_EIGHTEEN) == 1
    code = artifact.bytecode.replace(_EIGHTEEN, bytes([0x60, decimals]))
    receipt = chain.deploy(signer, artifact.abi, code, supply, label="deploy a token")
    assert receipt.contract_address is not None
    return StudyToken(chain, receipt.contract_address)


def contract_of(chain: Chain, signer: LocalAccount, runtime: bytes) -> str:
    """Deploy a contract of this code, at most 65,535 bytes; return its address."""
    # PUSH2 size, DUP1, PUSH1 10, RETURNDATASIZE, CODECOPY, RETURNDATASIZE, RETURN
    creation = b"\x61" + len(runtime).to_bytes(2, "big") + bytes.fromhex("80600a3d393df3") + runtime
    receipt = chain.send(signer, Call(None, creation, "constructor"), "deploy")
    assert receipt is not None
    assert receipt.contract_address is not None
    return receipt.contract_address


def answering(data: bytes, reverts: bool = False) -> bytes:
    """Code that answers every call with these bytes, or reverts with them."""
    # PUSH2 size, DUP1, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 0, RETURN or REVERT
    head = b"\x61" + len(data).to_bytes(2, "big") + bytes.fromhex("80600c6000396000")
    return head + (b"\xfd" if reverts else b"\xf3") + data


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _text(length: int, data: bytes = b"") -> bytes:
    return _word(32) + _word(length) + data.ljust(-len(data) % 32 + len(data), b"\0")


def _error(signature: str, data: bytes) -> bytes:
    return answering(keccak(text=signature)[:4] + data, reverts=True)


#: What a contract may answer to any question, by its code.
HOSTILE = {
    "no instruction": b"\xfe",
    "nothing": b"\x00",
    "a byte": answering(b"\x12"),
    "all ones": answering(b"\xff" * 32),
    "a place beyond everything": answering(_word(2**255) * 2),
    "a text of 2**255 bytes": answering(_text(2**255)),
    "a text of 2**62 bytes": answering(_text(2**62)),
    "a text that is no UTF-8": answering(_text(3, b"\xff\xfe\xfd")),
    "an error of nothing": answering(b"", reverts=True),
    "an error of 2**255 bytes": _error("Error(string)", _text(2**255)),
    "an error of 2**62 bytes": _error("Error(string)", _text(2**62)),
    "an error beyond everything": _error("Error(string)", _word(2**255)),
    "an error that is no UTF-8": _error("Error(string)", _text(3, b"\xff\xfe\xfd")),
    "an error of an endpoint": _error("Error(string)", _text(19, b"rate limit exceeded")),
    "a panic that is cut off": _error("Panic(uint256)", b"\0"),
    "an error of ours that is cut off": _error(
        "ERC20InsufficientBalance(address,uint256,uint256)", bytes(5)
    ),
}
