// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Recording, Rule, Scoring} from "../src/interfaces/IWardRound.sol";
import {ScoreScene} from "./ScoreScene.sol";

/// The rounds of tests/vectors, computed as the other tests here compute theirs, which hold against
/// the contract: so both languages commit to the same.
contract ScoreVectorsTest is ScoreScene {
    // forge-lint: disable-start(unsafe-typecast)
    function test_settling_givesWhatTheVectorsHold() public view {
        string memory json = vm.readFile("../tests/vectors/scores.json");
        uint256 round;
        for (; vm.keyExistsJson(json, keyOf(round, "rule")); ++round) {
            // Of wide rounds the vectors hold no more than a chunk.
            if (vm.keyExistsJson(json, keyOf(round, "base"))) checkRound(json, round);
        }
        assertTrue(round >= 10, "rounds");
    }

    function checkRound(string memory json, uint256 round) internal view {
        Story memory story;
        story.params = sampleParams(Recording.Root);
        story.params.rule = Rule(vm.parseJsonUint(json, keyOf(round, "rule")));
        story.params.ruleArgument = uint16(vm.parseJsonUint(json, keyOf(round, "rule_argument")));
        story.params.scoring = Scoring(vm.parseJsonUint(json, keyOf(round, "scoring")));
        story.base = vectorOf(vm.parseJsonBytes(json, keyOf(round, "base")));
        string[] memory updates = vm.parseJsonStringArray(json, keyOf(round, "updates"));
        story.list = drafts(story.id, 1, 0, updates.length, 1);
        story.updates = new int32[][](updates.length);
        for (uint256 k = 0; k < updates.length; ++k) {
            story.updates[k] = vectorOf(vm.parseBytes(updates[k]));
            string memory key = string.concat("weights[", vm.toString(k), "]");
            story.list[k].weight = uint64(vm.parseJsonUint(json, keyOf(round, key)));
        }
        Ledger memory ledger = settleScored(story);

        for (uint256 named = 0; named < 4; ++named) {
            string memory key = keyOf(round, string.concat("rows.", names[named]));
            if (!vm.keyExistsJson(json, key)) {
                assertEq(ledger.rows[named].length, 0, "no such name");
                continue;
            }
            string[] memory rows = vm.parseJsonStringArray(json, key);
            assertEq(rows.length, ledger.rows[named].length, "rows");
            for (uint256 i = 0; i < rows.length; ++i) {
                assertEq(keccak256(vm.parseBytes(rows[i])), keccak256(ledger.rows[named][i]), key);
            }
        }
        bytes32 model = vm.parseBytes32(vm.parseJsonString(json, keyOf(round, "model_root")));
        assertEq(story.closing.record.model, model, "model");
        bytes32 root = vm.parseBytes32(vm.parseJsonString(json, keyOf(round, "commitments")));
        assertEq(story.closing.record.commitments, root, "commitments");
    }

    function keyOf(uint256 round, string memory key) internal pure returns (string memory) {
        return string.concat(".rounds[", vm.toString(round), "].", key);
    }

    function vectorOf(bytes memory data) internal pure returns (int32[] memory vector) {
        vector = new int32[](data.length / 4);
        for (uint256 i = 0; i < data.length; ++i) {
            vector[i / 4] |= int32(uint32(uint8(data[i])) << uint32(8 * (i % 4)));
        }
    }
    // forge-lint: disable-end(unsafe-typecast)
}
