"""Training of GPT models: text to tokens, tokens to steps, and run folders from which training can be resumed."""

from gptdesk.training.in_memory import train
from gptdesk.training.options import DataOptions, ModelOptions, TrainingOptions
from gptdesk.training.steps import TrainingDiverged, TrainingStep
from gptdesk.training.trainer import Trainer
from gptdesk.training.validation_loss import evaluate

__all__ = [
    "DataOptions",
    "ModelOptions",
    "Trainer",
    "TrainingDiverged",
    "TrainingOptions",
    "TrainingStep",
    "evaluate",
    "train",
]
