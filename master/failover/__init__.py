"""Failover: several masters, of which one acts (GFS 2.6.3, 5.1.3).

    agreement.py        up to where two logs tell the same
    mastership.py       who may act: the charter, and what a master asks of a lock service
    following.py        a log that another master writes
    log_supply.py       what a shadow that is behind gets: records, or a checkpoint
    shipping.py         records on their way to shadows, before anything is answered
    sightings.py        where replicas are, as a master hears that only looks
    shadow.py           a master that looks, and answers readers
    replicated.py       one of several: shadow, acting master, shadow again

`docs/masters.md` tells it as a whole. A master alone needs none of this.
"""
