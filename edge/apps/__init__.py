"""What apps are given: an artifact, and a description of it that needs no Python to read."""
