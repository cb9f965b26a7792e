"""All drills, in the order in which a course would take them.

The module of a drill is imported when the drill is asked for: every `tabletop` command loads this list, and few of them
are about a drill that needs the swarm.
"""

import importlib

from labs.drills.drill import Drill
from runtime.errors import InvalidRequest

MODULES = {
    "labs.drills.live.writing": ("lost-primary", "doubled-records", "two-primaries"),
    "labs.drills.live.storing": ("rot", "stale-replica", "grow"),
    "labs.drills.live.naming": ("snapshot", "trash", "failover"),
    "labs.drills.simulated.lying_disk": ("lying-disk",),
    "labs.drills.simulated.cords": ("cords",),
    "labs.drills.simulated.planted": ("bug-names", "bug-snapshots", "bug-records"),
    "labs.drills.simulated.broken_servers": ("tell-apart",),
}
NAMES = tuple(name for names in MODULES.values() for name in names)


def drill_of(name: str) -> Drill:
    """The drill of this name. Raises InvalidRequest."""
    for module, names in MODULES.items():
        if name in names:
            drills: tuple[Drill, ...] = importlib.import_module(module).DRILLS
            return next(drill for drill in drills if drill.name == name)
    raise InvalidRequest(f"no drill {name!r}; there are: {', '.join(NAMES)}")
