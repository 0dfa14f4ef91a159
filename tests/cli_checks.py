"""What the tests of the command line share: run a command, and look at what it printed."""

import io
import json
import sys

import pytest

from gptdesk.__main__ import main

Capture = pytest.CaptureFixture[str]
# `gptdesk train` of a run that takes a moment
SHAPE = ("--tokenizer", "chars", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16")
QUICK = (
    *SHAPE,
    "--steps",
    "6",
    "--batch-size",
    "4",
    "--lr",
    "1e-2",
    "--warmup",
    "1",
    "--eval-every",
    "3",
    "--seed",
    "7",
)


def answer(capsys: Capture, *arguments: str) -> dict:
    """The JSON that these arguments and --json print, ending with exit code 0."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys: Capture, *arguments: str) -> str:
    """The one line on stderr with which these arguments end, after exit code 2 and nothing on stdout."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in err
    return err


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let the standard input hold `data`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
