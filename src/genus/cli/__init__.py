"""The command line. Reads what was asked, calls one function of the library, prints its result; decides nothing itself.

Everything heavy is imported inside a verb, so that `genus --help` answers at once. Results go to standard output
(`--json`: one object), progress and errors to standard error.

    whole, stages, uses, weights, tasks, looks      the verbs
    options  work  lines  ends        what they share: what is asked, how it is done, what is printed, how it ends
"""

from __future__ import annotations

from typing import NoReturn

import typer

from genus.cli import ends, looks, stages, tasks, uses, weights, whole

app = typer.Typer(
    name="genus",
    help="Generative models from your own data, on the machine you have, and proof of what they made.\n\n"
    "Example: genus make letters/ --budget 10m",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

#: In the order in which they are listed.
VERBS = (
    whole.make,
    whole.compare,
    stages.collect,
    stages.clean,
    stages.train,
    stages.validate,
    stages.deploy,
    uses.generate,
    uses.score,
    uses.anomalies,
    uses.serve,
    uses.chat,
    uses.reproduce,
    weights.import_,
    weights.export,
    tasks.evaluate,
    weights.compress,
    looks.recipes,
    looks.info,
    looks.doctor,
)
for verb in VERBS:
    app.command(verb.__name__.rstrip("_"))(verb)


def main() -> NoReturn:
    """The entry point."""
    ends.run(app)
