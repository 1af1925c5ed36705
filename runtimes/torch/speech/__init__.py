"""Training of speech on torch."""
