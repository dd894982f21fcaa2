"""The house rules, each a function from source to complaints: ours keep them, crafted ones break them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "larix"
FACES = ROOT / "tests" / "faces.json"
LONGEST = 400
DEEPEST = 2
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "base"}
SHARED = {
    "embedding/test_crash.py",
    "embedding/test_fuzz.py",
    "embedding/test_goes_on.py",
    "embedding/test_histories.py",
    "test_docs.py",
    "test_readme.py",
}  # tests of what several modules do together
WITHOUT_TORCH = ("errors", "batch", "features", "data", "embedding", "feed")

MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NATIVE = sorted(path for path in (ROOT / "native").rglob("*") if path.suffix in {".cpp", ".hpp", ".h", ".cu"})


def name_of(path):
    return str(path.relative_to(ROOT))


# The rules.


def too_long(source):
    lines = len(source.splitlines())
    return [f"{lines} lines; the most is {LONGEST}: split it by noun"] if lines > LONGEST else []


def too_deep(inside):
    """``inside``: the path of a file, relative to the package."""
    folders = len(Path(inside).parts) - 1
    return [f"{folders} folders deep; the most is {DEEPEST}"] if folders > DEEPEST else []


def without_opening(source):
    text = ast.get_docstring(ast.parse(source), clean=False)
    if text is None or not text.strip():
        return ["no docstring: say what the module is and what it does not know"]
    lines = len(text.strip().splitlines())
    return [f"a docstring of {lines} lines; the most is 5"] if lines > 5 else []


def vague_names(inside, source):
    stems = [*Path(inside).parent.parts, Path(inside).stem]
    found = [
        f"'{stem}' says nothing about what is in it" for stem in stems if VAGUE & set(stem.lower().split("_"))
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", node.name)}
            found += [f"class {node.name}: '{word}' says nothing" for word in sorted(VAGUE & words)]
    return found


def long_chains(sources):
    """Classes that inherit through more than two of the package's own, or from one that is not abstract.

    Bases from elsewhere (nn.Module, Exception) do not count. Errors need not be abstract: one catches kinds.
    """
    classes = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                names = [
                    base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                    for base in bases
                ]
                classes[node.name] = (names, _is_abstract(node, names))

    def length(name, seen=()):
        if name not in classes or name in seen:
            return 0
        return 1 + max((length(base, (*seen, name)) for base in classes[name][0]), default=0)

    found = [
        f"class {name} is {length(name)} classes long; the most is 2" for name in classes if length(name) > 2
    ]
    for name, (bases, _) in classes.items():
        for base in bases:
            if base in classes and not classes[base][1] and not base.endswith("Error"):
                found.append(f"class {name} inherits from {base}, which is not abstract: wrap it instead")
    return found


def _is_abstract(node, bases):
    decorated = [ast.unparse(mark) for part in node.body for mark in getattr(part, "decorator_list", [])]
    return bool({"ABC", "Protocol"} & set(bases)) or any(
        mark.endswith("abstractmethod") for mark in decorated
    )


def face(source):
    """Return what a face exports, and what it holds besides imports from larix and their ``__all__``."""
    exported, imported, wrong = [], set(), []
    for number, node in enumerate(ast.parse(source).body):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").split(".")[0] == "larix"
            and node.level == 0
        ):
            imported |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(target, ast.Name) and target.id == "__all__":
            exported = list(ast.literal_eval(node.value))
        elif not (isinstance(target, ast.Name) and target.id == "__version__"):
            wrong.append(
                f"line {node.lineno} is neither an import from larix nor __all__: {ast.unparse(node)[:60]}"
            )
    if set(exported) != imported:
        wrong.append(f"__all__ and the imports differ in {sorted(set(exported) ^ imported)}")
    return exported, wrong


def without_source(test, package):
    """``test``: path relative to tests/. A test file mirrors a module or a folder of the package."""
    if str(test) in SHARED:
        return []
    test = Path(test)
    mirrored = package / test.parent / test.stem.removeprefix("test_")
    if mirrored.with_suffix(".py").exists() or mirrored.is_dir():
        return []
    return [f"mirrors no {mirrored.relative_to(package)}.py in the package"]


def machine_paths(text):
    """Return the absolute paths of someone's machine that ``text`` mentions."""
    return re.findall(
        r"(?<![\w.~$}/-])/(?:home|root|work|Users|mnt)/[\w.-]+[^\s\"'`)]*|(?<![\w.])/tmp/[\w.-]+", text
    )


# Our tree keeps them.


def complaints(paths, rule):
    return {name_of(path): found for path in paths if (found := rule(path))}


def test_no_file_is_too_long():
    assert not complaints(
        [*MODULES, *TESTS, *NATIVE], lambda path: too_long(path.read_text(encoding="utf-8"))
    )


def test_no_module_lies_too_deep():
    assert not complaints(MODULES, lambda path: too_deep(path.relative_to(PACKAGE)))


def test_every_module_opens_by_saying_what_it_is():
    assert not complaints(MODULES, lambda path: without_opening(path.read_text(encoding="utf-8")))


def test_no_name_is_vague():
    assert not complaints(
        MODULES, lambda path: vague_names(path.relative_to(PACKAGE), path.read_text(encoding="utf-8"))
    )


def test_class_chains_are_short_and_parents_abstract():
    assert not long_chains(path.read_text(encoding="utf-8") for path in MODULES)


def test_faces_hold_imports_and_all_only():
    faces = [path for path in MODULES if path.name == "__init__.py"]
    assert len(faces) > 5
    assert not complaints(faces, lambda path: face(path.read_text(encoding="utf-8"))[1])


def test_faces_equal_the_golden_list():
    """A change of what a room offers is a decision: write it into tests/faces.json, too."""
    ours = {
        ".".join(path.parent.relative_to(PACKAGE.parent).parts): sorted(
            face(path.read_text(encoding="utf-8"))[0]
        )
        for path in MODULES
        if path.name == "__init__.py"
    }
    assert ours == json.loads(FACES.read_text(encoding="utf-8"))


def test_tests_mirror_the_source():
    tests = [path for path in TESTS if path.name.startswith("test_") and path != Path(__file__).resolve()]
    assert tests
    assert not complaints(tests, lambda path: without_source(path.relative_to(ROOT / "tests"), PACKAGE))


def test_no_tracked_file_names_a_path_of_a_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: nothing is tracked")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [ROOT / name for name in tracked.split("\0") if name and (ROOT / name).is_file()]
    assert not complaints(
        paths, lambda path: machine_paths(path.read_bytes().decode("utf-8", errors="ignore"))
    )


# Imports, as Python sees them.


def lint_imports(folder):
    """Run the import contract of ``folder/pyproject.toml`` on ``folder/src``."""
    # An editable install finds larix before any path does: here it must not.
    code = (
        "import sys; sys.meta_path[:] = [each for each in sys.meta_path if 'ScikitBuild' not in str(each)]\n"
        "from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "src" / "larix", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return tmp_path


def test_imports_lean_downward():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("errors.py", "import larix.train", "imports lean downward BROKEN"),
        ("embedding/spec.py", "import larix.data", "imports lean downward BROKEN"),
        ("compile/graph.py", "import larix.train", "imports lean downward BROKEN"),
        ("features/__init__.py", "import torch", "a parameter server starts without torch BROKEN"),
    ],
)
def test_an_import_upward_or_of_torch_breaks_the_contract(copied, file, line, contract):
    path = copied / "src" / "larix" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    result = lint_imports(copied)
    assert result.returncode == 1
    assert contract in result.stdout


def test_a_stray_room_breaks_the_contract(copied):
    (copied / "src" / "larix" / "stray.py").touch()
    result = lint_imports(copied)
    assert result.returncode != 0
    assert "stray" in result.stdout + result.stderr


def fresh(code):
    """Run ``code`` in a new interpreter that finds larix where this one does."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_room_without_networks_imports_no_torch(room):
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if path.relative_to(PACKAGE).with_suffix("").parts[0] == room
    ]
    assert modules
    loaded = fresh(f"import sys, {', '.join(modules)}\nprint(*sys.modules)")
    assert not [name for name in loaded if name.split(".")[0] == "torch"]
    assert f"larix.{room}" in loaded


def test_importing_larix_does_nothing_else():
    code = "import sys, threading\nbefore = set(sys.modules)\nimport larix\n"
    assert fresh(code + "print(*(set(sys.modules) - before), threading.active_count())") == ["larix", "1"]


@pytest.mark.parametrize(
    "room", ["features", "data", "embedding", "model", "compile", "train", "feed", "recipes"]
)
def test_importing_a_room_starts_no_thread_and_changes_no_folder(room):
    code = f"import os, threading\nhere = os.getcwd()\nimport larix.{room}\n"
    assert fresh(code + "print(threading.active_count(), os.getcwd() == here)") == ["1", "True"]


# The rules can fail.


def test_the_rules_of_length_depth_and_opening_can_fail():
    assert too_long("x = 1\n" * 401)
    assert not too_long("x = 1\n" * 400)
    assert too_deep("a/b/c/d.py")
    assert not too_deep("a/b/c.py")
    assert without_opening("import os\n")
    assert without_opening('""" """\n')
    assert without_opening('"""One.\n\ntwo\nthree\nfour\nfive\nsix.\n"""\n')
    assert not without_opening('"""One.\n\nthree\nfour\nfive.\n"""\n')


@pytest.mark.parametrize("inside", ["utils/x.py", "train/helpers.py", "row_manager.py", "data/base.py"])
def test_the_rule_of_names_can_fail_on_files(inside):
    assert vague_names(inside, "")
    assert not vague_names("data/database.py", "class Database: ...\nclass Baseline: ...")


@pytest.mark.parametrize("name", ["TableManager", "BaseModel", "IOUtils", "_Helper"])
def test_the_rule_of_names_can_fail_on_classes(name):
    assert vague_names("data/x.py", f"class {name}: ...")


def test_the_rule_of_class_chains_can_fail():
    short = (
        "class A(ABC): ...\nclass B(A): ...\nclass MyError(Exception): ...\nclass OurError(MyError): ...\n"
    )
    assert not long_chains([short, "class N(nn.Module): ...", "class P(Protocol[T]): ..."])
    assert long_chains([short, "class C(larix.x.B): ..."])
    assert long_chains(["class A: ...\nclass B(A): ..."]) == [
        "class B inherits from A, which is not abstract: wrap it instead"
    ]
    abstract = "class A:\n    @abc.abstractmethod\n    def f(self): ...\n"
    assert not long_chains([abstract, "class B(A[int]): ..."])


def test_the_rule_of_faces_can_fail():
    good = '"""A face."""\nfrom larix.x import A, b as B\n__all__ = ["A", "B"]\n'
    assert face(good) == (["A", "B"], [])
    assert face('"""Only a word."""\n') == ([], [])
    for bad in (
        "x = 1\n",
        "import os\n",
        "from os import path\n",
        "def f(): ...\n",
        "from . import y\n",
        "print(1)\n",
    ):
        assert face(good + bad)[1], bad
    assert face(good.replace(', "B"', ""))[1]
    assert face(good.replace('"B"', '"B", "C"'))[1]


def test_the_rule_of_mirrors_can_fail(tmp_path):
    (tmp_path / "data" / "formats").mkdir(parents=True)
    (tmp_path / "data" / "files.py").touch()
    assert not without_source("data/test_files.py", tmp_path)
    assert not without_source("data/test_formats.py", tmp_path)
    assert without_source("data/test_file.py", tmp_path)
    assert without_source("test_files.py", tmp_path)


def test_the_rule_of_machine_paths_can_fail():
    for path in ("/" + "home/ann/larix", "/" + "tmp/run1", "/" + "work/main", "/" + "Users/bob"):
        assert machine_paths(f"see {path} for more")
        assert machine_paths(f'open("{path}")')
    for fine in (
        "../shared/data",
        "src/work/x",
        "https://example.org/home/page",
        "/usr/bin/env",
        "$HOME/runs",
    ):
        assert not machine_paths(f"see {fine} for more")
