"""Serving over HTTP: plain JSON for people, the Open Inference Protocol for clients, a page to click through."""

from larix.serve.http.app import App, Done
from larix.serve.http.door import Door
from larix.serve.http.examples import Action, Example, Examples
from larix.serve.http.limits import Limits
from larix.serve.http.routes import routes
from larix.serve.http.server import HttpServer
from larix.serve.http.tokens import Tokens

__all__ = ["Action", "App", "Done", "Door", "Example", "Examples", "HttpServer", "Limits", "Tokens", "routes"]
