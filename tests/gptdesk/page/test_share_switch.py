"""A page that a public link leads to: who asks, and that nothing of the owner's page gets into it."""

import re
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from starlette.datastructures import Headers

from gptdesk.api.callers import caller_address
from gptdesk.page.long_action import owner_of
from gptdesk.settings import LinkSettings, Settings

PAGE = Path(__file__).parents[3] / "gptdesk" / "page"


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        ([b"9.9.9.9"], "9.9.9.9"),
        ([b"1.1.1.1, 9.9.9.9"], "9.9.9.9"),
        ([b"1.1.1.1", b"9.9.9.9, 10.0.0.3, 127.0.0.1"], "9.9.9.9"),
        ([b"2606:4700::1111"], "2606:4700::1111"),
        ([b"192.168.1.4, nonsense, 169.254.1.1, ::1"], "session"),
        ([b""], "session"),
        ([], "session"),
    ],
)
def test_who_asks_through_a_link_is_known_by_the_address_the_server_saw(headers: list[bytes], owner: str) -> None:
    request = SimpleNamespace(
        headers=Headers(raw=[(b"x-forwarded-for", value) for value in headers]),
        client=SimpleNamespace(host="127.0.0.1"),
        session_hash="session",
    )
    assert owner_of(request, LinkSettings(home=Path("x"))) == owner  # type: ignore[arg-type]
    assert owner_of(request, Settings(home=Path("x"))) == "127.0.0.1"  # type: ignore[arg-type]


def test_who_asks_by_a_reverse_proxy_is_known_by_the_address_that_it_names() -> None:
    public = Settings(home=Path("x"), public_desk=True)
    proxied = public.model_copy(update={"allow_host": "desk.example.org"})
    for settings, address, owner in (
        (proxied, "127.0.0.1", "9.9.9.9"),
        (proxied, "8.8.8.8", "8.8.8.8"),  # past the proxy
        (public, "127.0.0.1", "127.0.0.1"),  # there is none
    ):
        assert settings.public
        assert caller_address(["1.1.1.1, 9.9.9.9"], address, settings=settings) == owner


def test_no_handler_makes_a_widget() -> None:
    """It would become part of the public page, if that is made at the same moment: Gradio has one place for both."""
    widgets = "|".join(
        name for name, kind in vars(gr).items() if isinstance(kind, type) and issubclass(kind, gr.blocks.Block)
    )
    for file in PAGE.rglob("*.py"):
        assert not re.search(
            rf"[\w\]]: gr\.({widgets})\((selected|active|visible|value|choices|label|interactive)=",
            file.read_text("utf-8"),
        ), file
