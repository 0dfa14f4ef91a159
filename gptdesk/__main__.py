"""`gptdesk` and `python -m gptdesk`: no verb opens the desk, a verb runs a command in the terminal."""

import contextlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from gptdesk.process import prepare

if TYPE_CHECKING:
    from gptdesk.settings import Settings

log = logging.getLogger("gptdesk")

# Read by gradio and huggingface_hub when they are imported: nothing is reported to anybody.
PRIVACY = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# Gradio would take these from the environment over what we decide; the last lets any visitor run code.
OVERRIDES = ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_ROOT_PATH", "GRADIO_VIBE_MODE")


def main(arguments: list[str] | None = None) -> int:
    """Run the desk or a command; the exit code. What the user got wrong is one line on stderr and code 2.

    Without `arguments` this is the whole program, and it takes those of the command line.
    """
    if arguments is None:
        prepare()
    os.environ |= PRIVACY
    for name in OVERRIDES:
        os.environ.pop(name, None)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)

    from gptdesk.cli import UsageError, main_parser, run

    try:
        options = main_parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        if options.verb:
            return run(options.verb, options.rest, home=options.home)
        return _open_desk(vars(options))
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, UsageError, OSError) as error:
        print(f"gptdesk: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _open_desk(options: dict[str, object]) -> int:
    """Show the desk in the browser: the one that runs for this home already, else a new one."""
    from gptdesk.instance import announce, bind
    from gptdesk.settings import Settings, load_settings

    settings = load_settings({name: options[name] for name in Settings.model_fields if name in options})
    if _shown_already(settings):
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is announced below is taken back
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        url = settings.url(port=listener.getsockname()[1])
        try:  # before gradio is loaded: the second click of a double click waits for this desk
            stack.enter_context(announce(settings.home, url))
        except FileExistsError:  # ... and here that second click is we
            if _shown_already(settings):
                return 0
            stack.enter_context(announce(settings.home, url, replace=True))
        from gptdesk.app import serve

        return serve(settings, listener, url=url)


def _shown_already(settings: "Settings") -> bool:
    """Open the page of the desk that runs for this home, if there is one."""
    from gptdesk.instance import find_running, open_page

    url = find_running(settings.home)
    if url is None:
        return False
    log.info("GPT Desk is already running at %s", url)
    if settings.browser:
        open_page(url, app_window=settings.app_window)
    return True


if __name__ == "__main__":
    sys.exit(main())
