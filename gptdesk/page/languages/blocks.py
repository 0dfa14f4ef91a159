"""Blocks whose configuration is sent in the language of the request."""

import json
from contextvars import ContextVar
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptdesk.page.languages import COOKIE, ENGLISH, LANGUAGES, SCRIPTS, choose_language, in_language_of, load_sections
from gptdesk.page.languages.translation import translate_config

YEAR = 31_536_000  # seconds
PAGE = ("/", "/config", "/config/")  # paths whose answer is in the visitor's language
# keys of components that only programs read that use Gradio's API, which is closed: a fifth of the page
UNSENT = {"api_info", "api_info_as_input", "api_info_as_output", "example_inputs", "skip_api"}

# The button names the next language.
SCRIPT = """<script>
(() => {
  const code = %(code)s, names = %(names)s, codes = Object.keys(names);
  const next = codes[(codes.indexOf(code) + 1) %% codes.length];
  document.documentElement.lang = code;
  window.gptdeskTexts = %(texts)s;
  const nameButton = () => {
    const button = document.querySelector("#language-button");
    if (!button) return setTimeout(nameButton, 50);
    Object.assign(button, {textContent: next.toUpperCase(), title: names[next], lang: next, hidden: false});
  };
  nameButton();
  addEventListener("click", event => {
    if (event.target.closest?.("#language-button")?.id === undefined) return;
    const tab = document.querySelector("#tabs > .tab-wrapper [role=tab][aria-selected=true]");
    try { sessionStorage.setItem("gptdesk-tab", tab.dataset.tabId); } catch {}  // to be opened again
    document.cookie = `%(cookie)s=${next}; path=/; max-age=%(age)d; samesite=lax`;
    location.reload();
  });
})();
</script>"""

_language: ContextVar[str] = ContextVar("language of the request", default=ENGLISH)


class TranslatedBlocks(gr.Blocks):
    """Blocks built in English; `config`, which Gradio sends to the browser, is in the language of the request."""

    @property  # type: ignore[override]  # a typed dictionary in Gradio
    def config(self) -> dict[str, Any]:
        """Configuration of the page in the language of the current request."""
        code = _language.get()
        if code not in self._configs:
            self._configs[code] = _in_language(self._english, code)
        return self._configs[code]

    @config.setter
    def config(self, config: dict[str, Any]) -> None:
        self._english = config
        self._configs: dict[str, dict[str, Any]] = {}


def event_text(text: str) -> str:
    """Return a text of the page in the language of the event that is being handled; outside one, in English."""
    request = LocalContext.request.get(None)
    return in_language_of(request.headers.raw, text) if request else text


class LanguageOfRequest:
    """ASGI middleware that sets the language in which the page is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in PAGE:
            await self._app(scope, receive, send)
            return

        async def vary(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Accept-Language, Cookie")
            await send(message)

        token = _language.set(choose_language(scope["headers"]))
        try:
            await self._app(scope, receive, vary)
        finally:
            _language.reset(token)


def _in_language(config: dict[str, Any], code: str) -> dict[str, Any]:
    """Return the English configuration of a page in another language, with the script of the language button.

    What a browser does not read is left out.
    """
    sections = load_sections(code)
    table = {english: text for section in sections.values() for english, text in section.items()}
    script = SCRIPT % {
        "code": json.dumps(code),
        "names": json.dumps(LANGUAGES, ensure_ascii=False),
        "texts": json.dumps(sections.get(SCRIPTS, {}), ensure_ascii=False),
        "cookie": COOKIE,
        "age": YEAR,
    }
    translated = translate_config(config, lambda text: table.get(text, text)) if table else config
    components = [{key: one[key] for key in one if key not in UNSENT} for one in translated["components"]]
    return {**translated, "components": components, "head": script + (config["head"] or "")}
