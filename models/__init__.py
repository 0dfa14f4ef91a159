"""GPT-2 models: the network, its tokenizers, checkpoints on disk, and the manager that lends them out."""
