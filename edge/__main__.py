"""`python -m edge`, as torchrun starts it."""

from edge.command.cli import main

if __name__ == "__main__":
    main()
