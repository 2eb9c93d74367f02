"""Flower's error codes, and its node key header."""

from flwr.common.constant import ErrorCode
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER as NODE_KEY_HEADER

__all__ = ["NODE_KEY_HEADER", "ErrorCode"]
