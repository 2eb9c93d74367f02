// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourt, Reward, RewardsFault} from "../interfaces/ICourt.sol";
import {Closing, Scoring, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Rewards} from "../libraries/Rewards.sol";
import {Bench} from "./Bench.sol";

/// @title RewardsChallenge
/// @notice The proof that a closed round splits its reward wrongly.
abstract contract RewardsChallenge is Bench {
    /// @inheritdoc ICourt
    function challengeRewards(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entries,
        Reward[] calldata before,
        Reward[] calldata afterwards
    ) external {
        _checkAccused(id, round, closing);
        _checkPrevious(id, round, previous);
        _checkEntries(closing, entries);
        // Only before round 1 has no site earned: without the tree of the round before, nothing can be
        // added to.
        if (before.length == 0 && round != 1) revert Court_RewardsUnsorted(0);
        Rewards.check(before, previous.record.rewards);
        Terms memory s = WARD.terms(id);
        RewardsFault fault;
        if (s.scoring == Scoring.Examples) {
            uint256 totalWeight = _totalWeightOf(entries);
            if (totalWeight == 0) revert Court_WeightsZero();
            fault = Rewards.faultOfSplit(
                closing.record, entries, totalWeight, before, s.rewardPerRound
            );
        } else {
            Rewards.check(afterwards, closing.record.rewards);
            fault = Rewards.faultOf(closing.record, entries, before, afterwards, s.rewardPerRound);
        }

        emit RewardsProven(id, round, msg.sender, fault);
        _overturn(id, round, closing, msg.sender, "rewards");
    }
}
