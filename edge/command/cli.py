"""The command line: a command parses, calls one function of `edge.api`, prints one result.

Results go to stdout, talk and progress to stderr. Imports wait inside the commands, so that help is
instant.
"""

import sys

from edge.command import data, keeping, making, measuring, running, training
from edge.command.app import app, say
from edge.command.trouble import guarded
from edge.command.usage import UsageError, explained
from edge.errors import EdgeError
from edge.system import processors
from edge.system.switches import keep_at_home

# In the order of need, as help lists them.
ORDER = (
    *(
        "pull",
        "plan",
        "convert",
        "verify",
        "inspect",
        "run",
        "serve",
        "bench",
        "eval",
        "compare",
        "app",
        "data",
        "train",
    ),
    *("list", "rm", "doctor"),
)
GROUPS = (data, keeping, making, measuring, running, training)  # each brought its commands to `app`
app.registered_commands.sort(key=lambda command: ORDER.index(str(command.name)))


def main() -> None:
    """Run the command line; whatever goes wrong is one message and an exit code, never a traceback."""
    processors.tell_libraries()
    keep_at_home()
    sys.exit(guarded(_command))


def _command() -> object:
    """The command that was named -> its exit code, if it has one of its own."""
    try:
        return app(prog_name="edge", standalone_mode=False)
    except UsageError as error:
        if len(sys.argv) > 1:
            raise explained(error, sys.argv[1:]) from None
        say(str(error))  # all of the help
        return EdgeError.code
