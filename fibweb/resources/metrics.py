"""The resource `/metrics`."""

from collections.abc import Callable

import falcon

from fibweb.resources.compression import set_compressed
from fibweb.resources.problems import check_without_tag
from fibweb.stats.metric_values import MetricValues

__all__ = ["MetricsResource"]


class MetricsResource:
    """`/metrics`, in the text format of Prometheus."""

    def __init__(self, gather: Callable[[], MetricValues]) -> None:
        """Create the resource.

        Args:
            gather: Returns the values of all processes.
        """
        self._gather = gather

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Respond with all metrics."""
        check_without_tag(request.env)
        # The import of prometheus_client takes 15 ms, a tenth of a start. The first scrape waits.
        from fibweb.resources.metrics_text import CONTENT_TYPE_PLAIN_0_0_4, metrics_text

        response.content_type = CONTENT_TYPE_PLAIN_0_0_4
        response.cache_control = ["no-store"]
        set_compressed(request, response, metrics_text(self._gather))
