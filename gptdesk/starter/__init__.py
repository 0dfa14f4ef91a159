"""Starter model of GPT Desk: story generator, training recipe and checkpoint."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"  # rebuilt by `python -m gptdesk.starter`
SOURCE = "gptdesk.starter"  # in its about.json, and at the beginning of that of its quantized copies
