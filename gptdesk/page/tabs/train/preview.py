"""What a preview does and what it found out, in figures and sentences."""

from collections.abc import Iterator

from gptdesk.formatting import clock, short
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import label
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.preview import Preview

LISTED = 6  # files whose encoding is told


def stage(progress: CorpusProgress) -> str:
    """What is being done with the text, and how far that is, as Markdown."""
    done = f" ({progress.done / progress.total:.0%})" if progress.total else ""
    return f"{markdown_text(label(progress.stage))}{done} …"


def facts(found: Preview) -> Iterator[tuple[str, str, str]]:
    """Figures with their names and a remark."""
    guess = found.estimate
    yield "Characters", short(found.characters), f"{found.documents:,} document{'s' * (found.documents != 1)}"
    yield "Tokens", short(found.tokens), f"and {short(found.validation_tokens)} held out"
    yield "Tokenizer", f"{found.vocab_size:,}", f"tokens ({found.tokenizer})"
    yield "Weights", short(found.config.parameters()), f"{found.config.n_layer} layers of {found.config.n_embd}"
    yield "Steps", f"{guess.steps:,}", f"of {guess.tokens // guess.steps:,} tokens"
    yield "The text is read", f"{guess.epochs:.1f} times", f"{short(guess.tokens)} tokens"
    yield "Time", clock(guess.seconds), f"{short(guess.tokens_per_second)} tokens per second"
    yield "Memory", f"{guess.memory_bytes / 1e9:.1f} GB", "bfloat16" if guess.bfloat16 else "float32"


def remarks(found: Preview) -> Iterator[str]:
    """Sentences: what to mind first, then how the text was read."""
    for warning in found.warnings:
        yield f"⚠ {warning[:1].upper()}{warning[1:]}."
    told = [f"{file.path.name} ({file.encoding}, {short(file.size)} bytes)" for file in found.files[:LISTED]]
    more = f" and {len(found.files) - LISTED} more" if found.files[LISTED:] else ""
    yield f"Read: {', '.join(told)}{more}. Tokenizer: {found.tokenizer_reason}."
    by = "whole documents" if found.split == "document" else "the end of the text"
    yield f"Held out: {by}. Below, the first rows as the model will see them, each token shaded by itself:"
