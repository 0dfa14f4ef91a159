"""GPT-2 models: the network, its tokenizers, the library of models on disk, and the manager of those in memory."""
