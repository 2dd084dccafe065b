"""Settings, wiring, web views, commands and telemetry: the composition root; nobody imports it."""
