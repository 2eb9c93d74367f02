// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Tally, TallyStart} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {Recording, Rule, StudyParams} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

/// Proofs that are counted in steps. Each run is a whole round.
/// forge-config: deep.fuzz.runs = 2000
contract CourtTallyTest is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    uint32 internal constant NO_COORDINATE = type(uint32).max;

    // ------------------------------------------------------------------ what it proves

    function testFuzz_tally_provesAnyWrongUnit(uint256 seed, uint256 coordinate, int32 shift)
        public
    {
        uint256 sites = 1 + pick(seed, "sites", 12);
        Story memory story = begin(anyParams(seed, sites), sites, seed);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        int32 right = story.model[coordinate];
        story.model[coordinate] ^= shift == 0 ? int32(1) : shift;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);

        uint256 tally = counted(story, startFor(story, coordinate), seed);
        vm.expectEmit(address(court));
        emit ICourtBase.CoordinateProven(
            story.id, 1, CHALLENGER, uint32(coordinate), right, story.model[coordinate]
        );
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);
        assertOverturned(story, story.params.deposit);
    }

    function testFuzz_tally_neverOverturnsTheHonest(
        uint256 seed,
        uint256 coordinate,
        int32 low,
        int32 high
    ) public {
        Story memory story = anyHonest(seed);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        TallyStart memory start = startFor(story, coordinate);
        uint256 tally = counted(story, start, seed);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_CoordinateRight.selector, coordinate, story.model[coordinate]
            )
        );
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);

        // Nor with any other two values, near or far.
        (start.low, start.high) = seed % 2 == 0
            ? (low, high)
            : (nudged(start.low, low % 2), nudged(start.high, high % 2));
        tally = counted(story, start, seed ^ 1);
        vm.prank(CHALLENGER);
        try court.finishTally(tally, story.closing) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
        assertStands(story);
    }

    function testFuzz_tally_provesWrongTotals(uint256 seed, uint32 count, bool withCoordinate)
        public
    {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 5;
        Story memory story = begin(params, 1 + pick(seed, "sites", 12), seed);
        uint64 weight = story.closing.record.totalWeight;
        count = uint32(bound(count, 1, weight));
        vm.assume(count != story.list.length);
        story.closing.record.count = count;
        close(story);
        TallyStart memory start = withCoordinate ? startFor(story, 3) : startForNone();
        uint256 tally = counted(story, start, seed);
        vm.expectEmit(address(court));
        emit ICourtBase.TotalsProven(story.id, 1, CHALLENGER, story.list.length, weight);
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);
        assertOverturned(story, story.params.deposit);
    }

    function testFuzz_tally_ofTotalsNeverOverturnsTheHonest(uint256 seed) public {
        Story memory story = anyHonest(seed);
        uint256 tally = counted(story, startForNone(), seed);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_TotalsRight.selector,
                story.list.length,
                story.closing.record.totalWeight
            )
        );
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);
        assertStands(story);
    }

    /// All entries, each once, in their order, with the chunks they name: nothing else counts.
    function testFuzz_tally_rejectsOtherEntriesAndData(uint256 seed, uint256 what) public {
        Story memory story = cheated(seed);
        uint256 last = story.list.length - 1;
        uint256 tally = opened(story, startFor(story, 0));
        add(story, tally, 0, last);
        what = bound(what, 0, 4);
        bytes memory entries = packed(story.list[last]);
        bytes memory updates = openings(story, 0, last, last + 1);
        if (what == 0) entries[seed % 157] ^= bytes1(uint8(bitAt(seed % 8)));
        if (what == 1) updates[seed % updates.length] ^= bytes1(uint8(bitAt(seed % 8)));
        if (what == 2) (entries, updates) = ("", "");
        if (what == 3) {
            entries = bytes.concat(entries, entries);
            updates = bytes.concat(updates, updates);
        }
        if (what == 4) updates = bytes.concat(updates, updates);
        vm.startPrank(CHALLENGER);
        try court.addToTally(tally, entries, updates, "") {
            try court.finishTally(tally, story.closing) {
                assertTrue(false, "entries that are not the record's were counted");
            } catch {}
        } catch {}
        vm.stopPrank();
        assertStands(story);
    }

    function test_tally_ofMoreSitesThanOneTransactionCarries() public {
        StudyParams memory params = sampleParams(Recording.Root);
        params.parameterCount = 2;
        params.rule = Rule.TrimmedMean;
        params.ruleArgument = 40;
        params.minSites = 81;
        Story memory story = begin(params, 150, 1);
        story.model[1] += 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        uint256 tally = opened(story, startFor(story, 1));
        for (uint256 from = 0; from < 150; from += 50) {
            add(story, tally, from, from + 50);
        }
        assertEq(court.tallyOf(tally).count, 150, "counted");
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);
        assertOverturned(story, story.params.deposit);
    }

    // ------------------------------------------------------------------ whose, and when

    function testFuzz_tally_onlyByWhoOpenedIt(uint256 seed, address other) public {
        vm.assume(other != CHALLENGER);
        Story memory story = cheated(seed);
        uint256 tally = opened(story, startForNone());
        bytes memory entries = packed(story.list);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TallyNotYours.selector, tally));
        vm.prank(other);
        court.addToTally(tally, entries, "", "");
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TallyNotYours.selector, tally));
        vm.prank(other);
        court.finishTally(tally, story.closing);
    }

    /// Opened in the last second, and each step in the last second after the one before.
    function testFuzz_tally_lastMomentsCannotWinByTime(uint256 seed) public {
        Story memory story = cheated(seed);
        uint256 window = story.params.challengeSeconds;
        vm.warp(story.closing.closedAt + window - 1);
        uint256 tally = opened(story, startFor(story, 0));
        vm.warp(block.timestamp + window - 1);
        assertTrue(!ward.isFinal(story.id, story.round, story.closing), "held");
        add(story, tally, 0, story.list.length);
        vm.warp(block.timestamp + window - 1);
        assertTrue(!ward.isFinal(story.id, story.round, story.closing), "held again");
        vm.prank(CHALLENGER);
        court.finishTally(tally, story.closing);
        assertOverturned(story, story.params.deposit);
    }

    function testFuzz_tally_holdsNoLongerThanThis(uint256 seed, uint256 steps) public {
        Story memory story = anyHonest(seed);
        uint256 window = story.params.challengeSeconds;
        uint256 most = story.closing.closedAt + 4 * window + 2 * uint256(story.params.demandSeconds);
        uint256 tally = opened(story, startForNone());
        steps = bound(steps, 1, 12);
        for (uint256 i = 0; i < steps; ++i) {
            vm.warp(block.timestamp + window - 1);
            vm.prank(CHALLENGER);
            try court.addToTally(tally, "", "", "") {
                assertTrue(block.timestamp < most, "not for ever");
            } catch {
                assertTrue(ward.isFinal(story.id, story.round, story.closing), "final");
            }
        }
        vm.warp(most);
        assertTrue(ward.isFinal(story.id, story.round, story.closing), "final in the end");
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_NotChallengeable.selector, story.id, story.round
            )
        );
        court.openTally(story.id, story.round, story.closing, story.previous, startForNone());
    }

    /// Delay costs its author: the deposit goes to who closed the round.
    function testFuzz_closeTally_paysTheAccused(uint256 seed, address closer) public {
        Story memory story = anyHonest(seed);
        uint256 before = token.balanceOf(CHALLENGER);
        uint256 tally = opened(story, startForNone());
        uint256 deposit = story.params.deposit;
        assertEq(token.balanceOf(CHALLENGER), before - deposit, "deposit");
        uint256 until = court.tallyOf(tally).until;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TooEarly.selector, until));
        court.closeTally(tally, story.closing);
        vm.warp(until);
        vm.expectEmit(address(court));
        emit ICourtBase.TallyClosed(tally, FIRST);
        vm.prank(closer);
        court.closeTally(tally, story.closing);
        assertEq(ward.owed(story.id, FIRST), deposit, "to the accused");
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TallyOver.selector, tally));
        court.closeTally(tally, story.closing);
        assertStands(story);
    }

    function test_closeTally_ofARoundThatAnotherOverturned() public {
        Story memory story = cheated(2);
        uint256 tally = opened(story, startForNone());
        challengeCoordinate(story, 0);
        court.closeTally(tally, story.closing);
        assertOverturned(story, story.params.deposit);
        assertEq(ward.owed(story.id, FIRST), 0, "nothing to the cheater");
    }

    function test_closeTally_onlyWithItsClosing() public {
        Story memory story = cheated(2);
        uint256 tally = opened(story, startForNone());
        bytes32 stored = keccak256(abi.encode(story.closing));
        story.closing.coordinator = SECOND;
        bytes32 given = keccak256(abi.encode(story.closing));
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_ClosingDiffers.selector, stored, given)
        );
        court.closeTally(tally, story.closing);
    }

    /// A tally that ran out must not make a final round open to challenges again.
    function test_tally_neverUndoesFinality() public {
        Story memory story = cheated(2);
        uint256 tally = opened(story, startForNone());
        vm.warp(block.timestamp + story.params.challengeSeconds);
        assertTrue(ward.isFinal(story.id, 1, story.closing), "final");
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_TooLate.selector, block.timestamp));
        vm.prank(CHALLENGER);
        court.addToTally(tally, "", "", "");
        assertTrue(ward.isFinal(story.id, 1, story.closing), "and stays so");
    }

    function test_tally_ofARoundThatIsGone() public {
        Story memory story = cheated(2);
        uint256 tally = opened(story, startForNone());
        challengeCoordinate(story, 0);
        Story memory again = story;
        again.closing.record.model = bytes32("another");
        close(again, SECOND);
        vm.expectRevert(
            abi.encodeWithSelector(ICourtBase.Court_NotChallengeable.selector, story.id, 1)
        );
        vm.prank(CHALLENGER);
        court.addToTally(tally, "", "", "");
    }

    // ------------------------------------------------------------------ inside

    function cheated(uint256 seed) internal returns (Story memory story) {
        StudyParams memory params = sampleParams(Recording.Full);
        params.parameterCount = 4;
        params.rule = Rule(pick(seed, "rule", 3));
        story = begin(params, 1 + pick(seed, "sites", 7), seed);
        story.model[0] ^= 1;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
    }

    function nudged(int32 value, int256 by) internal pure returns (int32) {
        int256 sum = value + by;
        return sum < type(int32).min || sum > type(int32).max ? value : int32(sum);
    }

    function startForNone() internal pure returns (TallyStart memory start) {
        start.coordinate = NO_COORDINATE;
    }

    function startFor(Story memory story, uint256 coordinate)
        internal
        pure
        returns (TallyStart memory start)
    {
        start.coordinate = uint32(coordinate);
        start.base = opening(bytesOf(story.base), coordinate / 256);
        start.model = opening(bytesOf(story.model), coordinate / 256);
        if (story.params.rule == Rule.Mean) return start;
        uint256 count = story.updates.length;
        int32[] memory values = new int32[](count);
        for (uint256 i = 0; i < count; ++i) {
            values[i] = story.updates[i][coordinate];
            for (uint256 j = i; j > 0 && values[j - 1] > values[j]; --j) {
                (values[j - 1], values[j]) = (values[j], values[j - 1]);
            }
        }
        uint256 first =
            story.params.rule == Rule.Median ? (count - 1) / 2 : story.params.ruleArgument;
        (start.low, start.high) = (values[first], values[count - 1 - first]);
    }

    function opened(Story memory story, TallyStart memory start) internal returns (uint256) {
        vm.prank(CHALLENGER);
        return court.openTally(story.id, story.round, story.closing, story.previous, start);
    }

    function add(Story memory story, uint256 tally, uint256 from, uint256 to) internal {
        bytes memory entries;
        for (uint256 i = from; i < to; ++i) {
            entries = bytes.concat(entries, packed(story.list[i]));
        }
        uint32 coordinate = court.tallyOf(tally).coordinate;
        bytes memory updates =
            coordinate == NO_COORDINATE ? bytes("") : openings(story, coordinate / 256, from, to);
        vm.prank(CHALLENGER);
        court.addToTally(tally, entries, updates, "");
    }

    /// Counts all entries, in steps of any sizes.
    function counted(Story memory story, TallyStart memory start, uint256 seed)
        internal
        returns (uint256 tally)
    {
        tally = opened(story, start);
        uint256 from;
        while (from < story.list.length) {
            uint256 to = from + pick(seed ^ from, "step", story.list.length - from + 1);
            add(story, tally, from, to);
            from = to == from ? from + 1 : to;
            if (to < from) add(story, tally, to, from);
        }
    }
    // forge-lint: disable-end(unsafe-typecast)
}
