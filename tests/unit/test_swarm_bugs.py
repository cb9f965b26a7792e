"""Planted bugs: each is described, changes something while it is planted, and leaves nothing behind."""

import pytest

from chunkserver.storage.chunk_store import ChunkStore
from cluster.swarm.bugs import BUGS, described, planted
from runtime.errors import NotFound


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_says_which_rule_it_takes_away_and_what_is_wrong_then(name: str):
    text = described(name)
    assert "Without th" in text and ("GFS" in text or "simulation" in text)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_can_be_planted_more_than_once(name: str):
    for _ in range(2):
        with planted(name):
            pass


def test_a_bug_is_gone_when_its_time_is_over():
    before = ChunkStore.remove
    with planted("removal-without-fence"):
        assert ChunkStore.remove is not before
    assert ChunkStore.remove is before


def test_a_bug_that_nobody_knows_is_refused():
    with pytest.raises(NotFound, match="no planted bug 'no-such-bug'; there are: "):
        planted("no-such-bug")
