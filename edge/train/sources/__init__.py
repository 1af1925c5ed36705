"""Where the rows of a step come from: a file for each kind of rows."""
