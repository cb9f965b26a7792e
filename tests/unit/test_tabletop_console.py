"""How commands end."""

import asyncio
import os
import signal

import pytest
import typer

from cluster.folder import UnknownCluster
from runtime.errors import AlreadyExists, InvalidRequest, MutationFailed, TabletopError, TimedOut, Unavailable
from tabletop.console import ExitCode, exit_code_of, perform


async def failing(error: BaseException) -> None:
    raise error


def ending(error: BaseException, capsys: pytest.CaptureFixture[str], *, changes: bool = False) -> tuple[int, str]:
    with pytest.raises(typer.Exit) as ended:
        perform(failing(error), changes=changes)
    captured = capsys.readouterr()
    assert captured.out == ""
    return ended.value.exit_code, captured.err


@pytest.mark.parametrize(
    ("error", "changes", "code"),
    [
        (AlreadyExists("there is a file"), True, ExitCode.FAILED),
        (InvalidRequest("a size that is none"), False, ExitCode.USAGE),
        (UnknownCluster("no cluster"), True, ExitCode.UNREACHABLE),
        (Unavailable("gone", definite=True), True, ExitCode.UNREACHABLE),
        (Unavailable("gone"), False, ExitCode.UNREACHABLE),
        (TimedOut("no answer"), True, ExitCode.UNCERTAIN),
        (MutationFailed("half of it"), True, ExitCode.UNCERTAIN),
    ],
)
def test_every_kind_of_failure_has_its_exit_code(error: TabletopError, changes: bool, code: ExitCode):
    assert exit_code_of(error, changes=changes) is code


def test_an_error_is_one_message_without_a_traceback(capsys: pytest.CaptureFixture[str]):
    assert ending(AlreadyExists("there is a file '/a'"), capsys) == (1, "tabletop: there is a file '/a'\n")


def test_an_uncertain_end_says_to_look_first(capsys: pytest.CaptureFixture[str]):
    code, message = ending(TimedOut("no answer within 5 s"), capsys, changes=True)
    assert code == 4
    assert "look before you repeat it" in message


def test_a_system_error_names_the_file(capsys: pytest.CaptureFixture[str]):
    assert ending(PermissionError(13, "Permission denied", "/x"), capsys) == (1, "tabletop: /x: Permission denied\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_signals_let_the_work_clean_up_before_the_command_ends(number: signal.Signals, code: int):
    cleaned_up = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(True)

    with pytest.raises(typer.Exit) as ended:
        perform(work())
    assert ended.value.exit_code == code
    assert cleaned_up == [True]
