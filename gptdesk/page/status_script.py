"""Script that keeps Gradio from telling every input of an event that it has ended."""

from pathlib import Path

# At the end of an event Gradio's page gives each of its inputs a loading status, and from then on updates all that have
# one three times an event. Each update looks for its component in the tree of a thousand, so that a moved slider took
# 0.9 s of the page. Statuses of inputs are for streams, which this page has none of; those of outputs stay.
_SCRIPT = """<script type="module">
import * as parts from "./assets/FILE";
const status = Object.values(parts).find(part => part?.prototype?.resolve_args);
if (status) {
  const all = status.prototype.resolve_args;
  status.prototype.resolve_args = function (event) {
    return all.call(this, event).filter(one => one.type === "output" || one.id in this.current);
  };
}
</script>"""


def status_script(assets: Path) -> str:
    """Return the script for the head of the page, given the folder with the modules of Gradio's page.

    Empty if this version of Gradio keeps the statuses elsewhere: its page then works as it comes.
    """
    files = sorted(assets.glob("statustracker-*.js"))
    return _SCRIPT.replace("FILE", files[0].name) if len(files) == 1 else ""
