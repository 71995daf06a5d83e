"""Installation and operation of the services on a machine that boots systemd."""
