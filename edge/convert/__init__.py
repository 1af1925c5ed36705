"""A checkpoint becomes artifacts: one pass over its weights for all targets."""
