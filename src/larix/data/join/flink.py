"""Flink on this machine: runs scripts in a JVM of its own, and stops it. Needs the extra ``larix[flink]`` and Java 17.

The only file that imports py4j. `sql` makes the scripts; on a cluster they go to Flink's SQL client instead.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from larix.data.join.flink_sql import sql
from larix.data.join.flink_tables import Files, Kafka
from larix.errors import ConfigError, LarixError

__all__ = ["Files", "Flink", "Kafka", "missing", "run", "sql", "statements"]

OLDEST_JAVA = 17
# What Flink's own scripts open to it on Java 17.
_OPENS = (
    "lang",
    "lang.invoke",
    "lang.reflect",
    "io",
    "net",
    "nio",
    "text",
    "time",
    "util",
    "util.concurrent",
)
_EXTRA = "a Flink job needs apache-flink-libraries and py4j; pip install 'larix[flink]'"


def missing() -> str | None:
    """Why no job can run here, with the way out; None if one can."""
    try:
        _jars()
        _java()
    except ConfigError as error:
        return str(error)
    return None


def run(
    script: str,
    *,
    parallelism: int = 1,
    heap: str = "1g",
    jars: Sequence[Path] = (),
    options: Mapping[str, str] | None = None,
) -> None:
    """Run one script in a JVM of its own until its jobs have ended; `Flink` says the rest."""
    with Flink(heap=heap, jars=jars) as flink:
        flink.run(script, parallelism=parallelism, options=options)


class Flink:
    """A JVM with Flink in it, reached over the loopback interface; use ``with``, it ends with the block.

    Args:
        heap: the most that its heap takes (``"1g"``); a few 100 MB come on top.
        jars: more of them, such as a connector's.
        java: more options of the JVM.

    Raises:
        ConfigError: Java or the extra is missing, or the JVM does not start.
    """

    def __init__(self, *, heap: str = "1g", jars: Sequence[Path] = (), java: Sequence[str] = ()) -> None:
        found, program = _jars(), _java()
        for jar in jars:
            if not jar.is_file():
                raise ConfigError(f"there is no jar '{jar}'")
        import py4j.java_gateway as py4j

        self._folder = tempfile.TemporaryDirectory(prefix="larix-flink-")  # what Flink unpacks and spills
        opens = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENS]
        with Path(self._folder.name, "stderr").open("wb") as stderr:
            try:
                port, token, self._process = py4j.launch_gateway(
                    classpath=os.pathsep.join(map(str, (found / "*", *jars))),
                    javaopts=[
                        f"-Xmx{heap}",
                        "-XX:+UseParallelGC",
                        f"-Djava.io.tmpdir={self._folder.name}",
                        *opens,
                        *java,
                    ],
                    java_path=program,
                    die_on_exit=True,
                    enable_auth=True,
                    return_proc=True,
                    redirect_stderr=stderr,
                )
            except (OSError, ValueError, py4j.Py4JError) as error:
                said = Path(self._folder.name, "stderr").read_text(errors="replace").strip()
                self._folder.cleanup()
                raise ConfigError(f"the JVM '{program}' does not start: {said or error}") from error
        self._gateway = py4j.JavaGateway(
            gateway_parameters=py4j.GatewayParameters(port=port, auth_token=token, auto_convert=True)
        )

    def run(self, script: str, *, parallelism: int = 1, options: Mapping[str, str] | None = None) -> None:
        """Run a script until the jobs that it starts have ended: those of bounded inputs do.

        Args:
            script: what `sql` gave: SET, CREATE and one or more INSERT or EXECUTE STATEMENT SET.
            parallelism: tasks side by side.
            options: settings of Flink that win over those of the script.

        Raises:
            ConfigError: Flink does not take a statement.
            LarixError: a job failed, or the JVM is gone.
        """
        import py4j.protocol

        settings = {
            "parallelism.default": str(parallelism),
            "restart-strategy.type": "none",  # with checkpoints a job would try again for ever
            "execution.checkpointing.dir": Path(self._folder.name, "checkpoints").as_uri(),
            "rest.bind-address": "127.0.0.1",
        }
        todo = []
        for statement in statements(script):
            if found := _SET.fullmatch(statement):
                settings[_unquoted(found[1])] = _unquoted(found[2])
            else:
                todo.append(statement)
        try:
            self._run(todo, settings | dict(options or {}))
        except py4j.protocol.Py4JNetworkError as error:
            said = Path(self._folder.name, "stderr").read_text(errors="replace").strip()[-1000:]
            raise LarixError(f"Flink's JVM is gone: {said or error}; perhaps it needs more heap") from error

    def _run(self, todo: Sequence[str], settings: Mapping[str, str]) -> None:
        import py4j.protocol

        flink = self._gateway.jvm.org.apache.flink
        configuration = flink.configuration.Configuration()
        for name, value in settings.items():
            configuration.setString(name, value)
        try:
            built = flink.table.api.EnvironmentSettings.newInstance().withConfiguration(configuration)
            tables = flink.table.api.TableEnvironment.create(built.build())
            started = [(each, tables.executeSql(each)) for each in todo]
        except py4j.protocol.Py4JJavaError as error:
            raise ConfigError(f"Flink does not take a statement: {_why(error)}") from error
        for statement, result in started:
            if not statement.upper().startswith(("INSERT", "EXECUTE")):
                continue
            try:
                getattr(result, "await")()  # a word of Python
            except py4j.protocol.Py4JJavaError as error:
                raise LarixError(f"a Flink job failed: {_why(error)}") from error

    def close(self) -> None:
        """Stop the JVM and its jobs."""
        self._gateway.shutdown()  # or what is left of its objects would be told to a JVM that is gone
        self._process.kill()  # it keeps nothing: what a job wrote is complete when `run` returns
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SET = re.compile(r"SET\s+('(?:[^']|'')*')\s*=\s*('(?:[^']|'')*')", re.IGNORECASE)
# What hides a semicolon: comments, texts, names. A statement set is one statement up to its END.
_TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|`(?:[^`]|``)*`|;|\w+|\s+|.", re.DOTALL)


def statements(script: str) -> Iterator[str]:
    """The statements of a script, without comments and the semicolons between them.

    Those within ``EXECUTE STATEMENT SET BEGIN ... END`` stay together, as Flink wants them.
    """
    parts: list[str] = []
    words: list[str] = []
    for token in _TOKEN.findall(script):
        if token == ";" and not ("BEGIN" in words and words[-1] != "END"):
            if text := "".join(parts).strip():
                yield text
            parts, words = [], []
        elif token.startswith(("--", "/*")):
            parts.append(" ")
        else:
            parts.append(token)
            if token.isidentifier():
                words.append(token.upper())
    if text := "".join(parts).strip():
        yield text


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")


def _why(error: Any) -> str:
    """The innermost causes that a Java exception tells, each once."""
    told: list[str] = []
    cause = error.java_exception
    while cause is not None:
        text = str(cause.getMessage() or cause.getClass().getSimpleName()).strip()
        if not any(text in each for each in told):
            told.append(text)
        cause = cause.getCause()
    return "; ".join(reversed(told[-3:]))


def _jars() -> Path:
    """The folder of Flink's jars."""
    try:
        import py4j.java_gateway  # noqa: F401
        import pyflink.version
    except ImportError as error:
        raise ConfigError(_EXTRA) from error
    folder = Path(str(pyflink.version.__file__)).parent / "lib"
    if not [*folder.glob("flink-dist-*.jar")]:
        raise ConfigError(f"{_EXTRA} (there are no jars in '{folder}')")
    return folder


def _java() -> str:
    """The path of a Java that is new enough."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        raise ConfigError(
            f"a Flink job needs Java {OLDEST_JAVA}; there is none in {'JAVA_HOME' if home else 'PATH'}; "
            f"on Debian: apt-get install openjdk-{OLDEST_JAVA}-jre-headless"
        )
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if version is None or int(version[1]) < OLDEST_JAVA:
        name = version[1] if version else "unknown"
        raise ConfigError(f"a Flink job needs Java {OLDEST_JAVA}; '{java}' is version {name}; set JAVA_HOME")
    return java
