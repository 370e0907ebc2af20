"""The protocol of predictions that another program made: nothing is computed, all is scored."""
