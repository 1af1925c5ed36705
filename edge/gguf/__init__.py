"""GGUF, the format of llama.cpp: a reader that trusts nothing, and what the keys of a file mean."""
