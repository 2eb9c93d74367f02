// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    CoordinateProof,
    DemandStatus,
    NodeProof,
    TallyStart,
    Target,
    What
} from "../src/interfaces/ICourt.sol";
import {ICourtBase} from "../src/interfaces/ICourtBase.sol";
import {Named, Rule, Scoring, StudyParams} from "../src/interfaces/IWardRound.sol";
import {ScoreScene} from "./ScoreScene.sol";

/// Whole rounds of up to three levels of sums: a run takes a hundred times the gas of most others.
/// forge-config: deep.fuzz.runs = 500
contract CourtScoresTest is ScoreScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    // ------------------------------------------------------------------ sum trees

    /// Any number of any tree, its total too, is proven wrong where it is, whatever is put there.
    function testFuzz_challengeNode_provesAnyWrongNumber(uint256 seed, uint256 number, uint256 lie)
        public
    {
        (Story memory story, Ledger memory ledger) = scored(seed);
        (Named named, uint256 row, uint256 page, uint256 place) = anyNode(ledger, seed, number);
        bytes memory tree = ledger.trees[uint256(named)][row];
        bool inTree = page < tree.length / 1024;
        bytes memory data = inTree ? tree : ledger.rows[uint256(named)][row];
        uint256 where = inTree ? page * 32 + place : 0;
        if (lie == wordAt(data, where)) ++lie;
        setWord(data, where, lie);
        if (inTree) setWord(ledger.rows[uint256(named)][row], 1, uint256(vectorRoot(tree)));
        commitTo(story.closing.record, ledger);
        close(story);
        NodeProof memory proof = nodeProof(story, ledger, named, row, page, place);
        vm.prank(CHALLENGER);
        court.challengeNode(story.id, 1, story.closing, story.previous, proof);
        assertOverturned(story);
    }

    function testFuzz_challengeNode_againstTheTruth(uint256 seed, uint256 number) public {
        (Story memory story, Ledger memory ledger) = scored(seed);
        close(story);
        (Named named, uint256 row, uint256 page, uint256 place) = anyNode(ledger, seed, number);
        NodeProof memory proof = nodeProof(story, ledger, named, row, page, place);
        bytes memory tree = ledger.trees[uint256(named)][row];
        int256 value = int256(
            page < tree.length / 1024
                ? wordAt(tree, page * 32 + place)
                : wordAt(ledger.rows[uint256(named)][row], 0)
        );
        vm.expectRevert(abi.encodeWithSelector(ICourtBase.Court_NodeRight.selector, value));
        court.challengeNode(story.id, 1, story.closing, story.previous, proof);
    }

    /// Whatever else is shown of an honest round proves nothing.
    function testFuzz_challengeNode_withAnyOtherData(uint256 seed, uint256 number, uint256 what)
        public
    {
        (Story memory story, Ledger memory ledger) = scored(seed);
        close(story);
        (Named named, uint256 row, uint256 page, uint256 place) = anyNode(ledger, seed, number);
        NodeProof memory proof = nodeProof(story, ledger, named, row, page, place);
        what = bound(what, 0, 5);
        if (what == 0) proof.openings[seed % proof.openings.length] ^= 0x01;
        if (what == 1) proof.named = Named((uint256(named) + 1 + seed % 3) % 4);
        if (what == 2) proof.row = uint32(seed);
        if (what == 3) proof.page = uint32(seed);
        if (what == 4) proof.place = uint32(seed);
        if (what == 5) proof.openings = bytes.concat(proof.openings, bytes32(seed));
        try court.challengeNode(story.id, 1, story.closing, story.previous, proof) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
        assertStands(story);
    }

    // ------------------------------------------------------------------ scores

    function testFuzz_challengeScore_provesAWrongScoreOrSum(
        uint256 seed,
        uint256 index,
        uint256 lie
    ) public {
        (Story memory story, Ledger memory ledger) = projected(seed);
        index = bound(index, 0, story.list.length - 1);
        uint256 place = 2 + seed % 2;
        bytes memory row = ledger.rows[3][index];
        if (lie == wordAt(row, place)) ++lie;
        setWord(row, place, lie);
        commitTo(story.closing.record, ledger);
        close(story);
        bytes memory shown = scoreOpenings(story, ledger, index);
        vm.prank(CHALLENGER);
        court.challengeScore(story.id, 1, story.closing, uint32(index), shown);
        assertOverturned(story);
    }

    function testFuzz_challengeScore_againstTheTruth(uint256 seed, uint256 index) public {
        (Story memory story, Ledger memory ledger) = projected(seed);
        close(story);
        index = bound(index, 0, story.list.length - 1);
        bytes memory shown = scoreOpenings(story, ledger, index);
        bytes memory row = ledger.rows[3][index];
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_ScoreRight.selector, wordAt(row, 2), wordAt(row, 3)
            )
        );
        court.challengeScore(story.id, 1, story.closing, uint32(index), shown);
        shown[seed % shown.length] ^= 0x01;
        try court.challengeScore(story.id, 1, story.closing, uint32(index), shown) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
    }

    /// A clip factor is in no row: a norm that is wrong is proven as a node, and what follows from the
    /// norms that are recorded is proven from all of them, however large these are.
    function test_challengeScore_ofAnyNorms() public {
        StudyParams memory params = scoredParams(2, 4);
        params.parameterCount = 5;
        (Story memory story, Ledger memory ledger) = beginScored(params, 4, 11);
        for (uint256 i = 0; i < 4; ++i) {
            setWord(ledger.rows[1][i], 0, type(uint256).max - i);
            setWord(ledger.rows[3][i], 0, uint256(type(int256).max) - i);
            setWord(ledger.rows[3][i], 2, type(uint256).max - i);
        }
        commitTo(story.closing.record, ledger);
        close(story);
        bytes memory shown = scoreOpenings(story, ledger, 1);
        vm.prank(CHALLENGER);
        court.challengeScore(story.id, 1, story.closing, 1, shown);
        assertOverturned(story);
    }

    // ------------------------------------------------------------------ ranks

    function testFuzz_challengeRank_provesAWrongOne(uint256 seed, uint256 index, uint256 lie)
        public
    {
        (Story memory story, Ledger memory ledger) = ranked(seed);
        index = bound(index, 0, story.list.length - 1);
        if (lie == wordAt(ledger.rows[2][index], 0)) ++lie;
        setWord(ledger.rows[2][index], 0, lie);
        commitTo(story.closing.record, ledger);
        close(story);
        bytes memory shown = rankOpenings(ledger, index);
        vm.prank(CHALLENGER);
        court.challengeRank(story.id, 1, story.closing, uint32(index), shown);
        assertOverturned(story);
    }

    function testFuzz_challengeRank_againstTheTruth(uint256 seed, uint256 index) public {
        (Story memory story, Ledger memory ledger) = ranked(seed);
        close(story);
        index = bound(index, 0, story.list.length - 1);
        bytes memory shown = rankOpenings(ledger, index);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICourtBase.Court_RankRight.selector, wordAt(ledger.rows[2][index], 0)
            )
        );
        court.challengeRank(story.id, 1, story.closing, uint32(index), shown);
        shown[seed % shown.length] ^= 0x01;
        try court.challengeRank(story.id, 1, story.closing, uint32(index), shown) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
    }

    // ------------------------------------------------------------------ coordinates

    function testFuzz_challengeCoordinate_ofScaledUpdates(
        uint256 seed,
        uint256 coordinate,
        int32 shift
    ) public {
        (Story memory story, Ledger memory ledger) = scored(seed);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        int32 right = story.model[coordinate];
        story.model[coordinate] ^= shift;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        CoordinateProof memory proof = scaledProof(story, ledger, coordinate);
        bytes memory entries = packed(story.list);
        if (shift == 0) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    ICourtBase.Court_CoordinateRight.selector, coordinate, int256(right)
                )
            );
        }
        vm.prank(CHALLENGER);
        court.challengeCoordinate(story.id, 1, story.closing, story.previous, entries, proof);
        if (shift != 0) assertOverturned(story);
        else assertStands(story);
    }

    function testFuzz_challengeCoordinate_ofScaledUpdates_withAnyOtherData(
        uint256 seed,
        uint256 what
    ) public {
        (Story memory story, Ledger memory ledger) = scored(seed);
        close(story);
        CoordinateProof memory proof = scaledProof(story, ledger, 0);
        bytes memory entries = packed(story.list);
        if (proof.rows.length == 0) {
            // Of another rule, rows are not looked at.
            what = 1;
        }
        what = bound(what, 0, 2);
        if (what == 0) proof.rows[seed % proof.rows.length] ^= 0x01;
        if (what == 1) proof.updates[seed % proof.updates.length] ^= 0x01;
        if (what == 2) proof.updates = bytes.concat(proof.updates, bytes32(seed));
        try court.challengeCoordinate(story.id, 1, story.closing, story.previous, entries, proof) {
            assertTrue(false, "an honest round was overturned");
        } catch {}
        assertStands(story);
    }

    // ------------------------------------------------------------------ tallies

    function testFuzz_tally_ofScaledUpdates(uint256 seed, uint256 coordinate, int32 shift) public {
        (Story memory story, Ledger memory ledger) = scored(seed);
        coordinate = bound(coordinate, 0, story.model.length - 1);
        story.model[coordinate] ^= shift;
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        close(story);
        uint256 tally = countScaled(story, ledger, coordinate, seed);
        vm.prank(CHALLENGER);
        try court.finishTally(tally, story.closing) {
            assertTrue(shift != 0, "an honest round was overturned");
            assertOverturned(story, story.params.deposit);
        } catch (bytes memory reason) {
            bytes32 right = selectorOf(abi.encodePacked(ICourtBase.Court_CoordinateRight.selector));
            assertEq(selectorOf(reason), right, "a wrong round is right");
            assertStands(story);
        }
    }

    // ------------------------------------------------------------------ demands

    /// What is hidden is demanded by its place alone, and shown all the way from the record.
    function testFuzz_demandChunk_ofARowAndPage(uint256 seed, uint256 number, bool shows) public {
        (Story memory story, Ledger memory ledger) = scored(seed);
        close(story);
        (Named named, uint256 row, uint256 page,) = anyNode(ledger, seed, number);
        bytes memory tree = ledger.trees[uint256(named)][row];
        if (page == tree.length / 1024) --page;
        bytes memory shown =
            bytes.concat(namedOpening(ledger, named), rowOpening(ledger, named, row));
        if (named == Named.Distances && seed % 2 == 0) {
            (named, row, page) = (Named.Ranks, row % story.list.length, 0);
            shown = bytes.concat(namedOpening(ledger, named), rowOpening(ledger, named, row));
        } else {
            shown = bytes.concat(shown, opening(tree, page));
        }
        Target memory target = Target(
            What(uint256(What.Distances) + uint256(named)),
            uint32(page),
            uint32(row),
            "",
            new bytes32[](0)
        );
        vm.prank(CHALLENGER);
        bytes32 demand = court.demandChunk(story.id, 1, story.closing, story.previous, target);
        if (shows) {
            shown[seed % shown.length] ^= 0x01;
            try court.answerDemand(demand, story.closing, shown) {
                assertTrue(false, "other data was taken");
            } catch {}
            shown[seed % shown.length] ^= 0x01;
            court.answerDemand(demand, story.closing, shown);
            assertTrue(court.demandOf(demand).status == DemandStatus.Answered, "answered");
            assertStands(story);
        } else {
            vm.warp(block.timestamp + story.params.demandSeconds + 1);
            court.closeDemand(demand, story.closing);
            assertOverturned(story, story.params.deposit);
        }
    }

    function test_demandChunk_namesWhatThereIsNot() public {
        StudyParams memory params = scoredParams(2, 4);
        params.parameterCount = 300;
        (Story memory story,) = beginScored(params, 4, 7);
        close(story);
        Target memory target = Target(What.Ranks, 0, 0, "", new bytes32[](0));
        expectDemand(
            story,
            target,
            abi.encodeWithSelector(ICourtBase.Court_NameUnknown.selector, Named.Ranks)
        );
        target.what = What.Norms;
        target.entryIndex = 4;
        expectDemand(
            story, target, abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, 4, 4)
        );
        target.entryIndex = 3;
        target.index = 1;
        expectDemand(
            story, target, abi.encodeWithSelector(ICourtBase.Court_TargetUnknown.selector, 1, 1)
        );
    }

    // ------------------------------------------------------------------ inside

    function expectDemand(Story memory story, Target memory target, bytes memory reason) internal {
        vm.expectRevert(reason);
        court.demandChunk(story.id, 1, story.closing, story.previous, target);
    }

    /// Opens a tally and counts all entries, one to three at a time.
    function countScaled(Story memory story, Ledger memory ledger, uint256 coordinate, uint256 seed)
        internal
        returns (uint256 tally)
    {
        CoordinateProof memory proof = scaledProof(story, ledger, coordinate);
        TallyStart memory start = TallyStart(uint32(coordinate), 0, 0, proof.base, proof.model, "");
        bytes memory rows;
        if (story.params.rule != Rule.Mean) {
            Named named = story.params.rule == Rule.ClippedMean ? Named.Norms : Named.Ranks;
            start.named = namedOpening(ledger, named);
            rows = allRows(ledger, named);
        }
        vm.prank(CHALLENGER);
        tally = court.openTally(story.id, 1, story.closing, story.previous, start);
        uint256 to;
        for (uint256 from = 0; from < story.list.length; from = to) {
            to = from + 1 + (seed >> from) % 3;
            if (to > story.list.length) to = story.list.length;
            (bytes memory entries, bytes memory updates) =
                portion(story, ledger, coordinate / 256, from, to);
            vm.prank(CHALLENGER);
            court.addToTally(tally, entries, updates, rows);
        }
    }

    function portion(
        Story memory story,
        Ledger memory ledger,
        uint256 chunk,
        uint256 from,
        uint256 to
    ) internal pure returns (bytes memory entries, bytes memory updates) {
        for (uint256 i = from; i < to; ++i) {
            entries = bytes.concat(entries, packed(story.list[i]));
        }
        updates = story.params.rule == Rule.MultiKrum
            ? selectedUpdates(story, ledger, chunk, from, to)
            : openings(story, chunk, from, to);
    }

    function projected(uint256 seed) internal returns (Story memory, Ledger memory) {
        uint256 sites = 2 + pick(seed, "sites", 4);
        StudyParams memory params = scoredParams(2 * pick(seed, "kind", 2), sites);
        params.parameterCount = uint32(1 + pick(seed, "small", 6));
        return beginScored(params, sites, seed);
    }

    function ranked(uint256 seed) internal returns (Story memory, Ledger memory) {
        uint256 sites = 3 + pick(seed, "sites", 5);
        StudyParams memory params = scoredParams(3, sites);
        params.parameterCount = uint32(1 + pick(seed, "small", 6));
        return beginScored(params, sites, seed);
    }

    /// Any place in any tree that a record commits to; the page behind the last is the total's.
    function anyNode(Ledger memory ledger, uint256 seed, uint256 number)
        internal
        pure
        returns (Named named, uint256 row, uint256 page, uint256 place)
    {
        uint256 tree = pick(seed, "tree", 4);
        while (ledger.trees[tree].length == 0) tree = (tree + 1) % 4;
        named = Named(tree);
        row = pick(seed, "row", ledger.trees[tree].length);
        uint256 pages = ledger.trees[tree][row].length / 1024;
        number = bound(number, 0, 32 * pages);
        (page, place) = (number / 32, number % 32);
    }
    // forge-lint: disable-end(unsafe-typecast)
}
