"""What of an evaluation stands in training data: media byte for byte or nearly, and captions word for word."""
