"""Finished grid with all that repeats it: its caption, a page of its own, and the copy that outlives a reload."""

import html
from typing import Self

from pydantic import Field, ValidationError, model_validator

from gptdesk.batch.grid import Axis, Grid
from gptdesk.formatting import plural
from gptdesk.page.persistence import MOST_KEPT, SavedState
from gptdesk.page.tabs.batch.grid_table import CSS, grid_html, legend
from samplers import Options

NAME = "last grid"  # of the saved value
# The page loads nothing, and no script runs in it.
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Sampler grid</title><style>
:root {{ color-scheme: light; --border-color-primary: #d4d4d8; --background-fill-primary: #fff; --radius-lg: 8px;
  --background-fill-secondary: #f4f4f5; --body-text-color: #18181b; --body-text-color-subdued: #52525b; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem; color: var(--body-text-color); }}
{css}
.sampler-grid {{ overflow: visible; max-height: none; }}
</style></head><body><h1>Sampler grid</h1>{table}<p>{legend}</p><p>Made with GPT Desk</p></body></html>
"""


class GridFacts(Options):
    """Model, prompt and options of a grid, without its sides."""

    model: str = Field(description="name of the model")
    precision: str = Field(description="its precision")
    prompt: str = Field(description="text that every cell continues")
    seed: int = Field(description="seed of every cell")
    max_new_tokens: int = Field(description="most tokens of a cell")
    preset: str = Field(description="name of the preset that has the other options")

    def caption(self) -> str:
        """Return the facts as HTML."""
        facts = [f"{self.model} · {self.precision}", f"seed {self.seed}", f"preset {self.preset}"]
        words = ", ".join([*facts, f"at most {plural(self.max_new_tokens, 'new token')}"])
        prompt = html.escape(self.prompt) or "(no prompt)"
        return f'<p class="grid-caption"><b>{prompt}</b><br>{html.escape(words)}</p>'


class WrittenGrid(Options):
    """Grid whose cells all have a text."""

    facts: GridFacts
    down: Axis
    across: Axis
    texts: tuple[tuple[str, ...], ...]

    @model_validator(mode="after")
    def _have_all_texts(self) -> Self:
        if [len(line) for line in self.texts] != [len(self.across.values)] * len(self.down.values):
            raise ValueError("texts must have one for each pair of values")
        return self

    @property
    def grid(self) -> Grid:
        """The grid itself."""
        return Grid(self.down, self.across, self.texts)

    def table(self) -> str:
        """Return the caption and the table as HTML."""
        return self.facts.caption() + grid_html(self.down, self.across, self.texts)

    def page(self) -> str:
        """Return a page in one file, as HTML, with the caption, the sentence on the texts and the table."""
        sentence = f"<p>{html.escape(self.grid.sentence)}</p>"
        return PAGE.format(css=CSS, table=sentence + self.table(), legend=html.escape(legend(self.grid)))

    def keep(self, kept: SavedState) -> None:
        """Save the grid as the last one of the browser, in the place of the one before; too long a one is not saved."""
        size = len(self.facts.prompt) + sum(len(text) for line in self.texts for text in line)
        kept.put(NAME, self.model_dump(mode="json") if size < MOST_KEPT else None)

    @classmethod
    def last(cls, kept: SavedState) -> "WrittenGrid | None":
        """Return the last grid of the browser; None if there is none, or the saved value is damaged."""
        values = kept.values().get(NAME)
        try:
            return cls(**values) if isinstance(values, dict) else None
        except (ValidationError, ValueError, TypeError):
            return None
