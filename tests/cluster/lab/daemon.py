"""The daemon under test, as a layer that is laid over a remote's root: pacelet or the stock one."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .rundir import CHECKOUT
from .trouble import Trouble, Unavailable

PLACE = "usr/sbin/pacemaker-remoted"
TARGET = "x86_64-unknown-linux-musl"
BINARY_VARIABLE = "PACELET_BINARY"
BUILD_LIMIT_SECONDS = 1800
KINDS = ("pacelet", "stock")


@dataclass
class Daemon:
    """A remote daemon: its kind and the directory tree that holds it at `usr/sbin/pacemaker-remoted`."""

    kind: str
    layer: Path

    @property
    def file(self):
        """The executable, on the host."""
        return self.layer / PLACE


def stock(directory, root):
    """Debian's daemon, from the package that belongs to the root; copied to a layer in `directory`."""
    layer = directory / "stock"
    # Not what the package has in /lib: laid over the root's link of that name, it would hide the root's libraries.
    shutil.copytree(root.stock / "usr", layer / "usr", symlinks=True)
    return Daemon("stock", layer)


def pacelet(directory, binary, say, update_keys_after=None):
    """pacelet, from `binary`, else $PACELET_BINARY, else built now; copied to a layer in `directory`.

    With `update_keys_after` a trial is built, whose TLS takes new keys after so many records."""
    binary = binary or os.environ.get(BINARY_VARIABLE)
    if update_keys_after:
        binary = build("--lean", say, ["--features", "trial"], {
            "PACELET_UPDATE_AFTER": str(update_keys_after), "CARGO_TARGET_DIR": "target/trial",
            # What a trial does not compile without.
            "CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS": "true", "CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"})
    layer = directory / "pacelet"
    place = layer / PLACE
    place.parent.mkdir(parents=True)
    if binary:
        if not Path(binary).is_file():
            raise Trouble(f"{binary} is not a file: --pacelet and {BINARY_VARIABLE} want pacelet's static executable")
        shutil.copyfile(binary, place)
    else:
        shutil.copyfile(build("--lean", say), place)
    place.chmod(0o755)
    return Daemon("pacelet", layer)


def build(mode, say, more=(), environment=()):
    """Builds pacelet with cross/build (`--lean` or `--tiny`), which does nothing when nothing changed."""
    say(f"building pacelet {mode} for {TARGET}")
    command = [str(CHECKOUT / "cross/build"), TARGET, mode, *more]
    if not shutil.which("cargo"):
        raise Unavailable(f"no cargo to build pacelet with; {BINARY_VARIABLE} names a binary that is there")
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_LIMIT_SECONDS, cwd=CHECKOUT,
                          env=dict(os.environ, **dict(environment)))
    if done.returncode == 3:
        raise Unavailable(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise Trouble(f"`{' '.join(command)}` failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return CHECKOUT / done.stdout.strip().splitlines()[-1].rpartition(" ")[0]
