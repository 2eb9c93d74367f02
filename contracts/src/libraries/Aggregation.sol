// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Rule} from "../interfaces/IWardRound.sol";
import {Sorting} from "./Sorting.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Aggregation
/// @notice The rules, for one coordinate, on integers. Floor is toward minus infinity.
/// @dev Computes what `protocol/rules.py` computes, from the same vectors in tests/vectors. Values
/// are of 32 bits, or of 64 in a sum, and there are fewer than 2**32 of them, with weights below
/// 2**64: nothing here comes near the range of 256 bits.
library Aggregation {
    /// In place of a value that no sum may have: whatever else is added, no record can hold it.
    int256 internal constant BEYOND = 2 ** 128;

    /// What an update that is not clipped is multiplied with; shifted away again by 16 bits.
    uint256 internal constant WHOLE = 2 ** 16;

    /// @notice The fewest entries that a rule can aggregate with an argument; more than there can be
    /// where it takes none.
    function fewest(Rule rule, uint16 argument) internal pure returns (uint256) {
        if (rule == Rule.TrimmedMean || rule == Rule.MultiKrum) return 2 * uint256(argument) + 1;
        return argument == 0 ? 1 : type(uint256).max;
    }

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

    // ------------------------------------------------------------------ whole updates
    // Committed numbers can be any of 256 bits. Where they are right, no sum or product below leaves
    // them; where they are not, that is proven for itself, and no overflow may keep a proof out.

    /// @notice What each update is scaled with under the clipped mean: to the lower median of the norms,
    /// in parts of `WHOLE`.
    /// @param norms Squared; at least one.
    function clipFactors(uint256[] memory norms) internal pure returns (uint256[] memory factors) {
        factors = new uint256[](norms.length);
        for (uint256 i = 0; i < norms.length; ++i) {
            factors[i] = norms[i];
        }
        uint256 middlemost = Sorting.ascending(factors)[(norms.length - 1) / 2];
        factors = norms;
        unchecked {
            for (uint256 i = 0; i < norms.length; ++i) {
                factors[i] =
                    norms[i] <= middlemost ? WHOLE : Math.sqrt((middlemost << 32) / norms[i]);
            }
        }
    }

    /// @notice A coordinate of an update that is scaled, rounded down.
    function clipped(int256 value, uint256 factor) internal pure returns (int256) {
        // At most WHOLE.
        // forge-lint: disable-next-line(unsafe-typecast)
        return value * int256(factor) >> 16;
    }

    /// @notice Which entries Multi-Krum averages: 1 for the count - hostile ones of the lowest ranks, of
    /// equal ones the first; 0 for the others.
    /// @param ranks More than `hostile`, each below 2**224. Taken over.
    function selected(uint256[] memory ranks, uint256 hostile)
        internal
        pure
        returns (uint256[] memory chosen)
    {
        uint256 count = ranks.length;
        chosen = new uint256[](count);
        unchecked {
            for (uint256 i = 0; i < count; ++i) {
                ranks[i] = ranks[i] << 32 | i;
            }
            ranks = Sorting.ascending(ranks);
            for (uint256 i = 0; i < count - hostile; ++i) {
                chosen[ranks[i] & type(uint32).max] = 1;
            }
        }
    }

    /// @notice What Multi-Krum ranks an entry by: the sum of its least squared distances.
    /// @param distances To each other entry, of which as many as are hostile are left out. Taken over.
    function rank(uint256[] memory distances, uint256 hostile) internal pure returns (uint256 sum) {
        distances = Sorting.ascending(distances);
        unchecked {
            for (uint256 i = 0; i < distances.length - hostile; ++i) {
                sum += distances[i];
            }
        }
    }

    /// @notice What a projection is worth.
    /// @param factor Of `clipFactors`, or `WHOLE`.
    function score(uint256 weight, uint256 factor, int256 projection)
        internal
        pure
        returns (uint256)
    {
        if (projection <= 0) return 0;
        unchecked {
            // Positive: the same bits.
            // forge-lint: disable-next-line(unsafe-typecast)
            return weight * factor * uint256(projection) >> 16;
        }
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
