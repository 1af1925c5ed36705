"""Recipes of models that point."""
