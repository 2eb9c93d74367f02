// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    Record,
    Recording,
    StudyId,
    StudyParams,
    StudyState
} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

/// Lives through whole histories of two studies that share a token: everything anyone may do, in
/// any order, at any time. What must be refused is tried too.
contract Handler is Scene {
    uint256 internal constant SITES = 4;

    StudyId[] public studies;
    StudyParams[] internal _params;

    mapping(StudyId => mapping(uint32 => Closing)) internal _closings;
    /// Commitments as they were when their round became final.
    mapping(StudyId => mapping(uint32 => bytes32)) public finalCommitments;
    mapping(StudyId => uint32) public closes;
    /// What a site was promised by the latest tree.
    mapping(StudyId => mapping(uint32 => uint256[])) internal _amounts;
    /// Calls that went through although the contract must refuse them.
    string[] public wrongs;

    constructor() {
        setUp();
        for (uint256 i = 0; i < 2; ++i) {
            StudyParams memory params = sampleParams(Recording.Root);
            params.rounds = 4;
            // forge-lint: disable-next-line(unsafe-typecast)
            params.bond = uint96(10 + i * 50 ether);
            params.code = bytes32(i);
            StudyId id = open(params, SITES);
            studies.push(id);
            _params.push(params);
            _closings[id][0] = beginning(params);
        }
    }

    // ------------------------------------------------------------------ what may be done

    function wait(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 4 days));
        noteFinality();
    }

    function fund(uint256 which, uint128 amount) external {
        ward.fund(study(which), uint128(bound(amount, 0, 2 ** 80)));
    }

    function close(uint256 which, uint128 total, uint256 seed) external {
        StudyId id = study(which);
        StudyState memory s = ward.study(id);
        if (s.head > s.rounds) return;
        uint32 round = s.head;
        Record memory record = sampleRecord(seed);
        record.rewardTotal = uint128(bound(total, 0, uint256(s.rewardPerRound) * round));
        // The tree is not bound to the record's total: coordinators may promise too much.
        uint256[] memory amounts = new uint256[](SITES);
        for (uint256 i = 0; i < SITES; ++i) {
            amounts[i] = uint256(keccak256(abi.encode(seed, i))) % (600 ether * uint256(round));
        }
        _amounts[id][round] = amounts;
        record.rewards = rewardTree(addresses(siteKeys(SITES)), amounts)[0];
        _closings[id][round] = closeRoot(id, round, record, s.coordinator);
        ++closes[id];

        vm.prank(s.coordinator);
        try ward.closeRoundRoot(id, round, record) {
            wrongs.push("a round was closed twice");
        } catch {}
        noteFinality();
    }

    function closeAsSomebodyElse(uint256 which, uint256 who) external {
        StudyId id = study(which);
        address caller = coordinators()[bound(who, 0, 2)];
        StudyState memory s = ward.study(id);
        if (caller == s.coordinator) return;
        vm.prank(caller);
        try ward.closeRoundRoot(id, s.head, sampleRecord(who)) {
            wrongs.push("a round was closed by another than the active coordinator");
        } catch {}
    }

    function takeOver(uint256 which, uint256 who) external {
        StudyId id = study(which);
        address caller = coordinators()[bound(who, 0, 2)];
        StudyState memory s = ward.study(id);
        vm.prank(caller);
        try ward.takeOver(id) {
            if (block.timestamp < s.openedAt + s.roundSeconds + s.graceSeconds) {
                wrongs.push("a standby took over during the turn of the active coordinator");
            }
            if (caller == s.coordinator) wrongs.push("a coordinator took over from itself");
        } catch {}
    }

    function attest(uint256 which, uint32 round, uint256 auditors) external {
        StudyId id = study(which);
        StudyState memory s = ward.study(id);
        round = uint32(bound(round, 1, s.rounds == 0 ? 1 : s.rounds));
        auditors = bound(auditors, 0, 3);
        bytes[] memory signatures =
            attestations(id, round, keccak256(abi.encode(_closings[id][round])), auditors);
        try ward.attest(id, round, _closings[id][round], signatures) {
            if (auditors < 2) wrongs.push("a round was attested without a quorum");
            if (round >= s.head) wrongs.push("an open round was attested");
            if (block.timestamp < _closings[id][round].closedAt + s.objectionSeconds) {
                wrongs.push("a round was attested before its objection time was over");
            }
        } catch {}
        noteFinality();
    }

    function claim(uint256 which, uint32 round, uint256 who) external {
        StudyId id = study(which);
        uint32 head = ward.study(id).head;
        if (head == 1) return;
        round = uint32(bound(round, 1, head - 1));
        uint256[] memory amounts = _amounts[id][round];
        address[] memory sites = addresses(siteKeys(SITES));
        who = bound(who, 0, SITES - 1);
        bytes32[] memory tree = rewardTree(sites, amounts);
        bytes32[] memory proof = rewardProof(tree, rewardLeaf(sites[who], amounts[who]));
        bool settled = ward.isFinal(id, round, _closings[id][round]);
        try ward.claim(id, round, _closings[id][round], sites[who], amounts[who], proof) {
            if (!settled) wrongs.push("a reward was paid before its round was final");
        } catch {}
    }

    function releaseBond(uint256 which, uint256 who) external {
        StudyId id = study(which);
        address caller = coordinators()[bound(who, 0, 2)];
        bool over = isOver(id);
        Closing memory last = _closings[id][ward.study(id).rounds];
        vm.prank(caller);
        try ward.releaseBond(id, last) {
            if (!over) wrongs.push("a bond was released before the study was over");
        } catch {}
    }

    function refund(uint256 which) external {
        StudyId id = study(which);
        bool over = isOver(id);
        try ward.refund(id, _closings[id][ward.study(id).rounds]) {
            if (!over) wrongs.push("a refund was paid before the study was over");
        } catch {}
    }

    function endStudy(uint256 which) external {
        StudyId id = study(which);
        StudyState memory s = ward.study(id);
        uint256 since = s.deadline - 365 days;
        if (s.head > 1) since = _closings[id][s.head - 1].closedAt;
        uint256 turn = uint256(s.roundSeconds) + 3 * s.graceSeconds;
        bool idle = block.timestamp >= s.openedAt + turn || block.timestamp >= since + 3 * turn;
        bool late = block.timestamp >= s.deadline;
        vm.prank(SPONSOR);
        try ward.endStudy(id) {
            if (!idle && !late) wrongs.push("a study was ended while a coordinator had its turn");
        } catch {}
        try ward.endStudy(id) {
            if (!late) wrongs.push("a study was ended by a stranger before its deadline");
        } catch {}
        noteFinality();
    }

    // ------------------------------------------------------------------ what is known

    function noteFinality() internal {
        for (uint256 i = 0; i < studies.length; ++i) {
            StudyId id = studies[i];
            uint32 head = ward.study(id).head;
            for (uint32 round = 1; round < head; ++round) {
                bool settled = ward.isFinal(id, round, _closings[id][round]);
                if (settled && finalCommitments[id][round] == 0) {
                    finalCommitments[id][round] = ward.commitment(id, round);
                }
            }
        }
    }

    function isOver(StudyId id) internal view returns (bool) {
        StudyState memory s = ward.study(id);
        if (s.head != s.rounds + 1) return false;
        return ward.isFinal(id, s.rounds, _closings[id][s.rounds]);
    }

    function study(uint256 which) internal view returns (StudyId) {
        return studies[bound(which, 0, 1)];
    }

    function finalRounds(StudyId id) external view returns (uint32 count) {
        uint32 head = ward.study(id).head;
        for (uint32 round = 1; round < head; ++round) {
            if (ward.isFinal(id, round, _closings[id][round])) count = round;
        }
    }

    function wrongCount() external view returns (uint256) {
        return wrongs.length;
    }

    function state(uint256 which) external view returns (StudyState memory) {
        return ward.study(studies[which]);
    }

    function commitment(StudyId id, uint32 round) external view returns (bytes32) {
        return ward.commitment(id, round);
    }

    function isFinal(StudyId id, uint32 round) external view returns (bool) {
        return ward.isFinal(id, round, _closings[id][round]);
    }

    function bonds(StudyId id) external view returns (uint256 sum) {
        for (uint256 i = 0; i < 3; ++i) {
            sum += ward.seat(id, coordinators()[i]).bond;
        }
    }

    function claimedTotal(StudyId id) external view returns (uint256 sum) {
        address[] memory sites = addresses(siteKeys(SITES));
        for (uint256 i = 0; i < SITES; ++i) {
            sum += ward.claimed(id, sites[i]);
        }
    }

    function held() external view returns (uint256) {
        return token.balanceOf(address(ward));
    }

    function paramsOf(uint256 which) external view returns (StudyParams memory) {
        return _params[which];
    }
}

contract InvariantTest is Scene {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler internal handler;

    function setUp() public override {
        handler = new Handler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// What histories are made of comes up twice as often.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](13);
        selectors[0] = Handler.wait.selector;
        selectors[1] = Handler.wait.selector;
        selectors[2] = Handler.close.selector;
        selectors[3] = Handler.close.selector;
        selectors[4] = Handler.claim.selector;
        selectors[5] = Handler.claim.selector;
        selectors[6] = Handler.takeOver.selector;
        selectors[7] = Handler.attest.selector;
        selectors[8] = Handler.releaseBond.selector;
        selectors[9] = Handler.refund.selector;
        selectors[10] = Handler.endStudy.selector;
        selectors[11] = Handler.fund.selector;
        selectors[12] = Handler.closeAsSomebodyElse.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(handler), selectors: selectors});
    }

    /// All of them in one campaign: each would live through the same histories again.
    function invariant_promises() public view {
        solvency();
        rewardsAreEarned();
        roundsStand();
        refusals();
    }

    /// The contract holds exactly what its studies have left and the bonds posted.
    function solvency() internal view {
        uint256 owed;
        for (uint256 i = 0; i < 2; ++i) {
            StudyState memory s = handler.state(i);
            owed += uint256(s.funded) - s.paid - s.refunded + handler.bonds(handler.studies(i));
        }
        assertEq(handler.held(), owed, "held = remaining + bonds");
    }

    /// A study never pays more than it was funded, nor more than its final rounds earned.
    function rewardsAreEarned() internal view {
        for (uint256 i = 0; i < 2; ++i) {
            StudyState memory s = handler.state(i);
            StudyId id = handler.studies(i);
            assertLe(uint256(s.paid) + s.refunded, s.funded, "paid + refunded <= funded");
            assertLe(s.paid, uint256(s.rewardPerRound) * handler.finalRounds(id), "paid <= earned");
            assertEq(handler.claimedTotal(id), s.paid, "claimed = paid");
        }
    }

    /// A round closes once, and once final it stays as it is.
    function roundsStand() internal view {
        for (uint256 i = 0; i < 2; ++i) {
            StudyId id = handler.studies(i);
            StudyState memory s = handler.state(i);
            assertEq(handler.closes(id), s.head - 1, "one close a round");
            assertLe(s.head, handler.paramsOf(i).rounds + 1, "no round after the last");
            for (uint32 round = 1; round < s.head; ++round) {
                bytes32 noted = handler.finalCommitments(id, round);
                if (noted == 0) continue;
                assertEq(handler.commitment(id, round), noted, "the commitment stands");
                assertTrue(handler.isFinal(id, round), "and stays final");
            }
        }
    }

    /// Nothing went through that must be refused.
    function refusals() internal view {
        if (handler.wrongCount() != 0) assertTrue(false, handler.wrongs(0));
    }
}
