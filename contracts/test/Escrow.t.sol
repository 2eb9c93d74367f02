// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IEscrow} from "../src/interfaces/IEscrow.sol";
import {Recording, StudyId, StudyParams} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// A study's escrow: one a study, and paid from by WardRound alone.
contract EscrowTest is Scene {
    function testFuzz_escrowOf_isACloneOfItsOwn(bytes32 code) public {
        StudyParams memory params = sampleParams(Recording.Full);
        vm.assume(code != params.code);
        StudyId id = create(params);
        params.code = code;
        StudyId other = create(params);
        assertTrue(ward.escrowOf(id) != ward.escrowOf(other), "one a study");
        bytes memory clone = abi.encodePacked(
            hex"363d3d373d3d3d363d73", ward.ESCROW(), hex"5af43d82803e903d91602b57fd5bf3"
        );
        assertEq(keccak256(ward.escrowOf(id).code), keccak256(clone), "EIP-1167");
        assertEq(IEscrow(ward.escrowOf(id)).WARD(), address(ward), "the contract it obeys");
    }

    function testFuzz_escrowOf_isEmptyBeforeTheStudyExists(bytes32 id) public view {
        assertEq(ward.escrowOf(StudyId.wrap(id)).code.length, 0, "no code");
    }

    function testFuzz_fund_reachesItsEscrowAlone(uint128 amount) public {
        StudyParams memory params = sampleParams(Recording.Full);
        StudyId id = create(params);
        params.code = keccak256("other");
        StudyId other = create(params);
        amount = uint128(bound(amount, 0, 2 ** 120));
        ward.fund(id, amount);
        assertEq(held(id), amount, "held");
        assertEq(held(other), 0, "another study's");
        assertEq(token.balanceOf(address(ward)), 0, "the contract holds nothing");
    }

    function testFuzz_pay_onlyByWardRound(address caller, address to, uint256 amount) public {
        vm.assume(caller != address(ward));
        StudyId id = create(sampleParams(Recording.Full));
        ward.fund(id, 1000);
        address[2] memory escrows = [ward.escrowOf(id), ward.ESCROW()];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IEscrow.Escrow_NotWard.selector, caller));
            vm.prank(caller);
            IEscrow(escrows[i]).pay(IERC20(address(token)), to, amount);
        }
        assertEq(held(id), 1000, "held");
    }

    function testFuzz_takeAndCredit_onlyByTheCourt(address caller, uint256 amount) public {
        vm.assume(caller != ward.COURT());
        StudyId id = create(sampleParams(Recording.Full));
        bytes memory refusal =
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCourt.selector, caller);
        vm.expectRevert(refusal);
        vm.prank(caller);
        ward.take(id, SPONSOR, amount);
        vm.expectRevert(refusal);
        vm.prank(caller);
        ward.credit(id, caller, amount);
        assertEq(ward.owed(id, caller), 0, "owed");
    }

    function testFuzz_takeAndCredit_keepADeposit(uint256 amount, address account) public {
        StudyId id = create(sampleParams(Recording.Full));
        vm.assume(account != address(0) && account != ward.escrowOf(id) && account != SPONSOR);
        amount = bound(amount, 1, 2 ** 100);
        address court = ward.COURT();
        vm.startPrank(court);
        ward.take(id, SPONSOR, amount);
        ward.credit(id, account, amount);
        vm.stopPrank();
        assertEq(held(id), amount, "held");
        assertEq(ward.study(id).funded, 0, "a deposit is none of the study's funds");
        uint256 before = token.balanceOf(account);
        ward.collect(id, account);
        assertEq(token.balanceOf(account) - before, amount, "collected");
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_NothingDue.selector, id));
        ward.collect(id, account);
    }
}
