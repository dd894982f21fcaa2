"""The net of `serve_plain.py` behind LitServe: PORT WORKERS, in an environment that has it."""

import sys
from typing import Any

import litserve
from serve_plain import told_answerer


class Api(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.answer = told_answerer()

    def predict(self, request: Any) -> Any:
        return self.answer(request)


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=int(sys.argv[2]), timeout=30)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
