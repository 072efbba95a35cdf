"""The names by which a server may be addressed."""

import pytest

from mge.serving.front import Hosts

LOCAL = Hosts.of_server("127.0.0.1", address="127.0.0.1")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000",
     "[0:0:0:0:0:0:0:1]:80", "127.0.0.1:"],
)  # fmt: skip
def test_a_server_of_this_machine_goes_by_the_names_of_this_machine(host: str) -> None:
    assert LOCAL.accept(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:1:1",
     "", "[::1", "::1]", "user@localhost", "localhost@evil.example", "localhost/", "10.0.0.1", "[fe80::1]",
     "xlocalhost", "localhost:x", "2130706433", "0x7f.1"],
)  # fmt: skip
def test_a_server_of_this_machine_goes_by_no_other_name(host: str) -> None:
    assert not LOCAL.accept(host)


def test_more_names_may_be_given() -> None:
    hosts = Hosts.of_server("localhost", address="127.0.0.1", allowed=[" birds.example", " ::2", ""])
    assert all(map(hosts.accept, ["birds.example", "Birds.Example:443", "[::2]:8000", "localhost:8000"]))
    assert not any(map(hosts.accept, ["evil.example", "x.birds.example", ""]))
    assert Hosts.of_server("::1", address="::1", allowed=["*"]).accept("any.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_a_server_for_other_machines_goes_by_every_name_until_some_are_given(host: str) -> None:
    assert Hosts.of_server(host, address=host).accept("any.example:8000")
    # Probes of a cluster use addresses.
    named = Hosts.of_server(host, address=host, allowed=["birds.example"])
    assert all(map(named.accept, ["birds.example", "10.1.2.3:8000", "[fe80::1]:8000", "localhost"]))
    assert not named.accept("evil.example")


def test_a_name_of_this_machine_counts_by_where_it_leads() -> None:
    hosts = Hosts.of_server("mybox", address="127.0.1.1")
    assert all(map(hosts.accept, ["mybox:8000", "127.0.1.1:8000"]))
    assert not hosts.accept("evil.example")
