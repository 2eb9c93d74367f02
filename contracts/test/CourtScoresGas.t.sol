// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {CoordinateProof, NodeProof, TallyStart} from "../src/interfaces/ICourt.sol";
import {IScores} from "../src/interfaces/IScores.sol";
import {Named, Rule, Scoring, StudyParams} from "../src/interfaces/IWardRound.sol";
import {GasScene} from "./GasScene.sol";

/// What proofs about whole updates cost at 75 and 100 sites with a million parameters, each in a
/// transaction of its own. Kept in snapshots/CourtScoresGasTest.json.
/// forge-config: default.isolate = true
contract CourtScoresGasTest is GasScene {
    // forge-lint: disable-start(unsafe-typecast)

    /// The pages of the three levels: 123, 4 and 1.
    uint256 internal constant PAGES = 128;
    uint256 internal constant ROW = 3;
    uint256 internal constant ONE_MILLION = 1_000_000;
    uint256 internal constant EIGHT_MILLION = 8_000_000;
    uint256 internal constant CALLDATA_LIMIT = 128 * 1024;

    /// A chunk's product, a sum of a page, and a total.
    function test_challengeNode_gas() public {
        uint256[3] memory pages = [CHUNK / 32, 123 + 1, PAGES];
        string[3] memory kinds = ["chunk", "page", "total"];
        for (uint256 i = 0; i < 3; ++i) {
            (Story memory story, bytes memory shown) = wideScores(75, pages[i], kinds[i]);
            uint256 place = pages[i] == PAGES ? 0 : CHUNK % 32;
            NodeProof memory proof =
                NodeProof(Named.Scores, uint32(ROW), uint32(pages[i]), uint32(place), shown);
            bytes memory call = abi.encodeCall(
                IScores.challengeNode, (story.id, 1, story.closing, story.previous, proof)
            );
            within(string.concat("challengeNode-", kinds[i]), 75, call, ONE_MILLION);
            assertOverturned(story);
        }
    }

    function test_challengeScore_gas() public {
        for (uint256 sites = 75; sites <= 100; sites += 25) {
            (Story memory story, Ledger memory ledger) = wideRows(2, sites, "score");
            close(story);
            bytes memory shown = scoreOpenings(story, ledger, ROW);
            bytes memory call = abi.encodeCall(
                IScores.challengeScore, (story.id, 1, story.closing, uint32(ROW), shown)
            );
            within("challengeScore", sites, call, ONE_MILLION);
            assertOverturned(story);
        }
    }

    function test_challengeRank_of75_gas() public {
        rankGas(75);
    }

    function test_challengeRank_of100_gas() public {
        rankGas(100);
    }

    function test_challengeCoordinate_ofScaledUpdates_gas() public {
        for (uint256 kind = 1; kind <= 3; kind += 2) {
            string memory name = kind == 1 ? "clippedMean" : "multiKrum";
            (Story memory story, Ledger memory ledger, CoordinateProof memory proof) =
                wideCoordinate(kind, 75, name);
            proof.rows =
                bytes.concat(namedOpening(ledger, scaledBy(kind)), allRows(ledger, scaledBy(kind)));
            bytes memory entries = packed(story.list);
            bytes memory call = abi.encodeCall(
                IChallenges.challengeCoordinate,
                (story.id, 1, story.closing, story.previous, entries, proof)
            );
            within(string.concat("challengeCoordinate-", name), 75, call, EIGHT_MILLION);
            assertOverturned(story);
        }
    }

    /// More sites than one transaction carries.
    function test_tally_ofTheClippedMean_gas() public {
        tallyGas(1);
    }

    function test_tally_ofMultiKrum_gas() public {
        tallyGas(3);
    }

    // ------------------------------------------------------------------ inside

    function rankGas(uint256 sites) internal {
        (Story memory story, Ledger memory ledger) = wideRows(3, sites, "rank");
        close(story);
        bytes memory shown = wideRankOpenings(ledger, sites);
        bytes memory call =
            abi.encodeCall(IScores.challengeRank, (story.id, 1, story.closing, uint32(ROW), shown));
        within("challengeRank", sites, call, EIGHT_MILLION);
        assertOverturned(story);
    }

    function tallyGas(uint256 kind) internal {
        {
            string memory name = kind == 1 ? "clippedMean" : "multiKrum";
            (Story memory story, Ledger memory ledger, CoordinateProof memory proof) =
                wideCoordinate(kind, 100, name);
            TallyStart memory start = TallyStart(
                proof.coordinate,
                0,
                0,
                proof.base,
                proof.model,
                namedOpening(ledger, scaledBy(kind))
            );
            bytes memory rows = allRows(ledger, scaledBy(kind));
            vm.prank(CHALLENGER);
            uint256 tally = court.openTally(story.id, 1, story.closing, story.previous, start);
            uint256 size = 1024 + 32 * 12;
            uint256 used;
            for (uint256 from = 0; from < 100; from += 50) {
                (bytes memory entries, uint256 count) = half(story, ledger, kind, from);
                bytes memory updates = part(proof.updates, used, count * size);
                used += count * size;
                bytes memory call =
                    abi.encodeCall(IChallenges.addToTally, (tally, entries, updates, rows));
                within(
                    string.concat("addToTally-", name, from == 0 ? "-first" : "-last"),
                    100,
                    call,
                    EIGHT_MILLION
                );
            }
            vm.prank(CHALLENGER);
            court.finishTally(tally, story.closing);
            assertOverturned(story, story.params.deposit);
        }
    }

    function within(string memory name, uint256 sites, bytes memory call, uint256 limit) internal {
        assertLe(call.length, CALLDATA_LIMIT, "calldata");
        measure(name, sites, address(court), call);
        (, uint256 used,,,) = vm.lastCallGas();
        assertLe(used, limit, name);
    }

    function scaledBy(uint256 kind) internal pure returns (Named) {
        return kind == 1 ? Named.Norms : Named.Ranks;
    }

    /// A closed round whose scores' sum trees are random at the places to be shown.
    function wideScores(uint256 sites, uint256 page, string memory seed)
        internal
        returns (Story memory story, bytes memory shown)
    {
        Ledger memory ledger;
        (story, ledger) = wideRows(0, sites, seed);
        bytes memory behind;
        bytes memory tree = randomBytes("page", 1024);
        bytes32 root;
        if (page == PAGES) {
            (root, behind) = openingAt(tree, seed, PAGES - 1, PAGES);
        } else if (page < 123) {
            (root, shown) = openingAt(tree, seed, page, PAGES);
            (bytes32 model, bytes memory opened) = wideOpening("model");
            (, bytes memory base) = wideOpening("base");
            (, bytes memory update) = wideOpening(vm.toString(ROW));
            story.closing.record.model = model;
            behind = bytes.concat(entryOpening(story, ROW), update, opened, base);
        } else {
            // Two neighbours of one tree: the page, and any other that the place does not sum.
            (root, shown, behind) = twoPages(page, CHUNK % 32 + 32 * (page - 123));
        }
        setWord(ledger.rows[3][ROW], 1, uint256(root));
        commitTo(story.closing.record, ledger);
        close(story);
        shown = bytes.concat(
            namedOpening(ledger, Named.Scores), rowOpening(ledger, Named.Scores, ROW), shown, behind
        );
    }

    /// Two random pages of one tree, and their openings.
    function twoPages(uint256 first, uint256 second)
        internal
        pure
        returns (bytes32 root, bytes memory one, bytes memory other)
    {
        bytes memory tree;
        for (uint256 i = 0; i < PAGES; ++i) {
            tree = bytes.concat(tree, randomBytes(vm.toString(i), 1024));
        }
        root = vectorRoot(tree);
        (one, other) = (opening(tree, first), opening(tree, second));
    }

    /// A round ready to be closed, whose rows are random and of whose vectors one chunk is known.
    function wideRows(uint256 kind, uint256 sites, string memory seed)
        internal
        returns (Story memory story, Ledger memory ledger)
    {
        StudyParams memory params = scoredParams(kind, sites);
        params.parameterCount = PARAMETERS;
        params.code = keccak256(abi.encode(kind, sites, seed));
        (params.initialModel,) = wideOpening("base");
        story.params = params;
        story.id = open(params, sites);
        story.round = 1;
        story.previous = beginning(params);
        story.list = drafts(story.id, 1, params.initialModel, sites, 1);
        for (uint256 i = 0; i < sites; ++i) {
            (story.list[i].update,) = wideOpening(vm.toString(i));
            sign(story, i);
        }
        story.closing.record = recordOf(story.list);
        (story.closing.record.model,) = wideOpening("model");
        uint8[4] memory sizes = [64, 64, 32, 128];
        for (uint256 named = 0; named < 4; ++named) {
            bool there = named == 1
                ? params.rule == Rule.ClippedMean
                : named == 3 ? params.scoring == Scoring.Projection : params.rule == Rule.MultiKrum;
            if (!there) continue;
            ledger.rows[named] = new bytes[](named == 0 ? sites * (sites - 1) / 2 : sites);
            for (uint256 i = 0; i < ledger.rows[named].length; ++i) {
                ledger.rows[named][i] =
                    randomBytes(string.concat(names[named], vm.toString(i)), sizes[named]);
                // Ranks of real updates are far below 2**224.
                if (named == 2) setWord(ledger.rows[2][i], 0, wordAt(ledger.rows[2][i], 0) >> 128);
            }
        }
        commitTo(story.closing.record, ledger);
    }

    function wideCoordinate(uint256 kind, uint256 sites, string memory seed)
        internal
        returns (Story memory story, Ledger memory ledger, CoordinateProof memory proof)
    {
        (story, ledger) = wideRows(kind, sites, seed);
        close(story);
        proof.coordinate = uint32(CHUNK * 256 + 17);
        (, proof.base) = wideOpening("base");
        (, proof.model) = wideOpening("model");
        bytes[] memory parts = new bytes[](sites);
        uint256[] memory chosen = kind == 3
            ? selectedOf(firstWords(ledger.rows[2]), story.params.ruleArgument)
            : new uint256[](sites);
        uint256 count;
        for (uint256 i = 0; i < sites; ++i) {
            if (kind == 3 && chosen[i] == 0) continue;
            (, parts[count++]) = wideOpening(vm.toString(i));
        }
        assembly ("memory-safe") {
            mstore(parts, count)
        }
        proof.updates = joined(parts);
    }

    /// Fifty entries, and how many of their updates are shown.
    function half(Story memory story, Ledger memory ledger, uint256 kind, uint256 from)
        internal
        pure
        returns (bytes memory entries, uint256 count)
    {
        count = 50;
        uint256[] memory chosen;
        if (kind == 3) chosen = selectedOf(firstWords(ledger.rows[2]), story.params.ruleArgument);
        for (uint256 i = from; i < from + 50; ++i) {
            entries = bytes.concat(entries, packed(story.list[i]));
            if (kind == 3 && chosen[i] == 0) --count;
        }
    }

    function part(bytes memory all, uint256 start, uint256 length)
        internal
        pure
        returns (bytes memory piece)
    {
        piece = new bytes(length);
        copyWords({from: all, start: start, to: piece, place: 0, length: length});
    }

    /// As `rankOpenings`, of a tree of thousands of rows.
    function wideRankOpenings(Ledger memory ledger, uint256 sites)
        internal
        view
        returns (bytes memory shown)
    {
        shown = bytes.concat(
            namedOpening(ledger, Named.Ranks),
            rowOpening(ledger, Named.Ranks, ROW),
            namedOpening(ledger, Named.Distances)
        );
        bytes32[][] memory levels = levelsOf(rowLeaves(ledger, 0));
        uint256 pair;
        for (uint256 i = 0; i < sites; ++i) {
            for (uint256 j = i + 1; j < sites; ++j) {
                if (i == ROW || j == ROW) {
                    shown = abi.encodePacked(shown, ledger.rows[0][pair], levelPath(levels, pair));
                }
                ++pair;
            }
        }
    }

    /// All nodes of a tree, so that each of many paths need not compute them again.
    function levelsOf(bytes32[] memory leaves) internal pure returns (bytes32[][] memory levels) {
        levels = new bytes32[][](1);
        levels[0] = leaves;
        while (leaves.length > 1) {
            bytes32[] memory above = new bytes32[]((leaves.length + 1) / 2);
            for (uint256 i = 0; i < above.length; ++i) {
                above[i] = 2 * i + 1 < leaves.length
                    ? sha256(abi.encodePacked(hex"01", leaves[2 * i], leaves[2 * i + 1]))
                    : leaves[2 * i];
            }
            leaves = above;
            bytes32[][] memory higher = new bytes32[][](levels.length + 1);
            for (uint256 i = 0; i < levels.length; ++i) {
                higher[i] = levels[i];
            }
            higher[levels.length] = above;
            levels = higher;
        }
    }

    function levelPath(bytes32[][] memory levels, uint256 index)
        internal
        pure
        returns (bytes memory path)
    {
        for (uint256 level = 0; level + 1 < levels.length; ++level) {
            if (index ^ 1 < levels[level].length) {
                path = abi.encodePacked(path, levels[level][index ^ 1]);
            }
            index /= 2;
        }
    }
    // forge-lint: disable-end(unsafe-typecast)
}
