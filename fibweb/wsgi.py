"""WSGI entry point `fibweb.wsgi:application`, for gunicorn, uWSGI, mod_wsgi and other servers.

The settings are read from the `FIBWEB_*` environment variables at import.
"""

from fibcommon.extras import extra
from fibweb import PACKAGES

with extra("fibweb", "web", *PACKAGES):
    from fibweb.processes.wsgi_application import WsgiApplication
    from fibweb.settings import WebSettings

__all__ = ["application"]

application = WsgiApplication(WebSettings.load())
