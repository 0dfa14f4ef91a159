"""Hugging Face folders: what real `transformers` makes of a GPT-2 folder is what we make of it, or one sentence.

Every folder is written by `transformers` and `tokenizers`. Greedy text and logits are theirs, ours are compared.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import training_checks
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, decoders, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import models as their_models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2DoubleHeadsModel,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from gptdesk.generation import GenerationRequest, GenerationResult, collect, generate
from gptdesk.training import ModelOptions, TrainingOptions, control
from gptdesk.training.plan import RunPlan
from models.checkpoint import Checkpoint
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import BytePairTokenizer, Tokenizer
from samplers import Chain

transformers_logging.disable_progress_bar()


@pytest.fixture(scope="module", autouse=True)
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from reporting on folders that are meant to be odd."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    yield
    transformers_logging.set_verbosity(verbosity)


END = "<|endoftext|>"
WEIGHTS = "model.safetensors"
TEXTS = [
    "The quick brown fox isn't lazy; it jumps over 1234 dogs.\n\n",
    "Bär über die Brücke, 你好 🙂  tabs\tand   spaces",
]
PROMPT = "The fox jumps"
GREEDY = Chain.from_data([{"name": "greedy"}])
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NEW = 12
LOGITS = 1e-4  # largest difference


@dataclass(frozen=True)
class Folder:
    """A folder of theirs."""

    path: Path

    @property
    def model(self) -> GPT2LMHeadModel:
        return AutoModelForCausalLM.from_pretrained(self.path).eval()

    @property
    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.path)

    def greedy(self, prompt: str, *, new: int = NEW, plain: bool = True) -> tuple[list[int], list[int]]:
        """Return the ids that theirs reads for a prompt, and those it generates."""
        tokenizer, model = self.tokenizer, self.model
        ids = tokenizer(prompt, split_special_tokens=plain)["input_ids"] if prompt else []
        given = torch.tensor([ids]) if ids else None
        out = model.generate(given, do_sample=False, max_new_tokens=new)[0].tolist()
        start = len(ids) or 1
        return out[:start], out[start:]

    def change(self, name: str, **fields: object) -> None:
        """Set fields of a JSON file."""
        file = self.path / name
        data = json.loads(file.read_text("utf-8")) if file.exists() else {}
        file.write_text(json.dumps(data | fields), "utf-8")

    def tensors(self, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        """Change the tensors of the weight file."""
        tensors = load_file(self.path / WEIGHTS)
        change(tensors)
        save_file({name: value.contiguous() for name, value in tensors.items()}, self.path / WEIGHTS)


def backend(*, specials: tuple[str, ...] = (END,), vocab_size: int = 330, alphabet: bool = True) -> Any:
    """A byte-level BPE as `tokenizers` trains it, its special tokens at the end."""
    made = HuggingFaceTokenizer(their_models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet()) if alphabet else []
    size = vocab_size - len(specials)
    made.train_from_iterator(
        TEXTS * 5, trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters, show_progress=False)
    )
    made.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    return made


def network(kind: type = GPT2LMHeadModel, **changes: object) -> Any:
    """A small random model in which every weight matters, and which ends no text by itself."""
    torch.manual_seed(5)
    shape = {"vocab_size": 336, "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4}
    ids: dict[str, object] = {"bos_token_id": None, "eos_token_id": None}
    model = kind(GPT2Config(**(shape | ids | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    return model.eval()


def gpt2_tokenizer_of(made: Any, **fields: object) -> Any:
    """Their GPT2Tokenizer with the vocabulary and the added tokens of a backend."""
    data = json.loads(made.to_str())["model"]
    merges = [tuple(merge) for merge in data["merges"]]
    tokenizer = GPT2Tokenizer(vocab=data["vocab"], merges=merges, **fields)
    tokenizer.add_tokens([token for _, token in sorted(made.get_added_tokens_decoder().items())])
    return tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A plain folder of theirs; tests change it."""
    return written(tmp_path / "theirs", network(), gpt2_tokenizer_of(backend()))


def written(path: Path, model: Any, tokenizer: Any, **options: object) -> Folder:
    model.save_pretrained(path, **options)
    tokenizer.save_pretrained(path)
    return Folder(path)


def manager_of(folder: Folder) -> ModelManager:
    return ModelManager(ModelLibrary(folder.path.parent, cache_folder=folder.path.parent.parent / "cache"))


def lent(folder: Folder) -> LoadedModel:
    with manager_of(folder).lend(ModelKey(folder.path.name)) as loaded:
        return loaded


def ours(loaded: LoadedModel, prompt: str, *, new: int = NEW, **fields: object) -> GenerationResult:
    request = GenerationRequest(prompt=prompt, chain=GREEDY, max_new_tokens=new, seed=0, **fields)
    return collect(generate(loaded, request), n=1)


def check_same(folder: Folder, prompt: str = PROMPT) -> None:
    """Assert that a folder's logits and its greedy text, with no id that ends it, are theirs."""
    loaded = lent(folder)
    read, expected = folder.greedy(prompt)
    ids = torch.tensor([read + expected])
    with torch.no_grad():
        logits = folder.model(ids).logits
    network = Checkpoint.open(folder.path).load_model()
    with torch.no_grad():
        assert (network(ids) - logits).abs().max() < LOGITS
    assert (loaded.model(ids) - logits).abs().max() < LOGITS
    result = ours(loaded, prompt)
    assert result.tokens[0] == expected
    assert result.texts[0] == folder.tokenizer.decode(expected)


# Networks


def only_the_head(folder: Folder) -> None:
    """As a file that was written from the head's side of a tied table."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors.pop("transformer.wte.weight")

    folder.tensors(change)


def equal_head(folder: Folder) -> None:
    folder.tensors(lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"].clone()}))


def another_head(folder: Folder) -> None:
    generator = torch.Generator().manual_seed(1)
    head = torch.randn(336, 48, generator=generator)
    folder.tensors(lambda tensors: tensors.update({"lm_head.weight": head}))


@pytest.mark.parametrize("spoil", [only_the_head, equal_head, another_head])
def test_a_head_beside_or_in_place_of_the_tied_table(spoil: Callable[[Folder], None], folder: Folder) -> None:
    spoil(folder)
    check_same(folder)
    assert Checkpoint.open(folder.path).config.tied is (spoil is not another_head)


NETWORKS = {
    "plain": {},
    "upcast": {"reorder_and_upcast_attn": True},
    "scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
    "not scaled": {"scale_attn_weights": False},
    "wide inside": {"n_inner": 250},
    "narrow inside": {"n_inner": 32},
    "four times": {"n_inner": 192},
    **{
        name: {"activation_function": name}
        for name in (
            *("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh"),
            *("gelu_accurate", "quick_gelu", "relu", "silu", "swish"),
        )
    },
}


@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)
def test_a_variant_of_the_network(changes: dict[str, object], tmp_path: Path) -> None:
    check_same(written(tmp_path / "a" / "theirs", network(**changes), gpt2_tokenizer_of(backend())))


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8-dynamic", "int4"])
@pytest.mark.parametrize(("n_embd", "n_inner"), [(48, 250), (64, 96), (64, 100)])
def test_a_variant_at_another_precision(precision: str, n_embd: int, n_inner: int, tmp_path: Path) -> None:
    if reason := PRECISIONS[precision].missing():
        pytest.skip(reason)
    model = network(n_embd=n_embd, n_inner=n_inner, activation_function="relu", scale_attn_by_inverse_layer_idx=True)
    model.save_pretrained(tmp_path)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        logits = model(ids).logits
    engine = Checkpoint.open(tmp_path).load_engine(PRECISIONS[precision])
    assert torch.cosine_similarity(engine(ids), logits, dim=-1).min() > (0.97 if precision == "int4" else 0.99)


@pytest.mark.parametrize("activation", ["gelu_10", "tanh", "mish"])
def test_an_activation_that_does_not_run_is_refused(activation: str, folder: Folder) -> None:
    folder.change("config.json", activation_function=activation)
    with pytest.raises(ValueError, match=f"activation_function = '{activation}'; .*relu.* are supported"):
        Checkpoint.open(folder.path)


def test_the_heads_of_other_tasks_are_ignored_and_said(tmp_path: Path) -> None:
    model = network(GPT2DoubleHeadsModel, num_labels=1)
    folder = written(tmp_path / "a" / "theirs", model, gpt2_tokenizer_of(backend()))
    check_same(folder)
    (remark,) = Checkpoint.open(folder.path).remarks
    assert "multiple_choice_head.summary.weight" in remark


def test_weights_in_several_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "a" / "theirs", network(), gpt2_tokenizer_of(backend()), max_shard_size="40KB")
    assert len(list(folder.path.glob("*.safetensors"))) > 2
    check_same(folder)
    first = min(folder.path.glob("*.safetensors"))
    first.rename(first.with_suffix(".away"))
    with pytest.raises(ValueError, match=f"lacks {first.name}"):
        Checkpoint.open(folder.path)


@pytest.mark.parametrize("name", ["../theirs.safetensors", "/etc/passwd", "a/b.safetensors", ".", 5])
def test_an_index_names_no_file_outside_its_folder(name: object, folder: Folder) -> None:
    tensors = load_file(folder.path / WEIGHTS)
    (folder.path / WEIGHTS).rename(folder.path.parent / "theirs.safetensors")
    folder.change("model.safetensors.index.json", weight_map=dict.fromkeys(tensors, name))
    with pytest.raises(ValueError, match="is no file of its folder"):
        Checkpoint.open(folder.path)


def test_a_pickle_is_sent_to_the_import(folder: Folder) -> None:
    (folder.path / WEIGHTS).rename(folder.path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="import it with `gptdesk models import "):
        Checkpoint.open(folder.path)


# The end and the beginning of a text


def generated(folder: Folder) -> list[int]:
    """The greedy ids after PROMPT while nothing ends them; the first of each is what the tests end at."""
    _, ids = folder.greedy(PROMPT)
    assert len(set(ids[:4])) > 2, "the model repeats itself; choose another seed"
    return ids


def drop_ids(folder: Folder, *names: str) -> None:
    for name in names:
        folder.change(name, bos_token_id=None, eos_token_id=None, pad_token_id=None)


@pytest.mark.parametrize("place", ["generation_config.json", "config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("several", [False, True])
def test_a_text_ends_at_any_id_of_the_first_file_that_has_some(place: str, several: bool, folder: Folder) -> None:
    ids = generated(folder)
    end = ids[3]
    at = ids.index(end)
    drop_ids(folder, "generation_config.json", "config.json")
    if place == "tokenizer_config.json":
        text = folder.tokenizer.convert_ids_to_tokens(end)
        folder.change(place, eos_token=text)
    else:
        folder.change(place, eos_token_id=[335, end] if several else end)
        if place == "generation_config.json":
            folder.change("config.json", eos_token_id=ids[0])  # which would end it at once
        else:
            (folder.path / "generation_config.json").unlink()
        assert folder.greedy(PROMPT)[1] == ids[: at + 1]
    result = ours(lent(folder), PROMPT)
    assert (result.tokens[0], result.finish_reasons) == (ids[: at + 1], ["stop"])
    assert result.texts[0] == folder.tokenizer.decode(ids[:at])


def test_ids_outside_the_vocabulary_end_nothing(folder: Folder) -> None:
    folder.change("config.json", bos_token_id=50256, eos_token_id=50256)  # their defaults, of GPT-2's vocabulary
    folder.change("generation_config.json", bos_token_id=50256, eos_token_id=50256)
    check_same(folder)
    assert lent(folder).tokenizer.end_of_text == 329  # of the tokenizer, which says <|endoftext|>


@pytest.mark.parametrize("ids", ["x", [1, "x"], True, 1.5, {"a": 1}])
def test_an_id_that_is_none_is_refused(ids: object, folder: Folder) -> None:
    folder.change("generation_config.json", eos_token_id=ids)
    with pytest.raises(ValueError, match=r"generation_config.json has eos_token_id = .*, which is no token id"):
        Checkpoint.open(folder.path)


def test_an_empty_prompt_starts_with_the_beginning_of_text(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer_of(backend(specials=("<s>", "</s>")), bos_token="<s>", eos_token="</s>")
    folder = written(tmp_path / "a" / "theirs", network(), tokenizer)
    folder.change("generation_config.json", bos_token_id=328, eos_token_id=329)
    read, expected = folder.greedy("")
    assert read == [328]
    assert ours(lent(folder), "").tokens[0] == expected
    # nothing but the tokenizer says so
    drop_ids(folder, "generation_config.json", "config.json")
    assert ours(lent(folder), "").tokens[0] == expected
    assert lent(folder).tokenizer.end_of_text == 329


# Tokenizers


CHECKED = [
    *TEXTS,
    PROMPT,
    "",
    " ",
    "Hello!!! What's up? I'll go !",
    "  the fox,\n\n\tthe <|endoftext|> fox <pad> and the foxes",
    "naïve ZWEI zwei Zweig x<b>y <B> left  <c>  right",
    "e\u0301 🙂🙂 \u00a0 日本",
]


def check_ids(folder: Folder, texts: list[str] = CHECKED) -> Tokenizer:
    """Assert that prompts have the ids of theirs, special tokens typed as plain text and parsed."""
    theirs = folder.tokenizer
    tokenizer = Checkpoint.open(folder.path).load_tokenizer()
    for text in texts:
        for plain in (True, False):
            expected = theirs(text, split_special_tokens=plain)["input_ids"]
            assert tokenizer.encode_prompt(text, parse_special=not plain) == expected, (text, plain)
        ids = tokenizer.encode(text)
        assert ids == theirs(text, split_special_tokens=True, add_special_tokens=False)["input_ids"], text
    return tokenizer


def test_a_plain_tokenizer(folder: Folder) -> None:
    assert isinstance(check_ids(folder), BytePairTokenizer)
    check_same(folder)


WORDS = {
    "plain": AddedToken("ZWEI"),
    "several": [AddedToken("fox"), AddedToken("foxes"), AddedToken("the fox,")],
    "not normalized": AddedToken("ZWEI", normalized=False),
    "whole words": AddedToken("zwei", single_word=True),
    "blanks": AddedToken("<c>", lstrip=True, rstrip=True),
    "special": AddedToken("<b>", special=True),
    "special blanks": AddedToken("<pad>", special=True, lstrip=True),
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("kind", [GPT2Tokenizer, PreTrainedTokenizerFast])
def test_added_words_have_their_ids(words: Any, kind: type, tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer_of(backend())
    if kind is PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend(), eos_token=END)
    tokenizer.add_tokens(words)
    folder = written(tmp_path / "a" / "theirs", network(), tokenizer)
    check_ids(folder)
    check_same(folder, "The ZWEI fox <c> jumps")
    for text in ("ZWEI", "fox", "<c>"):
        tokenizer = Checkpoint.open(folder.path).load_tokenizer()
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", [GPT2Tokenizer, PreTrainedTokenizerFast])
@pytest.mark.parametrize("template", ["<s> $A", "<s> $A </s>", "$A"])
def test_a_template_puts_its_ids_around_a_prompt(kind: type, template: str, tmp_path: Path) -> None:
    made = backend(specials=("<s>", "</s>"))
    post = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 328), ("</s>", 329)])
    ends = {"bos_token": "<s>", "eos_token": "</s>"}
    if kind is GPT2Tokenizer:
        tokenizer = gpt2_tokenizer_of(made, **ends)
        tokenizer.backend_tokenizer.post_processor = post
    else:
        made.post_processor = post
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **ends)
    folder = written(tmp_path / "a" / "theirs", network(), tokenizer)
    found = check_ids(folder)
    assert ("<s>" in template) == (found.encode_prompt("fox")[0] == 328)
    check_same(folder)


@pytest.mark.parametrize("fields", [{}, {"add_bos_token": True}, {"add_bos_token": True, "add_eos_token": True}])
def test_the_two_older_files_take_add_bos_token_from_the_settings(fields: dict[str, bool], folder: Folder) -> None:
    data = json.loads((folder.path / "tokenizer.json").read_text("utf-8"))["model"]
    (folder.path / "tokenizer.json").unlink()
    (folder.path / "vocab.json").write_text(json.dumps(data["vocab"]), "utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in data["merges"])]
    (folder.path / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    folder.change("tokenizer_config.json", **fields)
    found = check_ids(folder)
    assert (found.encode_prompt("fox")[0] == 329) == bool(fields)
    check_same(folder)


def test_with_tokenizer_json_add_bos_token_means_nothing_to_them_and_to_us(folder: Folder) -> None:
    folder.change("tokenizer_config.json", add_bos_token=True)
    assert check_ids(folder).encode_prompt("fox")[0] != 329


def test_with_their_class_for_gpt2_a_prefix_space_in_tokenizer_json_means_nothing(folder: Folder) -> None:
    folder.change("tokenizer.json", pre_tokenizer=BYTE_LEVEL | {"add_prefix_space": True})
    check_ids(folder)
    folder.change("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ValueError, match="ByteLevel without add_prefix_space"):
        Checkpoint.open(folder.path)


def test_an_added_token_past_the_table_is_only_refused_where_it_is_used(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer_of(backend())
    tokenizer.add_special_tokens({"pad_token": "<pad>"})  # 330
    tokenizer.add_tokens([AddedToken("ZWEI")])  # 331
    folder = written(tmp_path / "a" / "theirs", network(vocab_size=330), tokenizer)
    check_ids(folder, [PROMPT, "the fox", TEXTS[0]])
    check_same(folder)
    with pytest.raises(IndexError):
        folder.greedy("ZWEI")
    loaded = lent(folder)
    with pytest.raises(ValueError, match="'ZWEI' has the id 331, and the model knows ids up to 329"):
        ours(loaded, "ZWEI")
    with pytest.raises(ValueError, match="'<pad>' has the id 330"):
        ours(loaded, "a <pad>", parse_special=True)


def test_padding_by_a_token_of_the_vocabulary(tmp_path: Path) -> None:
    folder = written(tmp_path / "a" / "theirs", network(), gpt2_tokenizer_of(backend(), pad_token="!"))
    check_ids(folder)
    check_same(folder, "Hello fox! ")


@pytest.mark.parametrize("kind", [GPT2Tokenizer, PreTrainedTokenizerFast])
def test_a_vocabulary_without_all_bytes_names_what_it_cannot_read(kind: type, tmp_path: Path) -> None:
    made = backend(alphabet=False, vocab_size=120)
    tokenizer = gpt2_tokenizer_of(made)
    if kind is PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)
    folder = written(tmp_path / "a" / "theirs", network(vocab_size=128), tokenizer)
    known = [TEXTS[0], PROMPT, "fox 1234"]
    tokenizer = check_ids(folder, known)
    check_same(folder)
    with pytest.raises(ValueError, match=r"the model's vocabulary cannot spell these characters: 'Z', '\^'"):
        tokenizer.encode("fox Z^")


def test_a_vocabulary_with_an_unknown_token_uses_it(tmp_path: Path) -> None:
    made = backend(specials=("<unk>", END), alphabet=False, vocab_size=120)
    data = json.loads(made.to_str())
    data["model"] |= {"unk_token": "<unk>", "vocab": data["model"]["vocab"] | {"<unk>": 118}}
    made = HuggingFaceTokenizer.from_str(json.dumps(data))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, unk_token="<unk>")
    folder = written(tmp_path / "a" / "theirs", network(vocab_size=128), tokenizer)
    check_ids(folder, [*TEXTS, "fox Z^"])


def test_letters_with_added_tokens(tmp_path: Path) -> None:
    made = HuggingFaceTokenizer(their_models.WordLevel({c: i for i, c in enumerate("abc fox")}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(pattern="", behavior="isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens(["<eos>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")
    folder = written(tmp_path / "a" / "theirs", network(vocab_size=8), tokenizer)
    with pytest.raises(ValueError, match="one character at a time"):
        Checkpoint.open(folder.path)


SETTINGS: dict[str, tuple[str, dict[str, object], str]] = {
    "prefix space": ("tokenizer_config.json", {"add_prefix_space": True}, "add_prefix_space"),
    "class": ("tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"}, "tokenizer_class = 'RobertaTokenizer'"),
    "post": (
        "tokenizer.json",
        {"post_processor": {"type": "RobertaProcessing", "sep": ["a", 0], "cls": ["b", 1]}},
        "post_processor of the type 'RobertaProcessing'",
    ),
    "template": ("tokenizer.json", {"post_processor": {"type": "TemplateProcessing"}}, "cannot be used"),
    "template without ids": (
        "tokenizer.json",
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]}},
        "a template with a token that has no ids",
    ),
    "added": ("tokenizer.json", {"added_tokens": [{"content": 5, "id": 0}]}, "added token"),
    "added twice": ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "a"}}}, "added token"),
    "special": ("tokenizer_config.json", {"eos_token": 5}, "eos_token = 5, which is no text"),
}


@pytest.mark.parametrize(("file", "fields", "sentence"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_is_not_applied_is_refused(
    file: str, fields: dict[str, object], sentence: str, folder: Folder
) -> None:
    folder.change(file, **fields)
    with pytest.raises(ValueError, match=sentence) as caught:
        Checkpoint.open(folder.path)
    assert "\n" not in str(caught.value)


def test_special_tokens_in_a_prompt_are_text_unless_they_are_parsed(folder: Folder) -> None:
    prompt = f"The fox{END}jumps"
    loaded = lent(folder)
    assert ours(loaded, prompt).tokens[0] == folder.greedy(prompt)[1]
    parsed = ours(loaded, prompt, parse_special=True)
    read, expected = folder.greedy(prompt, plain=False)
    assert 329 in read
    assert parsed.start is not None
    assert (parsed.start.prompt_tokens, parsed.tokens[0]) == (len(read), expected)


# What we write


def variant(path: Path) -> Folder:
    """A folder with everything that a copy must not lose."""
    tokenizer = gpt2_tokenizer_of(backend(specials=("<s>", "</s>")), bos_token="<s>", eos_token="</s>")
    tokenizer.add_tokens([AddedToken("ZWEI"), AddedToken("<c>", lstrip=True)])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 328)]
    )
    model = network(n_inner=100, scale_attn_by_inverse_layer_idx=True, activation_function="relu")
    folder = written(path, model, tokenizer)
    another_head(folder)
    _, ids = folder.greedy("The ZWEI fox")
    end = max(ids, key=ids.index)
    folder.change("generation_config.json", bos_token_id=328, eos_token_id=[end, 329], pad_token_id=327)
    return folder


def test_a_copy_means_what_its_original_means(tmp_path: Path) -> None:
    folder = variant(tmp_path / "a" / "theirs")
    library = ModelLibrary(folder.path.parent, cache_folder=tmp_path / "cache")
    library.quantize("theirs", "bfloat16", to="half")
    library.quantize("theirs", "int8", to="eight")
    cached = library.copy(ModelKey("theirs", "int8"))
    _, expected = folder.greedy("The ZWEI fox")
    assert expected[-1] in folder.model.generation_config.eos_token_id
    for path in (folder.path.parent / "half", folder.path.parent / "eight", cached):
        copy = Folder(path)
        check_ids(copy)
        tokenizer, original = Checkpoint.open(path).load_tokenizer(), Checkpoint.open(folder.path).load_tokenizer()
        assert tokenizer.special_ids == original.special_ids
        config = json.loads((path / "generation_config.json").read_text())
        assert (config["eos_token_id"], config["bos_token_id"], config["pad_token_id"]) == (
            list(original.special_ids.eos),
            328,
            327,
        )
    half = Folder(folder.path.parent / "half")
    read, text = half.greedy("The ZWEI fox")
    assert read == folder.greedy("The ZWEI fox")[0]
    assert ours(lent(half), "The ZWEI fox").tokens[0] == text
    assert text[-1] in original.special_ids.eos


def test_a_model_trained_from_a_folder_ends_and_begins_as_that_does(tmp_path: Path) -> None:
    folder = variant(tmp_path / "models" / "theirs")
    training = TrainingOptions(steps=2, batch_size=2, evaluate_every=1, save_every=1, log_every=1, precision="float32")
    plan = RunPlan(name="run", model=ModelOptions(start="theirs"), training=training)
    text = training_checks.text_of(tmp_path)
    run = control.create(training_checks.context_in(tmp_path), plan, text=text)
    list(training_checks.resume(run))
    trained, original = Checkpoint.open(tmp_path / "models" / "run"), Checkpoint.open(folder.path)
    assert trained.load_tokenizer().special_ids == original.load_tokenizer().special_ids
    assert trained.config == replace(original.config, dropout=trained.config.dropout)
    copy = Folder(trained.path)
    check_ids(copy)
    assert copy.model.generation_config.eos_token_id == list(original.load_tokenizer().special_ids.eos)
    assert len(copy.model.generation_config.eos_token_id) == 2
    assert ours(lent(copy), "The ZWEI fox").tokens[0] == copy.greedy("The ZWEI fox")[1]


def test_a_folder_of_an_earlier_version_ends_at_its_spelling(folder: Folder) -> None:
    """Copies had null ids; what ends a text there is the spelling <|endoftext|>."""
    drop_ids(folder, "generation_config.json", "config.json")
    file = folder.path / "tokenizer_config.json"
    file.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": None, "bos_token": None}))
    (folder.path / "about.json").write_text("{}")
    tokenizer = Checkpoint.open(folder.path).load_tokenizer()
    assert (tokenizer.end_of_text, tokenizer.special_ids.bos) == (329, 329)
