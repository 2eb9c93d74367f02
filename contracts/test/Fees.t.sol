// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Closing, Recording, Signed, StudyId, StudyParams} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";

/// Coordinators and auditors are paid for final rounds, out of the sponsor's money.
contract FeesTest is Scene {
    function testFuzz_openStudy_needsRewardsAndFees(uint128 closing, uint128 attesting) public {
        StudyParams memory params = paying();
        params.rewardPerRound = 1;
        params.closingFee = uint128(bound(closing, 0, 2 ** 90));
        params.attestingFee = uint128(bound(attesting, 0, 2 ** 90));
        uint128 needed = params.rounds * (1 + params.closingFee + params.attestingFee);
        StudyId id = create(params);
        vm.startPrank(SPONSOR);
        ward.admitSite(id, address(1), address(1), 1);
        ward.fund(id, needed - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_Underfunded.selector, id, needed - 1, needed
            )
        );
        ward.openStudy(id);
        ward.fund(id, 1);
        vm.stopPrank();
        vm.prank(FIRST);
        ward.postBond(id);
        vm.prank(SPONSOR);
        ward.openStudy(id);
    }

    function testFuzz_claimFee_paysWhoClosedARoundOnce(uint256 wait, address caller) public {
        StudyParams memory params = paying();
        StudyId id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        uint256 before = token.balanceOf(FIRST);
        wait = bound(wait, 0, 2 * params.challengeSeconds);
        vm.warp(block.timestamp + wait);
        vm.prank(caller);
        if (wait < params.challengeSeconds) {
            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_NotFinal.selector, id, 1)
            );
            ward.claimFee(id, 1, closing);
            return;
        }
        vm.expectEmit(address(ward));
        emit IWardRoundBase.ClosingFeePaid(id, 1, FIRST, params.closingFee);
        ward.claimFee(id, 1, closing);
        assertEq(token.balanceOf(FIRST), before + params.closingFee, "paid");
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NothingDue.selector, id));
        ward.claimFee(id, 1, closing);
    }

    function test_claimFee_notOfRoundZeroNorWithoutAFee() public {
        StudyParams memory params = paying();
        StudyId id = open(params, 1);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NothingDue.selector, id));
        ward.claimFee(id, 0, beginning(params));
        params.closingFee = 0;
        id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + params.challengeSeconds);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NothingDue.selector, id));
        ward.claimFee(id, 1, closing);
    }

    /// Each round is shared once, among who signed, whatever the order of attestations.
    function test_attest_sharesTheFeesOfTheRoundsItMakesFinal() public {
        StudyParams memory params = paying();
        StudyId id = open(params, 1);
        Closing memory first = closeRoot(id, 1, sampleRecord(1), FIRST);
        closeRoot(id, 2, sampleRecord(2), FIRST);
        Closing memory third = closeRoot(id, 3, sampleRecord(3), FIRST);
        vm.warp(block.timestamp + params.objectionSeconds);
        address[] memory auditors = addresses(auditorKeys(3));
        attest(id, 1, first, 2);
        assertEq(ward.owed(id, auditors[0]), params.attestingFee / 2, "one round for two");
        assertEq(ward.owed(id, auditors[2]), 0, "who did not sign");
        attest(id, 3, third, 3);
        uint256 share = 2 * uint256(params.attestingFee) / 3;
        assertEq(ward.owed(id, auditors[2]), share, "two rounds for three");
        assertEq(ward.owed(id, auditors[0]), params.attestingFee / 2 + share, "both");
        uint256 before = token.balanceOf(auditors[2]);
        ward.collect(id, auditors[2]);
        assertEq(token.balanceOf(auditors[2]), before + share, "collected");
    }

    /// An attestation cannot be spent where it earns nothing: the next one earns for both rounds.
    function test_attest_notOfARoundThatIsFinalByTime() public {
        StudyParams memory params = paying();
        StudyId id = open(params, 1);
        Closing memory first = closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + params.challengeSeconds);
        Closing memory second = closeRoot(id, 2, sampleRecord(2), FIRST);
        bytes32 stored = keccak256(abi.encode(first));
        Signed[] memory signatures = attestations(id, 1, stored, 2);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AlreadyFinal.selector, id, 1)
        );
        ward.attest(id, 1, first, signatures);
        vm.warp(block.timestamp + params.objectionSeconds);
        attest(id, 2, second, 2);
        assertEq(ward.owed(id, addresses(auditorKeys(3))[0]), params.attestingFee, "both rounds");
    }

    /// What is left of the funds is what final rounds pay: all of it can be taken out.
    function testFuzz_refund_keepsTheFeesOfFinalRounds(uint256 attested, uint256 signers) public {
        StudyParams memory params = paying();
        params.rewardPerRound = 0;
        params.rounds = 3;
        StudyId id = open(params, 1);
        Closing[] memory closings = new Closing[](4);
        attested = bound(attested, 0, 3);
        signers = bound(signers, 2, 3);
        for (uint32 round = 1; round <= 3; ++round) {
            closings[round] = closeRoot(id, round, sampleRecord(round), FIRST);
            vm.warp(block.timestamp + params.objectionSeconds);
            if (round <= attested) attest(id, round, closings[round], signers);
        }
        vm.warp(block.timestamp + params.challengeSeconds);
        // Where nothing is left over, a refund is refused.
        ward.fund(id, 1);
        ward.refund(id, closings[3]);
        uint256 share = params.attestingFee / signers;
        uint256 bonds = 3 * uint256(params.bond);
        assertEq(
            held(id) - bonds,
            3 * uint256(params.closingFee) + attested * signers * share,
            "fees of final rounds"
        );
        for (uint32 round = 1; round <= 3; ++round) {
            ward.claimFee(id, round, closings[round]);
        }
        address[] memory auditors = addresses(auditorKeys(3));
        for (uint256 i = 0; i < 3; ++i) {
            if (ward.owed(id, auditors[i]) != 0) ward.collect(id, auditors[i]);
        }
        assertEq(held(id), bonds, "all is paid");
    }

    // ------------------------------------------------------------------ inside

    function paying() internal view returns (StudyParams memory params) {
        params = sampleParams(Recording.Root);
        params.closingFee = 7 ether;
        params.attestingFee = 11 ether + 1;
    }

    function attest(StudyId id, uint32 round, Closing memory closing, uint256 count) internal {
        bytes32 stored = keccak256(abi.encode(closing));
        ward.attest(id, round, closing, attestations(id, round, stored, count));
    }
}
