"""Packages, images and manifests, built and run as users would; `tox -e shipping` runs these."""
