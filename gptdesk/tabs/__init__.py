"""The tabs of the page: one file each, with a TITLE and a build(desk, page) that lays out and wires it."""
