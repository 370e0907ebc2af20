"""The protocol `probe`: planned in `plan`, trained in `train`, carried through in `fit`."""
