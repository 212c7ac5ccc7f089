"""Ids of jobs: a keyed hash of tenant and name."""

from tether.job.key import job_id


def test_job_id_depends_on_the_secret() -> None:
    assert job_id(b"a" * 32, "t", "c", "r") != job_id(b"b" * 32, "t", "c", "r")
    assert len(job_id(b"a" * 32, "t", "c", "r")) == 16
