"""The net of `serve_plain.py` behind BentoML, whose own program starts this: `bentoml serve serve_bentoml:Net`."""

import os
from typing import Any

import bentoml
from serve_plain import told_answerer


@bentoml.service(workers=int(os.environ["LARIX_PEER_WORKERS"]), traffic={"timeout": 30})
class Net:
    def __init__(self) -> None:
        self.answer = told_answerer()

    @bentoml.api
    def predict(self, user: dict[str, Any], candidates: dict[str, Any]) -> dict[str, Any]:
        return self.answer({"user": user, "candidates": candidates})
