// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Record, Recording, StudyId, StudyParams} from "./WardRoundTypes.sol";

/// @title WardRound's events and errors
/// @notice What both parts of WardRound emit and revert with.
interface IWardRoundBase {
    // ------------------------------------------------------------------ events

    /// @notice A study exists; nothing has been paid in yet.
    event StudyCreated(
        StudyId indexed study,
        address indexed sponsor,
        StudyParams params,
        address[] coordinators,
        address[] auditors
    );
    event Funded(StudyId indexed study, address indexed from, uint256 amount);
    event SiteAdmitted(
        StudyId indexed study, address indexed site, address payout, uint32 maxWeight, uint32 since
    );
    /// @param until The first round the site is not a member of.
    event SiteRemoved(StudyId indexed study, address indexed site, uint32 until);
    event PayoutChanged(StudyId indexed study, address indexed site, address from, address payout);
    event BondPosted(StudyId indexed study, address indexed coordinator, uint256 amount);
    event BondReleased(StudyId indexed study, address indexed coordinator, uint256 amount);
    event StudyOpened(StudyId indexed study, address indexed coordinator, uint64 openedAt);
    /// @notice One entry of a round closed, or of a cohort locked, with full recording.
    event Contributed(
        StudyId indexed study, uint32 round, address indexed site, bytes32 update, uint64 weight
    );
    /// @notice The round is closed with these contributions or not at all, in this attempt.
    /// @param attempt How many of the study's rounds were overturned before.
    /// @param coordinator Who locked, and answers for it.
    event CohortLocked(
        StudyId indexed study,
        uint32 indexed round,
        uint32 attempt,
        address coordinator,
        bytes32 contributions,
        uint32 count,
        uint64 totalWeight
    );
    /// @notice The data, record, coordinator and closedAt, is exactly what the commitment hashes.
    event RoundClosed(
        StudyId indexed study,
        uint32 indexed round,
        Record record,
        address coordinator,
        uint64 closedAt
    );
    /// @notice A site's contribution was brought to the chain.
    /// @param sender Who brought it, against the study's deposit.
    /// @param previous Commitment of the round before, on whose model the entry builds.
    /// @param entry Packed, with all that a coordinator needs to include it.
    event Registered(
        StudyId indexed study,
        uint32 indexed round,
        address indexed site,
        address sender,
        bytes32 previous,
        bytes32 update,
        uint64 weight,
        uint64 registeredAt,
        bytes entry
    );
    /// @notice A closed round was proven wrong. It, and all behind it, are open again.
    /// @param reason Name of the challenge.
    /// @param next The active coordinator; zero when none is bonded.
    event Overturned(
        StudyId indexed study,
        uint32 indexed round,
        address indexed coordinator,
        address challenger,
        bytes32 reason,
        uint64 openedAt,
        address next
    );
    /// @param reward The challenger's part of the bond; the other part is burnt. Zero for a proof in
    /// the open while the court keeps another challenge's commitment.
    event Slashed(
        StudyId indexed study,
        address indexed coordinator,
        address indexed challenger,
        uint256 reward,
        uint256 burnt
    );
    /// @notice Rounds from this one on are not final by time before `until`.
    event Held(StudyId indexed study, uint32 round, uint64 until);
    event Collected(StudyId indexed study, address indexed account, uint256 amount);
    /// @notice Auditors made every round up to this one final.
    event Attested(StudyId indexed study, uint32 indexed round, uint256 attestations);
    /// @notice Each of the auditors that attested a round is owed a share of an amount.
    event AttestingFeeShared(
        StudyId indexed study, uint32 indexed round, uint256 amount, uint256 share
    );
    event ClosingFeePaid(
        StudyId indexed study, uint32 indexed round, address indexed coordinator, uint256 amount
    );
    event TookOver(
        StudyId indexed study,
        uint32 indexed round,
        address indexed to,
        address from,
        uint64 openedAt
    );
    /// @notice A site was paid its share of a round.
    event Claimed(
        StudyId indexed study,
        address indexed site,
        uint32 indexed round,
        address payout,
        uint256 amount
    );
    event Refunded(StudyId indexed study, address indexed sponsor, uint256 amount);
    /// @param rounds The number of rounds the study ends with.
    event StudyEnded(StudyId indexed study, uint32 rounds);

    // ------------------------------------------------------------------ errors

    error WardRound_StudyExists(StudyId study);
    error WardRound_StudyUnknown(StudyId study);
    error WardRound_StudyNotOpen(StudyId study);
    error WardRound_StudyAlreadyOpen(StudyId study);
    error WardRound_StudyOver(StudyId study, uint32 rounds);
    /// @param name The field of StudyParams at fault.
    error WardRound_ParameterInvalid(string name);
    /// The lists of coordinators and auditors are not those that the study's id names.
    error WardRound_PartiesDiffer(bytes32 given, bytes32 actual);
    error WardRound_CoordinatorInvalid(address coordinator);
    error WardRound_AuditorInvalid(address auditor);
    error WardRound_NotSponsor(StudyId study, address caller);
    error WardRound_NotCoordinator(StudyId study, address caller);
    error WardRound_NotAuditor(StudyId study, address account);
    error WardRound_SiteInvalid(StudyId study, address site);
    error WardRound_SiteExists(StudyId study, address site);
    /// @param sum Of the caps of all sites that are or were members of a round, with the one to admit.
    error WardRound_CapsTooHigh(StudyId study, uint256 sum);
    error WardRound_PayoutInvalid(StudyId study, address site, address payout);
    error WardRound_NotPayout(StudyId study, address site, address caller);
    error WardRound_SiteUnknown(StudyId study, address site);
    error WardRound_TransferInexact(address token, uint256 asked, uint256 received);
    error WardRound_Underfunded(StudyId study, uint256 funded, uint256 needed);
    error WardRound_TooFewSites(StudyId study, uint256 count, uint256 minimum);
    error WardRound_AlreadyBonded(StudyId study, address coordinator);
    error WardRound_NotBonded(StudyId study, address coordinator);
    error WardRound_RoundNotOpen(StudyId study, uint32 round, uint32 head);
    error WardRound_RecordingDiffers(StudyId study, Recording recording);
    /// @param locked Whether the study's cohorts are locked.
    error WardRound_LockingDiffers(StudyId study, bool locked);
    error WardRound_AlreadyLocked(StudyId study, uint32 round);
    error WardRound_NotLocked(StudyId study, uint32 round);
    /// The record's contributions, count or total weight are not those that were locked.
    error WardRound_CohortDiffers(StudyId study, uint32 round, bytes32 stored, bytes32 given);
    error WardRound_CommitmentDiffers(StudyId study, uint32 round, bytes32 stored, bytes32 given);
    error WardRound_EntriesMalformed(uint256 length);
    error WardRound_EntriesUnsorted(uint256 index, address site);
    error WardRound_NotMember(StudyId study, uint32 round, address site);
    error WardRound_WeightOutOfRange(address site, uint64 weight, uint32 maxWeight);
    /// @param recovered Who signed instead; zero when the signature is malformed.
    error WardRound_SignatureInvalid(address site, address recovered);
    error WardRound_TotalWeightDiffers(uint64 given, uint256 actual);
    error WardRound_TotalWeightOutOfRange(uint64 totalWeight);
    error WardRound_ContributionsDiffer(bytes32 given, bytes32 actual);
    error WardRound_QuorumMissing(uint256 attestations, uint256 quorum);
    error WardRound_AuditorsUnsorted(uint256 index, address auditor);
    /// The auditor, or the contract that it is, has not signed that.
    error WardRound_AttestationInvalid(address auditor);
    error WardRound_AlreadyFinal(StudyId study, uint32 round);
    error WardRound_NotFinal(StudyId study, uint32 round);
    error WardRound_TooEarly(StudyId study, uint256 from);
    /// @notice The site's entry is not at this index of the round's contributions.
    error WardRound_EntryNotIncluded(uint32 round, uint256 index);
    /// @notice The site's score is not at this index of the round's scores.
    error WardRound_ScoreNotIncluded(uint32 round, uint256 index);
    error WardRound_AlreadyPaid(StudyId study, uint32 round, address site);
    error WardRound_NothingDue(StudyId study);
    error WardRound_NotCourt(address caller);
    /// The court given to the constructor judges another contract's rounds.
    error WardRound_CourtDiffers(address court);
    error WardRound_NotChallengeable(StudyId study, uint32 round);
    error WardRound_AlreadyRegistered(StudyId study, uint32 round, address site);
    /// @notice Sites can still register, and not all members are known to be in the round.
    error WardRound_RegistrationOpen(StudyId study, uint256 until);
    error WardRound_RegistrationOver(StudyId study, uint256 since);
    error WardRound_Barred(StudyId study, address coordinator);
}
