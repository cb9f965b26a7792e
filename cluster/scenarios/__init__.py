"""Scenarios: a fault drill as ten lines of Python, the same in both worlds, judged by what it left in its history.

The problem. "What happens if the primary dies in the middle of a write?" is easy to ask and hard to answer by hand: one
needs a cluster, an aim for the fault, a record of who was told what, and somebody who judges it. And once it went well,
one wants to know whether it always does.

The idea. A *scenario* is a coroutine over a `Cluster` (cluster/interface.py), with a seed:

    from cluster.faultplan import Kill, ThePrimary
    from cluster.scenarios import check, recorded, scenario

    @scenario(chunkservers=4)
    async def loses_a_primary(cluster, seed):
        alice = recorded(cluster)
        first = await alice.write_file("/a", 100_000)
        await cluster.impose(Kill(), ThePrimary("/a", 0), seconds=5)
        async with await alice.open("/a", "r+b") as file:
            second = await file.pwrite(0, 1000)
        check(await alice.read_file("/a") == second + first[1000:], "the acknowledged write is read back")

It knows nothing of the world in which it runs. In the simulated one its seed decides everything, so that a sweep over
thousands of seeds is a search, a seed that failed is a bug that can be run again, and the *tape* of its schedule can be
shrunk to the few unusual choices that matter. What recorded clients asked and were told is a history, and the judges of
the swarm (cluster/swarm) are pure functions over such histories: they need nothing that only a simulation knows.

    declaring.py     what a scenario is; what may be called in one: recorded, check, eventually, chance
    recording.py     clients whose calls go into the history, and say which file they were about
    stages.py        the cluster, its clients, its records and its time, in one world or the other
    facts.py         what the judges know beside the history, from the records of the nodes
    judging.py       rest, last reads, replicas; all judges, and what they say
    running.py       one scenario with one seed, from its begin to its verdict
    loading.py       the scenarios in a file, and what is wrong with that file
    shrinking.py     fewer unusual choices on the tape
    sweeping.py      scenarios as a swarm for `cluster/swarm/sweep.py`; several machines with Dask
    examples/        scenarios to run today, to read, and to copy

What is judged is said in docs/scenarios.md, and why it is done so in docs/decisions/0026-scenarios.md.

What we simplify. What a scenario asks by `cluster.client()` is not recorded, and not judged. In the real world a seed
decides what the scenario draws, and nothing else. Snapshots, replication goals and operators are not recorded: ask
them of `cluster.client()`, of files that no recorded client uses.
"""

from cluster.scenarios.declaring import Scenario, chance, check, eventually, recorded, scenario

__all__ = ["Scenario", "chance", "check", "eventually", "recorded", "scenario"]
