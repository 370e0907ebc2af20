"""The protocol `finetuned`, and the models it scores: `finetuned:FOLDER`, in `model`."""
