"""One machine of the lab: a set of namespaces with a root of its own, held open by a pipe."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from .trouble import Trouble, Unavailable
from .waiting import POLL_SECONDS, until

END_LIMIT_SECONDS = 10
RUN_LIMIT_SECONDS = 60
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root", "TZ": "UTC",
}
# The exit status of what says that this machine cannot have such a node.
NOT_HERE = 77
INIT = Path(__file__).with_name("init.py")


class Node:
    """A node: start it, run commands and processes in it, read its files, end it."""

    READY_LIMIT_SECONDS = 30

    def __init__(self, name, layers, directory):
        """`layers`: directories of the root, topmost first; `directory`: the node's own, on the host."""
        self._enter(name, directory, [
            "unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child",
            sys.executable, INIT, name, directory, ":".join(map(str, layers))])
        # What the host's /proc puts before paths of files that the node's processes have open.
        self.prefix = str(directory / "memory/root")
        self.run(["ip", "link", "set", "lo", "up"])

    def _enter(self, name, directory, words):
        """Starts what makes the node and holds it as long as its standard input is open."""
        self.name = name
        self.directory = directory
        (directory / "memory").mkdir(parents=True)
        (directory / "log").mkdir()
        (directory / "log").chmod(0o755)
        # Besides `ENVIRONMENT`, for what is run here; what is spawned reads its own.
        self.environment = {}
        self._processes = []
        with open(directory / "init.log", "w") as log:
            self._init = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                          start_new_session=True)
        self.pid = self._await_ready()
        self.root = Path(f"/proc/{self.pid}/root")

    def _await_ready(self):
        """The first process's id: it is told, or that process is the child of the one that was started."""
        readable, _, _ = select.select([self._init.stdout], [], [], self.READY_LIMIT_SECONDS)
        line = self._init.stdout.readline().decode() if readable else f"no word within {self.READY_LIMIT_SECONDS} s"
        said = line.split()
        if said[:1] != ["ready"]:
            self.end()
            reason = (self.directory / "init.log").read_text(errors="replace").strip()
            refused = Unavailable if self._init.returncode == NOT_HERE else Trouble
            raise refused(f"node {self.name} did not come up in its namespaces: {reason or line.strip()}\n"
                          "  (the lab needs root, overlayfs and the right to make namespaces)")
        return int(said[1]) if said[1:] else child_of(self._init.pid)

    def command(self, words):
        """The host's command line that runs `words` inside the node."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", *map(str, words)]

    def run(self, words, check=True, limit=RUN_LIMIT_SECONDS, input=None):
        """Runs a command to its end and returns what `subprocess.run` returns, with text output."""
        try:
            done = subprocess.run(self.command(words), capture_output=True, text=True, timeout=limit, env=ENVIRONMENT | self.environment,
                                  input=input, stdin=subprocess.DEVNULL if input is None else None)
        except subprocess.TimeoutExpired:
            raise Trouble(f"on {self.name}, `{' '.join(map(str, words))}` was not done within {limit} s")
        if check and done.returncode != 0:
            raise Trouble(f"on {self.name}, `{' '.join(map(str, words))}` failed ({done.returncode}): "
                          f"{(done.stderr or done.stdout).strip()}")
        return done

    def spawn(self, words, log):
        """Starts a long-running process; its output is appended to the node's log file `log`."""
        with open(self.directory / "log" / log, "ab") as output:
            entering = subprocess.Popen(self.command(words), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                        env=ENVIRONMENT, start_new_session=True)
        process = Process(self, entering)
        self._processes.append(process)
        return process

    def write(self, path, content, mode=0o644, owner=None):
        """Writes a file in the node; `owner` is a name that the node's own user database knows."""
        # By the node's own view: an absolute symbolic link must not lead out of it.
        data = content if isinstance(content, bytes) else content.encode()
        script = 'umask 077; mkdir -p -m 755 "${1%/*}" && cat >"$1" && chmod "$2" "$1" && { [ -z "$3" ] || chown "$3" "$1"; }'
        done = subprocess.run(self.command(["sh", "-c", script, "sh", path, f"{mode:o}", owner or ""]), input=data,
                              capture_output=True, timeout=RUN_LIMIT_SECONDS, env=ENVIRONMENT)
        if done.returncode != 0:
            raise Trouble(f"cannot write {path} on {self.name}: {done.stderr.decode(errors='replace').strip()}")

    def exists(self, path):
        """Whether a file is there. Costs no process, so it can be asked often."""
        return os.path.lexists(f"{self.root}{path}")

    def read(self, path):
        """A file's text, or nothing when it is not there."""
        try:
            return Path(f"{self.root}{path}").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def stat(self, path):
        """What `os.stat` says of a file."""
        return os.stat(f"{self.root}{path}")

    def remove(self, path):
        """Removes a file."""
        os.unlink(f"{self.root}{path}")

    def processes(self):
        """Host's process ids of all that runs in the node, without its first process."""
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        return [pid for pid in all_pids() if pid != self.pid and _link(f"/proc/{pid}/ns/pid") == space]

    def kill_all(self):
        """Ends all that runs in the node at once."""
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def end(self):
        """Ends the node with everything in it."""
        self._init.stdin.close()
        try:
            self._init.wait(END_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._init.kill()
            self._init.wait(END_LIMIT_SECONDS)
        self._init.stdout.close()
        for process in self._processes:
            process.reap()


class Process:
    """A long-running process in a node, seen through the `nsenter` that waits for it."""

    def __init__(self, node, entering):
        self._node = node
        self._entering = entering
        self.pid = until(f"a process of {node.name} starts", lambda: child_of(entering.pid) or entering.poll() is not None, 5, 0.005)
        if self.pid is True:
            raise Trouble(f"on {node.name}, {' '.join(entering.args[9:])} ended at once ({entering.returncode})")

    def running(self):
        """Whether it still runs."""
        return self._entering.poll() is None

    def signal(self, number):
        """Sends a signal to it."""
        os.kill(self.pid, number)

    def exit_code(self, limit):
        """Waits for its end: the exit code, negative for a signal; nothing when it outlives the limit."""
        try:
            return self._entering.wait(limit)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        """Ends it at once."""
        if self.running():
            self.signal(signal.SIGKILL)
            self._entering.wait(END_LIMIT_SECONDS)

    def reap(self):
        """After the node's end: collects what is left of the entering process."""
        try:
            self._entering.wait(END_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._entering.kill()
            self._entering.wait(END_LIMIT_SECONDS)

    def threads(self):
        """Number of its threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu_seconds(self):
        """CPU time of the process itself, and of all children it waited for."""
        fields = stat_fields(self.pid)
        ticks = os.sysconf("SC_CLK_TCK")
        return (int(fields[11]) + int(fields[12])) / ticks, (int(fields[13]) + int(fields[14])) / ticks


def all_pids():
    """All process ids of the host."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def stat_fields(pid):
    """Fields of /proc/PID/stat after the command name: [0] is the state, [1] the parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def child_of(parent):
    """Id of the one child of a process, or nothing."""
    for pid in all_pids():
        try:
            if int(stat_fields(pid)[1]) == parent:
                return pid
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return None
