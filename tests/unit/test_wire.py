"""The committed stubs are the ones that the contracts give."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_committed_stubs_equal_freshly_generated_ones(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "scripts" / "generate_stubs.py"), str(tmp_path)], check=True)
    fresh = {path.name: path.read_text() for path in (tmp_path / "runtime" / "wire").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "runtime" / "wire").glob("*_pb2*")}
    assert fresh.keys() == committed.keys(), "run scripts/generate_stubs.py"
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run scripts/generate_stubs.py"
