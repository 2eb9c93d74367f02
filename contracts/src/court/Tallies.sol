// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../interfaces/IChallenges.sol";
import {Ranks, Tally, TallyStart} from "../interfaces/ICourt.sol";
import {Closing, Rule, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Aggregation} from "../libraries/Aggregation.sol";
import {CompactRange} from "../libraries/CompactRange.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {MerkleTree} from "../libraries/MerkleTree.sol";
import {Bench} from "./Bench.sol";

/// @title Tallies
/// @notice Proofs against a round of more entries than one transaction carries.
abstract contract Tallies is Bench, IChallenges {
    using Entries for bytes;

    /// Of a tally that computes no coordinate.
    uint32 internal constant NO_COORDINATE = type(uint32).max;

    // ================================================================== tallies

    /// @inheritdoc IChallenges
    function openTally(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        TallyStart calldata start
    ) external returns (uint256 tally) {
        bytes32 commitment = _checkAccused(id, round, closing);
        Terms memory s = _termsOf(id);
        uint64 latest = _timeOf(s, round, closing) + 3 * uint64(s.challengeSeconds) + 2
            * uint64(s.demandSeconds);
        if (block.timestamp >= latest) revert Court_TooLate(latest);

        tally = ++_tallyCount;
        Tally storage t = _tallies[tally];
        t.study = id;
        t.commitment = commitment;
        t.owner = msg.sender;
        t.round = round;
        t.coordinate = start.coordinate;
        // A time of blocks, and some years.
        // forge-lint: disable-next-line(unsafe-typecast)
        t.limit = uint48(latest + s.challengeSeconds);
        if (start.coordinate != NO_COORDINATE) {
            _checkPrevious(id, round, previous);
            Place memory place = _placeOf(s, start.coordinate);
            // What was read has 32 bits; of a sum, the model has 64 and the base is zero.
            // forge-lint: disable-start(unsafe-typecast)
            t.base = int32(_baseIn(s, start.base, previous.record.model, place));
            t.model = int64(_valueIn(start.model, closing.record.model, place));
            // forge-lint: disable-end(unsafe-typecast)
            t.low = start.low;
            t.high = start.high;
            if (_isScaled(s.rule)) {
                (t.rows,) = _namedIn(s, closing, _scaledBy(s.rule), start.named);
                t.size = closing.record.count;
            }
        }
        emit TallyOpened(id, round, msg.sender, tally, start.coordinate);
        _extend(t, s.challengeSeconds);
        _takeDeposit(id, s);
    }

    /// @inheritdoc IChallenges
    function addToTally(
        uint256 tally,
        bytes calldata entries,
        bytes calldata updates,
        bytes calldata rows
    ) external {
        Tally storage t = _ownTally(tally);
        // A round that was overturned and closed again is another one.
        if (_storedOf(t.study, t.round) != t.commitment) {
            revert Court_NotChallengeable(t.study, t.round);
        }
        Terms memory s = _termsOf(t.study);

        uint32 before = t.count;
        uint32 count = _count(tally, before, entries);
        t.count = count;
        Ranks memory ranks = t.ranks;
        ranks.totalWeight += uint128(_totalWeightOf(entries));
        if (t.coordinate != NO_COORDINATE) {
            Place memory place = _placeOf(s, t.coordinate);
            if (_isScaled(s.rule)) {
                _checkEnough(s, t.size);
                if (count > t.size) revert Court_TargetUnknown(count, t.size);
                uint256[] memory factors = _factorsIn(s, t.rows, rows, t.size);
                ranks.sum += _scaledSum(s, entries, updates, place, factors, before);
            } else {
                int256[] memory values = _changesIn(s, entries, updates, place);
                if (s.rule == Rule.Mean) {
                    ranks.sum += _weightedSum(values, entries);
                } else if (s.rule == Rule.Sum) {
                    ranks.sum += Aggregation.total(values);
                } else {
                    _rank(ranks, values, t.low, t.high);
                }
            }
        } else if (updates.length != 0) {
            revert Court_OpeningMalformed(updates.length, 0);
        }
        t.ranks = ranks;
        emit TallyExtended(tally, count, ranks.totalWeight);
        _extend(t, s.challengeSeconds);
    }

    /// @inheritdoc IChallenges
    function finishTally(uint256 tally, Closing calldata closing) external {
        Tally storage t = _ownTally(tally);
        (StudyId id, uint32 round, uint32 count) = (t.study, t.round, t.count);
        bytes32 given = _checkAccused(id, round, closing);
        if (given != t.commitment) revert Court_ClosingDiffers(t.commitment, given);
        bytes32 root = CompactRange.root(_peaksOf(tally, count), count);
        if (root != closing.record.contributions) {
            revert Court_EntriesDiffer(closing.record.contributions, root);
        }

        t.owner = address(0);
        _returnDeposit(id, msg.sender);
        Ranks memory ranks = t.ranks;
        uint32 coordinate = t.coordinate;
        if (
            coordinate == NO_COORDINATE || count != closing.record.count
                || ranks.totalWeight != closing.record.totalWeight
        ) {
            _judgeTotals(id, round, closing, count, ranks.totalWeight);
            return;
        }
        int256 change = _tallied(ranks, _termsOf(id), count, t.low, t.high);
        _judgeCoordinate(id, round, closing, coordinate, t.base + change, t.model);
    }

    /// @inheritdoc IChallenges
    function closeTally(uint256 tally, Closing calldata closing) external {
        Tally storage t = _tallies[tally];
        (StudyId id, uint32 round, address owner) = (t.study, t.round, t.owner);
        if (owner == address(0)) revert Court_TallyOver(tally);
        bytes32 given = _commitmentOf(closing);
        if (given != t.commitment) revert Court_ClosingDiffers(t.commitment, given);
        bool overturned = _isOverturned(id, round, given);
        uint256 end = _endOf(t);
        if (!overturned && block.timestamp < end) revert Court_TooEarly(end);

        t.owner = address(0);
        address to = overturned ? owner : closing.coordinator;
        emit TallyClosed(tally, to);
        _returnDeposit(id, to);
    }

    /// @inheritdoc IChallenges
    function tallyOf(uint256 tally) external view returns (Tally memory) {
        return _tallies[tally];
    }

    // ================================================================== counting on

    function _ownTally(uint256 tally) internal view returns (Tally storage t) {
        t = _tallies[tally];
        if (t.owner != msg.sender) revert Court_TallyNotYours(tally);
        // Before this the round is held; afterwards it may have become final, and must stay so.
        uint256 end = _endOf(t);
        if (block.timestamp >= end) revert Court_TooLate(end);
    }

    /// Until when a tally can be extended.
    function _endOf(Tally storage t) internal view returns (uint64) {
        return t.until < t.limit ? t.until : t.limit;
    }

    /// Reverts if a tally of the caller was extended after a time.
    function _checkCounted(uint256 tally, uint256 time) internal view {
        Tally storage t = _ownTally(tally);
        uint256 changedAt = t.until - _termsOf(t.study).challengeSeconds;
        if (changedAt > time) revert Court_TallyChanged(tally, changedAt);
    }

    /// Gives the tally, and the round, another challenge window.
    function _extend(Tally storage t, uint32 challengeSeconds) internal {
        t.until = uint48(block.timestamp) + challengeSeconds;
        WARD.hold(t.study, t.round, _endOf(t));
    }

    function _peaksOf(uint256 tally, uint256 size) internal view returns (bytes32[] memory peaks) {
        peaks = new bytes32[](CompactRange.LEVELS);
        for (uint256 level = 0; size >> level != 0; ++level) {
            if (size >> level & 1 == 1) peaks[level] = _peaks[tally][level];
        }
    }

    /// Adds entries to a tally's tree.
    function _count(uint256 tally, uint256 size, bytes calldata entries) internal returns (uint32) {
        bytes32[] memory peaks = _peaksOf(tally, size);
        uint256 end = size + _countOf(entries);
        Entry entry = entries.first();
        for (; size < end; ++size) {
            CompactRange.append(peaks, size, MerkleTree.leafHash(entry.packed()));
            entry = entry.next();
        }
        for (uint256 level = 0; size >> level != 0; ++level) {
            if (size >> level & 1 == 1) _peaks[tally][level] = peaks[level];
        }
        // A tree of 2**32 entries has no peaks to hold it.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(size);
    }

    /// Ranks a tally's named values among more.
    function _rank(Ranks memory ranks, int256[] memory values, int256 low, int256 high)
        internal
        pure
    {
        for (uint256 i = 0; i < values.length; ++i) {
            int256 value = values[i];
            if (value < low) ++ranks.belowLow;
            if (value <= low) ++ranks.throughLow;
            if (value < high) ++ranks.belowHigh;
            if (value <= high) ++ranks.throughHigh;
            if (low < value && value < high) ranks.sum += value;
        }
    }

    /// What the rule gives for a tally's coordinate.
    function _tallied(Ranks memory ranks, Terms memory s, uint256 count, int256 low, int256 high)
        internal
        pure
        returns (int256)
    {
        _checkEnough(s, count);
        if (s.rule == Rule.Mean) return _mean(ranks.sum, ranks.totalWeight);
        if (s.rule == Rule.Sum) return ranks.sum;
        if (_isScaled(s.rule)) return _scaledMean(s, ranks.sum, count, ranks.totalWeight);
        bool median = s.rule == Rule.Median;
        uint256 first = median ? (count - 1) / 2 : s.ruleArgument;
        uint256 last = count - 1 - first;
        // The named values have these ranks: no more values are below them, and more up to them.
        if (
            ranks.belowLow > first || first >= ranks.throughLow || ranks.belowHigh > last
                || last >= ranks.throughHigh
        ) {
            revert Court_RanksDiffer(
                ranks.belowLow, ranks.throughLow, ranks.belowHigh, ranks.throughHigh
            );
        }
        if (median) return Aggregation.middle(low, high);
        if (low == high) return low;
        // Counts of entries: far below 2**255.
        // forge-lint: disable-start(unsafe-typecast)
        int256 lows = int256(ranks.throughLow - first);
        int256 highs = int256(last + 1 - ranks.belowHigh);
        // forge-lint: disable-end(unsafe-typecast)
        return Aggregation.floorDiv(ranks.sum + low * lows + high * highs, last + 1 - first);
    }
}
