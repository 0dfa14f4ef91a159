"""Failures of an upload to the Hugging Face Hub, each as one sentence that says what to do."""

import contextlib
from collections.abc import Iterator

from models.download import reason_of
from models.hub.errors import SIGN_IN, http_errors

AGAIN = "run this again: large files that have arrived are not sent twice"


@contextlib.contextmanager
def one_sentence(repository: str, endpoint: str) -> Iterator[None]:
    """Turn an error of huggingface_hub into a ValueError that says in one sentence what to do."""
    from huggingface_hub.errors import GatedRepoError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ValueError(
            f"{repository} needs your token for the Hugging Face Hub, and this computer has none; make one that may "
            f"write at {endpoint}/settings/tokens, then {SIGN_IN}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ValueError(f"{repository} was not asked for, because HF_HUB_OFFLINE is set; unset it") from error
    except GatedRepoError as error:
        raise ValueError(f"{repository} is gated, and its conditions are not accepted by this account") from error
    except http_errors() as error:
        raise ValueError(_sentence(error, repository, endpoint)) from error
    except (KeyError, TypeError, AttributeError) as error:
        # a page to log in, say, where JSON is expected
        raise ValueError(f"{endpoint} does not answer like a Hugging Face Hub; check HF_ENDPOINT") from error
    except ValueError as error:
        if "\n" not in str(error) and not type(error).__name__.startswith("JSON"):
            raise
        raise ValueError(f"{endpoint} does not answer like a Hugging Face Hub; check HF_ENDPOINT") from error


@contextlib.contextmanager
def during_upload(repository: str) -> Iterator[None]:
    """Turn an error that may go away into a ValueError that says how to resume; refusals pass."""
    failures: tuple[type[Exception], ...] = (RuntimeError, *http_errors())  # the first: around an error of a transfer
    try:
        yield
    except failures as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if 400 <= status_of(cause) < 500 and not isinstance(error, RuntimeError):
            raise
        raise ValueError(f"the upload to {repository} was interrupted ({reason_of(cause)}); {AGAIN}") from error


def status_of(error: BaseException) -> int:
    """Return the status of the answer that an error is about, 0 if there was none."""
    return int(getattr(getattr(error, "response", None), "status_code", 0))


def _sentence(error: Exception, repository: str, endpoint: str) -> str:
    """Return what an error of HTTP means for an upload, and what to do."""
    status = status_of(error)
    known = {
        401: f"the Hugging Face Hub refuses the token of this computer; {SIGN_IN} again",
        402: f"the Hugging Face Hub asks for a paid plan to host {repository}; use --sdk static, which is free",
        403: f"the token of this computer may not write {repository}, or its plan does not allow that; make a token "
        f"that may at {endpoint}/settings/tokens, or choose another owner",
        404: f"{repository} is not on the Hugging Face Hub any more; run this again to create it",
        412: f"{repository} was changed by somebody else in the meantime; run this again",
        429: "the Hugging Face Hub gets too many requests from this account; run this again in some minutes",
    }
    if status in known:
        return known[status]
    if status >= 500:
        return f"the Hugging Face Hub has a fault ({reason_of(error)}); nothing is lost, run this again later"
    if status:
        message = " ".join(str(getattr(error, "server_message", None) or "").split())[:200]
        return f"the Hugging Face Hub refuses {repository} ({message or reason_of(error)})"
    return (
        f"{endpoint} could not be reached for {repository} ({reason_of(error)}); connect to the internet, and run this "
        "again"
    )
