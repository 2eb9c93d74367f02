// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IWardRound, StudyId} from "./IWardRound.sol";

/// @notice An account that may read what a study keeps confidential.
struct Reader {
    address account;
    /// The X25519 key to which the keys of the study's epochs are wrapped (RFC 7748, RFC 9180).
    bytes32 publicKey;
}

/// @title IGrants
/// @notice Who may read what a study keeps confidential, as its sponsor decides.
/// @dev A study's time is divided into epochs, each with an encryption key of its own. Revoking
/// begins a new epoch, so that who is revoked cannot read what is written from then on. What was
/// written before cannot be taken back from a reader who could read it.
interface IGrants {
    /// @notice From now on the account is given the keys of all epochs.
    event Granted(StudyId indexed study, address indexed reader, bytes32 publicKey, uint64 epoch);
    /// @param epoch The first epoch whose key the reader is not given.
    event Revoked(StudyId indexed study, address indexed reader, uint64 epoch);

    error Grants_NotSponsor(StudyId study, address caller);
    error Grants_NoReader(StudyId study);
    error Grants_NoKey(StudyId study, address reader);
    /// @notice A grant is never changed: revoke it first, which begins an epoch.
    error Grants_AlreadyGranted(StudyId study, address reader);
    error Grants_NotGranted(StudyId study, address reader);

    /// @notice Let an account read; only the study's sponsor.
    function grant(StudyId study, address reader, bytes32 publicKey) external;
    /// @notice Let it read nothing that is written from now on; only the study's sponsor.
    function revoke(StudyId study, address reader) external;

    /// @notice Where studies and their sponsors are.
    function WARD_ROUND() external view returns (IWardRound);
    /// @notice Whether an account may read now.
    function isGranted(StudyId study, address reader) external view returns (bool);
    /// @notice The key of a reader; zero for everybody else.
    function publicKeyOf(StudyId study, address reader) external view returns (bytes32);
    /// @notice The epoch of what is written now, from 1.
    function epoch(StudyId study) external view returns (uint64);
    /// @notice Everybody who may read now, in no order.
    function readers(StudyId study) external view returns (Reader[] memory);
}
