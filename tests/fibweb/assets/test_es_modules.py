"""Tests for the bundler of ES modules."""

import json
import subprocess
from collections.abc import Callable, Mapping

import pytest

from fibweb.assets.es_modules import BundleError, bundle

SOURCES = {
    "main.js": (
        'import { Counter, twice } from "./counter.js";\n'
        'import {\n  NAME,\n  later,\n} from "./names.js";\n\n'
        "/* import and export in a comment, or a text */\n"
        'const hidden = "export main";\n'
        "const counter = new Counter();\n"
        "later().then((text) => console.log(JSON.stringify(\n"
        "  [NAME, hidden, counter.next(), twice(counter.next()), text, [...ids()]])));\n"
        "function* ids() {\n  yield 1;\n}\n"
    ),
    "counter.js": (
        'import { NAME } from "./names.js";\n'
        'const hidden = "counter";\n'
        "let count = NAME.length;\n\n"
        "export class Counter {\n  next() {\n    count += 1;\n    return hidden + count;\n  }\n}\n"
        "export function twice(text) {\n  return `${text} ${text}`;\n}\n"
    ),
    "names.js": (
        'const hidden = "names";\n'
        "export const NAME = hidden;\n"
        "export async function later() {\n  return await Promise.resolve(`${hidden}\n"
        "  // no comment`);\n}\n"
    ),
    "unused.js": "export const UNUSED = 1;\n",
}


def run(program: Callable[[str], str], source: str) -> object:
    """Return what a script prints as JSON."""
    command = [program("node"), "--input-type=module"]
    output = subprocess.run(
        command, input=source, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    return json.loads(output)


def test_bundle_does_what_the_modules_do(program: Callable[[str], str]) -> None:
    """Modules run once, in dependency order, and their names do not collide."""
    bundled = bundle("main.js", SOURCES)
    assert run(program, bundled) == [
        *("names", "export main", "counter6", "counter7 counter7"),
        "names\n  // no comment",
        [1],
    ]
    assert bundled.index("$names =") < bundled.index("$counter =") < bundled.index("$main =")
    assert "UNUSED" not in bundled


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"main.js": 'import * as names from "./names.js";'}, "cannot bundle 'import *"),
        ({"main.js": 'import names from "./names.js";'}, "cannot bundle 'import names"),
        (
            {"main.js": 'import { NAME as a } from "./names.js";'},
            "cannot bundle 'import { NAME as",
        ),
        ({"main.js": 'import "./names.js";'}, "cannot bundle"),
        ({"main.js": 'import { a } from "../names.js";'}, "cannot bundle"),
        ({"main.js": 'import { a } from "https://example.org/names.js";'}, "cannot bundle"),
        ({"main.js": 'const a = await import("./names.js");'}, "cannot bundle"),
        ({"main.js": "const here = import.meta.url;"}, "cannot bundle 'const here = import.meta"),
        ({"main.js": "const a = await f();"}, "cannot bundle 'const a = await"),
        ({"main.js": "await f();"}, "cannot bundle 'await"),
        ({"main.js": "  export const a = 1;"}, "cannot bundle 'export const"),
        ({"main.js": "export default class {}"}, "cannot bundle 'export default"),
        ({"main.js": "export let count = 1;"}, "cannot bundle 'export let"),
        ({"main.js": "export const { a, b } = f();"}, "cannot bundle 'export const"),
        ({"main.js": "const a = 1;\nexport { a };"}, "cannot bundle 'export {"),
        ({"main.js": 'export * from "./names.js";'}, "cannot bundle 'export *"),
        ({"main.js": 'import { a } from "./gone.js";'}, "gone.js does not exist: main.js -> gone"),
        ({"main.js": 'import { GONE } from "./names.js";'}, "names.js does not export GONE"),
        (
            {"names.js": 'import { twice } from "./counter.js";\nexport const NAME = 1;'},
            "circle: main.js -> counter.js -> names.js -> counter.js",
        ),
    ],
)
def test_unsupported_modules_are_errors(changes: Mapping[str, str], message: str) -> None:
    """What the bundler does not understand is an error that names the module and the statement."""
    with pytest.raises(BundleError) as caught:
        bundle("main.js", {**SOURCES, **changes})
    assert message in str(caught.value)
