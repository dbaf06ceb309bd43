"""Destinations: which URLs and addresses a client may name, with and without allowed networks."""

from ipaddress import ip_address

import httpx
import pytest

from shared.destinations import check_address
from shared.egress import check_url
from shared.errors import EgressBlocked, Invalid, Permanent
from shared.settings import settings
from tests.shared.conftest import Allow

pytestmark = pytest.mark.usefixtures("allow")

NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "loopback's end": "127.255.255.254",
    "private 10": "10.1.2.3",
    "private 172": "172.31.255.255",
    "private 192": "192.168.0.1",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "metadata of Oracle": "192.0.0.192",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Azure": "168.63.129.16",
    "carrier's": "100.64.0.1",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "multicast": "224.0.0.1",
    "multicast in the middle": "232.1.1.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "benchmarks": "198.18.0.1",
    "documentation": "203.0.113.1",
    "loopback 6": "::1",
    "unspecified 6": "::",
    "unique local": "fc00::1",
    "metadata 6": "fd00:ec2::254",
    "link-local 6": "fe80::1",
    "site-local": "fec0::1",
    "multicast 6": "ff02::1",
    "documentation 6": "2001:db8::1",
    "newer documentation 6": "3fff::1",
    "discard": "100::1",
    "unassigned": "4000::1",
    "mapped": "::ffff:127.0.0.1",
    "mapped in hex": "::ffff:a9fe:a9fe",
    "compatible": "::127.0.0.1",
    "translated": "::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::10.0.0.1",
    "local NAT64": "64:ff9b:1::10.0.0.1",
    "6to4": "2002:7f00:1::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:f5ff:fffe",
}
PUBLIC = ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"]


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def refusal_of(url: str) -> str:
    with pytest.raises(Invalid) as refused:
        check_url(url, param="webhook.url")
    assert refused.value.param == "webhook.url"
    return refused.value.message


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused_with_the_remedy(address: str) -> None:
    assert "ATELIER_EGRESS_ALLOW" in refusal_of(f"https://{bracketed(address)}/hook")
    with pytest.raises(EgressBlocked, match="ATELIER_EGRESS_ALLOW"):
        check_address(ip_address(address), httpx.URL("https://hooks.example.com"))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken_with_https_alone(address: str) -> None:
    check_url(f"https://{bracketed(address)}:8443/hook", param="url")

    assert "https only" in refusal_of(f"http://{bracketed(address)}/hook")


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F000001",
        "0177.0.0.1",
        "0x7f.1",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "127.0.0.01",
        "127.0.0.256",
        "1.2.3.4.5",
        "0x",
        "\uff11\uff12\uff17.0.0.1",
        "%31%32%37.0.0.1",
    ],
)
def test_an_address_written_in_another_form_is_refused_even_where_it_is_allowed(
    host: str, allow: Allow
) -> None:
    refusal_of(f"https://{host}/")

    allow("127.0.0.0/8")

    refusal_of(f"https://{host}/")


def test_another_scripts_dots_are_dots(allow: Allow) -> None:
    assert refusal_of("https://127\u30020\u30020\u30021/").startswith("127.0.0.1 is not")


@pytest.mark.parametrize(
    "name",
    ["localhost", "LOCALHOST", "a.localhost", "metadata.google.internal", "printer.local"],
)
def test_a_name_of_a_private_network_is_refused_until_a_network_is_allowed(
    name: str, allow: Allow
) -> None:
    assert "private network" in refusal_of(f"https://{name}/")

    allow("10.1.0.0/16")

    check_url(f"https://{name}/", param="url")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a/b?c=d@e",
        "HTTPS://Hooks.Example.com/",
        "https://b\u00fccher.example/\u00e4",
        "https://internal.example.com/",
        "https://notlocalhost/",
        "https://receiver_1/",
        "https://4chan.example/",
    ],
)
def test_an_address_of_the_internet_is_taken(url: str) -> None:
    check_url(url, param="url")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "whole URL"),
        ("hooks.example.com/a", "whole URL"),
        ("//hooks.example.com/a", "whole URL"),
        ("ftp://hooks.example.com/", "whole URL"),
        ("file:///etc/passwd", "whole URL"),
        ("gopher://hooks.example.com/", "whole URL"),
        ("https:///a", "whole URL"),
        ("https:hooks.example.com", "whole URL"),
        ("http://hooks.example.com/", "https only"),
        ("https://user@hooks.example.com/", "user name"),
        ("https://user:password@hooks.example.com/", "user name"),
        ("https://@hooks.example.com/", "user name"),
        ("https://hooks.example.com@127.0.0.1/", "user name"),
        ("https://hooks.example.com/#a", "fragment"),
        ("https://hooks.example.com/#", "fragment"),
        ("https://hooks.example.com/" + "a" * 2_048, "2,048"),
        ("https://hooks.example.com:0/", "port"),
        ("https://hooks.example.com:65536/", "port"),
        ("https://hooks.example.com:-1/", "port"),
        ("https://hooks.example.com:x/", "port"),
        ("https://hooks.example.com/a b", "space"),
        (" https://hooks.example.com/", "space"),
        ("https://hooks.example.com/a\r\nX-Evil: 1", "control character"),
        ("https://hooks\t.example.com/", "control character"),
        ("https://hooks.example.com/\x00", "control character"),
        ("https://hooks.example.com/\u2028", "control character"),
        ("https://hooks.example.com/\ud800", "control character"),
        ("https://127.0.0.1\\@hooks.example.com/", "backslash"),
        ("https://hooks.example.com./", "not a host"),
        ("https://hooks..example.com/", "not a host"),
        ("https://-hooks.example.com/", "not a host"),
        ("https://hooks|example.com/", "not a host"),
        ("https://" + "a" * 64 + ".example/", "not a host"),
        ("https://" + "a." * 130 + "example/", "not a host"),
        ("https://[fe80::1%25eth0]/", "interface"),
        ("https://[::1/", "not a URL"),
        ("https://[::1]a/", "not a URL"),
    ],
)
def test_what_can_never_be_called_is_refused_with_its_reason(url: str, says: str) -> None:
    assert says.lower() in refusal_of(url).lower()


def test_a_url_of_the_longest_length_is_taken() -> None:
    start = "https://hooks.example.com/"

    check_url(start + "a" * (2_048 - len(start)), param="url")


def test_an_allowed_network_is_taken_with_http_too_and_no_other(allow: Allow) -> None:
    allow("127.0.0.0/8, fd00:1::/32")

    for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "[fd00:1::5]"):
        check_url(f"http://{host}:9000/", param="url")
        check_url(f"https://{host}:9000/", param="url")
    for host in ("10.0.0.1", "[fd00:2::5]", "[::1]", "169.254.169.254"):
        refusal_of(f"https://{host}/")
    assert "https only" in refusal_of("http://8.8.8.8/")


def test_a_name_is_taken_with_http_where_a_network_is_allowed(allow: Allow) -> None:
    allow("10.1.0.0/16")

    check_url("http://receiver:9000/", param="url")


@pytest.mark.parametrize(
    ("networks", "says"),
    [
        ("10.0.0.1/8", "host bits"),
        ("10.0.0.0/8,intranet", "'intranet' does not appear"),
        ("10.0.0.0/33", "10.0.0.0/33"),
    ],
)
def test_an_unusable_network_is_refused_at_start(allow: Allow, networks: str, says: str) -> None:
    allow(networks)

    with pytest.raises(Permanent, match=f"ATELIER_EGRESS_ALLOW.*{says}.*write networks as"):
        settings()


def test_networks_are_separated_by_commas(allow: Allow) -> None:
    allow(" 10.1.0.0/16 , ,fd00:1::/32,192.0.2.1")

    assert settings().egress_allow == ["10.1.0.0/16", "fd00:1::/32", "192.0.2.1"]
