"""Take the network away from this process for good. The pod's other containers have it, and share it with this one.

A seccomp filter needs no privilege, no network plugin and no kernel option that a container runtime does not need
itself.
"""

import ctypes
import platform
import struct
from dataclasses import dataclass

from onnxmodel_runtime.sandbox.progress import log

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # classic BPF: ld [k], jeq #k, jge #k, ret #k
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_LOCAL_FAMILIES = (1, 16)  # AF_UNIX and AF_NETLINK, which GPU drivers use: neither leaves the machine


@dataclass(frozen=True)
class _Machine:
    audit: int
    socket: int
    io_uring_setup: int = 425  # makes sockets without the system call of that name
    other_calls: int = 0xFFFFFFFF  # numbers from here on are another calling convention (x32)


_MACHINES = {
    "x86_64": _Machine(audit=0xC000003E, socket=41, other_calls=0x40000000),
    "aarch64": _Machine(audit=0xC00000B7, socket=198),
}


def without_network() -> bool:
    """From now on this process and its children can open local sockets only: others fail with EPERM.

    Returns False, and says so in the log, where that cannot be done. Call it while there is one thread: a filter is a
    thread's, and new threads inherit it.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        log(f"the network stays available: no filter is known for {platform.machine()}")
        return False
    program = _program(machine)
    instructions = ctypes.create_string_buffer(b"".join(program), len(program) * 8)
    filtered = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filtered):
        log(f"the network stays available: seccomp is refused with errno {ctypes.get_errno()}")
        return False
    return True


def _program(machine: _Machine) -> list[bytes]:
    # Jumps count the instructions that are skipped; the last two are "refuse" and "allow".
    body = [
        (_LOAD, _ARCHITECTURE, None),
        (_EQUAL, machine.audit, ("next", "refuse")),  # a 32-bit call would have other numbers
        (_LOAD, _NUMBER, None),
        (_AT_LEAST, machine.other_calls, ("refuse", "next")),
        (_EQUAL, machine.io_uring_setup, ("refuse", "next")),
        (_EQUAL, machine.socket, ("next", "allow")),
        (_LOAD, _FIRST_ARGUMENT, None),
        *((_EQUAL, family, ("allow", "next")) for family in _LOCAL_FAMILIES),
        (_RETURN, _REFUSE, None),
        (_RETURN, _ALLOW, None),
    ]
    targets = {"refuse": len(body) - 2, "allow": len(body) - 1}
    return [
        struct.pack("HBBI", code, *(targets.get(to, index + 1) - index - 1 for to in jumps or ("next", "next")), value)
        for index, (code, value, jumps) in enumerate(body)
    ]
