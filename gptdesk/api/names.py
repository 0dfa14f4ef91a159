"""Models, samplers and tokens by their names in requests and answers."""

from gptdesk.api.errors import Refused
from gptdesk.desk import Desk
from models.manager import ModelKey
from models.tokenizer import Tokenizer
from samplers import Chain


def find_model(desk: Desk, spelled: str, *, precision: str | None = None) -> ModelKey:
    """Return the model NAME or NAME:PRECISION; Refused with 404 if there is none, ValueError if it cannot be used."""
    name, colon, own = spelled.partition(":")
    if name not in desk.library.listed_names():
        listed = ", ".join(sorted(desk.library.listed_names())[:12])
        raise Refused(
            404, f"there is no model {name!r:.80}; there are: {listed}", param="model", code="model_not_found"
        )
    if colon and precision not in (None, own):
        raise Refused(400, f"model says {own!r:.60} and precision {precision!r:.60}; give one", param="precision")
    try:
        return desk.library.key(f"{name}:{own or precision}" if own or precision else name)
    except ValueError as error:
        if colon:
            raise Refused(404, str(error), param="model", code="model_not_found") from None
        raise Refused(400, str(error), param="precision" if precision else "model") from None


def check_samplers(desk: Desk, chain: Chain) -> None:
    """Raise ValueError for a sampler that this desk does not offer."""
    offered = desk.sampler_names()
    if other := next((one.name for one in chain.samplers if one.name not in offered), None):
        raise ValueError(f"there is no sampler {other!r:.60}; the samplers are: {', '.join(offered)}")


def token_name(tokenizer: Tokenizer, token: int) -> str:
    r"""Return the text of a token; one that is no text alone is spelled by its bytes, "bytes:\xf0\x9f"."""
    data = tokenizer.token_bytes(token)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
