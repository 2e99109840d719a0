"""Operations: from request to result, one at a time and several in flight, beside a bare fork, exec and wait.

The loop, pacelet and the stock daemon take turns, and the median of the turns counts: a machine's speed changes
with its other load, and what is compared are figures of one turn.
"""

from contextlib import ExitStack
from statistics import median

from . import Row, in_micros, in_ms, in_percent, in_times, per_second

TURNS = 7
WIDTHS = (8, 32)
COUNTS = {1: 40, 8: 80, 32: 128}
AGENTS = ("static", "shell")


def one(agent):
    return f"{agent} agent, request to result, p50"


def beside(agent):
    return f"  in bare fork+exec+waits: {agent}"


def without_messages(agent):
    return f"  the same less the messages: {agent}"


def flight(agent, width):
    return f"{agent} agent, {width} in flight"


def of_loop(agent, width):
    return f"  share of the loop's rate: {agent}, {width}"


def nothing(*_):
    return None


CPU = "daemon's CPU time per operation, p50"
ROWS = []
for _agent in AGENTS:
    ROWS += [
        Row(one(_agent), in_ms, "< stock", lambda pacelet, stock: stock is not None and pacelet < stock),
        Row(beside(_agent), in_times, "goal: 1.3 x" if _agent == "static" else "", nothing, gated=False),
        Row(without_messages(_agent), in_times, "", nothing, gated=False),
    ]
    for _width in WIDTHS:
        ROWS += [
            Row(flight(_agent, _width), per_second, "> stock", lambda pacelet, stock: stock is not None and pacelet > stock),
            Row(of_loop(_agent, _width), in_percent, "", nothing, gated=False),
        ]
ROWS.append(Row(CPU, in_micros, "<= 1/2 of stock", lambda pacelet, stock: stock is not None and pacelet <= stock / 2))


def measure_all(bench, kinds):
    """Takes the turns."""
    plan = [(agent, width, COUNTS[width]) for agent in AGENTS for width in COUNTS]
    words = [str(word) for step in plan for word in step]
    seen = {kind: {row.name: [] for row in ROWS} for kind in kinds}
    with ExitStack() as stack:
        machines = {kind: stack.enter_context(bench.machine(kind)) for kind in kinds}
        pids = {}
        for kind, machine in machines.items():
            machine.add_agents(bench.agent())
            pids[kind] = machine.inner_pid(machine.start_daemon(before_others=True))
        for turn in range(TURNS):
            some = machines[kinds[turn % len(kinds)]]
            loops = {(agent, width): some.fork_loop(agent, width, count) for agent, width, count in plan}
            for kind in kinds if turn % 2 else reversed(kinds):
                results = machines[kind].inside("operations.py", pids[kind], *words)
                note(seen[kind], plan, loops, results)
    return {kind: {name: median(values) for name, values in rows.items()} for kind, rows in seen.items()}


def note(rows, plan, loops, results):
    """Adds what one turn gave."""
    cpus = []
    for (agent, width, _), (took, rate, cpu) in zip(plan, results["operations"]):
        loop_took, loop_rate = loops[agent, width]
        cpus.append(cpu)
        if width == 1:
            rows[one(agent)].append(took)
            rows[beside(agent)].append(took / loop_took)
            rows[without_messages(agent)].append((took - results["poke"]) / loop_took)
        else:
            rows[flight(agent, width)].append(rate)
            rows[of_loop(agent, width)].append(rate / loop_rate)
    rows[CPU].append(median(cpus))
