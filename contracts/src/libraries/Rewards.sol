// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourt, Reward, RewardsFault} from "../interfaces/ICourt.sol";
import {Record} from "../interfaces/IWardRound.sol";
import {Entries, Entry} from "./Entries.sol";
import {RewardTree} from "./RewardTree.sol";

/// @title Rewards
/// @notice What a round's rewards must be, given those of the round before and its entries.
library Rewards {
    using Entries for bytes;

    /// @notice Reverts unless rewards, ascending by site, are the leaves of a tree.
    function check(Reward[] calldata rewards, bytes32 recorded) internal pure {
        bytes32[] memory leaves = new bytes32[](rewards.length);
        address last;
        for (uint256 i = 0; i < rewards.length; ++i) {
            address site = rewards[i].site;
            if (i > 0 && site <= last) revert ICourt.Court_RewardsUnsorted(i);
            leaves[i] = RewardTree.leaf(site, rewards[i].cumulative);
            last = site;
        }
        bytes32 given = RewardTree.root(leaves);
        if (given != recorded) revert ICourt.Court_RewardsDiffer(recorded, given);
    }

    /// @notice Splits a round's reward by weight and returns what is wrong with it; reverts
    /// when nothing is.
    /// @param totalWeight Of the entries; positive.
    function faultOfSplit(
        Record calldata record,
        bytes calldata entries,
        uint256 totalWeight,
        Reward[] calldata before,
        uint256 rewardPerRound
    ) internal pure returns (RewardsFault) {
        uint256 count = entries.length / Entries.SIZE;
        bytes32[] memory leaves = new bytes32[](before.length + count);
        Entry entry = entries.first();
        uint256 size;
        uint256 total;
        uint256 old;
        // Both lists ascend: the site that comes first in either comes next.
        for (uint256 i = 0; i < count || old < before.length; ++size) {
            address site;
            uint256 cumulative;
            bool earns = i < count && (old == before.length || entry.site() <= before[old].site);
            if (old < before.length && (!earns || entry.site() == before[old].site)) {
                site = before[old].site;
                cumulative = before[old].cumulative;
                ++old;
            }
            if (earns) {
                site = entry.site();
                cumulative += rewardPerRound * entry.weight() / totalWeight;
                entry = _next(entry, ++i, count);
            }
            leaves[size] = RewardTree.leaf(site, cumulative);
            total += cumulative;
        }
        // Sites in both lists make one leaf: there are fewer than were made room for.
        assembly ("memory-safe") {
            mstore(leaves, size)
        }
        bytes32 root = RewardTree.root(leaves);
        if (root != record.rewards) return RewardsFault.WrongSplit;
        if (total != record.rewardTotal) return RewardsFault.WrongTotal;
        revert ICourt.Court_RewardsRight(root, total);
    }

    /// @notice Returns what is wrong with a record's rewards under any scoring rule; reverts when
    /// nothing is.
    function faultOf(
        Record calldata record,
        bytes calldata entries,
        Reward[] calldata before,
        Reward[] calldata afterwards,
        uint256 rewardPerRound
    ) internal pure returns (RewardsFault) {
        uint256 count = entries.length / Entries.SIZE;
        Entry entry = entries.first();
        uint256 total;
        uint256 limit = rewardPerRound;
        uint256 old;
        uint256 i;
        for (uint256 k = 0; k < afterwards.length; ++k) {
            address site = afterwards[k].site;
            uint256 cumulative = afterwards[k].cumulative;
            // No total of 128 bits holds it; and so no sum here overflows.
            if (cumulative > type(uint128).max) return RewardsFault.WrongTotal;
            total += cumulative;
            while (i < count && entry.site() < site) entry = _next(entry, ++i, count);
            uint256 had;
            if (old < before.length && before[old].site <= site) {
                // A site that sorts before this one and is not listed has lost everything.
                if (before[old].site < site) return RewardsFault.Taken;
                had = before[old].cumulative;
                limit += had;
                ++old;
            }
            if (cumulative < had) return RewardsFault.Taken;
            if (cumulative > had && (i == count || entry.site() != site)) {
                return RewardsFault.Unearned;
            }
        }
        if (old < before.length) return RewardsFault.Taken;
        if (total != record.rewardTotal) return RewardsFault.WrongTotal;
        if (total > limit) return RewardsFault.TooMuch;
        revert ICourt.Court_RewardsRight(record.rewards, total);
    }

    /// The entry behind another, if there is one. Unsorted ones can be shown in pairs.
    function _next(Entry entry, uint256 i, uint256 count) private pure returns (Entry next) {
        next = entry.next();
        if (i < count && next.site() <= entry.site()) revert ICourt.Court_EntriesUnsorted(i);
    }
}
