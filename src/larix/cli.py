"""The command line: reads words, calls the room that does the work, prints what it says. Holds no logic."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from larix.errors import LarixError

Words = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe; repeatable.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, made by train or demo.")]
