"""From image bytes to vectors through onnxruntime, in batches across jobs and pets."""
