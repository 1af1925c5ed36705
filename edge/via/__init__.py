"""Architectures that have no family here, exported by others' software and proved all the same."""
