// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleTree} from "./MerkleTree.sol";

/// @title Vectors
/// @notice Where a coordinate lies in a vector's tree: consecutive chunks of 1024 bytes, that is of
/// 256 coordinates of 32 bits, little-endian; the last chunk may be short.
/// @dev An opening is a leaf followed by its inclusion path, with nothing between them: how long
/// both are follows from the leaf's place, which the caller knows.
library Vectors {
    uint256 internal constant CHUNK_SIZE = 1024;
    uint256 internal constant CHUNK_COORDINATES = 256;

    /// @notice Number of leaves of a vector of so many coordinates.
    function chunks(uint256 parameterCount) internal pure returns (uint256) {
        return (parameterCount + CHUNK_COORDINATES - 1) / CHUNK_COORDINATES;
    }

    /// @notice Bytes of a chunk, which the vector must have.
    function chunkLength(uint256 parameterCount, uint256 index) internal pure returns (uint256) {
        uint256 rest = parameterCount * 4 - index * CHUNK_SIZE;
        return rest < CHUNK_SIZE ? rest : CHUNK_SIZE;
    }

    /// @notice Siblings on the way from a leaf, which the tree must have, to the root.
    function pathLength(uint256 index, uint256 size) internal pure returns (uint256 length) {
        for (uint256 last = size - 1; last != 0; last >>= 1) {
            // An even last node has no sibling: it moves up as it is.
            if (index & 1 == 1 || index != last) ++length;
            index >>= 1;
        }
    }

    /// @notice Whether a leaf and its path, one behind the other, lead to a root.
    /// @dev Of whatever length: a path too long, or not whole, leads nowhere.
    function isIncluded(
        bytes calldata opening,
        uint256 leafLength,
        bytes32 root,
        uint256 index,
        uint256 size
    ) internal view returns (bool) {
        if (opening.length < leafLength || (opening.length - leafLength) % 32 != 0) {
            return false;
        }
        bytes32[] calldata path;
        assembly ("memory-safe") {
            path.offset := add(opening.offset, leafLength)
            path.length := shr(5, sub(opening.length, leafLength))
        }
        bytes32 leaf = MerkleTree.leafHash(opening[:leafLength]);
        return MerkleTree.verify(root, leaf, index, size, path);
    }

    /// @notice A coordinate out of its chunk, which must be long enough.
    function valueAt(bytes calldata chunk, uint256 coordinate) internal pure returns (int32 value) {
        uint256 place = (coordinate % CHUNK_COORDINATES) * 4;
        // Little-endian on the wire, big-endian in the machine.
        uint32 raw = uint32(bytes4(chunk[place:place + 4]));
        raw = ((raw & 0x00ff00ff) << 8) | ((raw >> 8) & 0x00ff00ff);
        raw = (raw << 16) | (raw >> 16);
        // The same 32 bits, read as two's complement.
        // forge-lint: disable-next-line(unsafe-typecast)
        value = int32(raw);
    }
}
