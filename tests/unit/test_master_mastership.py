"""The charter: who may take over, and what it says then."""

import pytest

from master.failover.mastership import Charter, taken_over, why_not
from runtime.errors import Corrupted

CHARTER = Charter("master", epoch=5, in_sync=("master", "master2"), agreed=4, namespace=7)


def test_only_who_is_in_sync_may_take_over():
    assert why_not(CHARTER, "master2", namespace=7, last_epoch=5) == ""
    assert why_not(CHARTER, "master2", namespace=7, last_epoch=4) == "", "nothing was answered in epoch 5 yet"
    assert "not in sync" in why_not(CHARTER, "master3", namespace=7, last_epoch=5)


def test_a_master_whose_disk_was_exchanged_does_not_take_over():
    assert "belongs to namespace" in why_not(CHARTER, "master2", namespace=0, last_epoch=0)
    assert "has lost" in why_not(CHARTER, "master2", namespace=7, last_epoch=3)


def test_without_a_charter_only_an_empty_master_begins():
    assert why_not(None, "master2", namespace=0, last_epoch=0) == ""
    assert "restore" in why_not(None, "master2", namespace=7, last_epoch=5)
    assert taken_over(None, "master2") == Charter("master2", 1, ("master2",))


def test_who_takes_over_raises_the_epoch_and_forgets_nobody():
    after = taken_over(CHARTER, "master2")
    assert (after.holder, after.epoch, after.in_sync) == ("master2", 6, ("master", "master2"))
    assert (after.agreed, after.namespace) == (4, 7)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"holder": 1, "epoch": "x"}'])
def test_a_charter_that_is_none_is_refused(content: bytes):
    with pytest.raises(Corrupted):
        Charter.decoded(content)
    assert Charter.decoded(CHARTER.encoded()) == CHARTER
