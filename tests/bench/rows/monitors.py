"""Monitors that recur every second: how many start, how late, and what they cost the daemon."""

from statistics import median

from lab.trouble import Trouble

from . import Row, in_ms, in_percent, per_second

# How often each number is tried: the most of them leave this machine no time for others.
TURNS = {100: 1, 500: 3, 2000: 1}
NUMBERS = tuple(TURNS)
SECONDS = 10
# A daemon that cannot start so many may take for ever to start each of them once.
LIMIT_SECONDS = 60
VALUES = {"rate": (per_second, "starts"), "late": (in_ms, "p99 late by"), "missed": (in_percent, "missed"), "cpu": (in_percent, "daemon's CPU")}
# Of these alone something is promised.
PROMISED = 500


def name(number, value):
    return f"{number:,} monitors at 1 s: {VALUES[value][1]}"


def row(number, value):
    """What the interval counts from is the end of the one before, so nobody starts quite as many."""
    if (number, value) == (PROMISED, "rate"):
        return Row(name(number, value), per_second, "> stock", lambda pacelet, stock: stock is not None and pacelet > stock)
    if (number, value) == (PROMISED, "late"):
        return Row(name(number, value), in_ms, "< 1/4 of stock", lambda pacelet, stock: stock is not None and pacelet < stock / 4)
    return Row(name(number, value), VALUES[value][0], "", lambda *_: None, gated=False)


ROWS = [row(number, value) for number in NUMBERS for value in VALUES]


def measure_all(bench, kinds):
    """The medians of some turns each; the daemons alternate."""
    seen = {kind: {row.name: [] for row in ROWS} for kind in kinds}
    for turn in range(max(TURNS.values())):
        for number in (number for number in NUMBERS if turn < TURNS[number]):
            for kind in kinds:
                try:
                    once(bench, kind, number, seen[kind])
                except Trouble as reason:
                    bench.note(f"NOT MEASURED ({kind}, {number:,} monitors): {reason}")
    return {kind: {row: median(values) for row, values in rows.items() if values} for kind, rows in seen.items()}


def once(bench, kind, number, rows):
    """One turn with a fresh daemon."""
    with bench.machine(kind) as machine:
        machine.add_agents(bench.agent())
        pid = machine.inner_pid(machine.start_daemon(before_others=True))
        for value, measured in machine.inside("monitors.py", pid, number, SECONDS, limit=LIMIT_SECONDS).items():
            rows[name(number, value)].append(measured)
