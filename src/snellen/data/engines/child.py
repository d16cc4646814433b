"""A process that measures what its parent writes to its standard input, until that ends (see `local.py`)."""

import os
import sys
import warnings

from snellen.data.engines.local import receive, send
from snellen.data.engines.task import Job, measure_chunk, prepare
from snellen.errors import UseError


def main() -> None:
    """Answer each [job, chunk] with its rows, or with the text of a UseError."""
    # What decoders print must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    prepare()
    warnings.simplefilter("ignore")
    while (asked := receive(sys.stdin.buffer)) is not None:
        job, chunk = asked
        try:
            send(answers, measure_chunk(Job(**job), chunk))
        except UseError as error:
            send(answers, str(error))


if __name__ == "__main__":
    main()
