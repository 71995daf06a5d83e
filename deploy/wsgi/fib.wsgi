"""What mod_wsgi loads: settings, since SetEnv does not reach Python's environment, and fibweb."""

import os

os.environ["FIBWEB_SERVERS"] = "127.0.0.1:11235"

from fibweb.wsgi import application  # noqa: E402, F401
