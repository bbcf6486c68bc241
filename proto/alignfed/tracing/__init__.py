"""Traces of a delta's way through agent, coordinator and worker (OpenTelemetry), off unless asked for."""
