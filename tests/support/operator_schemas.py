"""JSON schemas of two kinds of the Prometheus Operator, without the fields that we do not use.

The names and forms are those of its API reference for monitoring.coreos.com/v1:
https://prometheus-operator.dev/docs/api-reference/api/
"""

from typing import Any

__all__ = ["SCHEMAS"]

Schema = dict[str, Any]

DURATION: Schema = {
    "type": "string",
    "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?"
    r"(([0-9]+)ms)?)$",
}
NAME: Schema = {"type": "string", "minLength": 1}
LABEL_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def record(required: str = "", **properties: Schema) -> Schema:
    """Return the schema of an object that has no other fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def array(items: Schema) -> Schema:
    """Return the schema of a list that is not empty."""
    return {"type": "array", "items": items, "minItems": 1}


def kind(name: str, spec: Schema) -> Schema:
    """Return the schema of a kind."""
    return record(
        "apiVersion kind metadata spec",
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": name},
        metadata=record("name", name=NAME, namespace=NAME, labels=TEXTS),
        spec=spec,
    )


REQUIREMENT = record(
    "key operator",
    key=NAME,
    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
    values=array(NAME),
)
SELECTOR = record(matchLabels=TEXTS, matchExpressions=array(REQUIREMENT))
RELABELING = record(sourceLabels=array(LABEL_NAME), targetLabel=LABEL_NAME)
ENDPOINT = record("port", port=NAME, interval=DURATION, relabelings=array(RELABELING))

RECORDING = record("record expr", record=NAME, expr=NAME, labels=TEXTS)
ALERT = record(
    "alert expr",
    **{"alert": NAME, "expr": NAME, "for": DURATION, "labels": TEXTS, "annotations": TEXTS},
)
GROUP = record("name rules", name=NAME, rules=array({"oneOf": [RECORDING, ALERT]}))

SCHEMAS = {
    "ServiceMonitor": kind(
        "ServiceMonitor",
        record("selector endpoints", jobLabel=NAME, selector=SELECTOR, endpoints=array(ENDPOINT)),
    ),
    "PrometheusRule": kind("PrometheusRule", record("groups", groups=array(GROUP))),
}
"""Schemas by kind."""
