"""accelerate and DeepSpeed, behind one interface."""
