"""Shannon's game: the next word of a story is guessed, beside the starter, its int4 copy and the unigram model."""

import html
import random
from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.formatting import percent, plural
from gptdesk.lessons.shannon import SURE, Game, guess, new_game
from gptdesk.markup import html_table
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.streaming import in_batches
from gptdesk.scheduler import Place

LISTED = 8  # guesses in the table, the last ones


class GameView:
    """Widgets of the game and their event handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        gr.Markdown(
            "Guess the next word of a new story, and say how sure you are. Claude Shannon measured the entropy of "
            "English so in 1951. A word costs you -log2 of the probability that you gave it, in **bits**: what you are "
            "sure of goes to your word, the rest to all others by their frequency. The starter and the **unigram** "
            "model, which knows only how frequent each word is, pay by the same rule."
        )
        self._start = action_row(desk, "New story", ident="game-start", running={})
        self.story = gr.HTML(elem_id="game-story", elem_classes="bare")
        with gr.Column(visible=False) as self.play:
            with gr.Row(equal_height=False):
                self.word = gr.Textbox(label="Next word", max_lines=1, min_width=140, elem_id="game-word")
                self.sure = gr.Radio(
                    [(f"{percent(share)}", share) for share in SURE],
                    value=SURE[1],
                    label="How sure are you?",
                    min_width=260,
                    elem_id="game-sure",
                )
            self.guess = gr.Button("Guess", elem_id="game-guess")
        self.result = gr.HTML(elem_id="game-result", elem_classes="bare")
        self.game = gr.State(None)

    def wire(self) -> None:
        """Connect the buttons."""
        self._start.wire()
        outputs = [self.story, self.play, self.word, self.result, self.game]
        self._start.start.click(self._on_start, None, [*self._start.outputs, *outputs], **STREAMING)
        inputs: set[Block] = {self.game, self.word, self.sure}
        gr.on([self.guess.click, self.word.submit], self._on_guess, inputs, outputs, **WITH_MESSAGES)

    def _on_start(self, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            yield {self._start.line: "The starter reads the story …"}

            def make() -> Iterator[Game]:
                yield new_game(self._desk.manager, random.Random())

            for batch in in_batches(make(), stop=place.stop):
                for game in batch:
                    yield self._shown(game) | {self._start.line: ""}
                if not batch:
                    yield {}

        yield from self._start.run_queued(work, request)

    @shows_errors
    def _on_guess(self, values: Values) -> Updates:
        game, sure = values[self.game], values[self.sure]
        if not isinstance(game, Game):
            raise ValueError("there is no story; press New story")
        if not isinstance(sure, int | float):
            raise ValueError("choose how sure you are")
        return self._shown(guess(game, str(values[self.word] or ""), sure))

    def _shown(self, game: Game) -> Updates:
        return {
            self.game: game,
            self.story: _story_html(game),
            self.play: gr.update(visible=not game.over),
            self.word: "",
            self.result: _result_html(game),
        }


def _story_html(game: Game) -> str:
    """Return the story so far, the last word marked, and a blank for the next."""
    text, last = game.shown, ""
    if game.guesses and not game.over:
        begin = game.places[len(game.guesses) - 1][0]
        text, last = text[:begin], text[begin:]
        word = game.guesses[-1].word
        last = f"<b>{html.escape(word)}</b>{html.escape(last[len(word) :])}"
    blank = "" if game.over else "____"
    return (
        '<div class="game"><div class="story" tabindex="0" role="group" aria-label="Story">'
        f"{html.escape(text)}{last}{blank}</div></div>"
    )


def _result_html(game: Game) -> str:
    """Return the last guess, the mean bits of all, the generator's own, and the last guesses as a table."""
    count = len(game.guesses)
    if not count:
        return ""
    last = game.guesses[-1]
    means = {
        "You": sum(one.player for one in game.guesses) / count,
        "Starter": sum(one.starter for one in game.guesses) / count,
        "Starter · int4": sum(one.int4 for one in game.guesses) / count,
        "Unigram": sum(one.unigram for one in game.guesses) / count,
    }
    bars = "".join(
        f'<span>{name}</span><i style="--part:{bits / max(means.values()):.3f}"></i><span>{bits:.2f} bits</span>'
        for name, bits in means.items()
    )
    verdict = "Right" if last.right else "Not quite"
    hits = sum(one.right for one in game.guesses)
    rows = [
        [one.word, one.guessed, f"{one.player:.1f}", f"{one.starter:.1f}", f"{one.int4:.1f}", f"{one.unigram:.1f}"]
        for one in reversed(game.guesses[-LISTED:])
    ]
    table = html_table(["Word", "Your guess", "You, bits", "Starter", "int4", "Unigram"], rows)
    kind = "right" if last.right else "wrong"
    return (
        f'<div class="game"><div class="verdict {kind}" role="status"><b>{verdict}:</b> {html.escape(last.word)}. You '
        f"have guessed {hits} of {plural(count, 'word')}. Bits per word so far, the fewer the better:</div>"
        f'<div class="bars">{bars}</div><p>The program that told this story made choices of {game.choices:,.0f} bits, '
        f"{game.floor:.2f} for each of its words, punctuation included. Over many stories, no guesser gets more than "
        "2 % below that.</p>"
        f'<div class="figures-table">{table}</div></div>'
    )
