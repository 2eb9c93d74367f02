// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntryFault} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {Recording, Rule, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CallScene} from "./CallScene.sol";

/// What can be wrong with the entries of a record.
contract CourtEntriesTest is CallScene {
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

    // ------------------------------------------------------------------ challengeUpdate

    /// Beyond the bound, or out of a model's range with what it is added to; and nothing else.
    function testFuzz_challengeUpdate_provesWhatNoModelTakes(
        uint256 seed,
        uint256 index,
        uint256 coordinate,
        int32 value
    ) public {
        StudyParams memory params = sampleParams(Recording(seed % 2));
        params.parameterCount = pick(seed, "wide", 4) == 0 ? 300 : 3;
        params.lockedCohort = pick(seed, "locked", 2) == 1;
        params.updateBound = pick(seed, "bound", 2) == 1 ? 2 ** 31 - 1 : 1000;
        coordinate = bound(coordinate, 0, params.parameterCount - 1);
        int256 most = int256(uint256(params.updateBound));
        if (seed % 3 == 0) value = int32(value % 3 + (value < 0 ? -most : most));
        uint256 sites = 1 + pick(seed, "sites", 5);
        index = bound(index, 0, sites - 1);
        Story memory story = begin(params, sites, seed);
        setUpdate(story, index, coordinate, value);
        close(story);
        bytes memory call = updateCall(story, index, coordinate);

        int256 sum = int256(value) + story.base[coordinate];
        bool held = sum >= type(int32).min && sum <= type(int32).max;
        bool fits = value >= -most && value <= most && held;
        if (!fits) {
            vm.expectEmit(address(court));
            emit ICourtBase.EntryProven(
                story.id, 1, CHALLENGER, uint32(index), EntryFault.UpdateOutOfRange
            );
        }
        vm.prank(CHALLENGER);
        (bool done, bytes memory given) = address(court).call(call);
        assertTrue(done == !fits, "proven");
        if (done) return assertOverturned(story);
        bytes memory reason =
            abi.encodeWithSelector(ICourtBase.Court_ContributionFits.selector, coordinate, sum);
        assertEq(keccak256(given), keccak256(reason), "why not");
        assertStands(story);
    }

    /// Each of what is shown belongs to this entry, at this place, and to the model before.
    function test_challengeUpdate_takesNothingElse() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 300;
        Story memory story = begin(params, 3, 3);
        story.updates[1] = new int32[](300);
        setUpdate(story, 1, 280, type(int32).min);
        close(story);
        bytes memory right = updateCall(story, 1, 280);
        bytes[4] memory wrong;
        // Another update, another base, another entry, and a coordinate that fits.
        (story.updates[1], story.updates[0]) = (story.updates[0], story.updates[1]);
        wrong[0] = updateCall(story, 1, 280);
        (story.updates[1], story.updates[0]) = (story.updates[0], story.updates[1]);
        story.base[280] ^= 1;
        wrong[1] = updateCall(story, 1, 280);
        story.base[280] ^= 1;
        (story.list[0], story.list[1]) = (story.list[1], story.list[0]);
        wrong[2] = updateCall(story, 1, 280);
        (story.list[0], story.list[1]) = (story.list[1], story.list[0]);
        wrong[3] = updateCall(story, 1, 10);
        for (uint256 i = 0; i < wrong.length; ++i) {
            (bool done,) = address(court).call(wrong[i]);
            assertTrue(!done, "refused");
        }
        assertStands(story);
        vm.prank(CHALLENGER);
        (bool proven,) = address(court).call(right);
        assertTrue(proven, "proven");
        assertOverturned(story);
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
