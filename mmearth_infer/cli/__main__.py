"""`python -m mmearth_infer.cli`: the command line without its script."""

from mmearth_infer.cli.main import cli

cli(prog_name="mmearth")
