"""Configuration of deployments: prefect.yaml, container images, dashboards. No code."""
