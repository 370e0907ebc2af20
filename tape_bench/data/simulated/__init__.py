"""A small simulated protein world: all five tasks, with a signal that a right pipeline can learn.

Nothing here is measured. The records have TAPE's layout, so that a whole run needs no download,
and one biology runs through them: residues prefer states (`biology`), states come in elements
(`elements`), chains fold in space (`chain`), sequences fit their folds (`design`). The same seed
gives the same records on every machine.
"""

from __future__ import annotations

import numpy as np

from tape_bench.data.simulated import (
    contact,
    fluorescence,
    remote_homology,
    secondary_structure,
    stability,
)
from tape_bench.data.simulated.biology import Splits
from tape_bench.errors import UsageError

NAME = "sample"
VERSION = "1"
"""Changes with every change that can change a record: part of the data's identity."""

_SIMULATORS = {
    "secondary_structure": secondary_structure.simulate,
    "contact": contact.simulate,
    "remote_homology": remote_homology.simulate,
    "fluorescence": fluorescence.simulate,
    "stability": stability.simulate,
}


def build(task_name: str, seed: int = 0) -> Splits:
    """Simulate the proteins of one task, split by split.

    Args:
        task_name: one of TAPE's five tasks.
        seed: another seed is another world of the same biology.

    Returns:
        Split name to records; the fields of a record, their shapes and units are TAPE's.

    Raises:
        UsageError: a task that is not one of the five.
    """
    if task_name not in _SIMULATORS:
        raise UsageError(
            f"the built-in sample has no data for task {task_name!r}",
            fix=f"give --data a folder that has it; the sample holds only: "
            f"{', '.join(_SIMULATORS)}",
        )
    task_number = list(_SIMULATORS).index(task_name)
    return _SIMULATORS[task_name](np.random.Generator(np.random.PCG64([seed, task_number])))
