"""All drills, in the order in which a course would take them."""

from labs.drills.drill import Drill
from labs.drills.live import naming, storing, writing
from labs.drills.simulated import lying_disk, planted
from runtime.errors import InvalidRequest

_LISTS = (writing.DRILLS, storing.DRILLS, naming.DRILLS, lying_disk.DRILLS, planted.DRILLS)
DRILLS: dict[str, Drill] = {drill.name: drill for drills in _LISTS for drill in drills}


def drill_of(name: str) -> Drill:
    """The drill of this name. Raises InvalidRequest."""
    if name not in DRILLS:
        raise InvalidRequest(f"no drill {name!r}; there are: {', '.join(DRILLS)}")
    return DRILLS[name]
