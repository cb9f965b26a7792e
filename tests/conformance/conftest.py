"""A ZooKeeper that the tests of one process share."""

from collections.abc import Iterator

import pytest

from tests.conformance.real_zookeeper import running_zookeeper, what_is_missing


@pytest.fixture(scope="session")
def zookeeper_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it listens; skips the test where none can be started."""
    if missing := what_is_missing():
        pytest.skip(f"no ZooKeeper can be started here: {missing}")
    with running_zookeeper(tmp_path_factory.mktemp("zookeeper") / "server") as hosts:
        yield hosts
