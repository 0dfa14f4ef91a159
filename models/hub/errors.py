"""Failures of the Hub, each as one sentence that says what to do."""

import contextlib
from collections.abc import Iterator

from models.download import reason_of
from models.hub.model import HubModel

SUGGESTED = ("gpt2", "distilgpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
HINT = f"known to work: {', '.join(SUGGESTED)}"
SIGN_IN = "sign in by `hf auth login` or set HF_TOKEN"


class UnreachableError(ValueError):
    """Failure that says nothing about the model: no network, or no answer of the Hub."""


def http_errors() -> tuple[type[Exception], ...]:
    """Return what a request raises: errors of the library's HTTP client, whichever it is, and OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__


@contextlib.contextmanager
def one_sentence(model: HubModel) -> Iterator[None]:
    """Turn an error of huggingface_hub into a ValueError that says in one sentence what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = model.id
    try:
        yield
    except GatedRepoError as error:  # before the one for a missing model, of which it is a kind
        raise ValueError(
            f"{name} on the Hugging Face Hub is gated: accept its conditions at {model.endpoint}/{name}, {SIGN_IN}, "
            "and run this again"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"there is no model {name} on the Hugging Face Hub, and no file or folder of that name; if it is private, "
            f"{SIGN_IN}; {HINT}"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{name} on the Hugging Face Hub has no revision {model.revision!r}") from error
    except OfflineModeIsEnabled as error:
        raise UnreachableError(f"{name} was not looked up on the Hub, for HF_HUB_OFFLINE is set") from error
    except http_errors() as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
        if status == 401:
            raise ValueError(f"the Hugging Face Hub refuses the token of this computer; {SIGN_IN} again") from error
        sentence = f"{name} could not be downloaded from {model.endpoint} ({reason_of(error)})"
        if not model.commit and not 400 <= status < 500:
            raise UnreachableError(sentence) from error
        raise ValueError(f"{sentence}; run this again, and it goes on where it stopped") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if model.commit or isinstance(error, UnreachableError):
            raise
        # a page to log in, say, where JSON is expected
        raise UnreachableError(f"{model.endpoint} does not answer like a Hugging Face Hub") from error
