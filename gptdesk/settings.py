"""Settings of the desk: arguments before environment before <home>/settings.json before defaults."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, field_validator

from gptdesk.system.terminal import readable
from models.storage import read_json
from samplers import Options

FILE = "settings.json"
SPACE_PORT = 7860  # what a Hugging Face Space forwards
API_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")  # what a Bearer header can carry (RFC 6750)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class Settings(Options):
    """Settings of a desk; all but `home` may stand in `<home>/settings.json` or in `GPTDESK_<FIELD>`."""

    home: Path = Field(description="folder of models, environments and settings")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 127.0.0.1 is this computer only")
    allow_host: str = Field(
        "", description="host names, separated by commas, that your reverse proxy uses for the desk"
    )
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
    def public(self) -> bool:
        """True if others can reach the desk: on a Space, or listening beyond this computer."""
        return on_space() or not is_loopback(self.host)

    @property
    def behind_link(self) -> bool:
        """True if requests come by a link, through a share server: all of them from an address of this computer."""
        return False

    def url(self, *, port: int) -> str:
        """Return the address of the desk on this computer when it listens on `port`."""
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host.strip("[]"), self.host.strip("[]"))
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"

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
    make_folder(home)
    values: dict[str, object] = {"home": home}
    if on_space():
        values |= {"host": "0.0.0.0", "port": SPACE_PORT, "browser": False}
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
    return Settings(**values)


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
