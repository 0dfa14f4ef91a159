"""The tabs of the page: one file or folder each, with a TITLE and a build(desk, links) that lays out and wires it."""
