// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRounds} from "../../src/interfaces/IRounds.sol";
import {
    Closing,
    Earning,
    IWardRound,
    Record,
    Recording,
    StudyId,
    StudyParams
} from "../../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../../src/interfaces/IWardRoundBase.sol";
import {AttackScene} from "./AttackScene.sol";
import {OddToken} from "./OddToken.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// A sponsor that calls `fund` again while the token moves its payment.
contract TwiceFunder {
    IWardRound internal immutable WARD;
    StudyId internal _study;

    constructor(IWardRound ward) {
        WARD = ward;
    }

    function create(
        StudyParams calldata params,
        address[] calldata coordinators,
        address[] calldata auditors
    ) external returns (StudyId) {
        _study = WARD.createStudy(params, coordinators, auditors);
        return _study;
    }

    function fund(uint128 amount) external {
        WARD.fund(_study, amount);
    }
}

/// Tokens that lose balances, block accounts, fail without a revert or call back.
contract TokensAttackTest is AttackScene {
    address internal constant SITE = address(0xA11CE);
    address internal constant PAYOUT = address(0xBEEF);
    uint96 internal constant BOND = 10;
    uint128 internal constant REWARD = 1000;

    OddToken internal odd;

    function setUp() public override {
        super.setUp();
        odd = new OddToken();
    }

    // ------------------------------------------------------------------ between studies

    /// Each study holds a reward and a bond; then the token halves every balance.
    function test_claim_whenTheTokenLosesHalfItsWorth() public {
        (StudyId id, Closing memory closing) = earned("one");
        earned("other");
        odd.halve();
        tryClaim(id, closing);
        assertLe(
            odd.balanceOf(PAYOUT), (REWARD + BOND) / 2, "a study pays from its own money alone"
        );
    }

    function test_claim_whenTheTokenBlocksAnotherStudysMoney() public {
        (StudyId one,) = earned("one");
        (StudyId id, Closing memory closing) = earned("other");
        odd.blockAccount(ward.escrowOf(one));
        tryClaim(id, closing);
        assertEq(
            odd.balanceOf(PAYOUT),
            REWARD,
            "blocking the money of one study leaves another able to pay"
        );
    }

    // ------------------------------------------------------------------ blocked payouts

    /// The hospital names another address.
    function test_reward_whenTheTokenBlocksThePayout() public {
        (StudyId id, Closing memory closing) = earned("one");
        vm.prank(FIRST);
        ward.releaseBond(id, closing);
        odd.blockAccount(PAYOUT);
        vm.prank(PAYOUT);
        ward.changePayout(id, SITE, address(0xBEE), "");
        tryClaim(id, closing);
        try ward.refund(id, closing) {} catch {}
        assertEq(
            odd.balanceOf(ward.escrowOf(id)),
            0,
            "no money is stuck when the token blocks a payout address"
        );
    }

    // ------------------------------------------------------------------ controls, which hold

    function test_fund_whenTheTokenAnswersFalse() public {
        (StudyId id,) = earned("one");
        odd.mint(SPONSOR, 100);
        odd.refuse();
        vm.expectRevert(
            abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd))
        );
        vm.prank(SPONSOR);
        ward.fund(id, 100);
        assertEq(ward.study(id).funded, REWARD, "funded");
    }

    function test_fund_whenTheTokenCallsBack() public {
        TwiceFunder sponsor = new TwiceFunder(ward);
        StudyParams memory params = oddParams("one");
        params.sponsor = address(sponsor);
        StudyId id = sponsor.create(params, coordinators(), addresses(auditorKeys(3)));
        odd.mint(address(sponsor), 1000);
        odd.callBack(address(sponsor), abi.encodeCall(TwiceFunder.fund, (100)));
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_TransferInexact.selector, address(odd), 100, 200
            )
        );
        sponsor.fund(100);
        assertEq(
            ward.study(id).funded,
            odd.balanceOf(ward.escrowOf(id)),
            "the escrow holds what the contract says"
        );
    }

    /// Another study's money is there to take.
    function test_claim_whenTheTokenCallsBack() public {
        earned("one");
        (StudyId id, Closing memory closing) = earned("other");
        odd.callBack(address(ward), claimCall(id, closing));
        tryClaim(id, closing);
        assertEq(odd.balanceOf(PAYOUT), REWARD, "a share is paid once");
    }

    // ------------------------------------------------------------------ scenes

    function oddParams(bytes32 code) internal view returns (StudyParams memory params) {
        params = smallStudy();
        params.recording = Recording.Root;
        params.minSites = 1;
        params.token = address(odd);
        params.bond = BOND;
        params.rounds = 1;
        params.rewardPerRound = REWARD;
        params.code = code;
    }

    /// With root recording, no signature is looked at.
    function entry() internal pure returns (bytes memory) {
        return abi.encodePacked(SITE, uint64(1), new bytes(32 + 32 + 65));
    }

    function claimCall(StudyId id, Closing memory closing) internal pure returns (bytes memory) {
        Earning[] memory earnings = only(Earning(1, closing, entry(), 0, new bytes32[](0)));
        return abi.encodeCall(IRounds.claim, (id, SITE, earnings));
    }

    /// @return done Whether the contract paid.
    function tryClaim(StudyId id, Closing memory closing) internal returns (bool done) {
        (done,) = address(ward).call(claimCall(id, closing));
    }

    /// A study of the odd token, whose only round is final and owes its only site the reward.
    function earned(bytes32 code) internal returns (StudyId id, Closing memory closing) {
        StudyParams memory params = oddParams(code);
        id = create(params);
        odd.mint(SPONSOR, REWARD);
        odd.mint(FIRST, BOND);
        vm.startPrank(SPONSOR);
        ward.fund(id, REWARD);
        ward.admitSite(id, SITE, PAYOUT, 10);
        vm.stopPrank();
        vm.prank(FIRST);
        ward.postBond(id);
        vm.prank(SPONSOR);
        ward.openStudy(id);
        Record memory record = sampleRecord(1);
        (record.count, record.totalWeight) = (1, 1);
        record.contributions = sha256(bytes.concat(hex"00", entry()));
        closing = closeRoot(id, 1, record, FIRST);
        vm.warp(block.timestamp + params.challengeSeconds);
    }
}
