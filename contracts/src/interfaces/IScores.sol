// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NodeProof} from "./CourtTypes.sol";
import {ICourtBase} from "./ICourtBase.sol";
import {Closing, StudyId} from "./WardRoundTypes.sol";

/// @title Scores
/// @notice What proves the numbers of whole updates wrong: a part of the court in its annex.
interface IScores is ICourtBase {
    /// @notice A number of a sum tree is not what it is computed from: the norm, the product with the
    /// aggregate, or the distance of a chunk; the sum of a page below; or zero, where there is neither.
    /// @param previous Read only for scores.
    function challengeNode(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        NodeProof calldata proof
    ) external;

    /// @notice An entry's score, or the sum of scores up to it, is not what its row, its weight and the
    /// norms give.
    /// @param openings One behind the other: of `scores` among the named commitments, of the row, of the
    /// row before unless there is none, of the entry; and under the clipped mean of `norms` with
    /// all of its rows.
    function challengeScore(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        uint32 index,
        bytes calldata openings
    ) external;

    /// @notice An entry's rank is not the sum of its least distances.
    /// @param openings One behind the other: of `ranks` among the named commitments and of its row; of
    /// `distances` and of the entry's rows in it, by the other entry.
    function challengeRank(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        uint32 index,
        bytes calldata openings
    ) external;
}
