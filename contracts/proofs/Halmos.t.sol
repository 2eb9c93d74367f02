// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {StudyToken} from "../src/StudyToken.sol";
import {WardRound} from "../src/WardRound.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {
    Closing,
    IWardRound,
    Record,
    Recording,
    Rule,
    Scoring,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {Base} from "../test/Base.sol";

/// A court that these proofs never call.
contract NoCourt {
    /// The caller, so that WardRound's constructor accepts this court.
    function WARD() external view returns (IWardRound) {
        return IWardRound(msg.sender);
    }
}

/// Proofs, for all values at once, that a round closes at most once and that a claim pays once.
/// Halmos runs what is named check_; `forge test` does not. broken.toml shows that each can fail.
///
/// All values of what a proof takes as parameters; everything else is one case: a study of three
/// rounds with root recording, one coordinator, one site, rewards trees of one leaf. The second
/// call is any; what came before it is one history. Of hashes it is assumed that they are injective.
contract HalmosTest is Base {
    address internal constant COORDINATOR = address(0xC001);
    address internal constant SITE = address(0x517E);
    address internal constant PAYOUT = address(0x9A11);

    WardRound internal ward;
    StudyToken internal token;
    StudyId internal id;
    StudyParams internal params;

    function setUp() public {
        vm.warp(1_800_000_000);
        ward = new WardRound(ICourt(address(new NoCourt())));
        token = new StudyToken(2 ** 126);
        address[] memory coordinators = new address[](1);
        coordinators[0] = COORDINATOR;
        params = StudyParams({
            sponsor: address(this),
            token: address(token),
            rewardPerRound: 1000 ether,
            bond: 10,
            rounds: 3,
            challengeSeconds: 3 days,
            objectionSeconds: 1 hours,
            roundSeconds: 1 days,
            graceSeconds: 1 hours,
            demandSeconds: 1 days,
            lifetimeSeconds: 365 days,
            minSites: 1,
            auditorQuorum: 0,
            recording: Recording.Root,
            rule: Rule.Mean,
            ruleArgument: 0,
            scoring: Scoring.Examples,
            parameterCount: 1000,
            updateBound: 2 ** 24,
            initialModel: keccak256("initial model"),
            specification: keccak256("specification"),
            code: keccak256("code"),
            parties: keccak256(abi.encode(coordinators, new address[](0)))
        });
        id = ward.createStudy(params, coordinators, new address[](0));
        token.approve(address(ward), type(uint256).max);
        ward.fund(id, 3000 ether);
        ward.admitSite(id, SITE, PAYOUT, 100);
        // OpenZeppelin's token reverts when it cannot transfer.
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(COORDINATOR, params.bond);
        vm.startPrank(COORDINATOR);
        token.approve(address(ward), params.bond);
        ward.postBond(id);
        vm.stopPrank();
        ward.openStudy(id);
    }

    /// Once a round is closed, nobody closes it again, with whatever record and at whatever time.
    function check_close_atMostOnce(
        Record memory first,
        Record memory second,
        uint32 round,
        address caller,
        uint64 time
    ) public {
        vm.prank(COORDINATOR);
        ward.closeRoundRoot(id, 1, first);
        bytes32 stored = ward.commitment(id, 1);
        vm.assume(time >= block.timestamp && time < 2 ** 40);
        vm.warp(time);

        vm.prank(caller);
        (bool done,) =
            address(ward).call(abi.encodeCall(WardRound.closeRoundRoot, (id, round, second)));

        assert(ward.commitment(id, 1) == stored);
        assert(!done || (round == 2 && caller == COORDINATOR));
        assert(ward.study(id).head == (done ? 3 : 2));
    }

    /// A claim that was paid pays nothing when it is made again.
    function check_claim_isIdempotent(uint256 cumulative, uint128 total, address caller) public {
        Closing memory closing = closed(1, cumulative, total);
        vm.warp(block.timestamp + params.challengeSeconds);
        bool done = claimed(1, closing, cumulative, caller);
        uint256 paid = token.balanceOf(PAYOUT);
        assert(paid == (done ? cumulative : 0));
        assert(!done || cumulative <= total);

        assert(!claimed(1, closing, cumulative, caller));
        assert(token.balanceOf(PAYOUT) == paid);
        assert(ward.claimed(id, SITE) == paid);
    }

    /// Claims of two rounds, in either order, pay the higher cumulative amount once.
    function check_claims_payTheHighestOnce(uint256 former, uint256 latter, bool reversed) public {
        vm.assume(former <= 1000 ether && latter <= 2000 ether);
        Closing memory first = closed(1, former, 1000 ether);
        Closing memory second = closed(2, latter, 2000 ether);
        vm.warp(block.timestamp + params.challengeSeconds);
        if (reversed) claimed(2, second, latter, address(this));
        claimed(1, first, former, address(this));
        if (!reversed) claimed(2, second, latter, address(this));

        uint256 highest = former > latter ? former : latter;
        assert(token.balanceOf(PAYOUT) == highest);
        assert(ward.study(id).paid == highest);
    }

    /// Nothing is paid before the window is over.
    function check_claim_waitsForTheWindow(uint256 cumulative, uint64 time) public {
        Closing memory closing = closed(1, cumulative, 1000 ether);
        vm.assume(time >= block.timestamp && time < block.timestamp + params.challengeSeconds);
        vm.warp(time);
        assert(!claimed(1, closing, cumulative, address(this)));
    }

    // ------------------------------------------------------------------ inside

    /// Closes a round whose rewards tree is the one leaf of one site.
    function closed(uint32 round, uint256 cumulative, uint128 total)
        internal
        returns (Closing memory closing)
    {
        vm.assume(total <= uint256(params.rewardPerRound) * round);
        closing.record.rewards = keccak256(bytes.concat(keccak256(abi.encode(SITE, cumulative))));
        closing.record.count = 1;
        closing.record.totalWeight = 1;
        closing.record.rewardTotal = total;
        closing.coordinator = COORDINATOR;
        closing.closedAt = uint64(block.timestamp);
        vm.prank(COORDINATOR);
        ward.closeRoundRoot(id, round, closing.record);
    }

    function claimed(uint32 round, Closing memory closing, uint256 cumulative, address caller)
        internal
        returns (bool done)
    {
        vm.prank(caller);
        (done,) = address(ward)
            .call(
                abi.encodeCall(
                    WardRound.claim, (id, round, closing, SITE, cumulative, new bytes32[](0))
                )
            );
    }
}
