"""Foreign formats of GPT-2 models: each a module that recognises its files and reads them, without running code."""

from models.formats import build_nanogpt, gguf, gptmodel, huggingface, mingpt, nanogpt, state_dict
from models.formats.conversion import Format

# the first that recognises a file reads it
FORMATS: tuple[Format, ...] = (gguf, huggingface, nanogpt, build_nanogpt, mingpt, gptmodel, state_dict)
