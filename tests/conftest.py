"""What all tests share: tests that are coroutines run in an event loop of their own, and Ctrl-C means Ctrl-C."""

import asyncio
import inspect
import signal
from collections.abc import Iterator

import pytest

from runtime.simulated.world import OPEN_SIMULATIONS


def pytest_configure() -> None:
    """A shell script starts what it puts in the background with Ctrl-C ignored, and so would the tests of Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def simulations_are_put_away() -> Iterator[None]:
    """Close each test's simulations at its end, so that none is collected in the middle of another test."""
    yield
    for simulation in list(OPEN_SIMULATIONS):
        simulation.close()
    OPEN_SIMULATIONS.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end. Tests of the simulated world bring their own loop: ordinary functions."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True
