// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICourt} from "./ICourt.sol";

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
    Sum
}

/// @notice How a round's reward is split among its sites.
enum Scoring {
    /// By weight.
    Examples
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
    /// What a demand, a tally and a commitment to a challenge are made against.
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
    Rule rule;
    /// Values cut at each end by the trimmed mean; zero for other rules.
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
    /// RFC 9162 root over named commitments; the contract only keeps it.
    bytes32 commitments;
    /// Number of entries.
    uint32 count;
    /// Sum of the entries' weights.
    uint64 totalWeight;
}

/// @notice A record with who closed it and when. The contract keeps
/// commitment = keccak256(abi.encode(closing)); later calls bring the closing back in calldata.
struct Closing {
    Record record;
    address coordinator;
    uint64 closedAt;
}

/// @notice A site's entry in a final round, with what proves it.
struct Earning {
    uint32 round;
    Closing closing;
    /// Packed, of 157 bytes.
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

/// @notice A contribution that its site brought to the chain itself.
struct Registration {
    /// keccak256 of the packed entry.
    bytes32 entryHash;
    /// Commitment of the round before, on whose model the entry builds.
    bytes32 previous;
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
    uint96 deposit;
    uint32 challengeSeconds;
    uint32 graceSeconds;
    uint32 demandSeconds;
    uint32 parameterCount;
    uint32 updateBound;
    Recording recording;
    Rule rule;
    uint16 ruleArgument;
}

/// @title WardRound
/// @notice Records, enforces and pays the rounds of federated learning studies.
/// @dev EIP-712 domain: name "wardround", version "2". Signed types:
/// Contribution(bytes32 study,uint32 round,bytes32 baseModel,address site,bytes32 update,uint64 weight,bytes32 report)
/// Attestation(bytes32 study,uint32 round,bytes32 record)
interface IWardRound {
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
    /// @notice One entry of a round closed with full recording.
    event Contributed(
        StudyId indexed study, uint32 round, address indexed site, bytes32 update, uint64 weight
    );
    /// @notice The data, record, coordinator and closedAt, is exactly what the commitment hashes.
    event RoundClosed(
        StudyId indexed study,
        uint32 indexed round,
        Record record,
        address coordinator,
        uint64 closedAt
    );
    /// @notice A site brought its contribution to the chain itself.
    /// @param entry Packed, with all that a coordinator needs to include it.
    event Registered(
        StudyId indexed study,
        uint32 indexed round,
        address indexed site,
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
    error WardRound_AlreadyPaid(StudyId study, uint32 round, address site);
    error WardRound_NothingDue(StudyId study);
    error WardRound_NotCourt(address caller);
    /// The court given to the constructor judges another contract's rounds.
    error WardRound_CourtDiffers(address court);
    error WardRound_NotChallengeable(StudyId study, uint32 round);
    error WardRound_AlreadyRegistered(StudyId study, uint32 round, address site);
    error WardRound_Barred(StudyId study, address coordinator);

    // ------------------------------------------------------------------ study

    /// @notice Creates a study. Only by the sponsor its parameters name.
    /// @dev The least that `challengeSeconds` may be is 1 hour, `objectionSeconds` and
    /// `demandSeconds` 10 minutes, `roundSeconds` and `graceSeconds` 12 seconds, `lifetimeSeconds` the
    /// longest of these, `bond` and `deposit` 1 unit.
    /// @param coordinators In order: the first opens the study, the others stand by.
    /// @param auditors Whose attestations count. `params.parties` is the hash of both lists.
    function createStudy(
        StudyParams calldata params,
        address[] calldata coordinators,
        address[] calldata auditors
    ) external returns (StudyId study);

    /// @notice Pays into a study. Anyone may; what is not earned goes to the sponsor at the end.
    function fund(StudyId study, uint128 amount) external;

    /// @notice Admits a site from the round being worked on. Its cap never changes afterwards. The
    /// caps of all sites add up to less than 2**31, so that all of them fit into a round.
    /// @param site Address of the site's signing key.
    /// @param payout Receives the site's rewards.
    /// @param maxWeight Largest weight the site may declare, at least 1.
    function admitSite(StudyId study, address site, address payout, uint32 maxWeight) external;

    /// @notice Removes a site from the next round on. Its key never comes back. Its cap counts on,
    /// unless it was a member of no round: any of its rounds may have to be closed again.
    function removeSite(StudyId study, address site) external;

    /// @notice Deposits the caller's bond, which must be a coordinator of the study.
    function postBond(StudyId study) external;

    /// @notice Opens round 1, once the study is funded, staffed and bonded.
    function openStudy(StudyId study) external;

    // ------------------------------------------------------------------ rounds

    /// @notice Closes a round with full recording and opens the next.
    /// @param previous The closing of the round before; holds the base model of the signatures.
    /// @param entries 157 bytes each, ascending by site:
    /// site(20) weight(8, big-endian) update(32) report(32) signature(65: r, s, v).
    function closeRound(
        StudyId study,
        uint32 round,
        Record calldata record,
        Closing calldata previous,
        bytes calldata entries
    ) external;

    /// @notice Closes a round with root recording and opens the next, at the same cost for any
    /// number of sites.
    function closeRoundRoot(StudyId study, uint32 round, Record calldata record) external;

    /// @notice Registers a contribution to the open round, for the case that the coordinator leaves
    /// it out. Anyone who holds the signed entry may; a site's first one counts.
    /// @dev A round closed more than `graceSeconds` later without an entry of the site can be
    /// overturned.
    function contribute(
        StudyId study,
        uint32 round,
        Closing calldata previous,
        bytes calldata entry
    ) external;

    /// @notice Makes every round up to this one final, by a quorum of auditors, once the objection
    /// time of this one is over. Who signed is owed the attesting fees of the rounds that no
    /// attestation had covered. A round that is final already, by time too, needs none: refused.
    /// @param attestations EIP-712 Attestations, ascending by auditor.
    function attest(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        Signed[] calldata attestations
    ) external;

    /// @notice Makes the calling standby the active coordinator once its turn has come.
    function takeOver(StudyId study) external;

    // ------------------------------------------------------------------ money

    /// @notice Pays a site its shares of final rounds, to its payout address. Anyone may call it.
    /// @dev A share is floor(rewardPerRound * weight / totalWeight), and no more than what is left
    /// of the round's reward. Each entry is paid once. With its last entry a round is settled: what
    /// flooring left of its reward is owed to the sponsor.
    /// @param earnings Final rounds, each once.
    function claim(StudyId study, address site, Earning[] calldata earnings) external;

    /// @notice Returns the caller's bond, before the study opens or once its last round is final.
    /// @param closing The closing of the last round; not looked at before the study opens.
    function releaseBond(StudyId study, Closing calldata closing) external;

    /// @notice Pays a final round's closing fee to who closed it. Anyone may call it.
    function claimFee(StudyId study, uint32 round, Closing calldata closing) external;

    /// @notice Returns to the sponsor what no round has earned, once the last round is final.
    /// @param closing The closing of the last round.
    function refund(StudyId study, Closing calldata closing) external;

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

    /// @notice Pays out what is owed to an account: its part of slashed bonds, what the flooring of
    /// shares has left, attesting fees, its deposits, and those that its answers earned. Anyone may
    /// call it.
    function collect(StudyId study, address account) external;

    // ------------------------------------------------------------------ court

    /// @notice Opens a round again that was proven wrong, bars who closed it and takes its bond.
    /// Only by the court. No token moves.
    /// @param paid Whether the challenger is owed half of the bond; the rest is burnt.
    function overturn(
        StudyId study,
        uint32 round,
        Closing calldata closing,
        address challenger,
        bool paid,
        bytes32 reason
    ) external;

    /// @notice Keeps a round and those behind it from becoming final by time. Only by the court,
    /// and only while the round is not final.
    function hold(StudyId study, uint32 round, uint64 until) external;

    /// @notice Takes a deposit into a study's escrow, out of what `from` lets this contract move. Only
    /// by the court, and last in its call.
    function take(StudyId study, address from, uint256 amount) external;

    /// @notice Adds to what `collect` pays an account, out of deposits taken before. Only by the
    /// court. No token moves.
    function credit(StudyId study, address account, uint256 amount) external;

    // ------------------------------------------------------------------ views

    /// @notice Where closed rounds are challenged; its `WARD` is this contract.
    function COURT() external view returns (ICourt);

    /// @notice The escrow that those of all studies are clones of; its `WARD` is this contract.
    function ESCROW() external view returns (address);

    /// @notice Where a study's tokens are: a clone of `ESCROW`, with the study's id as its salt.
    function escrowOf(StudyId study) external view returns (address);

    /// @notice Whether a round is still as committed to, but not yet final.
    /// @param commitment keccak256(abi.encode(closing)).
    /// @param closedAt Of that closing.
    function challengeable(StudyId study, uint32 round, bytes32 commitment, uint64 closedAt)
        external
        view
        returns (bool);

    function terms(StudyId study) external view returns (Terms memory);

    /// @notice A site's registered contribution to a round.
    function registration(StudyId study, uint32 round, address site)
        external
        view
        returns (Registration memory);

    /// @notice What `collect` would pay.
    function owed(StudyId study, address account) external view returns (uint256);

    /// @notice Whether a round's closing fee was paid.
    function isFeePaid(StudyId study, uint32 round) external view returns (bool);

    /// @notice What a coordinator or a site needs to know before it works on a round.
    function openRound(StudyId study)
        external
        view
        returns (uint32 round, address coordinator, uint64 openedAt, bytes32 previousCommitment);

    /// @notice keccak256(abi.encode(closing)) of a round, zero if it was never closed. It counts
    /// only while the round is behind the head.
    function commitment(StudyId study, uint32 round) external view returns (bytes32);

    function study(StudyId id) external view returns (StudyState memory);

    function site(StudyId study, address key) external view returns (Site memory);

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
