"""HTTP routes without Gradio, and the guard in front of all routes."""
