"""Blind test: two texts without names, sides swapped at random; the votes are counted on disk."""

import secrets
from collections.abc import Callable, Iterator

import gradio as gr

from gptdesk.comparison import Side
from gptdesk.comparison.blind import Tally, Vote, tally_sentence, write_round
from gptdesk.desk import Desk
from gptdesk.formatting import plural
from gptdesk.generation import GenerationResult, draw_seed
from gptdesk.markup import markdown_text, pane
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.compare.panes import empty_pane
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.scheduler import Place

NAMES = ("Left", "Right")
VOTES: dict[Vote, str] = {"left": "Left is better", "tie": "No difference", "right": "Right is better"}
RESET = "Reset the votes of these two …"
SEEDS = 4  # tried in a round until both texts differ
SAME = (
    f"both sides wrote the same text, word for word, with each of {SEEDS} seeds, so there is nothing to vote on. Press "
    "New round, or set more new tokens or a higher temperature under Parameters."
)
NOTE = "Sides A and B continue the prompt with a new seed each round. The names are shown after your vote."


class BlindView:
    """Panes of a round, vote buttons and the tally."""

    def __init__(self, desk: Desk, sides: SidesPanel) -> None:
        self._desk = desk
        self._sides = sides
        self._actions = action_row(desk, "New round", ident="blind", running=sides.running)
        with gr.Row(equal_height=True, elem_classes="panes"):
            self.panes = [empty_pane(name, ident=f"blind-{name.lower()}") for name in NAMES]
        with gr.Row():
            self.votes = {
                vote: gr.Button(label, interactive=False, min_width=90, elem_id=f"vote-{vote}")
                for vote, label in VOTES.items()
            }
        self.tally = gr.Markdown(NOTE, elem_id="tally")
        self.reset = gr.Button(RESET, size="sm", elem_id="blind-reset", visible=not desk.settings.public)
        self.round = gr.State(None)  # on the server, so that the page does not reveal the names

    def wire(self) -> None:
        """Connect the buttons."""
        self._actions.wire()
        shared = [*self.panes, *self.votes.values(), self.tally, self.round, self.reset, self._actions.line]
        outputs = [*self._actions.outputs, *shared[:-1]]
        self._actions.start.click(self._on_start, self._sides.inputs, outputs, **STREAMING)
        # one vote after the other, so that a round is counted once
        one = WITH_MESSAGES | {"concurrency_id": "vote", "concurrency_limit": 1}
        for vote, button in self.votes.items():
            button.click(self._voter(vote), self.round, shared, **one)
        if not self._desk.settings.public:
            self.reset.click(self._on_reset, {self.reset, *self._sides.inputs}, shared, **one)

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            for _ in range(SEEDS):
                sides = self._sides.sides(values, seed=draw_seed())[:2]
                keys = self._sides.vote_keys(values, sides)
                number = self._tally(keys).rounds + 1
                line = f"{self._round(number)}both sides are writing …"
                yield self._enable_votes(False) | {self.reset: RESET, self._actions.line: line, self.round: None}
                results: list[GenerationResult] = []
                for events in in_batches(write_round(self._desk.manager, sides, stop=place.stop), stop=place.stop):
                    results += [event for event in events if isinstance(event, GenerationResult)]
                    yield gr.skip()
                if len(results) < len(sides):
                    yield {self._actions.line: "You stopped the round."}
                    return
                texts = [result.texts[0] for result in results]
                if texts[0] != texts[1]:
                    break
            yield self._show_round(sides, keys, texts)

        yield from self._actions.run_queued(work, request)

    def _show_round(self, sides: list[Side], keys: list[str], texts: list[str]) -> Updates:
        """Return updates that show both texts, swapped at random, and enable the vote buttons if they differ."""
        swapped = bool(secrets.randbelow(2))
        ordered, prompt = texts[::-1] if swapped else texts, sides[0].request.prompt
        updates = self._enable_votes(True)
        for box, name, text in zip(self.panes, NAMES, ordered, strict=True):
            updates[box] = pane(name, prompt, text)
        names = [side.name for side in sides]
        tally = self._tally(keys)
        number = self._round(tally.rounds + 1)
        updates[self._actions.line] = f"{number}which one is better?"
        updates[self.tally] = markdown_text(self._tally_text(tally, names))
        if texts[0] == texts[1]:
            updates |= self._enable_votes(False)
            updates[self._actions.line] = f"{number}{SAME}"
            return updates
        updates[self.round] = {
            "names": names,
            "keys": keys,
            "swapped": swapped,
            "prompt": prompt,
            "texts": ordered,
        }
        return updates

    def _voter(self, vote: Vote) -> Callable[[dict[str, object] | None], object]:
        @shows_errors
        def cast(round_: dict[str, object] | None) -> object:
            if round_ is None:
                raise ValueError("there is nothing to vote on; press New round")
            return self._count_vote(round_, vote)

        return cast

    def _count_vote(self, round_: dict[str, object], vote: Vote) -> Updates:
        names, keys, texts = round_["names"], round_["keys"], round_["texts"]
        assert isinstance(names, list)
        assert isinstance(keys, list)
        assert isinstance(texts, list)
        swapped = bool(round_["swapped"])
        tally = self._tally(keys).plus(vote, swapped=swapped)
        self._desk.votes.put(_votes_key(keys), (tally.mirrored() if keys != sorted(keys) else tally).to_json())
        ordered = names[::-1] if swapped else names
        prompt, updates = str(round_["prompt"]), self._enable_votes(False)
        for box, place, name, text in zip(self.panes, NAMES, ordered, texts, strict=True):
            updates[box] = pane(f"{place}: {name}", prompt, text)
        result = f"Left was {ordered[0]}, right {ordered[1]}. {self._tally_text(tally, names)}"
        updates[self.reset] = RESET
        return updates | {self.tally: markdown_text(result), self.round: None, self._actions.line: "Thank you."}

    @shows_errors
    def _on_reset(self, values: Values) -> object:
        """Ask with the button's own text; when it is pressed again, delete the votes of the two models chosen."""
        sides = self._sides.sides(values)[:2]
        spelled, names = self._sides.vote_keys(values, sides), [side.name for side in sides]
        count = self._tally(spelled).rounds
        if not count:
            raise ValueError(f"there are no votes on {names[0]} against {names[1]}")
        ask = f"Delete {plural(count, 'vote')} on {names[0]} against {names[1]}"
        if values[self.reset] != ask:
            return {self.reset: ask}
        self._desk.votes.put(_votes_key(spelled), None)
        deleted = f"Deleted {plural(count, 'vote')} on {names[0]} against {names[1]}."
        return self._enable_votes(False) | {self.reset: RESET, self.round: None, self.tally: markdown_text(deleted)}

    def _round(self, number: int) -> str:
        """Return the beginning of a sentence, with the number of the round where votes are counted."""
        return "" if self._desk.settings.public else f"Round {number}: "

    def _tally_text(self, tally: Tally, names: list[str]) -> str:
        if self._desk.settings.public:
            return "A public desk does not count votes; run one of your own."
        return tally_sentence(tally, names[0], names[1])

    def _tally(self, keys: list[str]) -> Tally:
        tally = Tally.from_json(self._desk.votes.read().get(_votes_key(keys)))
        return tally.mirrored() if keys != sorted(keys) else tally

    def _enable_votes(self, yes: bool) -> Updates:
        return {button: gr.update(interactive=yes) for button in self.votes.values()}


def _votes_key(keys: list[str]) -> str:
    """Return the key of the votes of two models, the same whichever is the reference."""
    return " against ".join(sorted(keys))
