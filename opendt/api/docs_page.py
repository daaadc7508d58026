"""The API's reference as one plain page: made from the OpenAPI document, without scripts, without a network.

Its style is a file of its own, because the security policy allows none inside pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--line:#8885;--mono:ui-monospace,monospace}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}code,pre{font-family:var(--mono);font-size:.9em}
pre{overflow-x:auto;padding:.6rem;border:1px solid var(--line)}
.verb{display:inline-block;min-width:3.6rem;font-weight:700}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line)}
"""


def docs_html(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    parts = "".join(_section(document, tag, list(_operations(document, tag))) for tag in _tags(document))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="stylesheet" href="/docs.css"></head><body><main>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>The same for programs: <a href="/openapi.json">openapi.json</a>.</p>{parts}</main></body></html>'
    )


def _tags(document: dict[str, Any]) -> list[str]:
    return list(
        dict.fromkeys(
            op["tags"][0] for methods in document["paths"].values() for op in methods.values() if op.get("tags")
        )
    )


def _operations(document: dict[str, Any], tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            if operation.get("tags", [""])[0] == tag:
                yield verb.upper(), path, operation


def _section(document: dict[str, Any], tag: str, operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    return f"<h2>{escape(tag)}</h2>" + "".join(_operation(document, *operation) for operation in operations)


def _operation(document: dict[str, Any], verb: str, path: str, operation: dict[str, Any]) -> str:
    body = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if operation.get("parameters"):
        body.append(_parameters(operation["parameters"]))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        body.append(f"<p>Body, <code>{escape(media)}</code>:</p>{_schema(document, content.get('schema', {}))}")
    answers = ", ".join(sorted(operation["responses"]))
    body.append(f"<p>Answers: {escape(answers)}</p>")
    return (
        f'<details><summary><span class="verb">{verb}</span> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</summary>{''.join(body)}</details>"
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{escape(_type(p.get('schema', {})))}</td><td>{escape(p.get('description', ''))}</td></tr>"
        for p in parameters
    )
    head = "<thead><tr><th>name</th><th>in</th><th>type</th><th>meaning</th></tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>"


def _type(schema: dict[str, Any]) -> str:
    kinds = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    words = " or ".join(str(k.get("format") or k.get("type") or "any") for k in kinds)
    if "enum" in schema:
        words = " | ".join(map(str, schema["enum"]))
    limits = [f"{sign} {k[name]}" for k in kinds for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in k]
    default = f", default {schema['default']}" if schema.get("default") is not None else ""
    return " ".join([words, *limits]) + default


def _schema(document: dict[str, Any], schema: dict[str, Any]) -> str:
    for choice in schema.get("anyOf", [schema]):
        name = choice.get("$ref", "").rpartition("/")[2]
        if name:
            return f"<pre>{escape(json.dumps(document['components']['schemas'][name], indent=1))}</pre>"
    return f"<pre>{escape(json.dumps(schema, indent=1))}</pre>"
