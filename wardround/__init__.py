"""Federated learning for hospitals, every round recorded and repeatable on a chain."""

from pkgutil import extend_path

#: A study's bundle carries a part of this package; the rest is the installation's.
__path__ = extend_path(__path__, __name__)
