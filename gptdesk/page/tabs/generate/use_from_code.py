"""Part of the Generate tab that shows the request on screen as code for the desk's API."""

import re
from collections.abc import Callable

import gradio as gr
from gradio.blocks import Block

from gptdesk.api.errors import Refused
from gptdesk.api.snippets import SNIPPETS, Address, completion_body
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, Updates, Values
from models.manager import ModelKey

HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
NOTE = "{which}.{drawn} [The API's pages](docs) list the other fields."
OF_TEXT = "The request that wrote the text shown, with its seed {seed}"
OF_SETTINGS = "The request on screen, with the seed {seed}"
OTHERWISE = f"{OF_SETTINGS}; the text shown was written by another one"
DRAWN = " Generate draws a new seed."


class UseFromCode:
    """Closed accordion with the request as code in a chosen language, which has a button to copy it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with gr.Accordion("Use from code", open=False, elem_id="use-from-code") as self._panel:
            with gr.Row():
                self._language = gr.Radio(
                    list(SNIPPETS),
                    value="curl",
                    label="Language of the code",
                    show_label=False,
                    container=False,
                    elem_id="code-language",
                    scale=3,
                )
                # pressed by the page's script once the request has changed
                self._update = gr.Button(visible="hidden", elem_id="code-update")
            self._code = gr.Code(
                language="python", interactive=False, show_label=False, wrap_lines=True, elem_id="request-code"
            )
            self._note = gr.Markdown(elem_id="code-note", elem_classes="note")

    def wire(
        self,
        inputs: set[Block],
        read: Callable[[Values], tuple[ModelKey, GenerationRequest, bool]],
        wrote: Callable[[Values, ModelKey, GenerationRequest], bool | None],
    ) -> None:
        """Connect the events.

        `read` returns the request that the values of `inputs` stand for, with the seed that is shown, and whether
        Generate draws another one. `wrote` returns whether this request wrote the texts shown, None if that is not
        known.
        """
        self._read, self._wrote = read, wrote
        asked = [self._panel.expand, self._language.change, self._update.click]
        # the button is pressed once for each change, also while an earlier one is being answered
        latest = QUIETLY | {"trigger_mode": "always_last"}
        gr.on(asked, self._on_ask, {*inputs, self._language}, [self._code, self._note], **latest)

    def _on_ask(self, values: Values, request: gr.Request) -> Updates:
        try:
            key, generation, draws = self._read(values)
            body = completion_body(self._desk, key, generation)
        except (ValueError, Refused) as error:
            return {self._code: "", self._note: f"⚠ {markdown_text(str(error))}"}
        words = {True: OF_TEXT, False: OTHERWISE, None: OF_SETTINGS}[self._wrote(values, key, generation)]
        note = NOTE.format(which=words.format(seed=generation.seed), drawn=DRAWN if draws else "")
        address = Address(_origin(request), keyed=bool(self._desk.settings.api_key))
        return {self._code: SNIPPETS[str(values[self._language])](body, address), self._note: note}


def _origin(request: gr.Request) -> str:
    """Return the address under which the browser has opened the page."""
    host = str(request.headers.get("host", ""))
    scheme = "https" if str(request.headers.get("origin", "")).startswith("https:") else "http"
    return f"{scheme}://{host}" if HOST.fullmatch(host) else "http://127.0.0.1:7860"
