"""Throughput of the API for one client and for several: `python -m benchmarks.clients`.

Each client asks for one text after the other. One client and all of them take turns, round after round, and the median
of the rounds' ratios counts: so a computer that is busy with other things changes little. All texts must be the same
for several clients as for one. Ends with code 1 if they are not, or if a ratio is below the goal.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.decode import random_checkpoint
from benchmarks.soak import running_desk
from models.gpt import PRESETS

GOAL = 2.5  # times the throughput of one client, for 8
PROMPTS = ("Once upon a time", "The fox", "Dear diary,", "Title:", "Anna", "One day, a dog", "In the garden", "Tom")


def ask(client: httpx.Client, body: dict[str, object]) -> tuple[str, int]:
    """Return the text of a request and the number of its tokens."""
    if not body.get("stream"):
        answer = client.post("/v1/completions", json=body).raise_for_status().json()
        return answer["choices"][0]["text"], answer["usage"]["completion_tokens"]
    text = ""
    with client.stream("POST", "/v1/completions", json=body) as lines:
        chunks = [json.loads(line[6:]) for line in lines.iter_lines() if line.startswith("data: {")]
    for chunk in chunks:
        text += "".join(choice["text"] for choice in chunk["choices"])
    return text, chunks[-1]["usage"]["completion_tokens"]


def measure(url: str, bodies: Iterable[list[dict[str, object]]]) -> tuple[float, list[list[str]]]:
    """Let clients ask at the same time, each for its bodies in turn; return tokens per second, and all texts."""

    def one(own: list[dict[str, object]]) -> list[tuple[str, int]]:
        with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
            return [ask(client, body) for body in own]

    work = list(bodies)
    with ThreadPoolExecutor(len(work)) as pool:
        started = time.perf_counter()
        answers = list(pool.map(one, work))
        seconds = time.perf_counter() - started
    tokens = sum(count for own in answers for _, count in own)
    return tokens / seconds, [[text for text, _ in own] for own in answers]


def compare(url: str, model: str, options: argparse.Namespace) -> bool:
    """Measure a model in turn, print the figures, and return whether the goal was met by the same texts."""
    # the tokenizer of random weights spells no such prompts
    prompts = [[*range(8 * i, 8 * i + 5)] for i in range(len(PROMPTS))] if model.startswith("random-") else PROMPTS
    bodies: list[dict[str, object]] = [
        {"model": model, "prompt": prompts[i % len(prompts)], "seed": i, "max_tokens": options.tokens}
        | ({"stream": True, "stream_options": {"include_usage": True}} if options.stream else {})
        for i in range(options.clients)
    ]
    measure(url, [bodies])  # the model is loaded
    ratios, speeds, same = [], [], True
    for _ in range(options.rounds):
        alone, texts = measure(url, [bodies])
        together, others = measure(url, [bodies[i:] + bodies[:i] for i in range(options.clients)])
        same &= all(own == texts[0][i:] + texts[0][:i] for i, own in enumerate(others))
        ratios.append(together / alone)
        speeds.append((alone, together))
    alone, together = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(ratios)
    met = same and ratio >= GOAL
    print(
        f"{model:18} 1 client {alone:7,.0f} tokens/s, {options.clients} clients {together:7,.0f}: "
        f"{ratio:.2f} x (rounds {min(ratios):.2f} to {max(ratios):.2f}), "
        f"texts {'the same' if same else 'DIFFER'}, goal {GOAL:g} x {'ok' if met else 'MISSED'}",
        flush=True,
    )
    return met


def main() -> int:
    """Measure models on a desk of this computer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models",
        nargs="*",
        default=["starter:float32", "starter:int8", "random-gpt2:int8"],
        help="starter, or random weights of the shape random-" + ", random-".join(PRESETS),
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=100, help="of each text, at most (default: 100)")
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    options = parser.parse_args()
    with running_desk(threads=None) as desk:
        for preset in PRESETS:
            if any(model.startswith(f"random-{preset}:") for model in options.models):
                random_checkpoint(preset, Path(desk.home) / "models")
        return 0 if all([compare(desk.url, model, options) for model in options.models]) else 1


if __name__ == "__main__":
    sys.exit(main())
