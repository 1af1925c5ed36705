"""Formats at rest, read within bounds: safetensors, JSON, data files, texts that the user gives."""
