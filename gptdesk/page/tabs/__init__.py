"""Tabs of the page: a file or folder each, with a TITLE and a build(desk, links) that lays out and wires it."""
