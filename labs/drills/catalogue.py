"""All drills, in the order in which a course would take them."""

from labs.drills.drill import Drill
from labs.drills.live import naming, storing, writing
from runtime.errors import InvalidRequest

DRILLS: dict[str, Drill] = {drill.name: drill for drill in (*writing.DRILLS, *storing.DRILLS, *naming.DRILLS)}


def drill_of(name: str) -> Drill:
    """The drill of this name. Raises InvalidRequest."""
    if name not in DRILLS:
        raise InvalidRequest(f"no drill {name!r}; there are: {', '.join(DRILLS)}")
    return DRILLS[name]
