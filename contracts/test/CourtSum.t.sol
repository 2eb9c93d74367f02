// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {CoordinateProof, TallyStart, Target, UpdateProof, What} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {Closing, Recording, Rule, StudyId, StudyParams} from "../src/interfaces/IWardRound.sol";
import {IWardRoundBase} from "../src/interfaces/IWardRoundBase.sol";
import {CourtScene} from "./CourtScene.sol";

/// Rounds of sums: 64-bit coordinates, each within the study's bound, added to nothing.
/// Each run is a whole round.
/// forge-config: deep.fuzz.runs = 500
contract CourtSumTest is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    struct Count {
        StudyParams params;
        StudyId id;
        uint32 round;
        Closing previous;
        Closing closing;
        Draft[] list;
        int64[][] updates;
        int64[] model;
    }

    // ------------------------------------------------------------------ the honest

    function testFuzz_sum_honestStands(uint256 seed, uint256 coordinate, int64 other) public {
        Count memory count = anyHonest64(seed);
        coordinate = bound(coordinate, 0, count.model.length - 1);
        bytes memory right = abi.encodeWithSelector(
            ICourtBase.Court_CoordinateRight.selector, coordinate, int256(count.model[coordinate])
        );
        rejects(count, proofOf(count, coordinate), right);
        uint256 tally = counted(count, coordinate, seed);
        vm.expectRevert(right);
        vm.prank(CHALLENGER);
        court.finishTally(tally, count.closing);

        // Nor does anything else that is said of it overturn it.
        vm.assume(other != 0);
        if (other % 2 == 0) count.model[coordinate] ^= other;
        else count.updates[seed % count.updates.length][coordinate] ^= other;
        CoordinateProof memory proof = proofOf(count, coordinate);
        refuses(count, proof, ICourtBase.Court_NotIncluded.selector);
        assertStands64(count);
    }

    /// The model before the round is not part of a sum, so none is taken: not even the true one.
    function testFuzz_sum_takesNoBase(uint256 seed) public {
        Count memory count = anyHonest64(seed);
        CoordinateProof memory proof = proofOf(count, 0);
        proof.base = opening(wideBytesOf(count.model), 0);
        bytes memory malformed = abi.encodeWithSelector(
            ICourtBase.Court_OpeningMalformed.selector, proof.base.length, 0
        );
        rejects(count, proof, malformed);
        TallyStart memory start = TallyStart(0, 0, 0, proof.base, proof.model, "");
        vm.expectRevert(malformed);
        vm.prank(CHALLENGER);
        court.openTally(count.id, count.round, count.closing, count.previous, start);
    }

    /// Nor can it be demanded: no round is lost for data that no challenger needs.
    function testFuzz_sum_demandsNoBase(uint256 seed) public {
        Count memory count = anyHonest64(seed);
        Target memory target;
        target.what = What.Base;
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_DemandsDisabled.selector, count.id));
        vm.prank(CHALLENGER);
        court.demandChunk(count.id, count.round, count.closing, count.previous, target);
    }

    function test_sum_holdsTheLargestThatThereCanBe() public {
        StudyParams memory params = sumParams(Recording.Root, 1);
        params.updateBound = 2 ** 31 - 1;
        Count memory count = begin64(params, 8, 1);
        for (uint256 i = 0; i < 8; ++i) {
            count.updates[i][0] = -int64(uint64(params.updateBound));
        }
        settle64(count);
        close64(count);
        assertTrue(count.model[0] == -8 * (2 ** 31 - 1), "beyond 32 bits");
        rejects(
            count,
            proofOf(count, 0),
            abi.encodeWithSelector(
                ICourtBase.Court_CoordinateRight.selector, 0, int256(count.model[0])
            )
        );
    }

    // ------------------------------------------------------------------ the dishonest

    function testFuzz_sum_anyWrongUnitIsProven(uint256 seed, uint256 coordinate, int64 shift)
        public
    {
        bool tallied = seed % 2 == 0;
        Count memory count = any64(seed);
        coordinate = bound(coordinate, 0, count.model.length - 1);
        int256 right = count.model[coordinate];
        count.model[coordinate] ^= shift == 0 ? int64(1) : shift;
        count.closing.record.model = vectorRoot(wideBytesOf(count.model));
        close64(count);
        overturns(count, coordinate, tallied, seed, right);
    }

    /// Whatever is recorded: the plain sum, or what the bound would leave of it.
    function testFuzz_sum_withOneBeyondTheBoundIsProven(
        uint256 seed,
        uint256 coordinate,
        int64 beyond,
        uint256 who,
        bool plain
    ) public {
        Count memory count = any64(seed);
        coordinate = bound(coordinate, 0, count.model.length - 1);
        who = bound(who, 0, count.list.length - 1);
        int64 most = int64(uint64(count.params.updateBound));
        int64[4] memory edges = [most + 1, -most - 1, type(int64).max, type(int64).min];
        if (beyond >= -most && beyond <= most) beyond = edges[uint64(beyond) % 4];
        count.updates[who][coordinate] = beyond;
        count.list[who].update = vectorRoot(wideBytesOf(count.updates[who]));
        sign64(count, who);
        int64[] memory before = count.model;
        settle64(count);
        if (!plain) {
            count.model = before;
            count.closing.record.model = vectorRoot(wideBytesOf(before));
        }
        close64(count);
        int256 rest;
        for (uint256 i = 0; i < count.list.length; ++i) {
            if (i != who) rest += count.updates[i][coordinate];
        }
        overturns(count, coordinate, seed % 2 == 0, seed, 2 ** 128 + rest);
    }

    /// A valid proof with any one bit flipped proves nothing.
    function testFuzz_sum_proofWithAnyFlippedBitIsRejected(uint256 seed, uint256 place) public {
        Count memory count = any64(seed);
        count.model[0] += 1;
        count.closing.record.model = vectorRoot(wideBytesOf(count.model));
        close64(count);
        CoordinateProof memory proof = proofOf(count, 0);
        bytes memory data = bytes.concat(proof.updates, proof.model);
        place = bound(place, 0, data.length * 8 - 1);
        data[place / 8] ^= bytes1(uint8(bitAt(place % 8)));
        copyWords({
            from: data,
            start: 0,
            to: proof.updates,
            place: 0,
            length: data.length - proof.model.length
        });
        proof.model = tailOf(data, data.length - proof.model.length);
        refuses(count, proof, ICourtBase.Court_NotIncluded.selector);
        assertStands64(count);
    }

    // ------------------------------------------------------------------ its data

    /// Twice as many chunks as a model of as many coordinates has: each can be had, and no more.
    function testFuzz_sum_everyChunkCanBeDemanded(uint256 seed, uint256 index, bool ofModel)
        public
    {
        Count memory count = anyHonest64(seed);
        uint256 chunks = (count.model.length + 127) / 128;
        index = bound(index, 0, chunks - 1);
        uint256 who = pick(seed, "who", count.list.length);
        Target memory target = ofModel
            ? Target(What.Model, uint32(index), 0, "", new bytes32[](0))
            : Target(
                What.Update,
                uint32(index),
                uint32(who),
                packed(count.list[who]),
                pathOf(entryLeaves(count.list), who)
            );
        int64[] memory vector = ofModel ? count.model : count.updates[who];
        bytes memory answer = opening(wideBytesOf(vector), index);
        vm.prank(CHALLENGER);
        bytes32 demand =
            court.demandChunk(count.id, count.round, count.closing, count.previous, target);
        court.answerDemand(demand, count.closing, answer);

        target.index = uint32(chunks);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, chunks, chunks)
        );
        vm.prank(CHALLENGER);
        court.demandChunk(count.id, count.round, count.closing, count.previous, target);
    }

    /// A registered contribution is shown chunk by chunk, and refused exactly beyond the bound.
    function testFuzz_sum_registrationIsRefusedBeyondTheBound(
        uint256 seed,
        uint256 coordinate,
        int64 value
    ) public {
        StudyParams memory params = sumParams(Recording.Root, 130);
        Count memory count = begin64(params, 2, seed);
        coordinate = bound(coordinate, 0, 129);
        int64 most = int64(uint64(params.updateBound));
        if (seed % 2 == 0) value = value % 3 + (value < 0 ? -most : most);
        count.updates[1][coordinate] = value;
        count.list[1].update = vectorRoot(wideBytesOf(count.updates[1]));
        sign64(count, 1);
        bytes memory entry = packed(count.list[1]);
        address site = count.list[1].site;
        ward.contribute(count.id, 1, count.previous, entry);
        uint256 chunk = coordinate / 128;
        bytes memory update = opening(wideBytesOf(count.updates[1]), chunk);
        showAll(count, entry);

        bool fits = value >= -most && value <= most;
        if (fits) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    ICourtBase.Court_ContributionFits.selector, coordinate, int256(value)
                )
            );
        }
        court.refuseContribution(count.id, 1, count.previous, entry, uint32(coordinate), update, "");
        bytes32 previous = keccak256(abi.encode(count.previous));
        assertTrue(court.standing(count.id, 1, previous, site).refused != fits, "refused");
    }

    /// Nothing is shown of a base, and a closing with such a contribution is proven wrong by it alone.
    function testFuzz_sum_updateIsProvenBeyondTheBound(
        uint256 seed,
        uint256 coordinate,
        int64 value,
        bytes calldata base
    ) public {
        StudyParams memory params = sumParams(Recording(seed % 2), 130);
        Count memory count = begin64(params, 2, seed);
        coordinate = bound(coordinate, 0, 129);
        int64 most = int64(uint64(params.updateBound));
        if (seed % 4 < 2) value = value % 3 + (value < 0 ? -most : most);
        count.updates[1][coordinate] = value;
        count.list[1].update = vectorRoot(wideBytesOf(count.updates[1]));
        sign64(count, 1);
        count.closing.record.contributions = rootOf(entryLeaves(count.list));
        close64(count);
        UpdateProof memory proof = UpdateProof(
            uint32(coordinate), opening(wideBytesOf(count.updates[1]), coordinate / 128), base
        );
        bytes memory refusal;
        if (base.length != 0) {
            refusal =
                abi.encodeWithSelector(ICourtBase.Court_OpeningMalformed.selector, base.length, 0);
        } else if (value >= -most && value <= most) {
            refusal = abi.encodeWithSelector(
                ICourtBase.Court_ContributionFits.selector, coordinate, int256(value)
            );
        }
        (bool done, bytes memory given) = challengeUpdate(count, proof);
        assertEq(keccak256(given), keccak256(refusal), "refusal");
        proof.base = "";
        if (base.length != 0) (done,) = challengeUpdate(count, proof);
        assertTrue(done == (value < -most || value > most), "proven");
        assertEq(ward.study(count.id).head, done ? 1 : 2, "open again");
    }

    function challengeUpdate(Count memory count, UpdateProof memory proof)
        internal
        returns (bool, bytes memory)
    {
        bytes32[] memory path = pathOf(entryLeaves(count.list), 1);
        bytes memory call = abi.encodeCall(
            court.challengeUpdate,
            (count.id, 1, count.closing, count.previous, packed(count.list[1]), 1, path, proof)
        );
        vm.prank(CHALLENGER);
        return address(court).call(call);
    }

    /// Both chunks, and there is no third.
    function showAll(Count memory count, bytes memory entry) internal {
        address site = count.list[1].site;
        vm.startPrank(FIRST);
        court.demandContribution(count.id, 1, site, 0, 2);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, 3, 2));
        court.demandContribution(count.id, 1, site, 2, 1);
        vm.stopPrank();
        bytes32 previous = keccak256(abi.encode(count.previous));
        Shown memory shown = shownOf(wideBytesOf(count.updates[1]), 0, 2);
        court.answerContribution(count.id, 1, previous, entry, 0, shown.data, shown.path);
    }

    // ------------------------------------------------------------------ the study

    function testFuzz_sum_hasNoArgument(uint16 argument) public {
        StudyParams memory params = sumParams(Recording.Full, 3);
        params.ruleArgument = argument;
        if (argument != 0) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IWardRoundBase.WardRound_ParameterInvalid.selector, "ruleArgument"
                )
            );
        }
        create(params);
    }

    // ------------------------------------------------------------------ inside

    function sumParams(Recording recording, uint32 parameterCount)
        internal
        view
        returns (StudyParams memory params)
    {
        params = sampleParams(recording);
        params.rule = Rule.Sum;
        params.parameterCount = parameterCount;
        params.updateBound = 1000;
    }

    function any64(uint256 seed) internal returns (Count memory) {
        StudyParams memory params =
            sumParams(Recording(pick(seed, "recording", 2)), uint32(1 + pick(seed, "small", 6)));
        // Around the edges of one and two chunks; not always, because it takes longer.
        if (pick(seed, "wide", 8) == 0) {
            params.parameterCount = uint32(126 + 128 * pick(seed, "chunks", 2) + pick(seed, "r", 5));
        }
        uint32[3] memory bounds = [1, 1000, 2 ** 31 - 1];
        params.updateBound = bounds[pick(seed, "bound", 3)];
        return begin64(params, 1 + pick(seed, "sites", 6), seed);
    }

    /// The first round of its study or, to see that nothing is added to, the second.
    function anyHonest64(uint256 seed) internal returns (Count memory count) {
        count = any64(seed);
        close64(count);
        if (pick(seed, "second", 2) == 1) {
            vm.warp(block.timestamp + 1 hours);
            Closing memory next;
            (count.previous, count.closing) = (count.closing, next);
            count.round = 2;
            contributeAll64(count, count.list.length, seed ^ 1);
            close64(count);
        }
    }

    function begin64(StudyParams memory params, uint256 sites, uint256 seed)
        internal
        returns (Count memory count)
    {
        params.initialModel = vectorRoot(wideBytesOf(new int64[](params.parameterCount)));
        count.params = params;
        count.id = open(params, sites);
        count.round = 1;
        count.previous = beginning(params);
        contributeAll64(count, sites, seed);
    }

    function contributeAll64(Count memory count, uint256 sites, uint256 seed) internal view {
        count.list = drafts(count.id, count.round, count.previous.record.model, sites, seed);
        count.updates = new int64[][](sites);
        uint256 most = count.params.updateBound;
        for (uint256 i = 0; i < sites; ++i) {
            count.updates[i] = new int64[](count.params.parameterCount);
            for (uint256 j = 0; j < count.updates[i].length; ++j) {
                uint256 random = uint256(keccak256(abi.encode(seed, i, j)));
                count.updates[i][j] = int64(uint64(random % (2 * most + 1))) - int64(uint64(most));
            }
        }
        settle64(count);
    }

    function sign64(Count memory count, uint256 i) internal view {
        Draft memory draft = count.list[i];
        bytes32 digest = digestOf(count.id, count.round, count.previous.record.model, draft);
        draft.signature = signed(draft.key, digest);
    }

    /// Signs all contributions, and records their sum, modulo 2**64.
    function settle64(Count memory count) internal view {
        count.model = new int64[](count.params.parameterCount);
        for (uint256 i = 0; i < count.list.length; ++i) {
            count.list[i].update = vectorRoot(wideBytesOf(count.updates[i]));
            sign64(count, i);
            for (uint256 j = 0; j < count.model.length; ++j) {
                unchecked {
                    count.model[j] += count.updates[i][j];
                }
            }
        }
        count.closing.record = recordOf(count.list);
        count.closing.record.model = vectorRoot(wideBytesOf(count.model));
    }

    function close64(Count memory count) internal {
        count.closing.coordinator = FIRST;
        close(count.id, count.round, count.params, count.closing, count.previous, count.list);
    }

    function proofOf(Count memory count, uint256 coordinate)
        internal
        pure
        returns (CoordinateProof memory proof)
    {
        proof.coordinate = uint32(coordinate);
        proof.updates = openings64(count, coordinate, 0, count.list.length);
        proof.model = opening(wideBytesOf(count.model), coordinate / 128);
    }

    function openings64(Count memory count, uint256 coordinate, uint256 from, uint256 to)
        internal
        pure
        returns (bytes memory all)
    {
        for (uint256 i = from; i < to; ++i) {
            all = bytes.concat(all, opening(wideBytesOf(count.updates[i]), coordinate / 128));
        }
    }

    /// Counts all entries, in steps of any sizes.
    function counted(Count memory count, uint256 coordinate, uint256 seed)
        internal
        returns (uint256 tally)
    {
        TallyStart memory start;
        start.coordinate = uint32(coordinate);
        start.model = opening(wideBytesOf(count.model), coordinate / 128);
        vm.startPrank(CHALLENGER);
        tally = court.openTally(count.id, count.round, count.closing, count.previous, start);
        uint256 sites = count.list.length;
        uint256 from;
        while (from < sites) {
            uint256 to = from + 1 + pick(seed ^ from, "step", sites - from);
            bytes memory entries;
            for (uint256 i = from; i < to; ++i) {
                entries = bytes.concat(entries, packed(count.list[i]));
            }
            court.addToTally(tally, entries, openings64(count, coordinate, from, to), "");
            from = to;
        }
        vm.stopPrank();
    }

    function overturns(
        Count memory count,
        uint256 coordinate,
        bool tallied,
        uint256 seed,
        int256 expected
    ) internal {
        uint256 tally = tallied ? counted(count, coordinate, seed) : 0;
        CoordinateProof memory proof = proofOf(count, coordinate);
        bytes memory entries = packed(count.list);
        vm.expectEmit(address(court));
        emit ICourtBase.CoordinateProven(
            count.id, count.round, CHALLENGER, uint32(coordinate), expected, count.model[coordinate]
        );
        vm.prank(CHALLENGER);
        if (tallied) {
            court.finishTally(tally, count.closing);
        } else {
            court.challengeCoordinate(
                count.id, count.round, count.closing, count.previous, entries, proof
            );
        }
        assertEq(ward.study(count.id).head, count.round, "open again");
        assertTrue(ward.seat(count.id, FIRST).barred, "barred");
    }

    function rejects(Count memory count, CoordinateProof memory proof, bytes memory reason)
        internal
    {
        bytes memory entries = packed(count.list);
        vm.expectRevert(reason);
        court.challengeCoordinate(
            count.id, count.round, count.closing, count.previous, entries, proof
        );
    }

    /// Whatever the error's arguments are.
    function refuses(Count memory count, CoordinateProof memory proof, bytes4 selector) internal {
        bytes memory call = abi.encodeCall(
            IChallenges.challengeCoordinate,
            (count.id, count.round, count.closing, count.previous, packed(count.list), proof)
        );
        (bool done, bytes memory given) = address(court).call(call);
        assertTrue(!done && bytes4(given) == selector, "refused");
    }

    function assertStands64(Count memory count) internal view {
        assertTrue(ward.study(count.id).head > count.round, "still closed");
        assertTrue(!ward.seat(count.id, FIRST).barred, "not barred");
    }

    function tailOf(bytes memory data, uint256 start) internal pure returns (bytes memory tail) {
        tail = new bytes(data.length - start);
        copyWords({from: data, start: start, to: tail, place: 0, length: tail.length});
    }
    // forge-lint: disable-end(unsafe-typecast)
}
