"""The coordinator's HTTP port: `/metrics`, `/healthz`, `/readyz`, and the status page with the JSON behind it."""
