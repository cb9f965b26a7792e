"""What a cluster may be set up with."""

import dataclasses

import pytest

from cluster.settings import ClusterSettings, check_cluster_name, parse_bytes
from runtime.errors import InvalidRequest, TooFewServers


def test_the_defaults_are_the_papers_and_good():
    settings = ClusterSettings()
    settings.check()
    assert (settings.replicas, settings.chunk_bytes, settings.lease_seconds) == (3, 64 * 1024 * 1024, 60.0)


def test_fewer_chunkservers_than_replicas_are_refused_with_both_ways_out():
    with pytest.raises(TooFewServers, match=r"--chunkservers 3 or more, or with --replicas 2 or fewer"):
        ClusterSettings(chunkservers=2, replicas=3).check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chunkservers": 0, "replicas": 0}, "expected between 1 and 100"),
        ({"chunkservers": 101}, "expected between 1 and 100"),
        ({"replicas": 0}, "expected 1 or more"),
        ({"chunk_bytes": 100_000}, "a multiple of 65536"),
        ({"chunk_bytes": 0}, "a multiple of 65536"),
        ({"chunk_bytes": 2 << 30}, "up to 1073741824"),
        ({"heartbeat_seconds": 0.0}, "between 0 and 60"),
        ({"lease_seconds": 1.0}, "at least two heartbeats"),
        ({"durability": "hope"}, "'replicated' or 'fsync'"),
    ],
)
def test_settings_that_can_never_work_are_refused_and_say_what_is_expected(change: dict[str, object], words: str):
    settings = dataclasses.replace(ClusterSettings(), **change)
    with pytest.raises(InvalidRequest, match=words):
        settings.check()


def test_settings_survive_their_file():
    settings = ClusterSettings(chunkservers=7, durability="fsync", lease_seconds=5.0)
    assert ClusterSettings.from_json(settings.to_json()) == settings


def test_nodes_are_called_master_and_cs_with_a_number_from_1():
    assert ClusterSettings(chunkservers=2, replicas=1).node_names() == ["master", "cs1", "cs2"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "1st", "x" * 41, "naïve", "-v"])
def test_a_cluster_name_that_is_no_plain_word_is_refused(name: str):
    with pytest.raises(InvalidRequest, match="expected 1 to 40"):
        check_cluster_name(name)


@pytest.mark.parametrize("text", ["", "many", "-1", "1X", "1 2"])
def test_a_size_that_is_none_is_refused(text: str):
    with pytest.raises(InvalidRequest, match="expected a number of bytes"):
        parse_bytes(text)


def test_sizes_may_have_units():
    assert [parse_bytes(text) for text in ("1", "2k", "4M", "4MiB", "1.5 GB")] == [1, 2048, 4 << 20, 4 << 20, 3 << 29]
