"""What other programs ask the desk over HTTP, on the page's own port, and who may ask."""
