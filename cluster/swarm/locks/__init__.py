"""The swarm of the lock service: clients that acquire, release, compare and set, while it and they are killed, stand
still, are cut off and lose power, and judges who know the true time.

    plan.py       one run as data
    mischief.py   drawing the setup, the work and the faults of a seed
    history.py    what clients asked for and were told
    host.py       the service and its clients as nodes that faults can strike
    player.py     one client at work
    judging.py    what is wrong in a history
    run.py        one seed, from its begin to its verdict
    marks.py      rare states, and how the story is told
    bugs.py       planted bugs
"""
