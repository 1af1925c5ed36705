"""Models of several networks: one file a pipeline says what happens between them."""
