"""What all commands share: where they print, how they end, and what Ctrl-C does.

Exit codes (also shown by `tabletop --help`):

    0    done
    1    the operation failed, and nothing was changed unless the message says so
    2    the command line makes no sense (unknown option, missing argument, a value that can never be right)
    3    there is no such cluster, it is down, or it does not answer
    4    the operation failed and may have happened all the same: look before you repeat it
    5    everything can be read, and not everything is as it should be (`fs fsck`)
    130  interrupted by Ctrl-C (143 by a termination signal); what was half done is undone

What the command was asked for goes to standard output; errors, progress and remarks go to standard error, so that
`tabletop fs cat /a > b` and `tabletop status --json | jq` do what they should.

An error is one message: what was found, what was expected, what to do next. Tracebacks are for our own bugs.

A message that names a command names it without a cluster, because most of them come from rooms that know of none. Here
each gets the `--cluster` of the command that it answers, so that what is typed next goes to the same cluster.
"""

import asyncio
import contextlib
import enum
import os
import re
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

import typer
import typer.core
from rich.console import Console

from cluster.folder import UnknownCluster
from gfs.names.locate import cluster_name
from runtime.errors import InvalidRequest, TabletopError, TimedOut, Unavailable
from runtime.world import Buffer

T = TypeVar("T")

# Without a terminal nobody's window is too narrow: tables keep all their columns.
PIPE_WIDTH = 240


class _Output(Console):
    """A console that leaves the end of a command to us when nobody reads its output any more."""

    def on_broken_pipe(self) -> None:
        """Rich would end the program with exit code 1."""
        raise BrokenPipeError

    def print(self, *things: Any, **options: Any) -> None:
        """As Rich does. Raises OSError that says what could not be written to."""
        texts = [addressed(thing) if isinstance(thing, str) else thing for thing in things]
        with _writing():
            super().print(*texts, **options)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


_about = ""


def note_cluster(cluster: str) -> str:
    """The command that runs is about this cluster; returns it."""
    global _about
    _about = cluster
    return cluster


_COMMAND = re.compile(
    r"`tabletop (?:up|down|ps|status|wait|log|timeline|add|admit|admin|fs|fault|story|metrics)\b[^`]*`"
)


def addressed(text: str, cluster: str | None = None) -> str:
    """The text with `--cluster` in each command that it names, if the command that runs is about another cluster than
    one without that option would be about.

    >>> addressed("see `tabletop status`", "lesson")
    'see `tabletop status --cluster lesson`'
    >>> addressed("see `tabletop status`", "desk")
    'see `tabletop status`'
    """
    cluster = _about if cluster is None else cluster
    if not cluster or cluster == cluster_name():
        return text
    return _COMMAND.sub(lambda found: _with_cluster(found[0], cluster), text)


def _with_cluster(command: str, cluster: str) -> str:
    return command if "--cluster" in command else f"{command[:-1]} --cluster {cluster}`"


output = _Output(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
notes = _Output(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)


class ExitCode(enum.IntEnum):
    """How a command ended; see the top of this module."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNCERTAIN = 4
    DEGRADED = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


def exit_code_of(error: TabletopError, *, changes: bool) -> ExitCode:
    """The exit code for an error that ends a command; `changes` says whether the command would change anything."""
    if changes and not error.definite:
        return ExitCode.UNCERTAIN
    if isinstance(error, (UnknownCluster, Unavailable, TimedOut)):
        return ExitCode.UNREACHABLE
    if isinstance(error, InvalidRequest):
        return ExitCode.USAGE
    return ExitCode.FAILED


def perform(work: Coroutine[Any, Any, T], *, changes: bool = False) -> T:
    """Run a command's work to its end; every way it can fail becomes one message and an exit code.

    Ctrl-C and termination signals cancel the work, which cleans up after itself, before the command ends.
    """
    with endings(changes=changes):
        return asyncio.run(_with_termination(work))


@contextlib.contextmanager
def endings(*, changes: bool = False) -> Iterator[None]:
    """As `perform`, without an event loop: every way in which this can fail becomes one message and an exit code."""
    try:
        yield
    except TabletopError as error:
        code = exit_code_of(error, changes=changes)
        remedy = " (It may have happened all the same: look before you repeat it.)"
        fail(error.message + (remedy if code is ExitCode.UNCERTAIN else ""), code)
    except BrokenPipeError:
        _drop_output()
        raise typer.Exit(ExitCode.BROKEN_PIPE) from None
    except OSError as error:
        _drop_output()
        fail(_system_message(error), ExitCode.FAILED)
    except KeyboardInterrupt:
        fail("interrupted", ExitCode.INTERRUPTED)
    except _Terminated:
        fail("terminated by a signal", ExitCode.TERMINATED)


class Commands(typer.core.TyperGroup):
    """All commands. What goes wrong before a command performs its work, or after it, ends as it would within: a Ctrl-C
    while the command line is parsed, a full disk under the output."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line."""
        note_cluster("")
        self._suggest(list(arguments[1]) if len(arguments) > 1 else [])
        with endings():
            return super().make_context(*arguments, **options)

    def _suggest(self, words: list[str]) -> None:
        """Who types `tabletop ls` means `tabletop fs ls`."""
        if not words or words[0] in self.commands:
            return
        for name, group in self.commands.items():
            if words[0] in getattr(group, "commands", {}):
                fail(f"no command {words[0]!r}; `tabletop {name} {words[0]}` is one", ExitCode.USAGE)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with endings():
            answer = super().invoke(ctx)
            with _writing():
                sys.stdout.flush()
            return answer


def print_bytes(data: Buffer) -> None:
    """Write bytes to standard output. Raises OSError that says what could not be written to."""
    with _writing():
        sys.stdout.buffer.write(data)


def flush_bytes() -> None:
    """Have all bytes written out that were given to `print_bytes`. Raises as it does."""
    with _writing():
        sys.stdout.buffer.flush()


def fail(message: str, code: ExitCode) -> NoReturn:
    """Print one error message to standard error and end the command."""
    notes.print(f"tabletop: {message}", style="red", markup=False)
    raise typer.Exit(code)


def remark(message: str) -> None:
    """Print a remark to standard error."""
    notes.print(message, markup=False)


class _Terminated(Exception):
    """SIGTERM or SIGHUP came."""


async def _with_termination(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, terminate)
    try:
        return await work
    except asyncio.CancelledError:
        if terminated:
            raise _Terminated from None
        raise


def _drop_output() -> None:
    """If standard output takes nothing any more, turn it away, so that Python does not try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_message(error: OSError) -> str:
    subject = f"{error.filename}: " if error.filename else ""
    return f"{subject}{error.strerror or error}"
