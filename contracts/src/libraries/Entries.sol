// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {StudyId} from "../interfaces/IWardRound.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @notice Where an entry begins in calldata. A place rather than a slice, because a loop over a
/// hundred entries reads each of them ten times.
type Entry is uint256;

using Entries for Entry global;

/// @title Entries
/// @notice Contributions in their packed canonical form, as they are hashed into a round's tree:
/// site(20) ‖ weight(8, big-endian) ‖ update(32) ‖ report(32) ‖ signature(65: r, s, v).
/// @dev No function checks bounds: callers have compared the length with `count * SIZE`.
library Entries {
    uint256 internal constant SIZE = 157;

    bytes32 internal constant CONTRIBUTION_TYPEHASH = keccak256(
        "Contribution(bytes32 study,uint32 round,bytes32 baseModel,address site,bytes32 update,uint64 weight,bytes32 report)"
    );

    function first(bytes calldata entries) internal pure returns (Entry entry) {
        assembly ("memory-safe") {
            entry := entries.offset
        }
    }

    function next(Entry entry) internal pure returns (Entry) {
        unchecked {
            return Entry.wrap(Entry.unwrap(entry) + SIZE);
        }
    }

    function packed(Entry entry) internal pure returns (bytes calldata whole) {
        assembly ("memory-safe") {
            whole.offset := entry
            whole.length := SIZE
        }
    }

    function site(Entry entry) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := shr(96, calldataload(entry))
        }
    }

    function weight(Entry entry) internal pure returns (uint64 value) {
        assembly ("memory-safe") {
            value := shr(192, calldataload(add(entry, 20)))
        }
    }

    function update(Entry entry) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := calldataload(add(entry, 28))
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
    function signer(Entry entry, bytes memory filling, bytes32 domainSeparator)
        internal
        pure
        returns (address recovered)
    {
        bytes32 structHash;
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            let fields := add(filling, 0x20)
            mstore(add(fields, 0x80), shr(96, calldataload(entry)))
            mstore(add(fields, 0xa0), calldataload(add(entry, 28)))
            mstore(add(fields, 0xc0), shr(192, calldataload(add(entry, 20))))
            mstore(add(fields, 0xe0), calldataload(add(entry, 60)))
            structHash := keccak256(fields, 0x100)
            r := calldataload(add(entry, 92))
            s := calldataload(add(entry, 124))
            v := byte(0, calldataload(add(entry, 156)))
        }
        bytes32 digest = MessageHashUtils.toTypedDataHash(domainSeparator, structHash);
        // The error names why recovery failed; for the caller every such entry is just unsigned.
        (recovered,,) = ECDSA.tryRecover(digest, v, r, s);
    }
}
