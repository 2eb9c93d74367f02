// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Vectors} from "./Vectors.sol";

/// @title SumTree
/// @notice Sums of a vector's chunks: a number for each chunk, and above them, level by level, the sums
/// of 32 at a time, up to the first level of at most 32. Each level is filled with zeros to whole
/// pages of 32 numbers, int256; the pages of all levels, from the lowest, are the chunks of a vector.
/// The numbers of the last page add up to the total.
library SumTree {
    using Vectors for bytes;

    /// @notice Numbers of a page, each of 32 bytes.
    uint256 internal constant FANOUT = 32;
    uint256 internal constant PAGE_SIZE = 1024;

    /// @notice Pages of the tree over so many chunks.
    function pages(uint256 chunks) internal pure returns (uint256 total) {
        do {
            chunks = (chunks + FANOUT - 1) / FANOUT;
            total += chunks;
        } while (chunks > 1);
    }

    /// @notice What a number of a page is made of: a chunk where the page is of the lowest level, else
    /// the page of the level below whose sum it is. The page behind the last is the total's.
    /// @param chunks At least one.
    /// @return lowest Whether it is made of a chunk.
    /// @return index Of the chunk, or of the page.
    /// @return filling Whether there is no such chunk or page: then the number must be zero.
    function below(uint256 page, uint256 place, uint256 chunks)
        internal
        pure
        returns (bool lowest, uint256 index, bool filling)
    {
        uint256 from;
        uint256 under;
        lowest = true;
        uint256 values = chunks;
        while (true) {
            uint256 size = (values + FANOUT - 1) / FANOUT;
            if (page < from + size) break;
            lowest = false;
            (under, from, values) = (from, from + size, size);
            if (size == 1) break;
        }
        index = (page - from) * FANOUT + place;
        filling = index >= values;
        index += under;
    }

    /// @notice A number of a page, which must be whole: that is not checked here.
    function valueAt(bytes calldata page, uint256 place) internal pure returns (int256 value) {
        value = int256(uint256(page.wordAt(place)));
    }

    /// @notice The sum of a page's numbers, modulo 2**256: where they are right, none is out of range.
    function sum(bytes calldata page) internal pure returns (int256 total) {
        unchecked {
            for (uint256 i = 0; i < FANOUT; ++i) {
                total += valueAt(page, i);
            }
        }
    }
}
