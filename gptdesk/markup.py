"""Text as markup that shows it as it is."""


def markdown_text(text: str) -> str:
    """Markdown that shows `text` as it is, whatever characters it holds."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-!|~$&" else c for c in text)
