"""Import of Hugging Face folders and GGUF files, written by transformers and the gguf package."""

import json
from pathlib import Path

import pytest
import torch
from format_checks import C, H, L, T, converted
from network_checks import shaken
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from gptdesk.export.gguf import write_gguf as write_gguf_again
from models.checkpoint import Checkpoint
from models.special_ids import SpecialIds
from models.tokenizer import Tokenizer
from models.weights import WEIGHTS

V = 400  # of the shared tokenizer


class Logits(nn.Module):
    """Network of transformers that gives logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens).logits


@pytest.fixture(scope="module")
def original() -> GPT2LMHeadModel:
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=V, n_positions=T, n_embd=C, n_layer=L, n_head=H, bos_token_id=V - 1, eos_token_id=V - 1
    )
    return shaken(GPT2LMHeadModel(config))


def check_logits(original: GPT2LMHeadModel, made: Checkpoint, atol: float = 1e-4) -> None:
    tokens = torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(made.load_model()(tokens), original(tokens).logits, atol=atol, rtol=0)


def check_tokenizer(made: Checkpoint, tokenizer: Tokenizer) -> None:
    text = "Once upon a time, \u00fc\u4e2d there were 12 dragons.\n"
    assert made.load_tokenizer().encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("form", ["safetensors", "shards", "bin", "bin of the inner model"])
def test_huggingface(original: GPT2LMHeadModel, tokenizer: Tokenizer, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "theirs"
    original.save_pretrained(folder, max_shard_size="40kB" if form == "shards" else "1GB")
    tokenizer.save(folder, context=T)
    settings = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(settings | {"auto_map": {"AutoModel": "evil.Model"}}))
    before = {}
    if form == "shards":
        assert len(list(folder.glob("model-*.safetensors"))) > 1
    else:
        before = load_file(folder / WEIGHTS)
    if form.startswith("bin"):
        (folder / WEIGHTS).unlink()
        model = original.transformer if form != "bin" else original
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    made, answer = converted(folder, tmp_path / "ours")
    check_logits(original, made)
    check_tokenizer(made, tokenizer)
    assert (answer["kind"], answer["missing"]) == ("Hugging Face folder", ())
    assert json.loads((made.path / "config.json").read_bytes()) == settings
    name = "generation_config.json"
    assert json.loads((made.path / name).read_bytes()) == json.loads((folder / name).read_bytes())
    after = load_file(made.path / WEIGHTS)
    if form == "safetensors":
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert after.keys() == before.keys()


def test_a_state_dict_of_transformers_without_its_configuration(
    original: GPT2LMHeadModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    torch.save(original.state_dict(), folder / "pytorch_model.bin")
    tokenizer.save(folder, context=T)
    made, answer = converted(folder, tmp_path / "ours", n_head=H)
    check_logits(original, made)
    assert answer["missing"] == ("activation",)


def test_half_precision_stays(original: GPT2LMHeadModel, tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    original.save_pretrained(folder)
    half = {name: value.half() for name, value in original.state_dict().items()}
    torch.save(half, folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    tokenizer.save(folder)
    made, _ = converted(folder, tmp_path / "ours")
    assert load_file(made.path / WEIGHTS)["transformer.wte.weight"].dtype == torch.float16
    check_logits(original, made, atol=0.05)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors.index.json", {"weight_map": {"a": "../x.safetensors"}}, "outside its folder"),
        ("model.safetensors.index.json", {"weight_map": {"a": "gone-1.safetensors"}}, "1 of its 1 files are missing"),
        ("model.safetensors.index.json", {}, "does not say which file"),
        ("config.json", {"model_type": "llama"}, "'llama', not 'gpt2'"),
    ],
)
def test_bad_folders_are_named(
    original: GPT2LMHeadModel, tmp_path: Path, name: str, content: dict[str, object], words: str
) -> None:
    folder = tmp_path / "theirs"
    original.save_pretrained(folder)
    if name != "config.json":
        (folder / WEIGHTS).unlink()
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        converted(folder, tmp_path / "ours")


def write_gguf(path: Path, original: GPT2LMHeadModel, tokenizer: Tokenizer, kind: str, **fields: object) -> None:
    """Write a GGUF file by the gguf package, with matrices quantized to `kind`."""
    gguf = pytest.importorskip("gguf", reason="the gguf extra is not installed")
    writer = gguf.GGUFWriter(path, str(fields.get("architecture", "gpt2")))
    for name, value in (("context_length", T), ("embedding_length", C), ("block_count", L), ("head_count", H)):
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_eps(1e-5)
    tokenizer.save(path.parent)
    data = json.loads((path.parent / "tokenizer.json").read_bytes())["model"]
    (path.parent / "tokenizer.json").unlink()
    tokens = sorted(data["vocab"], key=data["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(str(fields.get("pre", "gpt-2")))
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges([" ".join(pair) for pair in data["merges"]])
    ids = fields.get("ids", {"eos": len(tokens) - 1})
    for field, value in ids.items():  # type: ignore[attr-defined]
        getattr(writer, f"add_{field}_token_id")(value)
    quantization = gguf.GGMLQuantizationType[kind]
    names = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    layers = {
        "ln_1": "attn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "ln_2": "ffn_norm",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }
    for i in range(L):
        names |= {f"h.{i}.{ours}": f"blk.{i}.{theirs}" for ours, theirs in layers.items()}
    for name, value in original.transformer.state_dict().items():
        layer, _, part = name.rpartition(".")
        matrix = value.t() if value.ndim == 2 and layer.startswith("h.") else value
        array = matrix.contiguous().numpy()
        wanted = quantization if value.ndim == 2 and layer != "wpe" else gguf.GGMLQuantizationType.F32
        writer.add_tensor(f"{names[layer]}.{part}", gguf.quants.quantize(array, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("kind", "atol", "remark"),
    [
        ("F32", 1e-4, ""),
        ("F16", 0.02, ""),
        ("BF16", 0.15, ""),
        ("Q8_0", 0.2, "Q8_0 weights became float32"),
        ("Q4_0", 4, "Q4_0 weights became float32, by the gguf package"),
    ],
)
def test_gguf(
    original: GPT2LMHeadModel, tokenizer: Tokenizer, tmp_path: Path, kind: str, atol: float, remark: str
) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf extra is not installed")
    write_gguf(tmp_path / "model.gguf", original, tokenizer, kind)
    made, answer = converted(tmp_path / "model.gguf", tmp_path / "ours")
    check_logits(original, made, atol)
    check_tokenizer(made, tokenizer)
    assert made.load_tokenizer().end_of_text == V - 1
    assert (answer["kind"], answer["missing"], made.config.activation) == ("GGUF file", (), "gelu_tanh")
    assert remark in " ".join(answer["remarks"])
    # the values are those that the package decodes, to the last bit
    weights = made.open_weights()
    for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors:
        if tensor.name in ("token_embd.weight", "blk.1.ffn_down.weight"):
            name = "wte.weight" if "embd" in tensor.name else "h.1.mlp.c_proj.weight"
            theirs = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
            assert torch.equal(weights.read(name), theirs.float().reshape(weights.read(name).shape))


def test_special_ids_of_gguf_files_come_in_and_go_out(
    original: GPT2LMHeadModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf extra is not installed")
    ids = {"bos": 300, "eos": 301, "pad": 302, "eot": V - 1}
    write_gguf(tmp_path / "model.gguf", original, tokenizer, "F32", ids=ids)
    made, _ = converted(tmp_path / "model.gguf", tmp_path / "ours")
    assert made.load_tokenizer().special_ids == SpecialIds(300, (301, V - 1), 302)
    assert json.loads((made.path / "config.json").read_bytes())["eos_token_id"] == [301, V - 1]
    file = write_gguf_again(made, made.load_tokenizer(), "it", tmp_path / "out", precision="f32")
    header = {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}
    assert {name: header[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eot", "padding")} == {
        **{name: ids[name] for name in ("bos", "eos", "eot")},
        "padding": 302,
    }
    assert 'PARAMETER stop "<|endoftext|>"' in (tmp_path / "out" / "Modelfile").read_text()
    # ids beyond the vocabulary mean nothing, as 11 for files without the field
    write_gguf(tmp_path / "model.gguf", original, tokenizer, "F32", ids={"bos": 70_000})
    made, _ = converted(tmp_path / "model.gguf", tmp_path / "others")
    assert made.load_tokenizer().special_ids == SpecialIds.of(V - 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"architecture": "llama"}, "architecture 'llama'"), ({"pre": "llama-bpe"}, "splits text as 'llama-bpe'")],
)
def test_other_gguf_files_are_refused(
    original: GPT2LMHeadModel, tokenizer: Tokenizer, tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    write_gguf(tmp_path / "model.gguf", original, tokenizer, "F32", **fields)
    with pytest.raises(ValueError, match=words):
        converted(tmp_path / "model.gguf", tmp_path / "ours")
