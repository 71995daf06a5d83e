"""Bundler: joins ES modules into one, in dependency order.

A browser then needs one request instead of one per module, and compression finds what the modules
have in common. Each module becomes a function that returns its exports:

    const $sequence = (() => {
    const LOG10_PHI = …
    function digitsOf(n) { … }
    return { digitsOf };
    })();
    const $query = (() => {
    const { digitsOf } = $sequence;
    …

So names of different modules cannot collide. Only the forms of `import` and `export` below are
supported; everything else is an error, and never passed on unchanged.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["BundleError", "bundle"]

# A statement of a module begins a line; what is indented is inside of one. (The search for these
# patterns is fast because they begin with a literal.)
_IMPORT = re.compile(
    r"\nimport \{(\s*[\w$]+(?:\s*,\s*[\w$]+)*\s*,?\s*)\} "
    r'from "\./([a-z0-9_]+\.js)";(?=\n|$)'
)
_EXPORT = re.compile(r"\nexport (?=(?:const|class|(?:async )?function\*?) ([A-Za-z_$][\w$]*)\b)")
_UNSUPPORTED = re.compile(
    # What is left of import and export once the supported forms are taken out.
    r"\s*(?:import|export)\b|.*\bimport\s*[(.]"
    # A function cannot contain the `await` of a module.
    r"|(?:await|for await)\b|(?:const|let|var)\b[^=]*=\s*await\b"
)

_KEYWORDS = ("import", "export", "await")


class BundleError(ValueError):
    """The modules cannot be joined."""


class _Module(NamedTuple):
    """A module without its `import` and `export` statements.

    Attributes:
        imports: Pairs of the name of a module and a name that it exports.
        exports: Names.
        code: The statements that are left.
    """

    imports: list[tuple[str, str]]
    exports: list[str]
    code: str


def bundle(entry: str, sources: Mapping[str, str]) -> str:
    """Return one ES module that does the same as a module and all that it imports.

    Args:
        entry: Name of the module, such as `main.js`.
        sources: Texts of all modules by name.

    Raises:
        BundleError: A module or an export is missing, modules import each other in a circle, or a
            statement is not supported.
    """
    modules: dict[str, _Module] = {}
    _collect(entry, sources, modules, [])
    return "".join(_wrap(name, module) for name, module in modules.items())


def _collect(
    name: str, sources: Mapping[str, str], modules: dict[str, _Module], importers: list[str]
) -> None:
    """Add a module to `modules`, after all that it imports."""
    path = [*importers, name]
    if name in importers:
        raise BundleError(f"modules import each other in a circle: {' -> '.join(path)}")
    if name in modules:
        return
    if name not in sources:
        raise BundleError(f"module {name} does not exist: {' -> '.join(path)}")
    module = _parse(name, sources[name])
    for imported, export in module.imports:
        _collect(imported, sources, modules, path)
        if export not in modules[imported].exports:
            raise BundleError(f"{imported} does not export {export}, which {name} imports")
    modules[name] = module


def _parse(name: str, source: str) -> _Module:
    source = f"\n{source}"
    imports = [
        (module, export)
        for names, module in _IMPORT.findall(source)
        for export in names.replace(",", " ").split()
    ]
    code = _EXPORT.sub("\n", _IMPORT.sub("", source))
    for line in code.splitlines():
        # The words are rare, and the search for one takes less time than the match.
        if any(word in line for word in _KEYWORDS) and _UNSUPPORTED.match(line):
            raise BundleError(
                f"{name}: cannot bundle {line.strip()!r}: "
                'expected import { name } from "./module.js"; or export const, function or class'
            )
    return _Module(imports, _EXPORT.findall(source), code)


def _wrap(name: str, module: _Module) -> str:
    """Return the statement that runs a module once and keeps its exports."""
    imports: dict[str, list[str]] = {}
    for imported, export in module.imports:
        imports.setdefault(imported, []).append(export)
    lines = [f"const {_variable(name)} = (() => {{"]
    lines += [
        f"const {{ {', '.join(exports)} }} = {_variable(imported)};"
        for imported, exports in imports.items()
    ]
    lines += [module.code.strip("\n"), f"return {{ {', '.join(module.exports)} }};", "})();", ""]
    return "\n".join(lines)


def _variable(name: str) -> str:
    return f"${name.removesuffix('.js')}"
