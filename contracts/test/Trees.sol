// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "./Base.sol";

/// The tree of RFC 9162, slow and clear: as its section 2.1 words it.
abstract contract Trees is Base {
    function rootOf(bytes32[] memory leaves) internal pure returns (bytes32) {
        return subtree(leaves, 0, leaves.length);
    }

    function subtree(bytes32[] memory leaves, uint256 from, uint256 to)
        private
        pure
        returns (bytes32)
    {
        if (to - from == 1) return leaves[from];
        uint256 middle = from + split(to - from);
        return sha256(
            abi.encodePacked(hex"01", subtree(leaves, from, middle), subtree(leaves, middle, to))
        );
    }

    function pathOf(bytes32[] memory leaves, uint256 index)
        internal
        pure
        returns (bytes32[] memory path)
    {
        path = new bytes32[](0);
        uint256 from = 0;
        uint256 to = leaves.length;
        // From the root downwards: each sibling goes in front of those found before.
        while (to - from > 1) {
            uint256 middle = from + split(to - from);
            bytes32 sibling =
                index < middle ? subtree(leaves, middle, to) : subtree(leaves, from, middle);
            bytes32[] memory longer = new bytes32[](path.length + 1);
            longer[0] = sibling;
            for (uint256 i = 0; i < path.length; ++i) {
                longer[i + 1] = path[i];
            }
            path = longer;
            (from, to) = index < middle ? (from, middle) : (middle, to);
        }
    }

    /// The largest power of two below a size.
    function split(uint256 size) private pure returns (uint256 power) {
        power = 1;
        while (power * 2 < size) power *= 2;
    }
}
