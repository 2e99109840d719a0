"""Whether this machine can run the lab, and how a run ends in any case."""

import os
import shutil
import signal
from pathlib import Path

from .trouble import Unavailable

TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "mount": "mount", "ip": "iproute2"}


def check():
    """Raises `Unavailable` when something is missing that only the machine's owner can give."""
    if os.geteuid() != 0:
        raise Unavailable("the lab makes namespaces and mounts: run it as root")
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise Unavailable(f"missing on this machine: install the packages {', '.join(missing)}")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        raise Unavailable("the kernel has no overlayfs (try `modprobe overlay`)")


def end_in_time(seconds):
    """Turns Ctrl-C, SIGTERM and the end of the time allowed into an exit that cleans up as any other."""

    def stop(number, _frame):
        reason = f"not done within {seconds} s" if number == signal.SIGALRM else f"stopped by {signal.Signals(number).name}"
        raise SystemExit(f"{reason}; everything it started has been ended")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    signal.alarm(seconds)
