"""What the matrix is about: the kinds of nodes of a cluster of files, and the tablets in a folder. Each kind has blocks
that can be struck, workloads, and a way to run a cell."""

from cluster.cords.image import NODE_KINDS, NodeKind, image_of
from cluster.cords.observing import Observation
from cluster.cords.run import run_cell
from cluster.cords.structures import blocks_of
from cluster.cords.tablet.image import TABLET_KINDS, TabletKind, image_of_tablet
from cluster.cords.tablet.run import run_tablet_cell
from cluster.cords.terms import Block, Cell, Subject

Kind = NodeKind | TabletKind


def kinds_of(subject: Subject) -> tuple[Kind, ...]:
    """The row groups of a matrix."""
    return TABLET_KINDS if subject is Subject.TABLET else NODE_KINDS


def blocks_of_kind(kind: Kind) -> list[Block]:
    """All that can be struck."""
    if isinstance(kind, TabletKind):
        image = image_of_tablet(kind)
        return blocks_of(kind.role, image.files, image.parts)
    return blocks_of(kind.role, image_of(kind.deployment).disks[kind.node])


def run_cell_of(kind: Kind, cell: Cell) -> Observation:
    """One run, and what was seen of it."""
    return run_tablet_cell(kind, cell) if isinstance(kind, TabletKind) else run_cell(kind, cell)
