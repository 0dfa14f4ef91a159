"""Style sheet, fonts and script of the page."""

from gradio.themes.utils.fonts import LocalFont

CSS = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
input { text-overflow: ellipsis; }
.gradio-container input[role=combobox] { padding-right: 24px; }
#title h1 { margin: 0; font-size: 1.35rem; }
.note { padding: 0 4px; opacity: .85; overflow-wrap: anywhere; }
.note p { font-size: .9rem; line-height: 1.5; }
@media (max-width: 640px) { .tab-container > button { padding: 0 6px !important; } }  /* all of them in one row */
#count { margin: -10px 0 -6px; }
#examples { gap: 8px; }
#examples button { font-weight: 400; flex: 0 1 auto; }
"""

# Gradio's own file of the semibold weight lacks most letters, so bold stands in for it.
FONTS = (LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

# Ctrl/Cmd+Enter starts and Esc stops what the visible tab does, wherever the cursor is, if its buttons can be pressed.
# While a text streams in, its box stays at its end, unless its reader has scrolled up.
SCRIPT = """<script>
addEventListener("keydown", event => {
  const wanted = event.key === "Escape" && !document.querySelector("[role=listbox]") ? ".halt"
    : event.key === "Enter" && (event.ctrlKey || event.metaKey) ? ".go" : null;
  const button = wanted && [...document.querySelectorAll(wanted)].find(one => one.offsetParent && !one.disabled);
  if (button) { event.preventDefault(); event.stopPropagation(); button.click(); }
}, true);
const ends = new WeakMap();
let late = 0;  // looks since the last text ended: its end may be drawn after its Stop button has been disabled
setInterval(() => {
  const stop = document.getElementById("stop");
  late = stop && !stop.disabled ? 0 : late + 1;
  if (late > 5) return;
  for (const box of document.querySelectorAll("[id^=text-] textarea")) {
    if (box.scrollTop >= (ends.get(box) ?? 0) - 40) box.scrollTop = box.scrollHeight;
    ends.set(box, box.scrollTop);
  }
}, 100);
</script>"""
