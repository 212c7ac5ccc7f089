"""Where a job runs: what a request needs, who can give it, and the ticket that says so.

Source: docs/design/design.md §4.
"""
