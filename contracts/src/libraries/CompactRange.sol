// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleTree} from "./MerkleTree.sol";

/// @title CompactRange
/// @notice The RFC 9162 root of leaves that come one after another, kept as the roots of its
/// perfect subtrees: the one of 2**level leaves is at `peaks[level]`, where bit `level` of the
/// number of leaves is set.
library CompactRange {
    /// @notice How many peaks there can be: trees stay below 2**32 leaves.
    uint256 internal constant LEVELS = 32;

    /// @notice Adds a leaf behind `size` others.
    function append(bytes32[] memory peaks, uint256 size, bytes32 leaf) internal view {
        uint256 level;
        for (; size >> level & 1 == 1; ++level) {
            leaf = MerkleTree.nodeHash(peaks[level], leaf);
        }
        peaks[level] = leaf;
    }

    /// @notice The root over `size` leaves.
    function root(bytes32[] memory peaks, uint256 size) internal view returns (bytes32 hash) {
        if (size == 0) return sha256("");
        uint256 level;
        while (size >> level & 1 == 0) ++level;
        hash = peaks[level];
        for (++level; size >> level != 0; ++level) {
            if (size >> level & 1 == 1) hash = MerkleTree.nodeHash(peaks[level], hash);
        }
    }
}
