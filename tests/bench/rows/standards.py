"""Init scripts and systemd units: how long their operations take and what they cost the daemon.

Both daemons take turns in one machine with systemd, and the median of the turns counts.
"""

import signal
from statistics import median

from . import Row, in_micros, in_ms, per_second

TURNS = 3
END_LIMIT_SECONDS = 20
INSIDE_LIMIT_SECONDS = 300
SCRIPT = """#!/bin/sh
case $1 in
    start) : >/run/bench.state ;;
    stop) rm -f /run/bench.state ;;
    status) [ -e /run/bench.state ] || exit 3 ;;
esac
"""
UNIT = "[Service]\nExecStart=/bin/sleep 3600\n"
# Standard, number of starts and stops, number of monitors at a time and in all. Before 3.0.1, stock looks whether a unit
# has started only after 2 s.
PLAN = {"lsb": (10, ((1, 40), (8, 80))), "systemd": (2, ((1, 100), (8, 400)))}
WHAT = {"lsb": "init script", "systemd": "systemd unit"}


def less(pacelet, stock):
    return stock is not None and pacelet < stock


def more(pacelet, stock):
    return stock is not None and pacelet > stock


def latency(what, action):
    """A script's own time is most of what it takes, and systemd's of what a monitor takes: what else a machine does decides."""
    if (what, action) in ((WHAT["systemd"], "start"), (WHAT["systemd"], "stop")):
        return Row(f"{what}: {action}, p50", in_ms, "< stock", less)
    return Row(f"{what}: {action}, p50", in_ms, "goal: < stock", less, gated=False)


ROWS = []
for _what in WHAT.values():
    ROWS += [
        *(latency(_what, action) for action in ("start", "stop", "monitor")),
        Row(f"{_what}: monitors, 8 in flight", per_second, "> stock", more),
        Row(f"{_what}: daemon's CPU time per monitor", in_micros, "< stock", less),
        Row(f"{_what}: daemon's CPU time, start and stop", in_micros, "< stock", less),
    ]


def measure_all(bench, kinds):
    """Takes the turns."""
    seen = {kind: {row.name: [] for row in ROWS} for kind in kinds}
    plan = [(standard, cycles, *narrow, *wide) for standard, (cycles, (narrow, wide)) in PLAN.items()]
    words = [str(word) for step in plan for word in step]
    with bench.booted_machine() as (machine, programs):
        machine.node.write("/etc/init.d/bench", SCRIPT, 0o755)
        machine.node.write("/etc/systemd/system/bench.service", UNIT)
        machine.node.run(["systemctl", "daemon-reload"])
        for turn in range(TURNS):
            for kind in kinds if turn % 2 else reversed(kinds):
                process = machine.start_daemon(before_others=True, program=programs[kind])
                results = machine.inside("standards.py", machine.inner_pid(process), *words, limit=INSIDE_LIMIT_SECONDS)
                process.signal(signal.SIGTERM)
                process.exit_code(END_LIMIT_SECONDS)
                process.kill()
                for standard, values in results.items():
                    for row, value in zip([row for row in ROWS if row.name.startswith(WHAT[standard])], values):
                        seen[kind][row.name].append(value)
    return {kind: {name: median(values) for name, values in rows.items()} for kind, rows in seen.items()}
