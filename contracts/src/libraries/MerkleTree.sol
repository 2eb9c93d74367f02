// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title MerkleTree
/// @notice The Merkle tree of RFC 9162, section 2.1: SHA-256, 0x00 before leaves, 0x01 before nodes.
library MerkleTree {
    /// @notice SHA-256(0x00 ‖ data).
    function leafHash(bytes calldata data) internal view returns (bytes32 hash) {
        // Solidity's own sha256 copies its input to fresh memory each time; entries are hashed in a
        // loop, so the copy goes to the free memory and is not kept.
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            mstore8(scratch, 0x00)
            calldatacopy(add(scratch, 1), data.offset, data.length)
            // The precompile fails only without gas, and then the caller has none left either.
            if iszero(staticcall(gas(), 0x02, scratch, add(data.length, 1), 0x00, 0x20)) {
                revert(0, 0)
            }
            hash := mload(0x00)
        }
    }

    /// @notice SHA-256(0x01 ‖ left ‖ right).
    function nodeHash(bytes32 left, bytes32 right) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            mstore8(scratch, 0x01)
            mstore(add(scratch, 0x01), left)
            mstore(add(scratch, 0x21), right)
            if iszero(staticcall(gas(), 0x02, scratch, 0x41, 0x00, 0x20)) {
                revert(0, 0)
            }
            hash := mload(0x00)
        }
    }

    /// @notice The root over leaf hashes. Consumes them: the array is folded in place.
    /// @dev The RFC splits at the largest power of two; pairing level by level, and carrying an odd
    /// last node up unchanged, makes the same tree.
    function root(bytes32[] memory nodes) internal view returns (bytes32) {
        uint256 size = nodes.length;
        if (size == 0) return sha256("");
        while (size > 1) {
            // Two neighbours lie in memory as they are hashed, and half as many nodes as they are
            // read fit where they lay; in Solidity this loop costs twice as much.
            assembly ("memory-safe") {
                let scratch := mload(0x40)
                mstore8(scratch, 0x01)
                let to := add(nodes, 0x20)
                let from := to
                for { let end := add(from, shl(6, shr(1, size))) } lt(from, end) {
                    from := add(from, 0x40)
                    to := add(to, 0x20)
                } {
                    mstore(add(scratch, 0x01), mload(from))
                    mstore(add(scratch, 0x21), mload(add(from, 0x20)))
                    if iszero(staticcall(gas(), 0x02, scratch, 0x41, to, 0x20)) {
                        revert(0, 0)
                    }
                }
                if and(size, 1) { mstore(to, mload(from)) }
                size := shr(1, add(size, 1))
            }
        }
        return nodes[0];
    }

    /// @notice Whether leaf hashes follow one another in a tree of a given size. Consumes them: the
    /// array is folded in place.
    /// @param first The index of the first of them.
    /// @param path Level by level from the leaves upwards: the sibling to the left of them, then the
    /// one to the right, where they have one.
    function verifyRange(
        bytes32 expected,
        bytes32[] memory nodes,
        uint256 first,
        uint256 size,
        bytes32[] calldata path
    ) internal view returns (bool) {
        uint256 count = nodes.length;
        if (count == 0 || first + count > size) return false;
        uint256 taken;
        for (uint256 last = size - 1; last != 0; last >>= 1) {
            uint256 from;
            uint256 to;
            if (first & 1 == 1) {
                if (taken == path.length) return false;
                nodes[0] = nodeHash(path[taken++], nodes[0]);
                (from, to) = (1, 1);
            }
            for (; from + 1 < count; from += 2) {
                nodes[to++] = nodeHash(nodes[from], nodes[from + 1]);
            }
            if (from < count) {
                bytes32 node = nodes[from];
                // An even last node has no sibling: it moves up as it is.
                if (first + from != last) {
                    if (taken == path.length) return false;
                    node = nodeHash(node, path[taken++]);
                }
                nodes[to++] = node;
            }
            first >>= 1;
            count = to;
        }
        return taken == path.length && nodes[0] == expected;
    }

    /// @notice Whether a leaf hash is at an index of a tree of a given size, as in section 2.1.3.2.
    function verify(
        bytes32 expected,
        bytes32 leaf,
        uint256 index,
        uint256 size,
        bytes32[] calldata path
    ) internal view returns (bool) {
        if (index >= size) return false;
        uint256 last = size - 1;
        bytes32 hash = leaf;
        for (uint256 i = 0; i < path.length; ++i) {
            if (last == 0) return false;
            if (index & 1 == 1 || index == last) {
                hash = nodeHash(path[i], hash);
                // Levels where this node had no sibling are not in the path.
                while (index & 1 == 0 && index != 0) {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                hash = nodeHash(hash, path[i]);
            }
            index >>= 1;
            last >>= 1;
        }
        return last == 0 && hash == expected;
    }
}
