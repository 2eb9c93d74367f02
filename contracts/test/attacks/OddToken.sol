// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// A token that on command halves all balances, blocks accounts, answers false or calls back.
contract OddToken {
    mapping(address owner => uint256) internal _shares;
    mapping(address account => bool) internal _blocked;
    bool internal _halved;
    bool internal _refusing;
    address internal _called;
    bytes internal _callback;

    error OddToken_Blocked();
    error OddToken_Short(address owner, uint256 asked);

    function mint(address owner, uint256 amount) external {
        _shares[owner] += amount;
    }

    function halve() external {
        _halved = true;
    }

    function blockAccount(address account) external {
        _blocked[account] = true;
    }

    function refuse() external {
        _refusing = true;
    }

    /// The next transfer calls an address first.
    function callBack(address called, bytes calldata callback) external {
        (_called, _callback) = (called, callback);
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return move(msg.sender, to, amount);
    }

    /// Needs no approval.
    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return move(from, to, amount);
    }

    function balanceOf(address owner) external view returns (uint256) {
        return _halved ? _shares[owner] / 2 : _shares[owner];
    }

    function move(address from, address to, uint256 amount) internal returns (bool) {
        if (_blocked[from] || _blocked[to]) revert OddToken_Blocked();
        if (_refusing) return false;
        address called = _called;
        if (called != address(0)) {
            _called = address(0);
            // The transfer goes on, whether the callback succeeds or not.
            (bool succeeded,) = called.call(_callback);
            succeeded;
        }
        uint256 shares = _halved ? 2 * amount : amount;
        if (_shares[from] < shares) revert OddToken_Short(from, amount);
        _shares[from] -= shares;
        _shares[to] += shares;
        return true;
    }
}
