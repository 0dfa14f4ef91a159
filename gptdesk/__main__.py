"""Entry point of `gptdesk` and `python -m gptdesk`: the desk without a verb, a command with one."""

import os
import sys

from gptdesk.system import terminal

TYPE_CHECKING = False  # that of `typing`, whose import would delay the handling of signals
if TYPE_CHECKING:
    from gptdesk.settings import Settings

# Read by gradio and huggingface_hub when they are imported: no telemetry.
PRIVACY = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# Gradio prefers these to our settings; the last lets any visitor run code.
OVERRIDES = ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_ROOT_PATH", "GRADIO_VIBE_MODE")


def main(arguments: list[str] | None = None) -> int:
    """Run the desk or a command and return the exit code; a mistake of the user is one line on stderr and code 2.

    Without `arguments` this is the whole program, with those of the command line.
    """
    is_program = arguments is None
    if is_program:
        terminal.prepare()
        if not terminal.has_folder():  # torch would end the process with an obscure message
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
    logging.raiseExceptions = not is_program  # a line that cannot be written must not become a traceback
    try:
        with terminal.interruptible():
            return _run(sys.argv[1:] if arguments is None else arguments)
    except terminal.Ended as end:
        return end.code
    except KeyboardInterrupt:
        return 130
    finally:
        terminal.go_on_without_output()  # Python flushes once more, and would report the same error again


def _run(arguments: list[str]) -> int:
    """Run the desk or a command and return the exit code; an error is one line on stderr and code 2."""
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
    """Open the desk that runs for this home in the browser, or start one, and return the exit code."""
    import contextlib

    from gptdesk.settings import Settings, load_settings
    from gptdesk.system.single_instance import announce, bind

    settings = load_settings({name: options[name] for name in Settings.model_fields if name in options})
    if _open_running(settings):
        return 0
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        url = settings.url(port=listener.getsockname()[1])
        try:  # before gradio is loaded, so that a second start waits for this desk
            stack.enter_context(announce(settings.home, url))
        except FileExistsError:  # this is that second start
            if _open_running(settings):
                return 0
            stack.enter_context(announce(settings.home, url, replace=True))
        with terminal.exiting(stack.close):
            from gptdesk.server import serve
        return serve(settings, listener, url=url)


def _open_running(settings: "Settings") -> bool:
    """Open the page of the desk that runs for this home; return whether there is one."""
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
