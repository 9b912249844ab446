"""Root of a machine, in the agent's place: takes its port, halts it, and speaks the link itself (proto/LINK.md).

Its arguments: a file for the result, and JSON: {"places": [[hex of the address, port], ...], "names": [...]}. The result is
what the host answered: {"epoch": ..., "places": [...], "names": [...]}. In the end it breaks the rules of the link, for
which the host gives the machine up.
"""
import binascii
import ctypes
import json
import os
import select
import struct
import sys
import time

RESULT, WANTED = sys.argv[1], json.loads(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT = 0x4206, 0x4207
MAGIC, NETWORK = 0x5059F17E, 4
CALL, MESSAGE, END = 1, 2, 3
FIRST_ID = 0x40000000  # the agent counts from 1


def steal_port():
    """The agent's own open port: nobody else may open it."""
    agent = libc.syscall(434, 1, 0)  # pidfd_open
    for fd in os.listdir("/proc/1/fd"):
        if os.readlink(f"/proc/1/fd/{fd}").startswith("/dev/vport"):
            return libc.syscall(438, agent, int(fd), 0)  # pidfd_getfd
    raise OSError("the agent has no port")


def halt_agent():
    """Stops all its threads, new ones too. They go on when this process ends."""
    halted = set()
    while True:
        threads = {int(name) for name in os.listdir("/proc/1/task")} - halted
        if not threads:
            return
        for thread in threads:
            if libc.ptrace(SEIZE, thread, 0, 0) == 0:
                libc.ptrace(INTERRUPT, thread, 0, 0)
                os.waitpid(thread, 0x40000000)  # __WALL
            halted.add(thread)


def frame(epoch, payload, kind=2, channel=NETWORK, length=None):
    size = len(payload) if length is None else length
    head = struct.pack("!IBBBBII", MAGIC, 1, kind, channel, 0, epoch, size)
    return head + struct.pack("!I", binascii.crc32(head)) + payload


class Port:
    def __init__(self, fd):
        self.fd, self.rest, self.epoch = fd, b"", 0

    def write(self, data):
        view = memoryview(data)
        while view:
            select.select([], [self.fd], [])
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                pass

    def packets(self, seconds):
        """What the host sends on the network channel within that time; answers its greetings, and learns the epoch."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                return
            try:
                self.rest += os.read(self.fd, 1 << 16)
            except BlockingIOError:
                continue
            while (at := self.rest.find(struct.pack("!I", MAGIC))) >= 0 and len(self.rest) >= at + 20:
                head = self.rest[at : at + 20]
                _, _, kind, channel, _, epoch, length = struct.unpack("!IBBBBII", head[:16])
                if binascii.crc32(head[:16]) != struct.unpack("!I", head[16:])[0]:
                    self.rest = self.rest[at + 1 :]
                    continue
                if len(self.rest) < at + 20 + length:
                    break
                payload, self.rest = self.rest[at + 20 : at + 20 + length], self.rest[at + 20 + length :]
                self.epoch = epoch
                if kind == 1:
                    self.write(frame(epoch, b"", kind=1, channel=0))
                elif channel == NETWORK:
                    yield payload


def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def call(call_id, method, message):
    name = f"pyro.guest.v1.GatewayService/{method}".encode()
    return struct.pack("!BBHI", CALL, 4, len(name), call_id) + struct.pack("!I", 0) + name + message


def answers(port, calls):
    """Makes the calls, and gives what each was answered with first."""
    found = {}
    for call_id, packet in calls.items():
        port.write(frame(port.epoch, packet))
    for payload in port.packets(8):
        kind, _, _, call_id = struct.unpack("!BBHI", payload[:8])
        if kind in (MESSAGE, END) and call_id in calls:
            found.setdefault(call_id, (kind, payload[8:]))
        if len(found) == len(calls):
            break
    return [found.get(call_id, (0, b"")) for call_id in calls]


def connect_answer(answer):
    kind, message = answer
    if kind != MESSAGE or not message:
        return "no answer" if kind == 0 else "ended"
    part = message[0] >> 3
    if part == 1:
        return "opened"
    # Because (a varint), then the message.
    return message.partition(b"\x12")[2][1:].decode("utf-8", "replace") if part == 4 else f"part {part}"


def name_answer(answer):
    kind, message = answer
    if kind != MESSAGE:
        return "no answer" if kind == 0 else "ended"
    return "addresses" if message[:1] == b"\x0a" else message.hex()


def garbage(port):
    """What an honest agent never sends; the last of it breaks a rule of calls."""
    port.write(os.urandom(200_000))
    port.write(frame(port.epoch ^ 1, b"of another epoch"))
    port.write(frame(port.epoch, b"", channel=200))
    port.write(frame(port.epoch, b"", length=0xFFFFFFFF))
    port.write(frame(port.epoch, struct.pack("!BBHI", CALL, 4, 0xFFFF, 1) + b"cut"))
    port.write(frame(port.epoch, struct.pack("!BBHI", 9, 0, 0, 1)))


def forge():
    port = Port(steal_port())
    halt_agent()
    deadline = time.monotonic() + 60
    while port.epoch == 0 and time.monotonic() < deadline:
        for _ in port.packets(0.5):
            pass
    places = {
        FIRST_ID + at: call(FIRST_ID + at, "Connect", field(1, field(1, bytes.fromhex(address)) + field(2, to)))
        for at, (address, to) in enumerate(WANTED["places"])
    }
    names = {
        2 * FIRST_ID + at: call(2 * FIRST_ID + at, "Resolve", field(1, name.encode()) + field(2, family))
        for at, (name, family) in enumerate((name, family) for name in WANTED["names"] for family in (1, 2))
    }
    result = {
        "epoch": port.epoch,
        "places": [connect_answer(answer) for answer in answers(port, places)],
        "names": [name_answer(answer) for answer in answers(port, names)],
    }
    with open(RESULT, "w", encoding="ascii") as file:
        json.dump(result, file)
    os.sync()
    garbage(port)


forge()
