// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {StudyId} from "../interfaces/IWardRound.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title Entries
/// @notice Contributions in their packed canonical form, as they are hashed into a round's tree:
/// site(20) ‖ weight(8, big-endian) ‖ update(32) ‖ report(32) ‖ signature(65: r, s, v).
/// @dev No function checks bounds: callers have compared the length with `count * SIZE`.
library Entries {
    uint256 internal constant SIZE = 157;

    bytes32 internal constant CONTRIBUTION_TYPEHASH = keccak256(
        "Contribution(bytes32 study,uint32 round,bytes32 baseModel,address site,bytes32 update,uint64 weight,bytes32 report)"
    );

    function entryAt(bytes calldata entries, uint256 i)
        internal
        pure
        returns (bytes calldata entry)
    {
        assembly ("memory-safe") {
            entry.offset := add(entries.offset, mul(i, SIZE))
            entry.length := SIZE
        }
    }

    function site(bytes calldata entry) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := shr(96, calldataload(entry.offset))
        }
    }

    function weight(bytes calldata entry) internal pure returns (uint64 value) {
        assembly ("memory-safe") {
            value := shr(192, calldataload(add(entry.offset, 20)))
        }
    }

    function update(bytes calldata entry) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := calldataload(add(entry.offset, 28))
        }
    }

    /// @notice The EIP-712 struct of a contribution with the fields all sites of a round share;
    /// `signer` fills in the others.
    function template(StudyId study, uint32 round, bytes32 baseModel)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encode(CONTRIBUTION_TYPEHASH, study, round, baseModel, 0, 0, 0, 0);
    }

    /// @notice Who signed an entry; zero when the signature is malformed or malleable.
    /// @param filling A template, whose site fields are overwritten.
    function signer(bytes calldata entry, bytes memory filling, bytes32 domainSeparator)
        internal
        pure
        returns (address recovered)
    {
        bytes32 structHash;
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            let offset := entry.offset
            let fields := add(filling, 0x20)
            mstore(add(fields, 0x80), shr(96, calldataload(offset)))
            mstore(add(fields, 0xa0), calldataload(add(offset, 28)))
            mstore(add(fields, 0xc0), shr(192, calldataload(add(offset, 20))))
            mstore(add(fields, 0xe0), calldataload(add(offset, 60)))
            structHash := keccak256(fields, 0x100)
            r := calldataload(add(offset, 92))
            s := calldataload(add(offset, 124))
            v := byte(0, calldataload(add(offset, 156)))
        }
        bytes32 digest = MessageHashUtils.toTypedDataHash(domainSeparator, structHash);
        // The error says why recovery failed; for the caller every such entry is just unsigned.
        (recovered,,) = ECDSA.tryRecover(digest, v, r, s);
    }
}
