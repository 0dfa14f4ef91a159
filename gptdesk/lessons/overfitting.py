"""Lesson on overfitting: a small network is trained on one story, and measured on another."""

import random
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gptdesk.lessons.material import quoted_text
from gptdesk.lessons.tasks import ChoiceTask, Lesson, Option, Task, options
from gptdesk.starter.stories import generate_stories
from gptdesk.training.optimizer import AdamW
from models.gpt import GPT, GPTConfig
from models.manager import ModelManager

CONTEXT, ROWS, STEPS, EVERY = 32, 6, 240, 24  # tokens, sequences in a step, steps, steps between two measurements
LETTERS = 200  # characters of each story
BEGIN, SHOWN = 16, 90  # characters of a sample: given, written
SHORT, LONG = 15, 40  # characters of a run that is the same


@dataclass(frozen=True)
class _Trained:
    """Losses of a training, and what the network at its end writes."""

    steps: tuple[int, ...]
    seen: tuple[float, ...]  # loss on the story that it is trained on, nats per character
    unseen: tuple[float, ...]  # on the other one
    story: str  # that it is trained on
    sample: str  # that it writes after the first characters of the story
    same: str  # longest run of characters that both have

    @property
    def best(self) -> int:
        """Index of the least loss on the unseen story."""
        return min(range(len(self.unseen)), key=self.unseen.__getitem__)


def _make(manager: ModelManager, source: random.Random) -> tuple[Task, ...]:
    trained = _train(source)
    return _stop(trained), _gap(trained, source), _copied(trained, source)


def _train(source: random.Random) -> _Trained:
    """Train a network of characters on a story, with its losses every EVERY steps."""
    seed = source.randrange(10_000, 1_000_000)
    stories = [story.text[:LETTERS] for story in generate_stories(seed, 2)]
    alphabet = sorted(set("".join(stories)))
    seen, unseen = (torch.tensor([alphabet.index(letter) for letter in story]) for story in stories)
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # the initial weights must not change what others draw
        torch.manual_seed(seed)
        network = GPT(GPTConfig(vocab_size=len(alphabet), block_size=CONTEXT, n_layer=2, n_head=2, n_embd=64))
    groups = [{"params": list(network.parameters()), "weight_decay": 0.01}]
    optimizer = AdamW(groups, lr=4e-3, betas=(0.9, 0.999), fused=False)
    losses = [(0, _loss(network, seen), _loss(network, unseen))]
    for step in range(1, STEPS + 1):
        starts = torch.randint(len(seen) - CONTEXT, (ROWS, 1), generator=draws)
        # (B, 1) + (T + 1,) -> (B, T + 1)
        batch = seen[starts + torch.arange(CONTEXT + 1)]
        loss = network.loss(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            losses.append((step, _loss(network, seen), _loss(network, unseen)))
    sample = "".join(alphabet[i] for i in _continue(network, seen[:BEGIN], SHOWN))
    run = SequenceMatcher(None, stories[0], sample[BEGIN:], autojunk=False).find_longest_match()
    same = stories[0][run.a : run.a + run.size]
    steps, on_seen, on_unseen = zip(*losses, strict=True)
    return _Trained(steps, on_seen, on_unseen, stories[0], sample, same)


@torch.inference_mode()
def _loss(network: GPT, text: Tensor) -> float:
    """Return the mean loss on a text (N,), in parts that fit the context."""
    N = (len(text) - 1) // CONTEXT * CONTEXT
    # (N,) -> (N / T, T)
    rows, targets = text[:N].view(-1, CONTEXT), text[1 : N + 1].view(-1, CONTEXT)
    return float(cross_entropy(network(rows).flatten(0, 1), targets.flatten()))


@torch.inference_mode()
def _continue(network: GPT, tokens: Tensor, count: int) -> list[int]:
    """Return tokens (T,) and the `count` likeliest after them."""
    for _ in range(count):
        following = network(tokens[None, -CONTEXT:])[0, -1].argmax()
        tokens = torch.cat((tokens, following[None]))
    return [int(token) for token in tokens]


def _table(trained: _Trained) -> str:
    rows = zip(trained.steps, trained.seen, trained.unseen, strict=True)
    lines = [f"step {step:>3}:   its own story {seen:.2f}   another story {unseen:.2f}" for step, seen, unseen in rows]
    return "\n".join(lines)


def _stop(trained: _Trained) -> Task:
    """Return the task to stop in time."""
    best = trained.best
    reply = f"At step {trained.steps[best]} the loss on the other story is lowest, {trained.unseen[best]:.2f}."
    return ChoiceTask(
        "A small network has just been trained on one story. These are its losses on that story and on another one "
        "that it never sees. After which step is it best at stories in general?",
        tuple(
            Option(
                f"Step {step}",
                i == best,
                reply,
                f"After step {step} the loss on the other story is {trained.unseen[i]:.2f}; another step has less.",
            )
            for i, step in enumerate(trained.steps)
        ),
        (("Losses", _table(trained)),),
    )


def _gap(trained: _Trained, source: random.Random) -> Task:
    """Return the task on what the end of the training did to the loss on both stories."""
    best, end = trained.best, -1
    seen, unseen = trained.seen[end] - trained.seen[best], trained.unseen[end] - trained.unseen[best]
    reply = (
        f"From step {trained.steps[best]} to {trained.steps[end]}, the loss on its own story changed by {seen:+.2f}, "
        f"that on the other one by {unseen:+.2f}."
    )
    hint = f"The loss on its own story changed by {seen:+.2f}; the table has that on the other one."
    return ChoiceTask(
        "What happens to the losses between that step and the last one?",
        options(
            source,
            Option("Both fall", seen < 0 and unseen < 0, reply, hint),
            Option("That on its own story falls, the other rises", seen < 0 <= unseen, reply, hint),
            Option("Neither falls", seen >= 0 and unseen >= 0, reply, hint),
        ),
        (("Losses", _table(trained)),),
    )


def _copied(trained: _Trained, source: random.Random) -> Task:
    """Return the task to see that the network repeats its story."""
    size = len(trained.same)
    reply = f"The longest run has {size} characters: {quoted_text(trained.same)}."

    def hint(low: int, high: int) -> str:
        if size >= high:
            return f"A longer run is in both: {quoted_text(trained.same[:high])} has {high} characters."
        return f"No run of {low} characters is in both."

    return ChoiceTask(
        f"After the last step, the network goes on from the first {BEGIN} characters of its story, with the likeliest "
        f"{SHOWN}. How long is the longest run of them that stands in the story, too?",
        options(
            source,
            Option(f"Fewer than {SHORT} characters", size < SHORT, reply, hint(0, SHORT)),
            Option(f"{SHORT} to {LONG - 1} characters", SHORT <= size < LONG, reply, hint(SHORT, LONG)),
            Option(f"{LONG} characters or more", size >= LONG, reply, hint(LONG, SHOWN + 1)),
        ),
        (("Its story", trained.story), ("The network writes", trained.sample)),
    )


LESSON = Lesson(
    "overfitting",
    "Overfitting",
    "Training lowers the loss on the training text. At first that helps with every text of its kind. Later the network "
    "**overfits**: it learns the training text itself, and becomes worse at others. Therefore a part of the text is "
    "kept back, the **validation split**, and training ends when the loss on it no longer falls.",
    _make,
)
