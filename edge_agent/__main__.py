"""`python -m edge_agent` is `alignfed-agent`."""

from edge_agent.cli import main

main(prog_name="alignfed-agent")
