// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../../src/interfaces/IChallenges.sol";
import {CoordinateProof, Target, What} from "../../src/interfaces/ICourt.sol";
import {Closing, Recording, StudyId, StudyParams} from "../../src/interfaces/IWardRound.sol";
import {AttackScene} from "./AttackScene.sol";

/// A bond goes to the wrong account, or an honest coordinator loses its seat.
contract BondsAttackTest is AttackScene {
    /// Of an Ethereum transaction (EIP-7825).
    uint256 internal constant GAS_LIMIT = 2 ** 24;

    /// A friend of the coordinator sees the challenge before it is mined, and sends a copy first, to
    /// save it half of the bond. The challenger committed to it before.
    function test_challenge_whenAFriendOfTheCoordinatorCopiesIt() public {
        Story memory story = begin(smallStudy(), 2, 3);
        story.model[0] += 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        bytes memory data = abi.encodeCall(
            IChallenges.challengeCoordinate,
            (
                story.id,
                1,
                story.closing,
                story.previous,
                packed(story.list),
                coordinateProof(story, 0)
            )
        );
        bytes32 salt = "salt";
        bytes32 commitment = keccak256(abi.encode(CHALLENGER, keccak256(data), salt));
        vm.prank(CHALLENGER);
        court.commitChallenge(story.id, 1, story.closing, commitment);
        vm.warp(block.timestamp + 12);
        address friend = address(0xF21E);
        tryCoordinateChallenge(story, friend);
        vm.prank(friend);
        try court.revealChallenge(story.id, 1, story.closing, salt, data) {} catch {}
        vm.prank(CHALLENGER);
        try court.revealChallenge(story.id, 1, story.closing, salt, data) {} catch {}
        assertOpenAgain(story, "whichever copy is first, the round is overturned");
        assertEq(ward.owed(story.id, friend), 0, "a copier has no part of the bond");
    }

    function tryCoordinateChallenge(Story memory story, address challenger) internal {
        bytes memory entries = packed(story.list);
        CoordinateProof memory proof = coordinateProof(story, 0);
        vm.prank(challenger);
        try court.challengeCoordinate(story.id, 1, story.closing, story.previous, entries, proof) {}
            catch {}
    }

    /// Without a bond a demand needs no deposit: a stranger without tokens makes one, and waits.
    function test_honestCoordinator_whenAStrangerDemandsForFree() public {
        StudyParams memory params = smallStudy();
        params.bond = 0;
        if (isRejected(params)) return;
        Story memory story = begin(params, 4, 3);
        close(story);
        Target memory target;
        target.what = What.Model;
        tryUnansweredDemand(story, target, address(0x57A));
        assertEq(ward.study(story.id).head, 2, "a demand without a deposit overturns no round");
    }

    /// A control, which holds: `overturn` searches the longest ring of standbys that one
    /// transaction can create.
    function test_overturn_ofAStudyWithAsManySeatsAsFit() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rewardPerRound = 0;
        address[] memory ring = new address[](340);
        for (uint160 i = 0; i < 340; ++i) {
            ring[i] = address(0xD000000 + i);
        }
        ring[0] = FIRST;
        ring[339] = SECOND;
        address[] memory auditors = addresses(auditorKeys(3));
        params.parties = partiesOf(ring, auditors);
        vm.prank(SPONSOR);
        StudyId id = ward.createStudy(params, ring, auditors);
        assertLe(gasOfLastCall(), GAS_LIMIT, "a transaction can create it");
        vm.prank(FIRST);
        ward.postBond(id);
        vm.prank(SECOND);
        ward.postBond(id);
        vm.startPrank(SPONSOR);
        ward.admitSite(id, address(0xA11CE), address(0xA11CE), 1);
        ward.openStudy(id);
        vm.stopPrank();
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.prank(address(court));
        ward.overturn(id, 1, closing, CHALLENGER, true, "test");
        assertLe(gasOfLastCall(), GAS_LIMIT / 2, "half a transaction can overturn it");
        assertEq(ward.study(id).coordinator, SECOND, "the last seat is found");
    }

    function gasOfLastCall() internal view returns (uint256 gas) {
        (, gas,,,) = vm.lastCallGas();
    }
}
