// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TallyStart} from "../../src/interfaces/ICourt.sol";
import {StudyParams} from "../../src/interfaces/IWardRound.sol";
import {AttackScene} from "./AttackScene.sol";

/// One party keeps money from another, at no cost.
contract HostagesAttackTest is AttackScene {
    /// The sponsor removes every site, so no round can be closed, and does not end the study.
    function test_bonds_whenTheSponsorAbandonsAStudy() public {
        Story memory story = begin(smallStudy(), 2, 3);
        close(story);
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(SPONSOR);
            ward.removeSite(story.id, story.list[i].site);
        }
        vm.warp(block.timestamp + 3650 days);
        tryEndStudy(story, FIRST);
        vm.prank(FIRST);
        try ward.releaseBond(story.id, story.closing) {} catch {}
        assertEq(
            token.balanceOf(FIRST),
            COORDINATOR_FUNDS,
            "a coordinator gets its bond back from an abandoned study"
        );
    }

    /// Two coordinators take over from each other, as soon as each may, and close nothing.
    function test_refund_whenCoordinatorsTakeTurnsForEver() public {
        uint256 funds = token.balanceOf(SPONSOR);
        Story memory story = begin(smallStudy(), 2, 3);
        uint256 limit = block.timestamp + 365 days;
        for (bool second = true; block.timestamp < limit; second = !second) {
            // From the first seat to the second is one step of the ring, back again two of three.
            uint256 turn = story.params.roundSeconds + (second ? 1 : 2) * story.params.graceSeconds;
            vm.warp(block.timestamp + turn);
            tryEndStudy(story, SPONSOR);
            tryTakeOver(story, second ? SECOND : FIRST);
        }
        try ward.refund(story.id, story.previous) {} catch {}
        assertEq(
            token.balanceOf(SPONSOR),
            funds,
            "a sponsor gets its money back from a study that closes no round"
        );
    }

    /// A stranger without tokens opens a tally in the last second of the challenge window.
    function test_finality_whenATallyIsOpenedWithoutADeposit() public {
        StudyParams memory params = smallStudy();
        Story memory story = begin(params, 2, 3);
        close(story);
        vm.warp(block.timestamp + params.challengeSeconds - 1);
        TallyStart memory start;
        start.coordinate = type(uint32).max;
        vm.prank(address(0x6F1EF));
        try court.openTally(story.id, 1, story.closing, story.previous, start) {} catch {}
        vm.warp(block.timestamp + 1);
        assertTrue(
            ward.isFinal(story.id, 1, story.closing),
            "a tally without a deposit holds no round open"
        );
    }
}
