"""What is wrong with a command line, in the words of the one who typed it: the parser's own errors
speak of its library.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args

import typer

from edge.errors import EdgeError

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # wherever this version keeps it


def explained(error: Exception, given: Sequence[str]) -> EdgeError:
    """A parser's error about the arguments that were given."""
    facts: dict[str, Any] = {"ctx": None, "param": None, "option_name": None, **vars(error)}
    context, parameter, option = facts["ctx"], facts["param"], facts["option_name"]
    command = context.command_path if context else f"edge {given[0]}"
    name, help_ = command.removeprefix("edge "), f"`{command} --help`"
    if parameter is not None and type(error).__name__ == "MissingParameter":
        what = max(parameter.opts, key=len)
        what = what if what.startswith("-") else parameter.metavar or what.upper()
        return EdgeError(f"{name} needs {what}", fix=f"{help_} has an example")
    if parameter is not None:
        return _refused(parameter, context.command.callback, help_, given)
    if "possibilities" in facts:
        return _unknown(name, option, facts["possibilities"] or (), given)
    if option is not None:
        what = "needs a value" if option in given else "takes no value"
        return EdgeError(f"{option} {what}", fix=f"{help_} says which")
    if known := vars(context.command).get("commands"):
        return _no_command(given[0], known, facts["message"])
    rest = facts["message"].partition(" (")[2].removesuffix(")")
    return EdgeError(
        f"{name} takes no further argument: {rest}",
        fix=f"put a text of several words into quotes; {help_} has an example",
    )


def wanted(parameter: inspect.Parameter) -> str:
    """What a parameter of a command may be, from its annotation."""
    hint, info = get_args(parameter.annotation)[:2]
    leaves = _leaves(hint)
    names = [leaf for leaf in leaves if isinstance(leaf, str)]
    if names:
        return f"one of {', '.join(map(repr, names))}"
    if int not in leaves:
        return "a number" if float in leaves else "a text"
    if info.max is not None:
        return f"a whole number from {info.min} to {info.max}"
    return "a whole number" + ("" if info.min is None else f" of {info.min} or more")


def _leaves(hint: object) -> list[object]:
    """The types, or the values of a Literal, of which a hint is made."""
    parts = get_args(hint)
    return [leaf for part in parts for leaf in _leaves(part)] if parts else [hint]


def _refused(
    parameter: Any, command: Callable[..., object], help_: str, given: Sequence[str]
) -> EdgeError:
    name, values = max(parameter.opts, key=len), ", ".join(_values(parameter.opts, given))
    want = wanted(inspect.signature(command).parameters[parameter.name])
    return EdgeError(f"{name} {values} is not {want}", fix=f"{help_} says what it is for")


def _values(names: Sequence[str], given: Sequence[str]) -> list[str]:
    """What was given to an option: `--name value`, `--name=value`, `-nvalue`."""
    found = []
    for word, following in zip(given, [*given[1:], ""], strict=True):
        name, sign, value = word.partition("=")
        if name in names:
            found.append(value if sign else following)
        elif word[:2] in names:
            found.append(word[2:])
    return found


def _unknown(name: str, option: str, close: Sequence[str], given: Sequence[str]) -> EdgeError:
    """An option that there is not; or a prompt that looks like one."""
    lists = f"`edge {name} --help` lists them" if name != "edge" else "`edge --help` lists them"
    texts = [word for word in given if word.startswith(option) and " " in word]
    if name == "run" and (texts or not close):
        text = (texts or [option])[0]
        lists = (
            f'{lists}; a prompt that begins with "-" comes after "--": edge run MODEL -- "{text}"'
        )
        return EdgeError(f"{name} has no option {text!r}", fix=lists)
    mean = f"did you mean {', '.join(close)}? " if close else ""
    return EdgeError(f"{name} has no option {option!r}", fix=mean + lists)


def _no_command(given: str, known: Sequence[str], message: str) -> EdgeError:
    close = [name for name in known if repr(name) in message.partition(repr(given))[2]]
    mean = f"did you mean {', '.join(close)}? " if close else ""
    prompt = f'; a prompt: edge run "{given}"' if " " in given else ""
    return EdgeError(
        f"there is no command {given!r}", fix=f"{mean}`edge --help` lists them{prompt}"
    )
