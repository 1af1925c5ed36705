"""Training of speech: recipes, and what their runs make."""
