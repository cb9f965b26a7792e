"""Which chunkservers are alive."""

from master.servers.servers import Address, Registration, ServerState, ServerTable


def said(name: str, incarnation: int = 1) -> Registration:
    return Registration(Address(name, f"{name}:1", f"{name}:2"), incarnation, 1000, 900)


def table() -> ServerTable:
    servers = ServerTable(suspect_after=2.5, dead_after=5.0)
    servers.register(said("cs1"), now=0.0)
    return servers


def test_silence_makes_a_server_suspect_and_then_dead() -> None:
    servers = table()
    assert servers.judge_silence(2.0) == []
    assert servers.judge_silence(3.0) == [("cs1", ServerState.SUSPECT)]
    assert servers.judge_silence(4.0) == []
    assert servers.judge_silence(5.1) == [("cs1", ServerState.DEAD)]
    servers.check_invariants()


def test_a_heartbeat_clears_suspicion_but_the_dead_must_register() -> None:
    servers = table()
    servers.suspect("cs1")
    assert servers.heartbeat("cs1", 1, sequence=2, total=1000, free=500, now=1.0)
    assert [server.state for server in servers.all()] == [ServerState.LIVE]
    servers.judge_silence(10.0)
    assert not servers.heartbeat("cs1", 1, sequence=3, total=1000, free=500, now=10.0)
    assert not servers.register(said("cs1"), now=11.0), "the same incarnation is not new"
    assert servers.heartbeat("cs1", 1, sequence=4, total=1000, free=500, now=12.0)


def test_an_unknown_server_or_incarnation_is_sent_to_register() -> None:
    servers = table()
    assert not servers.heartbeat("cs9", 1, sequence=1, total=1, free=1, now=0.0)
    assert not servers.heartbeat("cs1", 2, sequence=1, total=1, free=1, now=0.0)
    assert servers.register(said("cs1", incarnation=2), now=0.0)


def test_a_server_that_the_log_knows_is_awaited_until_it_registers() -> None:
    servers = ServerTable(suspect_after=2.5, dead_after=5.0)
    servers.expect("cs1")
    assert not servers.all_have_registered() and servers.alive() == []
    servers.register(said("cs1"), now=0.0)
    assert servers.all_have_registered()


def test_recent_creations_fade() -> None:
    servers = table()
    server = servers.alive()[0]
    server.note_creation(0.0)
    server.note_creation(0.0)
    assert server.recent_creations(0.0) == 2.0
    assert server.recent_creations(5.0) == 1.0 and server.recent_creations(20.0) == 0.0


def report(life: int, sequence: int, *, disk: int = 7, incarnation: int = 1) -> Registration:
    return Registration(Address("cs1", "h:1", "h:2"), incarnation, 1000, 900, disk, life, sequence)


def test_a_report_is_outdated_if_a_later_one_of_the_same_disk_was_heard() -> None:
    servers = ServerTable(suspect_after=2.5, dead_after=5.0)
    servers.register(report(2, 10), now=0.0)
    assert servers.heartbeat("cs1", 1, sequence=12, total=1, free=1, now=0.0)
    assert servers.heartbeat("cs1", 1, sequence=11, total=1, free=1, now=0.0) is None
    assert servers.heartbeat("cs1", 1, sequence=12, total=1, free=1, now=0.0) is None, "a doubled message"
    assert servers.is_outdated(report(2, 11)) and servers.is_outdated(report(1, 99, incarnation=9))
    assert servers.is_outdated(report(2, 12)), "a doubled message"
    assert not servers.is_outdated(report(2, 13)) and not servers.is_outdated(report(3, 1, incarnation=2))
    assert not servers.is_outdated(report(1, 1, disk=8)), "another disk counts its lives anew"


def test_a_master_that_stood_still_holds_its_own_pause_against_nobody() -> None:
    servers = table()
    servers.heartbeat("cs1", 1, sequence=1, total=1000, free=900, now=1.0)
    servers.forgive(6.0)
    assert servers.judge_silence(7.5) == []
    assert servers.judge_silence(9.8) == [("cs1", ServerState.SUSPECT)]
