"""Debian packages of any suite, by way of the mirror that this machine's own apt uses.

A private apt state, kept in the cache directory, knows the package lists of one suite; the machine's apt
is only asked for the mirror's address and is never changed.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from .trouble import Trouble, Unavailable

MIRROR_VARIABLE = "PACELET_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_FRESH_SECONDS = 24 * 3600
TARGETS_LIMIT_SECONDS = 60
UNPACK_LIMIT_SECONDS = 300
UPDATE_LIMIT_SECONDS = 300
DOWNLOAD_LIMIT_SECONDS = 300


def mirror():
    """Address of the Debian mirror: the environment's, else the one apt has its Debian archive from."""
    if os.environ.get(MIRROR_VARIABLE):
        return os.environ[MIRROR_VARIABLE]
    if not shutil.which("apt-get"):
        raise Unavailable("no apt-get on this machine: the lab's nodes are made of Debian packages")
    found = _mirror_of_index_targets() or _mirror_of_sources()
    if found:
        return found
    raise Unavailable(
        "the machine's apt configuration names no Debian archive (asked `apt-get indextargets`, then read "
        f"/etc/apt/sources.list*); set {MIRROR_VARIABLE} to the address of a Debian mirror"
    )


def _mirror_of_index_targets():
    command = ["apt-get", "indextargets", "--format", "$(IDENTIFIER)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=TARGETS_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    for line in listing.stdout.splitlines():
        identifier, origin, label, component, address = line.split("|", 4)
        if (identifier, origin, label, component) == ("Packages", "Debian", "Debian", "main"):
            return address.rstrip("/")
    return None


def _mirror_of_sources():
    """Before the first `apt-get update` apt knows no origins: take the first archive with a component
    `main` that is signed by Debian's keyring or by none in particular."""
    candidates = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for path in candidates:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        entries = _deb822(text) if path.suffix == ".sources" else _one_line(text)
        for address, components, signed_by in entries:
            foreign_key = signed_by and "debian-archive" not in signed_by
            if "main" in components and not foreign_key and "security" not in address:
                return address.rstrip("/")
    return None


def _one_line(text):
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words or words[0] != "deb":
            continue
        options = ""
        if words[1].startswith("["):
            end = next((i for i, word in enumerate(words) if word.endswith("]")), 0)
            options, words = " ".join(words[1:end + 1]), [words[0], *words[end + 1:]]
        signed_by = options.partition("signed-by=")[2].rstrip("]").split(" ")[0]
        if len(words) >= 4:
            yield words[1], words[3:], signed_by


def _deb822(text):
    for stanza in text.split("\n\n"):
        fields = {}
        for line in stanza.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t", "#")):
                fields[name.strip().lower()] = value.strip()
        for address in fields.get("uris", "").split():
            yield address, fields.get("components", "").split(), fields.get("signed-by", "")


class Archive:
    """The package lists of one suite in a private apt state."""

    def __init__(self, cache, suite, architecture=None):
        """`architecture`: Debian's name of another than this machine's."""
        self.suite = suite
        self.architecture = architecture
        self.mirror = mirror()
        self.state = cache / "apt" / "-".join(filter(None, [suite, architecture]))

    def refresh(self):
        """Fetches the package lists unless they are of today and of the same mirror."""
        stamp = self.state / "fresh"
        source = self._source_line()
        if stamp.is_file() and stamp.read_text() == source:
            if 0 <= time.time() - stamp.stat().st_mtime < LISTS_FRESH_SECONDS:
                return
        if not KEYRING.is_file():
            raise Unavailable(f"{KEYRING} is missing: install the package debian-archive-keyring")
        for directory in ("lists/partial", "cache/archives/partial"):
            (self.state / directory).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        (self.state / "sources.list").write_text(source)
        self._apt(["apt-get", "update"], UPDATE_LIMIT_SECONDS)
        stamp.write_text(source)

    def versions(self, packages, welcome=()):
        """Candidate version of each package; those that are only `welcome` may be missing."""
        # apt-cache says `package | version | where`, one line a version, newest first.
        listing = self._apt(["apt-cache", "madison", *sorted({*packages, *welcome})], 60)
        found = {}
        for line in listing.splitlines():
            fields = [field.strip() for field in line.split("|")]
            if len(fields) >= 2:
                found.setdefault(fields[0], fields[1])
        missing = sorted(package for package in packages if package not in found)
        if missing:
            raise Trouble(f"{self.suite} of {self.mirror} has no package {', '.join(missing)}")
        return found

    def dependencies(self, package):
        """The names of the packages that a package needs."""
        listing = self._apt(["apt-cache", "depends", "--important", package], 60)
        return [line.split(":", 1)[1].strip() for line in listing.splitlines() if line.strip().startswith("Depends:")]

    def unpack(self, package, directory):
        """Downloads one package and unpacks its files, without installing it."""
        directory.mkdir(parents=True)
        self._apt(["apt-get", "download", package], DOWNLOAD_LIMIT_SECONDS, cwd=directory)
        for deb in directory.glob("*.deb"):
            _run(["dpkg-deb", "--extract", deb.name, "."], 60, cwd=directory)
            deb.unlink()

    def unpack_all(self, packages, directory, log):
        """Downloads packages with all they depend on and unpacks their files, without installing them."""
        archives = directory.with_name("archives")
        (archives / "partial").mkdir(parents=True)
        words = ["apt-get", "-o", f"Dir::Cache::archives={archives}", "--yes", "--no-install-recommends", "--download-only", "install", *packages]
        log.write_text(self._apt(words, DOWNLOAD_LIMIT_SECONDS))
        directory.mkdir()
        for deb in sorted(archives.glob("*.deb")):
            _extract(deb, directory)
        shutil.rmtree(archives)

    def _source_line(self):
        return f"deb [signed-by={KEYRING}] {self.mirror} {self.suite} main\n"

    def _apt(self, command, limit, cwd=None):
        state = self.state
        options = {
            "Dir::State": state, "Dir::State::lists": state / "lists", "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache", "Dir::Etc::sourcelist": state / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null", "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null", "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "APT::Sandbox::User": "root", "APT::Update::Error-Mode": "any",
        }
        if self.architecture:
            options |= {"APT::Architecture": self.architecture, "APT::Architectures::": self.architecture}
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return _run([command[0], *flags, *command[1:]], limit, cwd=cwd)


def _extract(deb, directory):
    """Unpacks a package over others; a link to a directory, as /lib is one, stays."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as files:
        done = subprocess.run(["tar", "--extract", "--keep-directory-symlink", "--directory", str(directory)], stdin=files.stdout,
                              capture_output=True, text=True, timeout=UNPACK_LIMIT_SECONDS)
    if done.returncode or files.returncode:
        raise Trouble(f"cannot unpack {deb}: {done.stderr.strip()}")


def _run(command, limit, cwd=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise Trouble(f"`{command[0]}` gave no answer within {limit} s: {' '.join(map(str, command))}")
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise Trouble(f"`{' '.join(map(str, command))}` failed ({done.returncode}):\n  " + "\n  ".join(last)
                      + f"\n  (is the mirror reachable? {MIRROR_VARIABLE} names another one)")
    return done.stdout
