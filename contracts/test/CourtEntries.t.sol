// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntryFault, ICourt, Reward, RewardsFault} from "../src/interfaces/ICourt.sol";
import {IWardRound, Recording, Rule, Scoring, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

/// What can be wrong with the entries of a record, and with the rewards that follow from them.
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
        emit ICourt.EntryProven(story.id, 1, CHALLENGER, uint32(index), EntryFault(fault));
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
        emit ICourt.EntryProven(story.id, 1, CHALLENGER, 1, EntryFault.Malformed);
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
        emit ICourt.TotalsProven(story.id, 1, CHALLENGER, sites, right);
        vm.prank(CHALLENGER);
        court.challengeTotals(story.id, 1, story.closing, entries);
        assertOverturned(story);
    }

    // ------------------------------------------------------------------ challengeRewards

    function testFuzz_challengeRewards_provesAWrongSplit(uint256 seed, uint256 site, uint256 amount)
        public
    {
        Story memory story = rewarded(seed, Scoring.Examples);
        Reward[] memory paid = copied(story.afterwards);
        site = bound(site, 0, paid.length - 1);
        amount = bound(amount, 0, story.params.rewardPerRound);
        vm.assume(amount != paid[site].cumulative);
        paid[site].cumulative = amount;
        story.closing.record.rewards = rewardsRoot(paid);
        close(story);
        challengeRewards(story);
        assertOverturned(story);
    }

    function testFuzz_challengeRewards_provesAStranger(uint256 seed, address stranger) public {
        Story memory story = rewarded(seed, Scoring(seed % 2));
        for (uint256 i = 0; i < story.afterwards.length; ++i) {
            vm.assume(story.afterwards[i].site != stranger);
        }
        story.afterwards = withReward(story.afterwards, stranger, 1);
        story.closing.record.rewards = rewardsRoot(story.afterwards);
        close(story);
        challengeRewards(story);
        assertOverturned(story);
    }

    function testFuzz_challengeRewards_provesAWrongTotal(uint256 seed, uint128 total) public {
        Story memory story = rewarded(seed, Scoring(seed % 2));
        total = uint128(bound(total, 0, uint256(story.params.rewardPerRound) * story.round));
        vm.assume(total != story.closing.record.rewardTotal);
        story.closing.record.rewardTotal = total;
        close(story);
        vm.expectEmit(address(court));
        emit ICourt.RewardsProven(story.id, story.round, CHALLENGER, RewardsFault.WrongTotal);
        challengeRewards(story);
        assertOverturned(story);
    }

    function testFuzz_challengeRewards_provesTooMuch(uint256 seed, uint256 site, uint256 more)
        public
    {
        Story memory story = rewarded(seed, Scoring.Alignment);
        site = bound(site, 0, story.list.length - 1);
        uint256 most = uint256(story.params.rewardPerRound) * story.round;
        uint256 left = most - sumOf(story.afterwards);
        Reward[] memory paid =
            withReward(story.afterwards, story.list[site].site, bound(more, left + 1, 2 ** 200));
        story.closing.record.rewards = rewardsRoot(paid);
        story.closing.record.rewardTotal = uint128(most);
        story.afterwards = paid;
        close(story);
        challengeRewards(story);
        assertOverturned(story);
    }

    /// More than a round may pay can hide below what all rounds together may.
    function test_challengeRewards_provesARoundThatPaysForTwo() public {
        StudyParams memory params = sampleParams(Recording.Full);
        params.scoring = Scoring.Alignment;
        params.parameterCount = 3;
        Story memory story = begin(params, 2, 1);
        story.afterwards = withReward(story.before, story.list[0].site, 1);
        story.closing.record.rewards = rewardsRoot(story.afterwards);
        story.closing.record.rewardTotal = 1;
        close(story);
        story = following(story, 2, 2);
        story.afterwards = withReward(story.before, story.list[0].site, params.rewardPerRound + 1);
        story.closing.record.rewards = rewardsRoot(story.afterwards);
        story.closing.record.rewardTotal = params.rewardPerRound + 2;
        close(story);
        vm.expectEmit(address(court));
        emit ICourt.RewardsProven(story.id, 2, CHALLENGER, RewardsFault.TooMuch);
        challengeRewards(story);
        assertOverturned(story);
    }

    function testFuzz_challengeRewards_provesWhatWasTaken(uint256 seed, uint256 site, uint256 left)
        public
    {
        Story memory story = rewarded(seed, Scoring.Alignment);
        if (story.round == 1) return;
        site = bound(site, 0, story.before.length - 1);
        address robbed = story.before[site].site;
        uint256 had = story.before[site].cumulative;
        if (had == 0) return;
        left = bound(left, 0, had - 1);
        Reward[] memory paid = copied(story.afterwards);
        for (uint256 i = 0; i < paid.length; ++i) {
            if (paid[i].site == robbed) paid[i].cumulative = left;
        }
        story.afterwards = paid;
        story.closing.record.rewards = rewardsRoot(paid);
        story.closing.record.rewardTotal = uint128(sumOf(paid));
        close(story);
        vm.expectEmit(address(court));
        emit ICourt.RewardsProven(story.id, 2, CHALLENGER, RewardsFault.Taken);
        challengeRewards(story);
        assertOverturned(story);
    }

    /// Leaving a site out takes all it had.
    function testFuzz_challengeRewards_provesASiteLeftOut(uint256 seed, uint256 site) public {
        Story memory story = rewarded(seed, Scoring(seed % 2));
        if (story.round == 1 || story.afterwards.length < 2) return;
        site = bound(site, 0, story.afterwards.length - 1);
        address lost = story.afterwards[site].site;
        bool had;
        for (uint256 i = 0; i < story.before.length; ++i) {
            if (story.before[i].site == lost) had = true;
        }
        if (!had) return;
        Reward[] memory paid = new Reward[](story.afterwards.length - 1);
        for (uint256 i = 0; i < paid.length; ++i) {
            paid[i] = story.afterwards[i < site ? i : i + 1];
        }
        story.afterwards = paid;
        story.closing.record.rewards = rewardsRoot(paid);
        story.closing.record.rewardTotal = uint128(sumOf(paid));
        close(story);
        challengeRewards(story);
        assertOverturned(story);
    }

    /// A round without a tree is wrong itself; who builds on it, not challenged in time, is not.
    function test_challengeRewards_notOfWhoBuildsOnALostTree() public {
        Story memory story = rooted(0, 3);
        story.closing.record.rewards = 0;
        close(story);
        vm.warp(block.timestamp + story.params.challengeSeconds);
        story = following(story, 1, 9);
        close(story);
        story.before = new Reward[](0);
        bytes memory entries = packed(story.list);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_RewardsUnsorted.selector, 0));
        court.challengeRewards(
            story.id, 2, story.closing, story.previous, entries, story.before, story.afterwards
        );
    }

    function testFuzz_challengeRewards_withAnyOtherRewards(
        uint256 seed,
        uint256 site,
        uint256 amount,
        bool former
    ) public {
        Story memory story = anyHonest(seed);
        Reward[] memory rewards = copied(former ? story.before : story.afterwards);
        if (rewards.length == 0 || (!former && story.params.scoring == Scoring.Examples)) return;
        site = bound(site, 0, rewards.length - 1);
        vm.assume(rewards[site].cumulative != amount);
        rewards[site].cumulative = amount;
        if (former) story.before = rewards;
        else story.afterwards = rewards;
        bytes memory entries = packed(story.list);
        try court.challengeRewards(
            story.id,
            story.round,
            story.closing,
            story.previous,
            entries,
            story.before,
            story.afterwards
        ) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
        assertStands(story);
    }

    // ------------------------------------------------------------------ inside

    function rooted(uint256 seed, uint256 sites) internal returns (Story memory) {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 3;
        return begin(params, sites, seed);
    }

    /// A round ready to be closed, the first or the second.
    function rewarded(uint256 seed, Scoring scoring) internal returns (Story memory story) {
        uint256 sites = 1 + pick(seed, "sites", 5);
        StudyParams memory params = sampleParams(Recording(pick(seed, "recording", 2)));
        params.parameterCount = 3;
        params.scoring = scoring;
        story = begin(params, sites, seed);
        if (pick(seed, "second", 3) != 0) {
            close(story);
            story = following(story, 1 + pick(seed, "present", sites), seed ^ 1);
        }
    }

    function copied(Reward[] memory rewards) internal pure returns (Reward[] memory copy) {
        copy = new Reward[](rewards.length);
        for (uint256 i = 0; i < rewards.length; ++i) {
            copy[i] = Reward(rewards[i].site, rewards[i].cumulative);
        }
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
