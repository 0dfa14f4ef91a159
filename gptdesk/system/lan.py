"""Addresses of this computer in its local networks, found without asking anybody."""

import ipaddress
import socket

import psutil

# beginnings of names of interfaces that lead to virtual machines, containers and tunnels: no pupil is there
VIRTUAL = (
    "br-",
    "docker",
    "tailscale",
    "tap",
    "tun",
    "utun",
    "vboxnet",
    "veth",
    "vethernet",
    "virbr",
    "vmnet",
    "wg",
    "zt",
)
ELSEWHERE = ("203.0.113.1", 9)  # an address of no computer (RFC 5737)


def lan_addresses() -> list[str]:
    """Return the IPv4 addresses by which others in the network reach this computer, the most likely first."""
    states, routed = psutil.net_if_stats(), _routed_address()
    found: list[tuple[tuple[bool, bool, bool], str]] = []
    for name, addresses in psutil.net_if_addrs().items():
        if name not in states or not states[name].isup:
            continue
        for one in addresses:
            if one.family != socket.AF_INET:
                continue
            address = ipaddress.IPv4Address(one.address)
            if not address.is_loopback and not address.is_unspecified:
                rank = (address.is_link_local, name.lower().startswith(VIRTUAL), one.address != routed)
                found.append((rank, one.address))
    return list(dict.fromkeys(address for _, address in sorted(found, key=lambda pair: pair[0])))


def _routed_address() -> str | None:
    """Return the address from which this computer would write to others; None without a route to them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
        try:
            visitor.connect(ELSEWHERE)  # which sends nothing
            return str(visitor.getsockname()[0])
        except OSError:
            return None
