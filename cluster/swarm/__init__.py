"""The swarm: random work under random faults over a whole simulated cluster, and judges who see everything.

The problem. Tests look where somebody expected a mistake. The mistakes that lose data lie where nobody did: a report
that crosses the raise of a version, a power cut between two syncs, a repeated request that finds another file.

The idea. A *seed* draws everything: the cluster and its settings, what three clients do at the same time to a few
paths, and which faults strike when (each seed switches whole kinds on and off, so that rare combinations are not
drowned by common ones). First things break; then everything is healed, every node is restarted, and the cluster must
come to rest within a stated time. All that clients asked and were told is written down in true time, and judged
afterwards with all disks in view. The same seed gives the same run, so a failing seed is a bug that can be replayed,
shrunk to the few operations and faults that matter, and told as a story.

    history.py           what was asked and answered; bytes that say which write they come from
    names.py             the namespace as a model             linearizability.py   is there an order that explains it?
    appends.py           records: are they where they were said to be?
    copies.py            what names a file of a snapshot      snapshots.py         and what it may hold
    contents.py          may this byte be here?               losses.py            what may a power cut take?
    goals.py             which replication goal may be seen?
    orders.py            were orders about replicas given, and carried out, when they should have been?
    leases.py            versions, primaries and epochs, by what servers recorded
    regions.py           GFS Table 1, region by region (asked by cluster/scenarios)
    masters.py           several masters: who acts, under which epoch, and are they all in one state?
    placements.py        do copies stand where they should, is nothing left on a drained server? and the stories of that
    operators.py         trash, policies, safe mode and checks: drawn, done and judged
    plan.py              a run as data                        workload.py, mischief.py   drawing one from a seed
    snapshot_work.py     drawing snapshots, and what is done around them
    insight.py           all disks and memories in view       stage.py             the cluster; which faults may strike
    player.py            one client                           run.py               one seed from begin to verdict
    verdicts.py          the judges' findings                 marks.py             rare states that were reached
    shrink.py            fewer operations, fewer faults       story.py             the rest in words
    sweep.py, worker.py  many seeds, several processes        command.py           ./scripts/swarm
    dask_pool.py         … on several machines
    written.py           plans as text                        swarms.py            this swarm and its sibling
    pictures.py          a run as a timeline (cluster/timeline)
    engine/              the sibling: tablets on one log

The judges are pure functions over histories and images of disks; each has a test with a bad history that it must
refuse.

What we simplify. Clients ask no shadow masters here: an old answer could not be told from a mistake. A client is one
task, as a handle serves one. What a power cut may take is reckoned from the times of syncs that the servers promise,
not from the syncs that they made.
"""
