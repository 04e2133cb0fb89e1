"""The sign-off report, on an account that the pipeline made."""
