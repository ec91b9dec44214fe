"""The OpenAPI document, and a page that shows it without any other file."""

import json
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .schemas import Failure, Language, LibreAnswer, LibreRequest, ModelAnswer, TranslateAnswer, TranslateRequest

REFERENCE = "#/components/schemas/{model}"
STATUSES = {
    400: "a field is wrong, or exceeds a limit",
    401: "the key is missing",
    403: "the key is unknown",
    408: "the body is too slow",
    413: "the body is too large",
    429: "too many requests in a minute",
    503: "the queue is full, or the server ends",
    504: "the translation takes too long",
}
POSTS: dict[str, tuple[str, type[BaseModel], type[BaseModel], list[str]]] = {
    "/translate": (
        "Translate texts, in LibreTranslate's form",
        LibreRequest,
        LibreAnswer,
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
    ),
    "/v1/translate": (
        "Translate texts, with all that the model says about them",
        TranslateRequest,
        TranslateAnswer,
        ["application/json"],
    ),
}
GETS: dict[str, tuple[str, type[BaseModel] | None]] = {
    "/languages": ("List the languages, in LibreTranslate's form", Language),
    "/frontend/settings": ("Settings of a page, in LibreTranslate's form", None),
    "/v1/models": ("List the models and the options of their search", ModelAnswer),
    "/health": ("Whether the process answers", None),
    "/ready": ("Whether it takes requests: 200, or 503 while it ends", None),
    "/metrics": ("Counters in Prometheus' form", None),
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    kinds: list[type[BaseModel]] = [Failure, Language, LibreAnswer, LibreRequest, ModelAnswer]
    kinds += [TranslateAnswer, TranslateRequest]
    _, schemas = models_json_schema([(kind, "validation") for kind in kinds], ref_template=REFERENCE)
    failures = {str(status): {"description": said, "content": _content(Failure)} for status, said in STATUSES.items()}
    paths: dict[str, Any] = {}
    for path, (summary, request, answer, types) in POSTS.items():
        body = {"required": True, "content": {kind: {"schema": _reference(request)} for kind in types}}
        responses = {"200": {"description": "translations", "content": _content(answer)}, **failures}
        paths[path] = {"post": {"summary": summary, "requestBody": body, "responses": responses}}
    for path, (summary, row) in GETS.items():
        found: dict[str, Any] = {"description": summary}
        if row is not None:
            found["content"] = {"application/json": {"schema": {"type": "array", "items": _reference(row)}}}
        paths[path] = {"get": {"summary": summary, "responses": {"200": found}}}
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "bnb-serve", "version": "1", "description": "Translations over HTTP."},
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"key": bearer}},
    }


def _reference(kind: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=kind.__name__)}


def _content(kind: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(kind)}}


def docs_page(described: dict[str, Any]) -> str:
    """Show a document as HTML.

    Args:
        described: the OpenAPI document.

    Returns:
        A page with its routes and the fields of each body.
    """
    routes = "".join(
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>\n"
        f"<p>{escape(operation['summary'])}.</p>\n{_bodies(operation)}"
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in described["components"]["schemas"].items())
    statuses = "".join(f"<tr><th scope=row>{status}</th><td>{said}</td></tr>" for status, said in STATUSES.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>bnb-serve: the interface</title>\n"
        '<link rel="stylesheet" href="style.css">\n</head>\n<body class="docs">\n<main>\n<h1>The interface</h1>\n'
        '<p>The same as an OpenAPI document: <a href="openapi.json">openapi.json</a>. A key stands in the field '
        "<code>api_key</code> or in the header <code>Authorization: Bearer KEY</code>. "
        'To try it: <a href="./">the page</a>.</p>\n'
        f"{routes}<h2>Errors</h2>\n<p>Each has the body <code>{{&quot;error&quot;: &quot;...&quot;}}</code>.</p>\n"
        f'<div class="wide"><table>{statuses}</table></div>\n<h2>Bodies</h2>\n{schemas}</main>\n</body>\n</html>\n'
    )


def _bodies(operation: dict[str, Any]) -> str:
    """Link to the schemas of the bodies."""
    links = []
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        links.append(f"Body: {_type(next(iter(content.values()))['schema'])} ({', '.join(content)})")
    for kind in operation["responses"]["200"].get("content", {}).values():
        links.append(f"Answer: {_type(kind['schema'])}")
    return f"<p>{'. '.join(links)}.</p>\n" if links else ""


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><th scope=row><code>{escape(field)}</code></th><td>{_type(value)}</td>"
        f"<td>{'must be given' if field in required else _default(value)}</td>"
        f"<td>{escape(value.get('description', ''))}</td></tr>"
        for field, value in schema.get("properties", {}).items()
    )
    head = "<tr><th>field</th><th>type</th><th>default</th><th></th></tr>"
    said = escape(schema.get("description", ""))
    return f'<h3 id="{name}">{name}</h3>\n<p>{said}</p>\n<div class="wide"><table>{head}{rows}</table></div>\n'


def _default(value: dict[str, Any]) -> str:
    return f"<code>{escape(json.dumps(value['default']))}</code>" if "default" in value else ""


def _type(schema: dict[str, Any]) -> str:
    """Name a type, with links to schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))
