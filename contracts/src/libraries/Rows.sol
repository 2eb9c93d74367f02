// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Named, Rule, Scoring} from "../interfaces/IWardRound.sol";
import {Vectors} from "./Vectors.sol";

/// @title Rows
/// @notice Where a record's named commitments and their rows are. Names, numbers and sizes follow from
/// the study and the number of entries, so that whatever a coordinator commits to instead cannot
/// be shown.
library Rows {
    using Vectors for bytes;

    /// The SHA-256 of a name, and the root.
    uint256 internal constant NAMED_SIZE = 64;

    // Solidity computes SHA-256 at run time only.
    bytes32 private constant DISTANCES =
        0x26e994dd2f088a7a0218d18fd042df4a7038dff645345a892ef634411a90f967;
    bytes32 private constant NORMS =
        0x9e5e0d654783ba873fb4b825c92486ec4323a00da69170648bea131000b7cf78;
    bytes32 private constant RANKS =
        0x7cad15d4112d1de631e5e4c008415394507496d5592b557f71cc00455a5f0dd8;
    bytes32 private constant SCORES =
        0xa6235752ef51e86cdf1d56634948c32f75fe6a492e212797315ea43f5ecfa66e;

    /// @notice Where a name stands among those that a study's records commit to.
    /// @return index Its place, if there is one.
    /// @return size How many names there are; zero where this one is not among them.
    function place(Named named, Rule rule, Scoring scoring)
        internal
        pure
        returns (uint256 index, uint256 size)
    {
        bool there;
        for (uint256 i = 0; i <= uint256(type(Named).max); ++i) {
            Named other = Named(i);
            if (!_takes(other, rule, scoring)) continue;
            if (other == named) (there, index) = (true, size);
            ++size;
        }
        if (!there) size = 0;
    }

    /// @notice Splits the opening of a named commitment off.
    /// @return root Over its rows; zero when the opening is none, or the study has no such name.
    function rootIn(
        bytes calldata openings,
        Named named,
        Rule rule,
        Scoring scoring,
        bytes32 commitments
    ) internal view returns (bytes32 root, bytes calldata rest) {
        (uint256 index, uint256 size) = place(named, rule, scoring);
        rest = openings;
        if (size == 0) return (0, rest);
        bytes calldata leaf;
        (leaf, rest) = openings.split(NAMED_SIZE, commitments, index, size);
        if (leaf.length != 0 && leaf.wordAt(0) == nameOf(named)) root = leaf.wordAt(1);
    }

    /// @notice Bytes of a row.
    function sizeOf(Named named) internal pure returns (uint256) {
        if (named == Named.Scores) return 128;
        return named == Named.Ranks ? 32 : 64;
    }

    /// @notice Rows of a record with so many entries.
    function countOf(Named named, uint256 entries) internal pure returns (uint256) {
        return named == Named.Distances ? entries * (entries - 1) / 2 : entries;
    }

    /// @notice The row of the distance between two entries.
    function rowOf(uint256 first, uint256 second, uint256 entries) internal pure returns (uint256) {
        return first * (2 * entries - first - 1) / 2 + second - first - 1;
    }

    /// @notice The two entries whose distance is in a row.
    function pairOf(uint256 row, uint256 entries)
        internal
        pure
        returns (uint256 first, uint256 second)
    {
        uint256 others = entries - 1;
        for (; row >= others; ++first) {
            row -= others;
            --others;
        }
        second = first + 1 + row;
    }

    /// @notice The SHA-256 of a name.
    function nameOf(Named named) internal pure returns (bytes32) {
        if (named == Named.Distances) return DISTANCES;
        if (named == Named.Norms) return NORMS;
        return named == Named.Ranks ? RANKS : SCORES;
    }

    function _takes(Named named, Rule rule, Scoring scoring) private pure returns (bool) {
        if (named == Named.Scores) return scoring == Scoring.Projection;
        return rule == (named == Named.Norms ? Rule.ClippedMean : Rule.MultiKrum);
    }
}
