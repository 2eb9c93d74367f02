// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {StudyToken} from "../src/StudyToken.sol";
import {WardRound} from "../src/WardRound.sol";
import {WardRoundAnnex} from "../src/WardRoundAnnex.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {IRounds} from "../src/interfaces/IRounds.sol";
import {IStudies} from "../src/interfaces/IStudies.sol";
import {
    Closing,
    Earning,
    IWardRound,
    Record,
    Recording,
    Rule,
    Scoring,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {Entries} from "../src/libraries/Entries.sol";
import {Base} from "../test/Base.sol";

/// A court that these proofs never call.
contract NoCourt {
    /// The caller, so that WardRound's constructor accepts this court.
    function WARD() external view returns (IWardRound) {
        return IWardRound(msg.sender);
    }
}

/// Proofs, for all values at once, that a round closes at most once, that each share is paid once
/// and that no money is stuck. Halmos runs what is named check_; `forge test` does not. broken.toml
/// shows that each can fail.
///
/// All values of what a proof takes as parameters; everything else is one case: a study of three
/// rounds, one coordinator, one site. The second call is any; what came before it is one history. Of
/// hashes it is assumed that they are injective; halmos.toml puts Keccak in the place of SHA-256.
contract HalmosTest is Base {
    /// Which call, and what it may take.
    struct Arguments {
        uint8 which;
        uint32 round;
        uint64 until;
        uint128 amount;
        address account;
        address other;
        Closing closing;
    }

    address internal constant COORDINATOR = address(0xC001);
    address internal constant SITE = address(0x517E);
    /// Of the site whose signature is looked at.
    uint256 internal constant SIGNER_KEY = 0x517F;
    address internal constant PAYOUT = address(0x9A11);
    uint128 internal constant REWARD = 1000 ether;
    uint32 internal constant MAX_WEIGHT = 100;

    IWardRound internal ward;
    StudyToken internal token;
    /// A study with root recording, and one with full that only closedFully opens.
    StudyId internal id;
    StudyId internal fullId;
    StudyParams internal params;
    address internal signer;

    function setUp() public {
        vm.warp(1_800_000_000);
        ICourtBase court = ICourtBase(address(new NoCourt()));
        ward = IWardRound(address(new WardRound(court, address(new WardRoundAnnex()))));
        token = new StudyToken(2 ** 126);
        address[] memory coordinators = new address[](1);
        coordinators[0] = COORDINATOR;
        params = StudyParams({
            sponsor: address(this),
            token: address(token),
            rewardPerRound: REWARD,
            bond: 10,
            deposit: 1 ether,
            closingFee: 0,
            attestingFee: 0,
            rounds: 3,
            challengeSeconds: 3 days,
            objectionSeconds: 1 hours,
            roundSeconds: 1 days,
            graceSeconds: 1 hours,
            registrationSeconds: 10 minutes,
            demandSeconds: 1 days,
            lifetimeSeconds: 365 days,
            minSites: 1,
            auditorQuorum: 0,
            recording: Recording.Root,
            lockedCohort: false,
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
        signer = vm.addr(SIGNER_KEY);
        token.approve(address(ward), type(uint256).max);
        vm.prank(COORDINATOR);
        token.approve(address(ward), type(uint256).max);
        id = opened(SITE);
    }

    function opened(address site) internal returns (StudyId made) {
        address[] memory coordinators = new address[](1);
        coordinators[0] = COORDINATOR;
        made = ward.createStudy(params, coordinators, new address[](0));
        ward.fund(made, REWARD * params.rounds);
        ward.admitSite(made, site, PAYOUT, MAX_WEIGHT);
        // OpenZeppelin's token reverts when it cannot transfer.
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        token.transfer(COORDINATOR, params.bond);
        vm.prank(COORDINATOR);
        ward.postBond(made);
        ward.openStudy(made);
    }

    /// Once a round is closed, no call closes it again, with whatever record and at whatever time.
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
            address(ward).call(abi.encodeCall(IRounds.closeRoundRoot, (id, round, second)));

        assert(ward.commitment(id, 1) == stored);
        assert(!done || (round == 2 && caller == COORDINATOR));
        assert(ward.study(id).head == (done ? 3 : 2));
    }

    /// The first claim of a share pays it, at most the reward; a second by any account is refused, and
    /// so is a list that holds it twice.
    function check_claim_isPaidOnce(
        uint64 weight,
        uint64 total,
        address caller,
        address other,
        bool together
    ) public {
        Earning memory earning = closed(weight, total);
        vm.warp(block.timestamp + params.challengeSeconds);
        Earning[] memory twice = new Earning[](2);
        twice[0] = earning;
        twice[1] = earning;
        assert(!claimed(id, twice, caller));
        assert(token.balanceOf(PAYOUT) == 0);

        assert(claimed(id, only(earning), caller));
        uint256 paid = token.balanceOf(PAYOUT);
        assert(paid <= REWARD);
        assert(ward.isPaid(id, 1, SITE));

        assert(!claimed(id, together ? twice : only(earning), other));
        assert(token.balanceOf(PAYOUT) == paid);
        assert(ward.study(id).paid == paid);
    }

    /// Nothing is paid before the window is over.
    function check_claim_waitsForTheWindow(uint64 weight, uint64 total, uint64 time) public {
        Earning memory earning = closed(weight, total);
        vm.assume(time >= block.timestamp && time < block.timestamp + params.challengeSeconds);
        vm.warp(time);
        assert(!claimed(id, only(earning), address(this)));
    }

    /// Of a study that is over, no call of any account keeps the final round from paying its share.
    function check_earnings_areUntouchable(
        uint64 total,
        Arguments memory any,
        address caller,
        uint64 time
    ) public {
        // Of a total that is known, Halmos computes the commitment, and then finds other preimages.
        Earning memory earning = closed(1, total);
        vm.warp(block.timestamp + params.lifetimeSeconds);
        ward.endStudy(id);
        vm.assume(time >= block.timestamp && time < 2 ** 40);
        vm.warp(time);

        bytes memory call = callOf(any, earning.closing);
        vm.prank(caller);
        (bool done,) = address(ward).call(call);
        done;

        assert(claimed(id, only(earning), address(this)));
        (uint128 amount,) = ward.paidOf(id, 1);
        assert(amount == shareOf(1, total));
    }

    /// Behind the deadline any account ends the study, and all its money goes where it belongs.
    function check_deadline_freesAllMoney(uint64 weight, uint64 total, address caller, uint64 time)
        public
    {
        Earning memory earning = closed(weight, total);
        vm.assume(time >= block.timestamp + params.lifetimeSeconds && time < 2 ** 40);
        vm.warp(time);

        vm.startPrank(caller);
        ward.endStudy(id);
        ward.refund(id, earning.closing);
        vm.stopPrank();
        assert(claimed(id, only(earning), caller));
        vm.prank(COORDINATOR);
        ward.releaseBond(id, earning.closing);
        if (ward.owed(id, address(this)) != 0) ward.collect(id, address(this));

        assert(token.balanceOf(COORDINATOR) == params.bond);
        assert(token.balanceOf(PAYOUT) == shareOf(weight, total));
        assert(token.balanceOf(ward.escrowOf(id)) == 0);
    }

    /// With full recording a share is paid once too, and all money comes out.
    function check_fullRecording_paysAndFrees(uint64 weight, address caller, address other) public {
        Earning memory earning = closedFully(weight);
        vm.warp(block.timestamp + params.lifetimeSeconds);

        vm.startPrank(caller);
        ward.endStudy(fullId);
        ward.refund(fullId, earning.closing);
        vm.stopPrank();
        assert(claimed(fullId, only(earning), caller));
        assert(!claimed(fullId, only(earning), other));
        vm.prank(COORDINATOR);
        ward.releaseBond(fullId, earning.closing);
        if (ward.owed(fullId, address(this)) != 0) ward.collect(fullId, address(this));

        assert(token.balanceOf(PAYOUT) <= REWARD);
        assert(token.balanceOf(COORDINATOR) == params.bond);
        assert(token.balanceOf(ward.escrowOf(fullId)) == 0);
    }

    // ------------------------------------------------------------------ inside

    /// A call that changes something of a study. Left out is `claim`, which pays: that it pays once,
    /// check_claim_isPaidOnce shows. So are `createStudy`, which begins another study, and `closeRound`,
    /// `contribute` and `attest`, which take data of any length.
    function callOf(Arguments memory any, Closing memory last)
        internal
        view
        returns (bytes memory)
    {
        if (any.which == 0) {
            return abi.encodeCall(IRounds.refund, (id, last));
        }
        if (any.which == 1) return abi.encodeCall(IRounds.releaseBond, (id, last));
        if (any.which == 2) return abi.encodeCall(IStudies.endStudy, (id));
        if (any.which == 3) return abi.encodeCall(IRounds.fund, (id, any.amount));
        if (any.which == 4) return abi.encodeCall(IRounds.collect, (id, any.account));
        if (any.which == 5) return abi.encodeCall(IStudies.changePayout, (id, SITE, any.account, ""));
        if (any.which == 6) return abi.encodeCall(IStudies.removeSite, (id, any.account));
        if (any.which == 7) {
            return abi.encodeCall(IStudies.admitSite, (id, any.account, any.other, any.round));
        }
        if (any.which == 8) return abi.encodeCall(IRounds.postBond, (id));
        if (any.which == 9) return abi.encodeCall(IStudies.openStudy, (id));
        if (any.which == 10) return abi.encodeCall(IRounds.takeOver, (id));
        if (any.which == 11) {
            Record memory record = any.closing.record;
            return abi.encodeCall(IRounds.closeRoundRoot, (id, any.round, record));
        }
        if (any.which == 12) return abi.encodeCall(IRounds.hold, (id, any.round, any.until));
        if (any.which == 13) return abi.encodeCall(IRounds.take, (id, any.account, any.amount));
        if (any.which == 14) {
            return abi.encodeCall(IRounds.credit, (id, any.account, any.amount));
        }
        return abi.encodeCall(
            IRounds.overturn, (id, any.round, any.closing, any.account, any.which == 15, bytes32("any"))
        );
    }

    /// Closes round 1 with root recording, over one entry and any total.
    function closed(uint64 weight, uint64 total) internal returns (Earning memory earning) {
        earning.entry = abi.encodePacked(SITE, weight, new bytes(32 + 32 + 65));
        Record memory record = recordOf(earning.entry, total);
        vm.assume(total >= 1 && total < 2 ** 31);
        vm.prank(COORDINATOR);
        ward.closeRoundRoot(id, 1, record);
        finish(earning, record);
    }

    /// Closes round 1 with full recording, over one signed entry.
    function closedFully(uint64 weight) internal returns (Earning memory earning) {
        params.recording = Recording.Full;
        fullId = opened(signer);
        Closing memory previous;
        previous.record.model = params.initialModel;
        vm.assume(weight >= 1 && weight <= MAX_WEIGHT);
        bytes32 digest = digestOf(weight);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, digest);
        earning.entry = abi.encodePacked(signer, weight, bytes32(0), bytes32(0), r, s, v);
        Record memory record = recordOf(earning.entry, weight);
        vm.prank(COORDINATOR);
        ward.closeRound(fullId, 1, record, previous, earning.entry);
        finish(earning, record);
    }

    function recordOf(bytes memory entry, uint64 total)
        internal
        pure
        returns (Record memory record)
    {
        record.contributions = keccak256(bytes.concat(hex"00", entry));
        record.count = 1;
        record.totalWeight = total;
    }

    function finish(Earning memory earning, Record memory record) internal view {
        earning.round = 1;
        earning.closing = Closing(record, COORDINATOR, uint64(block.timestamp));
        earning.path = new bytes32[](0);
    }

    function digestOf(uint64 weight) internal view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                Entries.CONTRIBUTION_TYPEHASH,
                fullId,
                uint32(1),
                params.initialModel,
                signer,
                bytes32(0),
                weight,
                bytes32(0)
            )
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("wardround"),
                keccak256("2"),
                block.chainid,
                address(ward)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function shareOf(uint64 weight, uint64 total) internal pure returns (uint256 share) {
        unchecked {
            share = uint256(REWARD) * weight / total;
        }
        if (share > REWARD) share = REWARD;
    }

    function only(Earning memory earning) internal pure returns (Earning[] memory earnings) {
        earnings = new Earning[](1);
        earnings[0] = earning;
    }

    function claimed(StudyId study, Earning[] memory earnings, address caller)
        internal
        returns (bool done)
    {
        bool full = StudyId.unwrap(study) == StudyId.unwrap(fullId);
        bytes memory call = abi.encodeCall(IRounds.claim, (study, full ? signer : SITE, earnings));
        vm.prank(caller);
        (done,) = address(ward).call(call);
    }
}
