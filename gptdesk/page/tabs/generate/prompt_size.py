"""Token count of the prompt, shown below it, and the words that are left out of a long one."""

from gptdesk.context_window import dropped_tokens, new_tokens_after
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, encode_prompt
from gptdesk.markup import markdown_text

LAST_WORDS = 4  # of what is left out, to be shown
LONGEST = 40  # characters of them


def prompt_size(desk: Desk, prompt: str, name: str | None, *, wanted: object, parse_special: bool) -> str:
    """Return the tokens of the prompt as Markdown, and how many will be cut to make room for the `wanted` new ones.

    Raises ValueError if there is no such model, or it cannot read the prompt.
    """
    if not name:
        return ""
    context = desk.model(name).context
    request = GenerationRequest(prompt=prompt, max_new_tokens=wanted)  # what cannot be read cannot be counted
    tokenizer = desk.tokenizer(name)
    ids = tokenizer.encode_prompt(request.prompt, parse_special=parse_special) if prompt else []
    tokens = len(ids)
    dropped = dropped_tokens(tokens, wanted=request.max_new_tokens, context=context)
    if not dropped:
        return f"{tokens} of {context} tokens"
    room = new_tokens_after(tokens - dropped, context=context)
    first = "the first one" if dropped == 1 else f"the first {dropped}"
    fits = "1 new one fits" if room == 1 else f"{room} new ones fit"
    words = _last_words(tokenizer.decode(ids[:dropped]))
    return f"⚠ {tokens} of {context} tokens: {first}, up to {words}, will be left out, so that {fits}"


def left_out(desk: Desk, name: str, request: GenerationRequest, *, dropped: int) -> str:
    """Return the last words of the `dropped` tokens of a request's prompt as Markdown; empty if none are dropped."""
    if not dropped:
        return ""
    tokenizer = desk.tokenizer(name)
    return _last_words(tokenizer.decode(encode_prompt(tokenizer, request)[:dropped]))


def _last_words(text: str) -> str:
    words = " ".join(text.split()[-LAST_WORDS:])[-LONGEST:]
    return f"“… {markdown_text(words)}”"
