"""Captioned media of any form -> records of one subset."""
