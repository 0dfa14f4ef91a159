"""GPT Desk: a workbench for small GPT models, on samplers and models below it."""

__version__ = "0.1.0"
