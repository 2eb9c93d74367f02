// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {DemandStatus, NodeProof, TallyStart, Target, What} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {IScores} from "../src/interfaces/IScores.sol";
import {
    Closing,
    Named,
    Recording,
    Rule,
    Scoring,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {CallScene} from "./CallScene.sol";

/// Locks that no honest coordinator can close: each is proven wrong as a closing is, at the cost of
/// who locked; and honest ones, which nothing proves wrong.
/// Each run is a whole round.
/// forge-config: deep.fuzz.runs = 2000
contract CourtLockTest is CallScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)
    address internal constant FRIEND = address(0xF21E);

    enum Fault {
        Entry,
        Order,
        Doubled,
        Count,
        TotalWeight,
        Omission,
        Update
    }

    // ------------------------------------------------------------------ what is wrong is proven

    /// In one transaction, however late, also when another coordinator has taken over.
    function testFuzz_lock_isProvenWrong(uint256 seed, uint256 index, uint256 late, bool takenOver)
        public
    {
        (Story memory story, bytes memory call) = faulty(seed, index);
        if (takenOver) takeOver(story);
        vm.warp(block.timestamp + bound(late, 0, 30 days));
        vm.prank(CHALLENGER);
        (bool done,) = address(court).call(call);
        assertTrue(done, "proven");
        assertOverturned(story);
        assertEq(ward.study(story.id).coordinator, SECOND, "who goes on");
        assertTrue(!ward.seat(story.id, SECOND).barred, "who has not locked answers for nothing");
        assertLockedAnew(story);
    }

    /// Also by who commits first, whom no copy in the open takes the reward from.
    function testFuzz_lock_isProvenWrongByAReveal(uint256 seed, bool closed) public {
        (Story memory story, bytes memory call) = faulty(seed, seed);
        bytes32 commitment = keccak256(abi.encode(CHALLENGER, keccak256(call), bytes32(seed)));
        vm.prank(CHALLENGER);
        court.commitChallenge(story.id, 1, story.closing, commitment);
        assertEq(ward.study(story.id).holdUntil, 0, "nothing is held that is not closed");
        vm.warp(block.timestamp + 12);
        if (closed) {
            // Its coordinator closes the round with it meanwhile: then that closing is challenged.
            closeLocked(story, FIRST);
            vm.expectRevert(
                abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
            );
        }
        vm.prank(CHALLENGER);
        court.revealChallenge(story.id, 1, story.closing, bytes32(seed), call);
        if (!closed) return assertOverturned(story, story.params.deposit);
        court.closeCommitment(story.id, 1, story.closing, CHALLENGER, commitment);
        assertEq(ward.owed(story.id, CHALLENGER), story.params.deposit, "the deposit is back");
    }

    /// More entries than one transaction carries are counted in steps.
    function testFuzz_lock_isProvenWrongByATally(uint256 seed, bool late) public {
        Story memory story = ready(seed, Recording.Root, 2 + seed % 5);
        ++story.closing.record.totalWeight;
        locked(story, FIRST, 0);
        // No time is over for what is not closed.
        if (late) vm.warp(block.timestamp + 30 days);
        uint256 tally = opened(story);
        uint256 cut = pick(seed, "cut", story.list.length);
        count(story, tally, 0, cut);
        count(story, tally, cut, story.list.length);
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);
        assertOverturned(story, story.params.deposit);
        assertLockedAnew(story);
    }

    /// An entry or an update that no account shows overturns the lock: who locked answers for it.
    function testFuzz_lock_whatIsNotShownOverturns(uint256 seed, address closer, bool takenOver)
        public
    {
        Story memory story = ready(seed, Recording(seed % 2), 3);
        locked(story, FIRST, 0);
        if (takenOver) takeOver(story);
        bytes32 demand = demanded(story, anyTarget(story, seed));
        vm.warp(block.timestamp + story.params.demandSeconds);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TooEarly.selector, block.timestamp));
        court.closeDemand(demand, story.closing);
        vm.warp(block.timestamp + 1);
        vm.prank(closer);
        court.closeDemand(demand, story.closing);
        assertOverturned(story, story.params.deposit);
        assertLockedAnew(story);
    }

    // ------------------------------------------------------------------ who is honest

    /// Every challenge of an honest lock fails, and every demand can be answered: for half of its
    /// deposit. Then the round is closed with it.
    function testFuzz_lock_ofTheHonestHolds(uint256 seed, uint256 index, bool takenOver) public {
        Story memory story = ready(seed, Recording(seed % 2), 2 + pick(seed, "more", 5));
        index = bound(index, 0, story.list.length - 1);
        ward.contribute(story.id, 1, story.previous, packed(story.list[index]));
        locked(story, FIRST, 0);
        if (takenOver) takeOver(story);
        address site = story.list[index].site;
        rejects(entryCall(story, index));
        rejects(totalsCall(story));
        rejects(omissionCall(story, site, index));
        rejects(omissionCall(story, site, index + 1));
        rejects(coordinateCall(story, 0));
        // No bound holds the least number of 32 bits.
        bool within = story.updates[index][0] != type(int32).min;
        if (within) rejects(updateCall(story, index, 0));
        if (index > 0) rejects(orderCall(story, index - 1, index - 1, index));
        uint256 tally = opened(story);
        count(story, tally, 0, story.list.length);
        rejects(abi.encodeCall(court.finishTally, (tally, story.closing)));

        Target memory target = anyTarget(story, seed);
        bytes32 demand = demanded(story, target);
        bytes memory answer = answerTo(story, target);
        vm.warp(block.timestamp + story.params.demandSeconds);
        uint256 before = ward.owed(story.id, FIRST);
        vm.prank(FRIEND);
        court.answerDemand(demand, story.closing, answer);
        assertEq(ward.owed(story.id, FIRST), before + story.params.deposit / 2, "half, to FIRST");
        assertEq(ward.owed(story.id, FRIEND), (story.params.deposit + 1) / 2, "half, to who shows");
        vm.warp(block.timestamp + 1);
        rejects(abi.encodeCall(court.closeDemand, (demand, story.closing)));
        closeLocked(story, takenOver ? SECOND : FIRST);
        court.closeTally(tally, story.closing);
        assertEq(ward.owed(story.id, CHALLENGER), story.params.deposit, "the tally's, back");
    }

    /// Once the round is closed with the lock, whose closing can be questioned itself, a demand lapses.
    function testFuzz_lock_closingItsRoundEndsDemands(uint256 seed, uint256 time) public {
        Story memory story = ready(seed, Recording(seed % 2), 3);
        locked(story, FIRST, 0);
        Target memory target = anyTarget(story, seed);
        bytes32 demand = demanded(story, target);
        vm.warp(block.timestamp + bound(time, 0, 2 * story.params.demandSeconds));
        closeLocked(story, FIRST);
        bytes memory answer = answerTo(story, target);
        if (block.timestamp <= court.demandOf(demand).deadline) {
            vm.expectRevert(
                abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
            );
            court.answerDemand(demand, story.closing, answer);
        }
        vm.expectEmit(address(court));
        emit ICourtBase.DemandLapsed(demand);
        court.closeDemand(demand, story.closing);
        assertEq(ward.owed(story.id, CHALLENGER), story.params.deposit, "back");
        assertEq(ward.seat(story.id, FIRST).bond, story.params.bond, "the bond");
    }

    /// So it does when the study ends: nothing has to be shown of a lock that no round has.
    function test_lock_endsWithItsStudy() public {
        Story memory story = ready(1, Recording.Root, 3);
        locked(story, FIRST, 0);
        vm.warp(block.timestamp + story.params.lifetimeSeconds);
        bytes32 demand = demanded(story, anyTarget(story, 1));
        ward.endStudy(story.id);
        vm.warp(block.timestamp + story.params.demandSeconds + 1);
        court.closeDemand(demand, story.closing);
        assertEq(ward.owed(story.id, CHALLENGER), story.params.deposit, "back");
        assertEq(ward.seat(story.id, FIRST).bond, story.params.bond, "the bond");
    }

    /// A demand is of one attempt. Round 1 is closed again with the same model, and round 2 locked again
    /// with the same entries, by the same coordinator: its deadline is not that of before.
    function test_lock_ofALaterAttemptHasDemandsOfItsOwn() public {
        Story memory story = ready(1, Recording.Root, 3);
        Closing memory honest = story.closing;
        Draft[] memory list = story.list;
        // FIRST leaves out nothing but what it has to show: a demand of it stays open.
        locked(story, FIRST, 0);
        closeLocked(story, FIRST);
        story.closing = honest;
        (story.closing.coordinator, story.closing.closedAt) = (FIRST, uint64(block.timestamp));
        Target memory target = Target(What.Entry, 0, 0, "", new bytes32[](0));
        bytes32 first = demanded(story, target);
        vm.warp(block.timestamp + 1 hours);
        Story memory next = following(story, 3, 2);
        takeOver(next);
        locked(next, SECOND, 0);
        bytes32 second = demanded(next, target);
        vm.warp(block.timestamp + story.params.demandSeconds + 1);
        court.closeDemand(first, story.closing);

        story.list = list;
        lockAndClose(story, SECOND, 1);
        next.previous = story.closing;
        locked(next, SECOND, 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_ClosingDiffers.selector,
                court.demandOf(second).commitment,
                keccak256(abi.encode(next.closing))
            )
        );
        court.closeDemand(second, next.closing);
        court.closeDemand(second, lockOf(cohortOf(next.closing.record), SECOND, 0));
        assertEq(ward.seat(story.id, SECOND).bond, story.params.bond, "the honest keeps its bond");
        // Of this lock it is another demand.
        bytes32 third = demanded(next, target);
        assertTrue(third != second, "another");
        court.answerDemand(third, next.closing, answerTo(next, target));
    }

    // ------------------------------------------------------------------ what a lock does not promise

    function testFuzz_lock_nothingElseIsDemanded(uint256 seed, uint256 what) public {
        StudyParams memory params = lockedParams(Recording(seed % 2));
        if (seed % 4 < 2) (params.rule, params.scoring) = (Rule.ClippedMean, Scoring.Projection);
        Story memory story = begin(params, 3, seed);
        locked(story, FIRST, 0);
        Target memory target = anyTarget(story, seed);
        target.what = What(bound(what, 0, 7));
        if (target.what == What.Update || target.what == What.Entry) target.what = What.Model;
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_DemandsDisabled.selector, story.id));
        demanded(story, target);
    }

    /// It has no model and no numbers, so that nothing about them is wrong.
    function testFuzz_lock_noNumberIsChallenged(uint256 seed, uint32 place) public {
        StudyParams memory params = lockedParams(Recording(seed % 2));
        bool scored = pick(seed, "scored", 2) == 1;
        params.rule = scored ? Rule.ClippedMean : Rule.MultiKrum;
        params.scoring = scored ? Scoring.Projection : Scoring.Examples;
        params.minSites = 3;
        Story memory story = begin(params, 3, seed);
        locked(story, FIRST, 0);
        rejects(coordinateCall(story, 0));
        NodeProof memory proof = NodeProof(Named(place % 4), 0, 0, 0, new bytes(place % 512));
        rejects(
            abi.encodeCall(
                IScores.challengeNode, (story.id, 1, story.closing, story.previous, proof)
            )
        );
        bytes memory some = new bytes(place % 512);
        rejects(abi.encodeCall(IScores.challengeScore, (story.id, 1, story.closing, 0, some)));
        rejects(abi.encodeCall(IScores.challengeRank, (story.id, 1, story.closing, 0, some)));
        TallyStart memory start = TallyStart(
            0, 0, 0, opening(bytesOf(story.base), 0), opening(bytesOf(story.model), 0), ""
        );
        rejects(
            abi.encodeCall(court.openTally, (story.id, 1, story.closing, story.previous, start))
        );
    }

    /// Or who locks without a site would ask it for bytes afterwards, in the hope that it is away.
    function test_lock_ofARegisteredSiteNothingIsDemanded() public {
        Story memory story = ready(1, Recording.Root, 3);
        address left = story.list[1].site;
        ward.contribute(story.id, 1, story.previous, packed(story.list[1]));
        story = without(story, 1);
        locked(story, FIRST, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_DemandsDisabled.selector, story.id));
        ask(story, FIRST, left, 0, 1);
    }

    /// Bytes that a coordinator has demanded before it locks without their site are awaited even so.
    function testFuzz_lock_withoutASiteWhoseBytesAreDemanded(bool shown, uint256 late) public {
        Story memory story = ready(1, Recording.Root, 3);
        Draft memory left = story.list[1];
        ward.contribute(story.id, 1, story.previous, packed(left));
        ask(story, FIRST, left.site, 0, 1);
        uint256 deadline = block.timestamp + story.params.demandSeconds;
        if (shown) show(story, 1, 0, 1);
        story = without(story, 1);
        locked(story, FIRST, 0);
        vm.warp(block.timestamp + bound(late, 0, 2 * story.params.demandSeconds));
        bytes memory call = omissionCall(story, left.site, 1);
        if (!shown && block.timestamp > deadline) return rejects(call);
        vm.prank(CHALLENGER);
        (bool done,) = address(court).call(call);
        assertTrue(done, "left out");
        assertOverturned(story);
    }

    // ------------------------------------------------------------------ scenes

    /// A lock with a fault, by FIRST, and the call that proves it.
    function faulty(uint256 seed, uint256 index)
        internal
        returns (Story memory story, bytes memory call)
    {
        uint256 sites = 2 + pick(seed, "sites", 5);
        index = bound(index, 0, sites - 2);
        Fault fault = Fault(pick(seed, "fault", 7));
        // With full recording the contract itself checks entries, their order and their totals.
        bool root = fault < Fault.Omission || seed % 2 == 0;
        story = ready(seed, root ? Recording.Root : Recording.Full, sites);
        if (fault == Fault.Entry) story.list[index].signature[7] ^= 0x10;
        if (fault == Fault.Order) {
            (story.list[index], story.list[index + 1]) = (story.list[index + 1], story.list[index]);
        }
        if (fault == Fault.Doubled) story.list[index + 1] = story.list[index];
        if (fault == Fault.Count) --story.closing.record.count;
        if (fault == Fault.TotalWeight) ++story.closing.record.totalWeight;
        Draft memory left = story.list[index];
        if (fault == Fault.Omission) {
            ward.contribute(story.id, 1, story.previous, packed(left));
            story = without(story, index);
        }
        if (fault == Fault.Update) setUpdate(story, index, 1, type(int32).min);
        recommit(story);
        locked(story, FIRST, 0);
        if (fault == Fault.Update) call = updateCall(story, index, 1);
        if (fault == Fault.Entry) call = entryCall(story, index);
        if (fault == Fault.Order || fault == Fault.Doubled) {
            call = orderCall(story, index, index, index + 1);
        }
        if (fault == Fault.Count || fault == Fault.TotalWeight) call = totalsCall(story);
        if (fault == Fault.Omission) call = omissionCall(story, left.site, index);
    }

    function lockedParams(Recording recording) internal view returns (StudyParams memory params) {
        params = sampleParams(recording);
        params.lockedCohort = true;
        params.parameterCount = 3;
        params.updateBound = 2 ** 31 - 1;
    }

    function ready(uint256 seed, Recording recording, uint256 sites)
        internal
        returns (Story memory)
    {
        return begin(lockedParams(recording), sites, seed);
    }

    /// Locks a story's cohort; its closing is the lock's then.
    function locked(Story memory story, address coordinator, uint64 attempt) internal {
        reachCutOff(story.id);
        lock(
            story.id,
            story.round,
            story.params,
            cohortOf(story.closing.record),
            story.previous,
            story.list,
            coordinator
        );
        story.closing = lockOf(cohortOf(story.closing.record), coordinator, attempt);
        assertEq(
            ward.commitment(story.id, story.round),
            keccak256(abi.encode(story.closing)),
            "what is challenged"
        );
    }

    /// Closes the round with a story's lock; the model is any.
    function closeLocked(Story memory story, address coordinator) internal {
        Closing memory closing = abi.decode(abi.encode(story.closing), (Closing));
        closing.record.model = vectorRoot(bytesOf(story.model));
        closing.record.manifest = keccak256(abi.encode("manifest", closing.record.contributions));
        closing.record.commitments =
            keccak256(abi.encode("commitments", closing.record.contributions));
        vm.prank(coordinator);
        ward.closeRoundRoot(story.id, story.round, closing.record);
        assertEq(ward.study(story.id).head, story.round + 1, "closed");
    }

    function lockAndClose(Story memory story, address coordinator, uint64 attempt) internal {
        locked(story, coordinator, attempt);
        closeLocked(story, coordinator);
        settle(story);
        (story.closing.coordinator, story.closing.closedAt) = (coordinator, uint64(block.timestamp));
    }

    function takeOver(Story memory story) internal {
        vm.warp(block.timestamp + story.params.roundSeconds + story.params.graceSeconds);
        vm.prank(SECOND);
        ward.takeOver(story.id);
    }

    /// The round is open in another attempt, in which the standby locks an honest cohort and closes it.
    function assertLockedAnew(Story memory story) internal {
        assertEq(ward.study(story.id).attempt, 1, "another attempt");
        assertEq(ward.study(story.id).lockedBy, address(0), "nothing is locked");
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotLocked.selector, story.id, 1)
        );
        vm.prank(SECOND);
        ward.closeRoundRoot(story.id, 1, story.closing.record);
        contributeAll(story, ward.study(story.id).siteCount, 77);
        settle(story);
        locked(story, SECOND, 1);
        closeLocked(story, SECOND);
    }

    function anyTarget(Story memory story, uint256 seed)
        internal
        pure
        returns (Target memory target)
    {
        target.what = seed % 3 == 0 ? What.Update : What.Entry;
        uint32 index = uint32(pick(seed, "index", story.list.length));
        if (target.what == What.Entry) {
            target.index = index;
        } else {
            target.entryIndex = index;
            target.entry = packed(story.list[index]);
            target.path = entryPath(story, index);
        }
    }

    function answerTo(Story memory story, Target memory target)
        internal
        pure
        returns (bytes memory)
    {
        if (target.what == What.Update) {
            return opening(bytesOf(story.updates[target.entryIndex]), 0);
        }
        return abi.encodePacked(packed(story.list[target.index]), entryPath(story, target.index));
    }

    function demanded(Story memory story, Target memory target) internal returns (bytes32) {
        vm.prank(CHALLENGER);
        return court.demandChunk(story.id, story.round, story.closing, story.previous, target);
    }

    function opened(Story memory story) internal returns (uint256) {
        TallyStart memory start;
        start.coordinate = type(uint32).max;
        vm.prank(CHALLENGER);
        return court.openTally(story.id, story.round, story.closing, story.previous, start);
    }

    function count(Story memory story, uint256 tally, uint256 from, uint256 to) internal {
        bytes memory entries;
        for (uint256 i = from; i < to; ++i) {
            entries = bytes.concat(entries, packed(story.list[i]));
        }
        vm.prank(CHALLENGER);
        court.addToTally(tally, entries, "", "");
    }

    function rejects(bytes memory call) internal {
        vm.prank(CHALLENGER);
        (bool done,) = address(court).call(call);
        assertTrue(!done, "an honest lock was overturned");
    }
    // forge-lint: disable-end(unsafe-typecast)
}
