// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntryFault} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {Recording, Rule, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

/// What can be wrong with the entries of a record.
contract CourtEntriesTest is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)
    // ------------------------------------------------------------------ challengeEntry

    function testFuzz_challengeEntry_provesEveryFault(uint256 seed, uint256 index, uint256 fault)
        public
    {
        uint256 sites = 1 + pick(seed, "sites", 6);
        Story memory story = rooted(seed, sites);
        index = bound(index, 0, sites - 1);
        fault = bound(fault, 1, 3);
        Draft memory draft = story.list[index];
        if (EntryFault(fault) == EntryFault.NotMember) {
            // Right above the site that it stands for, so that the order is not what is wrong.
            draft.site = address(uint160(draft.site) + 1);
        } else if (EntryFault(fault) == EntryFault.WeightOutOfRange) {
            draft.weight = seed % 2 == 0 ? 0 : MAX_WEIGHT + 1 + uint64(seed % 1000);
            sign(story, index);
        } else {
            uint256 bit = seed % (65 * 8);
            draft.signature[bit / 8] ^= bytes1(uint8(bitAt(bit % 8)));
        }
        recommit(story);
        close(story);
        bytes32[] memory path = entryPath(story, index);
        vm.expectEmit(address(court));
        emit ICourtBase.EntryProven(story.id, 1, CHALLENGER, uint32(index), EntryFault(fault));
        vm.prank(CHALLENGER);
        court.challengeEntry(
            story.id, 1, story.closing, story.previous, packed(draft), uint32(index), path
        );
        assertOverturned(story);
    }

    /// Leaves of another length than an entry's are wrong whatever they say.
    function testFuzz_challengeEntry_provesMalformedOnes(uint256 seed, bytes calldata leaf) public {
        vm.assume(leaf.length != 157);
        Story memory story = rooted(seed, 3);
        bytes32[] memory leaves = entryLeaves(story.list);
        leaves[1] = sha256(bytes.concat(hex"00", leaf));
        story.closing.record.contributions = rootOf(leaves);
        close(story);
        bytes32[] memory path = pathOf(leaves, 1);
        vm.expectEmit(address(court));
        emit ICourtBase.EntryProven(story.id, 1, CHALLENGER, 1, EntryFault.Malformed);
        vm.prank(CHALLENGER);
        court.challengeEntry(story.id, 1, story.closing, story.previous, leaf, 1, path);
        assertOverturned(story);
    }

    /// A contribution to an earlier round is signed for another model.
    function test_challengeEntry_provesAReplay() public {
        Story memory story = rooted(5, 3);
        close(story);
        Story memory next = following(story, 3, 6);
        next.list[2] = story.list[2];
        recommit(next);
        close(next);
        bytes32[] memory path = entryPath(next, 2);
        vm.prank(CHALLENGER);
        court.challengeEntry(next.id, 2, next.closing, next.previous, packed(next.list[2]), 2, path);
        assertOverturned(next);
    }

    // ------------------------------------------------------------------ challengeOrder

    function testFuzz_challengeOrder_provesDoubledAndUnsorted(uint256 seed, uint256 index) public {
        uint256 sites = 2 + pick(seed, "sites", 6);
        Story memory story = rooted(seed, sites);
        index = bound(index, 0, sites - 2);
        if (seed % 2 == 0) {
            (story.list[index], story.list[index + 1]) = (story.list[index + 1], story.list[index]);
        } else {
            story.list[index + 1] = story.list[index];
        }
        recommit(story);
        close(story);
        challengeOrder(story, index);
        assertOverturned(story);
    }

    // ------------------------------------------------------------------ challengeTotals

    function testFuzz_challengeTotals_provesWrongOnes(uint256 seed, uint32 count, uint64 weight)
        public
    {
        Story memory story = rooted(seed, 1 + pick(seed, "sites", 6));
        uint64 right = story.closing.record.totalWeight;
        uint256 sites = story.list.length;
        if (seed % 2 == 0) {
            count = uint32(bound(count, story.params.minSites, right));
            vm.assume(count != sites);
            story.closing.record.count = count;
        } else {
            weight = uint64(bound(weight, sites, 2 ** 31 - 1));
            vm.assume(weight != right);
            story.closing.record.totalWeight = weight;
        }
        close(story);
        bytes memory entries = packed(story.list);
        vm.expectEmit(address(court));
        emit ICourtBase.TotalsProven(story.id, 1, CHALLENGER, sites, right);
        vm.prank(CHALLENGER);
        court.challengeTotals(story.id, 1, story.closing, entries);
        assertOverturned(story);
    }

    // ------------------------------------------------------------------ inside

    function rooted(uint256 seed, uint256 sites) internal returns (Story memory) {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 3;
        params.lockedCohort = pick(seed, "locked", 2) == 1;
        return begin(params, sites, seed);
    }

    function challengeOrder(Story memory story, uint256 index) internal {
        bytes32[] memory first = entryPath(story, index);
        bytes32[] memory second = entryPath(story, index + 1);
        vm.prank(CHALLENGER);
        court.challengeOrder(
            story.id,
            story.round,
            story.closing,
            packed(story.list[index]),
            packed(story.list[index + 1]),
            uint32(index),
            first,
            second
        );
    }
    // forge-lint: disable-end(unsafe-typecast)
}
