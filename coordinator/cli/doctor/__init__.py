"""`alignfed doctor`: one file per group of checks; each check ends as a finding with a next step."""
