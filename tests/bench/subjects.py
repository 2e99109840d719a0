"""What is measured: pacelet and the stock daemon, each in a machine of its own made of Debian's packages."""

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import configuration
from lab.cluster import AUTHKEY, AUTHKEY_BYTES, DAEMON
from lab.node import Node
from lab.waiting import until

PORT_LIMIT_SECONDS = 10
# A listening socket on 3121 (0c31), of either family, in /proc/net/tcp*: local address, remote, state 0A.
LISTENING = ":0C31 "


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

    @contextmanager
    def machine(self, kind):
        """A fresh node with that daemon's files and a key."""
        self._machines += 1
        node = Node("r1", [self.daemons[kind].layer, self.root.path], self.directory / f"machine{self._machines}")
        try:
            node.write("/etc/default/pacemaker", configuration.ENVIRONMENT)
            node.write(AUTHKEY, os.urandom(AUTHKEY_BYTES), 0o640, "root:haclient")
            yield Machine(node)
        finally:
            node.end()


@dataclass
class Machine:
    """A node in which a daemon can be started."""

    node: Node

    def start_daemon(self):
        """Starts the daemon, and returns its process when it listens."""
        process = self.node.spawn(["sh", "-c", "set -a; . /etc/default/pacemaker; exec " + DAEMON], "daemon.log")
        until("the daemon listens on its port", self._listening, PORT_LIMIT_SECONDS, 0.02)
        return process

    def _listening(self):
        # The node's first process is in its net namespace.
        tables = (Path(f"/proc/{self.node.pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
        return any(LISTENING in line and line.split()[3] == "0A" for table in tables for line in table.splitlines()[1:])
