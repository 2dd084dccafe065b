"""`python -m app`: every command of the service, as Faust commands. `--help` lists them."""

from app import app
from app.commands import prepare, roles, settings_table  # noqa: F401 - importing registers the commands

if __name__ == "__main__":
    app.main()
