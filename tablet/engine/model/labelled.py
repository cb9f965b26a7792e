"""Entries to which a filter has given a label (`filter_tree.py`, `ApplyLabel`)."""

from tablet.engine.model.fragments import Entry


class Labelled(tuple[bytes, int, int, bytes]):
    """An entry to which a filter has given a label. It is never stored."""

    label: str

    @classmethod
    def of(cls, entry: Entry, label: str) -> "Labelled":
        """A copy of the entry, with the label."""
        made = cls(entry)
        made.label = label
        return made
