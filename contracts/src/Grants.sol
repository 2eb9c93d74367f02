// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IGrants, Reader} from "./interfaces/IGrants.sol";
import {IWardRound, StudyId} from "./interfaces/IWardRound.sol";

/// @title Grants
/// @notice Who may read what a study keeps confidential, as its sponsor decides.
/// @dev It keeps no money, has no owner and cannot be upgraded. The sponsor is asked of WardRound
/// each time, so there is nothing here to fall out of step with it.
contract Grants is IGrants {
    struct Book {
        uint64 revocations;
        Reader[] readers;
        /// Place in `readers`, from 1; zero for who is not in it.
        mapping(address reader => uint256) place;
    }

    /// @inheritdoc IGrants
    IWardRound public immutable WARD_ROUND;

    mapping(StudyId study => Book) internal _books;

    constructor(IWardRound wardRound) {
        WARD_ROUND = wardRound;
    }

    /// @inheritdoc IGrants
    function grant(StudyId study, address reader, bytes32 publicKey) external {
        Book storage book = _sponsored(study);
        if (reader == address(0)) revert Grants_NoReader(study);
        if (publicKey == 0) revert Grants_NoKey(study, reader);
        if (book.place[reader] != 0) revert Grants_AlreadyGranted(study, reader);

        book.readers.push(Reader(reader, publicKey));
        book.place[reader] = book.readers.length;
        emit Granted(study, reader, publicKey, book.revocations + 1);
    }

    /// @inheritdoc IGrants
    function revoke(StudyId study, address reader) external {
        Book storage book = _sponsored(study);
        uint256 place = book.place[reader];
        if (place == 0) revert Grants_NotGranted(study, reader);

        Reader memory last = book.readers[book.readers.length - 1];
        book.readers[place - 1] = last;
        book.place[last.account] = place;
        // After the line above: the last one may be the one that goes.
        delete book.place[reader];
        book.readers.pop();
        ++book.revocations;
        emit Revoked(study, reader, book.revocations + 1);
    }

    /// @inheritdoc IGrants
    function isGranted(StudyId study, address reader) external view returns (bool) {
        return _books[study].place[reader] != 0;
    }

    /// @inheritdoc IGrants
    function publicKeyOf(StudyId study, address reader) external view returns (bytes32) {
        Book storage book = _books[study];
        uint256 place = book.place[reader];
        return place == 0 ? bytes32(0) : book.readers[place - 1].publicKey;
    }

    /// @inheritdoc IGrants
    function epoch(StudyId study) external view returns (uint64) {
        return _books[study].revocations + 1;
    }

    /// @inheritdoc IGrants
    function readers(StudyId study) external view returns (Reader[] memory) {
        return _books[study].readers;
    }

    /// @dev WardRound itself refuses a study that does not exist.
    function _sponsored(StudyId study) internal view returns (Book storage) {
        if (msg.sender != WARD_ROUND.study(study).sponsor) {
            revert Grants_NotSponsor(study, msg.sender);
        }
        return _books[study];
    }
}
