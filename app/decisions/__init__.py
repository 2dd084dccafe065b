"""Users' decisions: checked early, written to the log, waited for. Used by `app.views.decisions`."""
