"""Where the command line begins, and how it ends before it has begun."""

import runpy
import sys

import pytest


def test_python_dash_m_tabletop_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["tabletop", "version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tabletop", run_name="__main__")
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out.startswith("tabletop ")
