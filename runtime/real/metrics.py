"""A node's metrics, served to Prometheus over HTTP (GFS 5.3).

The problem. Whoever runs a cluster wants its figures in the tools that draw curves and raise alarms. The idea: each
node answers `GET /metrics` on a port of its own, in Prometheus' text format: what the server counts, what it can be
measured by, how often each method was called and how long that took, and what its process uses.

The rule of the token holds here as everywhere: a request without the cluster's token is answered 401. Figures name
servers and sizes, and on a machine that people share, loopback keeps no secret. Prometheus reads the token from its
file:

    scrape_configs:
      - job_name: tabletop
        authorization: {credentials_file: FOLDER/desk/token}
        file_sd_configs: [{files: [targets.json]}]          # from `tabletop metrics --targets`

The server is a few lines of asyncio, in the loop in which the node works: its figures are read between two steps, and
nothing is shared with a thread. It closes each connection after one answer.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.errors import TabletopError
from runtime.measures import Measure

HOST = "127.0.0.1"
REQUEST_SECONDS = 5.0
REQUEST_BYTES = 8192
_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

Counters = Callable[[], Mapping[str, int]]
Measures = Callable[[], Iterable[Measure]]


class CallTimes:
    """How often each method was called, how long it took, and with which errors it ended."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # A line a method that says when its counting began: for all, when the node started.
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "tabletop_rpc_seconds",
            "How long calls took at this server, by method.",
            ["method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._failures = Counter(
            "tabletop_rpc_failures", "Calls that ended with an error, by its kind.", ["method", "error"],
            registry=self.registry,
        )  # fmt: skip

    def observed(self, method: str, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        """A method's handler that is timed."""
        seconds = self._seconds.labels(method)

        async def serve(request: Any, context: Any) -> Any:
            begun = time.perf_counter()
            try:
                return await behaviour(request, context)
            except Exception as error:
                self._failures.labels(method, _kind(error)).inc()
                raise
            finally:
                seconds.observe(time.perf_counter() - begun)

        return serve

    def observed_stream(self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        """A handler whose answer is a stream, timed to its end."""
        seconds = self._seconds.labels(method)

        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            begun = time.perf_counter()
            try:
                async for reply in behaviour(request, context):
                    yield reply
            except Exception as error:
                self._failures.labels(method, _kind(error)).inc()
                raise
            finally:
                seconds.observe(time.perf_counter() - begun)

        return serve


class _Figures(Collector):
    """The server's own figures, read when they are asked for."""

    def __init__(self, counters: Counters, measures: Measures, rising: Callable[[str], bool]) -> None:
        self._counters = counters
        self._measures = measures
        self._is_rising = rising

    def collect(self) -> Iterator[Metric]:
        """One family for each figure."""
        for name, value in sorted(self._counters().items()):
            text = f"{name.replace('_', ' ').capitalize()}, as `tabletop ps --json` shows it."
            family = CounterMetricFamily if self._is_rising(name) else GaugeMetricFamily
            yield family(f"tabletop_{name}", text, value=value)
        for measure in self._measures():
            gauge = GaugeMetricFamily(
                f"tabletop_{measure.name}", measure.text, labels=[measure.label] if measure.label else []
            )
            for label, figure in sorted(measure.values.items()):
                gauge.add_metric([label] if measure.label else [], figure)
            yield gauge


class MetricsServer:
    """Answers GET /metrics. `rising` says which counters only rise."""

    def __init__(
        self, token: str, calls: CallTimes, counters: Counters, measures: Measures, rising: Callable[[str], bool]
    ) -> None:
        self._authorization = f"Bearer {token}".encode()
        self._registry = calls.registry
        self._registry.register(_Figures(counters, measures, rising))
        ProcessCollector(namespace="tabletop", registry=self._registry)
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> None:
        """Serve on a free port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, limit=REQUEST_BYTES)
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(request))
                await writer.drain()
        writer.close()

    def _answer(self, request: bytes) -> bytes:
        first, *lines = request.split(b"\r\n")
        method, path, *_ = [*first.split(b" "), b"", b""]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._authorization):
            return _response("401 Unauthorized", b"no cluster token, or a wrong one\n")
        if path.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found", b"there is /metrics\n")
        if method != b"GET":
            return _response("405 Method Not Allowed", b"there is GET\n")
        return _response("200 OK", generate_latest(self._registry), CONTENT_TYPE_LATEST)


def _response(status: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _kind(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, TabletopError) else "bug"
