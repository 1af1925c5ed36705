"""What no table of pyproject.toml can say of the packages and of the registry."""

from pathlib import Path
from shutil import copyfile

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# Folders with plain names here, under names of ours where they are installed: a package called
# `runtimes` at the top of somebody's environment may be anybody's.
INSTALLED_AS = {"converters": "edge_converters", "runtimes": "edge_runtimes"}


def packages() -> list[str]:
    """Every package, by the name that it is imported under."""
    own = find_packages(include=["edge", "edge.*"])
    for folder, name in INSTALLED_AS.items():
        own += [name, *(f"{name}.{package}" for package in find_packages(folder))]
    return own


class BuildWithRegistry(build_py):
    """models.yaml lies at the top of the repository, where people look for it, and inside `edge` in a wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copyfile("models.yaml", Path(self.build_lib, "edge", "models.yaml"))


setup(
    packages=packages(),
    package_dir={name: folder for folder, name in INSTALLED_AS.items()},
    cmdclass={"build_py": BuildWithRegistry},
)
