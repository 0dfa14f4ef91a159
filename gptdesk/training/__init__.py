"""Training a GPT on rows of tokens, as a stream of steps."""

from gptdesk.training.trainer import TrainingDiverged, TrainingOptions, TrainingStep, evaluate, train

__all__ = ["TrainingDiverged", "TrainingOptions", "TrainingStep", "evaluate", "train"]
