"""Compare tab in a real browser: watch, measure, stop, blind test, prompt list, files, a narrow screen."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from page_checks import (
    NEEDS_BROWSER,
    WINDOW,
    RunningDesk,
    answered,
    choose,
    open_page,
    put,
    settle,
    unfold,
    until_saved,
    watched_page,
)

from gptdesk.page.tabs.compare.saved_texts import Written, WrittenPane, read_written
from gptdesk.starter import CHECKPOINT
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import character_tokenizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
LETTERS = character_tokenizer("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,\n")


def save_random(folder: Path, *, n_embd: int, n_layer: int = 6, held_out: str | None = None) -> None:
    torch.manual_seed(1)
    config = GPTConfig(LETTERS.vocab_size, block_size=2048, n_layer=n_layer, n_head=2, n_embd=n_embd)
    about = About(source="a test")
    save_checkpoint(folder, GPT(config), tokenizer=LETTERS, about=about, held_out=held_out)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a home with a slow character model, and the starter with one damaged layer."""
    home = tmp_path_factory.mktemp("home")
    save_random(home / "models" / "slow", n_embd=768)
    save_random(home / "models" / "short-lived", n_embd=32, n_layer=1)
    save_random(home / "models" / "letters", n_embd=32, n_layer=1, held_out="the cat sat on the mat. " * 20)
    starter = Checkpoint.open(CHECKPOINT)
    model = starter.load_model()
    with torch.no_grad():
        model.h[2].mlp.c_proj.weight.neg_()
    save_checkpoint(home / "models" / "damaged", model, tokenizer=starter.load_tokenizer(), about=About(source="test"))
    return home


@pytest.fixture
def page(browser: "sync_api.Browser", desk: RunningDesk, home: Path) -> Iterator["sync_api.Page"]:
    (home / "page.json").unlink(missing_ok=True)
    (home / "votes.json").unlink(missing_ok=True)
    with watched_page(browser, desk) as page:
        compare(page)
        yield page


def compare(page: "sync_api.Page", view: str = "Watch") -> None:
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("tab", name=view).click()
    settle(page)


def choose_side(page: "sync_api.Page", letter: str, model: str, precision: str = "float32") -> None:
    """Choose a model, and its precision once those that it has are listed, of which one is chosen then."""
    with answered(page):
        choose(page, f"compare-{letter}-model", model)
    choose(page, f"compare-{letter}-precision", precision)


def set_tokens(page: "sync_api.Page", count: int) -> None:
    page.locator("#compare-parameters button").first.click()
    settle(page)
    put(page, "compare-max-new-tokens", count)
    page.locator("#compare-parameters button").first.click()


def run(page: "sync_api.Page", name: str, until: str) -> str:
    """Press a button and wait for what its line says at the end."""
    page.evaluate("name => document.querySelectorAll(`#${name}-line p`).forEach(p => p.dataset.old = 1)", name)
    page.locator(f"#{name}").click()
    line = page.locator(f"#{name}-line p:not([data-old])")
    sync_api.expect(line).to_contain_text(until, timeout=60_000)
    sync_api.expect(page.locator(f"#{name}")).to_be_enabled()
    return line.inner_text()


def pane(page: "sync_api.Page", name: str) -> str:
    return page.locator(f"#{name} .text").inner_text()


def test_both_sides_write_and_the_first_difference_is_marked(page: "sync_api.Page") -> None:
    choose(page, "compare-b-precision", "float32")
    run(page, "watch", "Ended")
    assert page.locator("#watch-2 mark").count() == 0
    sync_api.expect(page.locator("#watch-parting")).to_contain_text("word for word")
    assert page.locator("#watch-1 h4").inner_text() != page.locator("#watch-2 h4").inner_text()

    choose_side(page, "b", "damaged")
    page.locator("#compare-prompt textarea").fill("Once upon a time")
    said = run(page, "watch", "Ended")
    assert "max new tokens reached" in said
    left, right = pane(page, "watch-1"), pane(page, "watch-2")
    assert left.startswith("Once upon a time")
    assert left != right
    marked = [page.locator(f"#watch-{i} mark").inner_text() for i in (1, 2)]
    assert marked[0] != marked[1]
    before = [page.locator(f"#watch-{i} .text").evaluate("box => box.innerHTML.split('<mark>')[0]") for i in (1, 2)]
    assert before[0].rstrip() == before[1].rstrip()
    assert all(word == word.strip() for word in marked)
    chance = re.compile(r"damaged (less than )?0(\.\d+)? %(, which [a-z-]+ cut off)?; to “")
    sync_api.expect(page.locator("#watch-parting")).to_contain_text(chance)
    run(page, "watch", "Ended")
    assert (pane(page, "watch-1"), pane(page, "watch-2")) == (left, right)  # the seed stands in the form

    set_tokens(page, 1)  # Hebrew is shown from the right
    page.locator("#compare-prompt textarea").fill("שלום\nOnce")
    run(page, "watch", "Ended")
    gaps = page.locator("#watch-1 .given").evaluate("""given => {
      const whole = given.parentElement.getBoundingClientRect(), node = given.firstChild;
      const range = document.createRange();
      range.setStart(node, 0), range.setEnd(node, 4);
      const text = range.getBoundingClientRect();
      return [text.left - whole.left, whole.right - text.right];
    }""")
    assert gaps[0] > 100 > gaps[1]


def test_three_sides_with_samplers_of_their_own(page: "sync_api.Page") -> None:
    page.locator("#compare-third input").check()
    choose(page, "compare-c-model", "starter")
    page.locator("#compare-parameters button").first.click()
    most = page.locator("#compare-max-new-tokens input[type=number]")
    sync_api.expect(most).to_have_attribute("max", "256")  # new tokens follow the shorter context
    page.locator("#compare-linked input").uncheck()
    for letter in "abc":
        sync_api.expect(page.locator(f"#compare-{letter}-temperature")).to_be_visible()
    put(page, "compare-a-temperature", 1)
    put(page, "compare-b-temperature", 1.5)
    put(page, "compare-c-temperature", 0)
    sync_api.expect(page.locator("#compare-temperature")).to_be_hidden()
    run(page, "watch", "Ended")
    first = pane(page, "watch-3")
    names = [page.locator(f"#watch-{i} h4").inner_text() for i in (1, 2, 3)]
    assert [name.rpartition("temperature ")[2] for name in names] == ["1.0", "1.5", "0.0"]
    page.locator("#compare-c-seed textarea, #compare-c-seed input").first.fill("77")
    run(page, "watch", "Ended")
    assert pane(page, "watch-3") == first  # at temperature 0 no seed matters
    assert page.locator(".pane:visible").count() == 3


def test_two_samplers_of_one_model_stay_after_a_reload(page: "sync_api.Page", desk: RunningDesk, home: Path) -> None:
    expect = sync_api.expect
    model = page.locator("#compare-a-model [data-testid=block-info]")
    expect(model).to_have_text("A: the reference")
    page.locator("#compare-differs").get_by_text("Samplers").click()
    expect(page.locator("#compare-b-model")).to_be_hidden()
    expect(model).to_have_text("Model")
    expect(page.locator("#compare-a-sampler")).to_contain_text("top-k")
    run(page, "watch", "Ended")
    assert page.locator("#watch-1 h4").inner_text() == "Top-k only"
    choose(page, "compare-b-sampler", "Top-k only")
    run(page, "watch", "Ended")
    expect(page.locator("#watch-parting")).to_contain_text("word for word")
    assert page.locator("#watch-2 h4").inner_text() == "Top-k only (2)"
    heat = page.locator("#compare-b-sampler-temperature :is(input, textarea)")
    heat.fill("hot")
    assert "the temperature of sampler B must be a number" in run(page, "watch", "⚠")
    heat.fill("1.5")
    expect(page.locator("#compare-b-sampler")).to_contain_text("temperature 1.5, then top-k 40")
    run(page, "watch", "Ended")
    assert page.locator("#watch-2 h4").inner_text() == "Top-k only, temperature 1.5"
    expect(page.locator("#watch-parting")).to_contain_text("After the samplers, Top-k only had")
    shown = [page.locator(f"#{name}").inner_text() for name in ("watch-1", "watch-2", "watch-parting")]
    until_saved(page, home, "Compare: texts")
    open_page(page, desk)
    compare(page)
    expect(heat).to_have_value("1.5")
    expect(model).to_have_text("Model")
    assert [page.locator(f"#{name}").inner_text() for name in ("watch-1", "watch-2", "watch-parting")] == shown
    expect(page.locator("#watch-2 mark")).to_be_visible()
    page.set_viewport_size({"width": 640, "height": 900})  # where the options of one side wrap
    page.locator("#compare-third input").check()
    tops = [page.locator(f"#compare-{letter}-sampler input").bounding_box()["y"] for letter in "ab"]  # type: ignore[index]
    boxes = [page.locator(f"#compare-{letter}-sampler-temperature").bounding_box()["y"] for letter in "ab"]  # type: ignore[index]
    assert tops[0] - boxes[0] == tops[1] - boxes[1]


PANE = {"name": "A", "prompt": "", "text": "abc", "mark": [1, 2]}


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], {}, {"panes": [], "sentences": []}, {"panes": [PANE] * 4, "sentences": []}, {"panes": [PANE]}),
        *({"panes": [PANE | {"text": 3}], "sentences": []}, {"panes": [PANE], "sentences": [None]}),
        *({"panes": ["abc"], "sentences": []}, {"panes": "abc", "sentences": "abc"}),
    ],
)
def test_a_damaged_copy_of_a_comparison_is_left_alone(value: object) -> None:
    assert read_written(value) is None


def test_a_comparison_survives_the_disk() -> None:
    panes = WrittenPane("A", "<b>", "abc", (1, 2)), WrittenPane("B", "", "ab")
    written = Written(panes, ("One.",))
    assert read_written(json.loads(json.dumps(asdict(written)))) == written
    for mark in ([2, 1], [0], ["a", 1], [-1, 2], 7):  # a text without its mark is better than none
        assert read_written({"panes": [PANE | {"mark": mark}], "sentences": []}) == Written(
            (WrittenPane("A", "", "abc"),)
        )


def test_a_measurement_tells_all_and_saves_it(page: "sync_api.Page", tmp_path: Path) -> None:
    compare(page, "Measure")
    put(page, "repeats", 2)
    page.locator("#judge-text textarea").fill("Once upon a time, there was a fox. The fox was happy. " * 4)
    run(page, "measure", "Measured")
    summary = page.locator("#summary").inner_text()
    assert "x smaller" in summary
    assert "of the time" in summary
    cards = page.locator("#headlines .headlines > div")
    assert [card.split("\n")[0] for card in cards.all_inner_texts()] == ["Size", "Speed", "Quality"]
    sync_api.expect(cards.first).to_contain_text("smaller")
    page.locator("#all-figures button").first.click()
    sync_api.expect(page.locator("#report table")).to_be_visible()
    report = page.locator("#report").inner_text()
    for label in ("Weights file", "Time to first token", "Latency of a token, p95", "KL divergence, 99 %", "Top 5"):
        assert label in report
    told = json.loads(save(page, "save-json", tmp_path))
    curves = page.locator("#latencies path.line").evaluate_all("all => all.map(one => one.getAttribute('d'))")
    assert [path.count("L") + 1 for path in curves] == [len(side["latencies_seconds"]) for side in told["sides"]]
    assert page.locator("#latencies .key").all_inner_texts() == ["float32", "int8"]
    assert "float32" in (page.locator("#latencies .at").first.get_attribute("title") or "")
    sync_api.expect(page.locator("#caveats")).to_contain_text("timed 2 times")
    saved = {name: save(page, f"save-{name}", tmp_path) for name in ("md", "html", "json", "csv")}
    told = json.loads(saved["json"])
    assert [side["model"] for side in told["sides"]] == ["starter:float32", "starter:int8"]
    rows = list(csv.DictReader(io.StringIO(saved["csv"].decode("utf-8-sig"))))
    assert [row["name"] for row in rows] == ["float32", "int8"]
    assert float(rows[1]["kl_mean"]) == told["sides"][1]["kl_mean"]
    assert told["sides"][0]["text"][:20].encode() in saved["md"]
    assert b"<table>" in saved["html"]


def save(page: "sync_api.Page", name: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.locator(f"#{name}").click()
    file = folder / name
    download.value.save_as(file)
    return file.read_bytes()


def test_the_strip_shows_what_both_expected(page: "sync_api.Page") -> None:
    choose_side(page, "b", "damaged")
    compare(page, "Measure")
    put(page, "repeats", 1)
    run(page, "measure", "Measured")  # by the starter's own held-out stories
    assert "for the worse" in page.locator("#summary").inner_text()
    assert page.locator("#strip .kl-3").count() > 0
    token = page.locator("#strip .tokens span").nth(5)
    token.click()
    picked = page.locator("#strip .picked-token")
    sync_api.expect(picked).to_contain_text("starter expected")
    sync_api.expect(picked).to_contain_text("damaged expected")
    text = page.locator("#strip .tokens").inner_text()
    put(page, "strip-part", 2)
    sync_api.expect(page.locator("#strip .tokens")).not_to_have_text(text)


def test_stop_ends_what_runs_and_keeps_what_is_there(page: "sync_api.Page") -> None:
    choose(page, "compare-a-model", "slow")
    choose(page, "compare-b-model", "slow")
    set_tokens(page, 1000)
    sync_api.expect(page.locator("#watch-stop")).to_be_hidden()
    # on the page, which scrolls to the first words
    find = (
        "one => { const {x, y, width, height} = one.getBoundingClientRect(); return [x, y + scrollY, width, height]; }"
    )
    place = page.locator("#watch").evaluate(find)
    page.locator("#watch").press("Enter")
    text = page.locator("#watch-1 .text")
    sync_api.expect(text).not_to_contain_text("will be here")
    sync_api.expect(text).not_to_be_empty()
    sync_api.expect(page.locator("#watch-stop")).to_be_focused()
    assert page.locator("#watch-stop").evaluate(find) == pytest.approx(place, abs=1)  # of the button that started it
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#watch-line")).to_contain_text("you stopped it")
    sync_api.expect(page.locator("#watch")).to_be_focused()
    assert pane(page, "watch-1")
    compare(page, "Measure")
    page.locator("#measure").click()
    sync_api.expect(page.locator("#measure-line")).to_contain_text("easuring")
    page.locator("#measure-stop").click()
    sync_api.expect(page.locator("#measure-line")).to_contain_text("You stopped it")
    sync_api.expect(page.locator("#measure")).to_be_enabled()


def test_a_reload_during_a_measurement_leaves_the_desk_usable(browser: "sync_api.Browser", desk: RunningDesk) -> None:
    (page,) = browser.contexts[0].pages  # unwatched: Gradio complains of the connection that the reload cuts
    open_page(page, desk)
    compare(page)
    choose(page, "compare-a-model", "slow")
    choose(page, "compare-b-model", "slow")
    set_tokens(page, 1000)
    compare(page, "Measure")
    page.locator("#measure").click()
    sync_api.expect(page.locator("#measure-line")).to_contain_text("easuring")
    page.wait_for_timeout(500)  # for what is remembered
    open_page(page, desk)
    compare(page)
    sync_api.expect(page.locator("#compare-a-model input")).to_have_value("slow")
    choose(page, "compare-a-model", "starter")
    choose(page, "compare-b-model", "starter")
    set_tokens(page, 20)
    run(page, "watch", "Ended")  # when the desk has noticed that nobody waits for the measurement any more


def test_five_blind_rounds_are_counted(page: "sync_api.Page", home: Path, desk: RunningDesk) -> None:
    choose_side(page, "b", "damaged")
    set_tokens(page, 30)
    compare(page, "Blind test")
    expected = {"starter": 0, "damaged": 0, "ties": 0}
    for vote in ("left", "right", "tie", "left", "left"):
        page.locator("#blind").click()
        sync_api.expect(page.locator("#vote-tie")).to_be_enabled(timeout=30_000)
        assert page.locator("#blind-left h4").inner_text() == "Left"  # nothing tells who it is
        page.locator(f"#vote-{vote}").click()
        sync_api.expect(page.locator("#vote-tie")).to_be_disabled()
        sync_api.expect(page.locator("#blind-left h4")).to_contain_text("Left: ")
        name = page.locator(f"#blind-{vote} h4").inner_text().partition(": ")[2] if vote != "tie" else "ties"
        expected[name] += 1
    tally = page.locator("#tally").inner_text()
    leader = max(expected["starter"], expected["damaged"])
    assert f"{leader} of 4, 1 x no difference" in tally
    kept = json.loads((home / "votes.json").read_text())["damaged:float32 against starter:float32"]
    assert kept == {"first": expected["damaged"], "second": expected["starter"], "ties": 1}


def test_a_list_of_prompts_is_compared_and_saved(page: "sync_api.Page", tmp_path: Path) -> None:
    set_tokens(page, 20)
    compare(page, "Prompt list")
    page.locator("#prompts textarea").fill(
        "Once upon a time\n\n<img src=x onerror=window.hit=1>\n${window.hit=1} {{7*7}}"
    )
    assert "3 of 3 prompts" in run(page, "compare-all", "Done")
    assert page.locator("#prompts-table tbody tr").count() == 3
    assert "<img src=x" in page.locator("#prompts-table").inner_text()
    assert page.evaluate("window.hit") is None
    results = json.loads(save(page, "save-prompts-json", tmp_path))["results"]
    assert len(results) == 6
    head = page.locator("#prompts-table thead th").all_inner_texts()
    assert head == ["Prompt", "float32", "int8", "int8 beside float32"]
    texts = page.locator("#prompts-table td .whole")
    assert texts.evaluate_all("all => all.map(one => one.textContent)") == [one["text"] for one in results]
    page.set_viewport_size({"width": 390, "height": 844})
    long = page.locator("#prompts-table tbody th .whole").nth(1)
    long.evaluate("box => { box.textContent = 'word '.repeat(200) }")
    cut = long.bounding_box()["height"]  # type: ignore[index]
    long.click()
    assert long.bounding_box()["height"] > 3 * cut  # type: ignore[index]
    page.set_viewport_size(WINDOW)
    file = tmp_path / "prompts.txt"
    file.write_text("The fox\nThe cat", encoding="utf-16")
    page.locator("#prompts-file input[type=file]").set_input_files(file)
    sync_api.expect(page.locator("#prompts-file")).to_contain_text("32.0 B")
    assert "2 of 2 prompts" in run(page, "compare-all", "Done")


def test_mistakes_are_one_sentence(page: "sync_api.Page", home: Path, tmp_path: Path) -> None:
    compare(page, "Prompt list")
    assert "write one in each line" in run(page, "compare-all", "⚠")
    compare(page, "Measure")
    page.locator("#judge-text textarea").fill("a")
    assert "too short" in run(page, "measure", "⚠")
    page.locator("#judge-text textarea").fill("  \n ")
    assert "is empty" in run(page, "measure", "⚠")
    binary = tmp_path / "picture.txt"
    binary.write_bytes(bytes(range(256)) * 10)
    page.locator("#judge-text-file input[type=file]").set_input_files(binary)
    sync_api.expect(page.locator("#judge-text-file")).to_contain_text("picture")
    assert "is not a text file" in run(page, "measure", "⚠")
    compare(page)
    choose(page, "compare-b-model", "short-lived")
    shutil.rmtree(home / "models" / "short-lived")
    assert "there is no model 'short-lived'" in run(page, "watch", "⚠")
    choose(page, "compare-b-model", "starter")
    set_tokens(page, 10)
    run(page, "watch", "Ended")


def test_other_tokenizers_are_compared_by_characters_and_what_one_side_cannot_read_is_named(
    page: "sync_api.Page",
) -> None:
    choose(page, "compare-b-model", "slow")
    set_tokens(page, 10)
    compare(page, "Measure")
    put(page, "repeats", 1)
    page.locator("#judge-text textarea").fill("the cat sat on the mat and the dog sat on the cat. " * 3)
    run(page, "measure", "Measured")
    page.locator("#all-figures button").first.click()
    sync_api.expect(page.locator("#report table")).to_be_visible()
    rows = {row.split("\t")[0]: row for row in page.locator("#report").inner_text().splitlines()}
    assert "absent: the models have different tokenizers" in rows["Perplexity"]
    assert page.locator("#report").inner_text().count("absent") == 1
    assert "KL divergence, mean" not in rows
    sync_api.expect(page.locator("#strip")).to_be_hidden()

    choose(page, "compare-b-model", "letters")  # which cannot read the starter's stories
    page.locator("#judge-text textarea").fill("Is it 7, or is it 8?")
    said = run(page, "measure", "⚠")
    assert "the text given cannot be read by letters: the model knows" in said
    assert "leave the box empty to use the held-out text of letters" in said
    page.locator("#judge-text textarea").fill("")
    run(page, "measure", "Measured")
    sync_api.expect(page.locator("#caveats")).to_contain_text("Quality is that on held-out text of letters")
    compare(page)
    page.locator("#compare-prompt textarea").fill("Is it 7?")
    assert "the prompt cannot be read by letters: the model knows" in run(page, "watch", "⚠")


def test_rounds_are_numbered_equal_texts_not_voted_on_and_votes_reset(page: "sync_api.Page", home: Path) -> None:
    choose(page, "compare-b-precision", "float32")
    set_tokens(page, 5)
    compare(page, "Blind test")
    run(page, "blind", "Round 1: both sides wrote the same text, word for word, with each of 4 seeds")
    for vote in ("left", "tie", "right"):
        sync_api.expect(page.locator(f"#vote-{vote}")).to_be_disabled()
    assert not (home / "votes.json").exists()
    choose_side(page, "b", "letters")
    for number in (1, 2):
        run(page, "blind", f"Round {number}: which one is better?")
        page.locator("#vote-left").click()
        sync_api.expect(page.locator("#blind-left h4")).to_contain_text("Left: ")
    page.locator("#blind-reset").click()
    sync_api.expect(page.locator("#blind-reset")).to_have_text("Delete 2 votes on starter against letters")
    page.locator("#blind-reset").click()
    sync_api.expect(page.locator("#tally")).to_contain_text("Deleted 2 votes on starter against letters.")
    assert json.loads((home / "votes.json").read_text()) == {}
    run(page, "blind", "Round 1: which one is better?")


def test_models_too_large_together_are_loaded_in_turn(browser: "sync_api.Browser", tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        save_random(tmp_path / "models" / name, n_embd=256, n_layer=4)  # 13 MB each
    desk = RunningDesk(tmp_path, GPTDESK_MEMORY_GB="0.03", OMP_NUM_THREADS="1")
    with watched_page(browser, desk) as page:
        compare(page)
        page.locator("#compare-third input").check()
        for letter, name in zip("abc", ("one", "two", "three"), strict=True):
            choose_side(page, letter, name)
        set_tokens(page, 5)
        run(page, "watch", "Ended")
        assert all(pane(page, f"watch-{i}") for i in (1, 2, 3))
        compare(page, "Measure")
        put(page, "repeats", 1)
        page.locator("#judge-text textarea").fill("the cat sat on the mat and the dog sat on the cat. " * 3)
        run(page, "measure", "Measured")
        sync_api.expect(page.locator("#caveats")).to_contain_text("loaded in turn")
    assert "Traceback" not in desk.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out_of_a_narrow_screen(browser: "sync_api.Browser", desk: RunningDesk, theme: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=theme, reduced_motion="reduce")
    open_page(page, desk)
    compare(page)
    set_tokens(page, 10)
    run(page, "watch", "Ended")
    page.wait_for_function("document.querySelector('#watch-1').getBoundingClientRect().bottom <= innerHeight")
    page.evaluate("""() => {
      scrollTo(0, 0);
      document.querySelector("#watch").click();
      dispatchEvent(new WheelEvent("wheel"));  // the reader looks elsewhere
      document.querySelectorAll("#watch-line p").forEach(p => p.remove());
    }""")
    sync_api.expect(page.locator("#watch-line p")).to_contain_text("Ended")
    assert page.evaluate("scrollY") == 0
    boxes = [page.locator(f"#watch-{i} .pane").bounding_box() for i in (1, 2)]
    assert all(box and box["x"] >= 0 and box["width"] > 280 for box in boxes)
    for view in ("Watch", "Measure"):
        page.get_by_role("tab", name=view).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_matrices_are_mapped_raised_measured_and_saved(page: "sync_api.Page", home: Path) -> None:
    compare(page, "Measure")
    choose(page, "compare-a-model", "letters")
    unfold(page, "bits")
    sync_api.expect(page.locator("#bits-table")).to_contain_text("No map yet")
    sync_api.expect(page.locator("#bits-measure")).to_be_hidden()
    assert run(page, "bits-map", "Measured") == "Measured: 6 of 6 matrices."
    cells = page.locator("#bits-table td button")
    assert cells.count() == 6
    run(page, "bits-measure", "no matrix is raised; press at least one of the map")
    page.locator("[data-matrix='h.0.mlp.c_fc']").focus()
    page.keyboard.press("ArrowRight")  # by keyboard alone
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.locator(".bits-worst").click()
    raised = {cell.get_attribute("data-matrix"): cell.locator("small").inner_text() for cell in cells.all()}
    assert raised["h.0.mlp.c_proj"] == "float32"
    others = page.locator("#bits-table td button:not([data-matrix='h.0.mlp.c_proj'])").all()
    worst = max(others, key=lambda cell: float(cell.get_attribute("data-kl") or 0))
    assert "raised" in (worst.get_attribute("class") or "")
    sync_api.expect(page.locator(".bits-sum")).to_contain_text("2 raised, ")
    run(page, "bits-measure", "Measured")
    sync_api.expect(page.locator("#bits-bought")).to_contain_text(re.compile(r"\d matri.* raised: perplexity x "))
    page.locator("#bits-name textarea, #bits-name input").fill("better")
    run(page, "bits-save", "Saved as better")
    saved = Checkpoint.open(home / "models" / "better").quantized
    assert saved is not None
    assert dict(saved.raised)["h.0.mlp.c_proj"] == "float32"
    choose(page, "compare-b-model", "better")  # listed at once
    shutil.rmtree(home / "models" / "better")


def test_a_map_that_was_stopped_can_be_used(page: "sync_api.Page") -> None:
    compare(page, "Measure")
    unfold(page, "bits")
    page.locator("#bits-map").click()
    page.locator("#bits-table td button").first.wait_for()
    page.locator("#bits-map-stop").click()
    sync_api.expect(page.locator("#bits-map-line")).to_contain_text("You stopped it; measured so far:")
    page.locator("[data-matrix='wte']").click()
    page.locator("#bits-measure").click()
    sync_api.expect(page.locator("#bits-measure-line")).to_contain_text("precisions")
    page.locator("#bits-measure-stop").click()
    sync_api.expect(page.locator("#bits-measure-line")).to_contain_text("You stopped it.")
