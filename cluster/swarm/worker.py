"""A process that runs some seeds, one after the other, and prints one line of JSON for each.

    python -m cluster.swarm.worker SWARM FIRST COUNT [BUG]

Each process runs a few dozen seeds only, so that nothing that one of them leaves in a module's globals reaches far, and
memory cannot grow without bound. It says which seed it begins, so that one that never ends can be named.
"""

import json
import sys
from typing import Any

from cluster.swarm.swarms import RunResult, swarm_of


def summary(result: RunResult) -> dict[str, Any]:
    """What a sweep needs to know of one seed."""
    return {
        "seed": result.plan.seed,
        "verdicts": [[verdict.judge, verdict.text] for verdict in result.verdicts],
        "is_undecided": result.is_undecided,
        "marks": sorted(result.marks),
        "struck": result.struck,
        "operations": len(result.history.operations),
        "cpu_seconds": result.cpu_seconds,
        "virtual_seconds": result.virtual_seconds,
    }


def main(arguments: list[str]) -> int:
    """Run the seeds."""
    swarm, first, count = swarm_of(arguments[0]), int(arguments[1]), int(arguments[2])
    with swarm.planted(arguments[3] if len(arguments) > 3 else ""):
        for seed in range(first, first + count):
            print(json.dumps({"begins": seed}), flush=True)
            print(json.dumps(summary(swarm.run(swarm.draw(seed)))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
