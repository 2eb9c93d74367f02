// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {CoordinateProof, TallyStart, Target, UpdateProof, What} from "../src/interfaces/ICourt.sol";
import {IDemands} from "../src/interfaces/IDemands.sol";
import {IRegistrations} from "../src/interfaces/IRegistrations.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {Recording, Rule, StudyParams} from "../src/interfaces/IWardRound.sol";
import {GasScene} from "./GasScene.sol";

/// What challenges cost, whole, at 10 and 100 sites with a million parameters: each call runs as a
/// transaction of its own. Vectors are trees whose one opened chunk is real and whose other
/// branches are hashes, which cost the same. Kept in snapshots/CourtGasTest.json.
/// forge-config: default.isolate = true
contract CourtGasTest is GasScene {
    // forge-lint: disable-start(unsafe-typecast)

    uint256 internal constant DEPTH = 12;

    function test_challengeCoordinate_gas() public {
        coordinateGas(Rule.Mean, "mean");
        coordinateGas(Rule.Median, "median");
        coordinateGas(Rule.TrimmedMean, "trimmedMean");
    }

    function test_challengeCoordinate_ofASum_gas() public {
        coordinateGas(Rule.Sum, "sum");
    }

    function test_tally_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            (Story memory story, CoordinateProof memory proof) =
                wide(Recording.Root, Rule.Mean, sites);
            TallyStart memory start =
                TallyStart(proof.coordinate, 0, 0, proof.base, proof.model, "");
            uint256 tally = abi.decode(
                measure(
                    "openTally",
                    sites,
                    address(court),
                    abi.encodeCall(
                        IChallenges.openTally, (story.id, 1, story.closing, story.previous, start)
                    )
                ),
                (uint256)
            );
            measure(
                "addToTally",
                sites,
                address(court),
                abi.encodeCall(
                    IChallenges.addToTally, (tally, packed(story.list), proof.updates, "")
                )
            );
            measure(
                "finishTally",
                sites,
                address(court),
                abi.encodeCall(IChallenges.finishTally, (tally, story.closing))
            );
            assertOverturned(story, story.params.deposit);
        }
    }

    function test_challengeEntry_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            Story memory story = rooted(sites);
            story.list[3].signature[7] ^= 0x01;
            recommit(story);
            close(story);
            bytes32[] memory path = entryPath(story, 3);
            measure(
                "challengeEntry",
                sites,
                address(court),
                abi.encodeCall(
                    IChallenges.challengeEntry,
                    (story.id, 1, story.closing, story.previous, packed(story.list[3]), 3, path)
                )
            );
            assertOverturned(story);
        }
    }

    function test_challengeUpdate_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            (Story memory story, CoordinateProof memory proof) =
                wide(Recording.Root, Rule.Mean, sites);
            UpdateProof memory beyond =
                UpdateProof(proof.coordinate, slice(proof.updates, 3), proof.base);
            bytes32[] memory path = entryPath(story, 3);
            bytes memory entry = packed(story.list[3]);
            measure(
                "challengeUpdate",
                sites,
                address(court),
                abi.encodeCall(
                    IRegistrations.challengeUpdate,
                    (story.id, 1, story.closing, story.previous, entry, 3, path, beyond)
                )
            );
            assertOverturned(story);
        }
    }

    function test_challengeOrder_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            Story memory story = rooted(sites);
            story.list[4] = story.list[3];
            recommit(story);
            close(story);
            bytes32[][2] memory paths = [entryPath(story, 3), entryPath(story, 4)];
            bytes memory entry = packed(story.list[3]);
            measure(
                "challengeOrder",
                sites,
                address(court),
                abi.encodeCall(
                    IChallenges.challengeOrder,
                    (story.id, 1, story.closing, entry, entry, 3, paths[0], paths[1])
                )
            );
            assertOverturned(story);
        }
    }

    function test_challengeTotals_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            Story memory story = rooted(sites);
            ++story.closing.record.totalWeight;
            close(story);
            measure(
                "challengeTotals",
                sites,
                address(court),
                abi.encodeCall(
                    IChallenges.challengeTotals, (story.id, 1, story.closing, packed(story.list))
                )
            );
            assertOverturned(story);
        }
    }

    function test_challengeOmission_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            Story memory story = rooted(sites + 1);
            Draft memory left = story.list[4];
            measure(
                "contribute",
                sites,
                address(ward),
                abi.encodeCall(IRounds.contribute, (story.id, 1, story.previous, packed(left)))
            );
            Draft[] memory list = new Draft[](sites);
            for (uint256 i = 0; i < sites; ++i) {
                list[i] = story.list[i < 4 ? i : i + 1];
            }
            story.list = list;
            story.closing.record = recordOf(list);
            vm.warp(block.timestamp + story.params.registrationSeconds);
            close(story);
            bytes[2] memory pair = [packed(list[3]), packed(list[4])];
            bytes32[][2] memory paths = [entryPath(story, 3), entryPath(story, 4)];
            measure(
                "challengeOmission",
                sites,
                address(court),
                abi.encodeCall(
                    IRegistrations.challengeOmission,
                    (story.id, 1, story.closing, left.site, 4, pair[0], pair[1], paths[0], paths[1])
                )
            );
            assertOverturned(story);
        }
    }

    function test_demands_gas() public {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            (Story memory story, CoordinateProof memory proof) =
                wide(Recording.Full, Rule.Mean, sites);
            bytes32[] memory path = entryPath(story, 3);
            Target memory target =
                Target(What.Update, uint32(CHUNK), 3, packed(story.list[3]), path);
            bytes32 demand = abi.decode(
                measure(
                    "demandChunk",
                    sites,
                    address(court),
                    abi.encodeCall(
                        IDemands.demandChunk, (story.id, 1, story.closing, story.previous, target)
                    )
                ),
                (bytes32)
            );
            measure(
                "answerDemand",
                sites,
                address(court),
                abi.encodeCall(
                    IDemands.answerDemand, (demand, story.closing, slice(proof.updates, 3))
                )
            );
            target = Target(What.Model, uint32(CHUNK), 0, "", new bytes32[](0));
            vm.prank(CHALLENGER);
            demand = court.demandChunk(story.id, 1, story.closing, story.previous, target);
            vm.warp(block.timestamp + story.params.demandSeconds + 1);
            measure(
                "closeDemand",
                sites,
                address(court),
                abi.encodeCall(IDemands.closeDemand, (demand, story.closing))
            );
        }
    }

    // ------------------------------------------------------------------ inside

    function coordinateGas(Rule rule, string memory name) internal {
        for (uint256 sites = 10; sites <= 100; sites *= 10) {
            (Story memory story, CoordinateProof memory proof) = wide(Recording.Full, rule, sites);
            bytes memory entries = packed(story.list);
            measure(
                string.concat("challengeCoordinate-", name),
                sites,
                address(court),
                abi.encodeCall(
                    IChallenges.challengeCoordinate,
                    (story.id, 1, story.closing, story.previous, entries, proof)
                )
            );
            assertOverturned(story);
        }
    }

    function rooted(uint256 sites) internal returns (Story memory) {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 2;
        params.code = bytes32(sites);
        return begin(params, sites, 1);
    }

    /// A closed round of wide vectors, one coordinate of whose model is wrong.
    function wide(Recording recording, Rule rule, uint256 sites)
        internal
        returns (Story memory story, CoordinateProof memory proof)
    {
        StudyParams memory params = sampleParams(recording);
        params.rule = rule;
        params.ruleArgument = rule == Rule.TrimmedMean ? 4 : 0;
        params.minSites = 9;
        // As many bytes in every vector.
        params.parameterCount = rule == Rule.Sum ? PARAMETERS / 2 : PARAMETERS;
        params.code = keccak256(abi.encode(rule, sites, recording));
        bytes32 root;
        (root, proof.base) = wideOpening("base");
        params.initialModel = root;
        story.params = params;
        story.id = open(params, sites);
        story.round = 1;
        story.previous = beginning(params);
        story.list = drafts(story.id, 1, root, sites, 1);
        bytes[] memory parts = new bytes[](sites);
        for (uint256 i = 0; i < sites; ++i) {
            (story.list[i].update, parts[i]) = wideOpening(vm.toString(i));
            sign(story, i);
        }
        proof.updates = joined(parts);
        story.closing.record = recordOf(story.list);
        (story.closing.record.model, proof.model) = wideOpening("model");
        proof.coordinate = uint32(CHUNK * (rule == Rule.Sum ? 128 : 256) + 17);
        if (rule == Rule.Sum) proof.base = "";
        close(story);
    }

    function slice(bytes memory all, uint256 i) internal pure returns (bytes memory part) {
        uint256 size = 1024 + 32 * DEPTH;
        part = new bytes(size);
        copyWords({from: all, start: i * size, to: part, place: 0, length: size});
    }
    // forge-lint: disable-end(unsafe-typecast)
}
