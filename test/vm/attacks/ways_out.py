"""Root of a machine, looking for a way out past the gateway.

Prints one JSON line per attempt: what was tried, and how it ended. Its argument is JSON: {"addresses": {"4": [...],
"6": [...]}, "names": [...], "ports": [...], "udp": PORT}. The last line lists the network devices that there are.
"""
import ctypes
import errno
import ipaddress
import json
import os
import socket
import struct
import sys

targets = json.loads(sys.argv[1])
PORTS, UDP = targets["ports"], targets["udp"]
IPV4 = [ipaddress.IPv4Address(text) for text in targets["addresses"]["4"]]
IPV6 = [ipaddress.IPv6Address(text) for text in targets["addresses"]["6"]]
AGENT_MARK = 0x7079726F  # on packets that the agent sends itself (guest/internal/network/steer.go)
libc = ctypes.CDLL(None, use_errno=True)


def attempt(what, act, *args):
    try:
        outcome = act(*args) or "done"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    print(json.dumps([what, outcome]), flush=True)


# ---------------------------------------------------------------- by the ways that programs use


def connect(host, port):
    with socket.create_connection((host, port), 5) as made:
        made.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return "connected"


def spellings4(address):
    """The same IPv4 address, as inet_aton and IPv6 may have it written."""
    a, b, c, d = address.packed
    number, wide = int(address), f"{a:02x}{b:02x}:{c:02x}{d:02x}"
    inverted = struct.unpack("!HH", bytes(255 - byte for byte in address.packed))
    yield str(address)
    yield from (str(number), hex(number), f"{a}.{(b << 16) | (c << 8) | d}", f"{a}.{b}.{(c << 8) | d}")
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"
    yield from (f"::ffff:{address}", f"::{address}", f"::ffff:0:{address}")  # mapped, compatible, translated
    yield from (f"64:ff9b::{wide}", f"64:ff9b:1::{wide}", f"2002:{wide}::1")  # NAT64, its local block, 6to4
    yield f"2001:0:{wide}:0:0:{inverted[0]:x}:{inverted[1]:x}"  # Teredo, as server and as client
    yield f"2001:67c::200:5efe:{wide}"  # ISATAP


def spellings():
    for address in IPV4:
        yield from spellings4(address)
    for address in IPV6:
        yield from (str(address), address.exploded, f"{address}%lo")
    yield from ("0", "0.0.0.0", "127.1", "127.255.255.254", "::", "localhost", "host.pyro.internal", "10.0.2.2")
    yield from ("169.254.169.254", "fd00:ec2::254", "fe80::1%lo", "255.255.255.255", "ff02::1%lo")
    yield from targets["names"]


def connect_everywhere(how):
    for address in [*IPV4, *IPV6]:
        for port in PORTS:
            attempt(f"{how}: connect to {address} port {port}", connect, str(address), port)


def datagram(address, port, *options):
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        for option in options:
            made.setsockopt(*option)
        made.settimeout(0.05)
        made.sendto(b"attack", (str(address), port))
        try:
            made.recv(1)
        except TimeoutError:
            return "sent, no answer"
        return "answered"


def query(server, name):
    """Asks some server for a name, over UDP and TCP."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
    with socket.create_connection((server, 53), 5) as made:
        made.settimeout(5)
        made.sendall(struct.pack("!H", len(message)) + message)
        answer = made.recv(512)
        return "no answer" if len(answer) < 6 else f"code {answer[5] & 15}, {answer[9]} addresses"


# ---------------------------------------------------------------- by packets of its own making


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def transport(protocol, source, to, port):
    """A SYN, a datagram or an echo request, with its checksum."""
    if protocol == socket.IPPROTO_TCP:
        segment, at = struct.pack("!HHIIBBHHH", 4321, port, 99, 0, 0x50, 2, 64240, 0, 0), 16
    elif protocol == socket.IPPROTO_UDP:
        segment, at = struct.pack("!HHHH", 4321, port, 14, 0) + b"attack", 6
    else:
        segment, at = struct.pack("!BBHHH", 128 if to.version == 6 else 8, 0, 0, 7, 7) + b"attack", 2
    pseudo = source.packed + to.packed + struct.pack("!II", len(segment), protocol)
    if protocol == socket.IPPROTO_ICMP:
        pseudo = b""
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def packet4(protocol, source, to, port):
    body = transport(protocol, source, to, port)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, source.packed, to.packed)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def packet6(protocol, source, to, port, extension):
    """With the extension headers of RFC 8200: a chain that a filter might not walk."""
    body = transport(protocol, source, to, port)
    padding = b"\x01\x04\0\0\0\0"
    segments = to.packed
    kinds = {
        "none": [],
        "hop-by-hop": [(0, padding)],
        "destination": [(60, padding)] * 3,
        "routing 0": [(43, struct.pack("!BBI", 0, 1, 0) + segments)],
        "routing 2": [(43, struct.pack("!BBI", 2, 1, 0) + segments)],
        "segment routing": [(43, struct.pack("!BBBBH", 4, 1, 0, 0, 0) + segments)],
        "fragment": [(44, struct.pack("!HI", 0, 7))],
    }[extension]
    for kind, content in reversed(kinds):
        length = 0 if kind == 44 else (len(content) + 2) // 8 - 1
        body, protocol = struct.pack("!BB", protocol, length) + content + body, kind
    first = IPV6[0] if "routing" in extension else to
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source.packed + first.packed + body


EXTENSIONS = ["none", "hop-by-hop", "destination", "routing 0", "routing 2", "segment routing", "fragment"]
SOURCES = {4: [ipaddress.ip_address("10.0.2.15"), ipaddress.ip_address("127.0.0.1")],
           6: [ipaddress.ip_address("fd70:7972:6f00::15"), ipaddress.ip_address("::1")]}


def packets():
    for to in [*IPV4, *IPV6]:
        icmp = socket.IPPROTO_ICMP if to.version == 4 else socket.IPPROTO_ICMPV6
        for protocol, port in ((socket.IPPROTO_TCP, PORTS[0]), (socket.IPPROTO_UDP, UDP), (icmp, 0)):
            # One's own address, the loopback's, and the very address that is attacked.
            for source in [*SOURCES[to.version], to]:
                what = f"protocol {protocol} from {source} to {to}"
                if to.version == 4:
                    yield what, to, packet4(protocol, source, to, port)
                    continue
                for extension in EXTENSIONS:
                    yield f"{what} with {extension}", to, packet6(protocol, source, to, port, extension)


def send_raw(to, packet, mark):
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as made:
        made.setsockopt(socket.SOL_SOCKET, 36, mark)  # SO_MARK
        made.sendto(packet, (str(to), 0))
        return "sent"


def send_frame(to, packet):
    """On the wire of lo itself, past routes and rules."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as made:
        made.bind(("lo", 0))
        made.send(b"\0" * 12 + (b"\x08\x00" if to.version == 4 else b"\x86\xdd") + packet)
        return "sent"


def send_packets(how):
    for what, to, packet in packets():
        attempt(f"{how}: {what}", send_raw, to, packet, 0)
        attempt(f"{how}: {what}, marked as the agent's", send_raw, to, packet, AGENT_MARK)
        attempt(f"{how}: {what}, as a frame", send_frame, to, packet)


# ---------------------------------------------------------------- by ways of its own making

NEW_LINK, NEW_ADDRESS, NEW_ROUTE, DELETE_RULE = 16, 20, 24, 33


def attribute(kind, value):
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def netlink(kind, body):
    """One request of rtnetlink(7): CREATE and REPLACE, acknowledged."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as made:
        made.send(struct.pack("=IHHII", 16 + len(body), kind, 0x0505, 1, 0) + body)
        failure = -struct.unpack("=i", made.recv(4096)[16:20])[0]
        if failure != 0:
            raise OSError(failure, os.strerror(failure))


def add_link(kind, name):
    info = attribute(18, attribute(1, kind.encode()))
    netlink(NEW_LINK, struct.pack("=BxHiII", 0, 0, 0, 1, 1) + attribute(3, name.encode() + b"\0") + info)
    return "made"


def add_addresses(device):
    index = socket.if_nametoindex(device)
    for own in ("192.0.2.66/24", "2001:db8::66/64"):
        address = ipaddress.ip_interface(own)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBI", family, address.network.prefixlen, 0, 0, index)
        netlink(NEW_ADDRESS, body + attribute(2, address.packed) + attribute(1, address.packed))


def add_routes(device):
    """To each target by this device, in the main table and in the one that is asked first."""
    index = socket.if_nametoindex(device)
    for to in [*IPV4, *IPV6]:
        family = socket.AF_INET if to.version == 4 else socket.AF_INET6
        for table in (254, 255):
            body = struct.pack("=BBBBBBBBI", family, to.max_prefixlen, 0, 0, table, 4, 0, 1, 0)
            netlink(NEW_ROUTE, body + attribute(1, to.packed) + attribute(4, struct.pack("=i", index)))


def delete_rules():
    for family in (socket.AF_INET, socket.AF_INET6):
        for priority in (0, 1000, 1001, 32766):
            body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 1, 0)
            netlink(DELETE_RULE, body + attribute(6, struct.pack("=I", priority)))


def open_tun():
    import fcntl

    if not os.path.exists("/dev/net/tun"):
        os.makedirs("/dev/net", exist_ok=True)
        os.mknod("/dev/net/tun", 0o20600, os.makedev(10, 200))
    made = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(made, 0x400454CA, struct.pack("16sH22x", b"tunnel", 1))


def switch_on(setting):
    with open(f"/proc/sys/net/ipv4/{setting}", "w", encoding="ascii") as file:
        file.write("1")


def in_a_namespace():
    """A network of its own, without the agent."""
    child = os.fork()
    if child == 0:
        if libc.unshare(0x40000000) == 0:
            for address in [*IPV4, *IPV6]:
                attempt(f"in a namespace: connect to {address}", connect, str(address), PORTS[0])
                attempt(f"in a namespace: datagram to {address}", datagram, address, UDP)
        os._exit(0)
    os.waitpid(child, 0)


# ---------------------------------------------------------------- against the agent


def own_listener():
    """The port to which the agent has connections led."""
    for path in ("/proc/net/tcp6", "/proc/net/tcp"):
        for line in open(path, encoding="ascii").readlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                yield int(fields[1].rsplit(":", 1)[1], 16)


def bpf(command, *words):
    attributes = ctypes.create_string_buffer(struct.pack(f"={len(words)}I", *words), 128)
    result = libc.syscall(321, command, attributes, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, struct.unpack("=II", attributes.raw[:8])


def detach_programs():
    """Takes the agent's programs off: connections are steered no more."""
    before, count = 0, 0
    while True:
        try:
            before = bpf(31, before)[1][1]  # BPF_LINK_GET_NEXT_ID
        except FileNotFoundError:
            return f"{count} detached"
        link = bpf(30, before)[0]  # BPF_LINK_GET_FD_BY_ID
        try:
            bpf(34, link)  # BPF_LINK_DETACH
            count += 1
        finally:
            os.close(link)


def vsock(context):
    with socket.socket(40, socket.SOCK_STREAM) as made:
        made.settimeout(2)
        made.connect((context, PORTS[0]))
        return "connected"


def everything(how):
    connect_everywhere(how)
    for address in [*IPV4, *IPV6]:
        attempt(f"{how}: datagram to {address}", datagram, address, UDP)
        attempt(f"{how}: marked datagram to {address}", datagram, address, UDP, (socket.SOL_SOCKET, 36, AGENT_MARK))
        attempt(f"{how}: transparent datagram to {address}", datagram, address, UDP, (socket.SOL_IP, 19, 1))
        attempt(f"{how}: name server {address}", query, str(address), "example.org")


for host in spellings():
    attempt(f"untouched: connect to {host}", connect, host, PORTS[0])
everything("untouched")
send_packets("untouched")
for name in targets["names"]:
    attempt(f"untouched: ask for {name}", query, "10.0.2.3", name)
for port in own_listener():
    for host in ("127.0.0.1", "::1", "10.0.2.15", "fd70:7972:6f00::15"):
        attempt(f"the agent's own listener {host} port {port}", connect, host, port)
for context in (0, 1, 2, 3):
    attempt(f"vsock {context}", vsock, context)
for kind in ("dummy", "veth", "bridge", "ipip", "sit", "gre", "vxlan", "wireguard"):
    attempt(f"make a {kind}", add_link, kind, f"out-{kind}")
attempt("make a tun", open_tun)
for setting in ("ip_forward", "conf/all/route_localnet", "conf/all/accept_local", "conf/all/proxy_arp"):
    attempt(setting, switch_on, setting)
for device in os.listdir("/sys/class/net"):
    if device == "lo" or device.startswith("out-"):
        attempt(f"addresses on {device}", add_addresses, device)
        attempt(f"routes by {device}", add_routes, device)
        everything(f"by {device}")
send_packets("with routes of its own")
attempt("delete the rules", delete_rules)
everything("without rules")
send_packets("without rules")
attempt("take the agent's programs off", detach_programs)
everything("without programs")
in_a_namespace()
attempt("kill the agent", os.kill, 1, 9)
attempt("stop the agent", os.kill, 1, 19)
print(json.dumps(sorted(os.listdir("/sys/class/net"))))
