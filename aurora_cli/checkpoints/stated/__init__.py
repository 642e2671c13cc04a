"""What files say of the weights beside them, read without torch: a tower's pixels, a language model's positions."""
