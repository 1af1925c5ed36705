"""The maths of every model, written once over `edge.ops`."""
