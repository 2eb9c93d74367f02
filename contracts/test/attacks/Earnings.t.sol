// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Target, What} from "../../src/interfaces/ICourt.sol";
import {Earning, Recording, StudyParams} from "../../src/interfaces/IWardRound.sol";
import {AttackScene} from "./AttackScene.sol";

/// A coordinator takes what sites earned, together with one site, the sponsor or an auditor.
contract EarningsAttackTest is AttackScene {
    uint256 internal constant SITES = 4;

    // ------------------------------------------------------------------ hidden entries

    /// The last round's only entry is that of one site, with the largest weight, over a total of one.
    function test_finalEarnings_whenALaterRoundPaysOneSite_root() public {
        checkFinalEarnings(Recording.Root);
    }

    function test_finalEarnings_whenALaterRoundPaysOneSite_full() public {
        checkFinalEarnings(Recording.Full);
    }

    function checkFinalEarnings(Recording recording) internal {
        Story memory honest = twoFinalRounds(recording);
        Story memory last = following(honest, 2, 9);
        if (recording == Recording.Root) promiseEverything(last);
        if (tryClose(last)) {
            vm.warp(block.timestamp + last.params.challengeSeconds);
            tryClaim(last, 0);
        }
        assertLe(
            token.balanceOf(payoutOf(last.list[0].site)),
            last.params.rewardPerRound,
            "a round pays no more than its reward"
        );
        assertOthersArePaid(honest);
    }

    /// The study is over, and the sponsor asks for everything back before any site has claimed.
    function test_finalEarnings_whenTheSponsorIsRefundedFirst() public {
        Story memory honest = twoFinalRounds(Recording.Root);
        Story memory last = following(honest, 2, 9);
        promiseEverything(last);
        if (tryClose(last)) {
            vm.warp(block.timestamp + last.params.challengeSeconds);
            tryClaim(last, 0);
            try ward.refund(last.id, last.closing) {} catch {}
            try ward.collect(last.id, SPONSOR) {} catch {}
        }
        assertOthersArePaid(honest);
    }

    /// The sponsor ends the study early, takes its refund, and pays another one with it.
    function test_finalEarnings_whenTheSponsorEndsTheStudy() public {
        Story memory honest = twoFinalRounds(Recording.Full);
        vm.warp(block.timestamp + 30 days);
        tryEndStudy(honest, SPONSOR);
        try ward.refund(honest.id, honest.closing) {} catch {}
        assertOthersArePaid(honest);
    }

    /// No data of the last round is shown: neither its entries nor its model.
    function test_closedRound_whenItsEntriesAreHidden() public {
        Story memory last = following(twoFinalRounds(Recording.Root), SITES, 9);
        last.closing.record.contributions = keccak256("known to the coordinator alone");
        if (tryClose(last)) {
            Target memory target;
            target.what = What.Entry;
            tryUnansweredDemand(last, target, CHALLENGER);
        }
        assertOpenAgain(last, "a round that hides its entries is overturned");
    }

    // ------------------------------------------------------------------ unfair rewards

    /// Four sites contribute; over a total of the first one's weight, it gets the whole reward.
    function test_challengeTotals_whenOneContributorGetsAll() public {
        Story memory last = following(twoFinalRounds(Recording.Root), SITES, 9);
        last.closing.record.totalWeight = last.list[0].weight + last.closing.record.count;
        if (tryClose(last)) tryTotalsChallenge(last);
        assertOpenAgain(last, "a round that pays one of four contributors is overturned");
    }

    /// One entry, in two places of one claim, in two claims, and again after a change of payout.
    function test_claim_whenASiteAsksTwice() public {
        Story memory honest = twoFinalRounds(Recording.Full);
        address site = honest.list[0].site;
        Earning[] memory twice = new Earning[](2);
        twice[0] = earningOf(2, honest.closing, honest.list, 0);
        twice[1] = twice[0];
        try ward.claim(honest.id, site, twice) {} catch {}
        tryClaim(honest, 0);
        tryClaim(honest, 0);
        address other = address(0xBEE);
        vm.prank(payoutOf(site));
        ward.changePayout(honest.id, site, other, "");
        tryClaim(honest, 0);
        assertEq(
            token.balanceOf(payoutOf(site)) + token.balanceOf(other),
            shareIn(honest, 0),
            "a share is paid once"
        );
    }

    // ------------------------------------------------------------------ friendly auditors

    function test_claim_inTheBlockOfAnAttestation() public {
        Story memory story = attestedLie();
        tryClaim(story, 0);
        assertEq(
            token.balanceOf(payoutOf(story.list[0].site)),
            0,
            "no site is paid in the block in which a round is closed"
        );
    }

    function test_challengeTotals_inTheBlockOfAnAttestation() public {
        Story memory story = attestedLie();
        tryTotalsChallenge(story);
        assertOpenAgain(story, "there is time to challenge a round that auditors attest");
    }

    // ------------------------------------------------------------------ scenes

    /// A study of three rounds: two honest ones are final.
    function twoFinalRounds(Recording recording) internal returns (Story memory story) {
        StudyParams memory params = smallStudy();
        params.recording = recording;
        params.rounds = 3;
        story = begin(params, SITES, 3);
        close(story);
        vm.warp(block.timestamp + 1 hours);
        story = following(story, SITES, 6);
        close(story);
        vm.warp(block.timestamp + params.challengeSeconds);
        assertTrue(ward.isFinal(story.id, 2, story.closing), "round 2 is final");
    }

    /// Gives the first site of two a weight that no other can have, and records the least total.
    function promiseEverything(Story memory story) internal pure {
        story.list[0].weight = type(uint64).max;
        recommit(story);
        story.closing.record.totalWeight = 2;
    }

    /// A wrong model, and a wrong total, attested by a quorum of one auditor.
    function attestedLie() internal returns (Story memory story) {
        StudyParams memory params = smallStudy();
        params.recording = Recording.Root;
        params.auditorQuorum = 1;
        story = begin(params, SITES, 3);
        story.closing.record.model = keccak256("any model");
        story.closing.record.totalWeight = story.closing.record.count;
        close(story);
        bytes32 stored = ward.commitment(story.id, 1);
        try ward.attest(story.id, 1, story.closing, attestations(story.id, 1, stored, 1)) {}
            catch {}
    }

    function shareIn(Story memory story, uint256 index) internal pure returns (uint256) {
        return shareOf(story.params.rewardPerRound, story.closing.record, story.list[index].weight);
    }

    /// Every site but the first claims from a final round.
    function assertOthersArePaid(Story memory story) internal {
        for (uint256 i = 1; i < story.list.length; ++i) {
            address payout = payoutOf(story.list[i].site);
            uint256 before = token.balanceOf(payout);
            tryClaim(story, i);
            assertEq(
                token.balanceOf(payout),
                before + shareIn(story, i),
                "a site is paid all that it earned in final rounds"
            );
        }
    }
}
