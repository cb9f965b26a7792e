"""Write the gRPC stubs below runtime/wire from the contracts in proto/.

Usage: python scripts/generate_stubs.py [TARGET_ROOT]

The folder `proto/` is never importable (the package proto-plus is imported by that name), so the contracts are mapped
to the import path `runtime/wire` while they are compiled. A test runs this again and compares.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def generate(target: Path) -> None:
    """Compile every contract into `target`/runtime/wire."""
    wire = target / "runtime" / "wire"
    wire.mkdir(parents=True, exist_ok=True)
    for old in [*wire.glob("*_pb2*.py"), *wire.glob("*_pb2*.pyi")]:
        old.unlink()
    contracts = sorted(f"runtime/wire/{path.name}" for path in (ROOT / "proto").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-Iruntime/wire={ROOT / 'proto'}"]
    command += [f"--python_out={target}", f"--grpc_python_out={target}"]
    command += [f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}"]
    scripts = Path(sys.executable).absolute().parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}
    if shutil.which("protoc-gen-mypy", path=environment["PATH"]) is None:
        raise SystemExit("protoc-gen-mypy is not installed; run ./scripts/test once, which sets the environment up")
    subprocess.run([*command, *contracts], check=True, env=environment)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
