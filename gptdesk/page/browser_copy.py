"""Copy of the prompt, texts and settings of a public desk's visitor, in the visitor's own browser.

A public desk saves nothing of its visitors. A script of the page writes the copy into the browser's local storage; the
page sends it as it opens, and gets it back as updates of its widgets. The desk holds it only for that moment.
"""

import json
from typing import Any

import gradio as gr

from gptdesk.api.body import parse_json
from gptdesk.encodings import without_surrogates
from gptdesk.json_store import JsonValues
from gptdesk.page.option_widgets import QUIETLY
from gptdesk.page.persistence import SavedState

KEY = "gptdesk-visitor"  # of the local storage
MOST, MOST_SETTING = 300_000, 100_000  # bytes of the copy, and of the prompt or another setting in it

NOTE = """<p><span>The prompt, the texts and the settings are kept in this browser alone.</span>
<span hidden>This browser keeps nothing: when the page is loaded again, the prompt and the texts are gone.</span>
<button type="button" id="kept-clear">Clear</button></p>"""

READ = """() => {
  let copy = "";
  try { copy = localStorage.getItem("KEY") ?? ""; } catch {}
  return [copy.length <= MOST ? copy : ""];
}""".replace("KEY", KEY).replace("MOST", str(MOST))

# The texts are read off the page, whatever has changed them: a generation, a hand, Undo or Keep. Nothing is written
# before something has changed since the page was restored. A browser may refuse its storage, or have no room in it.
# The settings are those of the last event of a widget, at first those of the copy; the prompt is read off the page,
# too, whose event may come too late for a page that is left at once.
# What is too long is left out: a setting, and of the texts the first ones, as what is continued or added comes last.
SCRIPT = (
    """<script>
(() => {
  const bytes = text => new TextEncoder().encode(text).length;
  let settings = {}, seen = null, isCleared = false;
  const tell = isKept => {
    const [kept, lost] = document.querySelectorAll("#kept-here span");
    if (!kept) return;
    kept.hidden = document.querySelector("#kept-clear").hidden = !isKept;
    lost.hidden = isKept;
  };
  const attempt = work => {
    try { work(); return true; } catch { return false; }
  };
  attempt(() => { settings = JSON.parse(localStorage.getItem("KEY"))?.settings ?? {}; });
  window.keepSettings = (names, values) => {
    settings = Object.fromEntries(names.map((name, i) => [name, values[i]]));
  };
  const write = copy => {
    for (const [name, value] of Object.entries(copy.settings))
      if (bytes(JSON.stringify(value) ?? "") > MOST_SETTING) delete copy.settings[name];
    while (copy.texts.length && bytes(JSON.stringify(copy)) > MOST) copy.texts.shift();
    tell(attempt(() => localStorage.setItem("KEY", JSON.stringify(copy))));
  };
  const look = () => {
    const boxes = [...document.querySelectorAll(".text-card textarea")];
    if (isCleared || !boxes.length || !document.documentElement.matches(".appeared")) return;
    const prompt = settings.prompt === undefined ? {} : {prompt: document.querySelector("#prompt textarea").value};
    const copy = {settings: {...settings, ...prompt}, texts: boxes.map(box => box.value)}, now = JSON.stringify(copy);
    if (seen === null) tell(attempt(() => localStorage.getItem("KEY")));
    else if (now !== seen) write(copy);
    seen = now;
  };
  new MutationObserver(look).observe(document.documentElement, {attributeFilter: ["class"]});  // once it is restored
  setInterval(look, 500);
  for (const left of ["pagehide", "visibilitychange"]) addEventListener(left, look);
  addEventListener("click", event => {
    const button = event.target.closest?.("#kept-clear");
    if (!button) return;
    if (!button.dataset.label) {
      button.dataset.label = button.textContent;
      button.textContent = window.gptdeskTexts?.["Press again to clear"] ?? "Press again to clear";
      setTimeout(() => { button.textContent = button.dataset.label; delete button.dataset.label; }, 5000);
      return;
    }
    isCleared = true;
    attempt(() => localStorage.removeItem("KEY"));
    location.reload();
  });
})();
</script>""".replace("KEY", KEY)
    .replace("MOST_SETTING", str(MOST_SETTING))
    .replace("MOST", str(MOST))
)

CSS = """
#kept-here { padding: 0 4px !important; font-size: .875rem; color: var(--body-text-color-subdued); }
#kept-here p { margin: 0; }
#kept-here #kept-clear { text-decoration: underline; text-underline-offset: 3px; padding: 2px 4px; font: inherit;
  background: none; border: 0; color: var(--body-text-color); }
"""


class BrowserCopy:
    """Copy of a tab's saved widgets and texts; the note on it, with the button that clears it, is laid out here."""

    def __init__(self, texts: str) -> None:
        self._texts = texts  # their name among the saved values
        gr.HTML(NOTE, elem_id="kept-here", elem_classes="bare")
        self._sent = gr.Textbox(visible="hidden", elem_id="kept-sent")  # the copy, in the event of a page that opens

    def wire(self, kept: SavedState) -> dict[str, Any]:
        """Hand each change of the saved widgets to the script of the page; nothing of it is sent to the desk.

        Return the options of the event of a page that opens, which then sends the copy.
        """
        self._kept, controls = kept, kept.controls
        names = json.dumps([control.elem_id for control in controls])
        changes: list[Any] = [control.change for control in controls]  # type: ignore[attr-defined]  # by Gradio
        hand_over = f"(...values) => {{ window.keepSettings?.({names}, values); }}"
        gr.on(changes, None, controls, js=hand_over, **QUIETLY)
        return {"inputs": self._sent, "js": READ}

    def read(self, sent: str | None) -> JsonValues:
        """Return the copy that a page has sent as a browser's saved values, unchecked; none if it is damaged."""
        try:
            copy = parse_json((sent or "{}").encode())
        except ValueError:
            return {}
        settings, texts = (copy.get("settings"), copy.get("texts")) if isinstance(copy, dict) else (None, None)
        found = settings if isinstance(settings, dict) else {}
        values = {control: _readable(found.get(str(control.elem_id))) for control in self._kept.controls}
        shown = [_readable(text) for text in texts] if isinstance(texts, list) else []
        return {self._kept.title: self._kept.saved(values) if found else {}, self._texts: shown}


def _readable(value: object) -> object:
    """Return a value that can be sent: half surrogate pairs of a text become U+FFFD."""
    return without_surrogates(value) if isinstance(value, str) else value
