"""Run of a recipe: the text is generated once more, and compared with what came out then."""

from collections.abc import Callable, Generator

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued, GenerationResult, GenerationStart
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import Call, LongActions
from gptdesk.page.option_widgets import Updates
from gptdesk.recipe import Recipe, Verdict
from models.manager import ModelKey
from models.weights_hash import weights_hash


def repeat(
    desk: Desk,
    recipe: Recipe,
    call: Call,
    *,
    actions: LongActions,
    show: Callable[[GenerationResult, Verdict], Updates] | None = None,
) -> Generator[Updates, None, None]:
    """Generate by a recipe and yield updates of the line of `actions`, the verdict last, with those of `show`.

    Raises ValueError as `Recipe.check_model` and `Desk.generate`.
    """
    recipe.check_model([info.name for info in desk.library.available()])
    result, key = GenerationResult(recipe.request.n), ModelKey(recipe.model, recipe.precision)
    for event in desk.generate(key, recipe.request, stop=call.stop, owner=call.owner):
        result.add(event)
        if isinstance(event, GenerationQueued):
            yield actions.waiting(event.position)
        elif isinstance(event, GenerationStart):
            yield {actions.line: "Generating the text once more …"}
    if call.stop.is_set():
        yield {actions.line: "You stopped it; nothing was compared."}
        return
    folder = desk.library.checkpoint(recipe.model).path
    weights = (desk.history.weights_of(folder) if desk.history else None) or weights_hash(folder)
    verdict = recipe.verdict(result, weights=weights, tokenizer=desk.library.tokenizer(recipe.model))
    yield {actions.line: f"**{markdown_text(verdict.sentence)}**"} | (show(result, verdict) if show else {})
