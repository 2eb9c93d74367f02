// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice keccak256(abi.encode(StudyParams)).
type StudyId is bytes32;

/// @notice How a round reaches the chain: with every entry in calldata and every signature checked
/// at once, or as a record alone whose entries anyone can challenge.
enum Recording {
    Full,
    Root
}

/// @notice How updates become a model, coordinate by coordinate, on integers.
enum Rule {
    Mean,
    Median,
    TrimmedMean,
    /// Of counts: 64-bit coordinates, unweighted; the model is the sum, and nothing is added to it.
    Sum,
    /// The weighted mean of updates, each scaled down to the median of their norms.
    ClippedMean,
    /// The plain mean of the updates that are nearest to the others (Multi-Krum).
    MultiKrum
}

/// @notice How a round's reward is split among its sites.
enum Scoring {
    /// By weight.
    Examples,
    /// By weight times the projection of the update on the aggregate, not below zero.
    Projection
}

/// @notice What a record commits to by name, ascending by name: as many of these as the study's rule
/// and scoring take. Each is the RFC 9162 root over its rows.
enum Named {
    /// Of Multi-Krum. 64 bytes for each pair of entries: the squared distance of their updates, and
    /// the root of its sum tree.
    Distances,
    /// Of the clipped mean. 64 bytes for each entry: the squared norm of its update, and the root of
    /// its sum tree.
    Norms,
    /// Of Multi-Krum. 32 bytes for each entry: the sum of its least distances.
    Ranks,
    /// Of the projection. 128 bytes for each entry: the projection, the root of its sum tree, the
    /// score, and the sum of the scores up to this one.
    Scores
}

/// @notice What a study is. Immutable; its hash is the study's identity.
struct StudyParams {
    /// Creates, funds and ends the study, admits and removes sites.
    address sponsor;
    /// The ERC-20 of rewards and bonds.
    address token;
    /// What the sites of a round share, in the token's smallest unit.
    uint128 rewardPerRound;
    /// What a coordinator deposits before it may act.
    uint96 bond;
    /// What a registration, a demand, a tally and a commitment to a challenge are made against.
    uint96 deposit;
    /// What a final round pays to who closed it.
    uint128 closingFee;
    /// What a round pays to the auditors whose attestations make it final, in equal parts.
    uint128 attestingFee;
    /// Number of rounds.
    uint32 rounds;
    /// How long a closed round can be challenged.
    uint32 challengeSeconds;
    /// How long a closed round can be challenged before attestations can make it final.
    uint32 objectionSeconds;
    /// How long the active coordinator has to close a round.
    uint32 roundSeconds;
    /// How much longer each next standby waits before it takes over.
    uint32 graceSeconds;
    /// How long sites can register contributions, from the time at which their round is opened: by the
    /// closing of the round before, by a takeover, or by a proof that overturned it. A coordinator that
    /// takes over leaves every site this time again, also one that has replied to its predecessor.
    uint32 registrationSeconds;
    /// How long a coordinator has to answer a demand for data.
    uint32 demandSeconds;
    /// How long the study may run once it is open. Afterwards any account may end it; of a round
    /// that is overturned late, each coordinator has its turn before.
    uint32 lifetimeSeconds;
    /// The fewest contributions a round can close with.
    uint16 minSites;
    /// Attestations that make a round final after its objection time. Zero: only the challenge
    /// window does.
    uint16 auditorQuorum;
    Recording recording;
    /// Whether a round's cohort is locked on chain before the round is closed with it.
    bool lockedCohort;
    Rule rule;
    /// Values cut at each end by the trimmed mean; hostile sites that Multi-Krum allows for; both less
    /// than half of minSites. Zero for other rules.
    uint16 ruleArgument;
    Scoring scoring;
    /// Coordinates of a model; fixes the size of every vector's tree.
    uint32 parameterCount;
    /// Largest magnitude of a coordinate of an update, in fixed point. The court judges it of sums.
    uint32 updateBound;
    /// Vector root of the model before round 1.
    bytes32 initialModel;
    /// SHA-256 of the canonical specification.
    bytes32 specification;
    /// Digest of the application code.
    bytes32 code;
    /// keccak256(abi.encode(coordinators, auditors)): who closes and who attests its rounds.
    bytes32 parties;
}

/// @notice What the coordinator commits to for one round.
struct Record {
    /// RFC 9162 root over the entries, sorted by site.
    bytes32 contributions;
    /// Vector root of the new model.
    bytes32 model;
    /// SHA-256 of the canonical manifest.
    bytes32 manifest;
    /// RFC 9162 root over named commitments: 64 bytes each, the SHA-256 of its name and its root.
    bytes32 commitments;
    /// Number of entries.
    uint32 count;
    /// Sum of the entries' weights.
    uint64 totalWeight;
}

/// @notice The contributions of a round, as `lockCohort` fixes them. The fields are the record's.
struct Cohort {
    bytes32 contributions;
    uint32 count;
    uint64 totalWeight;
}

/// @notice A record with who closed it and when. The contract keeps
/// commitment = keccak256(abi.encode(closing)); later calls bring the closing back in calldata.
/// A lock is a closing without a model: of its record, all but the cohort is zero; its coordinator is
/// who locked; its closedAt is the study's attempt, which tells it from the locks of other attempts.
struct Closing {
    Record record;
    address coordinator;
    uint64 closedAt;
}

/// @notice A site's entry in a final round, with what proves it.
struct Earning {
    uint32 round;
    Closing closing;
    /// Packed, of 157 bytes. Where scores are paid, behind it the openings, one behind the other, of
    /// `scores` among the record's named commitments, of the entry's row in it, and of the last row.
    bytes entry;
    /// Its place among the round's contributions, and its RFC 9162 inclusion path.
    uint32 index;
    bytes32[] path;
}

/// @notice What a round has paid to its sites. One slot.
struct Paid {
    uint128 amount;
    /// Entries that were paid.
    uint32 count;
}

/// @notice A site's admission to a study. One slot.
struct Site {
    /// Receives the rewards; not the signing key. Changes itself.
    address payout;
    /// The largest weight the site may declare; never changes.
    uint32 maxWeight;
    /// First round the site is a member of.
    uint32 since;
    /// First round the site is no longer a member of; 2**32 - 1 while admitted.
    uint32 until;
}

/// @notice A coordinator's place in a study. One slot.
struct Seat {
    /// What is deposited now.
    uint96 bond;
    /// Position in the list of coordinators, from 1; zero for everybody else.
    uint16 place;
    /// Whether the coordinator is bonded: it has posted its bond and not taken it back.
    bool bonded;
    /// Whether a round it closed was overturned. It never acts in the study again.
    bool barred;
}

/// @notice A contribution that was brought to the chain for its site.
struct Registration {
    /// keccak256 of the packed entry.
    bytes32 entryHash;
    /// Who brought it, and has the deposit back once its bytes were shown.
    address sender;
    uint64 registeredAt;
}

/// @notice An auditor's attestation.
struct Signed {
    /// The auditor: an account with a key, or a contract (ERC-1271).
    address auditor;
    /// By its key, 65 bytes: r, s, v; or whatever the contract accepts.
    bytes signature;
}

/// @notice A study's present state.
struct StudyState {
    address sponsor;
    address token;
    /// The active coordinator; zero before the study opens.
    address coordinator;
    /// The round being worked on, from 1; zero before the study opens; rounds + 1 after the last.
    uint32 head;
    /// When the active coordinator's turn began.
    uint64 openedAt;
    /// Rounds up to this one were made final by auditors.
    uint32 finalThrough;
    uint32 rounds;
    uint32 siteCount;
    uint16 minSites;
    uint16 auditorQuorum;
    Recording recording;
    bool lockedCohort;
    /// How many of its rounds were overturned.
    uint32 attempt;
    /// Who locked the open round's cohort; zero while it is not locked.
    address lockedBy;
    Rule rule;
    uint16 ruleArgument;
    Scoring scoring;
    uint32 parameterCount;
    uint32 updateBound;
    uint32 challengeSeconds;
    uint32 objectionSeconds;
    uint32 roundSeconds;
    uint32 graceSeconds;
    uint32 demandSeconds;
    /// Rounds from this one on are not final by time before `holdUntil`.
    uint32 holdRound;
    uint64 holdUntil;
    /// From then on any account may end the study; zero before it opens. Where a round is overturned,
    /// at least `roundSeconds` and, for each coordinator, `graceSeconds` later.
    uint64 deadline;
    uint96 bond;
    uint96 deposit;
    uint128 closingFee;
    uint128 attestingFee;
    uint128 rewardPerRound;
    uint128 funded;
    /// Rewards paid to sites.
    uint128 paid;
    /// Funds returned to the sponsor.
    uint128 refunded;
    address[] coordinators;
}

/// @notice The part of a study that judging its rounds takes.
struct Terms {
    address token;
    address coordinator;
    uint32 head;
    uint32 rounds;
    uint96 deposit;
    uint32 challengeSeconds;
    uint32 demandSeconds;
    uint32 parameterCount;
    uint32 updateBound;
    Recording recording;
    Rule rule;
    uint16 ruleArgument;
    Scoring scoring;
    /// Whether the cohort of the open round is locked.
    bool locked;
}
