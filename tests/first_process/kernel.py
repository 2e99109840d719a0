"""A kernel of Debian's for virtual machines, kept in the cache directory."""

import fcntl
import shutil
from pathlib import Path

from lab.apt import Archive
from lab.roots import cache_directory
from lab.trouble import Trouble

SUITE = "bookworm"
# It depends on the newest kernel's package, which has the release in its name.
PACKAGE = "linux-image-cloud-amd64"
# In the order in which they need each other.
NETWORK_MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover",
                   "net_failover", "virtio_net")


class Kernel:
    """`image` is what qemu boots, `modules` are the files of its network driver, `release` is its name."""

    def __init__(self, directory):
        self.image = next(directory.glob("boot/vmlinuz-*"))
        self.release = self.image.name.removeprefix("vmlinuz-")
        self.modules = [next(directory.glob(f"lib/modules/*/kernel/**/{name}.ko")) for name in NETWORK_MODULES]


def prepare(say):
    """The kernel: from the cache, or fetched now."""
    cache = cache_directory()
    (cache / "kernels").mkdir(parents=True, exist_ok=True)
    with open(cache / f"{SUITE}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            archive = Archive(cache, SUITE)
            archive.refresh()
            package = next(name for name in archive.dependencies(PACKAGE) if name.startswith("linux-image-"))
        except (Trouble, StopIteration) as trouble:
            kept = sorted((cache / "kernels").glob("linux-image-*"), key=lambda place: place.stat().st_mtime)
            if not kept:
                raise Trouble(f"no kernel in {cache}, and none can be fetched now: {trouble}") from trouble
            return Kernel(kept[-1])
        place = cache / "kernels" / package
        if not place.is_dir():
            say(f"fetching {package}")
            partial = place.with_name(f".{package}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            archive.unpack(package, partial)
            partial.rename(place)
        return Kernel(Path(place))
