"""What differs between the kinds of vision towers."""
