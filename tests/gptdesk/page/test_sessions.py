"""Sessions: kept while their page is open, released after it is closed, open ones last."""

from collections.abc import Callable

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from gptdesk.page import sessions as module
from gptdesk.page.sessions import Session, Sessions


@pytest.fixture
def sessions(in_event_loop: Callable) -> Sessions:
    def page() -> Sessions:
        with gr.Blocks(analytics_enabled=False) as page:
            gr.Textbox(label="text")
            gr.State("at first")
        return Sessions(page)

    return in_event_loop(page)


def test_a_session_without_a_page_is_released_after_a_while(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(sessions["gone"], Session)
    sessions.delete_all_expired_state()
    assert "gone" in sessions
    monkeypatch.setattr(module, "GRACE", -1.0)
    sessions.delete_all_expired_state()
    assert "gone" not in sessions


def test_a_page_that_reconnects_keeps_its_session(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the new connection comes before the old one has ended."""
    monkeypatch.setattr(module, "GRACE", -1.0)
    first = sessions.heartbeat("page")
    first.__enter__()
    kept = sessions["page"]
    with sessions.heartbeat("page"):
        first.__exit__(None, None, None)
        sessions.delete_all_expired_state()
        assert sessions["page"] is kept
    sessions.delete_all_expired_state()
    assert "page" not in sessions


def test_invented_sessions_do_not_push_out_one_with_an_open_page(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CAPACITY", 10)
    with sessions.heartbeat("page"):
        kept = sessions["page"]
        for i in range(50):
            sessions[f"invented{i}"]
        assert len(sessions.session_data) == 10
        assert sessions["page"] is kept
    for i in range(50):
        with sessions.heartbeat(f"open{i}"):
            sessions[f"open{i}"]
    assert len(sessions.session_data) == 10
    assert "page" not in sessions


def test_a_component_is_not_stored_under_a_number_that_the_page_does_not_have(sessions: Sessions) -> None:
    session = sessions["page"]
    box = next(block for block in session.blocks_config.blocks.values() if isinstance(block, gr.Textbox))
    before = len(session.blocks_config.blocks)
    session[box._id] = box
    session[max(session.blocks_config.blocks) + 7] = box
    assert len(session.blocks_config.blocks) == before
    assert session.config_values == {}


def test_values_are_of_a_session_and_begin_as_on_the_page(sessions: Sessions) -> None:
    one, other = sessions["one"], sessions["other"]
    state = next(block for block in one.blocks_config.blocks.values() if isinstance(block, gr.State))
    assert state._id not in one
    assert one[state._id] == "at first"
    one[state._id] = "changed"
    assert state._id in one
    assert (one[state._id], other[state._id], sessions["one"][state._id]) == ("changed", "at first", "changed")


def test_it_has_all_that_gradios_own_has(sessions: Sessions) -> None:
    """Or a later version will look for something that is not there."""
    theirs = vars(SessionState(sessions.blocks))
    assert set(theirs) - set(vars(sessions["page"])) == {"STATE_TTL_WHEN_CLOSED"}  # which only its own expiry reads
