"""Networks that see the regions of a picture (Groma, arXiv 2404.13013)."""
