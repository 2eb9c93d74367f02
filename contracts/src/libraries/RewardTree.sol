// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Sorting} from "./Sorting.sol";

/// @title RewardTree
/// @notice Root of OpenZeppelin's StandardMerkleTree of (address site, uint256 cumulative).
library RewardTree {
    function leaf(address site, uint256 cumulative) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(site, cumulative))));
    }

    /// @notice The root over leaves in any order. Takes over the array; zero when there are none.
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        uint256 size = leaves.length;
        if (size == 0) return 0;
        uint256[] memory sorted;
        assembly ("memory-safe") {
            sorted := leaves
        }
        sorted = Sorting.ascending(sorted);

        // A complete binary tree in an array: the children of node i are at 2 i + 1 and 2 i + 2, and
        // the leaves stand at the end, the highest first.
        bytes32[] memory nodes = new bytes32[](2 * size - 1);
        for (uint256 i = 0; i < size; ++i) {
            nodes[nodes.length - 1 - i] = bytes32(sorted[i]);
        }
        for (uint256 i = size - 1; i > 0; --i) {
            nodes[i - 1] = pair(nodes[2 * i - 1], nodes[2 * i]);
        }
        return nodes[0];
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32 hash) {
        (bytes32 low, bytes32 high) = a < b ? (a, b) : (b, a);
        assembly ("memory-safe") {
            mstore(0x00, low)
            mstore(0x20, high)
            hash := keccak256(0x00, 0x40)
        }
    }
}
