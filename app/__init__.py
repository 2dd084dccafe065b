"""Settings, wiring, web views, commands and telemetry: the composition root; nobody imports it.

`app` is the Faust app that operators' commands hang on; each role makes an app of its own (app.faust_apps). Importing
this does no I/O and reads no setting.
"""

import faust

app = faust.App("media-clustering", autodiscover=False)
