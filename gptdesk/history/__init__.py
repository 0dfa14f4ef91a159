"""History: what was generated, in a SQLite file, written by `Desk.generate`; search, notes, deletion, export."""

from gptdesk.history.entry import Branch, Entry, HistoryFilter, Origin, Summary
from gptdesk.history.recording import recorded
from gptdesk.history.rows import Draft
from gptdesk.history.store import FILE, History

__all__ = ["FILE", "Branch", "Draft", "Entry", "History", "HistoryFilter", "Origin", "Summary", "recorded"]
