"""The OpenAPI document: paths as they are routed, bodies and answers as they are decoded and encoded. Knows no service."""

from dataclasses import dataclass
from typing import Any

import msgspec

import larix
from larix.serve.http.examples import Example
from larix.serve.http.feedback import FeedbackBody, Taken
from larix.serve.http.infer import InferBody, Inferred
from larix.serve.http.limits import Limits
from larix.serve.http.page import Page
from larix.serve.http.ranking import RankBody
from larix.serve.http.reply import HTML, JSON, TEXT
from larix.serve.http.sessions import OpenBody, OpenedSession, ScoreBody

REFERENCE = "#/components/schemas/{name}"


class Failure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why there is no answer. ``retry_after_s``: when to come again."""

    error: str
    id: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """``path``: as routed, with names for the parts that are names. ``refusals``: statuses beside those of every call."""

    method: str
    path: str
    summary: str
    body: type | None = None
    answer: type | None = None
    status: int = 200
    kind: str = JSON
    refusals: tuple[int, ...] = ()
    public: bool = False


_WORK = (404, 408, 410, 411, 413, 415, 429, 500, 503, 504)
_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"

OPERATIONS: tuple[Operation, ...] = (
    Operation("POST", "/v1/rank", "Rank candidates for a user", RankBody, Page, refusals=_WORK),
    Operation(
        "POST",
        "/v1/sessions",
        "Open a session: compute a user's side and keep it",
        OpenBody,
        OpenedSession,
        201,
        refusals=_WORK,
    ),
    Operation(
        "POST",
        "/v1/sessions/{session}/score",
        "Score candidates against a session",
        ScoreBody,
        Page,
        refusals=_WORK,
    ),
    Operation("DELETE", "/v1/sessions/{session}", "Close a session", status=204, refusals=(404, 410)),
    Operation("POST", "/v1/feedback", "Append actions to the log", FeedbackBody, Taken, refusals=_WORK),
    Operation("GET", "/v1/examples", "People to ask for a page for"),
    Operation("GET", "/v1/examples/{name}", "One of them as they are now", answer=Example, refusals=(404,)),
    Operation("GET", "/v2/health/live", "Whether the server is alive", refusals=(), public=True),
    Operation("GET", "/v2/health/ready", "Whether the server answers requests now", public=True),
    Operation("GET", "/v2", "Metadata of the server"),
    Operation("GET", "/v2/models/stats", "Statistics of all models"),
    *(
        Operation("GET", path + rest, f"{what} of a model{of}", refusals=(404, 503))
        for path, of in ((_MODEL, ""), (_VERSION, "'s version"))
        for rest, what in (
            ("", "Metadata"),
            ("/ready", "Readiness"),
            ("/config", "Configuration"),
            ("/stats", "Statistics"),
        )
    ),
    *(
        Operation(
            "POST",
            path + "/infer",
            f"Score candidates given as tensors{of}",
            InferBody,
            Inferred,
            refusals=_WORK,
        )
        for path, of in ((_MODEL, ""), (_VERSION, ", by one version"))
    ),
    Operation("POST", "/v2/repository/index", "All models and versions", refusals=(408, 411, 413, 415, 429)),
    Operation("POST", "/v2/repository/models/{model}/load", "Load a model's newest version", refusals=_WORK),
    Operation("POST", "/v2/repository/models/{model}/unload", "Let a model go", refusals=_WORK),
    Operation("GET", "/", "A page to click through", kind=HTML, public=True),
    Operation("GET", "/openapi.json", "This document", public=True),
    Operation("GET", "/metrics", "Metrics for Prometheus", kind=TEXT),
)


def document(limits: Limits, *, guarded: bool) -> dict[str, Any]:
    """The document of a server. ``guarded``: whether calls need a token."""
    kinds = {each for one in OPERATIONS for each in (one.body, one.answer) if each is not None} | {Failure}
    _, schemas = msgspec.json.schema_components(sorted(kinds, key=str), ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(
            one, guarded=guarded and not one.public
        )
    components: dict[str, Any] = {"schemas": schemas}
    if guarded:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "larix",
            "version": larix.__version__,
            "description": "Ranks candidates for users. Errors are JSON with a sentence. At most "
            f"{limits.candidates} candidates, {limits.body_bytes} bytes a body, {limits.json_bytes} of them JSON.",
        },
        "paths": paths,
        "components": components,
    }


def _operation(one: Operation, *, guarded: bool) -> dict[str, Any]:
    names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
    statuses = {400, 421, *one.refusals}
    if one.method != "GET":
        statuses.add(403)
    if guarded:
        statuses.add(401)
    answers = {str(one.status): _answer(one)} | {
        str(status): {
            "description": "Why not",
            "content": {JSON: {"schema": _reference(Failure)}},
        }
        for status in sorted(statuses)
    }
    if one.path.endswith(("/ready", "/live")):  # the protocol says no by the status
        answers["400"] = {"description": "No", "content": {JSON: {"schema": {"type": "object"}}}}
    found: dict[str, Any] = {"summary": one.summary, "responses": answers}
    if names:
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if one.body is not None:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(one.body)}}}
    if guarded:
        found["security"] = [{"bearer": []}]
    return found


def _answer(one: Operation) -> dict[str, Any]:
    if one.status == 204:
        return {"description": "Done"}
    schema: dict[str, Any] = {"type": "string"} if one.kind != JSON else {}
    return {
        "description": "The answer",
        "content": {
            one.kind.partition(";")[0]: {"schema": schema if one.answer is None else _reference(one.answer)}
        },
    }


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=kind.__name__)}
