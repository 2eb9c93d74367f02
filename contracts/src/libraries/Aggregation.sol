// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Sorting} from "./Sorting.sol";

/// @title Aggregation
/// @notice The rules, for one coordinate, on integers. Floor is toward minus infinity.
/// @dev Computes what `protocol/rules.py` computes, from the same vectors in tests/vectors. Values
/// are of 32 bits, or of 64 in a sum, and there are fewer than 2**32 of them, with weights below
/// 2**64: nothing here comes near the range of 256 bits.
library Aggregation {
    /// In place of a value that no sum may have: whatever else is added, no record can hold it.
    int256 internal constant BEYOND = 2 ** 128;

    /// @notice floor(dividend / divisor), for a positive divisor.
    function floorDiv(int256 dividend, uint256 divisor) internal pure returns (int256 quotient) {
        // Both come from sums of calldata's length, far below 2**255.
        // forge-lint: disable-next-line(unsafe-typecast)
        int256 by = int256(divisor);
        quotient = dividend / by;
        if (dividend % by < 0) --quotient;
    }

    /// @notice The weighted mean.
    /// @param sum Of values times weights.
    /// @param totalWeight Positive.
    function mean(int256 sum, uint256 totalWeight) internal pure returns (int256) {
        return floorDiv(sum, totalWeight);
    }

    /// @notice The plain sum.
    /// @dev Of fewer than 2**32 values that are below 2**31 in magnitude, it is below 2**63.
    function total(int256[] memory values) internal pure returns (int256 all) {
        for (uint256 i = 0; i < values.length; ++i) {
            all += values[i];
        }
    }

    /// @notice A value that is to be summed; `BEYOND` where its magnitude exceeds the bound.
    function bounded(int256 value, uint32 bound) internal pure returns (int256) {
        int256 most = int256(uint256(bound));
        return value > most || value < -most ? BEYOND : value;
    }

    /// @notice The value in the middle, or the mean of the two in the middle.
    /// @param sorted At least one value.
    function median(int256[] memory sorted) internal pure returns (int256) {
        return middle(sorted[(sorted.length - 1) / 2], sorted[sorted.length / 2]);
    }

    /// @notice The mean of two values.
    function middle(int256 low, int256 high) internal pure returns (int256) {
        return floorDiv(low + high, 2);
    }

    /// @notice The mean of what is left when so many values are cut at each end.
    /// @param sorted More than twice as many.
    function trimmedMean(int256[] memory sorted, uint256 cut) internal pure returns (int256) {
        int256 sum;
        for (uint256 i = cut; i < sorted.length - cut; ++i) {
            sum += sorted[i];
        }
        return floorDiv(sum, sorted.length - 2 * cut);
    }

    /// @notice Ascending. Takes over the array that it is given.
    function sort(int256[] memory values) internal pure returns (int256[] memory sorted) {
        uint256[] memory words;
        assembly ("memory-safe") {
            words := values
        }
        // As words, two's complement orders negative numbers last: flipping the top bit mends it.
        unchecked {
            for (uint256 i = 0; i < words.length; ++i) {
                words[i] += 1 << 255;
            }
            words = Sorting.ascending(words);
            for (uint256 i = 0; i < words.length; ++i) {
                words[i] -= 1 << 255;
            }
        }
        assembly ("memory-safe") {
            sorted := words
        }
    }
}
