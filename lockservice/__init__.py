"""The lock service: who is in charge, decided once for everybody (Chubby, OSDI 2006).

The problem. Three masters could run, and exactly one may act. A server that is asked twice, by two who both believe to
be in charge, cannot know whom to obey. To agree about such things is hard (it is what Paxos is for), and every service
that needs it would have to do it again.

The idea, Chubby's: do it once, and offer it in a form that programmers know: files and locks. Whoever holds the lock of
`/master` is the master, and writes its address into the file of that name for others to read. GFS appoints its master
so; Bigtable, too, and it also finds its tablet servers by the files that they make here (Chubby 1, Bigtable 4, 5.2).

A client has a *session*, which lives by a lease that a KeepAlive extends. Its locks and its *ephemeral* files live as
long as it does. When nothing is heard of a client for a while, its session is lost: the files go, and the locks are
given to others. A lock is advisory: it stops nobody from sending an order that is late. So it comes with a *sequencer*,
a number that rises with every holder, which whoever gets an order can check; and for those who cannot, a lock whose
holder was lost is withheld for a while (*lock-delay*, Chubby 2.4).

    interface.py     what a lock service is to its clients                                      (bottom)
    paths.py         what a legal path is
    settings.py      leases, grace, lock-delay
    events.py        what services and clients record of themselves
    state/           records.py, lock_state.py: all that is remembered, and the only way to change it; pure
    server/          lock_log.py (what survives), watches.py (who is told), core.py (turns and the clock), service.py,
                     server.py
    client/          lease.py (what may be believed, pure), standing.py, watching.py, link.py, session.py: our own
                     client; zookeeper.py: the same interface over a real ZooKeeper

    service = OwnLockService(world, "127.0.0.1:7100")
    session = await service.open_session()
    sequencer = await session.acquire("/master", wait_seconds=60)
    await session.create("/here/me", b"127.0.0.1:7000", ephemeral=True)
    async for change in session.watch("/master"): ...

Invariants:
1. By true time, a lock has one holder that believes in it, whatever clocks do within `clock_drift`.
2. Generations only rise, also over restarts, deletions and new files of an old name.
3. What was answered survives kills and losses of power; each request is made once, however often it arrives.
4. After the last change of a path, everybody who watches it is told of a change at least once more.

`docs/locks.md` tells all this at length, with a picture of a session's states.

What differs from Chubby, and what we simplify.
- One process in the place of five replicas that agree by Paxos. It survives its death, for it has a log; but while it
  is away, nobody gets a lock. Where that is not enough, there is ZooKeeper.
- The service waits for lease *and* grace before it gives a session up. In Chubby it ends with the lease, and a client
  in jeopardy does not know whether it still has one. Here it has. The price: the lock of a holder that has died is free
  only after both (`client/lease.py`).
- Clients cache no contents, so the service need not invalidate caches before a write (2.7): a read is a call.
- Locks are exclusive; there are no shared ones. They need no file. They are given to whoever asks first after an event,
  not in the order of waiting.
- There are no access rights, no handles, and no directories to make: one is there as long as something is in it.
- The log is begun again from memory while everybody waits: the state is small. Every change has a sync of its own.
"""
