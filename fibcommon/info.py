"""Parser of the reply to INFO: sections of `name:value` lines."""

__all__ = ["parse_fields", "parse_info"]


def parse_info(text: str) -> dict[str, dict[str, str]]:
    """Return the values by section and name, in the order of the reply.

    Args:
        text: Reply of the server. Lines without a colon are ignored. Values before the first
            heading belong to a section with an empty name.

    Returns:
        The values of each section by name. Section names are in lower case; a section may be
        empty.
    """
    sections: dict[str, dict[str, str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.removeprefix("#").strip().lower()
            sections.setdefault(section, {})
            continue
        name, colon, value = line.partition(":")
        if colon:
            sections.setdefault(section, {})[name] = value
    return sections


def parse_fields(value: str) -> dict[str, str]:
    """Return the parts of a value such as `calls=3,usec=12`, or {} for any other value."""
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        return {}
    return {name: part for name, _, part in pairs}
