"""The protocol `finetune`: planned in `plan`, trained in `train`, carried through in `fit`."""
