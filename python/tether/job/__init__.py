"""The life of a job as pure rules: states, names, holds, and which outcome holds. Source: docs/design/streams.md."""
