"""What setup.cfg can't say: a wheel without data, for apps that bring their own bundles.

    EDGEKIT_WHEEL=small pip wheel . --no-deps

leaves out the embedded models and the packaged test and development texts; all code, recipes and licences stay.
Everything else about the project is in setup.cfg.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import OptionError

KINDS = ("full", "small")


class BuildPackages(build_py):
    """Copies packages and their data, less what a small wheel leaves out."""

    def run(self) -> None:
        """Copies them into an empty folder: what an earlier build left there would be packed too."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "edgekit", ignore_errors=True)
        super().run()

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        """Files of a package that aren't Python's, as paths under ``src_dir``."""
        kind = os.environ.get("EDGEKIT_WHEEL") or "full"
        if kind not in KINDS:
            raise OptionError(f"expected one of {', '.join(KINDS)} as EDGEKIT_WHEEL, found {kind}")
        found = super().find_data_files(package, src_dir)
        return [file for file in found if kind == "full" or not is_data(package, Path(file).relative_to(src_dir))]


def is_data(package: str, file: Path) -> bool:
    """Whether a packaged file is a model's, or a text that models are measured or developed on."""
    if package == "edgekit.models":
        return file.parts[0] != "recipes"
    return file.suffix == ".gz"


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildPackages})
