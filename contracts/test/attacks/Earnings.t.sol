// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Recording, Scoring, StudyParams} from "../../src/interfaces/IWardRound.sol";
import {AttackScene} from "./AttackScene.sol";

/// A coordinator takes what sites earned, together with one site, the sponsor or an auditor.
contract EarningsAttackTest is AttackScene {
    uint256 internal constant SITES = 4;
    bytes32 internal constant SALT = keccak256("known to the coordinator alone");

    // ------------------------------------------------------------------ hidden rewards

    function test_finalEarnings_whenALaterRoundHidesItsRewards_full() public {
        checkFinalEarnings(Recording.Full);
    }

    function test_finalEarnings_whenALaterRoundHidesItsRewards_root() public {
        checkFinalEarnings(Recording.Root);
    }

    /// The last round promises everything to one site, in a tree that the coordinator hides.
    function checkFinalEarnings(Recording recording) internal {
        Story memory honest = twoFinalRounds(recording);
        Story memory last = following(honest, SITES, 9);
        uint256 everything = hideRewards(last);
        if (tryClose(last)) {
            vm.warp(block.timestamp + last.params.challengeSeconds);
            bytes32[] memory proof = new bytes32[](1);
            proof[0] = SALT;
            tryClaim(last, last.list[0].site, everything, proof);
        }
        assertOthersArePaid(honest);
    }

    /// The last record's total is zero, so the sponsor asks for everything back.
    function test_finalEarnings_whenTheSponsorIsRefundedFirst() public {
        Story memory honest = twoFinalRounds(Recording.Full);
        Story memory last = following(honest, SITES, 9);
        hideRewards(last);
        last.closing.record.rewardTotal = 0;
        if (tryClose(last)) {
            vm.warp(block.timestamp + last.params.challengeSeconds);
            try ward.refund(last.id, last.closing) {} catch {}
        }
        assertOthersArePaid(honest);
    }

    /// The challenger calls `challengeRewards`: no entry point demands a rewards tree yet.
    function test_closedRound_whenItsRewardsAreHidden() public {
        Story memory last = following(twoFinalRounds(Recording.Full), SITES, 9);
        hideRewards(last);
        if (tryClose(last)) {
            tryRewardsChallenge(last);
            vm.warp(block.timestamp + last.params.challengeSeconds);
        }
        assertOpenAgain(last, "a round that hides its rewards is overturned");
    }

    // ------------------------------------------------------------------ unfair rewards

    /// Four sites contribute; the coordinator openly gives the round's whole reward to one.
    function test_challengeRewards_whenOneContributorGetsAll() public {
        Story memory last = following(twoFinalRounds(Recording.Full), SITES, 9);
        last.afterwards = withReward(last.before, last.list[0].site, last.params.rewardPerRound);
        last.closing.record.rewards = rewardsRoot(last.afterwards);
        // Three rounds' rewards.
        // forge-lint: disable-next-line(unsafe-typecast)
        last.closing.record.rewardTotal = uint128(sumOf(last.afterwards));
        if (tryClose(last)) tryRewardsChallenge(last);
        assertOpenAgain(last, "a round that pays one of four contributors is overturned");
    }

    // ------------------------------------------------------------------ friendly auditors

    function test_claim_inTheBlockOfAnAttestation() public {
        Story memory story = attestedLie();
        address thief = story.list[0].site;
        tryClaim(story, thief, story.params.rewardPerRound, new bytes32[](0));
        assertEq(
            token.balanceOf(payoutOf(thief)),
            0,
            "no site is paid in the block in which a round is closed"
        );
    }

    function test_challengeRewards_inTheBlockOfAnAttestation() public {
        Story memory story = attestedLie();
        tryRewardsChallenge(story);
        assertOpenAgain(story, "there is time to challenge a round that auditors attest");
    }

    // ------------------------------------------------------------------ scenes

    /// A study of three rounds: two honest ones are final.
    function twoFinalRounds(Recording recording) internal returns (Story memory story) {
        StudyParams memory params = smallStudy();
        params.recording = recording;
        params.scoring = Scoring.Alignment;
        params.rounds = 3;
        story = begin(params, SITES, 3);
        close(story);
        vm.warp(block.timestamp + 1 hours);
        story = following(story, SITES, 6);
        close(story);
        vm.warp(block.timestamp + params.challengeSeconds);
        assertTrue(ward.isFinal(story.id, 2, story.closing), "round 2 is final");
    }

    /// Records a tree of two leaves: everything for the first site, and a number that only the
    /// coordinator knows.
    function hideRewards(Story memory story) internal pure returns (uint256 everything) {
        everything = uint256(story.params.rewardPerRound) * story.params.rounds;
        bytes32 leaf = rewardLeaf(story.list[0].site, everything);
        (bytes32 low, bytes32 high) = leaf < SALT ? (leaf, SALT) : (SALT, leaf);
        story.closing.record.rewards = keccak256(abi.encodePacked(low, high));
        // Three rounds' rewards.
        // forge-lint: disable-next-line(unsafe-typecast)
        story.closing.record.rewardTotal = uint128(everything);
    }

    /// A wrong model, and the whole reward for one site, attested by a quorum of one auditor.
    function attestedLie() internal returns (Story memory story) {
        StudyParams memory params = smallStudy();
        params.auditorQuorum = 1;
        story = begin(params, SITES, 3);
        story.closing.record.model = keccak256("any model");
        story.closing.record.rewards = rewardLeaf(story.list[0].site, params.rewardPerRound);
        story.closing.record.rewardTotal = params.rewardPerRound;
        close(story);
        bytes32 stored = ward.commitment(story.id, 1);
        try ward.attest(story.id, 1, story.closing, attestations(story.id, 1, stored, 1)) {}
            catch {}
    }

    /// Every site but the first claims from a final round.
    function assertOthersArePaid(Story memory story) internal {
        address[] memory sites = new address[](story.afterwards.length);
        uint256[] memory amounts = new uint256[](sites.length);
        for (uint256 i = 0; i < sites.length; ++i) {
            (sites[i], amounts[i]) = (story.afterwards[i].site, story.afterwards[i].cumulative);
        }
        bytes32[] memory nodes = rewardTree(sites, amounts);
        for (uint256 i = 1; i < sites.length; ++i) {
            bytes32[] memory proof = rewardProof(nodes, rewardLeaf(sites[i], amounts[i]));
            tryClaim(story, sites[i], amounts[i], proof);
            assertEq(
                token.balanceOf(payoutOf(sites[i])),
                amounts[i],
                "a site is paid all that it earned in final rounds"
            );
        }
    }
}
