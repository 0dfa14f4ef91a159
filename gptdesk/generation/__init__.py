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
from gptdesk.generation.request import LONGEST_STOP, MAX_SEED, MOST_ALTERNATIVES, GenerationRequest, draw_seed

__all__ = [
    "LONGEST_STOP",
    "MAX_SEED",
    "MOST_ALTERNATIVES",
    "FinishReason",
    "GenerationEvent",
    "GenerationQueued",
    "GenerationRequest",
    "GenerationResult",
    "GenerationStart",
    "GenerationStep",
    "collect",
    "cut_prompt",
    "draw_seed",
    "encode_prompt",
    "generate",
    "prompt_tokens",
]
