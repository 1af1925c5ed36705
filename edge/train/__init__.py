"""Training: recipes and corpora as data. The steps themselves run in `edge_runtimes.torch`."""
