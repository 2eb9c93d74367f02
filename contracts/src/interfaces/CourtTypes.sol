// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Named, StudyId} from "./WardRoundTypes.sol";

/// @notice One coordinate of a round, with what it was computed from.
/// @dev An opening is a leaf followed by its inclusion path: `leaf ‖ sibling ‖ sibling …`, from the
/// leaf upwards. Both lengths follow from the place in the tree, so nothing separates them.
struct CoordinateProof {
    uint32 coordinate;
    /// The openings of the coordinate's chunk in each entry's update, in the order of the entries;
    /// under Multi-Krum in those alone that it averages.
    bytes updates;
    /// The opening of its chunk in the model before the round; empty in a sum.
    bytes base;
    /// The opening of its chunk in the recorded model.
    bytes model;
    /// Under the clipped mean the opening of `norms` among the record's named commitments, under
    /// Multi-Krum of `ranks`, and behind it all of its rows; else empty.
    bytes rows;
}

/// @notice One coordinate of an entry's update, with what it is added to.
struct UpdateProof {
    uint32 coordinate;
    /// The opening of its chunk in the update.
    bytes update;
    /// The opening of its chunk in the model before the round; empty in a sum.
    bytes base;
}

/// @notice A number of a sum tree, with what it was computed from.
struct NodeProof {
    /// The commitment that the tree is under, and its row.
    Named named;
    uint32 row;
    /// The page and the number's place in it. The page behind the last is the row's own total.
    uint32 page;
    uint32 place;
    /// One behind the other: the openings of the named commitment, of the row, of the page, unless it
    /// is the total's; then of the page below or, on the lowest level, of each entry and the chunk of its
    /// update, for scores also of that of the recorded model and of the base. Nothing for a number
    /// that must be zero.
    bytes openings;
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
    /// Under the clipped mean the opening of `norms` among the record's named commitments, under
    /// Multi-Krum of `ranks`; else, or without a coordinate, empty.
    bytes named;
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
    Base,
    /// A row of a named commitment and a page of its sum tree; of ranks the row alone.
    Distances,
    Norms,
    Ranks,
    Scores
}

/// @notice A piece of data to demand.
struct Target {
    What what;
    /// Of the chunk; of the entry where an entry is demanded; of the page.
    uint32 index;
    /// Of a named commitment's row. For an update: the entry that names it, its place in the record and
    /// its inclusion path.
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
    SignatureInvalid,
    /// A coordinate exceeds the study's bound, or leads out of a model's range.
    UpdateOutOfRange
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
    /// Of a named commitment, the row; then `index` is the page, and the root is the record's.
    What what;
    uint32 row;
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
    /// Of the two means, values times weights; of the sum and of Multi-Krum, values; of other rules,
    /// the values strictly between the two.
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
    /// Over the rows of norms, or of ranks, that the rule takes, and how many there are.
    bytes32 rows;
    uint32 size;
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
    /// The coordinator that demanded its data last; zero if none did, or once it has back what it paid
    /// for chunks that were not shown.
    address payer;
    /// Until when what is demanded can be shown; zero if nothing was.
    uint64 deadline;
    /// How many chunks were demanded, and how many of these were shown: always the first ones.
    uint32 demanded;
    uint32 shown;
    /// Whether it was shown that its update exceeds the study's bound, or leads out of the range of a
    /// model.
    bool refused;
    /// Whether its deposit was credited.
    bool settled;
}
