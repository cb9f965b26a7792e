"""From records to lanes, bars, arrows and stories, without a browser."""

from dataclasses import dataclass

import chunkserver.events as of_chunkservers
import gfs.events as of_clients
import lockservice.events as of_locks
import master.events as of_master
import tablet.engine.world.events as of_tablets
import tablet.server.events as of_servers
from chunkserver.events import ChunkCloned, CorruptionFound, LeaseEnded, LeaseReceived, StoreOpened
from cluster.fault_log import BlockFlipped, NodeKilled, NodePaused, NodeResumed
from cluster.fault_runner import FaultBegan, FaultEnded
from cluster.timeline.building import timeline_of_records
from cluster.timeline.clocks import vector_clocks
from cluster.timeline.model import ArrowKind, BarKind, Timeline, Tone
from cluster.timeline.tones import kinds_with_a_tone
from master.events import (
    ChunkCreated,
    ChunkserverDied,
    CloneFinished,
    CloneStarted,
    EntryRenamed,
    FileCreated,
    LeaseGranted,
    ReplicaLost,
)
from runtime import events as of_all
from runtime.events import Event, NodeStarted, NodeStopped, Record, UnknownEvent
from tablet.engine.world.events import TabletOpened
from tablet.hosting import events as of_tablet_servers
from tablet.hosting.events import ServerLifeBegan, ServerLifeEnded, TabletLoaded, TabletSplitCommitted, TabletUnloaded
from tablet.master import events as of_tablet_masters

SECOND = 1_000_000


@dataclass
class Telling:
    """Records of a cluster, told one after the other: `at` seconds, each with a later Lamport clock."""

    def __post_init__(self) -> None:
        self.records: list[Record] = []

    def at(self, seconds: float, node: str, event: Event, cause: str = "") -> None:
        self.records.append(Record(len(self.records) + 1, int(seconds * SECOND), node, cause, event))

    def drawn(self) -> Timeline:
        timeline = timeline_of_records("a test", self.records)
        timeline.check_invariants()
        return timeline


def bars(timeline: Timeline, kind: BarKind) -> list[tuple[str, float, float, bool]]:
    found = [bar for bar in timeline.bars if bar.kind is kind]
    return [(timeline.lanes[bar.lane], bar.begin / SECOND, bar.end / SECOND, bar.is_open) for bar in found]


def started(*nodes: str) -> Telling:
    telling = Telling()
    for node in nodes:
        telling.at(0, node, NodeStarted("master" if node == "master" else "chunkserver"))
    return telling


def test_lanes_are_faults_clients_the_master_and_servers_by_their_numbers():
    timeline = started("cs10", "cs9", "master", "client2", "faults").drawn()
    assert timeline.lanes == ["faults", "client2", "master", "cs9", "cs10"]


def test_tablets_and_the_lives_of_their_servers_are_bars():
    telling = started("ts1", "ts2")
    telling.at(1, "ts1", ServerLifeBegan("ts1-7"))
    telling.at(1, "ts2", ServerLifeBegan("ts2-8"))
    telling.at(2, "ts1", TabletLoaded("users-3", 5, 0))
    telling.at(3, "ts2", TabletLoaded("users-4", 6, 0))
    telling.at(4, "ts2", TabletSplitCommitted("users-4", "m", "users-5", "users-6"))
    telling.at(4, "ts2", TabletLoaded("users-5", 6, 0))
    telling.at(4, "ts2", TabletLoaded("users-6", 6, 0))
    telling.at(5, "ts2", TabletUnloaded("users-5", "it is to move"))
    telling.at(6, "faults", NodeKilled("ts1"))
    telling.at(7, "ts2", ServerLifeEnded("ts2-8", 1, "its session is over"))
    telling.at(8, "ts2", ServerLifeBegan("ts2-9"))
    telling.at(9, "ts2", TabletLoaded("users-3", 7, 1))
    telling.at(10, "ts2", TabletOpened("users-3", 1, 0, 0.1))
    timeline = telling.drawn()
    assert sorted(bars(timeline, BarKind.LIFE)) == [
        ("ts1", 1, 6, False), ("ts2", 1, 7, False), ("ts2", 8, 10, True),
    ]  # fmt: skip
    assert sorted(bars(timeline, BarKind.TABLET)) == [
        ("ts1", 2, 6, False), ("ts2", 3, 4, False), ("ts2", 4, 5, False), ("ts2", 4, 7, False), ("ts2", 9, 10, True),
    ]  # fmt: skip
    [split] = [moment for moment in timeline.moments if moment.kind == "TabletSplitCommitted"]
    assert split.subjects == ("tablet users-4", "tablet users-5", "tablet users-6")
    assert any(bar.text.endswith("split into users-5 and users-6") for bar in timeline.bars)


def test_a_lease_is_a_bar_from_its_receipt_to_its_end():
    telling = started("cs1", "cs2")
    telling.at(1, "cs1", LeaseReceived(42, 1, 60.0, ("cs2",)))
    telling.at(2, "cs2", LeaseReceived(43, 1, 60.0, ("cs1",)))
    telling.at(3, "cs1", LeaseEnded(42, 1, "the master revoked it"))
    telling.at(5, "cs1", LeaseReceived(42, 2, 60.0, ()))
    telling.at(6, "cs1", LeaseReceived(42, 3, 60.0, ()))
    telling.at(9, "cs1", LeaseEnded(42, 3, "it was not extended"))
    assert bars(telling.drawn(), BarKind.LEASE) == [
        ("cs1", 1, 3, False),
        ("cs2", 2, 9, True),
        ("cs1", 5, 6, False),
        ("cs1", 6, 9, False),
    ]
    assert telling.drawn().bars[0].subjects == ("chunk 0x2a",)


def test_a_server_that_is_killed_takes_its_leases_with_it_and_is_down_until_it_starts():
    telling = started("master", "cs1")
    telling.at(1, "cs1", LeaseReceived(42, 1, 60.0, ()))
    telling.at(4, "faults", NodeKilled("cs1"))
    telling.at(9, "cs1", StoreOpened(1, 10, 0, 0, 0))
    telling.at(9, "cs1", NodeStarted("chunkserver"))
    timeline = telling.drawn()
    assert bars(timeline, BarKind.DOWN) == [("cs1", 4, 9, False)]
    assert bars(timeline, BarKind.LEASE) == [("cs1", 1, 4, False)]


def test_a_death_that_nobody_recorded_begins_when_the_master_last_heard_of_it_or_with_the_last_record():
    telling = started("master", "cs1", "cs2")
    telling.at(2, "cs1", LeaseEnded(1, 1, "x"))
    telling.at(9, "master", ChunkserverDied("cs1", 5.0, 3))
    telling.at(10, "cs2", LeaseEnded(2, 1, "x"))
    telling.at(20, "cs2", NodeStarted("chunkserver"))
    assert bars(telling.drawn(), BarKind.DOWN) == [("cs1", 4, 20, True), ("cs2", 10, 20, False)]


def test_a_server_that_was_given_up_and_speaks_again_was_not_down():
    telling = started("master", "cs1")
    telling.at(9, "master", ChunkserverDied("cs1", 5.0, 3))
    telling.at(12, "cs1", LeaseEnded(1, 1, "x"))
    assert bars(telling.drawn(), BarKind.DOWN) == []


def test_a_stop_in_good_order_and_pauses_are_bars():
    telling = started("master", "cs1", "cs2", "cs3")
    telling.at(1, "faults", NodePaused("cs1"))
    telling.at(2, "faults", FaultBegan(0, "Pause()", "cs3", "at 2 s"))
    telling.at(3, "faults", NodeResumed("cs1"))
    telling.at(4, "cs2", NodeStopped())
    telling.at(5, "faults", FaultEnded(0, "Pause()", "cs3"))
    telling.at(6, "faults", NodePaused("cs1"))
    telling.at(8, "master", ChunkserverDied("cs1", 2.0, 0))
    timeline = telling.drawn()
    assert bars(timeline, BarKind.PAUSED) == [("cs1", 1, 3, False), ("cs3", 2, 5, False), ("cs1", 6, 8, True)]
    assert bars(timeline, BarKind.DOWN) == [("cs2", 4, 8, True)]
    assert bars(timeline, BarKind.FAULT) == [("faults", 2, 5, False)]


def test_a_power_cut_of_several_nodes_takes_each_of_them_down():
    telling = started("master", "cs1", "cs2")
    telling.at(3, "faults", FaultBegan(1, "PowerCut(loses_all=True)", "cs1, cs2", "at 3 s"))
    telling.at(4, "cs1", NodeStarted("chunkserver"))
    assert bars(telling.drawn(), BarKind.DOWN) == [("cs1", 3, 4, False), ("cs2", 3, 4, True)]


def joined(timeline: Timeline, kind: ArrowKind) -> list[tuple[str, str, float, float]]:
    found = [arrow for arrow in timeline.arrows if arrow.kind is kind]
    lanes = timeline.lanes
    return [(lanes[one.source], lanes[one.target], one.sent / SECOND, (one.arrived or 0) / SECOND) for one in found]


def test_records_that_lead_to_each_other_are_joined():
    telling = started("master", "cs1", "cs2")
    telling.at(1, "cs1", LeaseReceived(42, 7, 60.0, ()))
    telling.at(2, "master", LeaseGranted(42, 7, "cs1", ()))
    telling.at(3, "master", LeaseGranted(42, 8, "cs1", ()))
    telling.at(4, "master", CloneStarted(9, "cs1", "cs2"))
    telling.at(5, "cs2", ChunkCloned(9, 1, 10, "cs1"))
    telling.at(6, "master", CloneFinished(9, "cs2", 3, 3))
    assert joined(telling.drawn(), ArrowKind.ANSWERS) == [
        ("cs1", "master", 1, 2),
        ("master", "cs2", 4, 5),
        ("cs2", "master", 5, 6),
    ]


def test_records_of_one_cause_are_joined_in_the_order_of_their_clocks():
    telling = started("master", "cs1", "cs2")
    telling.at(1, "master", FileCreated("/a", 3), "client.1")
    telling.at(2, "cs1", LeaseEnded(1, 1, "x"), "client.1")
    telling.at(3, "cs1", LeaseEnded(2, 1, "x"), "client.1")
    telling.at(4, "master", FileCreated("/b", 3), "client.2")
    telling.at(5, "master", FileCreated("/c", 3), "client.1")
    assert joined(telling.drawn(), ArrowKind.SAME_WORK) == [("master", "cs1", 1, 2), ("cs1", "master", 3, 5)]


def test_vector_clocks_know_what_led_to_a_record_also_over_a_third_node():
    telling = started("master", "cs1", "cs2")
    telling.at(4, "master", CloneStarted(9, "cs1", "cs2"))
    telling.at(5, "cs2", ChunkCloned(9, 1, 10, "cs1"))
    timeline = telling.drawn()
    clocks = dict(vector_clocks(timeline.steps, len(timeline.lanes)))
    master, first, second = (timeline.lanes.index(name) for name in ("master", "cs1", "cs2"))
    last = clocks[len(timeline.moments) - 1]
    assert (last[master], last[first], last[second]) == (2, 0, 2)


def test_a_files_story_has_its_chunks_and_its_names_also_with_a_directory_above_it():
    telling = started("master")
    telling.at(1, "master", FileCreated("/.writing/a", 3))
    telling.at(1, "master", ChunkCreated(42, "/.writing/a", 0, ("cs1",)))
    telling.at(1, "master", FileCreated("/.writing0", 3))
    telling.at(2, "master", EntryRenamed("/.writing", "/docs"))
    telling.at(3, "master", EntryRenamed("/docs/a", "/b"))
    parts = telling.drawn().parts
    assert parts["file /docs/a"] == ("file /.writing/a", "chunk 0x2a")
    assert set(parts["file /b"]) == {"file /docs/a", "file /.writing/a", "chunk 0x2a"}
    assert "file /docs0" not in parts


def test_moments_are_in_words_with_a_tone_and_what_they_are_about():
    telling = started("master", "cs1")
    telling.at(1, "master", ReplicaLost(42, "cs1", "it rots"))
    telling.at(2, "faults", BlockFlipped("cs1", 42, 0, 12, "/a"))
    telling.at(3, "cs1", CorruptionFound(42, 0, "a read", "x"))
    telling.at(4, "cs1", UnknownEvent("FromTheFuture", '{"handle": 1}'))
    telling.at(5, "cs1", CorruptionFound("damaged", 0, "a read", "x"))  # type: ignore[arg-type]
    timeline = telling.drawn()
    lost, flipped, found, unknown, damaged = timeline.moments[-5:]
    assert (lost.text, lost.tone) == ("lost the replica of chunk 0x2a on cs1: it rots", Tone.TROUBLE)
    assert (flipped.tone, flipped.subjects) == (Tone.FAULT, ("chunk 0x2a", "file /a"))
    assert found.tone is Tone.TROUBLE and unknown.text == 'FromTheFuture {"handle": 1}'
    assert damaged.text.startswith("CorruptionFound: ")
    assert any("FromTheFuture" in fact for fact in timeline.facts)


def test_nothing_at_all_is_a_timeline_too():
    timeline = Telling().drawn()
    assert (timeline.begin, timeline.end, timeline.lanes) == (0, 0, [])


def test_every_kind_with_a_tone_is_an_event():
    from cluster import fault_log, fault_runner, striking

    rooms = (
        of_all,
        of_chunkservers,
        of_clients,
        of_locks,
        of_master,
        of_servers,
        of_tablets,
        of_tablet_masters,
        of_tablet_servers,
        fault_log,
        fault_runner,
        striking,
    )
    names = {name for room in rooms for name in vars(room)} | {"HandlerFailed"}
    assert kinds_with_a_tone() - names == set()
