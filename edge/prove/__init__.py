"""Whether an artifact is its source: files, weights, tokens, logits, greedy choices."""
