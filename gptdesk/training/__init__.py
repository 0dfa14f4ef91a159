"""Training a GPT: text to tokens, tokens to steps, and the folder in which a run keeps all it needs to go on."""

from gptdesk.training.options import DataOptions, ModelOptions, TrainingOptions
from gptdesk.training.trainer import Trainer, TrainingDiverged, TrainingStep, evaluate, train

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
