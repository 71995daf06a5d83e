"""Writer of the files here that repeat what deploy/prometheus and deploy/nginx define.

Run `python deploy/kubernetes/write_copies.py` after a change there. They are copies because
kustomize reads no files from outside its directories.
"""

import textwrap
from pathlib import Path

HERE = Path(__file__).parent
DEPLOY = HERE.parent

RULES = """\
# Written by write_copies.py from deploy/prometheus.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fib
spec:
  groups:
"""

CACHE = """\
# Written by write_copies.py from deploy/nginx/fib.conf.
"""

UPSTREAM = """\
    server 192.0.2.1:8080 max_fails=2 fail_timeout=5s;    # EDIT
    server 192.0.2.2:8080 max_fails=2 fail_timeout=5s;
"""

SERVICE = """\
    # The Service, which has one address: Kubernetes selects a fibweb for each connection. It is
    # listed twice, because a failed request is retried only at another server; max_fails=0,
    # because both are the same.
    server fibweb:80 max_fails=0;
    server fibweb:80 max_fails=0;
"""

CHANGES = {
    UPSTREAM: SERVICE,
    "listen 80 default_server;": "listen 8080 default_server;",
    ": in /etc/nginx/conf.d/. Responses never": ". Responses never",
    " Edit the addresses in the lines marked EDIT.": "",
}
"""What differs in the nginx configuration, by the text of deploy/nginx."""


def rules() -> str:
    """Return the PrometheusRule: the groups of both files of rules."""
    names = ("fib-recording.yml", "fib-alerts.yml")
    texts = [(DEPLOY / "prometheus" / name).read_text() for name in names]
    groups = [text.partition("\ngroups:\n")[2] for text in texts]
    return RULES + "\n".join(textwrap.indent(group, "  ") for group in groups)


def cache() -> str:
    """Return the nginx configuration with the Service as the upstream.

    Raises:
        ValueError: deploy/nginx/fib.conf no longer has a line that differs here.
    """
    text = (DEPLOY / "nginx" / "fib.conf").read_text()
    for before, after in CHANGES.items():
        if before not in text:
            raise ValueError(f"deploy/nginx/fib.conf lacks {before!r}: update CHANGES")
        text = text.replace(before, after)
    return CACHE + text


def files() -> dict[Path, str]:
    """Return the texts of all files."""
    return {HERE / "monitoring" / "rules.yaml": rules(), HERE / "cache" / "fib.conf": cache()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
