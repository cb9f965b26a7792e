"""Rare meetings of messages and servers that the plain draws hardly ever bring about, each in a share of the seeds, and
each drawn from a stream of its own: what else a seed draws stays as it is.

late writer     a record that a tablet server writes to its log is under way for longer than the server, which stands
                still meanwhile, has its lock; only clients that wait as long are told what becomes of it
doubled writes  mutations come again when others have been made since
late changes    changes of METADATA by the tablet master take effect when it does not wait for them any more
late splits     the change of METADATA by which a server splits a tablet is under way for longer than the server has
                its lock
late orders     orders to load a tablet come again when it may have been split or moved
"""

import random
from dataclasses import replace

from cluster.faultplan import Fault, MessageDelayed, MessageDoubled, OnMessage, Pause, TheSender
from cluster.swarm.tables.plan import Plan
from runtime.faults.links import Kind

_LATE_WRITERS = 0.15
_DOUBLED_WRITES = 0.2
_LATE_CHANGES = 0.2
_LATE_SPLITS = 0.15
_LATE_ORDERS = 0.15
Faults = tuple[Fault, ...]


def with_late_messages(plan: Plan) -> Plan:
    """The plan of a seed, with these."""
    plan = _with_late_writer(random.Random(f"table late writers {plan.seed}"), plan)
    more = _doubled_writes(random.Random(f"table doubled writes {plan.seed}"))
    more += _late_changes(random.Random(f"table late changes {plan.seed}"))
    more += _late_splits(random.Random(f"table late splits {plan.seed}"))
    plan = replace(plan, faults=(*plan.faults, *more))
    return _with_late_orders(random.Random(f"table late orders {plan.seed}"), plan)


def _with_late_writer(chance: random.Random, plan: Plan) -> Plan:
    if chance.random() >= _LATE_WRITERS:
        return plan
    setup = replace(plan.setup, memtable_bytes=1 << 20, call_seconds=20.0)
    seconds = round(chance.uniform(3.4, 4.6), 3)
    when = OnMessage("Chunkserver/Write", Kind.REQUEST, source="ts*", nth=chance.randint(5, 60))
    late = (Fault(when, MessageDelayed(seconds)), Fault(when, Pause(), TheSender(), seconds + 0.2))
    return replace(plan, setup=setup, faults=(*plan.faults, *late))


def _doubled_writes(chance: random.Random) -> Faults:
    if chance.random() >= _DOUBLED_WRITES:
        return ()
    found = []
    for _ in range(4):
        method = chance.choice(("MutateRows", "MutateRows", "CheckAndMutateRow"))
        when = OnMessage(f"TabletServer/{method}", source="client*", nth=chance.randint(1, 60))
        found.append(Fault(when, MessageDoubled(chance.choice([0.3, 1.0, 3.0]))))
    return tuple(found)


def _late_changes(chance: random.Random) -> Faults:
    if chance.random() >= _LATE_CHANGES:
        return ()
    found = []
    for _ in range(2):
        when = OnMessage("TabletServer/*MutateRow*", Kind.REQUEST, source="tm*", nth=chance.randint(1, 12))
        found.append(Fault(when, MessageDelayed(chance.choice([2.5, 4.0]))))
    return tuple(found)


def _late_splits(chance: random.Random) -> Faults:
    if chance.random() >= _LATE_SPLITS:
        return ()
    seconds = round(chance.uniform(3.6, 5.0), 3)
    when = OnMessage("TabletServer/*MutateRow*", Kind.REQUEST, source="ts*", nth=chance.randint(1, 3))
    return (Fault(when, MessageDelayed(seconds)), Fault(when, Pause(), TheSender(), seconds + 0.2))


def _with_late_orders(chance: random.Random, plan: Plan) -> Plan:
    if chance.random() >= _LATE_ORDERS:
        return plan
    found = []
    for _ in range(3):
        when = OnMessage("TabletServer/LoadTablet", Kind.REQUEST, nth=chance.randint(1, 6))
        found.append(Fault(when, MessageDoubled(chance.choice([2.0, 4.0]))))
    return replace(plan, setup=replace(plan.setup, split_bytes=3000), faults=(*plan.faults, *found))
