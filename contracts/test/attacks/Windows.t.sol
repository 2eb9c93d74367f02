// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Target, What} from "../../src/interfaces/ICourt.sol";
import {StudyParams} from "../../src/interfaces/IWardRound.sol";
import {AttackScene} from "./AttackScene.sol";

/// A sponsor chooses windows too short for any party to act. `createStudy` may reject them.
contract WindowsAttackTest is AttackScene {
    function test_claim_whenTheChallengeWindowIsZero() public {
        StudyParams memory params = smallStudy();
        params.challengeSeconds = 0;
        if (isRejected(params)) return;
        Story memory story = begin(params, 4, 3);
        address thief = story.list[0].site;
        close(story);
        tryClaim(story, 0);
        assertEq(
            token.balanceOf(payoutOf(thief)), 0, "no round is final in the block that closes it"
        );
    }

    function test_hiddenModel_whenTheDemandWindowIsZero() public {
        StudyParams memory params = smallStudy();
        params.demandSeconds = 0;
        if (isRejected(params)) return;
        Story memory story = begin(params, 4, 3);
        story.closing.record.model = keccak256("a hidden model");
        close(story);
        Target memory target;
        target.what = What.Model;
        tryUnansweredDemand(story, target, CHALLENGER);
        vm.warp(block.timestamp + params.challengeSeconds);
        assertOpenAgain(story, "a round whose model is hidden is overturned");
    }

    /// The sponsor demands a chunk, and has half of the bond before the next block of Ethereum.
    function test_honestCoordinator_whenTheDemandWindowIsASecond() public {
        StudyParams memory params = smallStudy();
        params.demandSeconds = 1;
        if (isRejected(params)) return;
        Story memory story = begin(params, 2, 3);
        close(story);
        Target memory target;
        target.what = What.Model;
        vm.prank(SPONSOR);
        token.approve(address(ward), type(uint256).max);
        vm.prank(SPONSOR);
        bytes32 demand = court.demandChunk(story.id, 1, story.closing, story.previous, target);
        vm.warp(block.timestamp + 12);
        try court.answerDemand(demand, story.closing, opening(bytesOf(story.model), 0)) {} catch {}
        try court.closeDemand(demand, story.closing) {} catch {}
        assertKeepsBond(story, FIRST, "an answer in the next block saves the bond");
    }

    function test_takeOver_whenTheWindowsOfARoundAreZero() public {
        StudyParams memory params = smallStudy();
        (params.roundSeconds, params.graceSeconds) = (0, 0);
        if (isRejected(params)) return;
        Story memory story = begin(params, 2, 3);
        tryTakeOver(story, SECOND);
        (, address active,,) = ward.openRound(story.id);
        assertEq(active, FIRST, "a coordinator keeps its turn in the block that opens the round");
    }
}
