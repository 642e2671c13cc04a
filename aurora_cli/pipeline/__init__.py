"""A room per command: `run(settings, reporter, dry_run) -> Result`. No command imports another."""
