// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Closing, Record, Recording, StudyId, StudyParams} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

/// What transactions cost, whole: each call runs as a transaction of its own, so that the figures
/// hold the 21,000, the calldata and cold storage. They are kept in snapshots/GasTest.json, and
/// `FORGE_SNAPSHOT_CHECK=true` fails when one differs.
/// forge-config: default.isolate = true
contract GasTest is Scene {
    uint256 internal constant ROOT_RECORDING_LIMIT = 60_000;
    /// What closing with 10 sites took before there was a court, and five per cent.
    uint256 internal constant FULL_RECORDING_LIMIT = uint256(185_505) * 105 / 100;

    function test_closeRoundRoot_gas() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 3);
        closeRoot(id, 1, sampleRecord(0), FIRST);
        uint32[3] memory sites = [uint32(10), 100, 1000];
        for (uint32 i = 0; i < 3; ++i) {
            Record memory record = sampleRecord(i + 1);
            record.count = sites[i];
            // As large as they can be, so that no real round costs more calldata.
            record.totalWeight = 2 ** 31 - 1 - i;
            record.rewardTotal = params.rewardPerRound * (i + 2) - 1;
            vm.warp(block.timestamp + 1 hours);
            vm.prank(FIRST);
            ward.closeRoundRoot(id, i + 2, record);
            uint256 gas = snapshot("closeRoundRoot", sites[i]);
            assertLe(gas, ROOT_RECORDING_LIMIT, "root recording");
        }
    }

    function test_closeRound_gas() public {
        uint32[2] memory sites = [uint32(10), 100];
        for (uint256 i = 0; i < 2; ++i) {
            StudyParams memory params = sampleParams(Recording.Full);
            params.code = keccak256(abi.encode(i));
            StudyId id = open(params, sites[i]);
            Draft[] memory list = drafts(id, 1, params.initialModel, sites[i], 1);
            Record memory record = recordOf(list, 1000 ether);
            vm.prank(FIRST);
            ward.closeRound(id, 1, record, beginning(params), packed(list));
            Closing memory first =
                Closing({record: record, coordinator: FIRST, closedAt: uint64(block.timestamp)});

            vm.warp(block.timestamp + 1 hours);
            list = drafts(id, 2, record.model, sites[i], 2);
            record = recordOf(list, 2000 ether);
            vm.prank(FIRST);
            ward.closeRound(id, 2, record, first, packed(list));
            uint256 gas = snapshot("closeRound", sites[i]);
            if (sites[i] == 10) assertLe(gas, FULL_RECORDING_LIMIT, "full recording");
        }
    }

    function test_attest_gas() public {
        StudyId id = open(sampleParams(Recording.Root), 3);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + 1 hours);
        ward.attest(id, 1, closing, attestations(id, 1, ward.commitment(id, 1), 3));
        snapshot("attest", 3);
    }

    function test_claim_gas() public {
        StudyId id = open(sampleParams(Recording.Root), 10);
        address[] memory sites = addresses(siteKeys(10));
        uint256[] memory amounts = new uint256[](10);
        for (uint256 i = 0; i < 10; ++i) {
            amounts[i] = 1 ether + i;
        }
        bytes32[] memory tree = rewardTree(sites, amounts);
        Record memory record = sampleRecord(1);
        record.rewards = tree[0];
        Closing memory closing = closeRoot(id, 1, record, FIRST);
        vm.warp(block.timestamp + 3 days);
        bytes32[] memory proof = rewardProof(tree, rewardLeaf(sites[3], amounts[3]));
        ward.claim(id, 1, closing, sites[3], amounts[3], proof);
        snapshot("claim", 10);
    }

    function snapshot(string memory name, uint256 sites) internal returns (uint256) {
        return vm.snapshotGasLastCall(string.concat(name, "-", vm.toString(sites)));
    }
}
