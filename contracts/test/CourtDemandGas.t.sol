// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Target, What} from "../src/interfaces/ICourt.sol";
import {IDemands} from "../src/interfaces/IDemands.sol";
import {IRegistrations} from "../src/interfaces/IRegistrations.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Recording, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

/// Who makes others show data, or wait for it, pays at least a tenth of what it costs them, at a
/// million parameters: each call runs as a transaction of its own. Of the vectors the first chunks are
/// real, and the other branches are hashes, which cost the same. What registrations cost is kept in
/// snapshots/CourtDemandGasTest.json, which docs/challenges.md shows.
/// forge-config: default.isolate = true
contract CourtDemandGasTest is CourtScene {
    // forge-lint: disable-start(unsafe-typecast)

    uint32 internal constant PARAMETERS = 1_000_000;
    uint256 internal constant CHUNKS = 3907;
    /// As the coordinator's service demands: one, and fifty for each that was shown.
    uint32 internal constant SECOND_DEMAND = 1 + 50;
    uint32 internal constant THIRD_DEMAND = 1 + 50 * 52;
    /// Real ones; more than 100 KiB, which one transaction carries.
    uint256 internal constant REAL = 1 + 51 + 100;

    /// Nodes of the real chunks by level, and one more to their right where the tree has it.
    bytes32[][] internal _levels;
    bytes internal _data;

    function test_demandsOfRegistrations_costBothSidesATenth() public {
        Story memory story = wide();
        address site = story.list[1].site;
        bytes memory entry = packed(story.list[1]);
        uint256 siteGas = cost(
            CHALLENGER,
            address(ward),
            abi.encodeCall(IRounds.contribute, (story.id, 1, story.previous, entry))
        );
        vm.snapshotValue("contribute", siteGas);
        assertLe(siteGas, 150_000, "a registration");

        uint256 demandGas = demand(story, site, 0, 1);
        uint256 coordinatorGas = demandGas;
        assertLe(coordinatorGas, 10 * siteGas, "nothing is shown");
        uint256 shownGas = answer(story, entry, 0, 1);
        assertLe(shownGas, 10 * demandGas, "one is demanded");

        siteGas += shownGas;
        demandGas = demand(story, site, 1, SECOND_DEMAND);
        coordinatorGas += demandGas;
        assertLe(coordinatorGas, 10 * siteGas, "one is shown");
        shownGas = answer(story, entry, 1, SECOND_DEMAND);
        assertLe(shownGas, 10 * demandGas, "fifty-one are demanded");

        siteGas += shownGas;
        demandGas = demand(story, site, 1 + SECOND_DEMAND, THIRD_DEMAND);
        coordinatorGas += demandGas;
        assertLe(coordinatorGas, 10 * siteGas, "fifty-two are shown");
        // A hundred in each transaction.
        shownGas = answer(story, entry, 1 + SECOND_DEMAND, 100) * THIRD_DEMAND / 100;
        assertLe(shownGas, 10 * demandGas, "thousands are demanded");
        assertLe(coordinatorGas, 12_000_000, "two thirds of an update");
    }

    function test_demandsOfRounds_costBothSidesATenth() public {
        Story memory story = wide();
        close(story);
        Target memory target = Target(What.Model, 0, 0, "", new bytes32[](0));
        bytes memory call = abi.encodeCall(
            IDemands.demandChunk, (story.id, 1, story.closing, story.previous, target)
        );
        uint256 demandGas = cost(CHALLENGER, address(court), call);
        bytes32 made =
            court.demandIdOf(story.id, 1, keccak256(abi.encode(story.closing)), What.Model, 0, 0);
        bytes memory shown = abi.encodePacked(first(1024), pathAt(0, 1));
        call = abi.encodeCall(IDemands.answerDemand, (made, story.closing, shown));
        uint256 shownGas = cost(FIRST, address(court), call);
        assertLe(shownGas, 10 * demandGas, "who demands");
        assertLe(demandGas, 10 * shownGas, "who answers");
    }

    // ------------------------------------------------------------------ inside

    function demand(Story memory story, address site, uint32 from, uint32 count)
        internal
        returns (uint256 gas)
    {
        bytes memory call = abi.encodeCall(
            IRegistrations.demandContribution, (story.id, 1, site, from, count)
        );
        gas = cost(FIRST, address(court), call);
        vm.snapshotValue(string.concat("demandContribution-", vm.toString(count)), gas);
    }

    function answer(Story memory story, bytes memory entry, uint32 from, uint32 count)
        internal
        returns (uint256 gas)
    {
        bytes memory data = new bytes(uint256(count) * 1024);
        copyWords({
            from: _data, start: uint256(from) * 1024, to: data, place: 0, length: data.length
        });
        bytes memory call = abi.encodeCall(
            IRegistrations.answerContribution,
            (story.id, 1, behind(story), entry, from, data, pathAt(from, count))
        );
        gas = cost(CHALLENGER, address(court), call);
        vm.snapshotValue(string.concat("answerContribution-", vm.toString(count)), gas);
    }

    function cost(address caller, address to, bytes memory call) internal returns (uint256 gas) {
        (gas,) = transact(caller, to, call);
        assertLe(gas, 2 ** 24, "one transaction (EIP-7825)");
        assertLe(call.length, 128 * 1024, "one transaction");
    }

    /// A round of wide vectors that is ready to be closed; all of them are the same.
    function wide() internal returns (Story memory story) {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = PARAMETERS;
        bytes32 root = makeVector();
        params.initialModel = root;
        story.params = params;
        story.id = open(params, 3);
        story.round = 1;
        story.previous = beginning(params);
        story.list = drafts(story.id, 1, root, 3, 1);
        for (uint256 i = 0; i < 3; ++i) {
            story.list[i].update = root;
            sign(story, i);
        }
        story.closing.record = recordOf(story.list);
        story.closing.record.model = root;
    }

    function makeVector() internal returns (bytes32) {
        bytes memory data = new bytes(REAL * 1024);
        for (uint256 i = 0; i < data.length; i += 32) {
            bytes32 word = keccak256(abi.encode("data", i));
            assembly ("memory-safe") {
                mstore(add(add(data, 0x20), i), word)
            }
        }
        _data = data;
        bytes32[] memory nodes = vectorLeaves(data);
        for (uint256 last = CHUNKS - 1; last != 0; last /= 2) {
            if (nodes.length % 2 == 1 && nodes.length - 1 != last) {
                bytes32[] memory more = new bytes32[](nodes.length + 1);
                for (uint256 i = 0; i < nodes.length; ++i) {
                    more[i] = nodes[i];
                }
                more[nodes.length] = keccak256(abi.encode("sibling", last));
                nodes = more;
            }
            _levels.push(nodes);
            bytes32[] memory above = new bytes32[]((nodes.length + 1) / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = 2 * i + 1 == nodes.length
                    ? nodes[2 * i]
                    : sha256(abi.encodePacked(hex"01", nodes[2 * i], nodes[2 * i + 1]));
            }
            nodes = above;
        }
        return nodes[0];
    }

    function pathAt(uint256 from, uint256 count) internal view returns (bytes32[] memory path) {
        path = new bytes32[](64);
        uint256 length;
        uint256 to = from + count - 1;
        uint256 last = CHUNKS - 1;
        for (uint256 level = 0; level < _levels.length; ++level) {
            if (from % 2 == 1) path[length++] = _levels[level][from - 1];
            if (to % 2 == 0 && to != last) path[length++] = _levels[level][to + 1];
            (from, to, last) = (from / 2, to / 2, last / 2);
        }
        assembly ("memory-safe") {
            mstore(path, length)
        }
    }

    function first(uint256 length) internal view returns (bytes memory data) {
        data = new bytes(length);
        copyWords({from: _data, start: 0, to: data, place: 0, length: length});
    }
    // forge-lint: disable-end(unsafe-typecast)
}
