// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Standing} from "../interfaces/ICourt.sol";
import {IRegistrations} from "../interfaces/IRegistrations.sol";
import {Closing, Registration, StudyId, Terms} from "../interfaces/IWardRound.sol";
import {Entries, Entry} from "../libraries/Entries.sol";
import {Vectors} from "../libraries/Vectors.sol";
import {Bench} from "./Bench.sol";

/// @title Registrations
/// @notice Contributions that sites registered: their data, and rounds that leave them out.
abstract contract Registrations is Bench, IRegistrations {
    using Entries for bytes;
    using Vectors for bytes;

    // ================================================================== registrations

    /// @inheritdoc IRegistrations
    function demandContribution(StudyId id, uint32 round, address site, uint32 chunk) external {
        Terms memory s = _termsOf(id);
        if (msg.sender != s.coordinator || round != s.head) {
            revert Court_NotCoordinator(id, msg.sender);
        }
        bytes32 key = _standingOf(id, round, _registrationOf(id, round, site).entryHash);
        Standing storage stands = _standings[key];
        if (stands.refused || (stands.unanswered > 0 && block.timestamp > stands.deadline)) {
            revert Court_RegistrationVoid(site);
        }
        uint256 chunks = Vectors.chunks(_lengthOf(s));
        if (chunk >= chunks) revert Court_TargetUnknown(chunk, chunks);
        Asked storage asked = _asked[key][chunk];
        if (asked.deadline != 0) revert Court_AlreadyDemanded(key);

        uint64 deadline = uint64(block.timestamp) + s.demandSeconds;
        asked.deadline = deadline;
        stands.deadline = deadline;
        ++stands.unanswered;
        emit ContributionDemanded(id, round, site, chunk, deadline);
    }

    /// @inheritdoc IRegistrations
    function answerContribution(
        StudyId id,
        uint32 round,
        bytes calldata entry,
        uint32 chunk,
        bytes calldata opening
    ) external {
        // Whatever hashes to what was registered has the length of an entry.
        bytes32 key = _standingOf(id, round, keccak256(entry));
        Asked storage asked = _asked[key][chunk];
        if (asked.deadline == 0 || asked.answered) revert Court_NotDemanded(key);
        if (block.timestamp > asked.deadline) revert Court_TooLate(asked.deadline);
        uint256 vectorLength = _lengthOf(_termsOf(id));
        uint256 length = Vectors.chunkLength(vectorLength, chunk);
        bytes32 root = entry.first().update();
        if (!opening.isIncluded(length, root, chunk, Vectors.chunks(vectorLength))) {
            revert Court_NotIncluded(root, chunk);
        }

        asked.answered = true;
        --_standings[key].unanswered;
        emit ContributionAnswered(id, round, entry.first().site(), chunk, opening[:length]);
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
        bytes32 entryHash = _registrationOf(id, round, site).entryHash;
        if (keccak256(entry) != entryHash) revert Court_NotRegistered(id, round, site);
        _checkPrevious(id, round, previous);
        Terms memory s = _termsOf(id);
        Place memory place = _placeOf(s, coordinate);
        // A bound has 31 bits: of an update to be summed, the range holds what the bound does.
        int256 sum = _baseIn(s, base, previous.record.model, place)
            + _changeIn(s, update, entry.first().update(), place);
        if (sum >= type(int32).min && sum <= type(int32).max) {
            revert Court_ContributionFits(coordinate, sum);
        }

        _standings[_standingOf(id, round, entryHash)].refused = true;
        emit ContributionRefused(id, round, site, coordinate);
    }

    /// @inheritdoc IRegistrations
    function standing(StudyId id, uint32 round, address site)
        external
        view
        returns (Standing memory)
    {
        return _standings[_standingOf(id, round, WARD.registration(id, round, site).entryHash)];
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
        _checkRegistered(id, round, closing.closedAt, site);

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

    // ================================================================== what is registered

    /// A registration for the round as it now begins.
    function _registrationOf(StudyId id, uint32 round, address site)
        internal
        view
        returns (Registration memory registered)
    {
        registered = WARD.registration(id, round, site);
        // Of a round 0 there is none, so nothing is subtracted from it.
        if (registered.registeredAt == 0 || registered.previous != _storedOf(id, round - 1)) {
            revert Court_NotRegistered(id, round, site);
        }
    }

    /// Reverts unless a site's contribution had to be included.
    function _checkRegistered(StudyId id, uint32 round, uint64 closedAt, address site)
        internal
        view
    {
        Registration memory registered = _registrationOf(id, round, site);
        // Strictly: without grace, a registration in the closing's own block is too late.
        uint256 from = uint256(registered.registeredAt) + _termsOf(id).graceSeconds;
        if (from >= closedAt) revert Court_RegistrationLate(site, from, closedAt);
        Standing memory stands = _standings[_standingOf(id, round, registered.entryHash)];
        // A coordinator that asked for data had to wait until its time was over.
        if (stands.refused || (stands.unanswered > 0 && stands.deadline < closedAt)) {
            revert Court_RegistrationVoid(site);
        }
    }

    function _standingOf(StudyId id, uint32 round, bytes32 entryHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(id, round, entryHash));
    }
}
