"""Runs of models that point."""
