"""A MooseFS cluster to compare with: one master, three chunkservers with goal 3, one FUSE mount.

MooseFS refuses loopback addresses, so it lives in a network namespace of its own. Needs root, /dev/fuse, iproute2 and
Debian's packages moosefs-master, moosefs-chunkserver and moosefs-client; `available` says whether all are there.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NAMESPACE = "tabletop-bench-moosefs"
ADDRESS = "10.98.0.1"
PROGRAMS = ("mfsmaster", "mfschunkserver", "mfsmount", "mfssetgoal", "ip", "nsenter")
EMPTY_METADATA = Path("/var/lib/mfs/metadata.mfs.empty")
READY_SECONDS = 20.0


def available() -> str:
    """What is missing for a MooseFS cluster, in words; empty if nothing is."""
    missing = [program for program in PROGRAMS if _program(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/fuse").exists() or not EMPTY_METADATA.exists():
        return "no /dev/fuse, or no empty metadata file"
    return ""


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Start the cluster below `folder`; yields the mount point, on which every file has three copies."""
    master, mount = folder / "master", folder / "mount"
    for path in (master, mount, *(folder / f"cs{n}" for n in (1, 2, 3)), *(folder / f"disk{n}" for n in (1, 2, 3))):
        path.mkdir(parents=True)
    shutil.copy(EMPTY_METADATA, master / "metadata.mfs")
    (master / "exports.cfg").write_text(f"{ADDRESS} / rw,alldirs,maproot=0\n")
    hosts = "".join(f"MATO{role}_LISTEN_HOST = {ADDRESS}\n" for role in ("CS", "CL", "ML"))
    (master / "mfsmaster.cfg").write_text(
        f"WORKING_USER = mfs\nWORKING_GROUP = mfs\nDATA_PATH = {master}\n"
        f"EXPORTS_FILENAME = {master}/exports.cfg\n{hosts}"
    )
    for number in (1, 2, 3):
        home = folder / f"cs{number}"
        (home / "hdd.cfg").write_text(f"{folder}/disk{number}\n")
        (home / "mfschunkserver.cfg").write_text(
            f"WORKING_USER = mfs\nWORKING_GROUP = mfs\nDATA_PATH = {home}\nHDD_CONF_FILENAME = {home}/hdd.cfg\n"
            f"MASTER_HOST = {ADDRESS}\nCSSERV_LISTEN_HOST = {ADDRESS}\nCSSERV_LISTEN_PORT = {9421 + number}\n"
            "HDD_LEAVE_SPACE_DEFAULT = 256MiB\n"
        )
    subprocess.run(["chown", "-R", "mfs:mfs", str(folder)], check=True)
    folder.chmod(0o755)
    try:
        _start(folder, mount)
        yield mount
    finally:
        _stop(folder, mount)


def _start(folder: Path, mount: Path) -> None:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    _inside("ip", "link", "set", "lo", "up")
    _inside("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    _inside("mfsmaster", "-c", str(folder / "master" / "mfsmaster.cfg"), "start")
    for number in (1, 2, 3):
        _inside("mfschunkserver", "-c", str(folder / f"cs{number}" / "mfschunkserver.cfg"), "start")
    _inside("mfsmount", str(mount), "-H", ADDRESS)
    _inside("mfssetgoal", "-r", "3", str(mount))
    _wait_until_writable(mount)


def _wait_until_writable(mount: Path) -> None:
    """The chunkservers register some time after they have started."""
    deadline = time.monotonic() + READY_SECONDS
    probe = mount / "probe"
    while True:
        try:
            with probe.open("wb", 0) as file:
                file.write(b"x")
                os.fsync(file.fileno())
            probe.unlink()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _stop(folder: Path, mount: Path) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["umount", "-l", str(mount)], check=False, **quiet)  # type: ignore[call-overload]
    for number in (1, 2, 3):
        _inside("mfschunkserver", "-c", str(folder / f"cs{number}" / "mfschunkserver.cfg"), "stop", check=False)
    _inside("mfsmaster", "-c", str(folder / "master" / "mfsmaster.cfg"), "stop", check=False)
    subprocess.run(["ip", "netns", "del", NAMESPACE], check=False, **quiet)  # type: ignore[call-overload]


def _inside(*command: str, check: bool = True) -> None:
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{NAMESPACE}", _program(command[0]) or command[0], *command[1:]],
        check=check,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
