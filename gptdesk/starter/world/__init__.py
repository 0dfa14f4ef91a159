"""Story generator: a simulated world, its events as sentences, and a parser that finds contradictions."""
