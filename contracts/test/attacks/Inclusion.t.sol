// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Recording, StudyParams} from "../../src/interfaces/IWardRound.sol";
import {AttackScene} from "./AttackScene.sol";

/// A coordinator leaves out a site that registered, or a site turns its right to be included
/// against the coordinator.
contract InclusionAttackTest is AttackScene {
    // ------------------------------------------------------------------ left out

    function test_registeredSite_whenTheCoordinatorClosesQuickly_full() public {
        checkRegisteredSite(Recording.Full);
    }

    function test_registeredSite_whenTheCoordinatorClosesQuickly_root() public {
        checkRegisteredSite(Recording.Root);
    }

    /// A site registers in the block that opens the round. The coordinator closes without it, in
    /// the last second in which the contract accepts no proof of an omission yet.
    function checkRegisteredSite(Recording recording) internal {
        StudyParams memory params = smallStudy();
        params.recording = recording;
        Story memory story = begin(params, 4, 3);
        address left = story.list[1].site;
        tryRegister(story, story.list[1]);
        vm.warp(block.timestamp + params.graceSeconds);
        story = without(story, 1);
        if (tryClose(story)) tryOmissionChallenge(story, left, 1);
        assertOpenAgain(story, "no round is closed without a site that registered at once");
    }

    // ------------------------------------------------------------------ demands to a site

    /// Showing a chunk that the coordinator demands takes a transaction with the chunk in it.
    function test_demandContribution_whenASiteAnswers() public {
        address answerer = address(0xA45);
        Story memory story = begin(smallStudy(), 4, 3);
        tryRegister(story, story.list[0]);
        ask(story, FIRST, story.list[0].site, 0, 1);
        Shown memory shown = shownOf(bytesOf(story.updates[0]), 0, 1);
        bytes memory entry = packed(story.list[0]);
        vm.prank(answerer);
        court.answerContribution(story.id, 1, behind(story), entry, 0, shown.data, shown.path);
        assertTrue(
            ward.owed(story.id, answerer) > 0,
            "the coordinator pays a part of what its demand costs a site"
        );
    }

    // ------------------------------------------------------------------ against the coordinator

    /// The coordinator waits a day for the data of one site. Long after the time of the round,
    /// another site registers, early enough for an omission to be proven.
    function test_honestCoordinator_whenASiteRegistersWhileItWaitsForAnother() public {
        StudyParams memory params = smallStudy();
        params.roundSeconds = 2 hours;
        Story memory story = begin(params, 4, 3);
        address late = story.list[1].site;
        tryRegister(story, story.list[0]);
        ask(story, FIRST, story.list[0].site, 0, 1);
        vm.warp(block.timestamp + params.demandSeconds - params.graceSeconds);
        tryRegister(story, story.list[1]);
        vm.warp(block.timestamp + params.graceSeconds + 1);
        // The first showed nothing, the second came too late.
        story = without(without(story, 0), 0);
        close(story);
        tryOmissionChallenge(story, late, 0);
        assertKeepsBond(
            story, FIRST, "a registration after the round's time costs no coordinator its bond"
        );
    }

    /// Every number of the update is 2048 at 20 fractional bits, where the study allows 16.
    function test_honestCoordinator_whenASiteRegistersAnUpdateBeyondTheBound() public {
        StudyParams memory params = smallStudy();
        Story memory story = begin(params, 4, 3);
        for (uint256 i = 0; i < params.parameterCount; ++i) {
            story.updates[1][i] = type(int32).max;
        }
        story.list[1].update = vectorRoot(bytesOf(story.updates[1]));
        sign(story, 1);
        address poisoner = story.list[1].site;
        if (tryRegister(story, story.list[1])) refuse(story, 1);
        vm.warp(block.timestamp + params.graceSeconds + 1);
        story = without(story, 1);
        close(story);
        tryOmissionChallenge(story, poisoner, 1);
        assertKeepsBond(
            story, FIRST, "a coordinator may leave out an update beyond the study's bound"
        );
    }

    function refuse(Story memory story, uint256 site) internal {
        bytes memory entry = packed(story.list[site]);
        bytes memory update = opening(bytesOf(story.updates[site]), 0);
        bytes memory base = opening(bytesOf(story.base), 0);
        vm.prank(FIRST);
        try court.refuseContribution(story.id, 1, story.previous, entry, 0, update, base) {}
            catch {}
    }
}
