"""The text of INFO: facts and figures of a server, a `name:value` a line, in sections."""

__all__ = ["parse_fields", "parse_information"]


def parse_information(text: str) -> dict[str, dict[str, str]]:
    """Return the values by section and name, in the server's order.

    Args:
        text: as the server sends it. Lines of neither kind are passed over; what stands before
            the first heading is in a section without a name.

    Returns:
        for each section, its name in lower case, the values by name; a section may be empty.
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
    """Return the parts of a value such as `calls=3,usec=12`; none if it has no such parts."""
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        return {}
    return {name: part for name, _, part in pairs}
