"""Debian packages that the cluster needs, installed when missing."""

import os
import shutil

from .locking import exclusive
from .paths import cache
from .shell import run
from .steps import step

# program that tells whether the package is there -> package
CLUSTER = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "openssl": "openssl",
}
CONTROL_PLANE = {"openssl": "openssl"}
IMAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "runc": "runc"}


class MissingPackagesError(Exception):
    """Programs are missing and cannot be installed here; the message names what to install."""


def ensure(wanted: dict[str, str]) -> None:
    """Install the missing ones of these packages.

    As root on Debian or Ubuntu by apt; otherwise print what to install.
    """
    missing = sorted({package for program, package in wanted.items() if not _found(program)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingPackagesError(f"please install: {' '.join(missing)}")
    # One at a time: apt refuses a second one instead of waiting for the first.
    with exclusive(cache() / "locks" / "apt"), step(f"apt: installing {' '.join(missing)}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        # RUNLEVEL=1 keeps maintainer scripts from starting a system-wide containerd beside ours.
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
        run("apt-get", "update", "-qq", env=quiet)
        run(*install, env={**quiet, "RUNLEVEL": "1"})


def _found(program: str) -> bool:
    # sbin is not on every user's PATH, and that is no reason to install again.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None
