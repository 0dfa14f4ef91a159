"""The model that GPT Desk comes with: a generator of stories, the recipe that trains on them, and the checkpoint."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"  # rebuilt by `python -m gptdesk.starter`
