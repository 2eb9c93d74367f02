// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnnexed} from "./IAnnexed.sol";
import {IWardRoundBase} from "./IWardRoundBase.sol";
import {
    Closing,
    Cohort,
    Earning,
    Record,
    Registration,
    Signed,
    Site,
    StudyId,
    Terms
} from "./WardRoundTypes.sol";

/// @title Rounds
/// @notice What every round takes: the part of WardRound that is in its own code.
interface IRounds is IWardRoundBase, IAnnexed {
    // ------------------------------------------------------------------ study

    /// @notice Pays into a study. Anyone may; what is not earned goes to the sponsor at the end.
    function fund(StudyId study, uint128 amount) external;

    /// @notice Deposits the caller's bond, which must be a coordinator of the study.
    function postBond(StudyId study) external;

    // ------------------------------------------------------------------ rounds

    /// @notice Closes a round with full recording and opens the next. Within `registrationSeconds` of
    /// its opening only with an entry of every member, and not at all if a site was removed in it,
    /// or if it was open before a round was overturned.
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

    /// @notice Closes a round by its record alone and opens the next, at the same cost for any number
    /// of sites: with root recording, under the same conditions (a wrong number of entries is
    /// challenged), or with either where its cohort is locked. Then the record must have the locked
    /// contributions, count and total weight.
    function closeRoundRoot(StudyId study, uint32 round, Record calldata record) external;

    /// @notice Locks the cohort of the open round, with full recording: checks its entries, and the
    /// time, as `closeRound` does. Only by the active coordinator of a study with `lockedCohort`, once a round
    /// and attempt; it holds for who takes the round over, too. A new attempt begins where a round is
    /// overturned, since then what was locked is, or is built on, what was proven wrong.
    /// @dev The court judges a lock as a closing without a model (`Closing`) as long as the round is open
    /// with it: its entries, totals and omissions, and whether entries and updates are shown.
    function lockCohort(
        StudyId study,
        uint32 round,
        Cohort calldata cohort,
        Closing calldata previous,
        bytes calldata entries
    ) external;

    /// @notice Locks the cohort of the open round, with root recording: its entries are not looked at.
    function lockCohortRoot(StudyId study, uint32 round, Cohort calldata cohort) external;

    /// @notice Registers a contribution to the open round, for the case that the coordinator leaves
    /// it out, less than `registrationSeconds` after the round was opened. Anyone who holds the
    /// signed entry may, against the study's deposit; a site's first one counts, also for who takes
    /// the round over.
    /// @dev A round closed without an entry of the site can be overturned. Who gets the deposit is
    /// for the court: `ICourt.closeContribution`, `ICourt.refuseContribution`.
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
    /// of the round's reward. Where scores are paid, they take the place of weights, unless all of the
    /// round are zero. Each entry is paid once. With its last entry a round is settled: what
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

    /// @notice Pays out what is owed to an account: its part of slashed bonds, what the flooring of
    /// shares has left, attesting fees, its deposits, and those that its answers earned. Anyone may
    /// call it.
    function collect(StudyId study, address account) external;

    // ------------------------------------------------------------------ court

    /// @notice Opens a round again that was proven wrong, bars who closed it, or locked its cohort, and
    /// takes its bond.
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
    /// and only while the round is not final. A lock needs no such time: nothing happens.
    function hold(StudyId study, uint32 round, uint64 until) external;

    /// @notice Takes a deposit into a study's escrow, out of what `from` lets this contract move. Only
    /// by the court, and last in its call.
    function take(StudyId study, address from, uint256 amount) external;

    /// @notice Adds to what `collect` pays an account, out of deposits taken before. Only by the
    /// court. No token moves.
    function credit(StudyId study, address account, uint256 amount) external;

    // ------------------------------------------------------------------ views

    /// @notice Where closed rounds are challenged; its `WARD` is this contract.
    function COURT() external view returns (address);

    /// @notice The escrow that those of all studies are clones of; its `WARD` is this contract.
    function ESCROW() external view returns (address);

    /// @notice Where a study's tokens are: a clone of `ESCROW`, with the study's id as its salt.
    function escrowOf(StudyId study) external view returns (address);

    /// @notice Whether a round is still as committed to, but not yet final; also of the open round, as
    /// long as its cohort is locked.
    /// @param commitment keccak256(abi.encode(closing)).
    /// @param closedAt Of that closing.
    function challengeable(StudyId study, uint32 round, bytes32 commitment, uint64 closedAt)
        external
        view
        returns (bool);

    function terms(StudyId study) external view returns (Terms memory);

    /// @notice A site's registered contribution to a round.
    /// @param previous Commitment of the round before, on top of which it was registered.
    function registration(StudyId study, uint32 round, bytes32 previous, address site)
        external
        view
        returns (Registration memory);

    /// @notice keccak256(abi.encode(closing)) of a round, zero if it was never closed. It counts
    /// only while the round is behind the head. Of the head it may be that of a lock, which is a closing
    /// without a model: see `Closing`.
    function commitment(StudyId study, uint32 round) external view returns (bytes32);

    function site(StudyId study, address key) external view returns (Site memory);
}
