"""Server reflection, on request: programs like `grpcurl` ask a node which services and messages it knows.

Set TABLETOP_REFLECTION=1 for the processes of a cluster, and install the extra `reflection`. Asking needs the token, as
every call does.
"""

import os
from typing import Any

from runtime.errors import Conflict
from runtime.rpc import NodeRegistrar

VARIABLE = "TABLETOP_REFLECTION"


def add_if_wanted(registrar: NodeRegistrar) -> None:
    """Serve reflection of all services registered so far, if the environment asks for it. Raises Conflict if it cannot
    be had."""
    if os.environ.get(VARIABLE, "0") in ("", "0"):
        return
    try:
        from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
    except ImportError:
        raise Conflict(
            f"{VARIABLE} is set, and the package grpcio-reflection is not installed; "
            "run `pip install grpcio-reflection`, or unset it"
        ) from None
    servicer: Any = reflection.aio.ReflectionServicer([*registrar.services, reflection.SERVICE_NAME])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, registrar.as_server())
