"""Options that are lists of token ids."""

MOST = 1_000  # tokens
LONGEST = 20_000  # characters


def parse_ids(text: str, *, option: str) -> frozenset[int]:
    """Return the ids of a list such as "198, 25"; ValueError, naming the option, for another text."""
    pieces = [piece.strip() for piece in text.split(",")]
    pieces = [piece for piece in pieces if piece]
    for piece in pieces:
        if not (piece.isascii() and piece.isdigit() and len(piece) <= 18):
            raise ValueError(f"{option} is a list of token ids such as 198, 25, not {piece!r:.60}")
    if len(pieces) > MOST:
        raise ValueError(f"{option} may have at most {MOST:,} tokens, not {len(pieces):,}")
    return frozenset(map(int, pieces))
