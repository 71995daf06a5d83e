"""Writer of settings.md and of the example files in ../systemd, from the settings' definitions.

Run `python docs/settings.py` after a change of a definition.
"""

import json
import textwrap
from pathlib import Path

from fibcommon.configuration.settings import Definition, ServiceSettings
from fibserver.settings import ServerSettings
from fibweb.settings import WebSettings

ROOT = Path(__file__).parents[1]
SERVICES: dict[str, type[ServiceSettings]] = {"fibserver": ServerSettings, "fibweb": WebSettings}
COLUMNS = 99

DOCUMENT = """\
# Settings

A setting comes from its default, a TOML file (`--config FILE`), an environment variable or an
option; later ones take precedence. `--check-config` validates the settings and exits. A service
does not start with an invalid setting; an error line for each has its name, its value and the
allowed values. An unknown variable is ignored; if its name resembles a setting, a warning has the
name of that.

Lists and sizes may be texts, also in a file: `listen = "127.0.0.1:1, unix:/run/fib.sock"`,
`memory_limit = "1.5GiB"`. An empty text unsets a setting whose default is `""`. SIGHUP reloads the
settings with *yes* in the column *reload*; the others need a restart. If any is invalid at a
reload, none changes.

[systemd/fibserver.toml](../systemd/fibserver.toml) and
[systemd/fibweb.toml](../systemd/fibweb.toml) have all settings, commented out, to start from.
`python docs/settings.py` writes those files and this document from the settings' definitions.
"""

EXAMPLE = """\
# Settings of {name}, each with its default. To change one, remove the # before its name.
#
# {prefix}* environment variables override this file, and options override both. After a
# change, validate it with:  {name} --config FILE --check-config
# A reload (SIGHUP) applies the settings marked "reload"; the others need a restart.
"""


def document() -> str:
    """Return the text of settings.md."""
    return "\n".join([DOCUMENT, *(table(name, kind) for name, kind in SERVICES.items())])


def table(service: str, kind: type[ServiceSettings]) -> str:
    """Return the section of a service."""
    rows = [
        f"| `{name}` | `{kind.variable(name)}` | `{toml(each.default)}` | {each.kind.allowed} "
        f"| {'yes' if each.is_reloadable else ''} | {each.description} |"
        for name, each in kind.definitions().items()
    ]
    head = "| setting | variable | default | allowed | reload | meaning |"
    return "\n".join([f"## {service}\n", head, "|---|---|---|---|---|---|", *rows, ""])


def example(service: str, kind: type[ServiceSettings]) -> str:
    """Return the text of the example file of a service."""
    paragraphs = [EXAMPLE.format(name=service, prefix=kind.PREFIX)]
    paragraphs += [paragraph(name, each) for name, each in kind.definitions().items()]
    return "\n".join(paragraphs)


def paragraph(name: str, definition: Definition) -> str:
    """Return the lines of an example file about a setting."""
    note = " (reload)" if definition.is_reloadable else ""
    about = f"{definition.description} Must be {definition.kind.allowed}.{note}".replace("`", '"')
    lines = textwrap.wrap(about, COLUMNS, initial_indent="# ", subsequent_indent="# ")
    return "\n".join([*lines, f"#{name} = {toml(definition.default)}", ""])


def toml(value: object) -> str:
    """Return a default in the form of a TOML file."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:_}" if is_number else json.dumps(value)


def files() -> dict[Path, str]:
    """Return the texts of all files."""
    examples = {f"systemd/{name}.toml": example(name, kind) for name, kind in SERVICES.items()}
    texts = {"docs/settings.md": document(), **examples}
    return {ROOT / path: text for path, text in texts.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
