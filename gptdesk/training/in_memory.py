"""Training on rows in memory, in one call: for scripts and tests."""

from collections.abc import Iterator

from torch import Tensor

from gptdesk.training.loader import TableRows
from gptdesk.training.options import TrainingOptions
from gptdesk.training.steps import TrainingStep
from gptdesk.training.trainer import Trainer
from models.gpt import GPT


def train(
    model: GPT, tokens: Tensor, *, options: TrainingOptions, validation: Tensor | None = None
) -> Iterator[TrainingStep]:
    """Train `model` in place on the rows of `tokens` (R, T + 1), in float32 unless the options ask for bfloat16.

    Each position learns to predict the next one; the `validation` rows are never trained on. Yields after each step.
    Raises ValueError for rows that do not suit the model, and as `Trainer.run`.
    """
    for rows in (tokens,) if validation is None else (tokens, validation):
        _check_rows(rows, model)
    bfloat16 = options.precision == "bfloat16"
    trainer = Trainer(model, TableRows(tokens), options=options, validation=validation, bfloat16=bfloat16)
    yield from trainer.run()


def _check_rows(rows: Tensor, model: GPT) -> None:
    longest = model.config.block_size + 1
    if rows.ndim != 2 or not len(rows) or not 2 <= rows.shape[1] <= longest:
        raise ValueError(f"training needs rows of 2 to {longest} tokens for this model, not {tuple(rows.shape)}")
    if rows.min() < 0 or rows.max() >= model.config.vocab_size:
        raise ValueError(
            f"the tokens go from {rows.min()} to {rows.max()}, outside the {model.config.vocab_size} known"
        )
