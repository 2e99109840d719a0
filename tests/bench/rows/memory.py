"""Memory and threads of an idle daemon that has its key and no connection."""

import os
import time
from pathlib import Path

from . import Row, in_kib

SETTLE_SECONDS = 2

ROWS = [
    Row("idle RSS", in_kib, "<= 1 MiB", lambda pacelet, _: pacelet <= 1024 * 1024),
    Row("idle private dirty", in_kib, "<= 128 KiB", lambda pacelet, _: pacelet <= 128 * 1024),
    Row("threads", str, "1", lambda pacelet, _: pacelet == 1),
]


def measure(bench, kind):
    """Reads /proc/PID/smaps_rollup of the daemon, after a sync, since dirty file pages are not its memory."""
    with bench.machine(kind) as machine:
        process = machine.start_daemon()
        time.sleep(SETTLE_SECONDS)
        os.sync()
        own = rollup(process.pid)
        helpers = [pid for pid in machine.node.processes() if pid != process.pid]
        for pid in helpers:
            beside = rollup(pid)
            bench.note(f"{kind} has a second process, {Path(f'/proc/{pid}/comm').read_text().strip()}: RSS {in_kib(beside['Rss'])}, "
                       f"private dirty {in_kib(beside['Private_Dirty'])}; not in the table")
        return {"idle RSS": own["Rss"], "idle private dirty": own["Private_Dirty"], "threads": process.threads()}


def rollup(pid):
    """Fields of smaps_rollup, in bytes."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) * 1024
    return fields
