"""Run records: their schema, where they are kept, where they come from."""
