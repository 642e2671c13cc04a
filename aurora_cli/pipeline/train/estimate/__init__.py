"""`aurora train --plan`: what a stage would take. Nothing is run."""
