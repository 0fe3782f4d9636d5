"""The only room that imports ray: node actors, the warm pool, adoption, and the mailbox that serves the hub."""

import os

# Ray reads these while it is imported, so they are set before any module of this room imports it. What an operator set stands.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_LOG_TO_DRIVER_EVENT_LEVEL": "FATAL",
    "RAY_DISABLE_DASHBOARD_LOG_INFO": "1",
}.items():
    os.environ.setdefault(_name, _value)
