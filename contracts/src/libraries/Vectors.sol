// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleTree} from "./MerkleTree.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Vectors
/// @notice Where a coordinate lies in a vector's tree: consecutive chunks of 1024 bytes, that is of
/// 256 coordinates of 32 bits or, in a study of sums, 128 of 64 bits, little-endian; the last chunk
/// may be short.
/// @dev An opening is a leaf followed by its inclusion path, with nothing between them: how long
/// both are follows from the leaf's place, which the caller knows.
library Vectors {
    uint256 internal constant CHUNK_SIZE = 1024;

    /// @notice Number of leaves of a vector of so many bytes.
    function chunks(uint256 vectorLength) internal pure returns (uint256) {
        return (vectorLength + CHUNK_SIZE - 1) / CHUNK_SIZE;
    }

    /// @notice Bytes of a chunk, which the vector must have.
    function chunkLength(uint256 vectorLength, uint256 index) internal pure returns (uint256) {
        uint256 rest = vectorLength - index * CHUNK_SIZE;
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

    /// @notice Whether consecutive chunks and their path lead to a vector's root.
    /// @param data The chunks, one behind the other.
    /// @param first The index of the first of them.
    function areIncluded(
        bytes calldata data,
        bytes32 root,
        uint256 first,
        uint256 vectorLength,
        bytes32[] calldata path
    ) internal view returns (bool) {
        bytes32[] memory leaves = new bytes32[](chunks(data.length));
        uint256 end = Math.min((first + leaves.length) * CHUNK_SIZE, vectorLength);
        // Of another length, the last chunk would be another leaf than the vector has.
        if (data.length != end - Math.min(first * CHUNK_SIZE, end)) return false;
        for (uint256 i = 0; i < leaves.length; ++i) {
            uint256 from = i * CHUNK_SIZE;
            leaves[i] = MerkleTree.leafHash(data[from:Math.min(from + CHUNK_SIZE, data.length)]);
        }
        return MerkleTree.verifyRange(root, leaves, first, chunks(vectorLength), path);
    }

    /// @notice A word of a leaf, which must be long enough: that is not checked here.
    function wordAt(bytes calldata leaf, uint256 place) internal pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(leaf.offset, shl(5, place)))
        }
    }

    /// @notice Splits the first of several openings off.
    /// @return leaf Empty unless it, and the path behind it, lead to the root.
    function split(
        bytes calldata openings,
        uint256 leafLength,
        bytes32 root,
        uint256 index,
        uint256 size
    ) internal view returns (bytes calldata leaf, bytes calldata rest) {
        (leaf, rest) = (openings[:0], openings);
        uint256 length = leafLength + 32 * pathLength(index, size);
        if (openings.length < length) return (leaf, rest);
        if (isIncluded(openings[:length], leafLength, root, index, size)) {
            (leaf, rest) = (openings[:leafLength], openings[length:]);
        }
    }

    /// @notice A coordinate out of its chunk, which must be long enough: that is not checked here.
    /// @param start The coordinate's first byte.
    /// @param width Its bytes: 4 or 8.
    function valueAt(bytes calldata chunk, uint256 start, uint256 width)
        internal
        pure
        returns (int256 value)
    {
        uint64 raw;
        assembly ("memory-safe") {
            raw := shr(192, calldataload(add(chunk.offset, start)))
        }
        // Little-endian on the wire, big-endian in the machine.
        raw = ((raw & 0x00ff00ff00ff00ff) << 8) | ((raw >> 8) & 0x00ff00ff00ff00ff);
        raw = ((raw & 0x0000ffff0000ffff) << 16) | ((raw >> 16) & 0x0000ffff0000ffff);
        raw = (raw << 32) | (raw >> 32);
        // The same bits, read as two's complement: of 4 bytes, what followed them falls away.
        assembly ("memory-safe") {
            value := signextend(sub(width, 1), raw)
        }
    }

    // Of coordinates of 32 bits, whose products' sum a word holds.

    /// @notice The sum of a chunk's squares.
    function squares(bytes calldata chunk) internal pure returns (int256 sum) {
        unchecked {
            for (uint256 start = 0; start < chunk.length; start += 4) {
                int256 value = valueAt(chunk, start, 4);
                sum += value * value;
            }
        }
    }

    /// @notice The sum of the squared differences of two chunks of one place.
    function squaredDistance(bytes calldata chunk, bytes calldata other)
        internal
        pure
        returns (int256 sum)
    {
        unchecked {
            for (uint256 start = 0; start < chunk.length; start += 4) {
                int256 value = valueAt(chunk, start, 4) - valueAt(other, start, 4);
                sum += value * value;
            }
        }
    }

    /// @notice The sum of an update's coordinates times what was added to the base.
    function projection(bytes calldata update, bytes calldata model, bytes calldata base)
        internal
        pure
        returns (int256 sum)
    {
        unchecked {
            for (uint256 start = 0; start < update.length; start += 4) {
                int256 change = valueAt(model, start, 4) - valueAt(base, start, 4);
                sum += valueAt(update, start, 4) * change;
            }
        }
    }
}
