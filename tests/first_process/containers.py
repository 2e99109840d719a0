"""Programs as the first process of namespaces, and what can be seen of them from outside."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from lab.report import expect
from lab.waiting import until

START_SECONDS = END_SECONDS = 60
POLL = 0.02
PORT = 3121
DAEMON = "/usr/sbin/pacemaker-remoted"
KEY = "etc/pacemaker/authkey"
AGENTS = "usr/lib/ocf/resource.d"
# What the kernel leaves of the daemon's name.
COMM = "pacemaker-remot"
ORPHANS = 40
# The demo's agent, which notes its environment and leaves processes to process 1.
AGENT = f"""#!/bin/sh
if [ "$1" = start ]; then
    env >/tmp/environment
    i=0
    while [ $i -lt {ORPHANS} ]; do (sleep 2 &); i=$((i + 1)); done
fi
exec /{AGENTS}/pacelet/demo "$1"
"""


def children(pid):
    """The processes whose parent this is."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return None


def fields(pid):
    """State, parent, group, session and so on, as in proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def listens(port=PORT):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


class Container:
    """A program that is the first process of a pid namespace, in a root."""

    def __init__(self, root, log, words=(DAEMON,), environment=(), proc=True):
        self.root, self.log = root, log
        self.errors = log.with_suffix(".errors")
        mount = 'mount -t proc proc "$0/proc" && ' if proc else ""
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", f'{mount}exec chroot "$0" "$@"', root, *words]
        settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PCMK_dh_max_bits": "512", **dict(environment)}
        with open(self.log, "wb") as output, open(self.errors, "wb") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=settings)
        # It may have ended already.
        until("process 1 is there", lambda: children(self._process.pid) or self._process.poll() is not None, START_SECONDS, POLL)
        self.first = next(iter(children(self._process.pid)), None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        until("all of the container is gone", lambda: not listens(), END_SECONDS, POLL)

    def await_port(self):
        until(f"it listens; it said: {self.said()}", lambda: self._process.poll() is not None or listens(), START_SECONDS, POLL)
        expect(self._process.poll() is None, f"it ended with status {self._process.returncode}: {self.said()}")

    def worker(self):
        """The daemon's process, once it has its name."""
        found = until("the worker is there", lambda: [pid for pid in children(self.first) if comm(pid) == COMM], START_SECONDS, POLL)
        return found[0]

    def signal(self, number):
        os.kill(self.first, number)

    def is_alive(self):
        return self._process.poll() is None

    def status(self):
        return self._process.wait(END_SECONDS)

    def said(self):
        return self.log.read_text(errors="replace") + self.errors.read_text(errors="replace")

    def await_line(self, text):
        until(f"it says {text!r}; it said: {self.said()}", lambda: text in self.said(), START_SECONDS, POLL)


class Demo:
    """The client: pacelet's demo, with its own agent or that of this file."""

    def __init__(self, program, key):
        self._program, self._key = program, key

    def play(self, agent, port=PORT):
        words = [self._program, "demo", "--against", f"127.0.0.1:{port}", "--key", self._key, "--agent", agent]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        expect(done.returncode == 0, f"the demo ends with status {done.returncode}:\n{done.stdout}{done.stderr}")


def facts(daemon, root, log, demo):
    """What can be seen of a daemon as process 1, by name."""
    seen = {}

    def start(name, words=(), more=()):
        return Container(root, log.with_name(f"{log.name}-{name}"), (DAEMON, *words), [("KEPT", "runtime"), *more])

    with start("life") as container:
        container.await_port()
        worker = container.worker()
        seen["name of process 1"] = comm(container.first)
        seen["command line of process 1"] = Path(f"/proc/{container.first}/cmdline").read_bytes().rstrip(b"\0").decode()
        seen["the worker leads a session"] = fields(worker)[3] == str(worker)
        demo.play("test:look")
        environment = dict(line.split("=", 1) for line in (root / "tmp/environment").read_text().splitlines() if "=" in line)
        for name in ("FROM_IMAGE", "QUOTED", "KEPT", "PCMK_logfile", "HA_logfile", "LD_FROM_IMAGE"):
            seen[f"agents' {name}"] = environment.get(name)
        seen["log file"] = (root / "var/log/pcmk-init.log").is_file()
        adopted = len(children(container.first)) - 1
        expect(adopted >= ORPHANS, f"only {adopted} orphans came to process 1")
        until("the orphans are buried", lambda: children(container.first) == [worker], END_SECONDS, POLL)
        for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
            container.signal(number)
        demo.play("pacelet:demo")
        seen["SIGHUP and the like"] = "swallowed" if container.worker() == worker else "fatal"
        container.signal(signal.SIGTERM)
        try:
            seen["SIGTERM"] = f"ends with {container._process.wait(3)}"
        except subprocess.TimeoutExpired:
            seen["SIGTERM"] = "swallowed"
    with start("killed") as container:
        container.await_port()
        os.kill(container.worker(), signal.SIGKILL)
        seen["the worker is killed"] = container.status()
    with start("interrupted") as container:
        container.await_port()
        container.signal(signal.SIGINT)
        seen["SIGINT"] = container.status()
    with start("usage", ["--nonsense"]) as container:
        seen["a wrong option"] = container.status()
    with start("version", ["--version"]) as container:
        seen["--version"] = container.status()
    return seen
