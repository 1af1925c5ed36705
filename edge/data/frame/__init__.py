"""The frame that every data engine stands in: sources, steps over rows, the places of a run, and what it writes."""
