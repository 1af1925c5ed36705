"""What a model that points learns from: pictures with boxes, and what is said about them."""
