"""By which address and network interface this machine reaches another."""

import ipaddress
import os
import socket

LOOPBACK = "127.0.0.1"


def own_address(other: str) -> str:
    """The address that this machine has towards `other`, a name or an address: nothing is sent.

    >>> own_address("127.0.0.1")
    '127.0.0.1'
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(other, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as end:
            end.connect(address)
            return end.getsockname()[0].partition("%")[0]
    except OSError:
        return LOOPBACK


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def interface_of(address: str) -> str | None:
    """The name of the network interface that has this address."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return name
    return None


def use_interface_of(address: str) -> None:
    """Let gloo talk through the interface of `address`, unless the user has named one.

    By itself it takes what this machine's name resolves to: on many that is 127.0.0.1, where nobody else finds it.
    """
    if "GLOO_SOCKET_IFNAME" not in os.environ and not is_loopback(address) and (name := interface_of(address)):
        os.environ["GLOO_SOCKET_IFNAME"] = name
