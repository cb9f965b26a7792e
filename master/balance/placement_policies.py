"""The placement policies that a master can be given, by name."""

from master.balance.hashing import ByHash
from master.balance.placement import ByUse, Policy

PAPER, HASHING = "paper", "hashing"
POLICIES = (PAPER, HASHING)


def policy_of(name: str) -> Policy:
    """A policy of this name, which is one of POLICIES."""
    return ByHash() if name == HASHING else ByUse()
