"""nanoGPT's quick run on a CPU, by its own program and by ours, with the same network, recipe and text.

The user gives the folder of a clone of nanoGPT. `python -m benchmarks.nanogpt TEXT` is our side of the comparison.
"""

import json
import os
import pickle
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.speed import NANO
from gptdesk.system.environment import lacking
from gptdesk.training import Trainer, TrainingOptions, evaluate
from gptdesk.training.loader import StreamRows, held_out_rows
from models.checkpoint import Checkpoint
from models.gpt import GPT
from models.tokenizer import Tokenizer, character_tokenizer

ROWS, STEPS = 12, 2000
TOKENS = ROWS * NANO.block_size * STEPS
THEIRS = [  # of nanoGPT's README
    "config/train_shakespeare_char.py",
    *("--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1", f"--block_size={NANO.block_size}"),
    *(f"--batch_size={ROWS}", f"--n_layer={NANO.n_layer}", f"--n_head={NANO.n_head}", f"--n_embd={NANO.n_embd}"),
    *(f"--max_iters={STEPS}", f"--lr_decay_iters={STEPS}", "--dropout=0.0"),
]
OURS = TrainingOptions(
    steps=STEPS,
    batch_size=ROWS,
    optimizer="adamw",
    learning_rate=1e-3,
    warmup_steps=100,
    floor=0.1,
    evaluate_every=250,
    evaluation_tokens=20 * ROWS * NANO.block_size,
    precision="float32",
    patience=0,
)
STEP = re.compile(r"^iter \d+: loss [\d.]+, time ([\d.]+)ms", re.MULTILINE)


@dataclass(frozen=True)
class Trained:
    """Result of a run: median speed of its steps, time of its process, loss on all held-out text.

    `processor_seconds` is the processor time of all threads, which other programs affect little.
    """

    name: str
    tokens_per_second: float
    seconds: float
    processor_seconds: float
    loss: float  # nats per character
    tokens: int  # that it was trained on


def split(text: Path) -> tuple[np.ndarray, np.ndarray, Tokenizer]:
    """Return the first nine tenths of a text and its last tenth as character ids, as nanoGPT has them."""
    content = text.read_text(encoding="utf-8")
    tokenizer = character_tokenizer(content)
    ids = np.array(tokenizer.encode(content), dtype=np.uint16)
    cut = int(len(content) * 0.9)
    return ids[:cut], ids[cut:], tokenizer


def loss(model: GPT, held_out: np.ndarray) -> float:
    """Return the mean loss over all of a text, in rows as long as the model's context."""
    rows = held_out_rows(held_out, model.config.block_size, most=len(held_out))
    assert rows is not None
    return evaluate(model, rows)


def run_theirs(clone: Path, text: Path) -> Trained:
    """Run nanoGPT's train.py in a folder with the text in its format. Raises ValueError if it fails."""
    with TemporaryDirectory(prefix="gptdesk-bench-") as temporary:
        data = Path(temporary) / "data" / "shakespeare_char"
        data.mkdir(parents=True)
        (Path(temporary) / "config").symlink_to(clone / "config")
        (Path(temporary) / "configurator.py").symlink_to(clone / "configurator.py")
        train, held_out, tokenizer = split(text)
        train.tofile(data / "train.bin")
        held_out.tofile(data / "val.bin")
        with open(data / "meta.pkl", "wb") as file:
            pickle.dump({"vocab_size": tokenizer.vocab_size}, file)
        output, *times = _timed([sys.executable, str(clone / "train.py"), *THEIRS, "--out_dir=out"], temporary)
        steps = [float(ms) for ms in STEP.findall(output)][STEPS // 10 :]
        model = their_model(Path(temporary) / "out" / "ckpt.pt", vocab_size=tokenizer.vocab_size)
    speed = ROWS * NANO.block_size / statistics.median(steps) * 1e3
    return Trained("nanoGPT", speed, *times, loss(model, held_out), TOKENS)


def their_model(path: Path, *, vocab_size: int) -> GPT:
    """Return the network in nanoGPT's ckpt.pt as one of ours."""
    assert vocab_size == NANO.vocab_size
    weights = torch.load(path, weights_only=True)["model"]
    model = GPT(NANO)
    model.load_state_dict(
        {name.removeprefix("transformer."): weights[name] for name in weights if "lm_head" not in name}
    )
    return model


def run_ours(text: Path) -> Trained:
    """Run nanoGPT's recipe by our trainer, in a process with the environment of the desk's training."""
    output, *times = _timed([sys.executable, "-m", "benchmarks.nanogpt", str(text.resolve())])
    result = json.loads(output)
    return Trained("the same recipe, ours", result["tokens_per_second"], *times, result["loss"], TOKENS)


def run_recipe(text: Path, *, steps: int) -> Trained:
    """Run `gptdesk train` with nanoGPT's tokenizer, size, block and batch, and the defaults for everything else."""
    with TemporaryDirectory(prefix="gptdesk-bench-") as home:
        shape = ["--tokenizer", "chars", "--preset", "mini", "--block-size", str(NANO.block_size)]
        command = [sys.executable, "-m", "gptdesk", "--home", home, "train", "--name", "run", *shape]
        command += ["--data", str(text.resolve()), "--batch-size", str(ROWS), "--steps", str(steps)]
        _, *times = _timed(command)
        lines = (Path(home) / "runs" / "run" / "metrics.jsonl").read_text().splitlines()
        speed = statistics.median(json.loads(line)["tokens_per_second"] for line in lines)
        model = Checkpoint.open(Path(home) / "models" / "run").load_model()
    tokens = ROWS * NANO.block_size * steps
    return Trained(f"our defaults, {steps} steps", speed, *times, loss(model, split(text)[1]), tokens)


def _timed(command: Sequence[str], folder: str | None = None) -> tuple[str, float, float]:
    """Run a program; return its output, seconds, and processor seconds. Raises ValueError if it fails."""
    environment = os.environ | lacking(os.environ)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise ValueError(f"{command[1:3]} ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train_ours(text: Path) -> dict[str, float]:
    """Train by nanoGPT's recipe with our trainer; return the speed and the loss."""
    train, held_out, _ = split(text)
    torch.manual_seed(OURS.seed)
    model, rows = GPT(NANO), StreamRows(train, NANO.block_size, seed=OURS.seed)
    validation = held_out_rows(held_out, NANO.block_size, most=OURS.evaluation_tokens)
    steps = list(Trainer(model, rows, options=OURS, validation=validation).run())
    speed = statistics.median(step.tokens_per_second for step in steps[STEPS // 10 :])
    return {"tokens_per_second": speed, "loss": loss(model, held_out)}


if __name__ == "__main__":
    print(json.dumps(train_ours(Path(sys.argv[1]))))
