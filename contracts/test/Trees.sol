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

    /// Level by level, what stands to the left and to the right of some leaves.
    function rangePath(bytes32[] memory leaves, uint256 first, uint256 count)
        internal
        pure
        returns (bytes32[] memory path)
    {
        uint256 last = first + count - 1;
        path = new bytes32[](2 * 32);
        uint256 length;
        for (; leaves.length > 1; (first, last) = (first / 2, last / 2)) {
            if (first % 2 == 1) path[length++] = leaves[first - 1];
            if (last % 2 == 0 && last + 1 < leaves.length) path[length++] = leaves[last + 1];
            bytes32[] memory above = new bytes32[]((leaves.length + 1) / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                bool lone = 2 * i + 1 == leaves.length;
                above[i] = lone
                    ? leaves[2 * i]
                    : sha256(abi.encodePacked(hex"01", leaves[2 * i], leaves[2 * i + 1]));
            }
            leaves = above;
        }
        assembly ("memory-safe") {
            mstore(path, length)
        }
    }

    /// The largest power of two below a size.
    function split(uint256 size) internal pure returns (uint256 power) {
        power = 1;
        while (power * 2 < size) power *= 2;
    }
}
