"""From files to examples: download, stores, columns, tokens, and the built-in sample."""
