"""HTML of the reference, rendered from the OpenAPI document.

Pure: it knows OpenAPI, and nothing of the routes. It supports what the document of this service
uses: parameters and schemas in line or by reference, and examples whose summary is their request.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["as_sent", "render_contents", "render_introduction", "render_operations"]

Json = Mapping[str, Any]

_OF_ALL_ERRORS = ("Cache-Control", "X-Request-ID", "Vary")
"""Headers that are not repeated for each error."""

_IDENTIFIER = re.compile(r"[^a-z0-9]+")


def render_introduction(document: Json) -> str:
    """Return the HTML of the description of the whole."""
    paragraphs = document["info"]["description"].split("\n\n")
    return "\n".join(f"<p>{_text(paragraph)}</p>" for paragraph in paragraphs)


def render_operations(document: Json) -> str:
    """Return the HTML of all operations, their common parameters and errors.

    Args:
        document: The OpenAPI document. HEAD is left out, because it is that of GET.
    """
    groups = "".join(_group(document, tag) for tag in document["tags"])
    return f"{groups}{_common_parameters(document)}{_problem(document)}"


def render_contents(document: Json) -> str:
    """Return the HTML of the list of contents, with links to the operations."""
    groups = []
    for tag in document["tags"]:
        links = "".join(
            f'<li><a href="#{operation["operationId"]}"><code>{_path(path)}</code></a></li>\n'
            for path, operation in _operations(document, tag["name"])
        )
        groups.append(
            f'<li><a href="#{_identifier(tag["name"])}">{escape(tag["name"])}</a>\n'
            f"<ul>\n{links}</ul></li>\n"
        )
    return (
        f"<ul>\n{''.join(groups)}"
        '<li><a href="#common-parameters">Common parameters</a></li>\n'
        '<li><a href="#errors">Errors</a></li>\n</ul>'
    )


def as_sent(value: object) -> str:
    """Return the body of an example as the service sends it: lists of strings have no spaces."""
    if isinstance(value, str):
        return value
    assert isinstance(value, dict), "all JSON documents are objects"
    members = []
    for name, content in value.items():
        is_compact = isinstance(content, list) and all(isinstance(item, str) for item in content)
        separators = (",", ":") if is_compact else None
        text = json.dumps(content, ensure_ascii=False, separators=separators)
        members.append(f"{json.dumps(name)}: {text}")
    return f"{{{', '.join(members)}}}"


def _operations(document: Json, tag: str) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        if tag in methods["get"]["tags"]:
            yield path, methods["get"]


def _group(document: Json, tag: Json) -> str:
    operations = "".join(
        _operation(document, path, operation)
        for path, operation in _operations(document, tag["name"])
    )
    return f"""\
<section class="group" id="{_identifier(tag["name"])}">
<h2>{escape(tag["name"])}</h2>
<p>{_text(tag["description"])}</p>
{operations}</section>
"""


def _operation(document: Json, path: str, operation: Json) -> str:
    parameters = operation.get("parameters", [])
    own = [parameter for parameter in parameters if "$ref" not in parameter]
    common = [_resolved(document, parameter) for parameter in parameters if "$ref" in parameter]
    links = ", ".join(
        f'<a href="#parameter-{_identifier(parameter["name"])}">{escape(parameter["name"])}</a>'
        for parameter in common
    )
    return f"""\
<section class="card operation" id="{operation["operationId"]}">
<h3><span class="method">GET</span> <code>{_path(path)}</code>
<a class="anchor" href="#{operation["operationId"]}" aria-label="Link to {escape(path)}">#</a></h3>
<p>{_text(operation["summary"])}</p>
{_parameters(own)}{f'<p class="quiet">Common parameters: {links}</p>' if links else ""}
{_examples(operation["responses"])}{_responses(operation["responses"])}
{_try(path, operation, [*own, *common])}</section>
"""


def _parameters(parameters: Iterable[Json], prefix: str = "") -> str:
    """Return a list of parameters.

    Args:
        parameters: The parameters, resolved.
        prefix: Start of their ids in the document; empty for none.
    """
    entries = "".join(
        f"<div{_id(prefix, parameter['name'])}>"
        f"<dt><code>{escape(parameter['name'])}</code> <small>{_place(parameter)}</small></dt>\n"
        f"<dd>{_text(parameter['description'])} "
        f'<span class="bounds">{_bounds(parameter["schema"])}</span></dd></div>\n'
        for parameter in parameters
    )
    return f'<dl class="parameters">\n{entries}</dl>\n' if entries else ""


def _id(prefix: str, name: str) -> str:
    return f' id="{prefix}-{_identifier(name)}"' if prefix else ""


def _place(parameter: Json) -> str:
    place = str(parameter["in"])
    return f"{place}, required" if parameter.get("required") else place


def _bounds(schema: Json) -> str:
    """Return the values that a parameter may have, as HTML."""
    if "enum" in schema:
        return "One of " + ", ".join(f"<code>{escape(value)}</code>" for value in schema["enum"])
    if "minimum" in schema and "maximum" in schema:
        return f"An integer from {schema['minimum']:,} to {schema['maximum']:,}."
    return _text(schema.get("description", ""))


def _examples(responses: Json) -> str:
    """Return the examples of successful responses, the first of them open."""
    examples = [
        example
        for status, response in responses.items()
        if status == "200"
        for example in _examples_of(response)
    ]
    return "".join(
        _example(example, is_open=number == 0) for number, example in enumerate(examples)
    )


def _examples_of(response: Json) -> Iterator[Json]:
    for content in response.get("content", {}).values():
        yield from content.get("examples", {}).values()


def _example(example: Json, *, is_open: bool = False) -> str:
    line, *headers = example["summary"].split(", ")
    target = line.partition(" ")[2]
    request = escape(target)
    if headers:
        request = f"{request} <small>{escape(', '.join(headers))}</small>"
    return f"""\
<details class="example"{" open" if is_open else ""}>
<summary><code>GET {request}</code></summary>
<pre tabindex="0"><code>{escape(as_sent(example["value"]))}</code></pre>
</details>
"""


def _responses(responses: Json) -> str:
    rows = []
    for status, response in sorted(responses.items()):
        headers = "".join(
            f"<dt><code>{escape(name)}</code></dt><dd>{_text(header['description'])}</dd>"
            for name, header in response.get("headers", {}).items()
            if status < "400" or name not in _OF_ALL_ERRORS
        )
        if headers:
            headers = f'<dl class="headers">{headers}</dl>\n'
        examples = "".join(map(_example, _examples_of(response))) if status >= "400" else ""
        rows.append(
            f"<div><dt><b>{status}</b></dt>\n<dd>{_text(response['description'])}\n"
            f"{_media_types(response)}{headers}{examples}</dd></div>\n"
        )
    return f"""\
<details class="responses"><summary>Responses: {", ".join(sorted(responses))}</summary>
<dl class="parameters">
{"".join(rows)}</dl>
</details>
"""


def _media_types(response: Json) -> str:
    types = ", ".join(f"<code>{escape(name)}</code>" for name in response.get("content", {}))
    return f'<p class="quiet">{types}</p>\n' if types else ""


def _try(path: str, operation: Json, parameters: Iterable[Json]) -> str:
    """Return the form that sends a request; a script shows it, and handles it."""
    types = operation["responses"]["200"].get("content", {})
    if not any(re.match("application/|text/plain", name) for name in types):
        href = "./" + path.removeprefix("/").replace("{name}", "too-large")
        return f'<p><a href="{escape(href)}">Open it</a></p>\n'
    fields = {"path": "", "query": "", "header": ""}
    for parameter in parameters:
        fields[parameter["in"]] += _field(parameter)
    headers = fields.pop("header")
    if headers:
        headers = (
            f'<details><summary>Headers</summary><div class="fields">{headers}</div></details>\n'
        )
    return f"""\
<form class="try" data-path="{escape(path)}" novalidate hidden>
<h4>Try it</h4>
<div class="fields">
{"".join(fields.values())}</div>
{headers}<p class="line"><code class="command"></code></p>
<p><button type="submit" class="primary">Send</button></p>
<div class="reply" role="status"></div>
</form>
"""


def _field(parameter: Json) -> str:
    name, schema = escape(parameter["name"]), parameter["schema"]
    value = escape(str(parameter.get("example", "")))
    attributes = f'name="{name}" data-in="{parameter["in"]}"'
    if "enum" in schema:
        values = "".join(f"<option>{escape(each)}</option>" for each in schema["enum"])
        control = f'<select {attributes}><option value="">default</option>{values}</select>'
    elif parameter.get("allowEmptyValue"):
        control = f'<input type="checkbox" {attributes}>'
    else:
        control = f'<input {attributes} value="{value}" autocomplete="off" spellcheck="false">'
    return f'<label class="field"><span>{name}</span>{control}</label>\n'


def _common_parameters(document: Json) -> str:
    parameters = document["components"]["parameters"].values()
    return f"""\
<section class="group" id="common-parameters">
<h2>Common parameters</h2>
<p>Operations that list them have these parameters.</p>
<div class="card operation">
{_parameters(parameters, "parameter")}</div>
</section>
"""


def _problem(document: Json) -> str:
    """Return the section about errors and the members of their bodies."""
    schema = document["components"]["schemas"]["Problem"]
    members = "".join(
        f"<div><dt><code>{escape(name)}</code></dt>\n"
        f"<dd>{_text(member.get('description', ''))}</dd></div>\n"
        for name, member in schema["properties"].items()
        if member.get("description")
    )
    return f"""\
<section class="group" id="errors">
<h2>Errors</h2>
<p>{_text(schema["description"])}</p>
<div class="card operation">
<dl class="parameters">
{members}</dl></div>
</section>
"""


def _resolved(document: Json, reference: Json) -> Json:
    value: Any = document
    for key in reference["$ref"].removeprefix("#/").split("/"):
        value = value[key]
    resolved: Json = value
    return resolved


def _path(path: str) -> str:
    """Return a path template as HTML, with its parameters marked."""
    return re.sub(r"\{\w+\}", lambda match: f"<var>{match[0]}</var>", escape(path))


def _text(text: str) -> str:
    """Return a text as HTML, in which backticks mark code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _identifier(name: str) -> str:
    return _IDENTIFIER.sub("-", name.lower())
