// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    Earning,
    Record,
    Recording,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

/// What transactions cost, whole: each call runs as a transaction of its own, so that the figures
/// hold the 21,000, the calldata and cold storage. They are kept in snapshots/GasTest.json, and
/// `FORGE_SNAPSHOT_CHECK=true` fails when one differs.
/// forge-config: default.isolate = true
contract GasTest is Scene {
    uint256 internal constant ROOT_RECORDING_LIMIT = 65_000;
    uint256 internal constant FULL_RECORDING_LIMIT_10 = 215_000;
    uint256 internal constant FULL_RECORDING_LIMIT_100 = 1_400_000;
    uint256 internal constant CLAIM_LIMIT = 90_000;
    /// No transaction carries more (EIP-7825).
    uint256 internal constant TRANSACTION_LIMIT = 2 ** 24;
    uint256 internal constant LOCKED_ROOT_LIMIT = 110_000;
    uint256 internal constant LOCKED_FULL_LIMIT = 300_000;
    /// What three attestations took before an auditor could be a contract, and 3,000 for each.
    uint256 internal constant ATTEST_LIMIT = 66_043 + 3 * 3000;

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
            Record memory record = recordOf(list);
            vm.prank(FIRST);
            ward.closeRound(id, 1, record, beginning(params), packed(list));
            Closing memory first =
                Closing({record: record, coordinator: FIRST, closedAt: uint64(block.timestamp)});

            vm.warp(block.timestamp + 1 hours);
            list = drafts(id, 2, record.model, sites[i], 2);
            record = recordOf(list);
            vm.prank(FIRST);
            ward.closeRound(id, 2, record, first, packed(list));
            uint256 gas = snapshot("closeRound", sites[i]);
            assertLe(
                gas,
                sites[i] == 10 ? FULL_RECORDING_LIMIT_10 : FULL_RECORDING_LIMIT_100,
                "full recording"
            );
        }
    }

    /// Locking a cohort of ten sites and closing the round with it, together.
    function test_lockCohort_gas() public {
        for (uint256 i = 0; i < 2; ++i) {
            StudyParams memory params = sampleParams(Recording(i));
            params.lockedCohort = true;
            StudyId id = open(params, 10);
            Closing memory previous = beginning(params);
            uint256 gas;
            for (uint32 round = 1; round <= 2; ++round) {
                Draft[] memory list = drafts(id, round, previous.record.model, 10, round);
                Record memory record = recordOf(list);
                vm.warp(block.timestamp + 1 hours);
                lock(id, round, params, cohortOf(record), previous, list, FIRST);
                gas = snapshot(i == 0 ? "lockCohort" : "lockCohortRoot", 10);
                previous = closeRoot(id, round, record, FIRST);
                gas += snapshot(i == 0 ? "closeLocked" : "closeLockedRoot", 10);
            }
            assertLe(gas, i == 0 ? LOCKED_FULL_LIMIT : LOCKED_ROOT_LIMIT, "lock and close");
        }
    }

    function test_attest_gas() public {
        StudyId id = open(sampleParams(Recording.Root), 3);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + 1 hours);
        ward.attest(id, 1, closing, attestations(id, 1, ward.commitment(id, 1), 3));
        assertLe(snapshot("attest", 3), ATTEST_LIMIT, "with plain keys");
    }

    /// Where the site, and the round, were paid before: what most claims find.
    function test_claim_gas() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 10);
        Earning[] memory first = earningsOf(id, 1, 10);
        Earning[] memory second = earningsOf(id, 2, 10);
        vm.warp(block.timestamp + params.challengeSeconds);
        address[] memory sites = addresses(siteKeys(10));
        ward.claim(id, sites[3], only(first[3]));
        ward.claim(id, sites[4], only(second[4]));
        ward.claim(id, sites[3], only(second[3]));
        assertLe(snapshot("claim", 10), CLAIM_LIMIT, "claim");
    }

    /// As many rounds as a command claims in one transaction, of a hundred sites.
    function test_claim_gasOfManyRounds() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 50;
        StudyId id = open(params, 100);
        Earning[] memory earnings = new Earning[](50);
        for (uint32 round = 1; round <= 50; ++round) {
            Draft[] memory list = drafts(id, round, 0, 100, round);
            Closing memory closing = closeRoot(id, round, recordOf(list), FIRST);
            earnings[round - 1] = earningOf(round, closing, list, 42);
        }
        vm.warp(block.timestamp + params.challengeSeconds);
        ward.claim(id, addresses(siteKeys(100))[42], earnings);
        assertLe(snapshot("claim-50-rounds", 100), TRANSACTION_LIMIT, "one transaction");
    }

    /// What the sites of a round show to be paid.
    function earningsOf(StudyId id, uint32 round, uint256 sites)
        internal
        returns (Earning[] memory earnings)
    {
        Draft[] memory list = drafts(id, round, 0, sites, round);
        Closing memory closing = closeRoot(id, round, recordOf(list), FIRST);
        earnings = new Earning[](sites);
        for (uint256 i = 0; i < sites; ++i) {
            earnings[i] = earningOf(round, closing, list, i);
        }
    }

    function snapshot(string memory name, uint256 sites) internal returns (uint256) {
        return vm.snapshotGasLastCall(string.concat(name, "-", vm.toString(sites)));
    }
}
