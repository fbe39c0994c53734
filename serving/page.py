"""The reference at /docs: one page made from the OpenAPI document, with forms to try, without a link to the outside."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#15181d;background:#fff}
h2{margin-top:2.5rem;border-top:1px solid #d9dde3;padding-top:1rem}code,textarea,pre{font:13px/1.45 ui-monospace,monospace}
table{border-collapse:collapse;width:100%;font-size:14px}
td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #eceff3}
textarea{width:100%;min-height:7rem}
pre{background:#f5f7f9;padding:.75rem;overflow:auto;max-height:24rem}button{font:inherit;padding:.25rem 1rem}
summary{cursor:pointer}.method{display:inline-block;min-width:3.5rem;font-weight:700}
"""
_SCRIPT = """
for (const form of document.querySelectorAll('form')) form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const body = form.querySelector('textarea'), out = form.querySelector('pre'), started = performance.now();
  const sent = {method: form.dataset.method, headers: {'content-type': 'application/json'}};
  if (body) sent.body = body.value;
  out.hidden = false;
  try {
    const answer = await fetch(form.dataset.path, sent), text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch { /* not JSON */ }
    out.textContent = answer.status + ' in ' + Math.round(performance.now() - started) + ' ms\\n' + shown;
  } catch (error) { out.textContent = String(error); }
});
"""


def reference_page(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        document: the OpenAPI document.

    Returns:
        HTML that needs nothing else.
    """
    info = document["info"]
    schemas = document.get("components", {}).get("schemas", {})
    parts = [_operation(path, method, body, schemas) for path, methods in document["paths"].items() for method, body in methods.items()]
    models = "".join(_model(name, schema) for name, schema in sorted(schemas.items()))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} · reference</title><style>{_STYLE}</style></head><body><h1>{escape(info['title'])}</h1>"
        f'<p>{escape(info.get("summary", ""))} The document behind this page: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{''.join(parts)}<h2>What the bodies hold</h2>{models}<script>{_SCRIPT}</script></body></html>"
    )


def _operation(path: str, method: str, body: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    content = body.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(answer.get('description', ''))}</td><td>{_answer_type(answer)}</td></tr>"
        for status, answer in body.get("responses", {}).items()
    )
    area = ""
    if content:
        examples = schemas.get(_name(content), {}).get("examples") or [{}]
        filled = escape(json.dumps(examples[0], ensure_ascii=False, indent=1))
        area = f"<p>Body: {_type(content)}</p><textarea aria-label='body of {escape(path)}'>{filled}</textarea>"
    return (
        f'<h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2><p><b>{escape(body.get("summary", ""))}</b><br>'
        f"{escape(body.get('description', ''))}</p><table>{answers}</table>"
        f'<form data-method="{method.upper()}" data-path="{escape(path)}">{area}<p><button>Send</button></p><pre hidden></pre></form>'
    )


def _answer_type(answer: Mapping[str, Any]) -> str:
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    return _type(schema) if schema else ""


def _model(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td><td>{_type(held)}{_limits(held)}</td>"
        f"<td>{escape(held.get('description', ''))}</td></tr>"
        for field, held in schema.get("properties", {}).items()
    )
    said = escape(schema.get("description", ""))
    heading = f"<summary><code>{escape(name)}</code> {said}</summary>"
    return f'<details id="{escape(name)}">{heading}<table>{rows}</table></details>'


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(_name(schema))
        return f'<a href="#{name}"><code>{name}</code></a>'
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(_type(part) for part in schema[word])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("type", "anything")))


def _limits(schema: Mapping[str, Any]) -> str:
    parts = [schema, *schema.get("anyOf", [])]
    words = {
        "minimum": "≥",
        "maximum": "≤",
        "exclusiveMaximum": "<",
        "minLength": "length ≥",
        "maxLength": "length ≤",
        "maxItems": "items ≤",
    }
    found = [f"{said} {part[word]}" for part in parts for word, said in words.items() if word in part]
    default = [f"default {json.dumps(schema['default'], ensure_ascii=False)}"] if "default" in schema else []
    return f"<br><small>{escape(', '.join([*found, *default]))}</small>" if found or default else ""
