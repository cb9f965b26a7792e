"""The table of nodes: each value stands under its own heading."""

import io

import pytest
from rich.console import Console

from cluster.interface import NodeReport, NodeState
from tabletop.node_table import node_table


@pytest.mark.parametrize("topology", ["", "r1,r2"])
@pytest.mark.parametrize(("counters", "note"), [({}, ""), ({"acting": 1}, "acts"), ({"acting": 0}, "shadow")])
def test_every_value_stands_under_its_heading(topology: str, counters: dict[str, int], note: str):
    report = NodeReport(
        "master", "master", NodeState.SERVING, 7, "127.0.0.1:1", counters=counters, metrics_address="127.0.0.1:2"
    )
    table = node_table([report], topology)
    found = {str(column.header): list(column.cells) for column in table.columns}
    assert found["METRICS"] == ["127.0.0.1:2"] and found["NOTE"] == [note]
    assert found["CONTROL"] == ["127.0.0.1:1"] and found["BULK"] == ["-"]
    assert ("RACK" in found) == bool(topology)
    Console(file=io.StringIO()).print(table)
