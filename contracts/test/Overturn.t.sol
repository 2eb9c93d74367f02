// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {
    Closing,
    Earning,
    Record,
    Recording,
    StudyParams,
    StudyState
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {CourtScene} from "./CourtScene.sol";

/// What follows once a round is proven wrong: for its coordinator, its standbys and its earnings.
contract OverturnTest is CourtScene {
    address internal constant BURNT = 0x000000000000000000000000000000000000dEaD;

    // ------------------------------------------------------------------ the bond

    function testFuzz_overturn_splitsTheBond(uint96 bond) public {
        StudyParams memory params = small();
        params.bond = uint96(bound(bond, 2, 2 ** 95));
        Story memory story = cheated(params);
        uint256 before = held(story.id);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.Overturned(
            story.id, 1, FIRST, CHALLENGER, "coordinate", uint64(block.timestamp), SECOND
        );
        vm.expectEmit(address(ward));
        emit IWardRoundBase.Slashed(
            story.id, FIRST, CHALLENGER, params.bond / 2, params.bond - params.bond / 2
        );
        challengeCoordinate(story, 0);
        assertOverturned(story);
        assertEq(ward.owed(story.id, BURNT), params.bond - params.bond / 2, "burnt");
        assertEq(held(story.id), before, "no token moves in a verdict");

        uint256 had = token.balanceOf(CHALLENGER);
        ward.collect(story.id, CHALLENGER);
        ward.collect(story.id, BURNT);
        assertEq(token.balanceOf(CHALLENGER), had + params.bond / 2, "reward");
        assertEq(held(story.id), before - params.bond, "all of the bond, no more");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NothingDue.selector, story.id)
        );
        ward.collect(story.id, CHALLENGER);
    }

    /// Rounds of one coordinator cost it its bond once, and a barred one never comes back.
    function test_overturn_ofTwoRoundsOfOneCoordinator() public {
        Story memory first = cheated(small());
        Story memory second = following(first, 3, 2);
        second.model[0] ^= 1;
        second.closing.record.model = vectorRoot(bytesOf(second.model));
        close(second);
        challengeCoordinate(second, 0);
        challengeCoordinate(first, 0);
        assertOverturned(first);
        assertEq(ward.owed(first.id, CHALLENGER), first.params.bond / 2, "once");

        vm.startPrank(FIRST);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_Barred.selector, first.id, FIRST)
        );
        ward.postBond(first.id);
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotBonded.selector, first.id, FIRST)
        );
        ward.takeOver(first.id);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_NotCoordinator.selector, first.id, FIRST
            )
        );
        ward.closeRoundRoot(first.id, 1, first.closing.record);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotBonded.selector, first.id, FIRST)
        );
        ward.releaseBond(first.id, first.closing);
        vm.stopPrank();
    }

    function test_overturn_onlyByTheCourt() public {
        Story memory story = cheated(small());
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCourt.selector, address(this))
        );
        ward.overturn(story.id, 1, story.closing, address(this), true, "because");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCourt.selector, address(this))
        );
        ward.hold(story.id, 1, type(uint64).max);
        assertEq(address(court.WARD()), address(ward), "its court");
    }

    // ------------------------------------------------------------------ who goes on

    /// Whoever stands next in the ring goes on, from the same contributions, at once.
    function test_overturn_theNextStandbyClosesItAgain() public {
        Story memory story = cheated(small());
        challengeCoordinate(story, 0);
        (uint32 round, address active, uint64 openedAt,) = ward.openRound(story.id);
        assertEq(round, 1, "round");
        assertEq(active, SECOND, "standby");
        assertEq(openedAt, block.timestamp, "a turn of its own");
        settle(story);
        close(story, SECOND);
        assertEq(ward.study(story.id).head, 2, "closed again");
        vm.warp(block.timestamp + story.params.challengeSeconds);
        assertTrue(ward.isFinal(story.id, 1, story.closing), "final");
    }

    /// A round built on a wrong one goes with it; who closed it in good faith loses nothing.
    function test_overturn_sparesWhoBuiltOnIt() public {
        Story memory first = cheated(small());
        vm.warp(block.timestamp + first.params.roundSeconds + first.params.graceSeconds);
        vm.prank(SECOND);
        ward.takeOver(first.id);
        Story memory second = following(first, 3, 2);
        close(second, SECOND);
        challengeCoordinate(first, 0);
        assertOverturned(first);
        StudyState memory s = ward.study(first.id);
        assertEq(s.coordinator, SECOND, "stays active");
        assertTrue(ward.seat(first.id, SECOND).bonded, "stays bonded");
        // The void round can be neither claimed from nor challenged.
        assertTrue(!ward.isFinal(second.id, 2, second.closing), "void");
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, first.id, 2)
        );
        court.challengeTotals(second.id, 2, second.closing, packed(second.list));
    }

    function test_overturn_whenNobodyStandsReady() public {
        StudyParams memory params = small();
        Story memory story = begin(params, 3, 1);
        // Only the first coordinator is bonded.
        params.code = "another";
        params.parties = partiesOf(coordinators(), new address[](0));
        vm.startPrank(SPONSOR);
        story.id = ward.createStudy(withModel(params, story), coordinators(), new address[](0));
        ward.fund(story.id, 5000 ether);
        for (uint256 i = 0; i < 3; ++i) {
            ward.admitSite(story.id, story.list[i].site, payoutOf(story.list[i].site), MAX_WEIGHT);
        }
        vm.stopPrank();
        vm.prank(FIRST);
        ward.postBond(story.id);
        vm.prank(SPONSOR);
        ward.openStudy(story.id);
        story.previous = beginning(withModel(params, story));
        for (uint256 i = 0; i < 3; ++i) {
            sign(story, i);
        }
        settle(story);
        story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        challengeCoordinate(story, 0);
        assertEq(ward.study(story.id).coordinator, address(0), "nobody");

        // The last in the ring, too, may step in at once, as soon as it is bonded.
        vm.startPrank(THIRD);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotBonded.selector, story.id, THIRD)
        );
        ward.takeOver(story.id);
        ward.postBond(story.id);
        ward.takeOver(story.id);
        vm.stopPrank();
        assertEq(ward.study(story.id).coordinator, THIRD, "somebody");
    }

    function test_overturn_ofTheLastRoundReopensTheStudy() public {
        StudyParams memory params = small();
        params.rounds = 1;
        Story memory story = cheated(params);
        challengeCoordinate(story, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, story.id, 1)
        );
        ward.refund(story.id, story.closing);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, story.id, 1)
        );
        vm.prank(SECOND);
        ward.releaseBond(story.id, story.closing);
        settle(story);
        close(story, SECOND);
        vm.warp(block.timestamp + params.challengeSeconds);
        vm.prank(SECOND);
        ward.releaseBond(story.id, story.closing);
        vm.prank(THIRD);
        ward.releaseBond(story.id, story.closing);
        assertEq(ward.seat(story.id, THIRD).bond, 0, "released");
    }

    // ------------------------------------------------------------------ earnings

    /// An overturned round has earned nothing; the final one before it pays as before.
    function test_overturn_leavesEarlierEarnings() public {
        StudyParams memory params = small();
        Story memory first = begin(params, 3, 1);
        close(first);
        vm.warp(block.timestamp + params.challengeSeconds);
        Story memory second = following(first, 3, 2);
        second.model[0] ^= 1;
        second.closing.record.model = vectorRoot(bytesOf(second.model));
        close(second);
        challengeCoordinate(second, 0);
        assertOverturned(second);

        address site = first.list[0].site;
        vm.warp(block.timestamp + 30 days);
        Earning[] memory earnings = only(earningOf(2, second.closing, second.list, 0));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, first.id, 2)
        );
        ward.claim(second.id, site, earnings);
        ward.claim(first.id, site, only(earningOf(1, first.closing, first.list, 0)));
        uint256 share = shareOf(params.rewardPerRound, first.closing.record, first.list[0].weight);
        assertEq(token.balanceOf(payoutOf(site)), share, "paid");
    }

    /// Rounds that auditors made final are beyond any challenge, held or not.
    function test_overturn_neverOfAttestedRounds() public {
        Story memory story = cheated(small());
        vm.warp(block.timestamp + story.params.objectionSeconds);
        ward.attest(
            story.id, 1, story.closing, attestations(story.id, 1, ward.commitment(story.id, 1), 2)
        );
        bytes memory entries = packed(story.list);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
        );
        court.challengeTotals(story.id, 1, story.closing, entries);
        // Nor of the round before the first, which nobody closed.
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 0)
        );
        court.challengeTotals(story.id, 0, story.previous, entries);
    }

    // ------------------------------------------------------------------ inside

    function small() internal view returns (StudyParams memory params) {
        params = sampleParams(Recording.Root);
        params.parameterCount = 3;
    }

    function cheated(StudyParams memory params) internal returns (Story memory story) {
        story = begin(params, 3, 1);
        story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
    }

    function withModel(StudyParams memory params, Story memory story)
        internal
        pure
        returns (StudyParams memory)
    {
        params.auditorQuorum = 0;
        params.initialModel = vectorRoot(bytesOf(story.base));
        return params;
    }
}
