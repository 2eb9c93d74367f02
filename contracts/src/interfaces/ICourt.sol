// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Closing, IWardRound, StudyId} from "./IWardRound.sol";

/// @notice One coordinate of a round, with what it was computed from.
/// @dev An opening is a leaf followed by its inclusion path: `leaf ‖ sibling ‖ sibling …`, from the
/// leaf upwards. Both lengths follow from the place in the tree, so nothing separates them.
struct CoordinateProof {
    uint32 coordinate;
    /// The openings of the coordinate's chunk in each entry's update, in the order of the entries.
    bytes updates;
    /// The opening of its chunk in the model before the round; empty in a sum.
    bytes base;
    /// The opening of its chunk in the recorded model.
    bytes model;
}

/// @notice What a tally sets out to show.
struct TallyStart {
    /// The coordinate to compute; 2**32 - 1 for none, to count entries and weights only.
    uint32 coordinate;
    /// The values between which the rule averages: of a median the two in the middle, of a trimmed
    /// mean the lowest and the highest that are kept. Zero for the mean and the sum.
    int32 low;
    int32 high;
    /// Openings of the coordinate's chunk in the two models; empty without a coordinate, that of
    /// the base also in a sum.
    bytes base;
    bytes model;
}

/// @notice What may be demanded.
enum What {
    /// A chunk of the recorded model.
    Model,
    /// A chunk of one entry's update.
    Update,
    /// An entry of a round with root recording.
    Entry,
    /// A chunk of the model the round was built on; not of a sum, which is added to nothing.
    Base
}

/// @notice A piece of data to demand.
struct Target {
    What what;
    /// Of the chunk; of the entry where an entry is demanded.
    uint32 index;
    /// For an update: the entry that names it, its place in the record and its inclusion path.
    uint32 entryIndex;
    bytes entry;
    bytes32[] path;
}

/// @notice What is wrong with an entry.
enum EntryFault {
    /// Not 157 bytes.
    Malformed,
    NotMember,
    WeightOutOfRange,
    SignatureInvalid
}

enum DemandStatus {
    None,
    Open,
    Answered,
    Closed
}

struct Demand {
    StudyId study;
    /// keccak256(abi.encode(closing)) of the round the data belongs to.
    bytes32 commitment;
    /// The tree the data must be in, its size, the place and the length of the leaf.
    bytes32 root;
    uint32 size;
    uint32 index;
    uint32 length;
    uint32 round;
    uint64 deadline;
    DemandStatus status;
    address demander;
    uint96 deposit;
}

/// @notice Where a tally's two named values stand among those counted, and what they add up to.
struct Ranks {
    uint32 belowLow;
    uint32 throughLow;
    uint32 belowHigh;
    uint32 throughHigh;
    uint128 totalWeight;
    /// Of the mean, values times weights; of the sum, values; of other rules, the values strictly
    /// between the two.
    int256 sum;
}

struct Tally {
    StudyId study;
    /// keccak256(abi.encode(closing)) of the round it is about.
    bytes32 commitment;
    /// Who opened it; zero once it is finished or closed.
    address owner;
    uint32 round;
    uint32 coordinate;
    uint32 count;
    int32 low;
    int32 high;
    /// The coordinate in the two models; of a sum, the base is zero.
    int32 base;
    int64 model;
    /// A challenge window after it was opened or last extended: until then it can be extended, or
    /// until the limit where that is earlier.
    uint48 until;
    uint48 limit;
    Ranks ranks;
}

/// @notice A challenge that its author has committed to and not shown yet.
struct Commitment {
    /// Until when it can be revealed; zero if it was never made.
    uint64 until;
    /// Whether its deposit is held: neither revealed nor closed.
    bool open;
}

/// @notice The state of a site's registered contribution.
struct Standing {
    /// Until when the last demand for its data can be answered; zero if none was made.
    uint64 deadline;
    /// Demands not answered.
    uint32 unanswered;
    /// Whether it was shown that its update leads out of the range of a model, or that one to be
    /// summed exceeds the study's bound.
    bool refused;
}

/// @title Court
/// @notice Where a closed round that breaks its study's rules is proven wrong, by anyone with the
/// data. A proof that holds overturns the round in the same transaction; one that does not reverts.
/// @dev `closing` is the challenged round's, `previous` that of the round before.
interface ICourt {
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

    event ContributionDemanded(
        StudyId indexed study,
        uint32 indexed round,
        address indexed site,
        uint32 chunk,
        uint64 deadline
    );
    event ContributionAnswered(
        StudyId indexed study, uint32 indexed round, address indexed site, uint32 chunk, bytes data
    );
    event ContributionRefused(
        StudyId indexed study, uint32 indexed round, address indexed site, uint32 coordinate
    );

    // ------------------------------------------------------------------ errors

    /// @notice The closing is not what the round was committed to, or the round is final.
    error Court_NotChallengeable(StudyId study, uint32 round);
    error Court_PreviousDiffers(StudyId study, uint32 round, bytes32 stored, bytes32 given);
    error Court_EntriesMalformed(uint256 length);
    error Court_EntriesDiffer(bytes32 recorded, bytes32 given);
    error Court_EntryNotIncluded(uint256 index);
    error Court_EntriesUnsorted(uint256 index);
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
    error Court_NotRegistered(StudyId study, uint32 round, address site);
    /// @notice Registered too late to be included, or for another model.
    error Court_RegistrationLate(address site, uint256 countsFrom, uint64 closedAt);
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
    error Court_DemandsDisabled(StudyId study);
    error Court_TargetUnknown(uint256 index, uint256 size);
    error Court_AlreadyDemanded(bytes32 demand);
    error Court_NotDemanded(bytes32 demand);
    error Court_NotCoordinator(StudyId study, address caller);

    // ------------------------------------------------------------------ challenges

    /// @notice A coordinate of the model is not what the rule gives, or no model can hold that: it
    /// is out of range, or one of the updates to be summed exceeds the study's bound.
    /// @param entries All of the record's, packed.
    function challengeCoordinate(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entries,
        CoordinateProof calldata proof
    ) external;

    /// @notice An entry of the record is malformed, not a member's, out of its weight's range or
    /// not signed.
    /// @param path Inclusion path of the entry in the record's contributions.
    function challengeEntry(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entry,
        uint32 index,
        bytes32[] calldata path
    ) external;

    /// @notice Two neighbouring entries are of one site, or not ascending by site.
    /// @param index Of the first; the second is at index + 1.
    function challengeOrder(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes calldata first,
        bytes calldata second,
        uint32 index,
        bytes32[] calldata firstPath,
        bytes32[] calldata secondPath
    ) external;

    /// @notice The record's count or total weight is not that of its entries.
    function challengeTotals(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes calldata entries
    ) external;

    /// @notice A site that registered its contribution in time is not in the record.
    /// @param index Where it would stand: the number of entries before it.
    /// @param before The entry at index - 1; empty when index is 0.
    /// @param behind The entry at index; empty when index is the record's count.
    function challengeOmission(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        address site,
        uint32 index,
        bytes calldata before,
        bytes calldata behind,
        bytes32[] calldata beforePath,
        bytes32[] calldata behindPath
    ) external;

    // ------------------------------------------------------------------ commitments

    /// @notice Commits to a challenge, against a deposit, so that a copy of it earns nothing. Until
    /// it is revealed, or ten minutes are over, an account that proves this closing wrong in the open, the
    /// caller too, overturns the round without a reward, and the round does not become final by time.
    /// @param commitment keccak256(abi.encode(caller, keccak256(data), salt)), where `data` calls
    /// this contract.
    function commitChallenge(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes32 commitment
    ) external;

    /// @notice Makes a challenge that the caller committed to in an earlier block, or finishes a tally
    /// of its own that was complete when it committed to that. It must overturn the round. The deposit
    /// goes back, and the challenger has its part of the bond.
    function revealChallenge(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        bytes32 salt,
        bytes calldata data
    ) external;

    /// @notice Ends a commitment that was not revealed in time: its deposit goes to who closed the
    /// round or, if the round was overturned meanwhile, back. Anyone may call it.
    function closeCommitment(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bytes32 commitment
    ) external;

    // ------------------------------------------------------------------ tallies

    /// @notice Begins to count a round of more entries than one transaction carries, against a
    /// deposit. Holds the round's finality, as does each step.
    function openTally(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        TallyStart calldata start
    ) external returns (uint256 tally);

    /// @notice Counts the next entries. Only by who opened the tally.
    /// @param updates Openings of the coordinate's chunk, one an entry; empty without a coordinate.
    function addToTally(uint256 tally, bytes calldata entries, bytes calldata updates) external;

    /// @notice Overturns the round if, all its entries counted, the record is wrong. Then the
    /// deposit goes back.
    function finishTally(uint256 tally, Closing calldata closing) external;

    /// @notice Ends a tally that nothing extended in time: its deposit goes to who closed the round
    /// or, if the round was overturned meanwhile, back. Anyone may call it.
    function closeTally(uint256 tally, Closing calldata closing) external;

    // ------------------------------------------------------------------ demands

    /// @notice Demands that data of a closed round be shown, against a deposit.
    /// @param previous Read only to demand a chunk of the base, which a sum does not have.
    function demandChunk(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        Target calldata target
    ) external returns (bytes32 demand);

    /// @notice Shows what was demanded. Anyone may, up to the deadline, unless the round has been
    /// overturned meanwhile. Half of the deposit goes to who closed the round, the other half, with
    /// the odd unit, to the caller.
    /// @param opening The leaf and its path.
    function answerDemand(bytes32 demand, Closing calldata closing, bytes calldata opening) external;

    /// @notice Overturns the round whose data was not shown by the deadline, or, if the round can no
    /// longer be overturned, ends the demand. The demander has the deposit back either way, and its
    /// part of the bond, also when another account has committed to a challenge: no other account
    /// is paid for the demand.
    function closeDemand(bytes32 demand, Closing calldata closing) external;

    // ------------------------------------------------------------------ registered contributions

    /// @notice Asks a site for a chunk of the update it registered. Only by the active coordinator,
    /// while the round is open. If it is not shown by the deadline, the registration is void.
    function demandContribution(StudyId study, uint32 round, address site, uint32 chunk) external;

    /// @notice Shows a chunk of a registered update. Anyone may, up to the deadline.
    function answerContribution(
        StudyId study,
        uint32 round,
        bytes calldata entry,
        uint32 chunk,
        bytes calldata opening
    ) external;

    /// @notice Voids a registration whose update, added to the model, leaves the range of 32 bits,
    /// or, where updates are summed, exceeds the study's bound: no round could hold it.
    /// @param base Empty in a sum.
    function refuseContribution(
        StudyId study,
        uint32 round,
        Closing calldata previous,
        bytes calldata entry,
        uint32 coordinate,
        bytes calldata update,
        bytes calldata base
    ) external;

    // ------------------------------------------------------------------ views

    /// @notice The contract whose rounds are judged.
    function WARD() external view returns (IWardRound);

    function demandOf(bytes32 demand) external view returns (Demand memory);

    function demandIdOf(
        StudyId study,
        uint32 round,
        bytes32 commitment,
        What what,
        uint32 index,
        uint32 entryIndex
    ) external pure returns (bytes32);

    function tallyOf(uint256 tally) external view returns (Tally memory);

    /// @param closing keccak256(abi.encode(closing)).
    function commitmentOf(
        StudyId study,
        uint32 round,
        bytes32 closing,
        address challenger,
        bytes32 commitment
    ) external view returns (Commitment memory);

    function standing(StudyId study, uint32 round, address site)
        external
        view
        returns (Standing memory);
}
