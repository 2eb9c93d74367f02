// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NodeProof} from "../interfaces/ICourt.sol";
import {IScores} from "../interfaces/IScores.sol";
import {Closing, Named, Rule, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Aggregation} from "../libraries/Aggregation.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {Rows} from "../libraries/Rows.sol";
import {SumTree} from "../libraries/SumTree.sol";
import {Vectors} from "../libraries/Vectors.sol";
import {Bench} from "./Bench.sol";

/// @title Scores
/// @notice Proofs against the numbers of whole updates that a record commits to: norms, distances,
/// ranks and scores. Each fits into one transaction, whatever the size of the model.
abstract contract Scores is Bench, IScores {
    using Entries for bytes;
    using SumTree for bytes;
    using Vectors for bytes;

    // ================================================================== challenges

    /// @inheritdoc IScores
    function challengeNode(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        NodeProof calldata proof
    ) external {
        _checkAccused(id, round, closing);
        if (proof.named == Named.Scores) _checkPrevious(id, round, previous);

        Terms memory s = _termsOf(id);
        (int256 expected, int256 recorded) = _node(s, closing, previous.record.model, proof);
        if (expected == recorded) revert Court_NodeRight(recorded);

        emit NodeProven(id, round, msg.sender, proof.named, proof.row, proof.page, proof.place);
        _overturnProven(id, round, closing, "node");
    }

    /// @inheritdoc IScores
    function challengeScore(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        uint32 index,
        bytes calldata openings
    ) external {
        _checkAccused(id, round, closing);
        Terms memory s = _termsOf(id);
        bytes32 root;
        (root, openings) = _namedIn(s, closing, Named.Scores, openings);
        bytes calldata row;
        (row, openings) = _rowIn(closing, Named.Scores, root, index, openings);
        uint256 total;
        if (index > 0) {
            bytes calldata before;
            (before, openings) = _rowIn(closing, Named.Scores, root, index - 1, openings);
            total = uint256(before.wordAt(3));
        }
        uint256 score;
        {
            bytes calldata entry;
            (entry, openings) = _entryIn(closing, index, openings);
            uint256 factor = Aggregation.WHOLE;
            if (s.rule == Rule.ClippedMean) {
                (root, openings) = _namedIn(s, closing, Named.Norms, openings);
                factor = _factorsIn(s, root, openings, closing.record.count)[index];
            }
            int256 projection = int256(uint256(row.wordAt(0)));
            score = Aggregation.score(entry.first().weight(), factor, projection);
        }
        unchecked {
            // Right scores never add up to 2**256.
            total += score;
        }
        if (score == uint256(row.wordAt(2)) && total == uint256(row.wordAt(3))) {
            revert Court_ScoreRight(score, total);
        }

        emit ScoreProven(id, round, msg.sender, index);
        _overturnProven(id, round, closing, "score");
    }

    /// @inheritdoc IScores
    function challengeRank(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        uint32 index,
        bytes calldata openings
    ) external {
        _checkAccused(id, round, closing);
        Terms memory s = _termsOf(id);
        uint256 count = closing.record.count;
        _checkEnough(s, count);
        bytes32 root;
        (root, openings) = _namedIn(s, closing, Named.Ranks, openings);
        bytes calldata row;
        (row, openings) = _rowIn(closing, Named.Ranks, root, index, openings);
        uint256 recorded = uint256(row.wordAt(0));

        (root, openings) = _namedIn(s, closing, Named.Distances, openings);
        uint256[] memory distances = new uint256[](count - 1);
        for (uint256 i = 0; i < count - 1; ++i) {
            uint256 pair = i < index ? Rows.rowOf(i, index, count) : Rows.rowOf(index, i + 1, count);
            (row, openings) = _rowIn(closing, Named.Distances, root, pair, openings);
            distances[i] = uint256(row.wordAt(0));
        }
        uint256 expected = Aggregation.rank(distances, s.ruleArgument);
        if (expected == recorded) revert Court_RankRight(recorded);

        emit RankProven(id, round, msg.sender, index);
        _overturnProven(id, round, closing, "rank");
    }

    // ================================================================== what must hold

    /// A number of a sum tree, and what it must be.
    function _node(Terms memory s, Closing calldata closing, bytes32 base, NodeProof calldata proof)
        internal
        view
        returns (int256 expected, int256 recorded)
    {
        Named named = proof.named;
        (bytes32 root, bytes calldata openings) = _namedIn(s, closing, named, proof.openings);
        // The rows of ranks have no trees.
        if (named == Named.Ranks) revert Court_NameUnknown(named);
        bytes calldata page;
        (page, openings) = _rowIn(closing, named, root, proof.row, openings);
        recorded = int256(uint256(page.wordAt(0)));
        root = page.wordAt(1);

        uint256 chunks = Vectors.chunks(_lengthOf(s));
        uint256 pages = SumTree.pages(chunks);
        uint256 places = proof.page < pages ? SumTree.FANOUT : 1;
        if (proof.place >= places) revert Court_TargetUnknown(proof.place, places);
        if (proof.page < pages) {
            (page, openings) = _opened(openings, SumTree.PAGE_SIZE, root, proof.page, pages);
            recorded = page.valueAt(proof.place);
        } else if (proof.page > pages) {
            revert Court_TargetUnknown(proof.page, pages);
        }
        (bool lowest, uint256 index, bool filling) = SumTree.below(proof.page, proof.place, chunks);
        if (filling) return (0, recorded);
        if (!lowest) {
            (page, openings) = _opened(openings, SumTree.PAGE_SIZE, root, index, pages);
            return (page.sum(), recorded);
        }
        expected = _ofChunks(s, closing, base, proof, openings, index);
    }

    /// What a chunk's number must be.
    function _ofChunks(
        Terms memory s,
        Closing calldata closing,
        bytes32 base,
        NodeProof calldata proof,
        bytes calldata openings,
        uint256 index
    ) internal view returns (int256) {
        uint256 length = _lengthOf(s);
        uint256 size = Vectors.chunks(length);
        length = Vectors.chunkLength(length, index);
        (uint256 first, uint256 second) = proof.named == Named.Distances
            ? Rows.pairOf(proof.row, closing.record.count)
            : (proof.row, 0);
        bytes32 root;
        bytes calldata update;
        (root, openings) = _updateIn(closing, first, openings);
        (update, openings) = _opened(openings, length, root, index, size);
        if (proof.named == Named.Norms) return update.squares();
        bytes calldata other;
        if (proof.named == Named.Distances) {
            (root, openings) = _updateIn(closing, second, openings);
            (other,) = _opened(openings, length, root, index, size);
            return update.squaredDistance(other);
        }
        (other, openings) = _opened(openings, length, closing.record.model, index, size);
        (bytes calldata under,) = _opened(openings, length, base, index, size);
        return update.projection(other, under);
    }

    /// An entry of the record, whose opening comes first.
    function _entryIn(Closing calldata closing, uint256 index, bytes calldata openings)
        internal
        view
        returns (bytes calldata, bytes calldata)
    {
        bytes32 root = closing.record.contributions;
        return _opened(openings, Entries.SIZE, root, index, closing.record.count);
    }

    /// The root of an entry's update.
    function _updateIn(Closing calldata closing, uint256 index, bytes calldata openings)
        internal
        view
        returns (bytes32, bytes calldata)
    {
        (bytes calldata entry, bytes calldata rest) = _entryIn(closing, index, openings);
        return (entry.first().update(), rest);
    }
}
