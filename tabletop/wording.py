"""Numbers and times in words, the way `hdfs dfs -h` writes them."""

import datetime


def size(count: float) -> str:
    """Bytes with a unit of 1024.

    >>> size(0), size(1023), size(1536), size(64 * 1024 * 1024)
    ('0 B', '1023 B', '1.5 KB', '64 MB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KB", "MB", "GB", "TB"):
        count /= 1024
        if count < 1024 or unit == "TB":
            break
    return f"{count:.1f} {unit}".replace(".0 ", " ")


def duration(seconds: float) -> str:
    """A time span, exact enough to act on.

    >>> duration(0.0123), duration(4.56), duration(75), duration(3725), duration(3 * 86400)
    ('12 ms', '4.6 s', '1 min 15 s', '1 h 2 min', '3 d')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h".removesuffix(" 0 h")


def count(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun.

    >>> count(1, "file"), count(2450, "file"), count(2, "directory", "directories")
    ('1 file', '2,450 files', '2 directories')
    """
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def moment(microseconds: int) -> str:
    """A moment since the epoch, in local time, as `hdfs dfs -ls` writes it."""
    return f"{datetime.datetime.fromtimestamp(microseconds / 1e6):%Y-%m-%d %H:%M}"


def printable(path: str) -> str:
    """A path as it is if it can be printed on one line; quoted otherwise.

    >>> printable("/a b"), printable("/a\\nb")
    ('/a b', "'/a\\\\nb'")
    """
    return path if path.isprintable() else repr(path)
