// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Rule} from "../src/interfaces/IWardRound.sol";
import {Aggregation} from "../src/libraries/Aggregation.sol";
import {Sorting} from "../src/libraries/Sorting.sol";
import {CourtScene} from "./CourtScene.sol";

contract AggregationTest is CourtScene {
    function test_rules_matchVectors() public view {
        string memory json = vm.readFile("../tests/vectors/rules.json");
        uint256 vectors;
        for (; vm.keyExistsJson(json, vectorKey(vectors, "")); ++vectors) {
            int256[] memory values = listOf(json, vectorKey(vectors, ".values"));
            int256[] memory weights = listOf(json, vectorKey(vectors, ".weights"));
            int256 sum;
            uint256 total;
            for (uint256 i = 0; i < values.length; ++i) {
                sum += values[i] * weights[i];
                total += uint256(weights[i]);
            }
            int256[] memory sorted = Aggregation.sort(values);
            uint256 cut = uint256(numberOf(json, vectorKey(vectors, ".trim")));
            same(Aggregation.mean(sum, total), numberOf(json, vectorKey(vectors, ".mean")), "mean");
            same(
                Aggregation.median(sorted), numberOf(json, vectorKey(vectors, ".median")), "median"
            );
            same(
                Aggregation.trimmedMean(sorted, cut),
                numberOf(json, vectorKey(vectors, ".trimmed_mean")),
                "trimmed mean"
            );
        }
        assertTrue(vectors >= 20, "every vector was read");
    }

    function test_sums_matchVectors() public view {
        string memory json = vm.readFile("../tests/vectors/rules.json");
        uint256 vectors;
        for (; vm.keyExistsJson(json, sumKey(vectors, "")); ++vectors) {
            int256[] memory values = listOf(json, sumKey(vectors, ".values"));
            uint32 bound = uint32(uint256(numberOf(json, sumKey(vectors, ".bound"))));
            for (uint256 i = 0; i < values.length; ++i) {
                values[i] = Aggregation.bounded(values[i], bound);
            }
            int256 found = Aggregation.total(values);
            if (vm.keyExistsJson(json, sumKey(vectors, ".sum"))) {
                same(found, numberOf(json, sumKey(vectors, ".sum")), "sum");
            } else {
                assertTrue(found >= 2 ** 127, "no record can hold it");
            }
        }
        assertTrue(vectors >= 20, "every vector was read");
    }

    function testFuzz_rules_areTheSlowOnes(int32[] memory values, uint64 seed, uint256 cut)
        public
        pure
    {
        vm.assume(values.length > 0 && values.length <= 40);
        cut = bound(cut, 0, (values.length - 1) / 2);
        int256[] memory wide = new int256[](values.length);
        uint256[] memory weights = new uint256[](values.length);
        int256 sum;
        uint256 total;
        for (uint256 i = 0; i < values.length; ++i) {
            // Every third at an edge: fuzzed numbers are rarely equal.
            if (i % 3 == 1) values[i] = i % 2 == 0 ? type(int32).min : type(int32).max;
            wide[i] = values[i];
            weights[i] = 1 + uint256(keccak256(abi.encode(seed, i))) % 2 ** 31;
            sum += wide[i] * int256(weights[i]);
            total += weights[i];
        }
        same(Aggregation.mean(sum, total), ruled(Rule.Mean, 0, wide, weights), "mean");
        int256[] memory sorted = Aggregation.sort(copied(wide));
        same(Aggregation.median(sorted), ruled(Rule.Median, 0, wide, weights), "median");
        same(
            Aggregation.trimmedMean(sorted, cut),
            ruled(Rule.TrimmedMean, cut, wide, weights),
            "trimmed mean"
        );
    }

    function testFuzz_floorDiv_isTheFloor(int128 dividend, uint64 divisor) public pure {
        vm.assume(divisor > 0);
        int256 quotient = Aggregation.floorDiv(dividend, divisor);
        int256 rest = dividend - quotient * int256(uint256(divisor));
        assertTrue(rest >= 0 && rest < int256(uint256(divisor)), "floor");
    }

    function testFuzz_ascending_isAPermutationInOrder(uint256[] memory values) public pure {
        vm.assume(values.length <= 60);
        uint256 sum;
        uint256 mixed;
        for (uint256 i = 0; i < values.length; ++i) {
            if (i % 4 == 3) values[i] = values[i - 1];
            unchecked {
                sum += uint256(keccak256(abi.encode(values[i])));
            }
        }
        uint256 size = values.length;
        values = Sorting.ascending(values);
        for (uint256 i = 0; i < size; ++i) {
            if (i > 0) assertTrue(values[i - 1] <= values[i], "in order");
            unchecked {
                mixed += uint256(keccak256(abi.encode(values[i])));
            }
        }
        assertEq(values.length, size, "as many");
        assertEq(mixed, sum, "the same");
    }

    /// What it costs depends on how many there are, not on what they are.
    function test_ascending_costsTheSameForAnyOrder() public view {
        uint256[] memory rising = new uint256[](1000);
        uint256[] memory falling = new uint256[](1000);
        uint256[] memory mixed = new uint256[](1000);
        for (uint256 i = 0; i < 1000; ++i) {
            rising[i] = i;
            falling[i] = 1000 - i;
            mixed[i] = uint256(keccak256(abi.encode(i)));
        }
        assertLe(sortingGas(rising), 2_500_000, "rising");
        assertLe(sortingGas(falling), 2_500_000, "falling");
        assertLe(sortingGas(mixed), 2_500_000, "mixed");
    }

    function sortingGas(uint256[] memory values) internal view returns (uint256) {
        uint256 before = gasleft();
        Sorting.ascending(values);
        return before - gasleft();
    }

    // ------------------------------------------------------------------ reading

    function same(int256 left, int256 right, string memory claim) internal pure {
        assertTrue(left == right, claim);
    }

    function vectorKey(uint256 vector, string memory field) internal pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(vector), "]", field);
    }

    function sumKey(uint256 vector, string memory field) internal pure returns (string memory) {
        return string.concat(".sums[", vm.toString(vector), "]", field);
    }

    function numberOf(string memory json, string memory key) internal pure returns (int256) {
        return parsed(vm.parseJsonString(json, key));
    }

    function listOf(string memory json, string memory key)
        internal
        pure
        returns (int256[] memory values)
    {
        string[] memory texts = vm.parseJsonStringArray(json, key);
        values = new int256[](texts.length);
        for (uint256 i = 0; i < texts.length; ++i) {
            values[i] = parsed(texts[i]);
        }
    }

    function parsed(string memory text) internal pure returns (int256 value) {
        bytes memory digits = bytes(text);
        bool negative = digits[0] == "-";
        for (uint256 i = negative ? 1 : 0; i < digits.length; ++i) {
            value = value * 10 + int256(uint256(uint8(digits[i]) - 48));
        }
        if (negative) value = -value;
    }

    function copied(int256[] memory values) internal pure returns (int256[] memory copy) {
        copy = new int256[](values.length);
        for (uint256 i = 0; i < values.length; ++i) {
            copy[i] = values[i];
        }
    }
}
