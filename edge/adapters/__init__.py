"""Adapters: the small change that fine-tuning made to a model, read from and written to the layouts of others."""
