"""First process of a node: makes the node's view of the file system, then reaps.

Runs in fresh mount, pid, uts, ipc and net namespaces. Arguments: the node's name, its directory, and the
overlay's lower layers (topmost first, joined by colons). It writes `ready` to standard output and lives until
standard input ends: whoever holds the other end holds the node, and when that process dies, however it dies,
the kernel ends everything in the node with this process.
"""

import os
import select
import signal
import socket
import subprocess
import sys

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def build(name, directory, lower):
    socket.sethostname(name)
    memory = f"{directory}/memory"
    mount("-t", "tmpfs", "-o", "mode=755,size=512m", "node", memory)
    root = f"{memory}/root"
    for part in ("upper", "work", "root"):
        os.mkdir(f"{memory}/{part}", 0o755)
    # index and redirect_dir off: two runs may share a lower layer.
    options = f"lowerdir={lower},upperdir={memory}/upper,workdir={memory}/work,index=off,redirect_dir=off"
    mount("-t", "overlay", "-o", options, "node", root)
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", f"{root}/proc")
    mount("-t", "sysfs", "-o", "ro,nosuid,nodev,noexec", "sysfs", f"{root}/sys")
    mount("-t", "tmpfs", "-o", "mode=755,size=4m", "dev", f"{root}/dev")
    for device in DEVICES:
        open(f"{root}/dev/{device}", "w").close()
        mount("--bind", f"/dev/{device}", f"{root}/dev/{device}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    for target, mode in (("dev/shm", "1777"), ("run", "755"), ("tmp", "1777")):
        os.makedirs(f"{root}/{target}", exist_ok=True)
        mount("-t", "tmpfs", "-o", f"mode={mode},size=256m,nosuid,nodev", "node", f"{root}/{target}")
    # Logs outlive the node.
    log = f"{root}/var/log"
    for entry in os.listdir(log):
        if os.path.isdir(f"{log}/{entry}"):
            status = os.stat(f"{log}/{entry}")
            os.makedirs(f"{directory}/log/{entry}", exist_ok=True)
            os.chown(f"{directory}/log/{entry}", status.st_uid, status.st_gid)
            os.chmod(f"{directory}/log/{entry}", status.st_mode & 0o7777)
    mount("--bind", f"{directory}/log", log)
    os.chroot(root)
    os.chdir("/")


def reap():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def main():
    name, directory, lower = sys.argv[1:]
    build(name, directory, lower)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # The terminal's Ctrl-C is for the one who holds the node.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(1, b"ready\n")
    while True:
        reap()
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
        if 0 in readable and not os.read(0, 4096):
            return


main()
