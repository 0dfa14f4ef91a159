"""Files of `torch.save` as plain data, without torch and without running code."""
