// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntryFault, Standing, UpdateProof} from "../interfaces/ICourt.sol";
import {IRegistrations} from "../interfaces/IRegistrations.sol";
import {Closing, Registration, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Aggregation} from "../libraries/Aggregation.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {Vectors} from "../libraries/Vectors.sol";
import {Bench} from "./Bench.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Registrations
/// @notice Contributions that sites registered: their data, and rounds that leave them out.
abstract contract Registrations is Bench, IRegistrations {
    using Entries for bytes;
    using Vectors for bytes;

    /// Chunks that may be demanded before any was shown, and for each that was.
    uint256 internal constant FIRST_CHUNKS = 64;
    uint256 internal constant MORE_CHUNKS = 51;
    /// Chunks that may be demanded and not yet shown: some thirty full transactions.
    uint256 internal constant OPEN_CHUNKS = 3_000;

    // ================================================================== registrations

    /// @inheritdoc IRegistrations
    function demandContribution(StudyId id, uint32 round, address site, uint32 first, uint32 count)
        external
    {
        Terms memory s = _termsOf(id);
        // Of a study that was ended no round is open.
        if (msg.sender != s.coordinator || round != s.head || round > s.rounds) {
            revert Court_NotCoordinator(id, msg.sender);
        }
        // Who locked a cohort shows what is in it. Nothing else is left to be included.
        if (s.locked) revert Court_DemandsDisabled(id);
        bytes32 previous = _storedOf(id, round - 1);
        Registration memory registered = _registrationOf(id, round, previous, site);
        Standing storage stands = _standings[_standingOf(id, round, previous, registered.entryHash)];
        if (_isVoid(stands, block.timestamp)) revert Court_RegistrationVoid(site);
        // What another coordinator has demanded is shown or void first: one payer has it back.
        bool open = stands.demanded != stands.shown;
        if (open && stands.payer != msg.sender) {
            revert Court_NotCoordinator(id, stands.payer);
        }
        if (first != stands.demanded) revert Court_ChunkUnexpected(first, stands.demanded);
        uint256 chunks = Vectors.chunks(_lengthOf(s));
        uint256 end = uint256(first) + count;
        if (count == 0 || end > chunks) revert Court_TargetUnknown(end, chunks);
        // More only of who has shown much, and no more than can be shown within one deadline.
        uint256 most = Math.min(
            FIRST_CHUNKS + MORE_CHUNKS * uint256(stands.shown), uint256(stands.shown) + OPEN_CHUNKS
        );
        if (end > most) revert Court_TooManyChunks(end, most);

        uint64 deadline = uint64(block.timestamp) + s.demandSeconds;
        uint256 payment = s.deposit / chunks;
        uint256 stake = stands.settled ? 0 : s.deposit;
        stands.payer = msg.sender;
        stands.deadline = deadline;
        // At most `chunks`, which are fewer than coordinates.
        // forge-lint: disable-next-line(unsafe-typecast)
        stands.demanded = uint32(end);
        for (uint256 chunk = first; chunk < end; ++chunk) {
            emit ContributionDemanded(
                id,
                round,
                site,
                previous,
                registered.entryHash,
                // forge-lint: disable-next-line(unsafe-typecast)
                uint32(chunk),
                // forge-lint: disable-next-line(unsafe-typecast)
                uint32(chunks),
                registered.sender,
                stake,
                msg.sender,
                payment,
                deadline
            );
        }
        WARD.take(id, msg.sender, payment * count);
    }

    /// @inheritdoc IRegistrations
    function answerContribution(
        StudyId id,
        uint32 round,
        bytes32 previous,
        bytes calldata entry,
        uint32 first,
        bytes calldata data,
        bytes32[] calldata path
    ) external {
        // Whatever hashes to what was registered has the length of an entry.
        bytes32 key = _standingOf(id, round, previous, keccak256(entry));
        Standing storage stands = _standings[key];
        if (stands.payer == address(0)) revert Court_NotDemanded(key);
        if (block.timestamp > stands.deadline) revert Court_TooLate(stands.deadline);
        uint256 shown = stands.shown;
        uint256 end = first + Vectors.chunks(data.length);
        // Another account may show some of them meanwhile: what follows them counts all the same.
        if (first > shown || end <= shown) revert Court_ChunkUnexpected(first, stands.shown);
        if (end > stands.demanded) revert Court_NotDemanded(key);
        Terms memory s = _termsOf(id);
        uint256 length = _lengthOf(s);
        bytes32 root = entry.first().update();
        if (!data.areIncluded(root, first, length, path)) revert Court_NotIncluded(root, first);

        // At most what was demanded.
        // forge-lint: disable-next-line(unsafe-typecast)
        stands.shown = uint32(end);
        emit ContributionAnswered(id, round, entry.first().site(), previous, first, data);
        WARD.credit(id, msg.sender, s.deposit / Vectors.chunks(length) * (end - shown));
    }

    /// @inheritdoc IRegistrations
    function closeContribution(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        bytes32 previous,
        address site
    ) external {
        Registration memory registered = _registrationOf(id, round, previous, site);
        Standing storage stands = _standings[_standingOf(id, round, previous, registered.entryHash)];
        Terms memory s = _termsOf(id);
        uint256 missing = stands.demanded - stands.shown;
        address payer = stands.payer;
        uint256 stake = stands.settled ? 0 : s.deposit;
        // Of a study that was ended, or on top of an overturned round, no such round opens any more.
        bool alive = round <= s.rounds && round <= s.head && previous == _storedOf(id, round - 1);
        bool open = alive && round == s.head;
        if (missing == 0) {
            // Its bytes can be demanded while the round is open, or may open again.
            if (stake == 0 || open || (alive && !WARD.isFinal(id, round, closing))) {
                revert Court_NothingDue(site);
            }
        } else {
            if (payer == address(0)) revert Court_NothingDue(site);
            if (block.timestamp <= stands.deadline && !stands.refused) {
                revert Court_TooEarly(stands.deadline);
            }
            // They stay unshown, and the registration void.
            stands.payer = address(0);
        }

        stands.settled = true;
        // Hidden bytes cost the sender its deposit only while the round waits for them: once closed, it
        // has the contribution, or did not need it.
        address to = missing != 0 && open ? payer : registered.sender;
        uint256 payment = s.deposit / Vectors.chunks(_lengthOf(s)) * missing;
        if (stake != 0) emit ContributionClosed(id, round, site, previous, to, stake);
        if (missing != 0) emit ContributionClosed(id, round, site, previous, payer, payment);
        if (stake != 0) WARD.credit(id, to, stake);
        if (missing != 0) WARD.credit(id, payer, payment);
    }

    /// @inheritdoc IRegistrations
    function refuseContribution(
        StudyId id,
        uint32 round,
        Closing calldata previous,
        bytes calldata entry,
        uint32 coordinate,
        bytes calldata update,
        bytes calldata base
    ) external {
        _checkEntryLength(entry);
        address site = entry.first().site();
        _checkPrevious(id, round, previous);
        bytes32 stored = _commitmentOf(previous);
        bytes32 entryHash = _registrationOf(id, round, stored, site).entryHash;
        if (keccak256(entry) != entryHash) revert Court_NotRegistered(id, round, site);
        _checkUnfit(
            _termsOf(id), entry.first().update(), previous.record.model, coordinate, update, base
        );

        Standing storage stands = _standings[_standingOf(id, round, stored, entryHash)];
        bool due = !stands.settled;
        stands.refused = true;
        stands.settled = true;
        emit ContributionRefused(id, round, site, coordinate);
        if (due) _returnDeposit(id, stands.payer == address(0) ? msg.sender : stands.payer);
    }

    /// @inheritdoc IRegistrations
    function standing(StudyId id, uint32 round, bytes32 previous, address site)
        external
        view
        returns (Standing memory)
    {
        bytes32 entryHash = WARD.registration(id, round, previous, site).entryHash;
        return _standings[_standingOf(id, round, previous, entryHash)];
    }

    // ================================================================== omission

    /// @inheritdoc IRegistrations
    function challengeOmission(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        address site,
        uint32 index,
        bytes calldata before,
        bytes calldata behind,
        bytes32[] calldata beforePath,
        bytes32[] calldata behindPath
    ) external {
        _checkAccused(id, round, closing);
        _checkRegistered(id, round, _timeOf(_termsOf(id), round, closing), site);

        // Entries ascend: no entry is between these two, before the first or behind the last.
        bool between = index <= closing.record.count;
        if (index > 0) {
            Entry entry = _includedEntry(closing, before, uint256(index) - 1, beforePath);
            between = between && entry.site() < site;
        }
        if (index < closing.record.count) {
            Entry entry = _includedEntry(closing, behind, index, behindPath);
            between = between && site < entry.site();
        }
        if (!between) revert Court_NotOmitted(site, index);

        emit OmissionProven(id, round, msg.sender, site);
        _overturnProven(id, round, closing, "omission");
    }

    // ================================================================== updates out of range

    /// @inheritdoc IRegistrations
    function challengeUpdate(
        StudyId id,
        uint32 round,
        Closing calldata closing,
        Closing calldata previous,
        bytes calldata entry,
        uint32 index,
        bytes32[] calldata path,
        UpdateProof calldata proof
    ) external {
        _checkAccused(id, round, closing);
        _checkPrevious(id, round, previous);
        bytes32 root = _includedEntry(closing, entry, index, path).update();
        _checkUnfit(
            _termsOf(id), root, previous.record.model, proof.coordinate, proof.update, proof.base
        );

        emit EntryProven(id, round, msg.sender, index, EntryFault.UpdateOutOfRange);
        _overturnProven(id, round, closing, "update");
    }

    /// Reverts where a coordinate of an update is within the bound, and a model can hold it.
    function _checkUnfit(
        Terms memory s,
        bytes32 root,
        bytes32 model,
        uint32 coordinate,
        bytes calldata update,
        bytes calldata base
    ) internal view {
        Place memory place = _placeOf(s, coordinate);
        int256 change = _valueIn(update, root, place);
        // A bound has 31 bits, so the range holds an update within it that is to be summed.
        int256 sum = _baseIn(s, base, model, place) + Aggregation.bounded(change, s.updateBound);
        if (sum >= type(int32).min && sum <= type(int32).max) {
            revert Court_ContributionFits(coordinate, sum);
        }
    }

    // ================================================================== what is registered

    /// A registration for a round on top of a closing of the round before.
    function _registrationOf(StudyId id, uint32 round, bytes32 previous, address site)
        internal
        view
        returns (Registration memory registered)
    {
        registered = WARD.registration(id, round, previous, site);
        if (registered.registeredAt == 0) revert Court_NotRegistered(id, round, site);
    }

    /// Reverts unless a site's contribution had to be included.
    function _checkRegistered(StudyId id, uint32 round, uint64 time, address site) internal view {
        // A round that can be challenged has one before it.
        bytes32 previous = _storedOf(id, round - 1);
        bytes32 entryHash = _registrationOf(id, round, previous, site).entryHash;
        // A coordinator that asked for data had to wait until its time was over.
        if (_isVoid(_standings[_standingOf(id, round, previous, entryHash)], time)) {
            revert Court_RegistrationVoid(site);
        }
    }

    /// Whether a registration need not be included from a time on: its update was refused, or a part
    /// of it was demanded and not shown.
    function _isVoid(Standing storage stands, uint256 time) internal view returns (bool) {
        return stands.refused || (stands.demanded != stands.shown && stands.deadline < time);
    }

    function _standingOf(StudyId id, uint32 round, bytes32 previous, bytes32 entryHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(id, round, previous, entryHash));
    }
}
