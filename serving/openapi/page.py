"""The page at ``/docs``: the OpenAPI document as plain HTML, without scripts and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any
from urllib.parse import urlencode

from serving.errors import PROBLEMS, ServiceError
from serving.faults import FAULTS

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
code, pre { font: 0.875rem/1.45 ui-monospace, monospace; background: var(--soft); border-radius: 4px; }
code { padding: 0.1em 0.3em; } pre { padding: 0.75rem; overflow-x: auto; } pre code { background: none; padding: 0; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.6rem; border-bottom: 1px solid var(--line); }
"""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)


LIMITS = "x-limits"
"""Where the document tells what one request may ask for: by the name of the setting, ``value`` and ``description``."""


def render(document: dict[str, Any], address: str) -> str:
    """The page of an OpenAPI document; ``address`` is that of the service, as its examples name it."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts: Iterable[str] = (
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>",
        f"<p>{_prose(document['info']['description'])}</p>",
        '<p>For programs: <a href="/openapi.json">openapi.json</a></p>',
        "<ul>" + "".join(_entry(*operation) for operation in operations) + "</ul>",
        *(part for operation in operations for part in _operation(*operation, address)),
        *_shapes(document["components"]["schemas"]),
        *_problems(),
        *_limits(document["info"][LIMITS]),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _entry(method: str, path: str, operation: dict[str, Any]) -> str:
    return f'<li><a href="#{_anchor(method, path)}">{method} {escape(path)}</a> {_prose(operation["summary"])}</li>'


def _anchor(method: str, path: str) -> str:
    return f"{method.lower()}{path.replace('/', '-')}"


def _operation(method: str, path: str, operation: dict[str, Any], address: str) -> Iterator[str]:
    yield f'<h2 id="{_anchor(method, path)}">{method} {escape(path)}</h2><p>{_prose(operation["summary"])}</p>'
    about = operation["description"]
    if about.rstrip(".") != operation["summary"]:
        yield from (f"<p>{_prose(text)}</p>" for text in about.split("\n\n"))
    yield from (f"<p>Wants a key of the scope <code>{scope}</code>.</p>" for scope in _scopes(operation))
    parameters = operation.get("parameters", [])
    if parameters:
        yield _table(("parameter", "", "meaning"), map(_parameter_row, parameters))
    for body in operation.get("requestBody", {}).get("content", {}).values():
        yield f"<p>Body: {_type(body['schema'])}</p>"
    yield from _request(method, path, operation, parameters, address)
    for media_type, answer in operation["responses"]["200"]["content"].items():
        yield f"<p>Answer as <code>{media_type}</code>: {_type(answer['schema'])}</p>"
        for example in answer.get("examples", {}).values():
            yield f"<p>{_prose(example.get('summary', 'Answer'))}</p>{_code(_json(example['value']))}"
    yield _table(("status", "meaning"), map(_response_row, operation["responses"].items()))
    headers = operation["responses"]["200"].get("headers", {})
    yield _table(
        ("header", "meaning"), ((f"<code>{name}</code>", _prose(h["description"])) for name, h in headers.items())
    )


def _scopes(operation: dict[str, Any]) -> list[str]:
    return sorted({scope for choice in operation.get("security", []) for scopes in choice.values() for scope in scopes})


def _parameter_row(parameter: dict[str, Any]) -> tuple[str, str, str]:
    schema = parameter["schema"]
    kind = "mandatory" if parameter["required"] else "optional"
    default = f"; default <code>{escape(json.dumps(schema['default']))}</code>" if "default" in schema else ""
    return f"<code>{parameter['name']}</code>", f"{kind}, {_type(schema)}{default}", _prose(parameter["description"])


def _response_row(item: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    return item[0], _prose(item[1]["description"])


def _request(
    method: str, path: str, operation: dict[str, Any], parameters: list[dict[str, Any]], address: str
) -> Iterator[str]:
    """An example to click on, or to copy."""
    if method == "GET":
        values = {parameter["name"]: parameter["example"] for parameter in parameters if "example" in parameter}
        url = escape(path + (f"?{urlencode(values)}" if values else ""))
        yield f'<p>Example: <a href="{url}">{url}</a></p>'
    for body in operation.get("requestBody", {}).get("content", {}).values():
        text = json.dumps(body["example"])
        yield _code(f"curl -H 'Content-Type: application/json' -d '{text}' {address}{path}")


def _shapes(schemas: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What bodies and answers are made of."""
    yield "<h2>Shapes</h2>"
    for name, schema in schemas.items():
        yield f'<h3 id="{name}">{name}</h3><p>{_prose(schema["description"])}</p>'
        needed = schema.get("required", [])
        rows = (_member_row(member, told, member in needed) for member, told in schema["properties"].items())
        yield _table(("member", "", "meaning"), rows)


def _member_row(name: str, schema: dict[str, Any], needed: bool) -> tuple[str, str, str]:
    kind = _type(schema) if needed else f"{_type(schema)}; may be left out"
    default = (
        f"; default <code>{escape(json.dumps(schema['default']))}</code>" if schema.get("default") is not None else ""
    )
    return f"<code>{name}</code>", kind + default, _prose(schema.get("description", ""))


def _type(schema: dict[str, Any]) -> str:
    """What a schema takes, in words; a shape by a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if len(values) > _MOST_VALUES:
        return "one of the codes below"
    if values:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([schema.get("format", schema["type"]), *bounds])


_MOST_VALUES = 10
"""Of more the page has a table."""


def _problems() -> Iterator[str]:
    yield "<h2>Problems</h2>"
    for kind in PROBLEMS:
        detail = f": {escape(kind.detail)}" if kind.detail and kind.__init__ is ServiceError.__init__ else ""
        yield f'<p id="{kind.code}"><code>{kind.code}</code> ({kind.status}) {escape(kind.title)}{detail}</p>'

    yield "<h2>Faults</h2><p>Codes of the <code>errors</code> of a problem, each with its parameter and a hint.</p>"
    yield _table(("code", "meaning"), ((f"<code>{code}</code>", escape(text)) for code, text in FAULTS.items()))


def _limits(limits: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Limits</h2><p>A refusal names the limit, what was asked, and what would pass.</p>"
    rows = (
        (f"<code>{name}</code>", str(limit["value"]), _prose(limit["description"])) for name, limit in limits.items()
    )
    yield _table(("setting", "here", "meaning"), rows)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


def _json(value: object) -> str:
    """JSON as the service writes it: CTR with four digits."""
    if isinstance(value, list):
        return "[" + ",\n ".join(map(_json, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_json(item)}" for key, item in value.items()) + "}"
    return f"{value:.4f}" if isinstance(value, float) else json.dumps(value)


def _prose(text: str) -> str:
    """Text with ``code`` between backticks."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
