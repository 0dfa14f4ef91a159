"""Settings of the desk: arguments before environment before <home>/settings.json before defaults."""

import ipaddress
import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from platformdirs import user_data_path
from pydantic import Field, PrivateAttr, field_validator, model_validator

from gptdesk.system.terminal import readable
from models.storage import json_bytes, read_json, write_file
from samplers import Options

log = logging.getLogger(__name__)

FILE = "settings.json"
SPACE_PORT = 7860  # what a Hugging Face Space forwards
API_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")  # what a Bearer header can carry (RFC 6750)
KEY_BYTES = 9  # of a key made by the desk: 12 characters, which a pupil can type
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class Settings(Options):
    """Settings of a desk; all but `home` may stand in `<home>/settings.json` or in `GPTDESK_<FIELD>`."""

    home: Path = Field(description="folder of models, environments and settings")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 127.0.0.1 is this computer only")
    lan: bool = Field(False, description="listen on the local network; who opens the page or calls the API needs a key")
    allow_host: str = Field(
        "", description="host names, separated by commas, that your reverse proxy uses for the desk"
    )
    public_desk: bool = Field(False, description="public mode wherever the desk listens: for a reverse proxy, say")
    port: int = Field(SPACE_PORT, ge=0, le=65535, description="first port to try; 0 takes any free one")
    api_key: str = Field("", repr=False, description="key that requests to the API must send; empty: none is needed")
    browser: bool = Field(True, description="open the page when the desk is ready")
    app_window: bool = Field(False, description="open the page in a window of its own (Chromium, Chrome or Edge)")
    device: Literal["auto", "cuda", "mps", "cpu"] = Field("auto", description="device of float models")
    history: bool = Field(True, description="save what is generated, to find and repeat it; a public desk never does")
    share: bool = Field(False, description="make a public link to the desk when it is ready; it lasts a week at most")
    memory_gb: float | None = Field(None, gt=0, description="memory in GB for loaded models; default half of all")
    idle_minutes: float = Field(
        10, ge=0, le=100_000, description="minutes after which a model that nobody uses leaves the memory; 0 never"
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    def source(self, name: str) -> str:
        """Return where the value of an option comes from: a file, the environment, the command line or "default"."""
        return self._sources.get(name, "default")

    @model_validator(mode="after")
    def _listen_at_one_place(self) -> Self:
        if self.lan and "host" in self.model_fields_set:
            raise ValueError(
                "lan listens on all addresses of this computer, so host is not allowed; leave out one of them"
            )
        return self

    @field_validator("allow_host")
    @classmethod
    def _are_host_names(cls, names: str) -> str:
        for name in filter(None, map(str.strip, names.split(","))):
            if not HOST_NAME.fullmatch(name):
                raise ValueError(f"allow_host takes names like desk.example.org, without a port, not {name!r:.80}")
        return names

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: str) -> str:
        if key and not API_KEY.fullmatch(key):
            raise ValueError(
                "api_key takes letters, digits and the characters - . _ ~ + / =, up to 200, without spaces"
            )
        return key

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The names of `allow_host`, as a browser sends them."""
        return frozenset(name.strip().lower() for name in self.allow_host.split(",") if name.strip())

    @property
    def bind_host(self) -> str:
        """Address to listen on: `host`, or all with `lan`."""
        return "0.0.0.0" if self.lan else self.host

    @property
    def public(self) -> bool:
        """True if others can reach the desk: on a Space, listening beyond this computer, or by `public_desk`."""
        return self.public_desk or on_space() or not is_loopback(self.bind_host)

    @property
    def behind_link(self) -> bool:
        """True if requests come by a link, through a share server: all of them from an address of this computer."""
        return False

    def url(self, *, port: int) -> str:
        """Return the address of the desk on this computer when it listens on `port`."""
        host = self.bind_host.strip("[]")
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"

    def with_key(self) -> Self:
        """Return the settings with a key made for this start, if `lan` has none; else these."""
        if not self.lan or self.api_key:
            return self
        keyed = self.model_copy(update={"api_key": secrets.token_urlsafe(KEY_BYTES)})
        keyed._sources = {**self._sources, "api_key": "made at the start"}
        return keyed

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def copies(self) -> Path:
        return self.home / "copies"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def batches(self) -> Path:
        return self.home / "batches"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def pasted(self) -> Path:
        return self.home / "pasted"

    @property
    def temporary(self) -> Path:
        """Folder of uploads and downloads of a running desk."""
        return self.home / "temporary"

    @property
    def texts(self) -> Path:
        return self.home / "texts"

    @property
    def samplers(self) -> Path:
        return self.home / "samplers"

    @property
    def vocabularies(self) -> Path:
        return self.home / "tiktoken"


class LinkSettings(Settings):
    """The same settings in public mode, wherever the desk listens: those of the page that a public link leads to."""

    @property
    def public(self) -> bool:
        return True

    @property
    def behind_link(self) -> bool:
        return True


def on_space() -> bool:
    """Return whether this process runs on a Hugging Face Space."""
    return bool(os.environ.get("SPACE_ID"))


def is_loopback(host: str) -> bool:
    """Return whether `host` names this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def default_home() -> Path:
    """Return the folder of `GPTDESK_HOME`, else the user data folder of this platform."""
    named = os.environ.get("GPTDESK_HOME")
    return Path(named).expanduser() if named else user_data_path("gptdesk", appauthor=False)


def load_settings(arguments: Mapping[str, object] | None = None) -> Settings:
    """Return the merged settings; `arguments` are those of the command line (None = not given).

    Raises ValueError naming the source and the option when a value cannot be used.
    """
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    home = _absolute(str(given.pop("home", None) or default_home()))
    if fault := home_fault(home):
        log.warning("%s", fault)
    else:
        make_folder(home)
    values: dict[str, object] = {"home": home}
    origins = {"home": "command line" if (arguments or {}).get("home") else _home_source()}
    if on_space():
        values |= {"host": "0.0.0.0", "port": SPACE_PORT, "browser": False}
        origins |= dict.fromkeys(values, "Space")
    sources = {
        str(home / FILE): _from_file(home / FILE),
        "the environment": _from_environment(),
        "the command line": given,
    }
    for source, given in sources.items():
        try:
            Settings(**(values | given))
        except ValueError as error:
            raise ValueError(f"{error} (in {source})") from None
        values |= given
        origins |= dict.fromkeys(given, source.removeprefix("the "))
    settings = Settings(**values)
    settings._sources.update(origins)
    return settings


def save_settings(home: Path, changes: Mapping[str, object]) -> None:
    """Write options to `<home>/settings.json`, for the next start; None removes one, so that its default holds.

    Raises ValueError, and leaves the file as it was, if a value or the file cannot be used; OSError if the disk
    refuses.
    """
    file = home / FILE
    values = {**_from_file(file), **changes}
    values = {name: value for name, value in values.items() if value is not None}
    valid = Settings(home=home, **values)
    write_file(file, json_bytes({name: getattr(valid, name) for name in values}))


def saved_settings(home: Path) -> dict[str, object]:
    """Return the options in `<home>/settings.json`; ValueError if the file cannot be used."""
    return _from_file(home / FILE)


def _home_source() -> str:
    return "environment" if os.environ.get("GPTDESK_HOME") else "default"


def _absolute(home: str) -> Path:
    """Return the home folder as an absolute path; raises ValueError, saying what to do, if it is unusable."""
    choose = "choose another with --home or GPTDESK_HOME"
    try:
        path = Path(home).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"the home folder {home} belongs to an unknown user; {choose}") from None
    if readable(str(path)) != str(path):  # libraries cannot open files there
        raise ValueError(f"the home folder {readable(str(path))} has a name that is not valid UTF-8; {choose}")
    return path


def make_folder(path: Path) -> None:
    """Make `path` and test that files can be written there; raises ValueError, saying what to do, if not."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write in the home folder {path} ({error.strerror}); choose another with --home or GPTDESK_HOME"
        ) from None


def home_fault(home: Path) -> str:
    """Return the sentence that a home which exists can be read, but not written; empty for any other.

    A desk works there all the same: with the models that it has, and nothing is kept.
    """
    if not home.is_dir() or os.access(home, os.W_OK | os.X_OK) or not os.access(home, os.R_OK | os.X_OK):
        return ""
    return (
        f"the home folder {home} cannot be written: texts are generated, but nothing is kept (history, settings, "
        "presets, runs); make it writable, or choose another with --home or GPTDESK_HOME"
    )


def _from_file(file: Path) -> dict[str, object]:
    if not file.exists():
        return {}
    try:
        values = read_json(file, limit=1_000_000)
    except ValueError as error:
        raise ValueError(f"{error}: correct or delete {file}") from None
    if "home" in values:
        raise ValueError(f"{file} cannot set home, the folder it lies in; use --home or GPTDESK_HOME")
    return values


def _from_environment() -> dict[str, object]:
    names = [name for name in Settings.model_fields if name != "home"]
    return {name: os.environ[key] for name in names if (key := f"GPTDESK_{name.upper()}") in os.environ}
