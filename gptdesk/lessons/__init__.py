"""Lessons on the starter, with tasks whose answers are computed, and Shannon's game."""

from gptdesk.lessons import attention, overfitting, quantization, temperature, top_k_top_p
from gptdesk.lessons.tasks import Lesson

LESSONS: tuple[Lesson, ...] = (
    temperature.LESSON,
    top_k_top_p.LESSON,
    quantization.LESSON,
    overfitting.LESSON,
    attention.LESSON,
)
