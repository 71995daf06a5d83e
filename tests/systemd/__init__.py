"""What an administrator does with the services, on a systemd that was really booted."""
