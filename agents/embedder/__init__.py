"""From image bytes to vectors through onnxruntime, in batches across jobs and pets."""

import os

# onnxruntime 1.31 collects telemetry into the user's cache folder, and sends it, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
