"""What both ends must agree on: wire, journal, epochs, roles, config, limits, telemetry, clock.

Nothing in this folder imports a sibling folder.
"""
