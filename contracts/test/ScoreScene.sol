// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {CoordinateProof, NodeProof} from "../src/interfaces/ICourt.sol";
import {
    Named,
    Record,
    Recording,
    Rule,
    Scoring,
    StudyParams
} from "../src/interfaces/IWardRound.sol";
import {CourtScene} from "./CourtScene.sol";

/// Rounds whose records commit to numbers of whole updates, computed slowly and clearly.
abstract contract ScoreScene is CourtScene {
    // Every narrowed number was bounded above, or is fuzz whose upper bits may go.
    // forge-lint: disable-start(unsafe-typecast)

    /// Rows and, behind each, the pages of its sum tree; empty where the study has no such name.
    struct Ledger {
        bytes[][4] rows;
        bytes[][4] trees;
    }

    string[4] internal names = ["distances", "norms", "ranks", "scores"];

    // ------------------------------------------------------------------ rounds

    /// The kinds of studies that commit to something: 4.
    function scoredParams(uint256 kind, uint256 sites)
        internal
        view
        returns (StudyParams memory params)
    {
        params = sampleParams(Recording.Root);
        params.rule = [Rule.Mean, Rule.ClippedMean, Rule.ClippedMean, Rule.MultiKrum][kind];
        params.scoring = kind == 0 || kind == 2 ? Scoring.Projection : Scoring.Examples;
        if (params.rule == Rule.MultiKrum) {
            params.ruleArgument = uint16(sites < 5 ? 1 : 2);
            params.minSites = 2 * params.ruleArgument + 1;
        }
    }

    /// A round of a study that commits to something, ready to be closed. Every few are wide enough
    /// for a second level of sums.
    function scored(uint256 seed) internal returns (Story memory story, Ledger memory ledger) {
        uint256 kind = pick(seed, "kind", 4);
        uint256 sites = 3 + pick(seed, "sites", 4);
        StudyParams memory params = scoredParams(kind, sites);
        params.parameterCount = uint32(1 + pick(seed, "small", 600));
        if (pick(seed, "wide", 24) == 0) params.parameterCount = 256 * 33 + 5;
        return beginScored(params, sites, seed);
    }

    function beginScored(StudyParams memory params, uint256 sites, uint256 seed)
        internal
        returns (Story memory story, Ledger memory ledger)
    {
        story.base = baseModel(params.parameterCount, seed);
        params.initialModel = vectorRoot(bytesOf(story.base));
        story.params = params;
        story.id = open(params, sites);
        story.round = 1;
        story.previous = beginning(params);
        contributeAll(story, sites, seed);
        ledger = settleScored(story);
    }

    /// What an honest coordinator records.
    function settleScored(Story memory story) internal view returns (Ledger memory ledger) {
        uint256 sites = story.updates.length;
        Rule rule = story.params.rule;
        uint256[] memory factors = new uint256[](sites);
        if (rule == Rule.ClippedMean) {
            rowsOfNorms(story, ledger);
            factors = clipFactorsOf(firstWords(ledger.rows[1]));
        } else if (rule == Rule.MultiKrum) {
            rowsOfDistances(story, ledger);
            factors = selectedOf(firstWords(ledger.rows[2]), story.params.ruleArgument);
        } else {
            for (uint256 k = 0; k < sites; ++k) {
                factors[k] = 65_536;
            }
        }
        story.closing.record = recordOf(story.list);
        story.model = new int32[](story.base.length);
        for (uint256 i = 0; i < story.base.length; ++i) {
            int256 sum;
            int256 parts;
            for (uint256 k = 0; k < sites; ++k) {
                int256 value = story.updates[k][i];
                int256 weight = int256(uint256(story.list[k].weight));
                if (rule == Rule.MultiKrum) {
                    sum += value * int256(factors[k]);
                    parts += int256(factors[k]);
                } else {
                    sum += floored(value * int256(factors[k]), 65_536) * weight;
                    parts += weight;
                }
            }
            story.model[i] = int32(story.base[i] + floored(sum, parts));
        }
        story.closing.record.model = vectorRoot(bytesOf(story.model));
        if (story.params.scoring == Scoring.Projection) rowsOfScores(story, ledger, factors);
        commitTo(story.closing.record, ledger);
    }

    function rowsOfNorms(Story memory story, Ledger memory ledger) internal pure {
        uint256 sites = story.updates.length;
        ledger.rows[1] = new bytes[](sites);
        ledger.trees[1] = new bytes[](sites);
        int32[] memory zero = new int32[](story.base.length);
        for (uint256 k = 0; k < sites; ++k) {
            int256[] memory values = productsOf(story.updates[k], zero, story.updates[k], zero);
            setRow(ledger, 1, k, values);
        }
    }

    function rowsOfDistances(Story memory story, Ledger memory ledger) internal pure {
        uint256 sites = story.updates.length;
        ledger.rows[0] = new bytes[](sites * (sites - 1) / 2);
        ledger.trees[0] = new bytes[](ledger.rows[0].length);
        uint256[][] memory distances = new uint256[][](sites);
        for (uint256 i = 0; i < sites; ++i) {
            distances[i] = new uint256[](sites - 1);
        }
        uint256 pair;
        for (uint256 i = 0; i < sites; ++i) {
            for (uint256 j = i + 1; j < sites; ++j) {
                (int32[] memory a, int32[] memory b) = (story.updates[i], story.updates[j]);
                setRow(ledger, 0, pair, productsOf(a, b, a, b));
                distances[i][j - 1] = wordAt(ledger.rows[0][pair], 0);
                distances[j][i] = distances[i][j - 1];
                ++pair;
            }
        }
        ledger.rows[2] = new bytes[](sites);
        for (uint256 i = 0; i < sites; ++i) {
            uint256[] memory near = distances[i];
            insertionSort(near);
            uint256 sum;
            for (uint256 j = 0; j < sites - story.params.ruleArgument - 1; ++j) {
                sum += near[j];
            }
            ledger.rows[2][i] = abi.encode(sum);
        }
    }

    function rowsOfScores(Story memory story, Ledger memory ledger, uint256[] memory factors)
        internal
        pure
    {
        uint256 sites = story.updates.length;
        ledger.rows[3] = new bytes[](sites);
        ledger.trees[3] = new bytes[](sites);
        int32[] memory zero = new int32[](story.base.length);
        uint256 total;
        for (uint256 k = 0; k < sites; ++k) {
            setRow(ledger, 3, k, productsOf(story.updates[k], zero, story.model, story.base));
            int256 projection = int256(wordAt(ledger.rows[3][k], 0));
            int256 score = projection * int256(factors[k]) * int256(uint256(story.list[k].weight));
            uint256 least = score > 0 ? uint256(score) / 65_536 : 0;
            total += least;
            ledger.rows[3][k] = bytes.concat(ledger.rows[3][k], abi.encode(least, total));
        }
    }

    /// (a - b) * (c - d), added up over each chunk.
    function productsOf(int32[] memory a, int32[] memory b, int32[] memory c, int32[] memory d)
        internal
        pure
        returns (int256[] memory values)
    {
        values = new int256[]((a.length + 255) / 256);
        for (uint256 i = 0; i < a.length; ++i) {
            values[i / 256] += (int256(a[i]) - b[i]) * (int256(c[i]) - d[i]);
        }
    }

    function setRow(Ledger memory ledger, uint256 named, uint256 row, int256[] memory values)
        internal
        pure
    {
        int256 total;
        for (uint256 i = 0; i < values.length; ++i) {
            total += values[i];
        }
        bytes memory tree = treeOf(values);
        ledger.trees[named][row] = tree;
        ledger.rows[named][row] = abi.encode(total, vectorRoot(tree));
    }

    /// The pages of all levels.
    function treeOf(int256[] memory values) internal pure returns (bytes memory tree) {
        while (true) {
            int256[] memory sums = new int256[]((values.length + 31) / 32);
            int256[] memory level = new int256[](sums.length * 32);
            for (uint256 i = 0; i < values.length; ++i) {
                level[i] = values[i];
                sums[i / 32] += values[i];
            }
            tree = abi.encodePacked(tree, level);
            if (sums.length == 1) return tree;
            values = sums;
        }
    }

    function clipFactorsOf(uint256[] memory norms)
        internal
        pure
        returns (uint256[] memory factors)
    {
        factors = new uint256[](norms.length);
        uint256[] memory sorted = new uint256[](norms.length);
        for (uint256 i = 0; i < norms.length; ++i) {
            sorted[i] = norms[i];
        }
        insertionSort(sorted);
        uint256 middlemost = sorted[(norms.length - 1) / 2];
        for (uint256 i = 0; i < norms.length; ++i) {
            factors[i] = 65_536;
            if (norms[i] <= middlemost) continue;
            // The largest c with c^2 * norm <= 2^32 * middlemost.
            factors[i] = 0;
            for (uint256 bit = 1 << 15; bit > 0; bit >>= 1) {
                uint256 c = factors[i] + bit;
                if (c * c * norms[i] <= middlemost << 32) factors[i] = c;
            }
        }
    }

    function selectedOf(uint256[] memory ranks, uint256 hostile)
        internal
        pure
        returns (uint256[] memory chosen)
    {
        chosen = new uint256[](ranks.length);
        for (uint256 i = 0; i < ranks.length; ++i) {
            uint256 before;
            for (uint256 j = 0; j < ranks.length; ++j) {
                if (ranks[j] < ranks[i] || (ranks[j] == ranks[i] && j < i)) ++before;
            }
            if (before < ranks.length - hostile) chosen[i] = 1;
        }
    }

    function insertionSort(uint256[] memory values) internal pure {
        for (uint256 i = 1; i < values.length; ++i) {
            for (uint256 j = i; j > 0 && values[j - 1] > values[j]; --j) {
                (values[j - 1], values[j]) = (values[j], values[j - 1]);
            }
        }
    }

    // ------------------------------------------------------------------ trees

    function commitTo(Record memory record, Ledger memory ledger) internal view {
        record.commitments = rootOf(namedLeaves(ledger));
    }

    function namedLeaves(Ledger memory ledger) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](namesOf(ledger));
        uint256 next;
        for (uint256 i = 0; i < 4; ++i) {
            if (ledger.rows[i].length > 0) leaves[next++] = leafOf(namedLeaf(ledger, i));
        }
    }

    function namedLeaf(Ledger memory ledger, uint256 named) internal view returns (bytes memory) {
        return abi.encode(sha256(bytes(names[named])), rootOf(rowLeaves(ledger, named)));
    }

    function namesOf(Ledger memory ledger) internal pure returns (uint256 count) {
        for (uint256 i = 0; i < 4; ++i) {
            if (ledger.rows[i].length > 0) ++count;
        }
    }

    function rowLeaves(Ledger memory ledger, uint256 named)
        internal
        pure
        returns (bytes32[] memory leaves)
    {
        leaves = new bytes32[](ledger.rows[named].length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = leafOf(ledger.rows[named][i]);
        }
    }

    function leafOf(bytes memory data) internal pure returns (bytes32) {
        return sha256(bytes.concat(hex"00", data));
    }

    function namedOpening(Ledger memory ledger, Named named) internal view returns (bytes memory) {
        uint256 index;
        for (uint256 i = 0; i < uint256(named); ++i) {
            if (ledger.rows[i].length > 0) ++index;
        }
        bytes32[] memory path = pathOf(namedLeaves(ledger), index);
        return abi.encodePacked(namedLeaf(ledger, uint256(named)), path);
    }

    function rowOpening(Ledger memory ledger, Named named, uint256 row)
        internal
        pure
        returns (bytes memory)
    {
        bytes32[] memory path = pathOf(rowLeaves(ledger, uint256(named)), row);
        return abi.encodePacked(ledger.rows[uint256(named)][row], path);
    }

    function allRows(Ledger memory ledger, Named named) internal pure returns (bytes memory all) {
        for (uint256 i = 0; i < ledger.rows[uint256(named)].length; ++i) {
            all = bytes.concat(all, ledger.rows[uint256(named)][i]);
        }
    }

    function entryOpening(Story memory story, uint256 index) internal pure returns (bytes memory) {
        return abi.encodePacked(packed(story.list[index]), entryPath(story, index));
    }

    // ------------------------------------------------------------------ proofs

    /// Whatever the contract must be shown of one number of a sum tree.
    function nodeProof(
        Story memory story,
        Ledger memory ledger,
        Named named,
        uint256 row,
        uint256 page,
        uint256 place
    ) internal view returns (NodeProof memory proof) {
        proof.named = named;
        (proof.row, proof.page, proof.place) = (uint32(row), uint32(page), uint32(place));
        proof.openings = bytes.concat(namedOpening(ledger, named), rowOpening(ledger, named, row));
        bytes memory tree = ledger.trees[uint256(named)][row];
        uint256 pages = tree.length / 1024;
        if (page < pages) proof.openings = bytes.concat(proof.openings, opening(tree, page));
        proof.openings =
            bytes.concat(proof.openings, behindNode(story, tree, named, row, page * 32 + place));
    }

    /// What a number was computed from.
    function behindNode(
        Story memory story,
        bytes memory tree,
        Named named,
        uint256 row,
        uint256 number
    ) internal pure returns (bytes memory) {
        uint256 chunks = (story.base.length + 255) / 256;
        if (number < chunks) return chunksOf(story, named, row, number);
        uint256 pages = tree.length / 1024;
        // Above the lowest level, each number that there is belongs to the next page.
        uint256 from;
        uint256 values = chunks;
        uint256 page = number / 32;
        while (true) {
            uint256 size = (values + 31) / 32;
            if (page < from + size) {
                if (from == 0) return "";
                break;
            }
            (from, values) = (from + size, size);
            if (size == 1) return opening(tree, pages - 1);
        }
        uint256 child = number - from * 32;
        return child < values ? opening(tree, from - values + child) : bytes("");
    }

    function chunksOf(Story memory story, Named named, uint256 row, uint256 chunk)
        internal
        pure
        returns (bytes memory shown)
    {
        if (named == Named.Distances) {
            uint256 pair;
            for (uint256 i = 0; i < story.list.length; ++i) {
                for (uint256 j = i + 1; j < story.list.length; ++j) {
                    if (pair++ == row) {
                        return bytes.concat(
                            updateOpening(story, i, chunk), updateOpening(story, j, chunk)
                        );
                    }
                }
            }
        }
        shown = updateOpening(story, row, chunk);
        if (named == Named.Scores) {
            shown = bytes.concat(
                shown, opening(bytesOf(story.model), chunk), opening(bytesOf(story.base), chunk)
            );
        }
    }

    function updateOpening(Story memory story, uint256 index, uint256 chunk)
        internal
        pure
        returns (bytes memory)
    {
        return
            bytes.concat(entryOpening(story, index), opening(bytesOf(story.updates[index]), chunk));
    }

    function scoreOpenings(Story memory story, Ledger memory ledger, uint256 index)
        internal
        view
        returns (bytes memory shown)
    {
        shown = bytes.concat(
            namedOpening(ledger, Named.Scores), rowOpening(ledger, Named.Scores, index)
        );
        if (index > 0) shown = bytes.concat(shown, rowOpening(ledger, Named.Scores, index - 1));
        shown = bytes.concat(shown, entryOpening(story, index));
        if (ledger.rows[1].length > 0) {
            shown = bytes.concat(
                shown, namedOpening(ledger, Named.Norms), allRows(ledger, Named.Norms)
            );
        }
    }

    function rankOpenings(Ledger memory ledger, uint256 index)
        internal
        view
        returns (bytes memory shown)
    {
        shown = bytes.concat(
            namedOpening(ledger, Named.Ranks),
            rowOpening(ledger, Named.Ranks, index),
            namedOpening(ledger, Named.Distances)
        );
        uint256 sites = ledger.rows[2].length;
        uint256 pair;
        for (uint256 i = 0; i < sites; ++i) {
            for (uint256 j = i + 1; j < sites; ++j) {
                if (i == index || j == index) {
                    shown = bytes.concat(shown, rowOpening(ledger, Named.Distances, pair));
                }
                ++pair;
            }
        }
    }

    /// As `coordinateProof`, with the rows that the rule takes.
    function scaledProof(Story memory story, Ledger memory ledger, uint256 coordinate)
        internal
        view
        returns (CoordinateProof memory proof)
    {
        proof = coordinateProof(story, coordinate);
        if (story.params.rule == Rule.Mean) return proof;
        bool clips = story.params.rule == Rule.ClippedMean;
        Named named = clips ? Named.Norms : Named.Ranks;
        proof.rows = bytes.concat(namedOpening(ledger, named), allRows(ledger, named));
        if (!clips) {
            proof.updates = selectedUpdates(story, ledger, coordinate / 256, 0, story.list.length);
        }
    }

    function selectedUpdates(
        Story memory story,
        Ledger memory ledger,
        uint256 chunk,
        uint256 from,
        uint256 to
    ) internal pure returns (bytes memory shown) {
        uint256[] memory chosen = selectedOf(firstWords(ledger.rows[2]), story.params.ruleArgument);
        for (uint256 i = from; i < to; ++i) {
            if (chosen[i] == 1) {
                shown = bytes.concat(shown, opening(bytesOf(story.updates[i]), chunk));
            }
        }
    }

    // ------------------------------------------------------------------ words

    function firstWords(bytes[] memory rows) internal pure returns (uint256[] memory words) {
        words = new uint256[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            words[i] = wordAt(rows[i], 0);
        }
    }

    function wordAt(bytes memory data, uint256 place) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), mul(place, 0x20)))
        }
    }

    function setWord(bytes memory data, uint256 place, uint256 word) internal pure {
        assembly ("memory-safe") {
            mstore(add(add(data, 0x20), mul(place, 0x20)), word)
        }
    }
    // forge-lint: disable-end(unsafe-typecast)
}
