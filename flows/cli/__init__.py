"""The one command, `nightly-review`: its subcommands, what they print, and their exit codes."""
