"""Share switch: public link to the desk, with its QR code."""

import gradio as gr
from gradio.blocks import Block

from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, Updates, Values
from gptdesk.system.share_link import LinkState, ShareLink, svg_code

SOON, LATER = 1.0, 5.0  # polling intervals in seconds: while a link is made, and while there is one
ASK = """Create a public link to this desk? Anyone who has it can generate and compare with your models, from anywhere
and within the limits of a public desk; they see the models' names, but none of your texts, presets and files. Gradio's
share service passes the pages on; the first time, a small program is downloaded for it. The link lasts a week at most,
and no longer than the desk runs.

Devices in your own network need no link: start the desk with `python launch.py --lan`."""
STARTING = "Creating a link … the first time, a small program is downloaded for it."
ON = (
    "Anyone with this link can generate and compare with your models, within the limits of a public desk. They see "
    "their names, but none of your texts, presets and files. It lasts a week at most, and no longer than the desk runs."
)

CSS = """
#top { align-items: center; flex-wrap: nowrap; }
#share { flex: 0 0 auto; min-width: 0 !important; width: auto; background: none; border: 0; padding: 4px;
  overflow: visible !important; }
#share label { gap: 8px; cursor: pointer; }
#share input { appearance: none; width: 34px; height: 20px; border-radius: 10px; margin: 0; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--neutral-300) !important; position: relative; }
#share input::before { content: ""; position: absolute; left: 2px; top: 2px; width: 14px; height: 14px;
  border-radius: 50%; background: #fff; transition: left .15s; }
#share input:checked { background: var(--primary-600) !important; border-color: var(--primary-600); }
#share input:checked::before { left: 16px; }
#share input:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.dark #share input:not(:checked) { background: var(--neutral-600) !important; }
#share-panel { flex-wrap: nowrap; align-items: center; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); padding: 10px 12px; }
#share-code { flex: 0 0 116px !important; min-width: 116px !important; padding: 0; }
#share-code svg { display: block; width: 116px; height: 116px; border-radius: 6px; }
@media (max-width: 600px) { #share-panel { flex-wrap: wrap; justify-content: center; } }
"""


class ShareSwitch:
    """Switch beside the title, and a panel below it for the question, the link or an error.

    Made inside the row of the title. Pages that are open elsewhere show the link when they are opened again.
    """

    def __init__(self, link: ShareLink) -> None:
        self._link = link
        self.switch = gr.Checkbox(
            value=False, label="Share", elem_id="share", container=False, min_width=0, scale=0, interactive=True
        )

    def wire(self, page: gr.Blocks) -> None:
        """Lay out the panel in the current container, and connect the switch."""
        with gr.Row(visible=False, elem_id="share-panel") as self._panel:
            self._code = gr.HTML(visible=False, elem_id="share-code", elem_classes="bare")
            with gr.Column(min_width=240):
                self.address = gr.Textbox(
                    label="Link", buttons=["copy"], interactive=False, max_lines=1, visible=False, elem_id="share-link"
                )
                self._note = gr.Markdown(elem_id="share-note", elem_classes="note")
                self.create = gr.Button(
                    "Create the link", variant="primary", size="sm", visible=False, elem_id="share-create"
                )
        self._timer = gr.Timer(SOON, active=False)
        outputs: list[Block] = [
            self.switch,
            self._panel,
            self._code,
            self.address,
            self._note,
            self._timer,
            self.create,
        ]
        self.switch.input(self._on_switch, {self.switch}, outputs, **QUIETLY)
        self.create.click(self._on_create, None, outputs, **QUIETLY)
        self._timer.tick(self._on_tick, {self.switch, self.address}, outputs, **QUIETLY)
        page.load(self._on_load, None, outputs, **QUIETLY)

    def _on_switch(self, values: Values) -> Updates:
        """Ask before a link is made, or end the one there is; a switch on an outdated page may agree with it."""
        if not values[self.switch]:
            self._link.turn_off()
        elif self._link.state.phase == "off":
            return self._show(LinkState()) | {
                self.switch: True,
                self._panel: gr.update(visible=True),
                self._note: ASK,
                self.create: gr.update(visible=True),
            }
        return self._show(self._link.state)

    def _on_create(self) -> Updates:
        self._link.turn_on()
        return self._show(self._link.state)

    def _on_tick(self, values: Values) -> object:
        state = self._link.state
        if (bool(values[self.switch]), values[self.address] or "") == (state.phase != "off", state.url):
            return gr.skip()
        return self._show(state)

    def _on_load(self) -> Updates:
        return self._show(self._link.state)

    def _show(self, state: LinkState) -> Updates:
        note = {"off": f"⚠ {markdown_text(state.fault)}" if state.fault else "", "starting": STARTING, "on": ON}
        is_on = state.phase == "on"
        return {
            self.switch: state.phase != "off",
            self._panel: gr.update(visible=bool(note[state.phase])),
            self._code: gr.update(visible=is_on, value=svg_code(state.url) if is_on else ""),
            self.address: gr.update(visible=is_on, value=state.url),
            self._note: note[state.phase],
            self._timer: gr.update(active=state.phase != "off", value=LATER if is_on else SOON),
            self.create: gr.update(visible=False),
        }
