"""Whose orders this server obeys: the one place where that is decided.

The problem. An order may come from the master of another cluster (a wrong address, a folder that was moved), or from a
master that was replaced and does not know it yet. The idea: every order, and every answer to a report, names the
namespace and the epoch of the master that gives it; and an order the name of the server that is to obey, which may have
died, and another one have got its address.

    another server                       Unavailable: the one that is meant is not here
    another namespace than ours          ForeignNamespace; a folder that belongs to none yet takes this one
    an epoch lower than the highest      Superseded
    an epoch higher than the highest     obeyed, after the number was made durable

Invariant: nothing is done on behalf of a master before its namespace and epoch are on stable storage. So a restart of
this server does not make it obey an old master again.
"""

import asyncio
from dataclasses import replace

from chunkserver.storage.identity import IdentityFile
from runtime.errors import ForeignNamespace, Superseded, Unavailable
from runtime.wire.common_pb2 import Authority


class Obedience:
    """Compares the authority of orders with the identity of this server."""

    def __init__(self, identity: IdentityFile, node: str) -> None:
        self._identity = identity
        self._node = node
        self._writing = asyncio.Lock()

    async def check(self, authority: Authority) -> None:
        """Return if whoever gives the order is to be obeyed. Raises Unavailable, ForeignNamespace, Superseded,
        DiskFailure."""
        self.require(authority)
        if self._is_known(authority):
            return
        async with self._writing:
            self.require(authority)
            if not self._is_known(authority):
                known = self._identity.now
                await self._identity.write(replace(known, namespace=authority.namespace, epoch=authority.epoch))

    def require(self, authority: Authority) -> None:
        """Raise Unavailable, ForeignNamespace or Superseded, by what is known now."""
        known = self._identity.now
        if authority.server not in ("", self._node):
            raise Unavailable(
                f"the order is for {authority.server}, which had this address before; here is {self._node}",
                definite=True,
            )
        if not authority.namespace or known.namespace not in (0, authority.namespace):
            raise ForeignNamespace(
                f"the order comes from namespace {authority.namespace:#x}, the chunks here belong to namespace "
                f"{known.namespace:#x}; start this server with a folder and a master's address that belong together"
            )
        if authority.epoch < known.epoch:
            raise Superseded(
                f"the order comes from the master of epoch {authority.epoch}, this server obeys epoch {known.epoch}; "
                "the older master is to stop"
            )

    def _is_known(self, authority: Authority) -> bool:
        known = self._identity.now
        return (known.namespace, known.epoch) == (authority.namespace, authority.epoch)
