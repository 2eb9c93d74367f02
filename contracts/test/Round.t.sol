// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IStudies} from "../src/interfaces/IStudies.sol";
import {
    Closing,
    Record,
    Recording,
    Signed,
    StudyId,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {Scene} from "./Scene.sol";

contract RoundTest is Scene {
    // ------------------------------------------------------------------ closeRound

    function testFuzz_closeRound_recordsSeveralRounds(uint256 sites, uint256 seed) public {
        sites = bound(sites, 1, 9);
        StudyParams memory params = sampleParams(Recording.Full);
        StudyId id = open(params, sites);
        Closing memory previous = beginning(params);
        for (uint32 round = 1; round <= 3; ++round) {
            vm.warp(block.timestamp + bound(seed, 0, 1 days));
            uint256 present = 1 + uint256(keccak256(abi.encode(seed, round))) % sites;
            Draft[] memory list = drafts(id, round, previous.record.model, present, seed);
            // One as a site's wallet makes it, with a nonce of its own.
            (uint8 v, bytes32 r, bytes32 s) =
                vm.sign(list[0].key, digestOf(id, round, previous.record.model, list[0]));
            list[0].signature = abi.encodePacked(r, s, v);
            Record memory record = recordOf(list);

            reachCutOff(id);
            for (uint256 i = 0; i < present; ++i) {
                vm.expectEmit(address(ward));
                emit IWardRoundBase.Contributed(
                    id, round, list[i].site, list[i].update, list[i].weight
                );
            }
            vm.expectEmit(address(ward));
            emit IWardRoundBase.RoundClosed(id, round, record, FIRST, uint64(block.timestamp));
            vm.prank(FIRST);
            ward.closeRound(id, round, record, previous, packed(list));

            previous =
                Closing({record: record, coordinator: FIRST, closedAt: uint64(block.timestamp)});
            assertEq(ward.commitment(id, round), keccak256(abi.encode(previous)), "commitment");
            (uint32 head,, uint64 openedAt, bytes32 behind) = ward.openRound(id);
            assertEq(head, round + 1, "next round");
            assertEq(openedAt, block.timestamp, "its turn begins");
            assertEq(behind, ward.commitment(id, round), "on top of this one");
        }
    }

    /// Every byte of the entries matters: a flipped bit anywhere is refused.
    function testFuzz_closeRound_rejectsAnyFlippedBit(uint256 place, uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(4, seed);
        Record memory record = recordOf(list);
        bytes memory entries = packed(list);
        place = bound(place, 0, entries.length * 8 - 1);
        entries[place / 8] ^= bytes1(uint8(bitAt(place % 8)));
        Closing memory previous = beginning(params);
        vm.prank(FIRST);
        try ward.closeRound(id, 1, record, previous, entries) {
            assertTrue(false, "a flipped bit was accepted");
        } catch {}
    }

    /// Nor does any part of the record pass that the entries contradict.
    function testFuzz_closeRound_rejectsAnyOtherRecord(uint256 what, uint256 bit, uint256 seed)
        public
    {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(3, seed);
        Record memory record = recordOf(list);
        Closing memory previous = beginning(params);
        what = bound(what, 0, 3);
        if (what == 0) {
            record.contributions ^= bytes32(bitAt(bound(bit, 0, 255)));
        } else if (what == 1) {
            record.totalWeight ^= uint64(bitAt(bound(bit, 0, 63)));
        } else if (what == 2) {
            record.count ^= uint32(bitAt(bound(bit, 0, 31)));
        } else {
            previous.record.model ^= bytes32(bitAt(bound(bit, 0, 255)));
        }
        bytes memory entries = packed(list);
        vm.prank(FIRST);
        try ward.closeRound(id, 1, record, previous, entries) {
            assertTrue(false, "a wrong record was accepted");
        } catch {}
    }

    function testFuzz_closeRound_rejectsUnsortedOrDoubled(uint256 i, uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(4, seed);
        i = bound(i, 0, 2);
        (list[i], list[i + 1]) = (list[i + 1], list[i]);
        expectRejected(
            id,
            params,
            list,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_EntriesUnsorted.selector, i + 1, list[i + 1].site
            )
        );
        list[i + 1] = list[i];
        if (i > 0) (list[0], list[i]) = (list[i], list[0]);
        (, params, list) = (id, params, drafts(id, 1, params.initialModel, 4, seed));
        list[i + 1] = list[i];
        expectRejected(
            id,
            params,
            list,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_EntriesUnsorted.selector, i + 1, list[i].site
            )
        );
    }

    function testFuzz_closeRound_rejectsStrangers(uint256 key, uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(1, seed);
        list[0].key = bound(key, 1, 2 ** 64);
        list[0].site = vm.addr(list[0].key);
        list[0].signature = signed(list[0].key, digestOf(id, 1, params.initialModel, list[0]));
        vm.assume(ward.site(id, list[0].site).payout == address(0));
        expectRejected(
            id,
            params,
            list,
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotMember.selector, id, 1, list[0].site)
        );
    }

    function test_closeRound_membershipFollowsTheRound() public {
        StudyParams memory params = sampleParams(Recording.Full);
        StudyId id = open(params, 2);
        uint256[] memory keys = siteKeys(2);
        vm.prank(SPONSOR);
        ward.removeSite(id, vm.addr(keys[0]));
        Closing memory previous = beginning(params);
        Draft[] memory list = drafts(id, 1, params.initialModel, 2, 0);
        Record memory record = recordOf(list);
        uint256 from = block.timestamp + params.registrationSeconds;
        bytes memory entries = packed(list);
        // Who left in a round is a member of it, so one of its members may be missing.
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_RegistrationOpen.selector, id, from)
        );
        vm.prank(FIRST);
        ward.closeRound(id, 1, record, previous, entries);
        vm.warp(from);
        vm.prank(FIRST);
        ward.closeRound(id, 1, record, previous, entries);

        previous = Closing({record: record, coordinator: FIRST, closedAt: uint64(block.timestamp)});
        list = drafts(id, 2, record.model, 2, 0);
        record = recordOf(list);
        entries = packed(list);
        reachCutOff(id);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_NotMember.selector, id, 2, vm.addr(keys[0])
            )
        );
        vm.prank(FIRST);
        ward.closeRound(id, 2, record, previous, entries);
    }

    /// With all of its members in it, a round need not wait; with any number else it does.
    function testFuzz_closeRoundRoot_beforeTheCutOffOnlyWithAll(uint32 count, uint256 time) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 4);
        Record memory record = sampleRecord(1);
        record.count = uint32(bound(count, 1, 8));
        uint256 from = block.timestamp + params.registrationSeconds;
        vm.warp(block.timestamp + bound(time, 0, params.registrationSeconds - 1));
        if (record.count != 4) {
            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_RegistrationOpen.selector, id, from)
            );
        }
        vm.prank(FIRST);
        ward.closeRoundRoot(id, 1, record);
    }

    function testFuzz_closeRound_rejectsWeightsOutOfRange(uint64 weight, uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(2, seed);
        list[1].weight =
            weight % 2 == 0 ? 0 : uint64(bound(weight, MAX_WEIGHT + 1, type(uint32).max / 4));
        list[1].signature = signed(list[1].key, digestOf(id, 1, params.initialModel, list[1]));
        expectRejected(
            id,
            params,
            list,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_WeightOutOfRange.selector,
                list[1].site,
                list[1].weight,
                MAX_WEIGHT
            )
        );
    }

    function testFuzz_closeRound_rejectsSignaturesOfAnotherKey(uint256 key, uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(2, seed);
        key = bound(key, 1, 2 ** 64);
        vm.assume(key != list[0].key);
        list[0].signature = signed(key, digestOf(id, 1, params.initialModel, list[0]));
        expectRejected(
            id,
            params,
            list,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_SignatureInvalid.selector, list[0].site, vm.addr(key)
            )
        );
    }

    function testFuzz_closeRound_rejectsSignaturesForAnotherRoundOrModel(
        uint32 round,
        bytes32 model,
        uint256 seed
    ) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(2, seed);
        vm.assume(round != 1 || model != params.initialModel);
        list[0].signature = signed(list[0].key, digestOf(id, round, model, list[0]));
        Record memory record = recordOf(list);
        bytes memory entries = packed(list);
        vm.prank(FIRST);
        try ward.closeRound(id, 1, record, beginning(params), entries) {
            assertTrue(false, "a signature for something else was accepted");
        } catch (bytes memory reason) {
            assertEq(
                selectorOf(reason),
                bytes32(IWardRoundBase.WardRound_SignatureInvalid.selector),
                "reason"
            );
        }
    }

    function testFuzz_closeRound_rejectsMalleableSignatures(uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(1, seed);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(list[0].key, digestOf(id, 1, params.initialModel, list[0]));
        // n - s signs what s signs.
        list[0].signature = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v ^ 7);
        expectRejected(
            id,
            params,
            list,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_SignatureInvalid.selector, list[0].site, address(0)
            )
        );
    }

    function testFuzz_closeRound_rejectsTruncatedEntries(uint256 length, uint256 seed) public {
        (StudyId id, StudyParams memory params, Draft[] memory list) = ready(3, seed);
        bytes memory whole = packed(list);
        length = bound(length, 0, whole.length + 157);
        vm.assume(length != whole.length);
        bytes memory entries = new bytes(length);
        for (uint256 i = 0; i < length && i < whole.length; ++i) {
            entries[i] = whole[i];
        }
        Record memory record = recordOf(list);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_EntriesMalformed.selector, length)
        );
        vm.prank(FIRST);
        ward.closeRound(id, 1, record, beginning(params), entries);
    }

    function ready(uint256 sites, uint256 seed)
        internal
        returns (StudyId id, StudyParams memory params, Draft[] memory list)
    {
        params = sampleParams(Recording.Full);
        id = open(params, sites);
        list = drafts(id, 1, params.initialModel, sites, seed);
    }

    function expectRejected(
        StudyId id,
        StudyParams memory params,
        Draft[] memory list,
        bytes memory reason
    ) internal {
        Record memory record = recordOf(list);
        // The sum of weights may be wrong too; what is wrong with an entry is said first.
        if (record.totalWeight < record.count) record.totalWeight = record.count;
        vm.expectRevert(reason);
        vm.prank(FIRST);
        ward.closeRound(id, 1, record, beginning(params), packed(list));
    }

    // ------------------------------------------------------------------ closeRoundRoot

    function testFuzz_closeRoundRoot_records(Record memory record, uint64 later) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        record.count = uint32(bound(record.count, 1, 2 ** 31 - 1));
        record.totalWeight = uint64(bound(record.totalWeight, record.count, 2 ** 31 - 1));
        reachCutOff(id);
        vm.warp(block.timestamp + bound(later, 0, 365 days));

        vm.expectEmit(address(ward));
        emit IWardRoundBase.RoundClosed(id, 1, record, FIRST, uint64(block.timestamp));
        Closing memory closing = closeRoot(id, 1, record, FIRST);

        assertEq(ward.commitment(id, 1), keccak256(abi.encode(closing)), "commitment");
        assertEq(ward.study(id).head, 2, "head");
        assertEq(ward.study(id).coordinator, FIRST, "coordinator");
        assertEq(ward.study(id).openedAt, block.timestamp, "openedAt");
    }

    function testFuzz_closeRoundRoot_onlyByActiveCoordinator(address caller) public {
        StudyId id = open(sampleParams(Recording.Root), 1);
        vm.assume(caller != FIRST);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCoordinator.selector, id, caller)
        );
        vm.prank(caller);
        ward.closeRoundRoot(id, 1, sampleRecord(1));
    }

    function testFuzz_closeRoundRoot_onlyTheHead(uint32 round) public {
        StudyId id = open(sampleParams(Recording.Root), 1);
        closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.assume(round != 2);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_RoundNotOpen.selector, id, round, 2)
        );
        vm.prank(FIRST);
        ward.closeRoundRoot(id, round, sampleRecord(1));
    }

    function test_closeRoundRoot_notAfterTheLast() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        for (uint32 round = 1; round <= params.rounds; ++round) {
            closeRoot(id, round, sampleRecord(round), FIRST);
        }
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_StudyOver.selector, id, params.rounds)
        );
        vm.prank(FIRST);
        ward.closeRoundRoot(id, params.rounds + 1, sampleRecord(9));
    }

    function testFuzz_closeRoundRoot_checksTheNumbers(uint32 count, uint64 totalWeight) public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.minSites = 5;
        StudyId id = open(params, 5);

        Record memory record = sampleRecord(1);
        record.count = uint32(bound(count, 0, 4));
        expectRootRejected(
            id,
            record,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_TooFewSites.selector, id, record.count, 5
            )
        );

        record = sampleRecord(1);
        record.totalWeight = totalWeight % 2 == 0
            ? uint64(bound(totalWeight, 0, record.count - 1))
            : uint64(bound(totalWeight, 2 ** 31, type(uint64).max));
        expectRootRejected(
            id,
            record,
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_TotalWeightOutOfRange.selector, record.totalWeight
            )
        );
    }

    function expectRootRejected(StudyId id, Record memory record, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(FIRST);
        ward.closeRoundRoot(id, 1, record);
    }

    function test_closing_onlyAsTheStudyRecords() public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        Draft[] memory list = drafts(id, 1, params.initialModel, 1, 0);
        Record memory record = recordOf(list);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_RecordingDiffers.selector, id, Recording.Root
            )
        );
        vm.prank(FIRST);
        ward.closeRound(id, 1, record, beginning(params), packed(list));

        params.recording = Recording.Full;
        id = open(params, 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IWardRoundBase.WardRound_RecordingDiffers.selector, id, Recording.Full
            )
        );
        vm.prank(FIRST);
        ward.closeRoundRoot(id, 1, record);
    }

    function testFuzz_closing_nobodyBeforeTheStudyOpens(address caller, bytes32 unknown) public {
        vm.assume(caller != address(0));
        StudyId id = create(sampleParams(Recording.Root));
        bytes4 reason = IWardRoundBase.WardRound_NotCoordinator.selector;
        vm.startPrank(caller);
        vm.expectRevert(abi.encodeWithSelector(reason, id, caller));
        ward.closeRoundRoot(id, 0, sampleRecord(1));
        vm.expectRevert(abi.encodeWithSelector(reason, unknown, caller));
        ward.closeRoundRoot(StudyId.wrap(unknown), 0, sampleRecord(1));
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ attest, finality

    function testFuzz_attest_makesEarlierRoundsFinal(uint32 round, uint256 auditors) public {
        StudyId id = open(sampleParams(Recording.Root), 1);
        round = uint32(bound(round, 1, 4));
        auditors = bound(auditors, 2, 3);
        Closing[] memory closings = new Closing[](5);
        for (uint32 r = 1; r <= 4; ++r) {
            closings[r] = closeRoot(id, r, sampleRecord(r), FIRST);
        }
        vm.warp(block.timestamp + 1 hours);
        Signed[] memory list =
            attestations(id, round, keccak256(abi.encode(closings[round])), auditors);
        vm.expectEmit(address(ward));
        emit IWardRoundBase.Attested(id, round, auditors);
        ward.attest(id, round, closings[round], list);
        for (uint32 r = 1; r <= 4; ++r) {
            assertTrue(ward.isFinal(id, r, closings[r]) == (r <= round), "final up to here");
        }
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AlreadyFinal.selector, id, round)
        );
        ward.attest(id, round, closings[round], list);
    }

    function testFuzz_attest_rejectsTooFewOrOthers(uint256 key) public {
        StudyId id = open(sampleParams(Recording.Root), 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        bytes32 commitment = ward.commitment(id, 1);
        vm.warp(block.timestamp + 1 hours);

        Signed[] memory list = attestations(id, 1, commitment, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_QuorumMissing.selector, 1, 2)
        );
        ward.attest(id, 1, closing, list);

        list = attestations(id, 1, commitment, 2);
        (list[0], list[1]) = (list[1], list[0]);
        address low = vm.addr(auditorKeys(3)[0]);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AuditorsUnsorted.selector, 1, low)
        );
        ward.attest(id, 1, closing, list);

        list[0] = list[1];
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_AuditorsUnsorted.selector, 1, low)
        );
        ward.attest(id, 1, closing, list);

        // Signed by another key, for another record, or with anything that is no signature.
        list = attestations(id, 1, commitment, 2);
        bytes32 digest = attestationDigest(id, 1, commitment);
        bytes[3] memory others = [
            signed(bound(key, 1, 2 ** 31), digest),
            signed(auditorKeys(3)[0], keccak256(abi.encode(digest, key))),
            abi.encode(key)
        ];
        for (uint256 i = 0; i < 3; ++i) {
            list[0].signature = others[i];
            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_AttestationInvalid.selector, low)
            );
            ward.attest(id, 1, closing, list);
        }

        address stranger = vm.addr(bound(key, 1, 2 ** 31));
        list[0] = Signed(stranger, others[0]);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotAuditor.selector, id, stranger)
        );
        ward.attest(id, 1, closing, list);
    }

    /// Friends of the coordinator may sign in the block of the closing; everybody may object first.
    function testFuzz_attest_onlyAfterTheObjectionTime(uint256 wait) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        Signed[] memory list = attestations(id, 1, ward.commitment(id, 1), 2);
        uint256 from = uint256(closing.closedAt) + params.objectionSeconds;
        vm.warp(closing.closedAt + bound(wait, 0, params.objectionSeconds - 1));
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_TooEarly.selector, id, from)
        );
        ward.attest(id, 1, closing, list);
        vm.warp(from);
        ward.attest(id, 1, closing, list);
        assertTrue(ward.isFinal(id, 1, closing), "final");
    }

    function test_attest_needsAQuorumToExist() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.auditorQuorum = 0;
        StudyId id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        Signed[] memory list = attestations(id, 1, ward.commitment(id, 1), 3);
        vm.warp(block.timestamp + 1 hours);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_QuorumMissing.selector, 3, 0)
        );
        ward.attest(id, 1, closing, list);
    }

    function testFuzz_attest_onlyTheCommittedClosing(uint256 bit) public {
        StudyId id = open(sampleParams(Recording.Root), 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        closing.record.manifest ^= bytes32(bitAt(bound(bit, 0, 255)));
        bytes32 given = keccak256(abi.encode(closing));
        Signed[] memory list = attestations(id, 1, given, 3);
        bytes memory reason = abi.encodeWithSelector(
            IWardRoundBase.WardRound_CommitmentDiffers.selector,
            id,
            1,
            ward.commitment(id, 1),
            given
        );
        vm.expectRevert(reason);
        ward.attest(id, 1, closing, list);
        vm.expectRevert(reason);
        ward.isFinal(id, 1, closing);
    }

    function testFuzz_isFinal_afterTheWindow(uint256 wait) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        Closing memory closing = closeRoot(id, 1, sampleRecord(1), FIRST);
        wait = bound(wait, 0, 10 days);
        vm.warp(block.timestamp + wait);
        assertTrue(
            ward.isFinal(id, 1, closing) == (wait >= params.challengeSeconds), "by time alone"
        );
    }

    // ------------------------------------------------------------------ takeOver

    function testFuzz_takeOver_inOrderAroundTheRing(uint256 who, uint256 wait) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        address active = FIRST;
        for (uint256 step = 0; step < 4; ++step) {
            uint256 from = ward.seat(id, active).place - 1;
            uint256 distance = 1 + uint256(keccak256(abi.encode(who, step))) % 2;
            address next = coordinators()[(from + distance) % 3];
            uint256 due = block.timestamp + params.roundSeconds + distance * params.graceSeconds;

            vm.warp(due - 1 - bound(wait, 0, 1 hours));
            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_TooEarly.selector, id, due)
            );
            vm.prank(next);
            ward.takeOver(id);

            vm.warp(due + bound(wait, 0, 30 days));
            vm.expectEmit(address(ward));
            emit IWardRoundBase.TookOver(id, 1, next, active, uint64(block.timestamp));
            vm.prank(next);
            ward.takeOver(id);
            assertEq(ward.study(id).coordinator, next, "coordinator");
            assertEq(ward.study(id).openedAt, block.timestamp, "openedAt");

            vm.expectRevert(
                abi.encodeWithSelector(IWardRoundBase.WardRound_NotCoordinator.selector, id, active)
            );
            vm.prank(active);
            ward.closeRoundRoot(id, 1, sampleRecord(1));
            active = next;
        }
        closeRoot(id, 1, sampleRecord(1), active);
    }

    function testFuzz_takeOver_onlyByBondedStandbys(address caller) public {
        StudyParams memory params = sampleParams(Recording.Root);
        StudyId id = open(params, 1);
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotCoordinator.selector, id, FIRST)
        );
        vm.prank(FIRST);
        ward.takeOver(id);
        vm.assume(ward.seat(id, caller).place == 0);
        vm.expectRevert(
            abi.encodeWithSelector(IWardRoundBase.WardRound_NotBonded.selector, id, caller)
        );
        vm.prank(caller);
        ward.takeOver(id);
    }

    function test_takeOver_notAfterTheLastRound() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.rounds = 1;
        StudyId id = open(params, 1);
        closeRoot(id, 1, sampleRecord(1), FIRST);
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(abi.encodeWithSelector(IWardRoundBase.WardRound_StudyOver.selector, id, 1));
        vm.prank(SECOND);
        ward.takeOver(id);
    }
}
