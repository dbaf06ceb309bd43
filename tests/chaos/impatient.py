"""The worker's application on an impatient broker, which hands out again after a second what was
not acknowledged: by default after an hour.
"""

from worker.app import app

app.conf.broker_transport_options |= {
    "visibility_timeout": 1,
    "unacked_restore_interval": 0.5,
    "unacked_restore_throttle": 1,
}
