// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntryFault, What} from "./CourtTypes.sol";
import {IWardRound, Named, StudyId} from "./IWardRound.sol";

/// @title The court's events and errors
/// @notice What both parts of the court emit, revert with and serve.
interface ICourtBase {
    // ------------------------------------------------------------------ events

    /// @param expected The recorded base plus what the rule gives; may be out of a model's range. Of
    /// a sum, what the rule gives; at least 2**127 where an update exceeds the study's bound.
    event CoordinateProven(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        uint32 coordinate,
        int256 expected,
        int256 recorded
    );
    event EntryProven(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        uint32 index,
        EntryFault fault
    );
    /// @param index Of the first of the two entries.
    event OrderProven(
        StudyId indexed study, uint32 indexed round, address indexed challenger, uint32 index
    );
    event TotalsProven(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        uint256 count,
        uint256 totalWeight
    );
    event OmissionProven(
        StudyId indexed study, uint32 indexed round, address indexed challenger, address site
    );
    event NodeProven(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        Named named,
        uint32 row,
        uint32 page,
        uint32 place
    );
    event ScoreProven(
        StudyId indexed study, uint32 indexed round, address indexed challenger, uint32 index
    );
    event RankProven(
        StudyId indexed study, uint32 indexed round, address indexed challenger, uint32 index
    );
    event WithheldProven(
        StudyId indexed study, uint32 indexed round, address indexed challenger, bytes32 demand
    );
    event TallyOpened(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        uint256 tally,
        uint32 coordinate
    );
    event TallyExtended(uint256 indexed tally, uint256 count, uint256 totalWeight);
    /// @param to Who is owed the deposit of a tally that overturned nothing.
    event TallyClosed(uint256 indexed tally, address indexed to);
    /// @param closing keccak256(abi.encode(closing)) of the accused round.
    event Committed(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        bytes32 closing,
        bytes32 commitment,
        uint64 until
    );
    event Revealed(
        StudyId indexed study, uint32 indexed round, address indexed challenger, bytes32 commitment
    );
    /// @param to Who is owed the deposit of a challenge that was not revealed.
    event CommitmentClosed(
        StudyId indexed study,
        uint32 indexed round,
        address indexed challenger,
        bytes32 commitment,
        address to
    );
    event Demanded(
        StudyId indexed study,
        uint32 indexed round,
        bytes32 indexed demand,
        address demander,
        What what,
        uint32 index,
        uint32 entryIndex,
        uint64 deadline,
        uint256 deposit
    );
    /// @param opening The chunk, or the entry, and its path.
    event Answered(bytes32 indexed demand, address indexed answerer, bytes opening);
    /// @notice The round could no longer be overturned; the demander has the deposit back.
    event DemandLapsed(bytes32 indexed demand);
    /// @notice One a chunk, with all that who shows it has to know.
    /// @param previous Commitment of the round before, on top of which the update was registered.
    /// @param chunks How many the update has.
    /// @param sender Who sent the registration, and loses the stake where the chunk is not shown.
    /// @param payment What showing the chunk earns.
    event ContributionDemanded(
        StudyId indexed study,
        uint32 indexed round,
        address indexed site,
        bytes32 previous,
        bytes32 entryHash,
        uint32 chunk,
        uint32 chunks,
        address sender,
        uint256 stake,
        address payer,
        uint256 payment,
        uint64 deadline
    );
    /// @param first The first of the chunks.
    /// @param data The chunks, one behind the other.
    event ContributionAnswered(
        StudyId indexed study,
        uint32 indexed round,
        address indexed site,
        bytes32 previous,
        uint32 first,
        bytes data
    );
    /// @notice A registration's deposit, or what was paid for chunks that were not shown.
    /// @param to Who is owed it: the registration's sender or, of an open round in which demanded bytes
    /// were not shown, the coordinator that had demanded them.
    event ContributionClosed(
        StudyId indexed study,
        uint32 indexed round,
        address indexed site,
        bytes32 previous,
        address to,
        uint256 amount
    );
    event ContributionRefused(
        StudyId indexed study, uint32 indexed round, address indexed site, uint32 coordinate
    );

    // ------------------------------------------------------------------ errors

    /// @notice The closing, or the lock, is not what the round was committed to, or the round is final.
    error Court_NotChallengeable(StudyId study, uint32 round);
    error Court_PreviousDiffers(StudyId study, uint32 round, bytes32 stored, bytes32 given);
    error Court_EntriesMalformed(uint256 length);
    error Court_EntriesDiffer(bytes32 recorded, bytes32 given);
    error Court_EntryNotIncluded(uint256 index);
    error Court_WeightsZero();
    error Court_TooFewEntries(uint256 count);
    error Court_CoordinateUnknown(uint32 coordinate, uint32 parameterCount);
    error Court_OpeningMalformed(uint256 length, uint256 expected);
    /// @param root The vector root, or the contributions root, that the leaf is not in.
    error Court_NotIncluded(bytes32 root, uint256 index);
    error Court_CoordinateRight(uint32 coordinate, int256 value);
    error Court_EntryRight(uint256 index);
    error Court_OrderRight(uint256 index);
    error Court_TotalsRight(uint256 count, uint256 totalWeight);
    /// @notice Records of the study commit to nothing of this name.
    error Court_NameUnknown(Named named);
    error Court_NodeRight(int256 value);
    error Court_ScoreRight(uint256 score, uint256 total);
    error Court_RankRight(uint256 rank);
    error Court_NotRegistered(StudyId study, uint32 round, address site);
    /// @notice Its update was refused, or what was demanded of it not shown in time.
    error Court_RegistrationVoid(address site);
    error Court_NotOmitted(address site, uint256 index);
    error Court_ContributionFits(uint32 coordinate, int256 value);
    error Court_TallyNotYours(uint256 tally);
    error Court_TallyOver(uint256 tally);
    /// @notice It was extended after the commitment to finish it was made.
    error Court_TallyChanged(uint256 tally, uint256 changedAt);
    error Court_AlreadyCommitted(bytes32 commitment);
    error Court_NotCommitted(bytes32 commitment);
    /// @notice What was revealed did not overturn the round.
    error Court_NotOverturned(StudyId study, uint32 round);
    error Court_ClosingDiffers(bytes32 stored, bytes32 given);
    error Court_RanksDiffer(
        uint32 belowLow, uint32 throughLow, uint32 belowHigh, uint32 throughHigh
    );
    error Court_TooLate(uint256 until);
    error Court_TooEarly(uint256 from);
    /// @notice No proof takes the data, or the round's lock does not promise it.
    error Court_DemandsDisabled(StudyId study);
    error Court_TargetUnknown(uint256 index, uint256 size);
    error Court_AlreadyDemanded(bytes32 demand);
    error Court_NotDemanded(bytes32 demand);
    /// The annex given to the constructor judges another contract's rounds.
    error Court_AnnexDiffers(address annex);
    error Court_NotCoordinator(StudyId study, address caller);
    /// @notice Chunks of a registered update are demanded, and shown, in their order.
    error Court_ChunkUnexpected(uint256 first, uint256 expected);
    /// @notice So many chunks may be demanded only once more of them were shown.
    error Court_TooManyChunks(uint256 end, uint256 most);
    /// @notice Its bytes can still be demanded, or its deposit was credited before.
    error Court_NothingDue(address site);

    // ------------------------------------------------------------------ views

    /// @notice The contract whose rounds are judged.
    function WARD() external view returns (IWardRound);
}
