"""gunicorn serves fibweb: `gunicorn -c gunicorn.conf.py`, with FIBWEB_* in its environment."""

wsgi_app = "fibweb.wsgi:application"
bind = "127.0.0.1:8080"

# A bad setting ends the start, and /metrics has the figures of all workers.
preload_app = True

workers = 2
# A worker without threads is killed over a download that takes longer than `timeout`.
threads = 8
