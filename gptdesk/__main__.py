"""Entry point of `gptdesk` and `python -m gptdesk`: the desk without a verb, its API by `serve`, else a command."""

import os
import sys

from gptdesk.system import terminal

TYPE_CHECKING = False  # that of `typing`, whose import would delay the handling of signals
if TYPE_CHECKING:
    from gptdesk.settings import Settings

# Read by gradio and huggingface_hub when they are imported: no telemetry.
PRIVACY = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# Gradio prefers its variables to our settings: GRADIO_VIBE_MODE lets any visitor run code, GRADIO_ALLOWED_PATHS read
# files. All of them are removed but this one, the address of a share server of the user's own.
KEPT_OF_GRADIO = ("GRADIO_SHARE_SERVER_ADDRESS",)


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
    for name in list(os.environ):
        if name.upper().startswith("GRADIO_") and name not in KEPT_OF_GRADIO:
            del os.environ[name]
    os.environ |= PRIVACY
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
    from gptdesk.cli import SERVE, UsageError, main_parser, run, serve_parser

    try:
        try:
            options = main_parser().parse_args(arguments)
            if options.verb == SERVE:
                given = vars(serve_parser().parse_args(options.rest))
                code = _start(vars(options) | {k: v for k, v in given.items() if v is not None}, page=False)
            elif options.verb:
                code = run(options.verb, options.rest, home=options.home)
            else:
                code = _start(vars(options))
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


def _start(options: dict[str, object], *, page: bool = True) -> int:
    """Start a desk, or open the one that runs for this home in the browser, and return the exit code."""
    import contextlib
    import importlib

    from gptdesk.settings import Settings, home_fault, load_settings
    from gptdesk.system.single_instance import announce, bind

    settings = load_settings({name: options[name] for name in Settings.model_fields if name in options}).with_key()
    if _open_running(settings, page=page):
        return 0
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bind(settings.bind_host, settings.port))
        url = settings.url(port=listener.getsockname()[1])
        try:  # before gradio is loaded, so that a second start waits for this desk
            stack.enter_context(announce(settings.home, url))
        except FileExistsError:  # this is that second start
            if _open_running(settings, page=page):
                return 0
            stack.enter_context(announce(settings.home, url, replace=True))
        except OSError:
            if not home_fault(settings.home):  # a desk of a home that cannot be written is not announced
                raise
        with terminal.exiting(stack.close):
            from gptdesk.server import serve

            if page:
                importlib.import_module("gptdesk.page.app")
        return serve(settings, listener, url=url, page=page)


def _open_running(settings: "Settings", *, page: bool) -> bool:
    """Open the page of the desk that runs for this home, if `page` is wanted; return whether there is such a desk.

    Raises ValueError if a page is wanted and that desk has none.
    """
    import logging

    from gptdesk.system.browser import open_page
    from gptdesk.system.single_instance import find_running, has_page

    url = find_running(settings.home)
    if url is None:
        return False
    if page and not has_page(url):
        raise ValueError(
            f"`gptdesk serve` runs for this home at {url}, without a page; end it first, "
            "or choose another home by --home"
        )
    log = logging.getLogger("gptdesk")
    if not page:
        log.info("GPT Desk is already running at %s, with its API at %s/v1", url, url)
        return True
    also = "; switch Share on there for a public link" if settings.share else ""
    log.info("GPT Desk is already running at %s%s", url, also)
    if settings.browser:
        open_page(url, app_window=settings.app_window)
    return True


if __name__ == "__main__":
    sys.exit(main())
