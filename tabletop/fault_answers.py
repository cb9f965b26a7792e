"""What all commands of `tabletop fault` share: when and for how long a fault strikes, and what is said of it."""

import asyncio
import contextlib
import time
from typing import Annotated

import typer

from cluster.fault_words import seconds_of
from cluster.faultplan import NoEnd, Target, What
from cluster.interface import Imposed
from cluster.real import RealCluster
from runtime.errors import InvalidRequest
from tabletop.console import notes, output, perform
from tabletop.options import span_seconds

AimArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="cs2, master, ts1, 'the primary of chunk 0 of /a', 'replica 2 of chunk 3 of /a', 'rack r1', "
        "'the server of row m of users', 'all servers', …",
    ),
]
ForOption = Annotated[
    str, typer.Option("--for", metavar="SPAN", help="End it by itself, after 300ms, 10s, 5m; default: until healed.")
]
AfterOption = Annotated[str, typer.Option("--after", metavar="SPAN", help="Wait so long before it strikes.")]
EveryOption = Annotated[
    str, typer.Option("--every", metavar="SPAN", help="Strike again and again, until Ctrl-C; heals the last one then.")
]
OtherOption = Annotated[str, typer.Option("--to", metavar="TARGET", help="Only between TARGET and this; default: all.")]
OneWayOption = Annotated[bool, typer.Option("--one-way", help="Only what TARGET sends.")]
RepliesOption = Annotated[
    str, typer.Option("--replies-to", metavar="TARGET", help="Only the replies that the first target sends to this.")
]


def chance(text: str) -> float:
    """A probability as people write it. Raises BadParameter.

    >>> chance("20%"), chance("0.2")
    (0.2, 0.2)
    """
    with contextlib.suppress(ValueError):
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if 0 < found <= 1:
            return found
    raise typer.BadParameter(f"{text!r} is no chance; expected one such as 20% or 0.2")


def impose(cluster: str, what: What, target: Target, lasting: str = "", after: str = "", every: str = "") -> None:
    """Have a fault strike now, later, or again and again, and say what it did and how it ends."""
    seconds = span_seconds(lasting) if lasting else None
    pause = span_seconds(every) if every else None
    if isinstance(what, NoEnd) and seconds is not None:
        raise typer.BadParameter("damage to stored bytes has no end, so --for makes no sense here")
    if pause is not None and seconds is None and not isinstance(what, NoEnd):
        raise typer.BadParameter("--every needs --for: a fault that lasts cannot strike again")
    if pause is not None and seconds is not None and pause <= seconds:
        raise typer.BadParameter(f"--every {every} is not longer than --for {lasting}")
    perform(_impose(RealCluster(cluster), what, target, seconds, span_seconds(after) if after else 0.0, pause))


async def _impose(
    cluster: RealCluster, what: What, target: Target, seconds: float | None, after: float, every: float | None
) -> None:
    last: Imposed | None = None
    try:
        if after:
            with notes.status(f"it strikes in {seconds_of(after)} …"):
                await asyncio.sleep(after)
        while True:
            last = await cluster.impose(what, target, seconds=seconds)
            output.print(_told(last, seconds), markup=False)
            if every is None:
                break
            await asyncio.sleep(every)
        if cluster.is_ended_here(last):
            with notes.status(f"it ends in {seconds_of(seconds or 0.0)} …"):
                await cluster.until_over(last)
            output.print(f"fault {last.number} is over", markup=False)
    except asyncio.CancelledError:
        if last is not None and any(fault.number == last.number for fault in cluster.imposed()):
            await cluster.heal(last.number)
        raise
    finally:
        await cluster.close()


def _told(fault: Imposed, seconds: float | None) -> str:
    if isinstance(fault.what, NoEnd):
        return fault.words
    how = f"`tabletop fault heal {fault.number}` ends it"
    return f"fault {fault.number}: {fault.words}; " + (
        how if seconds is None else f"for {seconds_of(seconds)}, or {how}"
    )


def print_faults(faults: list[Imposed], now: float) -> None:
    """The faults that last, one a line."""
    for fault in faults:
        output.print(f"{fault.number:>4}  {fault.words}{left(fault, now)}", markup=False)


def print_experiments(cluster: RealCluster) -> None:
    """What is imposed on a cluster, for who looks at it and wonders; nothing for one that nobody breaks."""
    faults = cluster.imposed()
    if cluster.settings.experiments:
        output.print("Experiments: on (networks and disks can be broken: `tabletop fault --help`)", markup=False)
    if faults:
        output.print("Faults that last (`tabletop fault heal` ends them):", markup=False)
        print_faults(faults, time.time())


def fault_values(cluster: RealCluster) -> list[dict[str, object]]:
    """The faults that last, for programs."""
    return [
        {"number": one.number, "words": one.words, "nodes": list(one.nodes), "ends_at": one.ends_at}
        for one in cluster.imposed()
    ]


def left(fault: Imposed, now: float) -> str:
    """How long a fault will last, in words."""
    if fault.ends_at is None:
        return ""
    seconds = fault.ends_at - now
    return f" (ends in {seconds:.0f} s)" if seconds > 0 else f" (overdue; `tabletop fault heal {fault.number}` ends it)"


def refuse_both(one: str, other: str, names: str) -> None:
    """Raise InvalidRequest if both of two options were given that exclude one another."""
    if one and other:
        raise InvalidRequest(f"{names} exclude one another; give one of them")
