"""The network that a folder of `transformers` describes, loaded offline and without code of the folder's own."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from kdlandscape.distillation.weight_files import CONFIG, CheckpointError


def network_in(folder: Path, why: str) -> nn.Module:
    """Return the network of a folder in eval mode, built by the class that its ``config.json`` names.

    Parameters
    ----------
    folder
        As ``save_pretrained`` writes it.
    why
        Why the weights do not fit the network of the problem, for messages.

    Raises
    ------
    CheckpointError
        If `transformers` is not installed or does not have the class, or weights are missing or do not fit it.
    """
    try:
        import transformers
    except ImportError as error:
        raise CheckpointError(
            f"{why}; its own network needs the package transformers, which is not installed: pip install transformers"
        ) from error
    try:
        names = json.loads((folder / CONFIG).read_text("utf-8")).get("architectures") or [None]
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"expected a {CONFIG} as transformers writes it, got {error}") from error
    kind: Any = getattr(transformers, str(names[0]), None)
    if not hasattr(kind, "from_pretrained"):
        raise CheckpointError(
            f"{why}; expected a class of transformers under architectures in {CONFIG}, got {names[0]!r}, and code of "
            "a folder is not executed"
        )
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        made, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:300]
        raise CheckpointError(f"{names[0]} cannot be loaded from it: {type(error).__name__}: {reason}") from error
    finally:
        if bars:
            transformers.logging.enable_progress_bar()
    for key in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if info[key]:
            raise CheckpointError(f"expected all weights of {names[0]}, got {key.replace('_', ' ')}: {min(info[key])}")
    return made.float().eval()
