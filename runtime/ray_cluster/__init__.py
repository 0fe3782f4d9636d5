"""The only room that imports ray: node actors, the warm pool, adoption, and the mailbox that serves the hub."""

import os

# Ray reads these while it is imported, so they are set before any module of this room imports it. What an operator set stands.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_LOG_TO_DRIVER_EVENT_LEVEL": "FATAL",
    "RAY_DISABLE_DASHBOARD_LOG_INFO": "1",
    # After this Ray's client ends the whole process where the head is gone. head.py notices within seconds, and then it is the
    # daemon that decides (docs/adr/009-ray-lost.md).
    "RAY_gcs_rpc_server_reconnect_timeout_s": "1000000",
}.items():
    os.environ.setdefault(_name, _value)
