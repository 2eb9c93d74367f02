// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ChaCha20} from "./ChaCha20.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title Masks
/// @notice What a masked update was masked with, from one opened segment key: that the key is the one
/// that its site committed to at setup, and the coordinates of its stream (docs/masking.md).
library Masks {
    /// @notice The rounds and segments that a setup serves: its tree has their keys round by round.
    struct KeyTree {
        bytes32 commitment;
        uint32 firstRound;
        uint32 lastRound;
        uint32 segments;
    }

    bytes internal constant LEAF = "wardround/2 mask leaf";
    bytes internal constant STREAM = "wardround/2 mask stream";

    /// @notice Whether a segment key is the one that was committed to.
    function isCommitted(
        KeyTree memory tree,
        uint32 round,
        uint32 segment,
        bytes32 segmentKey,
        bytes32[] calldata path
    ) internal view returns (bool) {
        if (round < tree.firstRound || round > tree.lastRound || segment >= tree.segments) {
            return false;
        }
        bytes32 leaf = sha256(abi.encodePacked(hex"00", LEAF, round, segment, segmentKey));
        uint256 index = uint256(round - tree.firstRound) * tree.segments + segment;
        uint256 size = (uint256(tree.lastRound) - tree.firstRound + 1) * tree.segments;
        return MerkleTree.verify(tree.commitment, leaf, index, size, path);
    }

    /// @notice The key of the one stream that a segment has on a base model in an attempt.
    function streamKey(bytes32 segmentKey, bytes32 baseModel, uint32 attempt)
        internal
        pure
        returns (bytes32)
    {
        return sha256(abi.encodePacked(STREAM, segmentKey, baseModel, attempt));
    }

    /// @notice Where a coordinate's mask is.
    /// @param coordinate Of a vector, from 0.
    /// @param segmentSize Coordinates of a segment, above 0.
    /// @return segment Whose stream has it.
    /// @return index In that stream, counted in coordinates.
    function place(uint256 coordinate, uint256 segmentSize)
        internal
        pure
        returns (uint256 segment, uint256 index)
    {
        return (coordinate / segmentSize, coordinate % segmentSize);
    }

    /// @notice The mask of one coordinate.
    /// @param index In its segment, below 2^35.
    function maskAt(bytes32 segmentKey, bytes32 baseModel, uint32 attempt, uint256 index)
        internal
        pure
        returns (uint64)
    {
        return ChaCha20.word(streamKey(segmentKey, baseModel, attempt), index);
    }
}
