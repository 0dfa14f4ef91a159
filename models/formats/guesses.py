"""Best guesses for numbers that a foreign file does not say, by the loss of each on a sentence."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from models.checkpoint import Checkpoint
from models.formats.network import usual_heads
from models.gpt import GELU, GPT, GPTConfig
from models.tokenizer import Tokenizer
from models.weights import TensorSource, build_network, read_weight

SENTENCE = (
    "Once upon a time there was a king who had three sons, and one day the youngest of them said that he would go out "
    "into the world to see what he could find."
)
LEAST_TOKENS = 16
MOST_PARAMETERS = 400_000_000  # of a network that is tried
WIDTHS = (8, 256)  # channels that a head has at least and at most
CLEARLY = 0.02  # nats: by less, the usual number is as likely


def best_config(checkpoint: Checkpoint, missing: tuple[str, ...], tokenizer: Tokenizer | None) -> tuple[GPTConfig, str]:
    """Return the network with the likeliest of the numbers that are missing, and the reason for them."""
    numbers = [name for name in missing if name != "tokenizer"]
    if losses := _losses(checkpoint, numbers, tokenizer):
        best = _best(losses, checkpoint.config)
        return best, f"the likeliest by its loss on a sentence, {losses[best]:.2f} nats per token"
    return checkpoint.config, "the usual for its width"


def doubt(checkpoint: Checkpoint, given: list[str], tokenizer: Tokenizer | None) -> str | None:
    """Return the sentence that other numbers than those given are likelier, None if they are not or cannot be tried."""
    losses, config = _losses(checkpoint, given, tokenizer), checkpoint.config
    if not losses or (best := _best(losses, config)) == config:
        return None
    return (
        f"its loss on a sentence is {losses[best]:.2f} nats per token with {flags_of(best, given)}, and "
        f"{losses[config]:.2f} with the numbers that were given; remove it and import it with the others if it writes "
        "nonsense"
    )


def _losses(checkpoint: Checkpoint, numbers: list[str], tokenizer: Tokenizer | None) -> dict[GPTConfig, float]:
    """Return the loss on the sentence with each possible value of the numbers; empty if it cannot be measured."""
    tokens = _tokens(tokenizer, checkpoint.config) if tokenizer and numbers else None
    if tokens is None or checkpoint.parameters > MOST_PARAMETERS:
        return {}
    model = _network(checkpoint)
    return {candidate: _loss(model, candidate, tokens) for candidate in _candidates(checkpoint.config, numbers)}


def _best(losses: dict[GPTConfig, float], usual: GPTConfig) -> GPTConfig:
    """Return the network with the lowest loss, the usual one if that is not clearly higher."""
    best = min(losses, key=losses.__getitem__)
    return best if losses[best] < losses[usual] - CLEARLY else usual


def flags_of(config: GPTConfig, numbers: Iterable[str]) -> str:
    """Return these numbers of a network as flags of the command."""
    return " ".join(f"--{name.replace('_', '-')} {getattr(config, name)}" for name in numbers)


def _candidates(config: GPTConfig, numbers: list[str]) -> Iterator[GPTConfig]:
    C = config.n_embd
    heads = {h for h in range(1, C + 1) if C % h == 0 and WIDTHS[0] <= C // h <= WIDTHS[1]} | {
        usual_heads(C),
        config.n_head,
    }
    chosen = sorted(heads) if "n_head" in numbers else [config.n_head]
    activations = GELU if "activation" in numbers else [config.activation]
    for n_head, activation in itertools.product(chosen, activations):
        yield replace(config, n_head=n_head, activation=activation)  # type: ignore[arg-type]


def _tokens(tokenizer: Tokenizer, config: GPTConfig) -> torch.Tensor | None:
    """Return the ids (1, T) of the sentence, without characters that the tokenizer lacks; None if too few are left."""
    text = "".join(character for character in SENTENCE if _knows(tokenizer, character))
    ids = tokenizer.encode(text)[: config.block_size + 1]
    return torch.tensor([ids]) if len(ids) > LEAST_TOKENS else None


def _knows(tokenizer: Tokenizer, character: str) -> bool:
    try:
        tokenizer.encode(character)
    except ValueError:
        return False
    return True


def _network(checkpoint: Checkpoint) -> GPT:
    """Return the network in float32, of a quantized checkpoint with its matrices decoded."""
    config, weights = checkpoint.config, checkpoint.open_weights()
    precision = checkpoint.quantized
    if precision is None:
        return build_network(config, weights)
    tensors = {name: value for name in weights.names() if (value := weights.read(name)) is not None}
    for matrix, (N, K) in precision.matrices(config).items():
        encoding = precision.encoding(matrix, config)
        parts = {
            part: read_weight(weights, f"{matrix}.{part}", shape) for part, (shape, _) in encoding.stored(N, K).items()
        }
        tensors[f"{matrix}.weight"] = encoding.decode(parts)
    return build_network(config, TensorSource(tensors))


@torch.inference_mode()
def _loss(model: GPT, config: GPTConfig, tokens: torch.Tensor) -> float:
    """Return the loss on tokens (1, T) in nats of the network with the same weights and the numbers of `config`."""
    with torch.device("meta"):
        network = GPT(config)
    network.load_state_dict(model.state_dict(), assign=True)
    loss = float(network.eval().loss(tokens[:, :-1], tokens[:, 1:]))
    return loss if math.isfinite(loss) else math.inf
