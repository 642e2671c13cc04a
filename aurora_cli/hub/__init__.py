"""huggingface_hub: its session, its errors in our words, and uploads."""
