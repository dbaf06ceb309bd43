"""What a client may name as a destination: reads its URL, and judges the addresses that it leads
to. Public addresses are allowed, and networks that the operator lists in ATELIER_EGRESS_ALLOW.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from shared.errors import EgressBlocked
from shared.settings import settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2_048

_REMEDY = "; the operator can allow its network with ATELIER_EGRESS_ALLOW"

_USER_INFO = re.compile(r"[^/?#]*//[^/?#]*@")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_LOCAL_NAME = re.compile(r"(.+\.)?localhost|.+\.(internal|local)")

_GLOBAL_UNICAST = ip_network("2000::/3")
_TRANSLATED = (ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"))
"""IPv4 addresses written as IPv6 ones, for this machine and for a NAT64: the last four bytes."""

# Beside what `is_global` knows, which differs between releases of Python.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # the platform's own service on every machine in Azure
        "192.0.0.0/24",  # protocols' own; a cloud's metadata service is among them
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocols' own; Teredo, whose packets end at an IPv4 address, among them
        "2002::/16",  # 6to4, likewise
        "3fff::/20",  # documentation
    )
)


def parse(url: str) -> httpx.URL:
    """The one reading of a URL: whoever calls it uses these parts and never reads it again.

    Raises EgressBlocked where it can never be called. Asks no DNS.
    """
    if len(url) > LONGEST_URL:
        raise EgressBlocked(f"The URL is longer than {LONGEST_URL:,} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise EgressBlocked(
            "The URL has a space, a backslash or a control character; percent-encode it."
        )
    if "#" in url:
        raise EgressBlocked("The URL has a fragment (#…), which is never sent; leave it out.")
    if _USER_INFO.match(url):
        raise EgressBlocked("The URL has a user name or password; leave them out.")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise EgressBlocked(f"This is not a URL: {error}.") from None
    if parsed.scheme not in {"https", "http"} or not parsed.raw_host:
        raise EgressBlocked("Write a whole URL, such as https://hooks.example.com/atelier.")
    if parsed.port is not None and not 1 <= parsed.port <= 65_535:
        raise EgressBlocked("The port is not between 1 and 65535.")
    _check_host(parsed)
    return parsed


def host_of(url: httpx.URL) -> str:
    """The host as it is asked for and shown: in ASCII, an IPv6 address without brackets."""
    return url.raw_host.decode("ascii")


def check_address(address: Address, url: httpx.URL) -> None:
    """Raises EgressBlocked if the URL must not be called at this address.

    The message names the host alone: what lies behind a name is not for every client to learn.
    """
    called = _end_of(address)
    if any(called in network for network in _allowed()):
        return
    if not _is_public(called):
        raise EgressBlocked(f"{host_of(url)} is not, or not only, a public address{_REMEDY}.")
    if url.scheme == "http":
        raise EgressBlocked(f"{host_of(url)} may be called with https only{_REMEDY}.")


def _check_host(url: httpx.URL) -> None:
    host = host_of(url)
    address = _literal(host)
    if address is not None:
        check_address(address, url)
        return
    if not _NAME.fullmatch(host):
        raise EgressBlocked(f"{host!r} is not a host; write a name such as hooks.example.com.")
    if _allowed():
        return  # the name may lead there: that is seen when it is called
    if _LOCAL_NAME.fullmatch(host):
        raise EgressBlocked(f"{host} is a name of a private network{_REMEDY}.")
    if url.scheme == "http":
        raise EgressBlocked(f"{host} may be called with https only{_REMEDY}.")


def _literal(host: str) -> Address | None:
    """The address that the host is, or None if it is a name."""
    try:
        address = ip_address(host)
    except ValueError:
        # 2130706433, 017700000001, 0x7f.1 and 127.1 are all 127.0.0.1 to a resolver.
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise EgressBlocked(
                f"{host!r} ends in a number and is no address; write four decimal numbers."
            ) from None
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise EgressBlocked("The address names an interface of this machine (%…); leave it out.")
    return address


def _allowed() -> list[Network]:
    return [ip_network(each) for each in settings().egress_allow]


def _end_of(address: Address) -> Address:
    """Where a packet to this address arrives."""
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(address.packed[-4:])
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _NOT_PUBLIC)
    )
