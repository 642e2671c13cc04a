"""What a run calls as it goes, a module each, with a `CALLBACK` that says how it is made and which options it takes."""
