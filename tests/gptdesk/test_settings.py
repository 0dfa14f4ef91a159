"""Settings: which source wins, and what is said when one of them cannot be used."""

import json
from pathlib import Path

import platformdirs
import pytest

from gptdesk.settings import default_home, is_loopback, load_settings, save_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOST", "PORT", "BROWSER", "APP_WINDOW", "MEMORY_GB"):
        monkeypatch.delenv(f"GPTDESK_{name}", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "home"))


def test_arguments_beat_the_environment_which_beats_the_file_which_beats_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings().port == 7860
    (tmp_path / "home" / "settings.json").write_text(json.dumps({"port": 7001, "browser": False}))
    assert load_settings().port == 7001
    monkeypatch.setenv("GPTDESK_PORT", "7002")
    assert load_settings().port == 7002
    settings = load_settings({"port": "7003", "host": None})
    assert (settings.port, settings.host, settings.browser) == (7003, "127.0.0.1", False)


def test_the_home_is_the_user_data_folder_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().home == tmp_path / "home"
    assert load_settings({"home": str(tmp_path / "other")}).home == tmp_path / "other"
    monkeypatch.delenv("GPTDESK_HOME")
    assert default_home() == Path(platformdirs.user_data_dir("gptdesk", appauthor=False))


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for home in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(ValueError, match=r"cannot write in the home folder .* choose another with --home"):
            load_settings({"home": str(home)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "settings.json is not valid JSON: correct or delete"),
        ("[1]", "does not hold a JSON object"),
        ('{"port": "seven"}', "port must be a valid integer, not 'seven'"),
        ('{"port": 70000}', "port must be less than or equal to 65535, not 70000"),
        ('{"prot": 7000}', "has no option 'prot'.*settings.json"),
        ('{"home": "/elsewhere"}', "cannot set home"),
    ],
)
def test_a_bad_settings_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_a_space_listens_to_everybody_on_its_port_and_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().public
    monkeypatch.setenv("SPACE_ID", "someone/desk")
    settings = load_settings()
    assert (settings.host, settings.port, settings.browser, settings.public) == ("0.0.0.0", 7860, False, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_listening_beyond_this_computer_is_public() -> None:
    assert load_settings({"host": "0.0.0.0"}).public


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5"),
        ("localhost", "http://localhost:5"),
        ("::1", "http://[::1]:5"),
        ("[::1]", "http://[::1]:5"),
        ("0.0.0.0", "http://127.0.0.1:5"),
        ("::", "http://[::1]:5"),
        ("192.0.2.2", "http://192.0.2.2:5"),
    ],
)
def test_the_address_for_a_browser_here(host: str, url: str) -> None:
    assert load_settings({"host": host}).url(port=5) == url


def test_a_mistake_names_where_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTDESK_PORT", "abc")
    with pytest.raises(ValueError, match=r"port must be a valid integer, not 'abc' \(in the environment\)"):
        load_settings()
    monkeypatch.delenv("GPTDESK_PORT")
    with pytest.raises(ValueError, match=r"port .* \(in the command line\)"):
        load_settings({"port": "-1"})


def test_each_value_names_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "settings.json").write_text('{"browser": false, "history": false}')
    monkeypatch.setenv("GPTDESK_HISTORY", "true")
    settings = load_settings({"port": 7003})
    sources = [settings.source(name) for name in ("home", "browser", "history", "port", "device")]
    file = str(tmp_path / "home" / "settings.json")
    assert sources == ["environment", file, "environment", "command line", "default"]


def test_saved_settings_hold_at_the_next_start_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    home = load_settings().home
    save_settings(home, {"memory_gb": 2, "port": 7005.0, "browser": None})
    assert (load_settings().memory_gb, load_settings().port, load_settings().browser) == (2.0, 7005, True)
    before = (home / "settings.json").read_bytes()
    with pytest.raises(ValueError, match="memory_gb must be greater than 0, not -1"):
        save_settings(home, {"memory_gb": -1, "port": None})
    assert (home / "settings.json").read_bytes() == before
    save_settings(home, {"memory_gb": None})
    assert load_settings().memory_gb is None
