"""The name under which web servers look for the application."""
