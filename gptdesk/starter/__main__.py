"""Rebuild the starter model from nothing but this code: corpus, tokenizer, training, checkpoint."""

import argparse
import logging
import sys
from pathlib import Path

import torch
from torch import Tensor

from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories, tell
from gptdesk.training import TrainingOptions, train
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import Tokenizer, train_bpe

log = logging.getLogger("gptdesk.starter")

CONTEXT = 256
TOKENIZER_STORIES = 5000
VALIDATION_STORIES = 200


def story_rows(tokenizer: Tokenizer, seed: int, *, count: int) -> Tensor:
    """Rows (count, CONTEXT + 1) of tokens; row i begins where story i of the collection `seed` does.

    Stories follow each other with an end of text between them. Every other row has one in front of its story, too:
    the model must be able to begin after nothing, and with the first word of a prompt.
    """
    assert tokenizer.end_of_text is not None
    stream: list[int] = []
    starts = []
    for text in stories(seed, count + CONTEXT // 50):  # the last rows need stories to end with
        starts.append(len(stream))
        stream += [tokenizer.end_of_text, *tokenizer.encode(text)]
    begins = torch.tensor(starts[:count]) + torch.arange(count) % 2
    return torch.tensor(stream)[begins[:, None] + torch.arange(CONTEXT + 1)]


def floor(tokenizer: Tokenizer, seed: int, *, count: int) -> float:
    """Nats per token that the first `count` stories of the collection `seed` cost whoever knows how they are made.

    No model that has not read them can have a loss much lower on them, each from its start to its end of text.
    """
    told = [tell(seed, index) for index in range(count)]
    return sum(story.nats for story in told) / sum(len(tokenizer.encode(story.text)) + 1 for story in told)


def build(out: Path, *, options: TrainingOptions) -> None:
    """Train the starter model as `options` say and save it to `out`; one seed, one model."""
    log.info("learning a tokenizer from %d stories", TOKENIZER_STORIES)
    tokenizer = train_bpe(stories(options.seed, TOKENIZER_STORIES), 2048)
    count = options.steps * options.batch_size  # each story begins one row
    log.info("writing %d stories", count)
    rows = story_rows(tokenizer, options.seed, count=count)
    validation = story_rows(tokenizer, options.seed + 1, count=VALIDATION_STORIES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=4, n_head=6, n_embd=192))
    lowest = floor(tokenizer, options.seed + 1, count=VALIDATION_STORIES)
    log.info("the floor under the loss is %.4f nats a token", lowest)
    log.info("training %d weights on %d tokens", model.config.parameters(), count * CONTEXT)
    losses = []
    for step in train(model, rows, options=options, validation=validation):
        losses.append(step.train_loss)
        if step.validation_loss is not None:
            line = "step %d: loss %.4f, validation %.4f, %.0f tokens/s"
            log.info(line, step.step, step.train_loss, step.validation_loss, step.tokens_per_second)
    recent = losses[-100:]
    about = About(
        source="gptdesk.starter",
        data=f"{count} stories of gptdesk.starter.world, seed {options.seed}; floor {lowest:.4f} nats a token",
        steps=options.steps,
        tokens=count * CONTEXT,
        loss=sum(recent) / len(recent),
        validation_loss=step.validation_loss,
        licence="MIT",
    )
    saved = save_checkpoint(out, model, tokenizer=tokenizer, about=about)
    log.info("saved %s, %.1f MB", saved.path, saved.size_bytes / 1e6)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gptdesk.starter", description=__doc__)
    parser.add_argument("--steps", type=int, default=4000, help="updates of the weights (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="stories in each step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of stories, weights and their order (default: 1)")
    parser.add_argument("--bfloat16", action="store_true", help="much faster on processors with AMX or AVX512-BF16")
    parser.add_argument(
        "--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint (default: the package's)"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = TrainingOptions(
            steps=given.steps,
            batch_size=given.batch_size,
            warmup_steps=min(100, given.steps // 10),
            seed=given.seed,
            precision="bfloat16" if given.bfloat16 else "float32",
            patience=0,
        )
        build(given.out, options=options)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
