"""Gradio page of the desk: tabs, widgets, and the checks in front of its events and files."""
