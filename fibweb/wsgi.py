"""`fibweb.wsgi:application`, for gunicorn, uWSGI, Apache's mod_wsgi and other WSGI servers.

Its settings are the `FIBWEB_*` variables of the environment at the import.
"""

from fibweb.processes.wsgi_application import WsgiApplication
from fibweb.settings import load_settings

__all__ = ["application"]

application = WsgiApplication(load_settings())
