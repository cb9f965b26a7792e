"""The Bloom filter policies by their names. A new one is a module beside this one, and a name here and in the schema.

A name that is not known is an error, though a filter only saves time: without it every read would touch every SSTable,
and nobody would know why. `docs/decisions/` tells more.
"""

from runtime.errors import IncompatibleFormat
from tablet.engine.model.schema import BloomPolicy
from tablet.engine.sstable.bloom.blocked import BlockedPolicy
from tablet.engine.sstable.bloom.policy import FilterPolicy
from tablet.engine.sstable.bloom.sliced import SlicedPolicy

POLICIES: dict[BloomPolicy, FilterPolicy] = {policy.name: policy for policy in (SlicedPolicy(), BlockedPolicy())}


def policy_of(file: str, name: str) -> FilterPolicy:
    """The policy that a file names. Raises IncompatibleFormat with the names there are.

    >>> policy_of("000001.sst", "blocked").name
    'blocked'
    """
    for policy in POLICIES.values():
        if policy.name == name:
            return policy
    raise IncompatibleFormat(
        f"{file} says that its Bloom filters are of the policy {name!r}; known are {', '.join(POLICIES)}; "
        f"use a version that knows it"
    )
