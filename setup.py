"""models.yaml lies at the top of the repository, where people look for it, and inside `edge` in a wheel."""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRegistry(build_py):
    """Put the registry beside the code that reads it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copyfile("models.yaml", Path(self.build_lib, "edge", "models.yaml"))


setup(cmdclass={"build_py": BuildWithRegistry})
