"""Generation: prompt to stream of text."""

from gptdesk.generation.decoding import encode_prompt, generate, prompt_tokens
from gptdesk.generation.events import (
    FinishReason,
    GenerationEvent,
    GenerationQueued,
    GenerationResult,
    GenerationStart,
    GenerationStep,
    collect,
    cut_prompt,
)
from gptdesk.generation.request import (
    LONGEST_STOP,
    MAX_SEED,
    MOST_ALTERNATIVES,
    MOST_CHOICES,
    MOST_PHRASES,
    MOST_STOPS,
    MOST_WORDS,
    Constrained,
    GenerationRequest,
    StopText,
    draw_seed,
)
from gptdesk.generation.word_bias import read_word_bias, spelled_word_bias

__all__ = [
    "LONGEST_STOP",
    "MAX_SEED",
    "MOST_ALTERNATIVES",
    "MOST_CHOICES",
    "MOST_PHRASES",
    "MOST_STOPS",
    "MOST_WORDS",
    "Constrained",
    "FinishReason",
    "GenerationEvent",
    "GenerationQueued",
    "GenerationRequest",
    "GenerationResult",
    "GenerationStart",
    "GenerationStep",
    "StopText",
    "collect",
    "cut_prompt",
    "draw_seed",
    "encode_prompt",
    "generate",
    "prompt_tokens",
    "read_word_bias",
    "spelled_word_bias",
]
