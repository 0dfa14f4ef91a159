"""Options that start the desk, with its page or, by `gptdesk serve`, without."""

import argparse

from gptdesk.cli.parsing import Parser, path

SERVE = "serve"  # the verb that starts a server instead of running a command


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server, whether it has a page or not."""
    parser.add_argument("--home", type=path, metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1: this computer only)")
    parser.add_argument(
        "--lan",
        action="store_const",
        const=True,
        help="listen on the local network, in public mode; print the address, a QR code, and a key that is needed",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME,NAME",
        help="host names, separated by commas, that your reverse proxy uses for the desk",
    )
    parser.add_argument(
        "--public",
        dest="public_desk",
        action="store_const",
        const=True,
        help="public mode: visitors generate and compare, and nothing else; --host beyond this computer implies it",
    )
    parser.add_argument("--port", help="first port to try (default 7860)")
    parser.add_argument(
        "--api-key", metavar="KEY", help="key that requests to the API must send (better by GPTDESK_API_KEY)"
    )


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a page."""
    parser.add_argument(
        "--share", action="store_const", const=True, help="make a public link, by which others can use the desk"
    )
    parser.add_argument("--no-browser", dest="browser", action="store_const", const=False, help="do not open the page")
    parser.add_argument(
        "--app-window",
        action="store_const",
        const=True,
        help="open the page in a window without browser bars, if possible",
    )


def serve_parser() -> Parser:
    """Return the parser of `gptdesk serve`, whose options are those of the desk but for the page's."""
    parser = Parser(
        prog=f"gptdesk {SERVE}", description="Serve the API without the page, until Ctrl-C.", allow_abbrev=False
    )
    add_server_options(parser)
    return parser
