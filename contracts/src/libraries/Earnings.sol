// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Earning, Named, Paid, Record, Scoring, StudyId} from "../interfaces/IWardRound.sol";
import {IWardRoundBase} from "../interfaces/IWardRoundBase.sol";
import {Entries, Entry} from "./Entries.sol";
import {MerkleTree} from "./MerkleTree.sol";
import {Rows} from "./Rows.sol";
import {Studies, Study} from "./Studies.sol";
import {Vectors} from "./Vectors.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

/// @title Earnings
/// @notice What a site's entry in a final round is worth. Only the record decides on it, so nothing
/// that happens later changes it.
library Earnings {
    using BitMaps for BitMaps.BitMap;
    using Entries for bytes;
    using Studies for Study;
    using Vectors for bytes;

    /// @notice Books the payment of one entry.
    /// @return share To be paid to the site.
    function settle(Study storage s, StudyId id, address site, Earning calldata earning)
        internal
        returns (uint256 share)
    {
        uint32 round = earning.round;
        Record calldata record = earning.closing.record;
        s.checkFinal(id, round, earning.closing);
        uint64 weight = weightOf(record, site, earning);
        BitMaps.BitMap storage paidRounds = s.paidRounds[site];
        if (paidRounds.get(round)) revert IWardRoundBase.WardRound_AlreadyPaid(id, round, site);

        Paid memory paid = s.payments[round];
        uint256 reward = s.rewardPerRound;
        uint256 left = reward - paid.amount;
        uint256 score;
        uint256 total;
        if (s.scoring == Scoring.Projection) {
            (score, total) = scoreOf(s, record, earning);
        } else if (earning.entry.length != Entries.SIZE) {
            revert IWardRoundBase.WardRound_EntriesMalformed(earning.entry.length);
        }
        if (total != 0) {
            share = score < total ? Math.mulDiv(reward, score, total) : reward;
        } else {
            // 128 bits times 64: no overflow.
            unchecked {
                share = reward * weight / record.totalWeight;
            }
        }
        // With root recording, a total may be too low that no account has challenged.
        if (share > left) share = left;
        // No more than the reward, which has 128 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        paid.amount += uint128(share);
        ++paid.count;
        paidRounds.set(round);
        s.payments[round] = paid;
        if (paid.count == record.count) s.owed[s.sponsor] += reward - paid.amount;
    }

    /// @notice The score of an entry, and the sum of all; reverts unless both are in the record.
    function scoreOf(Study storage s, Record calldata record, Earning calldata earning)
        internal
        view
        returns (uint256 score, uint256 total)
    {
        (bytes32 root, bytes calldata openings) = Rows.rootIn(
            earning.entry[Entries.SIZE:],
            Named.Scores,
            s.rule,
            Scoring.Projection,
            record.commitments
        );
        bytes calldata row;
        uint256 size = Rows.sizeOf(Named.Scores);
        (row, openings) = openings.split(size, root, earning.index, record.count);
        bytes calldata last;
        (last, openings) = openings.split(size, root, uint256(record.count) - 1, record.count);
        if (row.length == 0 || last.length == 0) {
            revert IWardRoundBase.WardRound_ScoreNotIncluded(earning.round, earning.index);
        }
        return (uint256(row.wordAt(2)), uint256(last.wordAt(3)));
    }

    /// @notice The weight of an entry; reverts unless it is the site's, and in the record.
    function weightOf(Record calldata record, address site, Earning calldata earning)
        internal
        view
        returns (uint64)
    {
        if (earning.entry.length < Entries.SIZE) {
            revert IWardRoundBase.WardRound_EntriesMalformed(earning.entry.length);
        }
        bytes calldata packed = earning.entry[:Entries.SIZE];
        Entry entry = packed.first();
        bytes32 leaf = MerkleTree.leafHash(packed);
        bytes32 root = record.contributions;
        if (
            entry.site() != site
                || !MerkleTree.verify(root, leaf, earning.index, record.count, earning.path)
        ) revert IWardRoundBase.WardRound_EntryNotIncluded(earning.round, earning.index);
        return entry.weight();
    }
}
