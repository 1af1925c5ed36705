"""Low-bit weights: the neutral form (`tensor`), what to make of which weight (`recipe`), and one
file a method.
"""
