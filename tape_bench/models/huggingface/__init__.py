"""Models of the Hugging Face hub, and folders laid out as its models are."""
