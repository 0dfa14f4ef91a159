"""Batch: many prompts, models and sampler chains as one resumable job."""

from gptdesk.batch.job import BatchJob, create_job, list_jobs
from gptdesk.batch.plan import BatchPlan, NamedChain
from gptdesk.batch.prompts import read_prompt_file, read_prompts
from gptdesk.batch.running import BatchProgress, run_batch

__all__ = [
    "BatchJob",
    "BatchPlan",
    "BatchProgress",
    "NamedChain",
    "create_job",
    "list_jobs",
    "read_prompt_file",
    "read_prompts",
    "run_batch",
]
