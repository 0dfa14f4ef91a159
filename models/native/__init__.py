"""GPT-2's step compiled for this processor: equal bits for a token, a batch, a prompt, any number of threads."""
