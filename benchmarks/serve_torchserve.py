"""The net of `serve_plain.py` behind TorchServe: PORT WORKERS packs this file as the handler and becomes TorchServe."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from serve_plain import told_answerer


class Handler:
    def initialize(self, context: Any) -> None:
        self.answer = told_answerer()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        return [self.answer(each.get("body") or each.get("data")) for each in data]


def main(port: int, workers: int) -> None:
    folder, here = Path(tempfile.mkdtemp()), Path(__file__).resolve()
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port + 1}\n"
        f"metrics_address=http://127.0.0.1:{port + 2}\ndefault_workers_per_model={workers}\n"
        "job_queue_size=1000\ndisable_system_metrics=true\n"
    )
    programs = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(here.parent)}
    env |= dict.fromkeys(("TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(folder))
    archive = [str(programs / "torch-model-archiver"), "--model-name", "net", "--version", "1"]
    subprocess.run([*archive, "--handler", str(here), "--export-path", str(folder)], check=True, env=env)
    words = [str(programs / "torchserve"), "--start", "--foreground", "--ncs", "--disable-token-auth"]
    words += ["--model-store", str(folder), "--models", "net.mar"]
    os.execvpe(words[0], [*words, "--ts-config", str(folder / "config.properties")], env)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
