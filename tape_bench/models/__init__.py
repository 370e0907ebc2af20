"""Model adapters: sequences in, representations out."""

from __future__ import annotations

from typing import Any

from tape_bench import registry
from tape_bench.models import options as family_options
from tape_bench.models.embedder import Embedder


def load_model(spec: str, **options: Any) -> Embedder:
    """Load a model by its spec, e.g. `onehot` or `proteinlm:checkpoints/iter_0123000`.

    Args:
        spec: `family` or `family:argument`; `tape-bench models` lists the families.
        options: `dtype`, `device`, `layer`, and what the family offers beside them; text is read
            as what the loader declares.

    Raises:
        UsageError: no such family, an option it does not know, or no such precision.
        ModelError: this machine has no such device, or the model cannot be loaded.
    """
    loader, argument = registry.model_loader(spec)
    asked = {name: value for name, value in options.items() if value is not None}
    given = family_options.checked(spec, loader, asked)
    if "device" in given or "dtype" in given:
        # It brings torch, which a run that is complete already does without.
        from tape_bench.models.placement import check_placement

        check_placement(given.get("device"), given.get("dtype"))
    model: Embedder = loader(argument, **given)
    return model
