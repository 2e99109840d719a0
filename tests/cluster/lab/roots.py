"""Root file systems of Debian suites, made once by debootstrap and kept outside the checkout.

    $PACELET_CACHE/roots/trixie-<digest>/root    what `debootstrap --variant=minbase` made
    $PACELET_CACHE/roots/trixie-<digest>/stock   the files of the package pacemaker-remote, unpacked
    $PACELET_CACHE/roots/trixie-<digest>/versions

These are a cluster's; each other `Recipe` has its own directory instead of `roots`. The digest covers the
versions of the named packages and of the way roots are made, so a newer package makes a new root. A root is
never written to: each node puts its own overlay on it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from .apt import KEYRING, Archive
from .trouble import Trouble, Unavailable

CACHE_VARIABLE = "PACELET_CACHE"
VERSION = 1
BOOTSTRAP_LIMIT_SECONDS = 1800


@dataclass(frozen=True)
class Recipe:
    """What goes into a root: `directory` of the cache keeps it, `packages` are installed, `stock` is a package
    that conflicts with them, if there is one; `told` are those that a line on the root should name, as far as
    the suite has them."""

    directory: str
    size: str
    packages: tuple
    stock: str | None
    told: tuple
    # Another CPU's, by Debian's name: such a root is unpacked only, as nothing in it could be run here to set it up.
    architecture: str | None = None


CLUSTER = Recipe(
    "roots",
    "0.5 GB",
    ("corosync", "iproute2", "pacemaker", "pacemaker-cli-utils", "pacemaker-resource-agents", "procps", "python3",
     "resource-agents"),
    "pacemaker-remote",
    ("pacemaker", "corosync", "libgnutls30t64", "libgnutls30"),
)
# Such a node with systemd as its first process, and the same with Pacemaker's own suite.
BOOTED = replace(CLUSTER, directory="booted", size="0.6 GB", packages=(*CLUSTER.packages, "dbus", "python3-systemd", "systemd"),
                 told=("pacemaker", "resource-agents", "systemd"))
SUITE = replace(BOOTED, directory="suite", packages=(*BOOTED.packages, "pacemaker-cts"), told=("pacemaker-cts", *BOOTED.told))
SYSTEMD = Recipe("systemd", "0.4 GB", ("dbus", "pacemaker-remote", "systemd"), None, ("systemd", "dbus", "pacemaker-remote"))
# Where the suite is taken from: the first release that has it.
SUITE_FROM = "trixie"
GNUTLS = Recipe("gnutls", "0.3 GB", ("gnutls-bin",), None, ("gnutls-bin",))
TOOLS = Recipe("tools", "0.4 GB", ("pacemaker-cli-utils",), "pacemaker-remote", ("pacemaker-cli-utils", "libqb100"))
# What the packages' scripts would have added: whom pacelet and the tools look for.
USERS = "root:x:0:0::/root:/bin/sh\nhacluster:x:101:101::/var/lib/pacemaker:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"
ALL_GROUPS = "root:x:0:\nhaclient:x:101:\nnogroup:x:65534:\n"


def foreign_tools(architecture):
    """Pacemaker's command-line tools for another CPU."""
    return Recipe(f"tools-{architecture}", "0.2 GB", ("base-files", "pacemaker-cli-utils"), None, ("pacemaker-cli-utils", "libqb100"), architecture)


@dataclass
class Root:
    """A finished root: `path` is the tree, `stock` the stock package's files, `versions` a line on the packages,
    `release` Pacemaker's, if it is in there: (2, 1, 5)."""

    path: Path
    stock: Path
    versions: str
    release: tuple = ()


def cache_directory():
    """Where roots and package lists are kept."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pacelet"


def prepare(suite, say, recipe=CLUSTER):
    """The root of a suite: from the cache, or made now. `say` gets a line on whatever takes long."""
    if not shutil.which("debootstrap"):
        raise Unavailable("debootstrap is missing: install the packages listed in tests/cluster/needs")
    cache = cache_directory()
    (cache / recipe.directory).mkdir(parents=True, exist_ok=True)
    with open(cache / f"{suite}.lock", "w") as lock:
        # A second run waits here while the first one makes the root.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _prepare_locked(cache, suite, say, recipe)


def booted(suite, say):
    """A root with systemd; where there is one with Pacemaker's own suite beside it, that one."""
    return prepare(suite, say, SUITE if suite == SUITE_FROM else BOOTED)


def _prepare_locked(cache, suite, say, recipe):
    try:
        archive = Archive(cache, suite, recipe.architecture)
        archive.refresh()
        versions = archive.versions({*recipe.packages, *filter(None, [recipe.stock])}, recipe.told)
    except Trouble as trouble:
        newest = _newest(cache, suite, recipe)
        if not newest:
            raise Trouble(f"no root of {suite} in {cache}, and none can be made now:\n  {trouble}") from trouble
        say(f"keeping the {suite} root of {time.strftime('%F', time.gmtime(newest.path.stat().st_mtime))}: {trouble}")
        return newest
    lines = "\n".join(f"{package} {version}" for package, version in sorted(versions.items()))
    digest = hashlib.sha256(f"{VERSION}\n{lines}".encode()).hexdigest()[:12]
    place = cache / recipe.directory / f"{suite}-{digest}"
    if not place.is_dir():
        _make(archive, place, lines, say, recipe)
    return _finished(place, recipe)


def _newest(cache, suite, recipe):
    places = [place for place in (cache / recipe.directory).glob(f"{suite}-*") if (place / "versions").is_file()]
    return _finished(max(places, key=lambda place: place.stat().st_mtime), recipe) if places else None


def _finished(place, recipe):
    versions = dict(line.split() for line in (place / "versions").read_text().splitlines())
    told = ", ".join(f"{name} {versions[name]}" for name in recipe.told if name in versions)
    release = versions.get("pacemaker", "").partition("-")[0].partition("~")[0]
    return Root(place / "root", place / "stock", told, tuple(map(int, release.split("."))) if release else ())


def _make(archive, place, lines, say, recipe):
    say(f"making a root of {archive.suite} from {archive.mirror} in {place} (about a minute, {recipe.size})")
    begun = time.monotonic()
    # The root appears under its name only when it is whole; a killed run leaves a `.partial` to be replaced.
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if recipe.architecture:
        _unpack(archive, recipe, partial / "root", partial / "apt.log")
    else:
        _bootstrap(archive, recipe, partial / "root", partial / "debootstrap.log")
    if recipe.stock:
        archive.unpack(recipe.stock, partial / "stock")
    (partial / "versions").write_text(lines + "\n")
    partial.rename(place)
    say(f"root of {archive.suite} made in {time.monotonic() - begun:.0f} s")


def _unpack(archive, recipe, root, log):
    archive.unpack_all(recipe.packages, root, log)
    for name, text in (("passwd", USERS), ("group", ALL_GROUPS)):
        (root / "etc" / name).write_text(text)
    for place in ("dev/shm", "var/log", "var/lib/pacemaker"):
        (root / place).mkdir(parents=True, exist_ok=True)


def _bootstrap(archive, recipe, root, log):
    debs = archive.state / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    first = ["debootstrap", "--foreign", "--variant=minbase", f"--keyring={KEYRING}", f"--cache-dir={debs}",
             f"--include={','.join(recipe.packages)}", archive.suite, str(root), archive.mirror]
    _step(first, log, archive)
    # Between the stages: no package may start a service in the root.
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    # A root that a power cut spoils is made anew: nothing in it is worth waiting for the disk.
    hurry = root / "etc/dpkg/dpkg.cfg.d/hurry"
    hurry.parent.mkdir(exist_ok=True)
    hurry.write_text("force-unsafe-io\n")
    _step(["chroot", str(root), "/debootstrap/debootstrap", "--second-stage"], log, archive)
    for deb in (root / "var/cache/apt/archives").glob("*.deb"):
        deb.unlink()
    hurry.unlink()


def _step(command, log, archive):
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with open(log, "a") as output:
        try:
            # Own namespaces: what debootstrap mounts in the root goes with it.
            done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", *command], stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=subprocess.STDOUT, env=environment, timeout=BOOTSTRAP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Trouble(f"`{' '.join(command)}` was not done within {BOOTSTRAP_LIMIT_SECONDS} s; its log: {log}")
    if done.returncode == 0:
        return
    tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-10:])
    raise Trouble(f"debootstrap of {archive.suite} from {archive.mirror} failed ({done.returncode}); last lines of {log}:\n  {tail}\n"
                  "  Is there space in the cache directory, and is it neither nodev nor noexec? "
                  f"{CACHE_VARIABLE} names another one.")
