"""Names of span attributes, in one table: those of OpenTelemetry's GenAI conventions, and Tether's own.

None of them ever holds content of a request or an answer.
Source: OpenTelemetry semantic conventions for generative AI and for RPC.
"""

from typing import Final

OPERATION: Final = "gen_ai.operation.name"  # `chat`, `text_completion`
PROVIDER: Final = "gen_ai.provider.name"  # `tether`
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_CHOICES: Final = "gen_ai.request.choice.count"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"  # the job's id
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
ERROR_TYPE: Final = "error.type"  # the reason
RPC_SYSTEM: Final = "rpc.system"
RPC_METHOD: Final = "rpc.method"
JOB: Final = "tether.job_id"
CORRELATION: Final = "tether.correlation_id"
EPOCH: Final = "tether.epoch"
WORKER: Final = "tether.worker_id"
MODEL_VERSION: Final = "tether.model_version"
JOINED: Final = "tether.joined"
CANDIDATES: Final = "tether.placement.candidates"
FIRST_CHUNK_MS: Final = "tether.first_chunk_ms"
