"""What a model takes and gives here: size, speed, quality."""
