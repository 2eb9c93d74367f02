// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    Closing,
    Earning,
    Record,
    Recording,
    Signed,
    StudyId,
    StudyParams,
    StudyState
} from "../src/interfaces/IWardRound.sol";
import {Scene} from "./Scene.sol";

/// Lives through whole histories of two studies that share a token: everything anyone may do, in
/// any order, at any time. What must be refused is tried too. Coordinators record what they like,
/// auditors attest to all of it, no account challenges anything, and the sponsor takes what it can.
contract Handler is Scene {
    // Every narrowed number was bounded above.
    // forge-lint: disable-start(unsafe-typecast)

    uint256 internal constant SITES = 4;

    /// What is wrong with a record.
    enum Lie {
        None,
        TotalTooLow,
        TotalTooHigh,
        CountTooHigh,
        OneSiteTwice,
        Hidden
    }

    StudyId[] public studies;
    StudyParams[] internal _params;

    mapping(StudyId => mapping(uint32 => Closing)) internal _closings;
    /// Commitments as they were when their round became final.
    mapping(StudyId => mapping(uint32 => bytes32)) public finalCommitments;
    mapping(StudyId => uint32) public closes;
    /// The entries of rounds as they were last closed, abi-encoded, and what is wrong with them.
    mapping(StudyId => mapping(uint32 => bytes)) internal _lists;
    mapping(StudyId => mapping(uint32 => Lie)) internal _lies;
    mapping(StudyId => uint256) public collected;
    /// Calls that went through although the contract must refuse them.
    string[] public wrongs;

    constructor() {
        setUp();
        for (uint256 i = 0; i < 2; ++i) {
            StudyParams memory params = sampleParams(Recording.Root);
            params.rounds = 4;
            // Flooring leaves something of nearly every round.
            params.rewardPerRound = uint128(1000 + i * 777 ether);
            params.bond = uint96(1 + i * 50 ether);
            params.closingFee = uint128(i * 7 ether);
            params.attestingFee = uint128(i * 11 ether);
            params.lockedCohort = i == 1;
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

    function close(uint256 which, uint256 kind, uint256 seed) external {
        StudyId id = study(which);
        StudyState memory s = ward.study(id);
        if (s.head > s.rounds) return;
        uint32 round = s.head;
        kind %= 10;
        Lie lie = kind < 5 ? Lie.None : Lie(kind - 4);
        Draft[] memory list = drafts(id, round, 0, 1 + seed % SITES, seed);
        if (lie == Lie.OneSiteTwice && list.length > 1) list[1] = list[0];
        Record memory record = recordOf(list);
        if (lie == Lie.TotalTooLow) record.totalWeight = uint64(SITES);
        if (lie == Lie.TotalTooHigh) record.totalWeight += uint64(1 + seed % MAX_WEIGHT);
        if (lie == Lie.CountTooHigh) ++record.count;
        if (lie == Lie.Hidden) record.contributions = keccak256(abi.encode(seed));
        if (record.totalWeight < record.count) record.totalWeight = record.count;
        _lists[id][round] = abi.encode(list);
        _lies[id][round] = lie;
        if (record.count != s.siteCount && block.timestamp < s.openedAt + REGISTRATION_SECONDS) {
            vm.prank(s.coordinator);
            try ward.closeRoundRoot(id, round, record) {
                wrongs.push("a round was closed before its cut-off without a site");
            } catch {}
            vm.prank(s.coordinator);
            try ward.lockCohortRoot(id, round, cohortOf(record)) {
                wrongs.push("a cohort was locked before the cut-off without a site");
            } catch {}
        }
        if (s.lockedCohort) lockOnce(id, round, record, s.coordinator);
        _closings[id][round] = closeRoot(id, round, record, s.coordinator);
        ++closes[id];

        vm.prank(s.coordinator);
        try ward.closeRoundRoot(id, round, record) {
            wrongs.push("a round was closed twice");
        } catch {}
        noteFinality();
    }

    /// Locks what the record says; then there is no other lock, and no closing with another cohort.
    function lockOnce(StudyId id, uint32 round, Record memory record, address coordinator) private {
        reachCutOff(id);
        vm.prank(coordinator);
        ward.lockCohortRoot(id, round, cohortOf(record));
        vm.prank(coordinator);
        try ward.lockCohortRoot(id, round, cohortOf(record)) {
            wrongs.push("a cohort was locked twice");
        } catch {}
        Record memory other = sampleRecord(round);
        vm.prank(coordinator);
        try ward.closeRoundRoot(id, round, other) {
            wrongs.push("a round was closed with another cohort than was locked");
        } catch {}
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
        Signed[] memory signatures =
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
        tryClaim(id, uint32(bound(round, 1, head - 1)), who);
    }

    /// What a site could claim from a final round it can claim for ever, once, and no less.
    function tryClaim(StudyId id, uint32 round, uint256 who) internal {
        Draft[] memory list = abi.decode(_lists[id][round], (Draft[]));
        who %= list.length;
        address site = list[who].site;
        Lie lie = _lies[id][round];
        bool unpaid = ward.isFinal(id, round, _closings[id][round]) && !ward.isPaid(id, round, site);
        uint256 expected = token.balanceOf(payoutOf(site)) + dueTo(id, round, list[who].weight);
        Earning[] memory earnings = only(earningOf(round, _closings[id][round], list, who));
        try ward.claim(id, site, earnings) {
            if (!unpaid) wrongs.push("a share was paid twice, or before its round was final");
            if (lie == Lie.Hidden) wrongs.push("a share was paid that no entry has earned");
            if (token.balanceOf(payoutOf(site)) != expected) {
                wrongs.push("another amount was paid than the site's share");
            }
        } catch {
            // A wrong number of entries makes a tree of another shape, where some have no place.
            if (unpaid && lie != Lie.Hidden && lie != Lie.CountTooHigh) {
                wrongs.push("a final round did not pay what it has earned");
            }
        }
    }

    /// A share; of rounds whose shares are more than their reward, no more than what is left of it.
    function dueTo(StudyId id, uint32 round, uint64 weight) internal view returns (uint256 due) {
        uint256 reward = ward.study(id).rewardPerRound;
        due = shareOf(reward, _closings[id][round].record, weight);
        if (_lies[id][round] != Lie.TotalTooLow) return due;
        (uint128 amount,) = ward.paidOf(id, round);
        if (due > reward - amount) due = reward - amount;
    }

    /// A site asks for the share of another.
    function claimAnothers(uint256 which, uint32 round, uint256 who, uint256 other) external {
        StudyId id = study(which);
        uint32 head = ward.study(id).head;
        if (head == 1) return;
        round = uint32(bound(round, 1, head - 1));
        Draft[] memory list = abi.decode(_lists[id][round], (Draft[]));
        who %= list.length;
        address thief = addresses(siteKeys(SITES))[other % SITES];
        if (thief == list[who].site) return;
        try ward.claim(id, thief, only(earningOf(round, _closings[id][round], list, who))) {
            wrongs.push("a site was paid the share of another");
        } catch {}
    }

    function removeSite(uint256 which, uint256 who) external {
        vm.prank(SPONSOR);
        try ward.removeSite(study(which), addresses(siteKeys(SITES))[who % SITES]) {} catch {}
    }

    function collect(uint256 which) external {
        StudyId id = study(which);
        address[] memory accounts = creditors();
        for (uint256 i = 0; i < accounts.length; ++i) {
            uint256 amount = ward.owed(id, accounts[i]);
            try ward.collect(id, accounts[i]) {
                collected[id] += amount;
            } catch {}
        }
    }

    /// Who can be owed something: the sponsor, and the auditors.
    function creditors() internal view returns (address[] memory accounts) {
        address[] memory auditors = addresses(auditorKeys(3));
        accounts = new address[](4);
        accounts[0] = SPONSOR;
        for (uint256 i = 0; i < 3; ++i) {
            accounts[i + 1] = auditors[i];
        }
    }

    function claimFee(uint256 which, uint32 round) external {
        StudyId id = study(which);
        uint32 head = ward.study(id).head;
        if (head > 1) tryClaimFee(id, uint32(bound(round, 1, head - 1)));
    }

    function tryClaimFee(StudyId id, uint32 round) internal {
        Closing memory closing = _closings[id][round];
        uint256 fee = ward.study(id).closingFee;
        bool due = fee != 0 && ward.isFinal(id, round, closing) && !ward.isFeePaid(id, round);
        try ward.claimFee(id, round, closing) {
            if (!due) wrongs.push("a fee was paid twice, or before its round was final");
            collected[id] += fee;
        } catch {
            if (due) wrongs.push("a final round did not pay its closing fee");
        }
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

    /// Behind the deadline any account ends the study, and all money comes out but what belongs to
    /// entries that no site can show.
    function settleAll() external {
        for (uint256 i = 0; i < studies.length; ++i) {
            StudyId id = studies[i];
            StudyState memory s = ward.study(id);
            vm.warp(block.timestamp + 366 days);
            if (s.head <= s.rounds) ward.endStudy(id);
            s = ward.study(id);
            Closing memory last = _closings[id][s.rounds];
            for (uint256 k = 0; k < 3; ++k) {
                if (ward.seat(id, coordinators()[k]).bond == 0) continue;
                vm.prank(coordinators()[k]);
                ward.releaseBond(id, last);
            }
            try ward.refund(id, last) {} catch {}
            uint256 hidden;
            for (uint32 round = 1; round <= s.rounds; ++round) {
                tryClaimFee(id, round);
                for (uint256 k = 0; k < SITES; ++k) {
                    tryClaim(id, round, k);
                }
                (uint128 amount, uint32 count) = ward.paidOf(id, round);
                bool settled = count == _closings[id][round].record.count;
                if (!settled) hidden += s.rewardPerRound - amount;
                Lie lie = _lies[id][round];
                if (!settled && uint8(lie) < uint8(Lie.CountTooHigh)) {
                    wrongs.push("all sites were paid, and the round was not settled");
                }
            }
            this.collect(i);
            s = ward.study(id);
            uint256 gone = uint256(s.paid) + s.refunded + collected[id];
            assertEq(gone + hidden, s.funded, "all money comes out");
        }
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

    /// What all rounds have paid; what their sites can still ask for is kept.
    function checkedPayments(StudyId id) external view returns (uint256 sum) {
        StudyState memory s = ward.study(id);
        uint256 kept;
        address[] memory accounts = creditors();
        for (uint256 i = 0; i < accounts.length; ++i) {
            kept += ward.owed(id, accounts[i]);
        }
        for (uint32 round = 1; round < s.head; ++round) {
            (uint128 amount, uint32 count) = ward.paidOf(id, round);
            assertLe(amount, s.rewardPerRound, "a round pays its reward");
            sum += amount;
            if (count != _closings[id][round].record.count) kept += s.rewardPerRound - amount;
            if (!ward.isFeePaid(id, round)) kept += s.closingFee;
        }
        uint256 gone = uint256(s.paid) + s.refunded + collected[id];
        assertLe(gone + kept, s.funded, "what can be claimed is there");
    }

    function balancesOfPayouts() external view returns (uint256 sum) {
        address[] memory sites = addresses(siteKeys(SITES));
        for (uint256 i = 0; i < SITES; ++i) {
            sum += token.balanceOf(payoutOf(sites[i]));
        }
    }

    function heldBy(StudyId id) external view returns (uint256) {
        return held(id);
    }

    function paramsOf(uint256 which) external view returns (StudyParams memory) {
        return _params[which];
    }
    // forge-lint: disable-end(unsafe-typecast)
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
        bytes4[] memory selectors = new bytes4[](19);
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
        selectors[13] = Handler.claim.selector;
        selectors[14] = Handler.claim.selector;
        selectors[15] = Handler.collect.selector;
        selectors[16] = Handler.removeSite.selector;
        selectors[17] = Handler.claimAnothers.selector;
        selectors[18] = Handler.claimFee.selector;
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

    /// However a history ends, its sites are paid and its money comes out.
    function afterInvariant() public {
        handler.settleAll();
        refusals();
    }

    /// Each escrow holds exactly what its study has left and the bonds posted.
    function solvency() internal view {
        for (uint256 i = 0; i < 2; ++i) {
            StudyState memory s = handler.state(i);
            StudyId id = handler.studies(i);
            uint256 gone = uint256(s.paid) + s.refunded + handler.collected(id);
            uint256 came = s.funded + handler.bonds(id);
            assertEq(handler.heldBy(id) + gone, came, "held = remaining + bonds");
        }
    }

    /// A study never pays more than it was funded, nor more than its final rounds earned, and keeps
    /// what they can still be asked for.
    function rewardsAreEarned() internal view {
        uint256 paid;
        for (uint256 i = 0; i < 2; ++i) {
            StudyState memory s = handler.state(i);
            StudyId id = handler.studies(i);
            assertLe(uint256(s.paid) + s.refunded, s.funded, "paid + refunded <= funded");
            assertLe(s.paid, uint256(s.rewardPerRound) * handler.finalRounds(id), "paid <= earned");
            assertEq(handler.checkedPayments(id), s.paid, "rounds have paid = the study has paid");
            paid += s.paid;
        }
        assertEq(handler.balancesOfPayouts(), paid, "at the payout addresses");
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
