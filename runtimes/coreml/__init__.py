"""Core ML: a reference evaluation of saved packages in numpy, on any system."""
