"""huggingface_hub: its errors in our words, and uploads."""
