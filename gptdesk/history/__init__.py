"""History: what was generated, in a SQLite file, written by `Desk.generate`; search, notes, deletion, export."""

from gptdesk.history.entry import Entry, HistoryFilter, Origin, Summary
from gptdesk.history.recording import recorded
from gptdesk.history.rows import Draft
from gptdesk.history.store import FILE, History

__all__ = ["FILE", "Draft", "Entry", "History", "HistoryFilter", "Origin", "Summary", "recorded"]
