"""Numbers and tokenizer of a foreign model that a user gives, where its file does not say them."""

from dataclasses import dataclass

from models.gpt import GELU, LIMITS


@dataclass(frozen=True)
class ImportOptions:
    """Numbers and tokenizer of a foreign model; raises ValueError, naming the option, for what no model has."""

    n_head: int = 0  # attention heads; 0: as the file says
    activation: str = ""  # "gelu_tanh" or "gelu_erf"; empty: as the file says
    tokenizer: str = ""  # "gpt2", or the path of a file or folder; empty: the one beside the model

    def __post_init__(self) -> None:
        if type(self.n_head) is not int or not 0 <= self.n_head <= LIMITS["n_head"]:
            raise ValueError(f"n_head must be a whole number from 1 to {LIMITS['n_head']}, not {self.n_head!r}")
        if self.activation not in ("", *GELU):
            raise ValueError(f"activation must be one of {', '.join(GELU)}, not {self.activation!r:.60}")
