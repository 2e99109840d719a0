#!/usr/bin/env python3
"""Boots a real systemd as the first process of namespaces of its own.

    boot.py [--layers DIRECTORY:...] [--inner DIRECTORY:...] [--life SECONDS] [UNIT-FILE...]

--layers  the root, topmost first; default: a Debian root with systemd, made now if there is none
--inner   another root, at /inner
--life    when it is to end at the latest

No root is written to. Each UNIT-FILE is copied to /etc/systemd/system inside. Once the system bus answers, a line
`ready PID` is printed: PID is systemd's, and /proc/PID/root/run/dbus/system_bus_socket is the bus. All ends when
standard input is closed, after its life, or when this program ends in whatever way: what it makes are processes
and mounts in its own namespaces, and one cgroup, which it removes (or the next run does, if this one was killed).

Exit status: 0 ended as asked; 1 failed, why is on standard error; 77 not possible here, the last line
of standard output says why.
"""

import argparse
import ctypes
import errno
import os
import pathlib
import select
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster"))
sys.dont_write_bytecode = True

from lab import machine, roots  # noqa: E402
from lab.trouble import Trouble, Unavailable  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
# What no namespace confines: modules, raw input and output, the clock, device nodes, the kernel's log.
CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_MKNOD, CAP_SYSLOG = 16, 17, 25, 27, 34

SUITE = "trixie"
# On a machine that is busy with several of them.
BOOT_SECONDS = 90
LIFE_SECONDS = 300
CGROUP_PREFIX = "pacelet-systemd-"
BUS = "run/dbus/system_bus_socket"
KEPT_GENERATOR = "systemd-sysv-generator"


def check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source, target, kind, flags=0, data=None):
    def encode(text):
        return None if text is None else os.fsencode(text)

    check(LIBC.mount(encode(source), encode(target), encode(kind), flags, encode(data)), f"mount {kind or source} on {target}")


def read_only(path):
    """Makes a file or directory read-only; a device still reads and writes, but keeps its mode."""
    if os.path.exists(path):
        mount(path, path, None, MS_BIND)
        mount(None, path, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def die_with_parent():
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def own_cgroup():
    """The directory of the cgroup2 this process is in."""
    path = next(line[3:] for line in open("/proc/self/cgroup").read().split("\n") if line.startswith("0::"))
    for line in open("/proc/self/mountinfo"):
        fields, _, tail = line.partition(" - ")
        if tail.split()[0] == "cgroup2":
            _, _, _, root, point = fields.split()[:5]
            return pathlib.Path(point) / os.path.relpath(path, root)
    raise OSError(errno.ENOENT, "no cgroup2 file system is mounted")


def remove_cgroup(top):
    """Removes a cgroup and those below; they are free of processes moments after the last one died."""
    for _ in range(100):
        try:
            for directory, _, _ in os.walk(top, topdown=False):
                os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.02)
    say(f"{top} is still in use and stays")


def sweep(parent):
    """Removes what killed runs left."""
    for path in parent.glob(CGROUP_PREFIX + "*"):
        if not pathlib.Path("/proc", path.name.removeprefix(CGROUP_PREFIX)).exists():
            remove_cgroup(path)


def overlay(layers, target, name):
    """Lays a root whose changes are kept in memory over read-only layers, which are descriptors."""
    for part in ("upper", "work"):
        os.makedirs(f"/mnt/{name}/{part}")
    lower = ":".join(f"/proc/self/fd/{layer}" for layer in layers)
    mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir=/mnt/{name}/upper,workdir=/mnt/{name}/work")
    for layer in layers:
        os.close(layer)


def build(tree, units):
    """Makes the file tree of the new system below /mnt and enters it."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    # By descriptor: what is mounted on /mnt may hide them.
    layers, inner = ([os.open(path, os.O_PATH) for path in paths] for paths in tree)
    mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755,size=256m")
    os.mkdir("/mnt/new")
    overlay(layers, "/mnt/new", "root")
    os.chdir("/mnt/new")
    if inner:
        os.mkdir("inner")
        overlay(inner, "inner", "inner")

    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # The kernel's settings are in no namespace: systemd must not change this machine's.
    read_only("proc/sys")
    read_only("proc/sysrq-trigger")
    mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("cgroup2", "sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=0755,size=1m")
    for name in ("null", "zero", "full", "random", "urandom"):
        open(f"dev/{name}", "w").close()
        mount(f"/dev/{name}", f"dev/{name}", None, MS_BIND)
        read_only(f"dev/{name}")
    os.mkdir("dev/shm")
    for path in ("dev/shm", "run", "tmp"):
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m")

    for name, text in units.items():
        pathlib.Path("etc/systemd/system", name).write_bytes(text)
    # Each would run whenever units are read anew, which a resource's start and stop have done; only the one for init
    # scripts finds something here.
    masks = pathlib.Path("etc/systemd/system-generators")
    masks.mkdir(exist_ok=True)
    for path in pathlib.Path("usr/lib/systemd/system-generators").iterdir():
        if path.name != KEPT_GENERATOR:
            (masks / path.name).symlink_to("/dev/null")
    # Without a machine id this would be a first boot, which does more.
    pathlib.Path("etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")

    check(LIBC.pivot_root(b".", b"."), "pivot_root")
    check(LIBC.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")
    socket.sethostname("pacelet-systemd")


def become_systemd(tree, units, log):
    die_with_parent()
    os.setsid()
    build(tree, units)
    for capability in (CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_MKNOD, CAP_SYSLOG):
        check(LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "dropping a capability")
    quiet = os.open("/dev/null", os.O_RDONLY)
    for target, descriptor in enumerate((quiet, log, log)):
        os.dup2(descriptor, target)
    os.umask(0o022)
    environment = {"container": "pacelet-lab", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    arguments = ["--system", "--unit=basic.target", "--log-target=console", "--show-status=no"]
    os.execve("/usr/lib/systemd/systemd", ["systemd", *arguments], environment)


def start(tree, units, cgroup, log):
    """Starts systemd; returns its pid, and that of its parent, which ends right after it."""
    # Not inherited by systemd: the pipe's end says that it was executed, or what kept it from that.
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            die_with_parent()
            (cgroup / "cgroup.procs").write_text("0")
            everything = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
            check(LIBC.unshare(everything), "unshare")
            child = os.fork()
            if child == 0:
                become_systemd(tree, units, log)
            os.write(write, b"%d\n" % child)
            os.close(write)
            os.waitpid(child, 0)
        except OSError as error:
            os.write(write, f"{error.errno} {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        pid, _, trouble = pipe.read().rpartition("\n")
    if trouble:
        os.waitpid(parent, 0)
        number, _, text = trouble.partition(" ")
        raise OSError(int(number), text.removeprefix(f"[Errno {number}] "))
    return int(pid), parent


def bus_answers(pid):
    with socket.socket(socket.AF_UNIX) as bus:
        try:
            bus.connect(f"/proc/{pid}/root/{BUS}")
            bus.settimeout(1)
            bus.sendall(b"\0AUTH EXTERNAL 30\r\n")
            return bus.recv(3) == b"OK "
        except OSError:
            return False


def ended(parent):
    return os.waitid(os.P_PID, parent, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def await_bus(pid, parent):
    """Says whether the bus came up."""
    began = time.monotonic()
    while time.monotonic() < began + BOOT_SECONDS:
        if bus_answers(pid):
            return True
        if ended(parent):
            say("systemd ended while it booted")
            return False
        time.sleep(0.01)
    say(f"no system bus after {BOOT_SECONDS} s")
    return False


def await_end_of_input(parent):
    """Says whether that came before the end of systemd."""
    while not ended(parent):
        if select.select([sys.stdin], [], [], 0.5)[0] and not os.read(0, 4096):
            return True
    say("systemd ended by itself")
    return False


def run(tree, units):
    own = own_cgroup()
    sweep(own)
    cgroup = own / f"{CGROUP_PREFIX}{os.getpid()}"
    cgroup.mkdir()
    try:
        log = os.memfd_create("log")
        pid, parent = start(tree, units, cgroup, log)
        try:
            if not await_bus(pid, parent):
                os.lseek(log, 0, os.SEEK_SET)
                sys.stderr.write(os.read(log, 1 << 20).decode(errors="replace"))
                return 1
            print(f"ready {pid}", flush=True)
            return 0 if await_end_of_input(parent) else 1
        finally:
            end(pid, parent)
    finally:
        remove_cgroup(cgroup)


def end(pid, parent):
    """Ends systemd, and with it all processes of its namespace."""
    if not ended(parent):
        # Its parent has not waited for it yet: the pid is still systemd's.
        os.kill(pid, signal.SIGKILL)
    os.waitpid(parent, 0)


def say(text):
    print(f"boot.py: {text}", file=sys.stderr, flush=True)


def main():
    options = arguments()
    units = {path.name: path.read_bytes() for path in options.units}
    try:
        machine.check()
        layers = options.layers or [roots.prepare(SUITE, say, roots.SYSTEMD).path]
        machine.end_in_time(options.life)
        return run((layers, options.inner), units)
    except (Unavailable, PermissionError) as reason:
        print(reason)
        return 77
    except Trouble as trouble:
        say(trouble)
        return 1


def arguments():
    def paths(text):
        return text.split(":")

    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=paths)
    parser.add_argument("--inner", type=paths, default=[])
    parser.add_argument("--life", type=int, default=LIFE_SECONDS)
    parser.add_argument("units", nargs="*", type=pathlib.Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
