"""Settings tab: what it says of how an option is set is what the command line takes."""

import argparse

from gptdesk.cli.desk_options import add_page_options, add_server_options
from gptdesk.page.tabs.settings import COMMAND_LINE, ways_to_set
from gptdesk.settings import Settings


def test_options_of_the_command_line_are_those_that_it_takes() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_server_options(parser)
    add_page_options(parser)
    names = {action.dest: action.option_strings[0] for action in parser._actions}
    assert {name: way.split()[0] for name, way in COMMAND_LINE.items()} == names


def test_every_option_has_a_variable_and_all_but_the_home_a_line_in_the_file() -> None:
    ways = {name: ways_to_set(name).split(" · ") for name in Settings.model_fields}
    assert ways["port"] == ["--port NUMBER", "GPTDESK_PORT", '"port"']
    assert ways["memory_gb"] == ["GPTDESK_MEMORY_GB", '"memory_gb"']
    assert ways["home"] == ["--home DIR", "GPTDESK_HOME"]
