// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RewardTree} from "../src/libraries/RewardTree.sol";
import {Scene} from "./Scene.sol";

/// forge-config: deep.fuzz.runs = 10000
contract RewardTreeTest is Scene {
    function setUp() public override {}

    function test_root_matchesVectors() public view {
        string memory json = vm.readFile("../tests/vectors/rewards.json");
        uint256 vectors;
        for (; vm.keyExistsJson(json, key(vectors, "")); ++vectors) {
            uint256 size;
            while (vm.keyExistsJson(json, key(vectors, value(size, "")))) ++size;
            bytes32[] memory leaves = new bytes32[](size);
            for (uint256 i = 0; i < size; ++i) {
                leaves[i] = RewardTree.leaf(
                    vm.parseAddress(vm.parseJsonString(json, key(vectors, value(i, "[0]")))),
                    vm.parseUint(vm.parseJsonString(json, key(vectors, value(i, "[1]"))))
                );
            }
            bytes32 expected = vm.parseBytes32(vm.parseJsonString(json, key(vectors, ".root")));
            assertEq(RewardTree.root(leaves), expected, "root");
        }
        assertTrue(vectors >= 5, "every vector was read");
    }

    function testFuzz_root_isThatOfTheClaimTree(uint256 size, uint256 seed) public pure {
        size = bound(size, 1, 40);
        address[] memory sites = new address[](size);
        uint256[] memory amounts = new uint256[](size);
        bytes32[] memory leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            sites[i] = address(uint160(uint256(keccak256(abi.encode(seed, i)))));
            amounts[i] = uint256(keccak256(abi.encode(seed, i, "amount")));
            leaves[i] = RewardTree.leaf(sites[i], amounts[i]);
        }
        assertEq(RewardTree.root(leaves), rewardTree(sites, amounts)[0], "root");
    }

    function test_root_ofNobody() public pure {
        assertEq(RewardTree.root(new bytes32[](0)), bytes32(0), "round 0 rewards nobody");
    }

    function key(uint256 vector, string memory field) internal pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(vector), "]", field);
    }

    function value(uint256 i, string memory field) internal pure returns (string memory) {
        return string.concat(".values[", vm.toString(i), "]", field);
    }
}
