"""`--format html`: the page in a real browser, opened as a file, beside the desk itself."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from cli_checks import Capture, answer, complaint
from conftest import with_kernel
from network_checks import network
from page_checks import NEEDS_BROWSER, sync_api

from gptdesk.export import export, html
from gptdesk.generation import GenerationRequest, collect, generate
from gptdesk.starter import CHECKPOINT
from models.batching import Batcher
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPTConfig
from models.library import ModelKey
from models.manager import LoadedModel
from models.precision import PRECISIONS
from models.precision.int8 import no_fbgemm
from models.prefix import PrefixCache
from models.special_ids import SpecialIds
from models.tokenizer import Tokenizer, character_tokenizer
from samplers import Chain

pytestmark = NEEDS_BROWSER
NEEDS_KERNEL = pytest.mark.skipif(
    no_fbgemm(64, 64) is not None or not torch.cpu._is_vnni_supported(),
    reason="the page rounds as FBGEMM does with VNNI instructions, which this computer lacks",
)
CPU = Path("/proc/cpuinfo")
ADDS_LIKE_THE_PAGE = (
    torch.backends.cpu.get_cpu_capability() == "AVX512" and CPU.exists() and "GenuineIntel" in CPU.read_text()
)
expect = sync_api.expect

Links = list[list[object]]  # of a chain, as the page has them
GREEDY: Links = [["greedy", None]]
BALANCED: Links = [["temperature", 0.8], ["top_k", 50], ["top_p", 0.95], ["min_p", 0.0]]
CHAINS = (GREEDY, BALANCED, [["temperature", 1.0]], [["temperature", 1.2], ["min_p", 0.05]])
PROMPTS = (
    "",
    "Once upon a time",
    "Zoë said: \u201cnaïve\u201d \U0001f600",
    "Ben had a red ball.\n\n",
    "The dog " * 120,
)
TOKENS = 50

GENERATE = """requests => requests.map(request => {
  let text = "", reason = null;
  const tokens = [];
  for (const step of generate(model, { ...request, seed: BigInt(request.seed), stopped: () => false })) {
    if (!step) continue;
    if (step.token !== undefined) tokens.push(step.token);
    text += step.text ?? "";
    reason = step.reason ?? reason;
  }
  return [tokens, text, reason];
})"""


@contextmanager
def opened(browser: "sync_api.Browser", file: Path) -> Iterator["sync_api.Page"]:
    """The page of a file. It must request nothing but its own files and log no error."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert errors == []
    own = {path.as_uri() for path in (file, *file.parent.glob("weights/*"))}
    assert set(requests) <= own


@pytest.fixture(scope="module")
def page(browser: "sync_api.Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator["sync_api.Page"]:
    file = tmp_path_factory.mktemp("page") / "starter.html"
    written(CHECKPOINT, file)
    with opened(browser, file) as page:
        yield page


@pytest.fixture(scope="module")
def desk_model() -> LoadedModel:
    return int8_model(CHECKPOINT)


def written(folder: Path, to: Path, *, name: str = "starter") -> Path:
    checkpoint = Checkpoint.open(folder)
    return export(checkpoint, checkpoint.load_tokenizer(), name=name, to=to, format="html")


def int8_model(folder: Path) -> LoadedModel:
    """The model as the desk runs it at int8 by torch's kernels."""
    checkpoint = Checkpoint.open(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTDESK_KERNELS", "torch")
        engine = checkpoint.load_engine(with_kernel(PRECISIONS["int8"], "FBGEMM int8"))
    key = ModelKey("starter", "int8")
    return LoadedModel(
        key, engine, checkpoint.load_tokenizer(), checkpoint.config, engine.memory_bytes, PrefixCache(), Batcher(engine)
    )


def chain_of(links: Links) -> Chain:
    return Chain.from_data([{"name": str(name)} | ({} if name == "greedy" else {name: value}) for name, value in links])


def desk_text(loaded: LoadedModel, *, prompt: str, chain: Links, seed: str, tokens: int) -> list[object]:
    """Tokens, text and end as the desk generates them."""
    request = GenerationRequest(prompt=prompt, chain=chain_of(chain), seed=int(seed), max_new_tokens=tokens)
    result = collect(generate(loaded, request), n=1)
    reason = result.finish_reasons[0]
    return [result.tokens[0], result.texts[0], "end" if reason == "stop" else reason]


@NEEDS_KERNEL
def test_the_page_writes_the_texts_of_the_desk(page: "sync_api.Page", desk_model: LoadedModel) -> None:
    requests = [
        {"prompt": prompt, "chain": chain, "seed": str(17**i % 2**63), "tokens": TOKENS}
        for i, prompt in enumerate(PROMPTS)
        for chain in CHAINS
    ]
    texts = page.evaluate(GENERATE, requests)
    same = [text == desk_text(desk_model, **request) for text, request in zip(texts, requests, strict=True)]
    assert len(same) == 20
    # On another processor the sums of the attention have another order, so that some input of a matrix is rounded to
    # another of its 255 steps now and then, after which a text may be another one.
    assert sum(same) >= (20 if ADDS_LIKE_THE_PAGE else 15), same


@NEEDS_KERNEL
@pytest.mark.parametrize("tied", [True, False])
def test_a_random_model_of_characters(browser: "sync_api.Browser", tmp_path: Path, tied: bool) -> None:
    chars = "abcdefgh \nß✓"
    config = GPTConfig(
        vocab_size=len(chars) + 3, block_size=24, n_layer=2, n_head=2, n_embd=20, tied=tied, bias=tied,
        activation="gelu_tanh" if tied else "gelu_erf",
    )  # fmt: skip
    tokenizer = character_tokenizer(chars)
    save_checkpoint(tmp_path / "chars", network(config), tokenizer=tokenizer, about=About())
    requests = [
        {"prompt": prompt, "chain": chain, "seed": str(seed), "tokens": 30}
        for seed, prompt in enumerate(["", "abc ß", "a b c d " * 9])
        for chain in (GREEDY, [["top_p", 0.9], ["temperature", 0.7]])
    ]
    with opened(browser, written(tmp_path / "chars", tmp_path / "c.html")) as page:
        texts = page.evaluate(GENERATE, requests)
        page.locator("#prompt").fill("a Q b")
        page.locator("#go").click()
        expect(page.locator("#problem")).to_contain_text('these are not among them: "Q"')
    loaded = int8_model(tmp_path / "chars")
    assert texts == [desk_text(loaded, **request) for request in requests]


def test_tokens_of_any_text_are_the_desks(page: "sync_api.Page", tokenizer: Tokenizer) -> None:
    source = random.Random(5)
    texts = [
        "",
        " ",
        "\n\n  a",
        "don't  we'll\t\tgo ",
        "x" * 300,
        "\u00a0\ufeff\u0085 \u2003a",
        "１２½ Ⅷ",
        "<|endoftext|>",
    ]
    texts += ["e\u0301 \U0001f468\u200d\U0001f469 \u0939\u093f", "\ufffd", "a" + " " * 50 + "b"]
    for limit in (0x80, 0x250, 0x3000, 0x110000):
        points = [[source.randrange(limit) for _ in range(80)] for _ in range(40)]
        texts += ["".join(chr(point) for point in row if not 0xD800 <= point < 0xE000) for row in points]
    starter = Checkpoint.open(CHECKPOINT).load_tokenizer()
    for known in (starter, tokenizer):
        run = "([data, texts]) => { const made = makeTokenizer(data); return texts.map(text => made.encode(text)); }"
        ids = page.evaluate(run, [html._tokenizer_data(known), texts])
        assert ids == [known.encode(text) for text in texts]


@pytest.mark.parametrize("vocabulary", [7, 3000])
def test_every_chain_draws_what_the_desk_draws(page: "sync_api.Page", vocabulary: int) -> None:
    torch.manual_seed(2)
    logits = torch.randn(1, vocabulary) * 3
    logits[0, 1::5] = logits[0, 0]  # equal ones go by id
    chains = [
        *(chain for chain in CHAINS),
        [["top_k", 3]],
        [["top_p", 0.9]],
        [["top_p", 0.999], ["top_k", 1000]],
        [["min_p", 0.3], ["temperature", 2.0]],
        [["temperature", 0.0]],
        [["temperature", 1e-40], ["top_p", 0.5]],
        [["top_k", 200], ["temperature", 0.5], ["top_p", 0.7], ["min_p", 0.01]],
    ]
    run = """([logits, chain, seed, steps]) => {
      const keys = new KeyStream(BigInt(seed)), row = Float32Array.from(logits);
      return Array.from({ length: steps }, () => sample(row, chain, keys.next()));
    }"""
    for chain in chains:
        for seed in (0, 5, 2**32, 2**63 - 1):
            draw = chain_of(chain).start(seed=seed)
            expected = [int(draw(logits, torch.zeros(1, 1, dtype=torch.int64))) for _ in range(20)]
            assert page.evaluate(run, [logits[0].tolist(), chain, str(seed), 20]) == expected, (chain, seed)


def test_noise_is_the_desks_to_the_last_bit(page: "sync_api.Page") -> None:
    from samplers.draw import KeyStream, noise

    ids = [0, 1, 4095, 50256, 999_999]
    run = """([seed, ids, steps]) => {
      const keys = new KeyStream(BigInt(seed));
      return Array.from({ length: steps }, () => keys.next()).map(key => ids.map(id => noise(key, id)));
    }"""
    for seed in (0, 1, 2**31, 2**32 + 7, 2**62 + 11, 2**63 - 1):
        keys = KeyStream(seed, 1)
        expected = [noise(keys()[:, None], torch.tensor([ids]))[0].tolist() for _ in range(700)]
        assert page.evaluate(run, [str(seed), ids, 700]) == expected


# within the page: the text fills the context in a third of a second
GO_AND_STOP = """() => {
  const stop = document.querySelector("#stop");
  const press = () => stop.checkVisibility() && !stop.disabled ? stop.click() : requestAnimationFrame(press);
  document.querySelector("#go").click();
  press();
}"""


def test_a_text_by_hand(page: "sync_api.Page") -> None:
    prompt = "<img src=x onerror=alert(1)> Once"
    page.locator("#prompt").fill(prompt)
    page.locator("#tokens").fill("40")
    page.locator("#seed").fill("9223372036854775807")
    expect(page.locator("#new-seed")).not_to_be_checked()
    page.locator("#prompt").press("Control+Enter")
    expect(page.locator("#stats")).to_contain_text("ended")
    text = page.locator("#text")
    (expected,) = page.evaluate(GENERATE, [{"prompt": prompt, "chain": BALANCED, "seed": str(2**63 - 1), "tokens": 40}])
    assert text.text_content() == prompt + expected[1]
    assert page.locator("#text img").count() == 0
    shown = page.locator("#text .token")
    assert shown.count() == len(expected[0])
    shown.first.hover()
    likely = page.locator("#likely .row")
    assert 10 <= likely.count() <= 11  # one more if the token drawn is not among them
    assert page.locator("#likely .row.own").count() == 1
    page.locator("#text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#text .chosen").count() == 1
    page.locator("#greedy").check()
    expect(page.locator("#temperature")).to_be_disabled()
    page.locator("#greedy").uncheck()
    page.locator("#top_p").fill("7")
    page.locator("#go").click()
    expect(page.locator("#problem")).to_have_text("Top-p must be a number from 0.01 to 1.")
    page.locator("#top_p").fill("0.95")
    page.locator("#new-seed").check()
    page.locator("#tokens").fill("100000")
    page.locator("#prompt").fill("Long " * 400)
    page.evaluate(GO_AND_STOP)
    expect(page.locator("#stats")).to_contain_text("stopped")
    expect(page.locator("#problem")).to_be_hidden()
    assert page.locator("#seed").input_value() != str(2**63 - 1)


def test_a_script_in_the_page_could_ask_for_nothing(page: "sync_api.Page") -> None:
    blocked = """() => new Promise(resolve => {
      addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
      WAY
    })"""
    ways = {
        "new Image().src = 'http://127.0.0.1:9/'": "img-src",
        "fetch('http://127.0.0.1:9/').catch(() => null)": "connect-src",
        "const made = document.createElement('script'); made.text = '1'; document.body.append(made)": "script-src",
    }
    other = page.context.new_page()  # where errors are expected
    other.goto(page.url)
    for way, directive in ways.items():
        assert other.evaluate(blocked.replace("WAY", way)).startswith(directive), way
    other.close()


def test_weights_in_files_beside_the_page(
    browser: "sync_api.Browser", tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = written(tiny_folder / "tiny", tmp_path / "tiny.html")
    monkeypatch.setattr(html, "MOST_IN_PAGE", 20_000)
    monkeypatch.setattr(html, "PART", 30_000)
    with pytest.raises(ValueError, match="too many for one file"):
        written(tiny_folder / "tiny", tmp_path / "other.html")
    index = written(tiny_folder / "tiny", tmp_path / "folder")
    assert len(list((tmp_path / "folder" / "weights").iterdir())) > 1
    requests = [{"prompt": "Once", "chain": BALANCED, "seed": "4", "tokens": 20}]
    texts = []
    for file in (one, index):
        with opened(browser, file) as page:
            texts.append(page.evaluate(GENERATE, requests))
    assert texts[0] == texts[1]


def test_a_network_too_wide_for_the_page(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "LARGEST_WIDTH", 16)
    with pytest.raises(ValueError, match="32 channels, and a page can run up to 16"):
        written(tiny_folder / "tiny", tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "eos", "reason"),
    [
        ({"activation": "relu"}, (7,), "MLPs with 32 channels and the activation relu"),
        ({"n_inner": 20}, (7,), "MLPs with 20 channels and the activation gelu_tanh"),
        ({}, (7, 8), "several ids that end a text, or another one that begins it"),
    ],
)
def test_variants_that_the_page_does_not_run(
    tmp_path: Path, changes: dict[str, object], eos: tuple[int, ...], reason: str
) -> None:
    config = GPTConfig(vocab_size=12, block_size=8, n_layer=1, n_head=1, n_embd=8, **changes)  # type: ignore[arg-type]
    tokenizer = character_tokenizer("abcdefghijkl")
    tokenizer.special_ids = SpecialIds(7, eos)
    checkpoint = save_checkpoint(tmp_path / "model", network(config), tokenizer=tokenizer, about=About())
    with pytest.raises(
        ValueError, match=rf"^model has {reason}, which .* does not (run|know); export it as huggingface$"
    ):
        export(checkpoint, tokenizer, name="model", to=tmp_path / "page.html", format="html")


def test_a_hostile_model_is_text(browser: "sync_api.Browser", tmp_path: Path, tokenizer: Tokenizer) -> None:
    evil = '</script><script>alert(1)</script><!--<img src="https://example.org/x" onerror=alert(1)>{script}'
    config = GPTConfig(vocab_size=400, block_size=16, n_layer=1, n_head=1, n_embd=8)
    save_checkpoint(tmp_path / "m", network(config), tokenizer=tokenizer, about=About(source=evil, licence=evil))
    with opened(browser, written(tmp_path / "m", tmp_path / "m.html", name=evil)) as page:
        assert page.title() == evil
        assert evil in page.locator("#about").text_content()
        assert page.evaluate("document.scripts.length") == 2  # the data and the script; the weights are gone


def test_the_command_and_its_refusals(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "home"))
    command = ["models", "export", "starter", "--format", "html", "--to"]
    said = answer(capsys, *command, str(tmp_path / "deep" / "starter.html"))
    assert Path(said["path"]) == tmp_path / "deep" / "starter.html"
    assert json.loads(_data(Path(said["path"])))["config"]["vocab_size"] == 4096
    assert "exists already" in complaint(capsys, *command, said["path"])
    assert "there is no export format" in complaint(capsys, *command[:4], "tar", "--to", str(tmp_path / "x"))
    assert "there is no model" in complaint(capsys, *command[:2], "nobody", *command[3:], str(tmp_path / "x.html"))
    answer(capsys, "models", "quantize", "starter", "--precision", "int4", "--to", "four")
    assert "a page holds int8" in complaint(capsys, *command[:2], "four", *command[3:], str(tmp_path / "four.html"))
    # one that is stored at int8 makes the same page but for its name and source
    answer(capsys, "models", "quantize", "starter", "--precision", "int8", "--to", "eight")
    answer(capsys, *command[:2], "eight", *command[3:], str(tmp_path / "eight.html"))
    assert _weights(tmp_path / "eight.html") == _weights(Path(said["path"]))


def _between(start: str, end: str) -> Callable[[Path], str]:
    return lambda page: page.read_text(encoding="utf-8").partition(start)[2].partition(end)[0]


_data = _between('id="data">', "</script>")
_weights = _between('id="weights">', "</script>")
