"""`gptdesk` and `python -m gptdesk`: no verb opens the desk, a verb runs a command in the terminal."""

import os
import sys

from gptdesk.system import terminal

TYPE_CHECKING = False  # that of `typing`, without the time that its import takes before signals are handled
if TYPE_CHECKING:
    from gptdesk.settings import Settings

# Read by gradio and huggingface_hub when they are imported: nothing is reported to anybody.
PRIVACY = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# Gradio would take these from the environment over what we decide; the last lets any visitor run code.
OVERRIDES = ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_ROOT_PATH", "GRADIO_VIBE_MODE")


def main(arguments: list[str] | None = None) -> int:
    """Run the desk or a command; the exit code. What the user got wrong is one line on stderr and code 2.

    Without `arguments` this is the whole program, and it takes those of the command line.
    """
    is_program = arguments is None
    if is_program:
        terminal.prepare()
        if not terminal.has_folder():  # torch would end the process with words that nobody understands
            print("gptdesk: the current folder was removed; go to another one and try again", file=sys.stderr)
            return 2
        from gptdesk.system.environment import prepare

        prepare()
    os.environ |= PRIVACY
    for name in OVERRIDES:
        os.environ.pop(name, None)
    import importlib
    import logging

    importlib.import_module("gptdesk.cli")  # takes seconds, in which a signal ends the process at once
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("gptdesk").setLevel(logging.INFO)
    logging.raiseExceptions = not is_program  # a line that cannot be shown must not become ten
    try:
        with terminal.interruptible():
            return _answer(sys.argv[1:] if arguments is None else arguments)
    except terminal.Ended as end:
        return end.code
    except KeyboardInterrupt:
        return 130
    finally:
        terminal.go_on_without_output()  # Python flushes once more, and would complain of what has been said already


def _answer(arguments: list[str]) -> int:
    """Do what these arguments say; a fault is one line on stderr and exit code 2."""
    from gptdesk.cli import UsageError, main_parser, run

    try:
        try:
            options = main_parser().parse_args(arguments)
            code = run(options.verb, options.rest, home=options.home) if options.verb else _open_desk(vars(options))
        except SystemExit:  # --help and --version
            terminal.flush_output()
            raise
        terminal.flush_output()
        return code
    except terminal.ReaderGone:
        return 0
    except (ValueError, UsageError, OSError) as error:
        print(f"gptdesk: {error}", file=sys.stderr)
        return 2


def _open_desk(options: dict[str, object]) -> int:
    """Show the desk in the browser: the one that runs for this home already, else a new one."""
    import contextlib

    from gptdesk.settings import Settings, load_settings
    from gptdesk.system.single_instance import announce, bind

    settings = load_settings({name: options[name] for name in Settings.model_fields if name in options})
    if _shown_already(settings):
        return 0
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        url = settings.url(port=listener.getsockname()[1])
        try:  # before gradio is loaded: the second click of a double click waits for this desk
            stack.enter_context(announce(settings.home, url))
        except FileExistsError:  # ... and here that second click is we
            if _shown_already(settings):
                return 0
            stack.enter_context(announce(settings.home, url, replace=True))
        with terminal.exiting(stack.close):
            from gptdesk.server import serve
        return serve(settings, listener, url=url)


def _shown_already(settings: "Settings") -> bool:
    """Open the page of the desk that runs for this home, if there is one."""
    import logging

    from gptdesk.system.browser import open_page
    from gptdesk.system.single_instance import find_running

    url = find_running(settings.home)
    if url is None:
        return False
    also = "; switch Share on there for a public link" if settings.share else ""
    logging.getLogger("gptdesk").info("GPT Desk is already running at %s%s", url, also)
    if settings.browser:
        open_page(url, app_window=settings.app_window)
    return True


if __name__ == "__main__":
    sys.exit(main())
