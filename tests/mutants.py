"""Code with one term left out: each operation on two sides keeps one of them, each condition holds or
does not, each call gives back what it was given, each store into an array is not done. Casts are no terms.

A change lives in the function's own code object, so that whoever imported the function runs it.
"""

import ast
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

CASTS = ("np.float32", "np.array", "rounded", "tuple", "list", "dict")


@dataclass(frozen=True)
class Mutant:
    """A function, and its code without a term."""

    function: FunctionType
    code: CodeType
    what: str

    def __str__(self) -> str:
        module = self.function.__module__.rpartition(".")[2]
        return f"{module}.{self.function.__qualname__}: {self.what}"

    @contextmanager
    def alive(self) -> Iterator[None]:
        original = self.function.__code__
        self.function.__code__ = self.code
        try:
            yield
        finally:
            self.function.__code__ = original


def mutants(module: ModuleType) -> Iterator[Mutant]:
    """Every one of every function and method of a module."""
    functions = dict(_functions(module))
    for path, node in _definitions(ast.parse(inspect.getsource(module))):
        for number, place in enumerate(_places(node)):
            for kind, kept in enumerate(_without(place)):
                what = f"{_short(place)} -> {_short(kept)}"
                yield Mutant(functions[path], _compiled(node, number, kind), what)


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = vars(value).values() if inspect.isclass(value) else [value]
        yield from ((f.__qualname__, f) for f in members if inspect.isfunction(f))


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef))
            yield from ((f"{node.name}.{n.name}", n) for n in inner)


def _places(function: ast.FunctionDef) -> list[ast.AST]:
    """All that is computed in it."""
    notes = {
        inner
        for node in ast.walk(function)
        if isinstance(node, ast.AnnAssign)
        for inner in ast.walk(node.annotation)
    }
    every = (node for statement in function.body for node in ast.walk(statement))
    return [node for node in every if node not in notes]


def _without(node: ast.AST) -> Sequence[ast.AST]:
    """What stands in place of a term when one part of it is left out."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.If):
        return [ast.If(ast.Constant(value), node.body, node.orelse) for value in (True, False)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) not in CASTS:
        return node.args[:1]
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        return [ast.Pass()]
    return [ast.Pass()] if isinstance(node, ast.AugAssign) else []


def _compiled(function: ast.FunctionDef, number: int, kind: int) -> CodeType:
    changed = deepcopy(function)
    place = _places(changed)[number]
    _replace(changed, place, _without(place)[kind])
    module = ast.fix_missing_locations(ast.Module([changed], []))
    code = compile(module, "<mutant>", "exec").co_consts
    return next(c for c in code if isinstance(c, CodeType) and c.co_name == function.name)


def _replace(root: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(root):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list):
                setattr(parent, field, [new if item is old else item for item in value])


def _short(node: ast.AST) -> str:
    """The beginning, on one line."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 36 else f"{text[:35]}…"
