// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRounds} from "../src/interfaces/IRounds.sol";
import {
    Closing,
    Cohort,
    Earning,
    Record,
    Recording,
    Signed,
    StudyId,
    StudyParams,
    StudyState
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";

/// Cohorts that are locked on chain before their rounds are closed.
/// forge-config: deep.fuzz.runs = 2000
contract CohortTest is Scene {
    /// An open round of a study with locked cohorts.
    struct Case {
        StudyId id;
        StudyParams params;
        Draft[] list;
        Record record;
        Closing previous;
    }

    // ------------------------------------------------------------------ lock, then close

    function testFuzz_lock_closesWithTheCohortAlone(uint256 seed, uint256 sites) public {
        Case memory c = any(seed, sites);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.CohortLocked(
            c.id, 1, 0, FIRST, c.record.contributions, c.record.count, c.record.totalWeight
        );
        lock(c, FIRST);
        assertEq(ward.study(c.id).lockedBy, FIRST, "locked");
        assertEq(ward.commitment(c.id, 1), lockHash(cohortOf(c.record), FIRST, 0), "what it keeps");

        Closing memory closing = closeRoot(c.id, 1, c.record, FIRST);
        assertEq(ward.study(c.id).head, 2, "closed");
        assertEq(ward.commitment(c.id, 1), keccak256(abi.encode(closing)), "by its closing");
        expectReason(
            FIRST,
            closeCall(c.id, 2, c.record),
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotLocked.selector, c.id, 2)
        );
    }

    /// A lock can be challenged as a closing can, and pays as little as an open round.
    function testFuzz_lock_isAClosingThatIsNeverFinal(uint256 seed, uint64 time) public {
        Case memory c = any(seed, 3);
        lock(c, FIRST);
        Closing memory closing = lockOf(cohortOf(c.record), FIRST, 0);
        bytes32 stored = ward.commitment(c.id, 1);
        vm.warp(block.timestamp + bound(time, 0, 2 * c.params.lifetimeSeconds));
        assertTrue(ward.challengeable(c.id, 1, stored, 0), "as long as it stands");
        assertTrue(!ward.isFinal(c.id, 1, closing), "never final");
        Signed[] memory three = attestations(c.id, 1, stored, 3);
        expectRefused(
            FIRST,
            abi.encodeCall(IRounds.attest, (c.id, 1, closing, three)),
            IWardRoundBase.WardRound_RoundNotOpen.selector
        );
        bytes4 reason = IWardRoundBase.WardRound_NotFinal.selector;
        expectRefused(FIRST, abi.encodeCall(IRounds.claimFee, (c.id, 1, closing)), reason);
        expectRefused(FIRST, abi.encodeCall(IRounds.releaseBond, (c.id, closing)), reason);
        Earning[] memory one = only(earningOf(1, closing, c.list, 0));
        address site = c.list[0].site;
        expectRefused(FIRST, abi.encodeCall(IRounds.claim, (c.id, site, one)), reason);

        vm.warp(block.timestamp + c.params.lifetimeSeconds);
        ward.endStudy(c.id);
        assertTrue(!ward.challengeable(c.id, 1, stored, 0), "of a study that is over");
        assertEq(ward.study(c.id).lockedBy, address(0), "nothing is locked");
    }

    function testFuzz_close_takesNoOtherCohort(uint256 seed, bytes32 contributions) public {
        Case memory c = any(seed, 3);
        lock(c, FIRST);
        bytes32 stored = ward.commitment(c.id, 1);
        Record memory other = c.record;
        uint256 field = pick(seed, 3);
        if (field == 0) other.contributions = contributions;
        if (field == 1) other.count += 1;
        if (field == 2) other.totalWeight += 1;
        bytes32 given = lockHash(cohortOf(other), FIRST, 0);
        vm.assume(given != stored);
        expectReason(
            FIRST,
            closeCall(c.id, 1, other),
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_CohortDiffers.selector, c.id, 1, stored, given
            )
        );
    }

    // ------------------------------------------------------------------ once, and who

    function testFuzz_lock_isOneARound_andHoldsOverATakeover(uint256 seed) public {
        Case memory c = any(seed, 3);
        lock(c, FIRST);
        vm.warp(block.timestamp + c.params.roundSeconds + c.params.graceSeconds);
        vm.prank(SECOND);
        ward.takeOver(c.id);
        address[2] memory both = [FIRST, SECOND];
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory reason = i == 0
                ? abi.encodeWithSelector(
                    IWardRoundBase.WardRound_NotCoordinator.selector, c.id, FIRST
                )
                : abi.encodeWithSelector(IWardRoundBase.WardRound_AlreadyLocked.selector, c.id, 1);
            expectLock(c, both[i], reason);
        }
        closeRoot(c.id, 1, c.record, SECOND);
    }

    function testFuzz_lock_onlyByTheActiveCoordinator(uint256 seed, address caller) public {
        vm.assume(caller != FIRST);
        Case memory c = any(seed, 3);
        expectLock(
            c,
            caller,
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCoordinator.selector, c.id, caller)
        );
    }

    function testFuzz_lock_onlyWhereTheStudyLocks(uint256 seed) public {
        Case memory c = ready(Recording(pick(seed, 2)), false, 3, seed);
        bytes memory reason =
            abi.encodeWithSelector(IWardRoundBase.WardRound_LockingDiffers.selector, c.id, false);
        expectLock(c, FIRST, reason);
    }

    function testFuzz_close_onlyWithALock(uint256 seed) public {
        Case memory c = any(seed, 3);
        expectReason(
            FIRST,
            closeCall(c.id, 1, c.record),
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotLocked.selector, c.id, 1)
        );

        c = ready(Recording.Full, true, 3, seed ^ 1);
        bytes memory entries = packed(c.list);
        vm.prank(FIRST);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_LockingDiffers.selector, c.id, true)
        );
        ward.closeRound(c.id, 1, c.record, c.previous, entries);
    }

    function testFuzz_lock_ofTheOtherRecording(uint256 seed) public {
        Case memory c = ready(Recording.Full, true, 3, seed);
        vm.prank(FIRST);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_RecordingDiffers.selector, c.id, Recording.Full
            )
        );
        ward.lockCohortRoot(c.id, 1, cohortOf(c.record));
        c = ready(Recording.Root, true, 3, seed ^ 1);
        bytes memory entries = packed(c.list);
        vm.prank(FIRST);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_RecordingDiffers.selector, c.id, Recording.Root
            )
        );
        ward.lockCohort(c.id, 1, cohortOf(c.record), c.previous, entries);
    }

    // ------------------------------------------------------------------ what a lock may hold

    /// With full recording the entries are checked as at a closing.
    function testFuzz_lock_checksTheEntries(uint256 seed, uint256 index) public {
        Case memory c = ready(Recording.Full, true, 4, seed);
        index = bound(index, 0, 3);
        bytes4 reason;
        uint256 fault = pick(seed, 5);
        if (fault == 0) {
            c.list[index].signature[40] ^= 0x01;
            reason = IWardRoundBase.WardRound_SignatureInvalid.selector;
        } else if (fault == 1) {
            c.list[index].weight = MAX_WEIGHT + 1;
            reason = IWardRoundBase.WardRound_WeightOutOfRange.selector;
        } else if (fault == 2) {
            c.list[index] = c.list[(index + 1) % 4];
            reason = IWardRoundBase.WardRound_EntriesUnsorted.selector;
        } else if (fault == 3) {
            c.record.totalWeight += 1;
            reason = IWardRoundBase.WardRound_TotalWeightDiffers.selector;
        } else {
            c.record.contributions ^= bytes32(uint256(1));
            reason = IWardRoundBase.WardRound_ContributionsDiffer.selector;
        }
        expectRefused(FIRST, lockCall(c), reason);
    }

    function testFuzz_lock_checksCountAndTotals(uint256 seed, uint32 count, uint64 total) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.lockedCohort = true;
        params.minSites = 2;
        StudyId id = open(params, 3);
        reachCutOff(id);
        Cohort memory cohort = Cohort(bytes32(seed), count, total);
        bool few = count < 2;
        bool fits = total >= count && total < 2 ** 31;
        vm.prank(FIRST);
        if (few) {
            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_TooFewSites.selector, id, count, 2)
            );
        } else if (!fits) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IWardRoundBase.WardRound_TotalWeightOutOfRange.selector, total
                )
            );
        }
        ward.lockCohortRoot(id, 1, cohort);
    }

    function testFuzz_lock_ofAnotherRoundOrBase(uint256 seed, uint32 round) public {
        vm.assume(round != 1);
        Case memory c = ready(Recording.Root, true, 3, seed);
        vm.prank(FIRST);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_RoundNotOpen.selector, c.id, round, 1)
        );
        ward.lockCohortRoot(c.id, round, cohortOf(c.record));
        c = ready(Recording.Full, true, 3, seed ^ 1);
        c.previous.record.model ^= bytes32(uint256(1));
        expectRefused(FIRST, lockCall(c), IWardRoundBase.WardRound_CommitmentDiffers.selector);
    }

    /// A site that registers behind the lock could not be in the round, also when a takeover gives
    /// the sites of other rounds their time again.
    function testFuzz_lock_endsRegistrations(uint256 seed, bool takenOver) public {
        Case memory c = any(seed, 3);
        ward.contribute(c.id, 1, c.previous, packed(c.list[0]));
        lock(c, FIRST);
        if (takenOver) {
            vm.warp(block.timestamp + c.params.roundSeconds + c.params.graceSeconds);
            vm.prank(SECOND);
            ward.takeOver(c.id);
        }
        bytes memory entry = packed(c.list[1]);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AlreadyLocked.selector, c.id, 1)
        );
        ward.contribute(c.id, 1, c.previous, entry);
        vm.prank(takenOver ? SECOND : FIRST);
        ward.closeRoundRoot(c.id, 1, c.record);
    }

    /// Before the cut-off a lock has an entry of every member; behind it, of any of them.
    function testFuzz_lock_waitsForTheCutOff(uint256 seed, uint256 time) public {
        Case memory c = ready(Recording(seed % 2), true, 4, seed, 3);
        uint256 from = block.timestamp + REGISTRATION_SECONDS;
        vm.warp(block.timestamp + bound(time, 0, REGISTRATION_SECONDS - 1));
        bytes memory reason =
            abi.encodeWithSelector(IWardRoundBase.WardRound_RegistrationOpen.selector, c.id, from);
        expectLock(c, FIRST, reason);
        vm.warp(from);
        lock(c, FIRST);
    }

    // ------------------------------------------------------------------ attempts

    /// Where a round is overturned, what was locked for it and for those behind it is void.
    function testFuzz_overturn_beginsAnotherAttempt(uint256 seed, uint256 behind) public {
        behind = bound(behind, 0, 2);
        Case memory c = any(seed, 3);
        lock(c, FIRST);
        Closing memory first = closeRoot(c.id, 1, c.record, FIRST);
        Draft[] memory list = drafts(c.id, 2, c.record.model, 3, seed ^ 2);
        Record memory record = recordOf(list);
        // Round 2 is open, locked or closed.
        if (behind != 0) lock(c.id, 2, c.params, cohortOf(record), first, list, FIRST);
        if (behind == 2) closeRoot(c.id, 2, record, FIRST);
        vm.prank(ward.COURT());
        ward.overturn(c.id, 1, first, address(this), true, "proven");
        StudyState memory state = ward.study(c.id);
        assertEq(state.attempt, 1, "attempt");
        assertEq(state.lockedBy, address(0), "no lock");
        assertEq(state.head, 1, "open again");

        expectReason(
            SECOND,
            closeCall(c.id, 1, c.record),
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotLocked.selector, c.id, 1)
        );
        reachCutOff(c.id);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.CohortLocked(
            c.id, 1, 1, SECOND, c.record.contributions, c.record.count, c.record.totalWeight
        );
        lock(c, SECOND);
        closeRoot(c.id, 1, c.record, SECOND);
        expectReason(
            SECOND,
            closeCall(c.id, 2, record),
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotLocked.selector, c.id, 2)
        );
    }

    // ------------------------------------------------------------------ cases

    function any(uint256 seed, uint256 sites) internal returns (Case memory) {
        return ready(Recording(seed % 2), true, bound(sites, 1, 8), seed);
    }

    function ready(Recording recording, bool locked, uint256 sites, uint256 seed)
        internal
        returns (Case memory)
    {
        return ready(recording, locked, sites, seed, sites);
    }

    /// @param present How many of the sites are in the cohort.
    function ready(Recording recording, bool locked, uint256 sites, uint256 seed, uint256 present)
        internal
        returns (Case memory c)
    {
        c.params = sampleParams(recording);
        c.params.lockedCohort = locked;
        // Another study each time.
        c.params.code = keccak256(abi.encode(seed, recording, locked));
        c.id = open(c.params, sites);
        c.list = drafts(c.id, 1, c.params.initialModel, present, seed);
        c.record = recordOf(c.list);
        c.previous = beginning(c.params);
    }

    function lockHash(Cohort memory cohort, address coordinator, uint64 attempt)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(lockOf(cohort, coordinator, attempt)));
    }

    function lock(Case memory c, address coordinator) internal {
        lock(c.id, 1, c.params, cohortOf(c.record), c.previous, c.list, coordinator);
    }

    function expectLock(Case memory c, address coordinator, bytes memory reason) internal {
        expectReason(coordinator, lockCall(c), reason);
    }

    function expectReason(address caller, bytes memory call, bytes memory reason) internal {
        assertEq(keccak256(refused(caller, call)), keccak256(reason), "reason");
    }

    function expectRefused(address caller, bytes memory call, bytes4 reason) internal {
        assertEq(selectorOf(refused(caller, call)), bytes32(reason), "reason");
    }

    function closeCall(StudyId id, uint32 round, Record memory record)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodeCall(IRounds.closeRoundRoot, (id, round, record));
    }

    function lockCall(Case memory c) internal pure returns (bytes memory) {
        if (c.params.recording == Recording.Root) {
            return abi.encodeCall(IRounds.lockCohortRoot, (c.id, 1, cohortOf(c.record)));
        }
        return abi.encodeCall(
            IRounds.lockCohort, (c.id, 1, cohortOf(c.record), c.previous, packed(c.list))
        );
    }

    function refused(address caller, bytes memory call) internal returns (bytes memory reason) {
        bool done;
        vm.prank(caller);
        (done, reason) = address(ward).call(call);
        assertTrue(!done, "refused");
    }

    function pick(uint256 seed, uint256 size) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, "pick"))) % size;
    }
}
