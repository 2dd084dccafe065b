"""One file a role: wires the packages' parts with the settings and runs them until SIGTERM. Called by
app.commands.roles.
"""
