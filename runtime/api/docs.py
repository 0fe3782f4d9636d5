"""/docs: every operation of the API on one page, made from the OpenAPI document. Pure.

Called by app.py. The page needs no script and nothing from the network: it is there on a machine without either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin: 2rem 0 .5rem; text-transform: capitalize; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { padding: .4rem .7rem; cursor: pointer; }
details > div { padding: 0 .7rem .7rem; border-top: 1px solid var(--line); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .6rem; border-radius: 4px; overflow: auto; max-height: 30rem; }
b.method { display: inline-block; min-width: 4.2rem; font: bold 12px ui-monospace, monospace; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
span.about { opacity: .7; margin-left: .7rem; }
"""
LONG = 1500
"""A schema with more characters than this is folded away."""


def docs_page(document: Mapping[str, Any], *, base_url: str) -> str:
    """The page as HTML. ``base_url`` is where the client reached us, for the examples."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(method.upper(), path, operation, base_url.rstrip("/")))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(shown)}" for tag, shown in groups.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        '<p>Every operation, from <a href="/openapi.json">openapi.json</a>, which any OpenAPI tool reads. Send a key as '
        "<code>Authorization: Bearer KEY</code>; on loopback clients need none unless configured otherwise.</p>"
        f"{sections}</body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], base_url: str) -> str:
    inside = "".join(
        (*_parameters(operation), *_body(operation), *_responses(operation), _example(method, path, operation, base_url))
    )
    return (
        f'<details><summary><b class="method">{escape(method)}</b><code>{escape(path)}</code>'
        f'<span class="about">{escape(operation.get("summary", ""))}</span></summary><div>{inside}</div></details>'
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}{', required' if p.get('required') else ''}</td>"
        f"<td><code>{escape(json.dumps(p.get('schema', {})))}</code></td></tr>"
        for p in operation.get("parameters", ())
    ]
    if rows:
        yield f"<p>Parameters</p><table>{''.join(rows)}</table>"


def _body(operation: Mapping[str, Any]) -> Iterator[str]:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if schema := content.get("schema"):
            yield f"<p>Body, <code>{escape(media_type)}</code></p>{_schema(schema)}"


def _schema(schema: Mapping[str, Any]) -> str:
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    shown = f"<pre>{escape(text)}</pre>"
    return shown if len(text) <= LONG else f"<details><summary>its schema</summary>{shown}</details>"


def _responses(operation: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(reply.get('description', ''))}</td>"
        f"<td>{escape(', '.join(reply.get('content', {})))}</td></tr>"
        for status, reply in sorted(operation.get("responses", {}).items())
    ]
    yield f"<p>Replies</p><table>{''.join(rows)}</table>"


def _example(method: str, path: str, operation: Mapping[str, Any], base_url: str) -> str:
    words = ["curl", *(["-X", method] if method != "GET" else []), f"'{base_url}{path}'"]
    if "requestBody" in operation:
        words += ["-H 'content-type: application/json'", "-d '{…}'"]
    return f"<p>Ask it</p><pre>{escape(' '.join(words))}</pre>"
