# Everything that CI runs, by name.
test:
    pytest

unit:
    pytest tests/unit tests/property

lint:
    ruff format --check . && ruff check . && mypy

docs:
    python tests/readme.py --write
