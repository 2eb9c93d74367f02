"""What auditors sign, against another implementation of EIP-712."""

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from wardround.protocol.attestation import Attestation
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import SignatureInvalid
from wardround.protocol.identifiers import StudyId

DOMAIN = Domain(31337, "0x" + "Ab" * 20)
STATEMENT = Attestation(StudyId(b"\x01" * 32), 7, b"\x02" * 32)


def test_attestation_is_what_eth_account_signs() -> None:
    account = Account.create()
    message = encode_typed_data(
        {
            "name": "wardround",
            "version": "2",
            "chainId": 31337,
            "verifyingContract": "0x" + "ab" * 20,
        },
        {
            "Attestation": [
                {"name": "study", "type": "bytes32"},
                {"name": "round", "type": "uint32"},
                {"name": "record", "type": "bytes32"},
            ]
        },
        {"study": STATEMENT.study, "round": 7, "record": STATEMENT.record},
    )
    signature = STATEMENT.sign(DOMAIN, bytes(account.key))
    assert signature == account.sign_message(message).signature
    assert STATEMENT.signer(DOMAIN, signature) == account.address


def test_no_signer_is_found_in_a_malleable_signature() -> None:
    signature = STATEMENT.sign(DOMAIN, bytes(Account.create().key))
    with pytest.raises(SignatureInvalid):
        STATEMENT.signer(DOMAIN, signature[:64] + bytes([signature[64] - 27]))
