"""Inside of a model: attention, predictions of each layer, faded parts; merges of its tokenizer."""
