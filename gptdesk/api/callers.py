"""Callers of a public desk, told apart by the address that their requests come from."""

import ipaddress
from collections.abc import Sequence

from starlette.requests import Request

from gptdesk.settings import Settings, is_loopback, on_space


def caller_of(request: Request, settings: Settings) -> str | None:
    """Return who has sent a request to a public desk; None on a desk of one's own."""
    if not settings.public:
        return None
    address = request.client.host if request.client else ""
    return caller_address(request.headers.getlist("x-forwarded-for"), address, settings=settings)


def caller_address(forwarded: Sequence[str], address: str, *, settings: Settings, unnamed: str = "") -> str:
    """Return an address by the X-Forwarded-For headers of a request and the `address` that it comes from.

    On a Space that is the one that its proxy saw, which it names last; so it is behind a reverse proxy on this
    computer, if the settings allow host names for one. What comes by a link was passed on by a share server and its own
    proxies, all of which add what they saw: the last address that is on the internet is the visitor's, whatever the
    visitor wrote before it. A server in a network of one's own names none; then it is `unnamed`. Elsewhere there may be
    no proxy, and the header says what the visitor likes.
    """
    if settings.behind_link:
        named = ",".join(forwarded).split(",")
        return next(filter(_is_on_internet, map(str.strip, reversed(named))), unnamed)
    proxied = on_space() or (settings.allowed_hosts and is_loopback(address))
    seen = (forwarded[-1] if forwarded else "").rpartition(",")[2].strip() if proxied else ""
    return seen or address


def _is_on_internet(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
