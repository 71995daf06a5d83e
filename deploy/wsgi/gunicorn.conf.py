"""gunicorn serves fibweb: `gunicorn -c gunicorn.conf.py`, with FIBWEB_* in its environment."""

wsgi_app = "fibweb.wsgi:application"
bind = "127.0.0.1:8080"

# An invalid setting fails the start, and /metrics has the values of all workers.
preload_app = True

workers = 2
# A worker without threads is killed during a download that takes longer than `timeout`.
threads = 8
