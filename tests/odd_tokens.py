"""StudyToken with another number of decimals, for tests."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount

from wardround.chain.artifacts import load_artifact
from wardround.chain.chain import Chain
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
