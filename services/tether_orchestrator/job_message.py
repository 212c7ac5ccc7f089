"""A job as people and gateways see it."""

from tether.job.commit import receipt_body
from tether.store.jobs import JobRow
from tether.v1.infer_pb2 import Infer, Job, JobState


def job_message(row: JobRow) -> Job:
    """A job as people and gateways see it."""
    subject = row.subject
    job = Job(
        name=subject.job.hex(),
        tenant_id=subject.tenant,
        correlation_id=subject.correlation_id,
        retry_token=subject.retry_token,
        state=JobState.ValueType(row.state),
        model_id=subject.model,
        version=subject.version,
        epoch=row.epoch,
        worker_id=row.worker.node,
        held_tokens=row.held_tokens,
        usage=Infer.Usage(
            input_tokens=row.settled.input_tokens,
            output_tokens=row.settled.output_tokens,
            output_bytes=row.settled.output_bytes,
        ),
        error=row.error,
        attempts=row.attempts,
        requeues=row.requeues,
        cost_micros=row.cost_micros,
    )
    job.created_at.FromMilliseconds(row.created_ms)
    if row.ended_ms is not None:
        job.ended_at.FromMilliseconds(row.ended_ms)
    _add_outcome(job, row)
    return job


def _add_outcome(job: Job, row: JobRow) -> None:
    if row.receipt:
        job.receipt.ParseFromString(row.receipt)
        body = receipt_body(job.receipt)
        job.finish_reason = body.finish_reason
        job.usage.cached_input_tokens = body.usage.cached_input_tokens
        job.usage.compute.CopyFrom(body.usage.compute)
    if row.answer is not None:
        job.answer.ParseFromString(row.answer)
