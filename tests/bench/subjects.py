"""What is measured: pacelet and the stock daemon, each in a machine of its own made of Debian's packages."""

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import configuration, roots
from lab.booted import Booted
from lab.cluster import AUTHKEY, AUTHKEY_BYTES, DAEMON
from lab.node import Node
from lab.trouble import Unavailable
from lab.waiting import until

# A stock daemon first looks for a large prime, for seconds on a busy machine.
PORT_LIMIT_SECONDS = 60
# A listening socket on 3121 (0c31), of either family, in /proc/net/tcp*: local address, remote, state 0A.
LISTENING = ":0C31 "
INSIDE = Path(__file__).parent / "inside"
ADDRESS, PORT = "127.0.0.1", "3121"
TARGET = "x86_64-unknown-linux-musl"
BOOTED_LIFE_SECONDS = 900
# What is measured runs before other load. Agents do not: daemons give them the normal priority.
FIRST = ("nice", "-n", "-15")
AGENTS = "/usr/lib/ocf/resource.d/bench"
SHELL_AGENT = "#!/bin/sh\ncase $1 in monitor) exit 0 ;; *) exit 3 ;; esac\n"


@dataclass
class Bench:
    """The run: its options, the root of the suite, the daemons by kind, remarks for below the table, rows skipped."""

    options: object
    root: object
    daemons: dict
    directory: Path
    say: object
    notes: list = field(default_factory=list)
    skipped: set = field(default_factory=set)
    _machines: int = 0

    def note(self, text):
        """A remark for below the table."""
        self.notes.append(text)

    def skip(self, row, reason):
        """A row that cannot be measured here."""
        self.skipped.add(row)
        self.note(f"skipped: {row}: {reason}")

    def agent(self):
        """The small static agent, built once a run."""
        program = self.directory / "agent"
        if not program.exists():
            build = ["rustc", "--edition", "2024", "--target", TARGET, "-O", "-C", "panic=abort", "-C", "strip=symbols",
                     "-C", "linker=rust-lld", "-o", str(program), str(INSIDE / "agent.rs")]
            done = subprocess.run(build, capture_output=True, text=True)
            if done.returncode != 0:
                raise Unavailable(f"cannot build the agent: {done.stderr.strip()}")
        return program

    @contextmanager
    def machine(self, kind, environment=""):
        """A fresh node with that daemon's files, a key, and more in the daemon's environment, if it is to have more."""
        self._machines += 1
        node = Node("r1", [self.daemons[kind].layer, self.root.path], self.directory / f"machine{self._machines}")
        try:
            node.write("/etc/default/pacemaker", configuration.ENVIRONMENT + environment)
            node.write(AUTHKEY, os.urandom(AUTHKEY_BYTES), 0o640, "root:haclient")
            yield Machine(node)
        finally:
            node.end()


    @contextmanager
    def booted_machine(self):
        """A fresh node with systemd and all daemons, one of which can be started at a time; and these by kind."""
        self._machines += 1
        root = roots.booted(self.options.suite, self.say)
        layer = self.daemons["stock"].layer
        node = Booted("r1", [layer, root.path], self.directory / f"machine{self._machines}", BOOTED_LIFE_SECONDS)
        try:
            node.write("/etc/default/pacemaker", configuration.ENVIRONMENT)
            node.write(AUTHKEY, os.urandom(AUTHKEY_BYTES), 0o640, "root:haclient")
            programs = {"stock": DAEMON}
            if "pacelet" in self.daemons:
                # Under the same name, which is what says that it is to be the daemon.
                programs["pacelet"] = "/opt/pacelet/" + Path(DAEMON).name
                node.write(programs["pacelet"], self.daemons["pacelet"].file.read_bytes(), 0o755)
            yield Machine(node), programs
        finally:
            node.end()


@dataclass
class Machine:
    """A node in which a daemon can be started."""

    node: Node

    def start_daemon(self, before_others=False, program=DAEMON):
        """Starts the daemon, before other load if its speed is to be measured, and returns its process when it listens."""
        words = [*(FIRST if before_others else ()), program]
        process = self.node.spawn(["sh", "-c", f"set -a; . /etc/default/pacemaker; exec {' '.join(words)}"], "daemon.log")
        until("the daemon listens on its port", self._listening, PORT_LIMIT_SECONDS, 0.02)
        return process

    def add_agents(self, static):
        """Installs the agents ocf:bench:static and ocf:bench:shell."""
        self.node.write(f"{AGENTS}/static", static.read_bytes(), 0o755)
        self.node.write(f"{AGENTS}/shell", SHELL_AGENT, 0o755)

    def fork_loop(self, agent, width, count):
        """What a bare fork, exec and wait of an agent takes: median seconds of one, and how many a second."""
        done = self.node.run([*FIRST, f"{AGENTS}/static", "loop", count, width, f"{AGENTS}/{agent}"])
        took, all_of_them = json.loads(done.stdout)
        return took, count / all_of_them

    def inside(self, script, *arguments, limit=120, more=()):
        """Runs a program of bench/inside that is a client, with the node's own Python and libraries, and with `more` variables."""
        words = ["env", *more, *FIRST, "python3", "-", ADDRESS, PORT, AUTHKEY, *arguments]
        text = (INSIDE / "gnutls_client.py").read_text() + (INSIDE / script).read_text()
        return json.loads(self.node.run(words, input=text, limit=limit).stdout)

    def inner_pid(self, process):
        """A process's id as the node sees it."""
        status = Path(f"/proc/{process.pid}/status").read_text()
        return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]

    def _listening(self):
        # The node's first process is in its net namespace.
        tables = (Path(f"/proc/{self.node.pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
        return any(LISTENING in line and line.split()[3] == "0A" for table in tables for line in table.splitlines()[1:])
