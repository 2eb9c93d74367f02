// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IWardRoundBase} from "./IWardRoundBase.sol";
import {Closing, Seat, StudyId, StudyParams, StudyState} from "./WardRoundTypes.sol";

/// @title Studies
/// @notice What a study takes once, and what is only read: the part of WardRound in its annex.
interface IStudies is IWardRoundBase {
    // ------------------------------------------------------------------ study

    /// @notice Creates a study. Only by the sponsor its parameters name.
    /// @dev The least that `challengeSeconds` may be is 1 hour, `objectionSeconds` and
    /// `demandSeconds` 10 minutes, `roundSeconds`, `graceSeconds` and `registrationSeconds` 12
    /// seconds, `lifetimeSeconds` the longest of these, `bond` and `deposit` 1 unit;
    /// `registrationSeconds` is at most `roundSeconds`.
    /// @param coordinators In order: the first opens the study, the others stand by.
    /// @param auditors Whose attestations count. `params.parties` is the hash of both lists.
    function createStudy(
        StudyParams calldata params,
        address[] calldata coordinators,
        address[] calldata auditors
    ) external returns (StudyId study);

    /// @notice Admits a site from the round being worked on. Its cap never changes afterwards. The
    /// caps of all sites add up to less than 2**31, so that all of them fit into a round.
    /// @param site Address of the site's signing key.
    /// @param payout Receives the site's rewards.
    /// @param maxWeight Largest weight the site may declare, at least 1.
    function admitSite(StudyId study, address site, address payout, uint32 maxWeight) external;

    /// @notice Removes a site from the next round on. Its key never comes back. Its cap counts on,
    /// unless it was a member of no round: any of its rounds may have to be closed again.
    function removeSite(StudyId study, address site) external;

    /// @notice Opens round 1, once the study is funded, staffed and bonded.
    function openStudy(StudyId study) external;

    // ------------------------------------------------------------------ money

    /// @notice Ends a study after the rounds it has. By its sponsor before it opens, when every
    /// coordinator has missed its turn, or when as much time as all turns take together has closed no
    /// round; by any account once its deadline has passed.
    function endStudy(StudyId study) external;

    /// @notice Changes where a site's rewards go. Only by the present payout address, or by any
    /// account with its signature.
    /// @param signature The present payout address's, by EIP-712 or ERC-1271, of
    /// PayoutChange(bytes32 study,address site,address payout,uint256 change), where change counts
    /// the changes of this site's payout address before this one: each change voids it. Not looked
    /// at when that address is the caller.
    function changePayout(StudyId study, address site, address payout, bytes calldata signature)
        external;

    // ------------------------------------------------------------------ views

    /// @notice What `collect` would pay.
    function owed(StudyId study, address account) external view returns (uint256);

    /// @notice Whether a round's closing fee was paid.
    function isFeePaid(StudyId study, uint32 round) external view returns (bool);

    /// @notice What a coordinator or a site needs to know before it works on a round.
    function openRound(StudyId study)
        external
        view
        returns (uint32 round, address coordinator, uint64 openedAt, bytes32 previousCommitment);

    function study(StudyId id) external view returns (StudyState memory);

    function seat(StudyId study, address coordinator) external view returns (Seat memory);

    function isAuditor(StudyId study, address auditor) external view returns (bool);

    /// @notice Whether a site was paid its share of a round.
    function isPaid(StudyId study, uint32 round, address site) external view returns (bool);

    /// @notice What a round has paid to its sites, and to how many of them.
    function paidOf(StudyId study, uint32 round)
        external
        view
        returns (uint128 amount, uint32 count);

    /// @notice Whether a closing is final.
    function isFinal(StudyId study, uint32 round, Closing calldata closing)
        external
        view
        returns (bool);

    function studyIdOf(StudyParams calldata params) external pure returns (StudyId);
}
