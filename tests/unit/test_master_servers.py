"""Which chunkservers are alive."""

from master.servers import Address, Registration, ServerState, ServerTable


def said(name: str, incarnation: int = 1) -> Registration:
    return Registration(Address(name, f"{name}:1", f"{name}:2"), incarnation, "a", 1000, 900)


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
    assert servers.heartbeat("cs1", 1, total=1000, free=500, now=1.0)
    assert [server.state for server in servers.all()] == [ServerState.LIVE]
    servers.judge_silence(10.0)
    assert not servers.heartbeat("cs1", 1, total=1000, free=500, now=10.0)
    assert not servers.register(said("cs1"), now=11.0), "the same incarnation is not new"
    assert servers.heartbeat("cs1", 1, total=1000, free=500, now=12.0)


def test_an_unknown_server_or_incarnation_is_sent_to_register() -> None:
    servers = table()
    assert not servers.heartbeat("cs9", 1, total=1, free=1, now=0.0)
    assert not servers.heartbeat("cs1", 2, total=1, free=1, now=0.0)
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
