"""A small world that is simulated first and told afterwards, and the reader that checks what others tell about it."""
