"""Settings, wiring, web views, commands and telemetry: the composition root; nobody imports it.

`app` is the Faust app that operators' commands hang on; each role makes an app of its own (app.faust_apps). Importing
this does no I/O and reads no setting.
"""

from typing import Final

from app.faust_environment import NO_ENVIRONMENT, hidden_from_imports

with hidden_from_imports():
    import faust
    import faust.types._env  # what the other modules of faust take their variables from

VERSION: Final = "0.1.0"
"""The release, as in pyproject.toml."""

app = faust.App("media-clustering", autodiscover=False, env=NO_ENVIRONMENT)
