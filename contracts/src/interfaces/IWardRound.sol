// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

// With the types, so that they can be imported from here too.
import {IRounds} from "./IRounds.sol";
import {IStudies} from "./IStudies.sol";
import "./WardRoundTypes.sol";

/// @title WardRound
/// @notice Records, enforces and pays the rounds of federated learning studies.
/// @dev EIP-712 domain: name "wardround", version "2". Signed types:
/// Contribution(bytes32 study,uint32 round,bytes32 baseModel,address site,bytes32 update,uint64 weight,bytes32 report)
/// Attestation(bytes32 study,uint32 round,bytes32 record)
/// PayoutChange(bytes32 study,address site,address payout,uint256 change)
/// These parts are one contract to its callers. Of the code the second is in the annex.
interface IWardRound is IRounds, IStudies {}
